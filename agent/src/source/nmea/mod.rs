//! Receivers that speak NMEA 0183, or u-blox's binary protocol.
//!
//! The reader itself is the firmware's ([`milepost_firmware_core::gps`]): bytes in, fixes out, no I/O and
//! no allocation. Here is what an agent does with a fix: [`dating`] makes time stamps, `undated` keeps what
//! has no date yet, and `live` is the source around them.

pub mod dating;

mod live;
mod undated;

pub use dating::{Dated, Day, date};
pub(in crate::source) use live::Feed;
pub use live::{Settings, build};
pub use milepost_firmware_core::gps::{Counts, Fix, Reader, calendar};
pub(in crate::source) use undated::Patience;
