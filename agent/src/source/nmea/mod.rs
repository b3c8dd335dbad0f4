//! Receivers that speak NMEA 0183.
//!
//! [`reader`] is the pure core: bytes in, fixes out. [`sentence`] checks and splits, [`epoch`] merges
//! the sentences of one moment, [`dating`] makes time stamps, [`calendar`] counts days. None of them
//! does I/O or allocates, so that firmware can share them. `undated` keeps what has no date yet, and
//! `live` is the source around them.

pub mod calendar;
pub mod dating;
mod epoch;
mod reader;
mod sentence;
mod values;

mod live;
mod undated;

pub use dating::{Dated, Day, date};
pub use epoch::Fix;
pub(in crate::source) use live::Feed;
pub use live::{Settings, build};
pub use reader::{Counts, Reader};
pub(in crate::source) use undated::Patience;
