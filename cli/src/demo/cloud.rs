//! The cloud side of the demo: broker, bridge, Kafka, sink and S3, started in the order in which each
//! finds the next, and stopped in the order in which readings pass, so that nothing stays behind.

use super::gate::{Full, Gate};
use super::kafka::Kafka;
use super::tap::{Sizes, Tap};
use super::trouble::Failures;
use super::{broker, s3};
use crate::Failure;
use crate::audit::Promise;
use milepost_bridge::Bridge;
use milepost_sink::{Sink, store};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long readings that the broker has may take to reach Kafka, and Kafka's the lake.
const PATIENCE: Duration = Duration::from_secs(60);
/// After so long without a change nothing more comes.
const QUIET: Duration = Duration::from_secs(5);
const STEP: Duration = Duration::from_millis(50);
/// A file is written at this age at the latest: the demo should show files while it runs.
const FILE_AGE_MS: u64 = 5_000;

/// The running cloud side.
pub(crate) struct Cloud {
    broker: SocketAddr,
    bridge: Bridge,
    tap: Tap,
    sink: Sink,
    kafka: Kafka,
    lake: s3::Server,
    since: Instant,
}

/// How far readings have come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Different readings in Kafka.
    pub in_kafka: u64,
    /// Rows in the lake.
    pub rows: u64,
    /// Files in the lake.
    pub files: u64,
}

impl Cloud {
    /// Starts everything, with the lake in `lake`. `partitions` is per Kafka topic.
    pub(crate) async fn start(
        lake: &Path,
        connections: usize,
        partitions: i32,
        secret: u128,
    ) -> Result<Self, Failure> {
        let kafka = Kafka::start(partitions)?;
        let server = s3::Server::start(lake, secret).await?;
        let broker = broker::start(connections).await?;

        let mut settings = milepost_bridge::Settings::default();
        settings.mqtt.url = format!("mqtt://{broker}");
        settings.kafka.set("bootstrap.servers", kafka.brokers());
        let bridge = Bridge::start(settings)?;
        let subscribed = tokio::time::timeout(PATIENCE, bridge.subscribed()).await;
        subscribed.map_err(|_| "The bridge finds no MQTT broker")?;

        let store = store::open(&format!("s3://{}", s3::BUCKET), &server.settings()).await?;
        let settings = milepost_sink::Settings {
            brokers: kafka.brokers().to_owned(),
            file_age_ms: FILE_AGE_MS,
            ..milepost_sink::Settings::default()
        };
        let sink = Sink::start(settings, store)?;
        let tap = Tap::start(kafka.brokers(), partitions)?;
        Ok(Self { broker, bridge, tap, sink, kafka, lake: server, since: Instant::now() })
    }

    /// Where the broker listens.
    pub(crate) fn broker(&self) -> SocketAddr {
        self.broker
    }

    /// How far readings have come.
    pub(crate) fn progress(&self) -> Progress {
        let status = self.sink.status();
        let (rows, files) = status.tables.values().fold((0, 0), |(r, f), t| (r + t.rows, f + t.files));
        Progress { in_kafka: self.tap.counts().1, rows, files }
    }

    /// What the sink has failed at so far.
    pub(crate) fn failures(&self) -> Failures {
        failures_of(&self.sink)
    }

    /// Tells the gate what has arrived, and whether vehicles are held back for good.
    pub(crate) fn check(&self, gate: &Gate) -> Result<(), Full> {
        gate.look(self.tap.seen(), self.since.elapsed())
    }

    /// Waits until what the agents have sent is in the lake, and stops. The agents must have stopped.
    /// What the sink fails at meanwhile goes to `failures`. Returns the sizes of what passed.
    pub(crate) async fn stop(
        self,
        expected: &[Promise],
        mut failures: impl FnMut(Failures),
    ) -> Result<BTreeMap<String, Sizes>, Failure> {
        let arrived = |tap: &Tap| expected.iter().all(|e| tap.has(&e.vehicle, e.boot, &e.stream, e.next));
        settle(|| {
            let counters = self.bridge.counters();
            let done = arrived(&self.tap) && counters.in_flight == 0;
            (done, (counters.received, self.tap.counts().0))
        })
        .await;
        let unreported = self.bridge.stop().await;
        if unreported > 0 {
            tracing::warn!(unreported, "The bridge stopped before Kafka had reported all frames");
        }
        let (records, before) = (self.tap.counts().0, failures_of(&self.sink).count);
        settle(|| {
            let (status, now) = (self.sink.status(), failures_of(&self.sink));
            let failing = now.count > before;
            if failing {
                failures(now);
            }
            // A sink that fails is waited for in its pauses too: there may be room again.
            (status.records >= records, (status.records, failing.then(Instant::now)))
        })
        .await;
        self.sink.stop().await?;
        drop(self.lake);
        let sizes = tokio::task::spawn_blocking(|| self.tap.finish()).await?;
        drop(self.kafka);
        Ok(sizes)
    }
}

fn failures_of(sink: &Sink) -> Failures {
    let status = sink.status();
    Failures { count: status.retries, newest: status.last_error }
}

/// Waits until `look` says that it is done, or shows no change for long.
async fn settle<T: PartialEq>(mut look: impl FnMut() -> (bool, T)) {
    let wait = async {
        let mut before = None;
        let mut quiet = Duration::ZERO;
        loop {
            let (done, state) = look();
            if done || quiet >= QUIET {
                return;
            }
            let state = Some(state);
            quiet = if state == before { quiet + STEP } else { Duration::ZERO };
            before = state;
            tokio::time::sleep(STEP).await;
        }
    };
    let _ = tokio::time::timeout(PATIENCE, wait).await;
}
