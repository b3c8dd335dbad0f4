//! Runs other programs: shows what it runs, fails with the command's name.

use anyhow::{Context, Result, bail};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// The workspace's root folder. Cargo says it at run time: the path at build time may be another
/// clone's, where two share a target folder.
pub fn root() -> PathBuf {
    let here = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    here.and_then(|xtask| Some(xtask.parent()?.to_owned())).unwrap_or_else(|| ".".into())
}

/// Where what the project brings for itself is kept: `$XDG_CACHE_HOME/milepost`, else
/// `~/.cache/milepost`.
pub fn cache() -> Result<PathBuf> {
    let base = match std::env::var_os("XDG_CACHE_HOME") {
        Some(dir) => PathBuf::from(dir),
        None => {
            PathBuf::from(std::env::var_os("HOME").context("HOME is not set, so there is no cache folder")?)
                .join(".cache")
        }
    };
    let dir = base.join("milepost");
    std::fs::create_dir_all(&dir).with_context(|| format!("Cannot make {}", dir.display()))?;
    Ok(dir)
}

/// Whether this runs unattended, where a missing part is a failure.
pub fn in_ci() -> bool {
    std::env::var("CI").is_ok_and(|v| v == "true" || v == "1")
}

/// A cargo command in the workspace's root.
pub fn cargo(args: &[&str]) -> Command {
    let mut c = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    c.args(args).current_dir(root());
    c
}

/// Runs to the end, its output shown.
pub fn run(c: &mut Command) -> Result<()> {
    eprintln!("\n$ {}", shown(c));
    let status = c.status().with_context(|| format!("Cannot start {}", shown(c)))?;
    if !status.success() {
        bail!("`{}` failed: {status}", shown(c));
    }
    Ok(())
}

/// Whether the command succeeds; its output is dropped.
pub fn succeeds(c: &mut Command) -> bool {
    c.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|s| s.success())
}

/// Whether a program is on the path, or in Debian's folder for daemons.
pub fn found(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]).any(|d| d.join(program).is_file())
}

fn shown(c: &Command) -> String {
    let args: Vec<_> = c.get_args().map(|a| a.to_string_lossy().into_owned()).collect();
    format!("{} {}", c.get_program().to_string_lossy(), args.join(" "))
}
