//! `cargo +nightly fuzz run gps`, from `firmware/core/`.
#![no_main]

#[path = "../bodies.rs"]
mod bodies;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bodies::gps(bytes));
