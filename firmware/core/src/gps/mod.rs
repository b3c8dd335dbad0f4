//! GPS receivers: bytes in, fixes out, no I/O, no clock, no allocation, and no panic whatever comes in.
//! The firmware and the agent share this reader.
//!
//! [`reader`] finds out what a receiver speaks; `nmea` finds its sentences, `sentence` checks and splits
//! them, `epoch` merges those of one moment, `values` gives them units; `ubx` reads u-blox's binary
//! message of the same content; [`calendar`] counts days; [`baud`] finds the speed of a line.

pub mod baud;
pub mod calendar;
mod epoch;
mod fix;
mod nmea;
pub mod reader;
mod sentence;
mod ubx;
mod values;

pub use baud::BaudHunt;
pub use fix::Fix;
pub use reader::{Counts, Reader};
