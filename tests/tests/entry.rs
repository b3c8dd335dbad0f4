//! Who gets in: the bundles that `milepost fleet` makes, on a real Mosquitto with the configuration that it
//! wrote. Whoever should not come in is turned away by the broker, and nothing of his is in Kafka.

use milepost_tests::fleet::{Answer, Fleet, PATIENCE, text};
use milepost_tests::kafka::Kafka;
use milepost_tests::process::wait_for;
use milepost_tests::skip;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[track_caller]
fn refused(answer: Answer, who: &str) {
    assert!(matches!(answer, Answer::Refused(_)), "{who}: {answer:?}");
}

#[test]
fn who_is_not_enrolled_or_is_revoked_does_not_come_in_and_who_is_keeps_to_its_own_topic() {
    let fleet = Fleet::init();
    let (own, other) = ("milepost/v1/van-1/gps_data", "milepost/v1/van-2/gps_data");
    for vehicle in ["van-1", "van-2"] {
        fleet.enroll(vehicle);
    }
    let Some(broker) = fleet.broker() else {
        return skip("Mosquitto is missing");
    };
    let [van_1, van_2] = ["van-1", "van-2"].map(|v| fleet.path(&format!("vehicles/{v}")));
    assert_eq!(fleet.publish(fleet.port, Some(&van_1), own), Answer::Taken);
    assert_eq!(fleet.publish(fleet.port, Some(&van_2), other), Answer::Taken);
    // Mosquitto answers that it is not authorized, or closes the connection.
    for topic in [other, "milepost/v1/bridge", "elsewhere", "vehicles/milepost/v1/van-1/gps_data"] {
        assert_ne!(fleet.publish(fleet.port, Some(&van_1), topic), Answer::Taken, "{topic}");
    }
    refused(fleet.publish(fleet.port, None, own), "no certificate");
    let strangers = Fleet::init();
    strangers.enroll("van-1");
    refused(fleet.publish(fleet.port, Some(&strangers.path("vehicles/van-1")), own), "another fleet's");
    refused(fleet.publish(fleet.bridge_port, Some(&van_1), own), "a vehicle at the bridge's door");
    refused(fleet.publish(fleet.port, Some(&fleet.path("bridge")), own), "the bridge at the vehicles' door");

    drop(broker);
    fleet.milepost(&["renew", "van-1", "--config-dir", text(&van_1)]);
    fleet.milepost(&["revoke", "van-2"]);
    let _broker = fleet.broker();
    refused(fleet.publish(fleet.port, Some(&van_2), other), "a revoked vehicle");
    assert_eq!(fleet.publish(fleet.port, Some(&van_1), own), Answer::Taken, "with a new certificate");
    fleet.enroll("van-2");
    assert_eq!(fleet.publish(fleet.port, Some(&van_2), other), Answer::Taken, "let in once more");
    let list = fleet.milepost(&["list"]);
    assert_eq!((list.lines().count(), list.matches("revoked").count()), (4, 1), "{list}");
}

#[test]
fn an_enrolled_vehicle_s_readings_reach_kafka_over_tls_with_the_files_as_they_were_made() {
    let fleet = Fleet::init();
    fleet.enroll("van-1");
    let Some(broker) = fleet.broker() else {
        return skip("Mosquitto is missing");
    };
    let kafka_dir = fleet.path("kafka");
    std::fs::create_dir(&kafka_dir).unwrap();
    let Some(kafka) = Kafka::start(&kafka_dir, 1) else {
        return skip("Kafka is missing");
    };
    let bridge = fleet.path("bridge/bridge.toml");
    let written = std::fs::read_to_string(&bridge).unwrap();
    std::fs::write(&bridge, written.replace("localhost:9092", &kafka.bootstrap_servers())).unwrap();
    let agent = fleet.path("vehicles/van-1/agent.toml");
    let written = std::fs::read_to_string(&agent).unwrap();
    let here = written.replace("/var/lib/milepost", text(&fleet.path("data")));
    let source = "\n[[source]]\nname = \"trip\"\ntype = \"simulate\"\nseed = 1\nspeed = 100\n";
    std::fs::write(&agent, here + source).unwrap();
    let _bridge = fleet.start("milepost-bridge", "bridge/bridge.toml", "");
    let _agent = fleet.start("milepost-agent", "vehicles/van-1/agent.toml", "");
    wait_for("readings in Kafka", PATIENCE, || {
        kafka.records("gps_data").iter().any(|record| record.key.as_deref() == Some("van-1"))
    });
    // Only its new certificate is good now, and the agent is not started again.
    fleet.milepost(&["revoke", "van-1"]);
    fleet.enroll("van-1");
    drop(broker);
    let _broker = fleet.broker();
    let before = kafka.records("gps_data").len();
    wait_for("more readings in Kafka", PATIENCE, || kafka.records("gps_data").len() > before);
    assert_eq!(kafka.records("milepost_dead_letter"), []);
}

#[test]
fn what_is_secret_is_its_owner_s_alone_and_is_not_overwritten() {
    let fleet = Fleet::init();
    fleet.enroll("van-1");
    let bundle = fleet.path("vehicles/van-1");
    for key in ["ca.key", "broker/key.pem", "bridge/key.pem", "vehicles/van-1/key.pem"] {
        assert_eq!(mode(&fleet.path(key)), 0o600, "{key}");
    }
    let key = std::fs::read_to_string(bundle.join("key.pem")).unwrap();
    let (good, said) = fleet.attempt(&["enroll", "van-1"]);
    assert!(!good && said.contains("is enrolled"), "{said}");
    let (good, said) = fleet.attempt(&["init", "--broker", "elsewhere"]);
    assert!(!good && said.contains("holds a fleet already"), "{said}");
    assert_eq!(std::fs::read_to_string(bundle.join("key.pem")).unwrap(), key);
    assert!(!fleet.milepost(&["renew", "van-1"]).contains("PRIVATE"));
    assert_ne!(std::fs::read_to_string(bundle.join("key.pem")).unwrap(), key);
    for (arguments, why) in [
        (&["enroll", "a/b"][..], "is not usable"),
        (&["enroll", "milepost-bridge"], "the bridge's name"),
        (&["renew", "van-9"], "is not enrolled"),
        (&["revoke", "van-9"], "no certificate"),
    ] {
        let (good, said) = fleet.attempt(arguments);
        assert!(!good && said.contains(why), "{arguments:?}: {said}");
    }
    std::fs::remove_file(fleet.path("fleet.toml")).unwrap();
    let (good, said) = fleet.attempt(&["list"]);
    assert!(!good && said.contains("holds no fleet"), "{said}");
}
