//! Kafka behind TLS and a login, as on a cluster that others use too: the bridge and the sink come in with what
//! librdkafka's properties say, the password is told to nobody, and `check` says what is wrong with them.

use milepost_tests::fleet::{Answer, Fleet, PATIENCE, text};
use milepost_tests::kafka::{Kafka, Login};
use milepost_tests::process::{Process, program, wait_for};
use milepost_tests::skip;
use milepost_wire::reading::Gps;
use milepost_wire::{Batch, Body, BootId, Clock, Reading, Stream, VehicleId, frame};
use std::path::Path;
use std::process::Command;

const TOPIC: &str = "milepost/v1/van-1/gps_data";
const PASSWORD: &str = "correct-horse-battery";

/// One fix's frame.
fn fix() -> Vec<u8> {
    let (vehicle, stream) = (VehicleId::new("van-1").unwrap(), Stream::Gps);
    let columns = stream.columns().unwrap();
    let mut batch = Batch::new(vehicle, BootId(7), stream, columns, 0, Vec::new());
    let gps = Gps {
        lat_e7: 515_000_000,
        lon_e7: -1_000_000,
        altitude_cm: None,
        speed_mm_s: Some(1000),
        heading_cdeg: None,
        fix: 1,
        satellites: Some(9),
        hdop_e2: None,
    };
    let reading = Reading { ts: 1_772_000_000_000_000, clock: Clock::Gps, body: Body::Gps(gps) };
    batch.push(&reading).unwrap();
    frame::encode(&batch).unwrap()
}

/// The properties by which a program comes in.
fn properties(password: &str, authority: &Path) -> String {
    format!(
        "\"security.protocol\" = \"SASL_SSL\"\n\"sasl.mechanism\" = \"SCRAM-SHA-512\"\n\
         \"sasl.username\" = \"milepost\"\n\"sasl.password\" = \"{password}\"\n\
         \"ssl.ca.location\" = \"{}\"\n",
        authority.display()
    )
}

/// What `check` prints, and whether all was well.
fn check(package: &str, config: &Path) -> (bool, String) {
    let out =
        Command::new(program(package, package)).arg("check").arg("--config").arg(config).output().unwrap();
    (out.status.success(), String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned())
}

#[test]
fn bridge_and_sink_come_in_by_tls_with_a_password_that_nobody_is_told() {
    let fleet = Fleet::init();
    fleet.enroll("van-1");
    let Some(_broker) = fleet.broker() else {
        return skip("Mosquitto is missing");
    };
    std::fs::create_dir(fleet.path("kafka")).unwrap();
    let (certificate, key) = (fleet.path("broker/cert.pem"), fleet.path("broker/key.pem"));
    let login = Login { certificate: &certificate, key: &key, user: "milepost", password: PASSWORD };
    let Some(kafka) = Kafka::start_with_login(&fleet.path("kafka"), 1, &login) else {
        return skip("Kafka is missing");
    };
    let written = std::fs::read_to_string(fleet.path("bridge/bridge.toml")).unwrap();
    let own = fleet.path("ca.pem");
    let strangers = Fleet::init();
    let (lake, sink) = (fleet.path("lake"), "milepost-sink");
    let configs = |name: &str, password: &str, authority: &Path| {
        let login = properties(password, authority);
        let bridge = written.replace("localhost:9092", &kafka.secured());
        let bridge = bridge.replace("[kafka]\n", &format!("[kafka]\n{login}"));
        let bridge = "metrics.listen = \"\"\n".to_owned() + &bridge;
        let of_sink = format!(
            "lake = \"{}\"\nmetrics.listen = \"\"\n[sink]\nbrokers = \"{}\"\nfile_age_ms = 500\n[sink.kafka]\n{login}",
            text(&lake),
            kafka.secured()
        );
        [("milepost-bridge", bridge), (sink, of_sink)].map(|(package, config)| {
            let file = fleet.path(&format!("{package}.{name}.toml"));
            std::fs::write(&file, config).unwrap();
            (package, file)
        })
    };

    for (package, config) in configs("stranger", "wrong", &own) {
        let (good, told) = check(package, &config);
        assert!(
            !good && told.contains("wrong  Kafka: ") && told.contains("uthentication failed"),
            "{package}: {told}"
        );
    }
    for (package, config) in configs("elsewhere", PASSWORD, &strangers.path("ca.pem")) {
        let (good, told) = check(package, &config);
        assert!(
            !good && told.contains("wrong  Kafka: ") && told.contains("certificate verify failed"),
            "{package}: {told}"
        );
        assert!(!told.contains(PASSWORD), "{package}: {told}");
    }

    let logs = |package: &str| fleet.path(&format!("{package}.log"));
    let running = configs("own", PASSWORD, &own).map(|(package, config)| {
        let (good, told) = check(package, &config);
        assert!(good && !told.contains(PASSWORD), "{package}: {told}");
        let mut command = Command::new(program(package, package));
        command.arg("--config").arg(&config).env("RUST_LOG", "debug");
        Process::start(&mut command, &logs(package))
    });
    wait_for("the bridge's subscription and the row's file", PATIENCE, || {
        // Before it subscribes the broker throws away what comes.
        let bundle = fleet.path("vehicles/van-1");
        assert_eq!(fleet.publish_all(fleet.port, Some(&bundle), vec![(TOPIC.into(), fix())]), Answer::Taken);
        lake.join("gps_data").is_dir()
    });
    for process in &running {
        let arguments = std::fs::read(format!("/proc/{}/cmdline", process.id())).unwrap();
        assert!(!String::from_utf8_lossy(&arguments).contains(PASSWORD));
    }
    drop(running);
    for package in ["milepost-bridge", sink] {
        let log = std::fs::read_to_string(logs(package)).unwrap();
        assert!(!log.is_empty() && !log.contains(PASSWORD) && !log.contains("PRIVATE"), "{package}: {log}");
    }
}
