//! A lake that the real sink wrote, and ways to change its objects behind everyone's back.

#![allow(dead_code)] // each test file uses its part

use arrow_array::{Array, ArrayRef, Int64Array, RecordBatch};
use bytes::Bytes;
use milepost_sink::store::Folder;
use milepost_sink::{Settings, Sink};
use milepost_wire::reading::{Camera, Gap, Gps, Health};
use milepost_wire::{Batch, Body, BootId, Clock, Reading, Stream, VehicleId, frame};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::RowAccessor;
use rdkafka::ClientConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// Something done to a lake.
pub(crate) type Harm = Box<dyn Fn(&Lake)>;

/// A Kafka in the process.
pub(crate) struct Kafka {
    pub(crate) cluster: MockCluster<'static, DefaultProducerContext>,
    producer: BaseProducer,
    pub(crate) runtime: Runtime,
}

impl Kafka {
    pub(crate) fn start(topics: &[&str]) -> Self {
        let cluster = MockCluster::new(1).unwrap();
        topics.iter().for_each(|topic| cluster.create_topic(topic, 1, 1).unwrap());
        let mut config = ClientConfig::new();
        let producer = config.set("bootstrap.servers", cluster.bootstrap_servers()).create().unwrap();
        Self { cluster, producer, runtime: Runtime::new().unwrap() }
    }

    pub(crate) fn send(&self, topic: &str, value: &[u8]) {
        self.producer.send(BaseRecord::to(topic).key("a").payload(value)).map_err(|e| e.0).unwrap();
        self.producer.flush(Duration::from_secs(30)).unwrap();
    }

    pub(crate) fn settings(&self) -> Settings {
        Settings {
            brokers: self.cluster.bootstrap_servers(),
            topics: TOPICS.map(str::to_owned).to_vec(),
            file_age_ms: 100,
            ..Settings::default()
        }
    }

    pub(crate) fn sink(&self, lake: &Path) -> Sink {
        let _inside = self.runtime.enter();
        Sink::start(self.settings(), Arc::new(Folder::open(lake).unwrap())).unwrap()
    }

    pub(crate) fn stop(&self, sink: Sink) {
        self.runtime.block_on(sink.stop()).unwrap();
    }
}

pub(crate) const TOPICS: [&str; 4] = ["gps_data", "camera_data", "agent_health", "gap_data"];

