//! What agent, bridge and sink each have for the people and machines that run them, so that it is the same
//! in all three: how they log, a page of metrics, the two answers "does it work" and "does it do its work now",
//! and what their `check` commands share.
//!
//! It knows nothing of what they do: each gives its figures through [`Station`]. Nothing here may hold up
//! the work itself, so a port that is taken is waited for and whoever asks slowly is cut off.
#![deny(unsafe_code)]

#[cfg(feature = "kafka")]
pub mod kafka;

mod log;
mod metric;
mod listen;
mod serve;
mod probe;
pub mod check;

pub use listen::{Listen, ListenError};
pub use log::{FORMAT_VARIABLE, UnknownFormat, start_log};
pub use metric::{Kind, Metric, Page};
pub use probe::{ProbeError, probe};
pub use serve::{Station, answer, serve};
