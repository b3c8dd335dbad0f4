//! A Rust crate to its core module.

use crate::toolchain::{self, Toolchain};
use std::fs;
use std::path::{Path, PathBuf};

/// The target: no system, so that nothing can be asked of one.
pub const TARGET: &str = "wasm32-unknown-unknown";

/// Builds the crate `package` in `dir` for release, with names and line tables, and gives the module.
/// Cargo shows what is wrong with the source.
pub fn module(dir: &Path, package: &str) -> Result<Vec<u8>, String> {
    let toolchain = toolchain::toolchain(TARGET)?;
    let dir = fs::canonicalize(dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    // Where the author has cargo build everything else.
    let target_dir = dir.join(std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into()));
    let mut cargo = toolchain.cargo();
    // As a library for the sandbox alone: beside one for Rust, which the crate's own tests use, a project's
    // `lto` would do nothing.
    cargo.args(["rustc", "--quiet", "--release", "--lib", "--crate-type", "cdylib"]);
    cargo.args(["--target", TARGET, "--package", package]);
    cargo.arg("--target-dir").arg(&target_dir).current_dir(&dir);
    cargo.env("CARGO_ENCODED_RUSTFLAGS", toolchain::flags(&remaps(&dir, ".", &toolchain)));
    // Whatever the crate's profile says: what is shipped is stripped afterwards.
    cargo.env("CARGO_PROFILE_RELEASE_DEBUG", "line-tables-only").env("CARGO_PROFILE_RELEASE_STRIP", "none");
    toolchain::run(&mut cargo)?;
    let built = target_dir.join(TARGET).join("release").join(format!("{}.wasm", package.replace('-', "_")));
    fs::read(&built).map_err(|e| {
        format!("{}: {e}. Has Cargo.toml `crate-type = [\"cdylib\", \"rlib\"]` in [lib]?", built.display())
    })
}

/// Flags that take this machine's paths out of what is built: `folder` becomes `name`, Cargo's and the
/// compiler's own folders `/cargo` and `/rust`.
pub fn remaps(folder: &Path, name: &str, toolchain: &Toolchain) -> Vec<String> {
    let cargo_home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = std::env::var_os("HOME").map(|h| PathBuf::from(h).join(".cargo"));
    let mut flags = vec![toolchain::remap(folder, name), toolchain::remap(&toolchain.sysroot, "/rust")];
    flags.extend(cargo_home.or(home).map(|c| toolchain::remap(&c, "/cargo")));
    flags
}
