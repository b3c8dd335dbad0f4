//! The whole chain as processes: agents, a bridge and a sink around a real Mosquitto and a real Kafka.

use crate::kafka::Kafka;
use crate::process::{Mosquitto, Process, free_port, program};
use crate::proxy::Proxy;
use crate::spool::{self, Accepted};
use milepost_fake_aws::{BUCKET, FakeAws};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// When Kafka gives the partitions of a sink that says nothing to another; the least it allows.
pub const SINK_SESSION: Duration = Duration::from_secs(6);

/// The chain's programs and folders; everything is killed when the value goes.
pub struct Chain {
    dir: TempDir,
    pub mosquitto: Mosquitto,
    pub kafka: Kafka,
    /// Between the vehicles and the MQTT broker.
    pub vehicles_network: Proxy,
    /// Between the MQTT broker and the bridge.
    pub bridge_network: Proxy,
    /// Where the lake is, when it is not in a folder.
    pub s3: Option<FakeAws>,
    agents: BTreeMap<String, Process>,
    /// What killed agents had on their disks, as `milepost audit --expect` reads it.
    expected: String,
    bridge: Option<Process>,
    /// Where programs serve their metrics, by name; of several sinks the newest.
    metrics: BTreeMap<String, u16>,
    /// The oldest first.
    sinks: Vec<Process>,
}

impl Chain {
    /// Starts the two brokers; `None` where one of them is not on this machine.
    pub fn brokers(partitions: i32) -> Option<Self> {
        let dir = tempfile::tempdir().expect("a temporary folder");
        for sub in ["mosquitto", "kafka", "lake"] {
            std::fs::create_dir(dir.path().join(sub)).expect("a folder");
        }
        let mosquitto = Mosquitto::start(&dir.path().join("mosquitto"))?;
        let kafka = Kafka::start(&dir.path().join("kafka"), partitions)?;
        let [vehicles_network, bridge_network] = [(); 2].map(|()| Proxy::start(mosquitto.port));
        Some(Self {
            dir,
            mosquitto,
            kafka,
            vehicles_network,
            bridge_network,
            s3: None,
            agents: BTreeMap::new(),
            expected: String::new(),
            bridge: None,
            metrics: BTreeMap::new(),
            sinks: Vec::new(),
        })
    }

    /// The same, with the lake on an S3 that can fail; else it is in a folder.
    pub fn brokers_and_s3(partitions: i32) -> Option<Self> {
        Some(Self { s3: Some(FakeAws::start()), ..Self::brokers(partitions)? })
    }

    /// The lake's address.
    pub fn lake(&self) -> String {
        match &self.s3 {
            Some(_) => format!("s3://{BUCKET}/lake"),
            None => self.path("lake").display().to_string(),
        }
    }

    /// A file of this chain.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A free address for a program's metrics.
    fn listen(&mut self, program: &str) -> String {
        let port = free_port();
        self.metrics.insert(program.to_owned(), port);
        format!("127.0.0.1:{port}")
    }

    /// The port of the metrics of `bridge`, `sink` or a vehicle.
    pub fn metrics(&self, program: &str) -> u16 {
        self.metrics[program]
    }

    /// Starts an agent; `config` is what its configuration has beside vehicle, folder and broker.
    pub fn start_agent(&mut self, vehicle: &str, config: &str) {
        let file = self.path(&format!("{vehicle}.toml"));
        let text = format!(
            "vehicle = \"{vehicle}\"\ndata_dir = \"{}\"\n{config}\n[uplink]\nurl = \"mqtt://127.0.0.1:{}\"\n",
            self.path(vehicle).display(),
            self.vehicles_network.port
        );
        std::fs::write(&file, text).expect("a file");
        let mut agent = Command::new(program("milepost-agent", "milepost-agent"));
        agent.arg("--config").arg(&file);
        agent.env("MILEPOST_AGENT__METRICS__LISTEN", self.listen(vehicle));
        let log = self.path(&format!("{vehicle}.log"));
        self.agents.insert(vehicle.to_owned(), Process::start(&mut agent, &log));
    }

    /// Kills an agent (-9). What it had on its disk then must be accounted for, whatever comes of the disk.
    pub fn kill_agent(&mut self, vehicle: &str) {
        self.agents.remove(vehicle).expect("an agent of that name runs").kill();
        let mut accepted = Accepted::new();
        spool::accepted(&self.path(vehicle), &mut accepted);
        for ((boot, stream), next) in accepted {
            let line =
                json!({"vehicle": vehicle, "boot": format!("{boot:016x}"), "stream": stream, "next": next});
            self.expected.push_str(&format!("{line}\n"));
        }
    }

