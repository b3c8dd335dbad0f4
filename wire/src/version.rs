//! Which versions there are, and what may change.
//!
//! Rules: the first byte of a frame is its version, and so is the first field of a link hello (the byte
//! behind its number and its variant, 0), for ever. Within a version, nothing that is sent changes: no
//! field is added, removed, reordered or given another type (postcard decodes a reordered field to
//! silent garbage). The columns of the built-in streams and the hints for coding them
//! (`frame/hints.rs`) are part of a frame version; which of its codings an encoder chooses is not. A
//! change makes a new version, with its own types, its golden bytes under `wire/tests/golden/`, and a
//! line in the log below. Vehicles upgrade last, so a reader keeps every version ever shipped.
//!
//! # Log
//! - Frame 1 (2026-11): the first.
//! - Link 1 (2026-11): the first.

/// The version of the frames that this program writes, and the newest that it reads.
pub const FRAME: u8 = 1;
/// The oldest frame version that this program reads.
pub const FRAME_MIN: u8 = 1;
/// The version of the serial link that this program speaks.
pub const LINK: u8 = 1;
