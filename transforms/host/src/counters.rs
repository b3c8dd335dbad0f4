//! What a transform did, counted; readable from any thread while it runs.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Counts since the transform was loaded. Only calls that succeeded count readings, so that a batch
/// that the caller bisects after a failure is counted once:
/// `received + added + derived = emitted + taken_out`, always.
#[derive(Debug, Default)]
pub struct Counters {
    /// Readings given to calls that succeeded.
    pub received: AtomicU64,
    /// Rows that came out, of the same stream and of others.
    pub emitted: AtomicU64,
    /// Readings that it took out on purpose.
    pub taken_out: AtomicU64,
    /// Rows of the same stream that it added.
    pub added: AtomicU64,
    /// Rows of other streams that it derived.
    pub derived: AtomicU64,
    /// Calls that failed.
    pub failures: AtomicU64,
    /// Instances made after the first.
    pub restarts: AtomicU64,
    /// Bytes of log text that were over a limit.
    pub log_dropped: AtomicU64,
    /// Metrics that were not kept: too many, or a name that cannot be.
    pub metrics_dropped: AtomicU64,
}

impl Counters {
    pub(crate) fn add(counter: &AtomicU64, n: usize) {
        counter.fetch_add(n as u64, Relaxed);
    }

    fn of_readings(&self) -> [&AtomicU64; 5] {
        [&self.received, &self.emitted, &self.taken_out, &self.added, &self.derived]
    }

    /// What calls that succeeded did.
    pub(crate) fn counts(&self) -> [u64; 5] {
        self.of_readings().map(|counter| counter.load(Relaxed))
    }

    pub(crate) fn set_counts(&self, counts: [u64; 5]) {
        for (counter, count) in self.of_readings().into_iter().zip(counts) {
            counter.store(count, Relaxed);
        }
    }
}