/// Waits until something is so.
pub(crate) fn wait(what: &str, mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < Duration::from_secs(120), "Not within two minutes: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A frame of vehicle `a`.
pub(crate) fn frame_of(stream: Stream, first: u64, bodies: Vec<Body>) -> Vec<u8> {
    let columns = stream.columns().unwrap();
    let vehicle = VehicleId::new("a").unwrap();
    let mut batch = Batch::new(vehicle, BootId(1), stream, columns, first, Vec::new());
    for (body, seq) in bodies.into_iter().zip(first..) {
        // A day after a hundred readings.
        let ts = 1_795_392_000_000_000 + seq as i64 * 864_000_000;
        batch.push(&Reading { ts, clock: Clock::Gps, body }).unwrap();
    }
    frame::encode(&batch).unwrap()
}

/// Fixes of vehicle `a` with these numbers.
pub(crate) fn fixes(seqs: std::ops::Range<u64>) -> Vec<u8> {
    let fix = |seq: u64| Gps {
        lat_e7: 515_000_000 + seq as i32,
        lon_e7: -1_270_000,
        altitude_cm: Some(3500),
        speed_mm_s: Some(13_900),
        heading_cdeg: None,
        fix: 1,
        satellites: Some(9),
        hdop_e2: None,
    };
    frame_of(Stream::Gps, seqs.start, seqs.map(|seq| fix(seq).into()).collect())
}

fn images() -> Vec<u8> {
    let camera = |n: u8| Camera {
        camera_id: "front".into(),
        lat_e7: None,
        lon_e7: None,
        image: vec![0xff, 0xd8, 0xff, n, 1, 2, 3, 4],
        width: Some(64),
        height: Some(48),
    };
    frame_of(Stream::Camera, 0, vec![camera(0).into(), camera(1).into()])
}

/// Fixes 30 to 39 are lost.
fn gap() -> Vec<u8> {
    let gap = Gap {
        stream: Some("gps_data".into()),
        gap_boot_id: BootId(1).to_string(),
        first_seq: Some(30),
        last_seq: Some(39),
        count: 10,
        exact: 1,
        reason: "spool_full".into(),
        detail: None,
    };
    frame_of(Stream::Gap, 0, vec![gap.into()])
}

/// 102 readings were delivered and numbered.
fn health() -> Vec<u8> {
    let row = |component: &str, name: &str, received: Option<i64>, emitted: Option<i64>| Health {
        component: component.into(),
        name: name.into(),
        received,
        emitted,
        taken_out: None,
        poison: None,
        errors: None,
        restarts: None,
        bytes: None,
        depth: None,
        age_ms: None,
        version: None,
        digest: None,
    };
    let rows = [
        row("agent", "0.1.0", Some(102), Some(102)),
        row("source", "gps", Some(102), None),
        row("stream", "gps_data", None, Some(100)),
        row("stream", "camera_data", None, Some(2)),
    ];
    frame_of(Stream::Health, 0, rows.map(Body::from).to_vec())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// A lake in a folder of its own.
pub(crate) struct Lake(TempDir);

impl Lake {
    /// Fixes in three claims, of which ten are declared lost; two images; a health report.
    pub(crate) fn written_by_a_sink() -> Self {
        let (kafka, dir) = (Kafka::start(&TOPICS), tempfile::tempdir().unwrap());
        let sink = kafka.sink(dir.path());
        let mut rows = 0;
        for (topic, frame, more) in [
            ("gps_data", fixes(0..30), 30),
            ("gps_data", fixes(40..70), 30),
            ("gps_data", fixes(70..100), 30),
            ("camera_data", images(), 2),
            ("gap_data", gap(), 1),
            ("agent_health", health(), 4),
        ] {
            kafka.send(topic, &frame);
            rows += more;
            wait("the rows are written", || sink.status().rows() >= rows);
        }
        kafka.stop(sink);
        let _ = std::fs::remove_dir_all(dir.path().join(".tmp"));
        Self(dir)
    }

    pub(crate) fn copy(&self) -> Self {
        let copy = Self(tempfile::tempdir().unwrap());
        self.files("").iter().for_each(|key| copy.put(key, &self.get(key)));
        copy
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// The keys that begin so, in order.
    pub(crate) fn files(&self, prefix: &str) -> Vec<String> {
        let (mut keys, mut folders) = (BTreeSet::new(), vec![PathBuf::new()]);
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(self.path().join(&folder)).unwrap() {
                let entry = entry.unwrap();
                let below = folder.join(entry.file_name());
                match entry.file_type().unwrap().is_dir() {
                    true => folders.push(below),
                    false => _ = keys.insert(below.to_str().unwrap().to_owned()),
                }
            }
        }
        keys.into_iter().filter(|key| key.starts_with(prefix)).collect()
    }

    pub(crate) fn get(&self, key: &str) -> Vec<u8> {
        std::fs::read(self.path().join(key)).unwrap()
    }

    pub(crate) fn put(&self, key: &str, body: &[u8]) {
        let path = self.path().join(key);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, body).unwrap();
    }

    pub(crate) fn remove(&self, prefix: &str) {
        self.files(prefix).iter().for_each(|key| std::fs::remove_file(self.path().join(key)).unwrap());
    }

    pub(crate) fn change(&self, key: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut body = self.get(key);
        change(&mut body);
        self.put(key, &body);
    }

    pub(crate) fn edit(&self, key: &str, change: impl FnOnce(&mut Value)) {
        let mut value = serde_json::from_slice(&self.get(key)).unwrap();
        change(&mut value);
        self.put(key, value.to_string().as_bytes());
    }

    /// Edits claim and manifest so that they say of their one file what is in it.
    pub(crate) fn match_ledger(&self, file: &str, manifest: &str, claim: &str) {
        let body = self.get(file);
        let digest = hex(&Sha256::digest(&body));
        let (bytes, seqs) = (body.len(), seqs(body));
        let ranges: Vec<_> = seqs.iter().map(|seq| json!([seq, seq])).collect();
        self.edit(claim, |c| c["files"][0]["rows"] = json!(seqs.len()));
        let claimed = self.digest(claim);
        self.edit(manifest, |m| {
            m["claim_sha256"] = json!(claimed);
            m["rows"] = json!(seqs.len());
            m["readings"] = json!(seqs.len());
            m["files"][0]["rows"] = json!(seqs.len());
            m["files"][0]["bytes"] = json!(bytes);
            m["files"][0]["sha256"] = json!(digest);
            m["seen"][0]["ranges"] = json!(ranges);
        });
    }

    pub(crate) fn digest(&self, key: &str) -> String {
        hex(&Sha256::digest(self.get(key)))
    }

    /// Moves the one file of a claim to another date, and edits claim and manifest to match.
    pub(crate) fn move_to(&self, dt: &str, file: &str, manifest: &str, claim: &str) {
        let (table, name) = (file.split('/').next().unwrap(), file.rsplit('/').next().unwrap());
        let to = format!("{table}/dt={dt}/{name}");
        self.put(&to, &self.get(file));
        self.remove(file);
        self.edit(claim, |c| c["files"][0]["key"] = json!(to));
        let claimed = self.digest(claim);
        self.edit(manifest, |m| {
            m["claim_sha256"] = json!(claimed);
            m["files"][0]["key"] = json!(to);
            m["files"][0]["dt"] = json!(dt);
        });
    }

    /// Puts all of it below a prefix of a bucket.
    pub(crate) fn load(&self, objects: &mut BTreeMap<String, Bytes>) {
        for key in self.files("") {
            objects.insert(format!("a/prefix/{key}"), self.get(&key).into());
        }
    }
}

fn seqs(body: Vec<u8>) -> Vec<i64> {
    let reader = SerializedFileReader::new(Bytes::from(body)).unwrap();
    let columns = reader.metadata().file_metadata().schema_descr().columns().to_vec();
    let at = columns.iter().position(|c| c.name() == "seq").unwrap();
    reader.get_row_iter(None).unwrap().map(|row| row.unwrap().get_long(at).unwrap()).collect()
}

/// Writes a file anew with other rows.
pub(crate) fn reencode(body: &mut Vec<u8>, change: impl FnOnce(&mut Vec<RecordBatch>)) {
    let reader = ParquetRecordBatchReaderBuilder::try_new(Bytes::from(body.clone())).unwrap();
    let schema = reader.schema().clone();
    let mut rows = Vec::new();
    for batch in reader.build().unwrap() {
        let batch = batch.unwrap();
        rows.extend((0..batch.num_rows()).map(|i| batch.slice(i, 1)));
    }
    change(&mut rows);
    let mut writer = ArrowWriter::try_new(Vec::new(), schema, None).unwrap();
    rows.iter().for_each(|row| writer.write(row).unwrap());
    *body = writer.into_inner().unwrap();
}

/// Makes the gap of a file of `gap_data` end at number 45.
pub(crate) fn widen_gap(body: &mut Vec<u8>) {
    reencode(body, |rows| {
        let (schema, mut columns) = (rows[0].schema(), rows[0].columns().to_vec());
        let at = schema.index_of("last_seq").unwrap();
        let wider: ArrayRef = Arc::new(Int64Array::from(vec![45]));
        assert_eq!(columns[at].len(), wider.len());
        columns[at] = wider;
        rows[0] = RecordBatch::try_new(schema, columns).unwrap();
    });
}
