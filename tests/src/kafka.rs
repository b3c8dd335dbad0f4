//! librdkafka's mock cluster. It keeps 5 MiB a partition and then drops silently, so a test that uses it
//! stays far below and the audit would show what it dropped.

use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;

/// A mock cluster with every topic of Milepost.
pub struct MockKafka {
    cluster: MockCluster<'static, DefaultProducerContext>,
}

impl MockKafka {
    /// Starts it with `partitions` for each topic.
    pub fn start(partitions: i32) -> Self {
        let cluster = MockCluster::new(1).expect("a mock cluster starts");
        for topic in milepost_wire::topic::kafka_all().chain([milepost_wire::topic::KAFKA_DEAD_LETTER]) {
            cluster.create_topic(topic, partitions, 1).expect("a topic can be made");
        }
        Self { cluster }
    }

    /// Where clients find it.
    pub fn bootstrap_servers(&self) -> String {
        self.cluster.bootstrap_servers()
    }
}
