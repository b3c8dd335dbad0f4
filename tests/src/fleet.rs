//! A fleet as `milepost fleet` makes it, its broker, and whoever tries to come in.

use crate::process::{Process, free_port, program, wait_for};
use milepost_agent::mqtt::{TlsFiles, tls};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, PubAckReason};
use rumqttc::v5::{AsyncClient, Event, EventLoop, MqttOptions};
use rumqttc::{TlsConfiguration, Transport};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;
use tempfile::TempDir;

/// How long anything may take.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Publishes on their way to the broker at a time.
const WINDOW: usize = 64;

/// A fleet's folder, and the broker and the bridge that have their bundles from it.
pub struct Fleet {
    dir: TempDir,
    pub port: u16,
    pub bridge_port: u16,
}

/// What came of an attempt to publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Taken,
    NotAuthorized,
    /// No connection: why.
    Refused(String),
}

impl Fleet {
    pub fn init() -> Self {
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

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Runs `milepost fleet`; gives what it printed. Panics where it fails.
    pub fn milepost(&self, arguments: &[&str]) -> String {
        let (good, text) = self.attempt(arguments);
        assert!(good, "milepost fleet {arguments:?}: {text}");
        text
    }

    pub fn attempt(&self, arguments: &[&str]) -> (bool, String) {
        let mut milepost = Command::new(program("milepost", "milepost"));
        milepost.args(["fleet", "--dir"]).arg(self.dir.path()).args(arguments);
        let out = milepost.output().expect("milepost starts");
        (out.status.success(), String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned())
    }

    pub fn enroll(&self, vehicle: &str) {
        let bundle = self.path(&format!("vehicles/{vehicle}"));
        self.milepost(&["enroll", vehicle, "--config-dir", text(&bundle)]);
    }

    /// A Mosquitto with the bundle's configuration; `None` where there is none on this machine.
    pub fn broker(&self) -> Option<Process> {
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

    pub fn start(&self, package: &str, config: &str, more: &str) -> Process {
        let file = self.path(config);
        let text = std::fs::read_to_string(&file).unwrap();
        let here = file.with_extension("here.toml");
        std::fs::write(&here, more.to_owned() + &text).unwrap();
        let mut command = Command::new(program(package, package));
        Process::start(command.arg("--config").arg(here), &self.path(&format!("{package}.log")))
    }

    /// Publishes with the certificate of `bundle`, or without one.
    pub fn publish(&self, port: u16, bundle: Option<&Path>, topic: &str) -> Answer {
        self.publish_all(port, bundle, vec![(topic.to_owned(), b"a frame".to_vec())])
    }

    /// Publishes messages in order; the first answer that is not "taken", or that of the last.
    pub fn publish_all(&self, port: u16, bundle: Option<&Path>, messages: Vec<(String, Vec<u8>)>) -> Answer {
        let (client, mut events) = self.client(port, bundle);
        let mut due = messages.len();
        let mut messages = messages.into_iter();
        let mut give = |n| {
            for (topic, payload) in messages.by_ref().take(n) {
                client.try_publish(topic, QoS::AtLeastOnce, false, payload).expect("it has room");
            }
        };
        give(WINDOW);
        let answer = async {
            while due > 0 {
                match events.poll().await {
                    Ok(Event::Incoming(Packet::PubAck(ack))) if ack.reason == PubAckReason::NotAuthorized => {
                        return Answer::NotAuthorized;
                    }
                    Ok(Event::Incoming(Packet::PubAck(_))) => {
                        due -= 1;
                        give(1);
                    }
                    Ok(_) => {}
                    Err(e) => return Answer::Refused(e.to_string()),
                }
            }
            Answer::Taken
        };
        let answer = block_on(async { tokio::time::timeout(PATIENCE, answer).await });
        answer.expect("the broker answers")
    }

    /// What somebody is sent who subscribes to `filters` while `meanwhile` goes on. Panics where he is not
    /// let in.
    pub fn overhear(&self, bundle: &Path, filters: &[&str], meanwhile: impl FnOnce()) -> Vec<String> {
        let (client, mut events) = self.client(self.port, Some(bundle));
        for filter in filters {
            client.try_subscribe(*filter, QoS::AtLeastOnce).expect("it has room");
        }
        let (asked_in, asked) = mpsc::channel();
        let (stop, mut stopped) = tokio::sync::oneshot::channel::<()>();
        let count = filters.len();
        let listener = std::thread::spawn(move || {
            let (mut heard, mut answers) = (Vec::new(), 0);
            block_on(async {
                loop {
                    let event = tokio::select! {
                        event = events.poll() => event,
                        _ = &mut stopped => return,
                    };
                    match event.expect("he is let in") {
                        Event::Incoming(Packet::SubAck(_)) => {
                            answers += 1;
                            if answers == count {
                                let _ = asked_in.send(());
                            }
                        }
                        Event::Incoming(Packet::Publish(publish)) => {
                            heard.push(String::from_utf8_lossy(&publish.topic).into_owned());
                        }
                        _ => {}
                    }
                }
            });
            heard
        });
        asked.recv_timeout(PATIENCE).expect("the broker answers every subscription");
        meanwhile();
        let _ = stop.send(());
        listener.join().expect("the listener ends")
    }

    fn client(&self, port: u16, bundle: Option<&Path>) -> (AsyncClient, EventLoop) {
        let client = bundle.map(|bundle| (bundle.join("cert.pem"), bundle.join("key.pem")));
        let files = TlsFiles { ca: self.path("ca.pem"), client };
        let mut options = MqttOptions::new(format!("who-knows-{}", free_port()), "127.0.0.1", port);
        let config = TlsConfiguration::Rustls(tls(&files).expect("the bundle is whole"));
        options.set_clean_start(true).set_transport(Transport::tls_with_config(config));
        AsyncClient::new(options, 2 * WINDOW)
    }

    /// Gives a vehicle's bundle another certificate of the same authority, which was good long ago.
    pub fn expire(&self, vehicle: &str) {
        let read = |name: &str| std::fs::read_to_string(self.path(name)).expect("the fleet is whole");
        let fleet = read("fleet.toml");
        let line = fleet.lines().find_map(|line| line.strip_prefix("authority = \"")).expect("it has a name");
        let mut authority = CertificateParams::default();
        authority.distinguished_name.push(DnType::CommonName, line.trim_end_matches('"'));
        authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let authority_key = KeyPair::from_pem(&read("ca.key")).expect("a key");
        let key = KeyPair::generate().expect("a key");
        let mut own = CertificateParams::default();
        own.distinguished_name.push(DnType::CommonName, vehicle);
        own.use_authority_key_identifier_extension = true;
        (own.not_before, own.not_after) =
            (rcgen::date_time_ymd(2020, 1, 1), rcgen::date_time_ymd(2021, 1, 1));
        let own = own.signed_by(&key, &Issuer::new(authority, &authority_key)).expect("a certificate");
        let bundle = self.path(&format!("vehicles/{vehicle}"));
        std::fs::write(bundle.join("cert.pem"), own.pem()).expect("a file");
        std::fs::write(bundle.join("key.pem"), key.serialize_pem()).expect("a file");
    }
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(work)
}

/// A path as text.
pub fn text(path: &Path) -> &str {
    path.to_str().expect("the temporary folder's path is text")
}
