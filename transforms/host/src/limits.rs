//! What a transform may use. All limits are on by default.

use std::time::Duration;

/// The limits of one transform. The defaults suit a Raspberry Pi: a useful transform stays a hundred
/// times below them, one that loops or hoards meets them soon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// CPU time for a batch: of `process`, and of `tick` and `snapshot` where they come after it, together;
    /// 250 ms. Measured on the thread's CPU clock and checked at the engine's ticks, so a call is stopped up to
    /// two ticks late and never early.
    pub cpu: Duration,
    /// CPU time of `init` and `restore`, each; 1 s.
    pub init_cpu: Duration,
    /// Linear memory, in all; 16 MiB.
    pub memory_bytes: usize,
    /// Linear memory past which an instance is replaced by a fresh one between two calls, with its state:
    /// memory that was needed once is given back, and one that leaks is stopped before its limit. 8 MiB.
    /// Not where a fresh one takes half as much by itself.
    pub recycle_bytes: usize,
    /// Rows that one call may give in place of or beside the readings that it keeps unchanged; 16,384.
    pub output_rows: usize,
    /// Bytes that one call may hand back, decoded; 8 MiB.
    pub output_bytes: usize,
    /// Log text of one call, 64 bytes for each line included; 4 KiB. As much a second in the long run, and 16 times
    /// as much at once. What is more is not logged, and counted.
    pub log_bytes: usize,
    /// Keys and values that a transform stores, and its snapshot, each; 64 KiB.
    pub state_bytes: usize,
    /// Names of metrics a transform may have; 64. Further ones are not kept, and counted.
    pub metrics: usize,
    /// Streams of its own that a transform may derive rows of, in all calls since it was loaded; 64. A call that
    /// begins one too many fails.
    pub streams: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            cpu: Duration::from_millis(250),
            init_cpu: Duration::from_secs(1),
            memory_bytes: 16 << 20,
            recycle_bytes: 8 << 20,
            output_rows: 16_384,
            output_bytes: 8 << 20,
            log_bytes: 4 << 10,
            state_bytes: 64 << 10,
            metrics: 64,
            streams: 64,
        }
    }
}
