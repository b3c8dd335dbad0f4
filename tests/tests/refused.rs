//! The refused-entry table of `docs/security.md`, row by row: the files that `milepost fleet` makes, a real
//! Mosquitto, the real bridge, a real Kafka and the real sink. Whoever tries, an honest vehicle's readings
//! are in the tables.

use milepost_tests::chain::audit;
use milepost_tests::fleet::{Answer, Fleet, PATIENCE, text};
use milepost_tests::kafka::{Kafka, Record};
use milepost_tests::process::{Process, program, wait_for};
use milepost_tests::skip;
use milepost_wire::reading::Gps;
use milepost_wire::{Batch, Body, BootId, Clock, Reading, Stream, VehicleId, frame, topic};
use std::path::{Path, PathBuf};
use std::process::Command;

const OWN: &str = "milepost/v1/van-1/gps_data";
const OTHER: &str = "milepost/v1/van-2/gps_data";
/// Frames a second that the flooding vehicle may send, and how many seconds of it at once.
const RATE: (usize, usize) = (20, 2);

/// A fleet of two, its broker, its bridge and Kafka.
struct Site {
    fleet: Fleet,
    kafka: Kafka,
    _broker: Process,
    _bridge: Process,
}

impl Site {
    fn start() -> Option<Self> {
        let fleet = Fleet::init();
        for vehicle in ["van-1", "van-2"] {
            fleet.enroll(vehicle);
        }
        let broker = fleet.broker()?;
        let kafka_dir = fleet.path("kafka");
        std::fs::create_dir(&kafka_dir).unwrap();
        let kafka = Kafka::start(&kafka_dir, 1)?;
        let config = fleet.path("bridge/bridge.toml");
        let written = std::fs::read_to_string(&config).unwrap();
        let here = written.replace("localhost:9092", &kafka.bootstrap_servers());
        let limits = format!("[per_vehicle]\nframes = {}\nburst = \"{}s\"\n\n", RATE.0, RATE.1);
        std::fs::write(&config, limits + "[metrics]\nlisten = \"\"\n\n" + &here).unwrap();
        let bridge = fleet.start("milepost-bridge", "bridge/bridge.toml", "");
        let site = Self { fleet, kafka, _broker: broker, _bridge: bridge };
        // Until the bridge has subscribed the broker throws away what comes.
        wait_for("the bridge", PATIENCE, || {
            site.give("van-2", vec![(OTHER.into(), gps("van-2", 0))]);
            !site.kafka.records("gps_data").is_empty()
        });
        Some(site)
    }

    fn bundle(&self, vehicle: &str) -> PathBuf {
        self.fleet.path(&format!("vehicles/{vehicle}"))
    }

    fn give(&self, vehicle: &str, messages: Vec<(String, Vec<u8>)>) -> Answer {
        self.fleet.publish_all(self.fleet.port, Some(&self.bundle(vehicle)), messages)
    }

    /// Whether an honest vehicle's frame still reaches its topic.
    fn still_serves(&self, number: u64) {
        let honest = gps("van-2", number);
        assert_eq!(self.give("van-2", vec![(OTHER.into(), honest.clone())]), Answer::Taken);
        wait_for("the honest vehicle's frame", PATIENCE, || {
            self.kafka.records("gps_data").iter().any(|record| record.value == honest)
        });
    }

    /// A sink that writes what is in Kafka into a folder.
    fn tables(&self) -> (PathBuf, Process) {
        let (lake, settings) = (self.fleet.path("lake"), self.fleet.path("sink.toml"));
        std::fs::create_dir(&lake).unwrap();
        let text_of = format!(
            "lake = \"{}\"\n[metrics]\nlisten = \"\"\n[sink]\nbrokers = \"{}\"\nfile_age_ms = 300\n",
            text(&lake),
            self.kafka.bootstrap_servers()
        );
        std::fs::write(&settings, text_of).unwrap();
        let mut sink = Command::new(program("milepost-sink", "milepost-sink"));
        let sink = Process::start(sink.arg("--config").arg(settings), &self.fleet.path("sink.log"));
        (lake, sink)
    }

    /// The rows of fixes that the audit finds.
    fn rows(&self, lake: &Path) -> u64 {
        let (_, said) = audit(lake);
        let report: serde_json::Value =
            serde_json::from_str(said.lines().last().unwrap_or_default()).unwrap_or_default();
        report["tables"]["gps_data"]["rows"].as_u64().unwrap_or(0)
    }

