//! A real Apache Kafka in KRaft mode: one broker that is its own controller, and a second one where a
//! test wants a leader to go away.

mod acl;

use crate::campaign::Dice;
use crate::process::{Process, free_port, wait_for};
use crate::proxy::Proxy;
use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

pub use acl::Access;

/// Small and quick to start: a test has little data.
const JVM: [&str; 4] =
    ["-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Djava.awt.headless=true"];
/// How long Kafka may take to do what it is asked.
const PATIENCE: Duration = Duration::from_secs(180);
/// The broker that is also the controller.
const FIRST: i32 = 1;
/// The broker that [`Kafka::add_broker`] starts.
pub const SECOND: i32 = 2;

/// The brokers; killed when the value goes.
pub struct Kafka {
    dir: PathBuf,
    jars: String,
    controller: u16,
    first: Node,
    second: Option<Node>,
    /// The port of the listener that wants TLS and a login.
    secured: Option<u16>,
    /// Between the first broker and everyone else.
    pub network: Proxy,
}

struct Node {
    port: u16,
    properties: PathBuf,
    log: PathBuf,
    process: Option<Process>,
}

/// Who may come in by the listener that wants TLS and a login (SCRAM-SHA-512), and what it shows of itself.
pub struct Login<'a> {
    /// The broker's certificate, PEM.
    pub certificate: &'a Path,
    /// Its key, PEM.
    pub key: &'a Path,
    pub user: &'a str,
    pub password: &'a str,
}

/// A record as a test looks at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub partition: i32,
    pub key: Option<String>,
    pub value: Vec<u8>,
    pub headers: BTreeMap<String, String>,
}

impl Kafka {
    /// Starts one broker with its data in `dir` and every topic of Milepost; `None` where
    /// `cargo xtask test` did not bring it.
    pub fn start(dir: &Path, partitions: i32) -> Option<Self> {
        Self::start_with(dir, partitions, "")
    }

    /// As [`Kafka::start`], with properties of the broker's own.
    pub fn start_with(dir: &Path, partitions: i32, properties: &str) -> Option<Self> {
        Self::begin(dir, partitions, properties, None)
    }

    /// As [`Kafka::start`], with a listener that wants TLS and a login beside the one of the tests.
    pub fn start_with_login(dir: &Path, partitions: i32, login: &Login<'_>) -> Option<Self> {
        Self::begin(dir, partitions, "", Some(login))
    }

    fn begin(dir: &Path, partitions: i32, properties: &str, login: Option<&Login<'_>>) -> Option<Self> {
        let lib = std::env::var_os("MILEPOST_KAFKA_LIB").map(PathBuf::from).filter(|l| l.is_dir())?;
        let jars = lib.join("*").display().to_string();
        let (port, controller) = (free_port(), free_port());
        let network = Proxy::start(port);
        let first = Node {
            port,
            properties: dir.join("server.properties"),
            log: dir.join("kafka.log"),
            process: None,
        };
        let mut roles = format!(
            "process.roles=broker,controller\n\
             listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n\
             advertised.listeners=PLAINTEXT://127.0.0.1:{}\n{properties}\n",
            network.port
        );
        let secured = login.map(|_| free_port());
        if let (Some(login), Some(secured)) = (login, secured) {
            let [certificate, key] =
                [login.certificate, login.key].map(|file| std::fs::read(file).expect("PEM"));
            let store = dir.join("server.pem");
            std::fs::write(&store, [key, certificate].concat()).expect("the key store can be written");
            // What comes later counts.
            roles += &format!(
                "listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller},SECURED://127.0.0.1:{secured}\n\
                 advertised.listeners=PLAINTEXT://127.0.0.1:{},SECURED://localhost:{secured}\n\
                 listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SECURED:SASL_SSL\n\
                 listener.name.secured.sasl.enabled.mechanisms=SCRAM-SHA-512\n\
                 listener.name.secured.scram-sha-512.sasl.jaas.config=\
                 org.apache.kafka.common.security.scram.ScramLoginModule required;\n\
                 listener.name.secured.ssl.keystore.type=PEM\nlistener.name.secured.ssl.keystore.location={}\n",
                network.port,
                store.display()
            );
        }
        let mut kafka = Self { dir: dir.to_owned(), jars, controller, first, second: None, secured, network };
        let scram = login.map(|l| format!("SCRAM-SHA-512=[name={},password={}]", l.user, l.password));
        kafka.format(FIRST, &kafka.first.properties, &roles, scram.as_deref());
        kafka.restart();
        kafka.create_topics(partitions);
        Some(kafka)
    }

