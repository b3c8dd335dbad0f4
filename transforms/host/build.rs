//! Says which wasmtime this is built with, to the patch: code that another one compiled is not run.

use std::path::Path;

fn main() {
    let lock = Path::new("../../Cargo.lock");
    println!("cargo::rerun-if-changed={}", lock.display());
    let text = std::fs::read_to_string(lock).unwrap_or_default();
    let mut lines = text.lines().skip_while(|line| *line != "name = \"wasmtime\"");
    let version = lines.nth(1).and_then(|line| line.strip_prefix("version = "));
    match version {
        Some(version) => println!("cargo::rustc-env=WASMTIME_VERSION={}", version.trim_matches('"')),
        None => println!("cargo::error=Cargo.lock does not say which wasmtime is used"),
    }
}