    fn dead(&self, reason: &str) -> Vec<Record> {
        let mut dead = self.kafka.records(topic::KAFKA_DEAD_LETTER);
        dead.retain(|record| record.headers.get("reason").is_some_and(|r| r == reason));
        dead
    }
}

/// Frame `n` of a vehicle, one fix.
fn gps(vehicle: &str, n: u64) -> Vec<u8> {
    let vehicle = VehicleId::new(vehicle).unwrap();
    let mut batch =
        Batch::new(vehicle, BootId(7), Stream::Gps, Stream::Gps.columns().unwrap(), n, Vec::new());
    let gps = Gps {
        lat_e7: 515_000_000 + n as i32,
        lon_e7: -1_000_000,
        altitude_cm: None,
        speed_mm_s: Some(1000),
        heading_cdeg: None,
        fix: 1,
        satellites: Some(9),
        hdop_e2: None,
    };
    let ts = 1_772_000_000_000_000 + n as i64 * 1_000_000;
    batch.push(&Reading { ts, clock: Clock::Gps, body: Body::Gps(gps) }).unwrap();
    frame::encode(&batch).unwrap()
}

#[test]
fn an_expired_certificate_is_refused() {
    let fleet = Fleet::init();
    fleet.enroll("van-1");
    let Some(_broker) = fleet.broker() else {
        return skip("Mosquitto is missing");
    };
    let bundle = fleet.path("vehicles/van-1");
    assert_eq!(fleet.publish(fleet.port, Some(&bundle), OWN), Answer::Taken);
    fleet.expire("van-1");
    let answer = fleet.publish(fleet.port, Some(&bundle), OWN);
    assert!(matches!(&answer, Answer::Refused(why) if why.contains("CertificateExpired")), "{answer:?}");
}

#[test]
fn another_vehicle_s_frames_are_neither_read_nor_taken_away_nor_forged() {
    let Some(site) = Site::start() else {
        return skip("Mosquitto or Kafka is missing");
    };
    let frames: Vec<_> = (1..20).map(|n| gps("van-2", n)).collect();
    let filters = [
        "#",
        "milepost/v1/van-2/#",
        "milepost/v1/+/+",
        "vehicles/#",
        "$share/milepost-bridge/milepost/v1/+/+",
        "$share/milepost-bridge/vehicles/milepost/v1/+/+",
        "$SYS/#",
    ];
    let heard = site.fleet.overhear(&site.bundle("van-1"), &filters, || {
        let messages = frames.iter().map(|frame| (OTHER.to_owned(), frame.clone())).collect();
        assert_eq!(site.give("van-2", messages), Answer::Taken);
        wait_for("van-2's frames in Kafka", PATIENCE, || {
            let records = site.kafka.records("gps_data");
            frames.iter().all(|frame| records.iter().any(|record| record.value == *frame))
        });
    });
    assert_eq!(heard, Vec::<String>::new(), "van-1 reads what is not its own");
    assert_ne!(site.give("van-1", vec![(OTHER.into(), gps("van-2", 50))]), Answer::Taken);

    // On its own topic the broker lets it, and the bridge looks into the frame's header.
    let forged = gps("van-2", 60);
    assert_eq!(site.give("van-1", vec![(OWN.into(), forged.clone())]), Answer::Taken);
    wait_for("the forged frame among the dead letters", PATIENCE, || site.dead("identity").len() == 1);
    let dead = site.dead("identity").remove(0);
    assert_eq!((&dead.value, dead.headers["vehicle"].as_str()), (&forged, "van-1"), "the one who sent it");
    let in_topic = site.kafka.records("gps_data");
    assert!(in_topic.iter().all(|r| r.value != forged && r.key.as_deref() == Some("van-2")), "{in_topic:?}");
    site.still_serves(100);
}