    /// Where clients find it.
    pub fn bootstrap_servers(&self) -> String {
        format!("127.0.0.1:{}", self.network.port)
    }

    /// Where clients find the listener that wants TLS and a login.
    pub fn secured(&self) -> String {
        format!("localhost:{}", self.secured.expect("it was started with a login"))
    }

    /// Kills the first broker (-9). Its data stay.
    pub fn kill(&mut self) {
        self.first.process = None;
    }

    /// Starts the first broker on the data that it has, and waits until it answers.
    pub fn restart(&mut self) {
        self.first.run(&self.jars);
    }

    /// Starts a second broker, [`SECOND`], beside the first. It holds nothing until a topic is made on it.
    pub fn add_broker(&mut self) {
        let port = free_port();
        let properties = self.dir.join("second.properties");
        let roles = format!(
            "process.roles=broker\nlisteners=PLAINTEXT://127.0.0.1:{port}\n\
             advertised.listeners=PLAINTEXT://127.0.0.1:{port}\n"
        );
        self.format(SECOND, &properties, &roles, None);
        let mut node = Node { port, properties, log: self.dir.join("second.log"), process: None };
        node.run(&self.jars);
        self.second = Some(node);
        let admin = self.admin();
        wait_for("the second broker in the cluster", PATIENCE, || {
            let metadata = admin.inner().fetch_metadata(None, Duration::from_secs(5));
            metadata.is_ok_and(|m| m.brokers().len() == 2)
        });
    }

    /// Kills the second broker (-9).
    pub fn kill_second(&mut self) {
        self.second = None;
    }

    /// Makes a topic of one partition, with its first replica, which leads, first.
    pub fn create_topic(&self, name: &str, replicas: &[i32]) {
        let replicas = [replicas];
        let topic = NewTopic::new(name, 1, TopicReplication::Variable(&replicas));
        self.create(&[topic]);
    }

    /// Deletes a topic and waits until it is gone.
    pub fn delete_topic(&self, name: &str) {
        let admin = self.admin();
        let gone = block_on(admin.delete_topics(&[name], &options())).expect("Kafka answers");
        gone.into_iter().for_each(|topic| drop(topic.expect("a topic can be deleted")));
        wait_for("the topic's end", PATIENCE, || self.leader(name).is_none());
    }

    /// Which broker leads a topic's first partition.
    pub fn leader(&self, topic: &str) -> Option<i32> {
        let metadata = self.admin().inner().fetch_metadata(Some(topic), Duration::from_secs(5)).ok()?;
        let partition = metadata.topics().first()?.partitions().iter().find(|p| p.id() == 0)?;
        Some(partition.leader()).filter(|leader| *leader >= 0)
    }

    /// Sets one property of a topic.
    pub fn set(&self, topic: &str, property: &str, value: &str) {
        let change = AlterConfig::new(ResourceSpecifier::Topic(topic)).set(property, value);
        let changed = block_on(self.admin().alter_configs(&[change], &options())).expect("Kafka answers");
        changed.into_iter().for_each(|topic| drop(topic.expect("a topic's settings can be changed")));
    }

    /// Changes who may write to a topic. The broker needs [`Access::PROPERTIES`].
    pub fn allow(&self, topic: &str, access: Access) {
        acl::change(self.first.port, topic, access).expect("Kafka changes its access list");
        let listed = access == Access::Nobody;
        wait_for("the broker's access list", PATIENCE, || {
            acl::is_listed(self.first.port, topic).is_ok_and(|is| is == listed)
        });
    }

