//! Bytes that were sent once and must be read for ever: one file per version, annotated byte by byte.
//!
//! If a test here fails, do not change the test.

mod frame_v1;
mod link_v1;
mod matrix;
