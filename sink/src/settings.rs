//! What can be set, with its defaults. Numbers and names only: clients and stores are passed in.

use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// The sink's settings.
#[derive(Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Kafka's brokers, `host:port`, comma-separated.
    pub brokers: String,
    /// The consumer group. All sinks of one lake share it.
    pub group: String,
    /// The topics to read; by default all that carry frames.
    pub topics: Vec<String>,
    /// More settings for librdkafka, such as `security.protocol`; they come last and win. The program also takes
    /// them from the environment: `MILEPOST_SINK__KAFKA__SECURITY_PROTOCOL`.
    pub kafka: BTreeMap<String, String>,
    /// A file is cut at this age of its oldest reading in the sink, in milliseconds.
    pub file_age_ms: u64,
    /// A claim is cut at this many bytes of frames.
    pub claim_bytes: u64,
    /// A claim is cut at this many frames.
    pub claim_records: usize,
    /// Frames that wait to be written, over all partitions, in bytes: beyond this the partitions that
    /// hold the most are written early, and none is read from Kafka until there is room.
    pub buffer_bytes: u64,
    /// Claims written at a time, over all partitions. Each holds its files in memory.
    pub writers: usize,
    /// Rows of a row group.
    pub row_group_rows: usize,
    /// zstd's level in the files; 0 is Snappy. Level 3 makes them no smaller (22.8 B a fix against 22.6)
    /// and takes 1.4 times as long.
    pub zstd_level: i32,
    /// How long a stop waits for what is buffered to be written, in milliseconds. What is not written
    /// then is read from Kafka again by whoever comes next.
    pub stop_timeout_ms: u64,
}

impl fmt::Debug for Settings {
    /// Of Kafka's properties the names alone: some of their values are secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("brokers", &self.brokers)
            .field("group", &self.group)
            .field("topics", &self.topics)
            .field("kafka", &self.kafka.keys())
            .finish_non_exhaustive()
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            brokers: "127.0.0.1:9092".into(),
            group: "milepost-sink".into(),
            topics: milepost_wire::topic::kafka_all().map(str::to_owned).collect(),
            kafka: BTreeMap::new(),
            file_age_ms: 60_000,
            claim_bytes: 8 << 20,
            claim_records: 50_000,
            buffer_bytes: 48 << 20,
            writers: 3,
            row_group_rows: 131_072,
            zstd_level: 1,
            stop_timeout_ms: 30_000,
        }
    }
}

impl Settings {
    /// [`Settings::file_age_ms`] as a duration.
    pub fn file_age(&self) -> Duration {
        Duration::from_millis(self.file_age_ms)
    }
}
