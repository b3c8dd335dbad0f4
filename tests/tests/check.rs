//! The `check` commands on real brokers and an S3: where all is well they say so, and where something is
//! wrong they name it, say how to mend it, and end with status 1. None tells a secret or disturbs a running
//! program.

use milepost_fake_aws::{Answer, FakeAws, Fault, Op};
use milepost_tests::fleet::{Answer as Said, Fleet, PATIENCE, text};
use milepost_tests::kafka::{Access, Kafka};
use milepost_tests::process::{program, wait_for};
use milepost_tests::skip;
use std::path::Path;
use std::process::Command;

/// What a check printed.
struct Found {
    good: bool,
    text: String,
}

fn check(package: &str, config: &Path) -> Found {
    let out = Command::new(program(package, package)).arg("check").arg("--config").arg(config).output();
    let out = out.expect("the program starts");
    let text = String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned();
    for secret in ["PRIVATE", "hunter2"] {
        assert!(!text.contains(secret), "{text}");
    }
    Found { good: out.status.success(), text }
}

impl Found {
    #[track_caller]
    fn is_good(&self) {
        assert!(self.good && self.text.lines().all(|line| line.starts_with("ok ")), "{}", self.text);
    }

    /// Whether `what` is wrong, for a reason that has `why` in it.
    #[track_caller]
    fn is_wrong(&self, what: &str, why: &str) {
        let begin = format!("wrong  {what}: ");
        let found = self.text.lines().any(|line| line.starts_with(&begin) && line.contains(why));
        assert!(found && !self.good, "{what}, {why}:\n{}", self.text);
    }
}

/// Writes a configuration with one text in another's place.
fn with(file: &Path, old: &str, new: &str) -> std::path::PathBuf {
    let changed = file.with_extension("changed.toml");
    let text = std::fs::read_to_string(file).unwrap();
    assert!(text.contains(old), "{old} is not in {text}");
    std::fs::write(&changed, text.replace(old, new)).unwrap();
    changed
}

#[test]
fn an_agent_s_check_says_what_keeps_it_from_its_broker() {
    let fleet = Fleet::init();
    for vehicle in ["van-1", "van-2"] {
        fleet.enroll(vehicle);
    }
    let Some(_broker) = fleet.broker() else {
        return skip("Mosquitto is missing");
    };
    let config = fleet.path("vehicles/van-1/agent.toml");
    let config = with(&config, "/var/lib/milepost", text(&fleet.path("data")));
    check("milepost-agent", &config).is_good();
    assert!(!fleet.path("data").exists(), "the check makes no folder");

    let source = "[[source]]\nname = \"gps\"\ntype = \"nmea\"\nport = \"/dev/no-such-port\"\n\n[uplink]";
    check("milepost-agent", &with(&config, "[uplink]", source)).is_wrong("Source gps", "/dev/no-such-port");
    let transform = "[[transform]]\nname = \"t\"\npath = \"/etc/passwd\"\n\n[uplink]";
    check("milepost-agent", &with(&config, "[uplink]", transform))
        .is_wrong("Transform t", "not a WebAssembly component");
    let large = "[spool]\nbytes_max = \"900000 GiB\"\n\n[uplink]";
    check("milepost-agent", &with(&config, "[uplink]", large)).is_wrong("Data folder", "spool.bytes_max");
    let own_port = fleet.port.to_string();
    check("milepost-agent", &with(&config, &own_port, "1")).is_wrong("Broker", "Nobody answers");
    check("milepost-agent", &with(&config, "127.0.0.1", "127.0.0.2")).is_wrong("Broker", "127.0.0.2");
    check("milepost-agent", &with(&config, "ca.pem", "key.pem")).is_wrong("Broker", "holds no certificate");
    let strangers = Fleet::init();
    let authority = format!("ca = \"{}\"", text(&strangers.path("ca.pem")));
    let own = format!("ca = \"{}\"", text(&fleet.path("vehicles/van-1/ca.pem")));
    check("milepost-agent", &with(&config, &own, &authority)).is_wrong("TLS", "authority");
    let other = with(&config, "vehicle = \"van-1\"", "vehicle = \"van-2\"");
    check("milepost-agent", &other).is_wrong("Publishing", "van-2");
    fleet.expire("van-1");
    let expired = check("milepost-agent", &config);
    expired.is_wrong("Certificate", "no longer good");
    expired.is_wrong("Login", "CertificateExpired");
}

