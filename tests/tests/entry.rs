//! Who gets in: the bundles that `milepost fleet` makes, on a real Mosquitto with the configuration that it
//! wrote. Whoever should not come in is turned away by the broker, and nothing of his is in Kafka.

use milepost_agent::mqtt::{TlsFiles, tls};
use milepost_tests::kafka::Kafka;
use milepost_tests::process::{Process, free_port, program, wait_for};
use milepost_tests::skip;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, PubAckReason};
use rumqttc::v5::{AsyncClient, Event, MqttOptions};
use rumqttc::{TlsConfiguration, Transport};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(60);

/// A fleet's folder, and the broker and the bridge that have their bundles from it.
struct Fleet {
    dir: TempDir,
    port: u16,
    bridge_port: u16,
}

/// What came of an attempt to publish.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Taken,
    NotAuthorized,
    /// No connection: why.
    Refused(String),
}

impl Fleet {
    fn init() -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let fleet = Self { dir, port: free_port(), bridge_port: free_port() };
        let (port, bridge_port) = (fleet.port.to_string(), fleet.bridge_port.to_string());
        let (broker, bridge) = (fleet.path("broker"), fleet.path("bridge"));
        let ports = ["--port", &port, "--bridge-port", &bridge_port];
        let places = ["--broker-dir", text(&broker), "--bridge-dir", text(&bridge)];
        let addresses = ["--broker", "127.0.0.1", "--broker", "localhost"];
        fleet.milepost(&[&["init"][..], &addresses, &ports, &places].concat());
        fleet
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Runs `milepost fleet`; gives what it printed. Panics where it fails.
    fn milepost(&self, arguments: &[&str]) -> String {
        let (good, text) = self.attempt(arguments);
        assert!(good, "milepost fleet {arguments:?}: {text}");
        text
    }

    fn attempt(&self, arguments: &[&str]) -> (bool, String) {
        let mut milepost = Command::new(program("milepost", "milepost"));
        milepost.args(["fleet", "--dir"]).arg(self.dir.path()).args(arguments);
        let out = milepost.output().expect("milepost starts");
        (out.status.success(), String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned())
    }

    fn enroll(&self, vehicle: &str) {
        let bundle = self.path(&format!("vehicles/{vehicle}"));
        self.milepost(&["enroll", vehicle, "--config-dir", text(&bundle)]);
    }

    /// A Mosquitto with the bundle's configuration; `None` where there is none on this machine.
    fn broker(&self) -> Option<Process> {
        let mosquitto = ["/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto", "/usr/bin/mosquitto"];
        let mosquitto = mosquitto.into_iter().find(|p| Path::new(p).is_file())?;
        let written = std::fs::read_to_string(self.path("broker/mosquitto.conf")).unwrap();
        // On loopback only, with its data here; started as root it would give up its right to the keys.
        let (port, bridge_port) = (self.port, self.bridge_port);
        let mut here = written
            .replace(&format!("listener {port}\n"), &format!("listener {port} 127.0.0.1\n"))
            .replace(&format!("listener {bridge_port}\n"), &format!("listener {bridge_port} 127.0.0.1\n"));
        here.insert_str(0, &format!("persistence_location {}/\n", self.dir.path().display()));
        if std::fs::metadata("/proc/self").is_ok_and(|m| std::os::unix::fs::MetadataExt::uid(&m) == 0) {
            here.insert_str(0, "user root\n");
        }
        let conf = self.path("broker/here.conf");
        std::fs::write(&conf, here).unwrap();
        let started =
            Process::start(Command::new(mosquitto).arg("-c").arg(conf), &self.path("mosquitto.log"));
        wait_for("Mosquitto", Duration::from_secs(10), || {
            [port, bridge_port].iter().all(|p| TcpStream::connect((Ipv4Addr::LOCALHOST, *p)).is_ok())
        });
        Some(started)
    }

    fn start(&self, package: &str, config: &str, more: &str) -> Process {
        let file = self.path(config);
        let text = std::fs::read_to_string(&file).unwrap();
        let here = file.with_extension("here.toml");
        std::fs::write(&here, more.to_owned() + &text).unwrap();
        let mut command = Command::new(program(package, package));
        Process::start(command.arg("--config").arg(here), &self.path(&format!("{package}.log")))
    }

    /// Publishes with the certificate of `bundle`, or without one.
    fn publish(&self, port: u16, bundle: Option<&Path>, topic: &str) -> Answer {
        let client = bundle.map(|bundle| (bundle.join("cert.pem"), bundle.join("key.pem")));
        let files = TlsFiles { ca: self.path("ca.pem"), client };
        let mut options = MqttOptions::new("who-knows", "127.0.0.1", port);
        let config = TlsConfiguration::Rustls(tls(&files).expect("the bundle is whole"));
        options.set_clean_start(true).set_transport(Transport::tls_with_config(config));
        let (client, mut events) = AsyncClient::new(options, 10);
        client.try_publish(topic, QoS::AtLeastOnce, false, b"a frame".to_vec()).expect("it has room");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let answer = async {
            loop {
                match events.poll().await {
                    Ok(Event::Incoming(Packet::PubAck(ack))) => match ack.reason {
                        PubAckReason::NotAuthorized => return Answer::NotAuthorized,
                        _ => return Answer::Taken,
                    },
                    Ok(_) => {}
                    Err(e) => return Answer::Refused(e.to_string()),
                }
            }
        };
        let answer = runtime.block_on(async { tokio::time::timeout(PATIENCE, answer).await });
        answer.expect("the broker answers")
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("the temporary folder's path is text")
}

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