    /// Puts an agent to sleep (SIGSTOP) while `meanwhile` goes on, then wakes it: it reads nothing.
    pub fn with_agent_asleep(&mut self, vehicle: &str, meanwhile: impl FnOnce()) {
        let sleeper = self.agents.get_mut(vehicle).expect("an agent of that name runs");
        sleeper.pause();
        meanwhile();
        sleeper.wake();
    }

    /// Stops an agent as systemd would; it has handed over all that it had.
    pub fn stop_agent(&mut self, vehicle: &str) {
        let agent = self.agents.remove(vehicle).expect("an agent of that name runs");
        let status = agent.terminate(Duration::from_secs(60));
        assert!(status.success(), "{vehicle} ended with {status}:\n{}", self.log(&format!("{vehicle}.log")));
    }

    /// Starts the bridge, or starts it again after killing it (-9).
    pub fn restart_bridge(&mut self) {
        self.bridge = None;
        let file = self.path("bridge.toml");
        let text = format!(
            "[mqtt]\nurl = \"mqtt://127.0.0.1:{}\"\n[kafka]\n\"bootstrap.servers\" = \"{}\"\n",
            self.bridge_network.port,
            self.kafka.bootstrap_servers()
        );
        std::fs::write(&file, text).expect("a file");
        let mut bridge = Command::new(program("milepost-bridge", "milepost-bridge"));
        bridge.arg("--config").arg(&file);
        bridge.env("MILEPOST_BRIDGE__METRICS__LISTEN", self.listen("bridge"));
        self.bridge = Some(Process::start(&mut bridge, &self.path("bridge.log")));
    }

    /// Starts the sink; of several, all are killed (-9) first.
    pub fn restart_sink(&mut self) {
        self.sinks.clear();
        self.add_sink();
    }

    /// One more sink in the group: Kafka shares the partitions out anew.
    pub fn add_sink(&mut self) {
        let file = self.path("sink.toml");
        let s3 = self.s3.as_ref().map(|s3| {
            let (keys, endpoint) = (s3.keys("sink"), s3.endpoint());
            format!(
                "[s3]\nendpoint = \"{endpoint}\"\nregion = \"us-east-1\"\naccess_key = \"{}\"\n\
                 secret_key = \"{}\"\n",
                keys.access, keys.secret
            )
        });
        // A dead sink's partitions are handed on after the session timeout.
        let text = format!(
            "lake = \"{}\"\n[sink]\nbrokers = \"{}\"\nfile_age_ms = 1000\n[sink.kafka]\n\
             \"session.timeout.ms\" = \"{}\"\n{}",
            self.lake(),
            self.kafka.bootstrap_servers(),
            SINK_SESSION.as_millis(),
            s3.unwrap_or_default()
        );
        std::fs::write(&file, text).expect("a file");
        let mut sink = Command::new(program("milepost-sink", "milepost-sink"));
        sink.arg("--config").arg(&file);
        sink.env("MILEPOST_SINK_METRICS_LISTEN", self.listen("sink"));
        self.sinks.push(Process::start(&mut sink, &self.path("sink.log")));
    }

    /// Takes the oldest sink out of the group as systemd would; the last one stays.
    pub fn remove_sink(&mut self) {
        if self.sinks.len() > 1 {
            self.sinks.remove(0).terminate(Duration::from_secs(60));
        }
    }

    /// How many sinks run.
    pub fn sinks(&self) -> usize {
        self.sinks.len()
    }

    /// Puts the oldest sink to sleep (SIGSTOP) while `meanwhile` goes on, then wakes it. Beyond
    /// [`SINK_SESSION`] it wakes as a zombie: Kafka has given its partitions away.
    pub fn with_sink_asleep(&mut self, meanwhile: impl FnOnce(&mut Self)) {
        let mut sleeper = self.sinks.remove(0);
        sleeper.pause();
        meanwhile(self);
        sleeper.wake();
        self.sinks.insert(0, sleeper);
    }

    /// Runs `milepost audit --json` on the lake: whether it is clean, and what it printed.
    fn audit(&self) -> (bool, String) {
        let mut audit = audit_of(&self.lake());
        let expected = self.path("expected.jsonl");
        std::fs::write(&expected, &self.expected).expect("a file");
        audit.arg("--images").arg("--expect").arg(expected);
        if let Some(s3) = &self.s3 {
            let keys = s3.keys("audit");
            audit.env("AWS_ENDPOINT_URL_S3", s3.endpoint()).env("AWS_REGION", "us-east-1");
            audit.env("AWS_ACCESS_KEY_ID", keys.access).env("AWS_SECRET_ACCESS_KEY", keys.secret);
        }
        run(&mut audit)
    }