#[test]
fn a_bridge_s_check_says_what_it_may_not_do_and_takes_no_frame_from_a_running_one() {
    let fleet = Fleet::init();
    fleet.enroll("van-1");
    let Some(_broker) = fleet.broker() else {
        return skip("Mosquitto is missing");
    };
    std::fs::create_dir(fleet.path("kafka")).unwrap();
    let Some(kafka) = Kafka::start_with(&fleet.path("kafka"), 1, Access::PROPERTIES) else {
        return skip("Kafka is missing");
    };
    let config = fleet.path("bridge/bridge.toml");
    let written = std::fs::read_to_string(&config).unwrap();
    let here = written.replace("localhost:9092", &kafka.bootstrap_servers());
    std::fs::write(&config, "metrics.listen = \"\"\n".to_owned() + &here).unwrap();
    let _bridge = fleet.start("milepost-bridge", "bridge/bridge.toml", "");
    let own = fleet.path("vehicles/van-1");
    let dead = || kafka.records(milepost_wire::topic::KAFKA_DEAD_LETTER).len();
    wait_for("the bridge", PATIENCE, || {
        fleet.publish(fleet.port, Some(&own), "milepost/v1/van-1/gps_data");
        dead() > 0
    });
    let before = dead();
    check("milepost-bridge", &config).is_good();
    let messages = vec![("milepost/v1/van-1/gps_data".to_owned(), b"no frame".to_vec()); 50];
    assert_eq!(fleet.publish_all(fleet.port, Some(&own), messages), Said::Taken);
    check("milepost-bridge", &config).is_good();
    wait_for("all 50 in Kafka", PATIENCE, || dead() >= before + 50);

    let a_vehicle = with(&config, text(&fleet.path("bridge/cert.pem")), text(&own.join("cert.pem")));
    let a_vehicle = with(&a_vehicle, text(&fleet.path("bridge/key.pem")), text(&own.join("key.pem")));
    check("milepost-bridge", &a_vehicle).is_wrong("Login", "");
    kafka.allow("gps_data", Access::Nobody);
    kafka.delete_topic("weather_data");
    let found = check("milepost-bridge", &config);
    found.is_wrong("Kafka topic gps_data", "WRITE");
    found.is_wrong("Kafka topic weather_data", "kafka-topics.sh");
    let login = "[kafka]\n\"sasl.password\" = \"hunter2\"\n\"no.such.property\" = \"hunter2\"\n";
    check("milepost-bridge", &with(&config, "[kafka]\n", login)).is_wrong("Kafka", "no.such.property");
}

#[test]
fn a_sink_s_check_says_what_the_lake_or_kafka_does_not_let_it_do() {
    let dir = tempfile::tempdir().unwrap();
    let Some(kafka) = Kafka::start(dir.path(), 1) else {
        return skip("Kafka is missing");
    };
    let fake = FakeAws::start();
    let keys = fake.keys("checker");
    let config = dir.path().join("sink.toml");
    let written = format!(
        "lake = \"s3://lake\"\n[sink]\nbrokers = \"{}\"\n[s3]\nendpoint = \"{}\"\nregion = \"us-east-1\"\n\
         access_key = \"{}\"\nsecret_key = \"{}\"\n",
        kafka.bootstrap_servers(),
        fake.endpoint(),
        keys.access,
        keys.secret
    );
    std::fs::write(&config, written).unwrap();
    check("milepost-sink", &config).is_good();
    let left = tempfile::tempdir().unwrap();
    fake.save(left.path());
    assert!(std::fs::read_dir(left.path()).unwrap().next().is_none(), "the check leaves something behind");

    kafka.delete_topic("gap_data");
    check("milepost-sink", &config).is_wrong("Kafka topic gap_data", "kafka-topics.sh");
    check("milepost-sink", &with(&config, "s3://lake", "s3://no-such-bucket"))
        .is_wrong("Lake, writing", "NoSuchBucket");
    let stranger = with(&config, &keys.secret, "hunter2");
    check("milepost-sink", &stranger).is_wrong("Lake, writing", "s3:PutObject");
    let away = with(&config, &kafka.bootstrap_servers(), "127.0.0.1:1");
    check("milepost-sink", &away).is_wrong("Kafka", "Connection refused");
    fake.plan(|request| if request.op == Op::List { Fault::Refuse(Answer::DENIED) } else { Fault::None });
    check("milepost-sink", &config).is_wrong("Lake, listing", "s3:ListBucket");
}

#[test]
fn settings_that_cannot_be_read_are_named_by_each_check() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("settings.toml");
    std::fs::write(&config, "no_such_setting = 3\n").unwrap();
    for package in ["milepost-agent", "milepost-bridge", "milepost-sink"] {
        let out = Command::new(program(package, package)).arg("--config").arg(&config).arg("check").output();
        let out = out.unwrap();
        let told = String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned();
        let named = told.contains("settings.toml") && told.contains("no_such_setting");
        assert!(!out.status.success() && named, "{package}: {told}");
    }
}
