//! The CPU time of the thread, so that a transform is not blamed for a busy machine.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// CPU time that this thread has used so far. Linux says it in `/proc`; elsewhere the time that has
/// passed stands in. Costs microseconds: it is asked at the engine's ticks, not at each call.
pub(crate) fn thread_time() -> Duration {
    let said = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let on_cpu_ns = said.as_deref().and_then(|s| s.split_ascii_whitespace().next()?.parse().ok());
    on_cpu_ns.map_or_else(wall, Duration::from_nanos)
}

fn wall() -> Duration {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed()
}