    /// Waits until the audit finds all accounted for; gives its report. Panics with the last report and
    /// the programs' logs otherwise.
    pub fn audited(&self, within: Duration) -> Value {
        match self.settled(within) {
            Ok(report) => report,
            Err(last) => panic!("The audit is not clean after {within:?}: {last}\n{}", self.logs()),
        }
    }

    /// Waits until the audit finds all accounted for; gives its report, or the last one that did not.
    pub fn settled(&self, within: Duration) -> Result<Value, Value> {
        let until = Instant::now() + within;
        loop {
            let (clean, text) = self.audit();
            let report = serde_json::from_str(text.lines().last().unwrap_or_default()).unwrap_or_default();
            if clean {
                return Ok(report);
            }
            if Instant::now() >= until {
                return Err(report);
            }
            std::thread::sleep(Duration::from_millis(500));
        }
    }

    /// Waits until all that the vehicles handed over is through the bridge, all that Kafka was ever given is
    /// in the ledger, and the audit finds all accounted for; gives its report, or the last one that did not.
    ///
    /// The bridge takes in order, so that a message which is no frame, and comes out as the dead letter that
    /// it is, has nothing of the vehicles' before it. Any other dead letter is a frame that no table gets.
    pub fn drained(&self, within: Duration) -> Result<Value, Value> {
        let fence = b"a fence and no frame".to_vec();
        crate::mqtt::publish(
            self.mosquitto.port,
            vec![("milepost/v1/fence/gps_data".to_owned(), fence.clone())],
        );
        let until = Instant::now() + within;
        let mut last = json!({"drained": "the fence has not come through the bridge"});
        while Instant::now() < until {
            std::thread::sleep(Duration::from_millis(500));
            let dead = self.kafka.records(milepost_wire::topic::KAFKA_DEAD_LETTER);
            if !dead.iter().any(|record| record.value == fence) {
                continue;
            }
            let others = dead.iter().filter(|record| record.value != fence).count();
            if others > 0 {
                return Err(json!({"dead_letters": others}));
            }
            let before = self.kafka.produced();
            let (clean, text) = self.audit();
            last = serde_json::from_str(text.lines().last().unwrap_or_default()).unwrap_or_default();
            let in_ledger = |key: &str| last["ledger"][key].as_u64().unwrap_or(0);
            let lag = before.abs_diff(in_ledger("records") + in_ledger("lost_offsets"));
            last["lag"] = lag.into();
            if clean && lag == 0 && before == self.kafka.produced() {
                return Ok(last);
            }
        }
        Err(last)
    }

    /// Waits until a table has at least `rows` rows, as the audit counts them. Panics with the last
    /// report and the programs' logs otherwise.
    pub fn wait_for_rows(&self, table: &str, rows: u64, within: Duration) {
        let until = Instant::now() + within;
        loop {
            let (_, report) = self.audit();
            let last: Value =
                serde_json::from_str(report.lines().last().unwrap_or_default()).unwrap_or_default();
            if last["tables"][table]["rows"].as_u64().unwrap_or(0) >= rows {
                return;
            }
            assert!(
                Instant::now() < until,
                "waited {within:?} in vain for {rows} rows of {table}: {last}\n{}",
                self.logs()
            );
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// The end of every program's log.
    pub fn logs(&self) -> String {
        let entries = std::fs::read_dir(self.dir.path()).expect("the folder is there");
        let names = entries.filter_map(|e| e.ok()?.file_name().into_string().ok());
        let logs = names.filter(|n| n.ends_with(".log"));
        logs.map(|n| format!("--- {n}\n{}\n", self.log(&n))).collect()
    }

    /// The end of a log.
    pub fn log(&self, name: &str) -> String {
        let text = std::fs::read_to_string(self.path(name)).unwrap_or_default();
        let lines: Vec<_> = text.lines().rev().take(30).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }
}

/// Runs `milepost audit --json` on a lake in a folder: whether it is clean, and what it printed.
pub fn audit(lake: &Path) -> (bool, String) {
    run(&mut audit_of(&lake.display().to_string()))
}

fn audit_of(lake: &str) -> Command {
    let mut audit = Command::new(program("milepost", "milepost"));
    audit.args(["audit", lake, "--json"]);
    audit
}

fn run(audit: &mut Command) -> (bool, String) {
    let out = audit.output().expect("the audit starts");
    (out.status.success(), String::from_utf8_lossy(&out.stdout).into_owned())
}
