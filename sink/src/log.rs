//! The seam to Kafka's log, as the commit protocol needs it: which incarnation of a topic there is,
//! and what was in a range of offsets.

use crate::build::Record;
use crate::claim::Range;
use async_trait::async_trait;

/// Why the log did not answer. Every one is worth trying again.
#[derive(Clone, Debug, thiserror::Error)]
#[error("Kafka topic {topic}: {why}")]
pub struct LogError {
    /// The topic.
    pub topic: String,
    /// The cause.
    pub why: String,
}

/// Kafka's log.
#[async_trait]
pub trait Log: Send + Sync + 'static {
    /// The id of the topic as it is now, 32 hex digits. It was asked for after the call was made.
    async fn topic_id(&self, topic: &str) -> Result<String, LogError>;
    /// The records of a range that the log still has, in the order of their offsets.
    async fn read(&self, topic: &str, partition: i32, range: Range) -> Result<Vec<Record>, LogError>;
}
