//! A real Apache Kafka in KRaft mode, one broker that is its own controller.

use crate::process::{Process, free_port, wait_for};
use crate::proxy::Proxy;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Small and quick to start: a test has little data.
const JVM: [&str; 4] =
    ["-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Djava.awt.headless=true"];

/// A broker; killed when the value goes.
pub struct Kafka {
    dir: PathBuf,
    jars: String,
    port: u16,
    /// Between the broker and everyone else.
    pub network: Proxy,
    process: Option<Process>,
}

impl Kafka {
    /// Starts one with its data in `dir` and every topic of Milepost; `None` where
    /// `cargo xtask test` did not bring it.
    pub fn start(dir: &Path, partitions: i32) -> Option<Self> {
        let lib = std::env::var_os("MILEPOST_KAFKA_LIB").map(PathBuf::from).filter(|l| l.is_dir())?;
        let jars = lib.join("*").display().to_string();
        let (port, controller) = (free_port(), free_port());
        let network = Proxy::start(port);
        let properties = format!(
            "process.roles=broker,controller\nnode.id=1\n\
             listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n\
             advertised.listeners=PLAINTEXT://127.0.0.1:{}\n\
             controller.listener.names=CONTROLLER\n\
             listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT\n\
             controller.quorum.voters=1@127.0.0.1:{controller}\n\
             log.dirs={}\noffsets.topic.replication.factor=1\noffsets.topic.num.partitions=1\n\
             transaction.state.log.replication.factor=1\ntransaction.state.log.min.isr=1\n\
             auto.create.topics.enable=false\ngroup.initial.rebalance.delay.ms=0\n",
            network.port,
            dir.join("data").display()
        );
        std::fs::write(dir.join("server.properties"), properties).expect("the properties can be written");
        let mut kafka = Self { dir: dir.to_owned(), jars, port, network, process: None };
        let format = kafka
            .java("kafka.tools.StorageTool")
            .args(["format", "-t", "bWlsZXBvc3QtdGVzdC0wMQ", "-c"])
            .arg(dir.join("server.properties"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        assert!(format.is_ok_and(|s| s.success()), "Kafka's storage cannot be formatted");
        kafka.restart();
        kafka.create_topics(partitions);
        Some(kafka)
    }

    /// Where clients find it.
    pub fn bootstrap_servers(&self) -> String {
        format!("127.0.0.1:{}", self.network.port)
    }

    /// Kills it (-9). Its data stay.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Starts it on the data that it has, and waits until it answers.
    pub fn restart(&mut self) {
        let mut broker = self.java("kafka.Kafka");
        broker.arg(self.dir.join("server.properties"));
        self.process = Some(Process::start(&mut broker, &self.dir.join("kafka.log")));
        wait_for("Kafka", Duration::from_secs(60), || {
            TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_ok()
        });
    }

    fn java(&self, class: &str) -> Command {
        let mut java = Command::new("java");
        java.args(JVM).arg("-cp").arg(&self.jars).arg(class);
        java
    }

    fn create_topics(&self, partitions: i32) {
        let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
            .set("bootstrap.servers", self.bootstrap_servers())
            .create()
            .expect("an admin client can be made");
        let topics: Vec<_> = milepost_wire::topic::kafka_all()
            .chain([milepost_wire::topic::KAFKA_DEAD_LETTER])
            .map(|name| NewTopic::new(name, partitions, TopicReplication::Fixed(1)))
            .collect();
        let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(30)));
        let made = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime")
            .block_on(admin.create_topics(&topics, &options))
            .expect("Kafka answers");
        for topic in made {
            topic.expect("a topic can be made");
        }
    }
}
