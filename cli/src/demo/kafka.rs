//! The Kafka cluster of the demo: librdkafka's mock, in this process, in memory only.
//!
//! It speaks the real protocol over real sockets, but it keeps [`KEPT`] bytes a partition and then
//! drops the oldest silently. So topics have many partitions, and [`Watch`] stops the demo before any
//! of them could be full.

use crate::Failure;
use milepost_wire::topic;
use rdkafka::mocking::MockCluster;
use std::sync::mpsc;

/// What the mock keeps of a partition (librdkafka's `RD_KAFKA_MOCK_...` limit), bytes.
pub(crate) const KEPT: u64 = 5 << 20;

/// A running mock cluster. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Kafka {
    brokers: String,
    stop: Option<mpsc::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Kafka {
    /// Starts a cluster with the topics that frames travel on, each with `partitions`.
    pub(crate) fn start(partitions: i32) -> Result<Self, Failure> {
        let (ready, started) = mpsc::channel();
        let (stop, stopped) = mpsc::channel::<()>();
        // The mock's handle must stay on the thread that made it.
        let thread = std::thread::Builder::new().name("mock-kafka".into()).spawn(move || {
            let cluster = create(partitions);
            let failed = cluster.is_err();
            let _ =
                ready.send(cluster.as_ref().map(MockCluster::bootstrap_servers).map_err(|e| e.to_string()));
            if !failed {
                let _ = stopped.recv();
            }
        })?;
        let brokers = started.recv()?.map_err(|e| format!("The mock Kafka cluster does not start: {e}"))?;
        Ok(Self { brokers, stop: Some(stop), thread: Some(thread) })
    }

    /// The cluster's bootstrap servers.
    pub(crate) fn brokers(&self) -> &str {
        &self.brokers
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn create(
    partitions: i32,
) -> Result<MockCluster<'static, rdkafka::producer::DefaultProducerContext>, rdkafka::error::KafkaError> {
    let cluster = MockCluster::new(1)?;
    for name in topic::kafka_all().chain([topic::KAFKA_DEAD_LETTER]) {
        cluster.create_topic(name, partitions, 1)?;
    }
    Ok(cluster)
}