#[test]
fn a_frame_that_is_too_large_is_refused_and_holds_nothing_up() {
    let Some(site) = Site::start() else {
        return skip("Mosquitto or Kafka is missing");
    };
    let oversized = vec![0; frame::MAX_FRAME + (128 << 10)];
    let answer = site.give("van-1", vec![(OWN.into(), oversized)]);
    assert!(matches!(answer, Answer::Refused(_)), "{answer:?}");
    // The largest that the broker lets through, and no frame.
    let large = vec![0; frame::MAX_FRAME];
    assert_eq!(site.give("van-1", vec![(OWN.into(), large.clone())]), Answer::Taken);
    wait_for("the large message among the dead letters", PATIENCE, || {
        let dead = site.kafka.records(topic::KAFKA_DEAD_LETTER);
        dead.iter().map(|record| record.value.len()).sum::<usize>() == large.len()
    });
    site.still_serves(100);
}

#[test]
fn one_vehicle_that_floods_takes_nothing_from_the_others_and_nothing_of_its_own_is_thrown_away() {
    let Some(site) = Site::start() else {
        return skip("Mosquitto or Kafka is missing");
    };
    let flood: Vec<_> = (0..3000).map(|n| gps("van-1", n)).collect();
    let honest: Vec<_> = (1..10).map(|n| gps("van-2", n)).collect();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let messages = flood.iter().map(|frame| (OWN.to_owned(), frame.clone())).collect();
            assert_eq!(site.give("van-1", messages), Answer::Taken);
        });
        for frame in &honest {
            assert_eq!(site.give("van-2", vec![(OTHER.into(), frame.clone())]), Answer::Taken);
        }
    });
    let records = |topic: &str| site.kafka.records(topic);
    wait_for("every frame in Kafka", PATIENCE, || {
        records("gps_data").len() + site.dead("rate").len() > flood.len() + honest.len()
    });
    let (passed, held) = (records("gps_data"), site.dead("rate"));
    let has = |records: &[Record], frame: &Vec<u8>| records.iter().any(|record| record.value == *frame);
    assert!(honest.iter().all(|frame| has(&passed, frame)), "an honest vehicle's frame was held back");
    assert!(held.iter().all(|record| record.key.as_deref() == Some("van-1")));
    assert!(flood.iter().all(|frame| has(&passed, frame) || has(&held, frame)), "a frame was thrown away");
    assert!(held.len() > flood.len() / 2, "{} of {} were held back", held.len(), flood.len());
    assert!(passed.len() >= RATE.0 * RATE.1, "not even its rate was let through: {}", passed.len());
    site.still_serves(100);

    // Who looks at it and finds that the vehicle was honest has every reading in the tables, once.
    for _ in 0..2 {
        let mut bridge = Command::new(program("milepost-bridge", "milepost-bridge"));
        let done = bridge.arg("--config").arg(site.fleet.path("bridge/bridge.toml")).arg("redrive").output();
        let done = done.unwrap();
        let told = String::from_utf8_lossy(&done.stdout);
        let sent = format!("\"sent\":{},\"left\":0}}", held.len());
        assert!(
            done.status.success() && told.contains(&sent),
            "{told}{}",
            String::from_utf8_lossy(&done.stderr)
        );
    }
    let (lake, _sink) = site.tables();
    let rows = flood.len() + honest.len() + 2;
    wait_for("a row for every reading", PATIENCE, || site.rows(&lake) == rows as u64);
    assert!(site.kafka.records("gps_data").len() > rows + held.len(), "it was sent twice");
}

#[test]
fn a_frame_that_is_sent_again_and_again_is_in_the_table_once() {
    let Some(site) = Site::start() else {
        return skip("Mosquitto or Kafka is missing");
    };
    let (lake, _sink) = site.tables();
    let count = RATE.0 as u64;
    for _ in 0..2 {
        let frames = (0..count / 2).map(|n| (OWN.to_owned(), gps("van-1", n))).collect();
        assert_eq!(site.give("van-1", frames), Answer::Taken);
    }
    // The last one is new, so that once it is there the others have been through.
    assert_eq!(site.give("van-1", vec![(OWN.into(), gps("van-1", count / 2))]), Answer::Taken);
    let in_kafka =
        || site.kafka.records("gps_data").iter().filter(|r| r.key.as_deref() == Some("van-1")).count();
    wait_for("all of them in Kafka", PATIENCE, || in_kafka() as u64 == count + 1);
    let rows = count / 2 + 1;
    wait_for("its rows", PATIENCE, || {
        let of_others = site.kafka.records("gps_data").len() as u64 - (count + 1);
        // What van-2 sent until the bridge was there is one reading, however often it came.
        site.rows(&lake) == rows + u64::from(of_others > 0)
    });
}
