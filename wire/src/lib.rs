//! The language that every station of Milepost speaks: readings, streams, frames, the framing of the
//! serial link, topic names and the version policy.
//!
//! This crate does no I/O and reads no clock. It is `no_std` + `alloc`, so that the firmware, the
//! agent, the bridge and the sink share one definition of every byte that passes between them.
//!
//! Reading order: [`id`] and [`stream`] name things, [`reading`] says what a sensor said,
//! [`columns`] holds many readings as columns, [`frame`] turns a batch of columns into bytes and
//! back, [`link`] does the same for the serial line, [`topic`] names where frames travel, and
//! [`version`] states what may change.
#![cfg_attr(not(feature = "std"), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod columns;
pub mod frame;
pub mod id;
pub mod link;
pub mod reading;
pub mod stream;
pub mod topic;
pub mod version;

pub use columns::{Batch, Column, Columns, Validity, Values, VarBytes};
pub use frame::{Codec, DecodeError, EncodeError, Header};
pub use id::{BootId, Digest, VehicleId};
pub use reading::{Body, Clock, Derived, Reading, Value};
pub use stream::{ColumnSpec, Kind, Stream, StreamName};
