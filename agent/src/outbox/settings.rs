//! What can be set about the outbox, with the defaults that `default.toml` repeats.

use std::time::Duration;

/// How the outbox batches, how much a power cut may take, and how much disk it may use.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The most readings in a batch of the live lane.
    pub batch_count_max: u32,
    /// The most bytes in a batch, estimated before they are coded: the sum of its values.
    pub batch_bytes_max: u32,
    /// How long a batch may stay open.
    pub batch_age_max: Duration,
    /// The longest that an accepted reading may stay off the disk.
    pub loss_window: Duration,
    /// The most readings of one stream that a power cut may take, however many come within the
    /// loss window: more are written at once. Gap rows never state more than this.
    pub unsynced_max: u32,
    /// The size at which a segment of the spool is closed and the next begun, bytes.
    pub segment_bytes: u64,
    /// The size at which the journal starts a new file, bytes.
    pub journal_bytes: u64,
    /// The most bytes that all segments may have together; past it, the oldest segment of the
    /// lowest lane goes.
    pub bytes_max: u64,
    /// The part of `bytes_max` that the bulk lane may take, 0 to 1.
    pub bulk_share: f64,
    /// The part of `bytes_max` that the live lane may take, 0 to 1.
    pub live_share: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            batch_count_max: 60,
            batch_bytes_max: 256 << 10,
            batch_age_max: Duration::from_secs(5),
            loss_window: Duration::from_secs(1),
            unsynced_max: 16_384,
            segment_bytes: 8 << 20,
            journal_bytes: 1 << 20,
            bytes_max: 1 << 30,
            bulk_share: 0.5,
            live_share: 0.95,
        }
    }
}
