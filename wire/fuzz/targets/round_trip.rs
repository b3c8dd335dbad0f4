//! `cargo +nightly fuzz run round_trip`, from `wire/`.
#![no_main]

#[path = "../bodies.rs"]
#[allow(dead_code)]
mod bodies;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bodies::round_trip(bytes));