    /// All that stands in a topic now, partition by partition.
    pub fn records(&self, topic: &str) -> Vec<Record> {
        let consumer: BaseConsumer = self.client().set("group.id", "test").create().expect("a consumer");
        let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).expect("Kafka answers");
        let partitions = metadata.topics().iter().flat_map(|t| t.partitions()).map(|p| p.id());
        partitions.flat_map(|p| read(&consumer, topic, p)).collect()
    }

    /// How many records were ever put into the topics of the tables.
    pub fn produced(&self) -> u64 {
        let consumer: BaseConsumer = self.client().set("group.id", "test").create().expect("a consumer");
        let metadata = consumer.fetch_metadata(None, PATIENCE).expect("Kafka answers");
        let tables: Vec<_> = milepost_wire::topic::kafka_all().collect();
        let topics = metadata.topics().iter().filter(|t| tables.contains(&t.name()));
        let partitions = topics.flat_map(|t| t.partitions().iter().map(|p| (t.name(), p.id())));
        let ends = partitions.map(|(topic, id)| consumer.fetch_watermarks(topic, id, PATIENCE));
        ends.map(|marks| marks.expect("Kafka answers").1.max(0) as u64).sum()
    }

    /// Produces about one of `each` records of a topic again, to the partition that has it: what comes
    /// of a bridge that is restarted in mid-flight, or of somebody who copies a topic. Gives how many.
    pub fn replay(&self, topic: &str, each: u64, dice: &mut Dice) -> usize {
        let producer: BaseProducer = self.client().create().expect("a producer can be made");
        let mut again = self.records(topic);
        again.retain(|_| dice.below(each) == 0);
        for record in &again {
            let key = record.key.as_deref().unwrap_or_default();
            let copy = BaseRecord::to(topic).key(key).payload(&record.value).partition(record.partition);
            producer.send(copy).map_err(|(e, _)| e).expect("the producer has room");
        }
        producer.flush(PATIENCE).expect("Kafka takes what was read from it");
        again.len()
    }

    fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.bootstrap_servers()).set("enable.auto.commit", "false");
        config
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.client().create().expect("an admin client can be made")
    }

    fn create_topics(&self, partitions: i32) {
        let topics: Vec<_> = milepost_wire::topic::kafka_all()
            .chain([milepost_wire::topic::KAFKA_DEAD_LETTER])
            .map(|name| NewTopic::new(name, partitions, TopicReplication::Fixed(1)))
            .collect();
        self.create(&topics);
    }

    fn create(&self, topics: &[NewTopic<'_>]) {
        let made = block_on(self.admin().create_topics(topics, &options())).expect("Kafka answers");
        made.into_iter().for_each(|topic| drop(topic.expect("a topic can be made")));
    }

    /// Writes a broker's properties and formats its storage, with a user where there is one.
    fn format(&self, id: i32, file: &Path, roles: &str, scram: Option<&str>) {
        let text = format!(
            "node.id={id}\nlog.dirs={}\n\
             controller.listener.names=CONTROLLER\n\
             listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT\n\
             controller.quorum.voters={FIRST}@127.0.0.1:{}\n\
             offsets.topic.replication.factor=1\noffsets.topic.num.partitions=1\n\
             transaction.state.log.replication.factor=1\ntransaction.state.log.min.isr=1\n\
             auto.create.topics.enable=false\ngroup.initial.rebalance.delay.ms=0\n{roles}",
            self.dir.join(format!("data-{id}")).display(),
            self.controller,
        );
        std::fs::write(file, text).expect("the properties can be written");
        let format = java(&self.jars, "kafka.tools.StorageTool")
            .args(["format", "-t", "bWlsZXBvc3QtdGVzdC0wMQ", "-c"])
            .arg(file)
            .args(scram.iter().flat_map(|user| ["--add-scram", user]))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        assert!(format.is_ok_and(|s| s.success()), "Kafka's storage cannot be formatted");
    }
}

impl Node {
    fn run(&mut self, jars: &str) {
        let mut broker = java(jars, "kafka.Kafka");
        broker.arg(&self.properties);
        self.process = Some(Process::start(&mut broker, &self.log));
        wait_for("Kafka", PATIENCE, || TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_ok());
    }
}

fn java(jars: &str, class: &str) -> Command {
    let mut java = Command::new("java");
    java.args(JVM).arg("-cp").arg(jars).arg(class);
    java
}

/// What stands in one partition.
fn read(consumer: &BaseConsumer, topic: &str, partition: i32) -> Vec<Record> {
    let mut marks = None;
    // A broker that was just started does not lead yet.
    wait_for("the partition's leader", PATIENCE, || {
        marks = consumer.fetch_watermarks(topic, partition, PATIENCE).ok();
        marks.is_some()
    });
    let (low, high) = marks.unwrap_or_default();
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, partition, Offset::Offset(low)).expect("an offset");
    consumer.assign(&list).expect("a partition can be read");
    let (mut records, mut next, until) = (Vec::new(), low, Instant::now() + PATIENCE);
    while next < high {
        assert!(Instant::now() < until, "{topic} {partition} can be read to {next} of {high} only");
        let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) else { continue };
        next = message.offset() + 1;
        records.push(record(&message));
    }
    records
}

fn record(message: &impl Message) -> Record {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let headers = message.headers().into_iter().flat_map(|headers| headers.iter());
    Record {
        partition: message.partition(),
        key: message.key().map(text),
        value: message.payload().unwrap_or_default().to_vec(),
        headers: headers.map(|h| (h.key.to_owned(), text(h.value.unwrap_or_default()))).collect(),
    }
}

fn options() -> AdminOptions {
    AdminOptions::new().operation_timeout(Some(PATIENCE)).request_timeout(Some(PATIENCE))
}

/// Waits for an answer of the admin client.
fn block_on<T>(answer: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(answer)
}
