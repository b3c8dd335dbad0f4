//! What the end-to-end tests share: the project's programs as processes, a real Mosquitto, a real Kafka and
//! networks that fail between them, all on free loopback ports and stopped with the value that holds them.
//!
//! A part that cannot run here is skipped with a line that says so; in CI it is a failure.
#![allow(missing_docs)]

pub mod board;
pub mod campaign;
pub mod chain;
pub mod fleet;
pub mod http;
pub mod kafka;
pub mod mqtt;
pub mod process;
pub mod proxy;
pub mod spool;
#[cfg(test)]
#[path = "proxy/tests.rs"]
mod proxy_tests;

use std::path::{Path, PathBuf};

/// The recorded drives and receiver logs, where they are on this machine.
pub fn shared_data() -> Option<PathBuf> {
    let dir = std::env::var_os("MILEPOST_SHARED_DATA").map(PathBuf::from)?;
    dir.is_dir().then_some(dir)
}

/// The interpreter with the packages of `tests/python/requirements.txt`.
pub fn python() -> Option<PathBuf> {
    std::env::var_os("MILEPOST_PYTHON").map(PathBuf::from).filter(|p| p.is_file())
}

/// A script beside the tests.
pub fn script(name: &str) -> PathBuf {
    Path::new("python").join(name)
}

/// Says that a test is skipped and why; fails it in CI, where nothing may be missing.
pub fn skip(why: &str) {
    assert!(std::env::var("CI").is_err(), "In CI nothing may be missing: {why}");
    eprintln!("skipped: {why} (`cargo xtask test` brings what it needs)");
}
