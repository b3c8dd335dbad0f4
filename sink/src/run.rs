//! The running sink.

use crate::settings::Settings;
use crate::store::{Store, StoreError};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Why a sink did not start or did not end well.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// Kafka refused the consumer's settings or cannot be reached at all.
    #[error("Kafka at {brokers}: {why}")]
    Kafka {
        /// The brokers.
        brokers: String,
        /// librdkafka's reason.
        why: String,
    },
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A part of the sink ended without being asked.
    #[error("The sink has ended by itself: {0}")]
    Ended(String),
}

/// What was written to one table since this sink started.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct TableStatus {
    /// Rows in committed files.
    pub rows: u64,
    /// Committed files.
    pub files: u64,
    /// Their size in bytes.
    pub bytes: u64,
}

/// What a sink has done since it started, and what lies before it.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Status {
    /// Per table.
    pub tables: BTreeMap<String, TableStatus>,
    /// Kafka records in committed claims.
    pub records: u64,
    /// Committed claims.
    pub claims: u64,
    /// Rows dropped because they had been written before.
    pub duplicates: u64,
    /// Frames set aside because they could not be read.
    pub unread: u64,
    /// Offsets that Kafka had deleted before they were read.
    pub lost: u64,
    /// Images written.
    pub images: u64,
    /// Bytes of frames in memory.
    pub buffered_bytes: u64,
    /// Kafka records that are in the topics and not yet committed, over the partitions this sink
    /// has; `None` until it has asked.
    pub lag: Option<u64>,
    /// Partitions this sink has.
    pub partitions: usize,
    /// Failed attempts to write, each tried again.
    pub retries: u64,
    /// The newest failure, in words.
    pub last_error: Option<String>,
}

/// A running sink. Dropping it stops it at once, as a crash would; [`Sink::stop`] flushes first.
pub struct Sink {
    _store: Arc<dyn Store>,
}

impl Sink {
    /// Joins the consumer group and starts writing into the store. Must be called inside a Tokio
    /// runtime.
    pub fn start(_settings: Settings, store: Arc<dyn Store>) -> Result<Self, SinkError> {
        Ok(Self { _store: store })
    }

    /// What has been done so far.
    pub fn status(&self) -> Status {
        Status::default()
    }

    /// Writes what is buffered, commits, leaves the group.
    pub async fn stop(self) -> Result<Status, SinkError> {
        Ok(Status::default())
    }
}
