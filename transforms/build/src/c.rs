//! C sources to their core module, by clang with a C library for WebAssembly.

use crate::toolchain::run;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Compiles all `.c` files of `sources` and of `sdk` with the objects there, and gives the module, with
/// names and line tables. clang shows what is wrong with the source.
pub fn module(sources: &Path, sdk: &Path, work: &Path) -> Result<Vec<u8>, String> {
    fs::create_dir_all(work).map_err(|e| format!("{}: {e}", work.display()))?;
    let built = work.join("core.wasm");
    let mut clang = Command::new(clang());
    clang.args([
        "--target=wasm32-wasi",
        "-mexec-model=reactor",
        "-O2",
        "-gline-tables-only",
        "-Wall",
        "-Wextra",
    ]);
    clang.arg("-I").arg(sdk).args(files(sources, &["c"])?).args(files(sdk, &["c", "o"])?);
    clang.arg("-o").arg(&built);
    run(&mut clang).map_err(|e| {
        format!(
            "{e}. C needs clang, its linker and a C library for WebAssembly. On Debian: `apt-get install clang lld \
             wasi-libc libclang-rt-14-dev-wasm32` (the number is clang's version); elsewhere wasi-sdk, with \
             WASI_SDK_PATH set to its folder"
        )
    })?;
    fs::read(&built).map_err(|e| format!("{}: {e}", built.display()))
}

/// The compiler: that of wasi-sdk where there is one.
fn clang() -> PathBuf {
    match std::env::var_os("WASI_SDK_PATH") {
        Some(sdk) => PathBuf::from(sdk).join("bin/clang"),
        None => "clang".into(),
    }
}

fn files(folder: &Path, extensions: &[&str]) -> Result<Vec<PathBuf>, String> {
    let entries = fs::read_dir(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let mut found: Vec<PathBuf> = entries.flatten().map(|e| e.path()).collect();
    found.retain(|p| p.extension().and_then(OsStr::to_str).is_some_and(|e| extensions.contains(&e)));
    found.sort();
    Ok(found)
}
