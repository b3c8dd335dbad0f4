//! What a sink has done, for people and for metrics.

use crate::ledger::Manifest;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

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
    /// Images that rows name.
    pub images: u64,
    /// Bytes of frames in memory.
    pub buffered_bytes: u64,
    /// Kafka records that are in the topics and not yet committed, over the partitions this sink
    /// has; `None` while that is not known of each.
    pub lag: Option<u64>,
    /// Partitions this sink has.
    pub partitions: usize,
    /// Whether the group has said which those are; some sinks may have none.
    pub assigned: bool,
    /// Connections to Kafka's brokers that are up.
    pub kafka_brokers: usize,
    /// Whether reading is paused because the buffers are full.
    pub paused: bool,
    /// Failed attempts, each tried again.
    pub retries: u64,
    /// Claims that another sink was quicker to make.
    pub races_lost: u64,
    /// The newest failure, in words.
    pub last_error: Option<String>,
    /// Tables that the catalogue does not take at present, and why: what is committed to them waits to
    /// be registered, and nothing more is written to them.
    pub refused: BTreeMap<String, String>,
}

impl Status {
    /// Rows over all tables.
    pub fn rows(&self) -> u64 {
        self.tables.values().map(|t| t.rows).sum()
    }
}

/// The status that all parts of a sink share.
#[derive(Clone)]
pub(crate) struct Board {
    status: Arc<Mutex<Status>>,
    began: Instant,
    /// When the reading thread last looked after everything, ms since it began.
    turned: Arc<AtomicU64>,
}

impl Default for Board {
    fn default() -> Self {
        Self { status: Arc::default(), began: Instant::now(), turned: Arc::default() }
    }
}

impl Board {
    /// The reading thread looks after everything.
    pub(crate) fn turn(&self) {
        self.turned.store(self.began.elapsed().as_millis() as u64, Ordering::Relaxed);
    }

    /// How long it has not.
    pub(crate) fn still(&self) -> Duration {
        self.began.elapsed().saturating_sub(Duration::from_millis(self.turned.load(Ordering::Relaxed)))
    }

    pub(crate) fn read(&self) -> Status {
        self.edit().clone()
    }

    pub(crate) fn edit(&self) -> MutexGuard<'_, Status> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn committed(&self, manifest: &Manifest) {
        let mut status = self.edit();
        status.records += manifest.records;
        status.claims += 1;
        status.duplicates += manifest.duplicates;
        status.unread += manifest.unread.as_ref().map_or(0, |u| u.records);
        status.lost += manifest.lost_count();
        status.images += manifest.images.objects;
        for file in &manifest.files {
            let table = status.tables.entry(file.table.clone()).or_default();
            table.rows += file.rows;
            table.files += 1;
            table.bytes += file.bytes;
        }
    }

    /// The catalogue does not take a table.
    pub(crate) fn refused(&self, table: &str, why: &str) {
        self.failed(why);
        self.edit().refused.insert(table.to_owned(), why.to_owned());
    }

    /// The catalogue has taken a table.
    pub(crate) fn taken(&self, table: &str) {
        self.edit().refused.remove(table);
    }

    pub(crate) fn failed(&self, what: &str) {
        tracing::warn!("{what}");
        let mut status = self.edit();
        status.retries += 1;
        status.last_error = Some(what.to_owned());
    }
}
