//! The language that every station of Milepost speaks: readings, streams, frames, the framing of the
//! serial link, topic names and the version policy.
//!
//! This crate does no I/O and reads no clock. It is `no_std` + `alloc`, so that the firmware, the
//! agent, the bridge and the sink share one definition of every byte that passes between them. Without
//! its feature `alloc` it is the serial link and the versions alone, for a board without a heap.
//!
//! Reading order: [`id`] and [`stream`] name things, [`reading`] says what a sensor said,
//! [`columns`] holds many readings as columns, [`frame`] turns a batch of columns into bytes and
//! back, [`link`] does the same for the serial line, [`topic`] names where frames travel, and
//! [`version`] states what may change.
#![cfg_attr(not(feature = "std"), no_std)]
#![forbid(unsafe_code)]

#[cfg(feature = "alloc")]
extern crate alloc;

mod checksum;
#[cfg(feature = "alloc")]
pub mod columns;
#[cfg(feature = "alloc")]
pub mod frame;
#[cfg(feature = "alloc")]
pub mod id;
pub mod link;
#[cfg(feature = "alloc")]
pub mod reading;
#[cfg(feature = "alloc")]
pub mod stream;
#[cfg(feature = "alloc")]
pub mod topic;
pub mod version;

#[cfg(feature = "alloc")]
pub use columns::{Batch, Column, Columns, Validity, Values, VarBytes};
#[cfg(feature = "alloc")]
pub use frame::{Codec, DecodeError, EncodeError, Header};
#[cfg(feature = "alloc")]
pub use id::{BootId, Digest, VehicleId};
#[cfg(feature = "alloc")]
pub use reading::{Body, Clock, Derived, Reading, Value};
#[cfg(feature = "alloc")]
pub use stream::{ColumnSpec, Kind, Stream, StreamName};
