//! A real Mosquitto, librdkafka's mock cluster, a publisher and a reader for the bridge's tests.

use milepost_bridge::{Bridge, Settings};
use milepost_wire::reading::Gps;
use milepost_wire::{Batch, Body, BootId, Clock, Reading, Stream, VehicleId, frame, topic};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::{Offset, TopicPartitionList};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::{AsyncClient, Event, Incoming, MqttOptions};
use std::collections::BTreeMap;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub(crate) type Mock = MockCluster<'static, DefaultProducerContext>;

/// How long a test waits for what must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A Mosquitto on a free loopback port, its state in a folder; ended when dropped.
pub(crate) struct Mosquitto {
    child: Child,
    dir: tempfile::TempDir,
    program: PathBuf,
    pub(crate) port: u16,
}

impl Mosquitto {
    /// `None`, and a line that says so, where Mosquitto is not installed; a failure in CI.
    pub(crate) fn start(extra: &str) -> Option<Self> {
        let places = ["/usr/sbin/mosquitto", "/usr/bin/mosquitto", "/usr/local/sbin/mosquitto"];
        let Some(program) = places.iter().map(PathBuf::from).find(|p| p.exists()) else {
            assert!(std::env::var_os("CI").is_none(), "CI needs mosquitto: apt-get install mosquitto");
            println!("skipped: mosquitto is not installed (apt-get install mosquitto)");
            return None;
        };
        let dir = tempfile::tempdir().unwrap();
        let port = free_port();
        let config = format!(
            "listener {port} 127.0.0.1\nuser root\nallow_anonymous true\npersistence true\n\
             persistence_location {}/\nmax_inflight_messages 0\nmax_queued_messages 0\n{extra}\n",
            dir.path().display()
        );
        std::fs::write(dir.path().join("mosquitto.conf"), config).unwrap();
        let child = spawn(&program, &dir);
        let broker = Self { child, dir, program, port };
        broker.wait();
        Some(broker)
    }

    /// Ends it and starts it again on the same port: in order, so that it writes its state, or without.
    pub(crate) fn restart(&mut self, keep: bool) {
        let pid = self.child.id().to_string();
        let signal = if keep { "-TERM" } else { "-KILL" };
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
        self.child.wait().unwrap();
        self.child = spawn(&self.program, &self.dir);
        self.wait();
    }

    fn wait(&self) {
        let until = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(Instant::now() < until, "mosquitto did not start");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// A loopback port that nobody has.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn spawn(program: &PathBuf, dir: &tempfile::TempDir) -> Child {
    Command::new(program)
        .arg("-c")
        .arg(dir.path().join("mosquitto.conf"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A mock cluster of one broker with every topic, one partition each.
pub(crate) fn kafka() -> Mock {
    let cluster = MockCluster::new(1).unwrap();
    for name in topic::kafka_all().chain([topic::KAFKA_DEAD_LETTER]) {
        cluster.create_topic(name, 1, 1).unwrap();
    }
    cluster
}

/// The bridge's settings for these two.
pub(crate) fn settings(broker: &Mosquitto, bootstrap: &str) -> Settings {
    let mut s = Settings::default();
    s.mqtt.url = format!("mqtt://127.0.0.1:{}", broker.port);
    s.mqtt.reconnect_min = Duration::from_millis(20);
    s.mqtt.reconnect_max = Duration::from_millis(200);
    s.retry_after = Duration::from_millis(100);
    s.kafka.set("bootstrap.servers", bootstrap);
    s.kafka.set("linger.ms", "1");
    s.kafka.set("topic.metadata.propagation.max.ms", "500");
    s.kafka.set("reconnect.backoff.max.ms", "200");
    s
}

/// Starts a bridge and waits for its subscription.
pub(crate) async fn start(settings: Settings) -> Bridge {
    let bridge = Bridge::start(settings).unwrap();
    tokio::time::timeout(PATIENCE, bridge.subscribed()).await.expect("the broker confirms the subscription");
    bridge
}

/// Waits until `done` says so.
pub(crate) async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Frame `n` of a vehicle: its length differs from its neighbours'.
pub(crate) fn gps_frame(vehicle: &str, n: u64) -> Vec<u8> {
    let columns = Stream::Gps.columns().unwrap();
    let vehicle = VehicleId::new(vehicle).unwrap();
    let mut batch = Batch::new(vehicle, BootId(7), Stream::Gps, columns, n * 100, Vec::new());
    for i in 0..1 + n % 13 {
        let gps = Gps {
            lat_e7: 515_000_000 + (n * 31 + i) as i32,
            lon_e7: -1_000_000,
            altitude_cm: None,
            speed_mm_s: Some(i as u32),
            heading_cdeg: None,
            fix: 1,
            satellites: Some(9),
            hdop_e2: None,
        };
        let ts = 1_772_000_000_000_000 + (n * 100 + i) as i64 * 1_000_000;
        batch.push(&Reading { ts, clock: Clock::Gps, body: Body::Gps(gps) }).unwrap();
    }
    frame::encode(&batch).unwrap()
}

/// Publishes at QoS 1 and waits until the broker has acknowledged all.
pub(crate) async fn publish(port: u16, messages: Vec<(String, Vec<u8>)>) {
    let mut options = MqttOptions::new("test-publisher", "127.0.0.1", port);
    options.set_clean_start(true);
    let (client, mut events) = AsyncClient::new(options, 16);
    let count = messages.len();
    let sender = tokio::spawn(async move {
        for (topic, payload) in messages {
            client.publish(topic, QoS::AtLeastOnce, false, payload).await.unwrap();
        }
        client
    });
    let mut acked = 0;
    while acked < count {
        if let Event::Incoming(Incoming::PubAck(_)) = events.poll().await.unwrap() {
            acked += 1;
        }
    }
    drop(sender.await.unwrap());
}

/// A record as a test looks at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) key: Option<String>,
    pub(crate) value: Vec<u8>,
    pub(crate) headers: BTreeMap<String, String>,
}

/// Reads a topic from its start until `enough` says that it has seen what it wants.
pub(crate) fn read(bootstrap: &str, topic: &str, mut enough: impl FnMut(&[Record]) -> bool) -> Vec<Record> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("group.id", "test")
        .set("enable.auto.commit", "false")
        .create()
        .unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, 0, Offset::Beginning).unwrap();
    consumer.assign(&list).unwrap();
    let (mut records, until) = (Vec::new(), Instant::now() + PATIENCE);
    while !enough(&records) {
        assert!(Instant::now() < until, "{topic} has only {} records", records.len());
        let Some(Ok(m)) = consumer.poll(Duration::from_millis(100)) else { continue };
        let text = |b: &[u8]| String::from_utf8(b.to_vec()).unwrap();
        let headers = m
            .headers()
            .map(|h| h.iter().map(|h| (h.key.to_owned(), text(h.value.unwrap_or_default()))).collect());
        records.push(Record {
            key: m.key().map(text),
            value: m.payload().unwrap_or_default().to_vec(),
            headers: headers.unwrap_or_default(),
        });
    }
    records
}
