//! What people and Kafka do to topics and groups under a sink, on a real Kafka: topics that are deleted and
//! made again, records that are deleted before they were read, offsets of the group that are deleted.

use milepost_fake_aws::{BUCKET, FakeAws, Fault, Op};
use milepost_sink::store::{self, Folder, S3Settings, Store};
use milepost_sink::{Settings, Sink};
use milepost_tests::chain::audit;
use milepost_tests::kafka::Kafka;
use milepost_tests::process::wait_for;
use milepost_tests::skip;
use milepost_wire::reading::Gps;
use milepost_wire::{Batch, BootId, Clock, Reading, Stream, VehicleId, frame};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::runtime::Runtime;

const PATIENCE: Duration = Duration::from_secs(120);
/// Readings of a frame.
const ROWS: u64 = 10;

/// One Kafka at a time: each takes most of a small machine while it starts.
static TURN: Mutex<()> = Mutex::new(());

struct Bench {
    _turn: MutexGuard<'static, ()>,
    dir: tempfile::TempDir,
    kafka: Kafka,
    runtime: Runtime,
    producer: BaseProducer,
    admin: AdminClient<DefaultClientContext>,
}

impl Bench {
    fn start() -> Option<Self> {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("kafka")).unwrap();
        let kafka = Kafka::start(&dir.path().join("kafka"), 1)?;
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", kafka.bootstrap_servers());
        config.set("topic.metadata.refresh.interval.ms", "500").set("allow.auto.create.topics", "false");
        let (producer, admin) = (config.create().unwrap(), config.create().unwrap());
        Some(Self { _turn: turn, dir, kafka, runtime: Runtime::new().unwrap(), producer, admin })
    }

    fn lake(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    fn sink(&self, topic: &str, store: Arc<dyn Store>) -> Sink {
        self.sink_of(&[topic], store, |_| {})
    }

    fn sink_of(&self, topics: &[&str], store: Arc<dyn Store>, edit: impl FnOnce(&mut Settings)) -> Sink {
        let mut settings = Settings {
            brokers: self.kafka.bootstrap_servers(),
            group: group(topics),
            topics: topics.iter().map(|t| t.to_string()).collect(),
            kafka: BTreeMap::from([
                ("session.timeout.ms".into(), "6000".into()),
                ("topic.metadata.refresh.interval.ms".into(), "1000".into()),
            ]),
            file_age_ms: 200,
            ..Settings::default()
        };
        edit(&mut settings);
        let _inside = self.runtime.enter();
        Sink::start(settings, store).unwrap()
    }

    fn stop(&self, sink: Sink) {
        self.runtime.block_on(sink.stop()).unwrap();
    }

    /// Sends the frames of these numbers.
    fn send(&self, topic: &str, frames: std::ops::Range<u64>) {
        for n in frames {
            let frame = gps(n * ROWS);
            // A topic that was just made may not be known to every client yet.
            wait_for("the record is taken", PATIENCE, || {
                let sent = self.producer.send(BaseRecord::to(topic).key("v").payload(&frame));
                self.producer.poll(Duration::ZERO);
                sent.is_ok()
            });
        }
        self.producer.flush(PATIENCE).unwrap();
    }

    /// What the group of a topic's sink has committed.
    fn committed(&self, topic: &str) -> Option<i64> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.kafka.bootstrap_servers()).set("group.id", group(&[topic]));
        let consumer: BaseConsumer = config.create().unwrap();
        let mut asked = TopicPartitionList::new();
        asked.add_partition(topic, 0);
        match consumer.committed_offsets(asked, PATIENCE).unwrap().elements()[0].offset() {
            Offset::Offset(next) => Some(next),
            _ => None,
        }
    }

    fn make_again(&self, topic: &str) {
        let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
        let deleted = self.runtime.block_on(self.admin.delete_topics(&[topic], &options)).unwrap();
        deleted[0].as_ref().unwrap();
        wait_for("the topic is made again", PATIENCE, || {
            let new = NewTopic::new(topic, 1, TopicReplication::Fixed(1));
            let made = self.runtime.block_on(self.admin.create_topics([&new], &options));
            made.is_ok_and(|made| made[0].is_ok())
        });
    }
}

