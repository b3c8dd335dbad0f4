//! What a transform may ask the agent for. Natively, in tests, a stand-in of the thread answers; see
//! [`crate::testing`].

use crate::Level;

#[cfg(target_family = "wasm")]
use crate::bindings::milepost::transform::host as imp;
#[cfg(not(target_family = "wasm"))]
use crate::testing::stand_in as imp;

/// Writes to the agent's log: a few KiB a batch, and as much a second; what is more is cut off.
pub fn log(level: Level, message: &str) {
    imp::log(level, message);
}

/// Adds to a counter of the transform's own, `[a-z][a-z0-9_]{0,47}`.
pub fn metric_add(name: &str, value: f64) {
    imp::metric_add(name, value);
}

/// The logical clock: event time of the newest reading so far, µs since 1970 UTC; 0 before the first. It goes
/// back where a whole batch is more than six hours older: what had set it was wrong.
pub fn now_us() -> i64 {
    imp::now_us()
}

/// What was stored under a key.
pub fn state_get(key: &str) -> Option<Vec<u8>> {
    imp::state_get(key)
}

/// Stores a value under a key. What a failing batch stored is taken back.
pub fn state_put(key: &str, value: &[u8]) {
    imp::state_put(key, Some(value));
}

/// Removes a key.
pub fn state_remove(key: &str) {
    imp::state_put(key, None);
}