fn group(topics: &[&str]) -> String {
    format!("sink-{}", topics.join("-"))
}

/// A frame of fixes from this number on.
fn gps(first: u64) -> Vec<u8> {
    let (vehicle, columns) = (VehicleId::new("v").unwrap(), Stream::Gps.columns().unwrap());
    let mut batch = Batch::new(vehicle, BootId(1), Stream::Gps, columns, first, Vec::new());
    for seq in first..first + ROWS {
        let (altitude_cm, speed_mm_s, heading_cdeg, satellites, hdop_e2) = Default::default();
        let (lat_e7, lon_e7) = (515_000_000 + seq as i32, -1_270_000);
        let fix = Gps { lat_e7, lon_e7, altitude_cm, speed_mm_s, heading_cdeg, fix: 1, satellites, hdop_e2 };
        let ts = 1_795_392_000_000_000 + seq as i64 * 1_000_000;
        batch.push(&Reading { ts, clock: Clock::Gps, body: fix.into() }).unwrap();
    }
    frame::encode(&batch).unwrap()
}

fn report(lake: &Path) -> Value {
    serde_json::from_str(audit(lake).1.lines().last().unwrap_or_default()).unwrap_or_default()
}

fn rows(lake: &Path) -> u64 {
    report(lake)["tables"]["gps_data"]["rows"].as_u64().unwrap_or(0)
}

/// What was under way when the topic was deleted comes again, then what is new; all is there once.
#[test]
fn a_topic_made_again_gets_all_new_readings_into_the_tables_once() {
    let Some(bench) = Bench::start() else { return skip("Kafka is missing") };
    // Topic, frames in the old one, frames in the new one, and whether the sink is away meanwhile.
    let cases = [
        ("gps_data", 8, 3, false),
        ("vehicle_data", 8, 8, false),
        ("weather_data", 4, 30, false),
        ("camera_data", 6, 6, true),
        ("emergency_data", 3, 20, true),
    ];
    std::thread::scope(|scope| {
        for (topic, old, new, away) in cases {
            let bench = &bench;
            scope.spawn(move || {
                let lake = bench.lake(topic);
                let store = || Arc::new(Folder::open(&lake).unwrap());
                bench.send(topic, 0..old);
                let mut sink = bench.sink(topic, store());
                let all = old * ROWS;
                wait_for(&format!("{topic}: the old rows"), PATIENCE, || rows(&lake) >= all);
                if away {
                    bench.stop(sink);
                    bench.make_again(topic);
                    bench.send(topic, old - 2..old - 2 + new);
                    sink = bench.sink(topic, store());
                } else {
                    bench.make_again(topic);
                    bench.send(topic, old - 2..old - 2 + new);
                }
                let all = (old - 2 + new) * ROWS;
                wait_for(&format!("{topic}: the new rows"), PATIENCE, || rows(&lake) >= all);
                bench.stop(sink);
                let report = report(&lake);
                assert_eq!(report["verdict"], "ok", "{topic}: {report}");
                assert_eq!(report["tables"]["gps_data"]["rows"], all, "{topic}: {report}");
                assert_eq!(report["ledger"]["chains"], 2, "{topic}: {report}");
                assert_eq!(report["ledger"]["duplicates_dropped"], 2 * ROWS, "{topic}: {report}");
            });
        }
    });
}

/// The same group, before and after: what it has committed is only a hint for whoever watches its lag.
#[test]
fn a_group_whose_committed_offsets_were_deleted_goes_on_where_the_ledger_ends() {
    let Some(bench) = Bench::start() else { return skip("Kafka is missing") };
    let (topic, lake) = ("gps_data", bench.lake("lake"));
    let start = || bench.sink(topic, Arc::new(Folder::open(&lake).unwrap()));
    bench.send(topic, 0..8);
    let sink = start();
    wait_for("the first rows", PATIENCE, || rows(&lake) >= 8 * ROWS);
    bench.stop(sink);
    assert_eq!(bench.committed(topic), Some(8), "there is something to delete");
    let deleted = bench.admin.delete_groups(&[&group(&[topic])], &AdminOptions::new());
    bench.runtime.block_on(deleted).unwrap()[0].as_ref().unwrap();
    assert_eq!(bench.committed(topic), None);
    bench.send(topic, 8..12);
    let sink = start();
    wait_for("the next rows", PATIENCE, || rows(&lake) >= 12 * ROWS);
    bench.stop(sink);
    assert_eq!(bench.committed(topic), Some(12));
    let report = report(&lake);
    assert_eq!(
        (&report["verdict"], &report["tables"]["gps_data"]["rows"]),
        (&"ok".into(), &(12 * ROWS).into())
    );
    assert_eq!(report["ledger"]["duplicates_dropped"], 0, "nothing was read a second time: {report}");
}

/// The one writer that there is finds the topic of its claim deleted; the other topic goes on.
#[test]
fn a_topic_that_is_gone_for_good_holds_up_no_other() {
    let Some(bench) = Bench::start() else { return skip("Kafka is missing") };
    let lake = bench.lake("lake");
    let sink = bench.sink_of(&["gps_data", "vehicle_data"], Arc::new(Folder::open(&lake).unwrap()), |s| {
        s.writers = 1;
        s.file_age_ms = 2000;
        // It does not hear of the deletion but by its claim.
        s.kafka.insert("topic.metadata.refresh.interval.ms".into(), "600000".into());
    });
    wait_for("both topics are read", PATIENCE, || sink.status().partitions == 2);
    bench.send("gps_data", 0..3);
    wait_for("the records are read", PATIENCE, || sink.status().buffered_bytes > 0);
    let options = AdminOptions::new();
    let deleted = bench.runtime.block_on(bench.admin.delete_topics(&["gps_data"], &options)).unwrap();
    deleted[0].as_ref().unwrap();
    bench.send("vehicle_data", 3..6);
    wait_for("the other topic is written", PATIENCE, || sink.status().rows() >= 3 * ROWS);
    drop(sink);
}

/// A sink dies with a claim and without its file; Kafka deletes half of the claim's records.
#[test]
fn retention_that_passes_the_start_of_a_claimed_range_costs_what_kafka_deleted_and_no_more() {
    let Some(bench) = Bench::start() else { return skip("Kafka is missing") };
    let (topic, fake) = ("gps_data", FakeAws::start());
    let store = |who: &str| {
        let keys = fake.keys(who);
        let settings = S3Settings {
            endpoint: Some(fake.endpoint()),
            region: Some("us-east-1".into()),
            access_key: Some(keys.access),
            secret_key: Some(keys.secret),
            ..S3Settings::default()
        };
        bench.runtime.block_on(store::open(&format!("s3://{BUCKET}"), &settings)).unwrap()
    };
    bench.send(topic, 0..10);
    // Whatever the first sink tries again while it dies stands still too.
    fake.plan(|r| match r.who == "first" && r.op == Op::PutIfAbsent && r.key.ends_with(".parquet") {
        true => Fault::ParkBefore,
        false => Fault::None,
    });
    let sink = bench.sink(topic, store("first"));
    assert!(fake.wait_for_parked(PATIENCE), "no file is put");
    drop(sink);
    let mut until = TopicPartitionList::new();
    until.add_partition_offset(topic, 0, Offset::Offset(4)).unwrap();
    let options = AdminOptions::new();
    bench.runtime.block_on(bench.admin.delete_records(&until, &options)).unwrap();
    bench.send(topic, 10..12);
    let sink = bench.sink(topic, store("second"));
    let lake = bench.lake("lake");
    wait_for("what Kafka still has is written", PATIENCE, || {
        let _ = std::fs::remove_dir_all(&lake);
        fake.save(&lake);
        rows(&lake) >= 8 * ROWS
    });
    bench.stop(sink);
    let report = report(&lake);
    assert_eq!(report["tables"]["gps_data"]["rows"], 8 * ROWS, "{report}");
    assert_eq!(report["ledger"]["lost_offsets"], 4, "{report}");
    assert_eq!(report["tables"]["gps_data"]["duplicates"], 0, "{report}");
    assert_eq!(report["verdict"], "bad", "what is lost is said: {report}");
    assert_eq!(report["tables"]["gps_data"]["gaps_undeclared"], 4 * ROWS, "{report}");
}
