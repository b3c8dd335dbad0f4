//! `cargo xtask dist`: what is put on a vehicle, as a Debian package and as a tarball. What goes where stands in
//! `agent/dist`.

use crate::bring;
use crate::cross;
use crate::run::{root, run};
use anyhow::{Context, Result, anyhow};
use clap::{Args, ValueEnum};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Files of `agent/dist`, where they go, and their mode.
const FILES: [(&str, &str, u32); 6] = [
    ("milepost-agent.service", "lib/systemd/system/milepost-agent.service", 0o644),
    ("milepost-camera.service", "lib/systemd/system/milepost-camera.service", 0o644),
    ("README.md", "usr/share/doc/milepost-agent/README.md", 0o644),
    ("postinst", "DEBIAN/postinst", 0o755),
    ("prerm", "DEBIAN/prerm", 0o755),
    ("postrm", "DEBIAN/postrm", 0o755),
];

#[derive(Args)]
pub struct Options {
    /// The machine that it is for: `arm64` is a Raspberry Pi with a 64-bit system
    #[arg(long, value_enum)]
    target: Target,
    /// Cargo's profile: `dist` takes minutes and makes the smallest and fastest
    #[arg(long, default_value = "dist")]
    profile: String,
}

/// A kind of machine, by Debian's name.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Target {
    Arm64,
    Amd64,
}

impl Target {
    fn debian(self) -> &'static str {
        match self {
            Self::Arm64 => "arm64",
            Self::Amd64 => "amd64",
        }
    }

    /// The processor, as Rust and GNU call it.
    fn processor(self) -> &'static str {
        match self {
            Self::Arm64 => "aarch64",
            Self::Amd64 => "x86_64",
        }
    }

    fn is_foreign(self) -> bool {
        self.processor() != std::env::consts::ARCH
    }

    fn rust(self) -> String {
        format!("{}-unknown-linux-gnu", self.processor())
    }
}

/// What was made.
pub struct Made {
    pub package: PathBuf,
    pub tarball: PathBuf,
}

pub fn run_command(options: &Options) -> Result<()> {
    let made = dist(options.target, &options.profile)?;
    println!("{}\n{}", made.package.display(), made.tarball.display());
    Ok(())
}

/// Builds the agent for `target` and packs it.
pub fn dist(target: Target, profile: &str) -> Result<Made> {
    let out = out();
    let program = build(target, profile)?;
    let name = format!("milepost-agent_{}_{}", env!("CARGO_PKG_VERSION"), target.debian());
    let tree = out.join(&name);
    lay(&tree, &program, target)?;
    let made = Made { package: out.join(format!("{name}.deb")), tarball: out.join(format!("{name}.tar.gz")) };
    run(Command::new("dpkg-deb").args(["--root-owner-group", "--build"]).arg(&tree).arg(&made.package))?;
    let mut tar = Command::new("tar");
    tar.args(["--create", "--gzip", "--owner=0", "--group=0", "--directory"]).arg(&tree);
    run(tar.arg("--file").arg(&made.tarball).args(["usr", "lib"]))?;
    fs::remove_dir_all(&tree)?;
    Ok(made)
}

/// Where packages are made: `dist` in the build folder.
fn out() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or(root().join("target"), PathBuf::from).join("dist")
}

/// A cargo that can build for `target`, with what links for it.
pub fn cargo_for(target: Target) -> Result<Command> {
    let triple = target.rust();
    let foreign = target.is_foreign();
    if foreign {
        bring::compiler_for(target.debian(), target.processor())?;
    }
    let mut cargo = cross::toolchain(&triple).map_err(|e| anyhow!(e))?.cargo();
    cargo.current_dir(root());
    if foreign {
        let gcc = format!("{}-linux-gnu-gcc", target.processor());
        let linker = format!("CARGO_TARGET_{}_LINKER", triple.to_ascii_uppercase().replace('-', "_"));
        cargo.env(linker, &gcc).env(format!("CC_{}", triple.replace('-', "_")), &gcc);
    }
    Ok(cargo)
}

/// Runs what says that transforms give the same bits everywhere, on an emulated processor of a Raspberry Pi.
pub fn same_on_arm64() -> Result<()> {
    let triple = Target::Arm64.rust();
    let mut cargo = cargo_for(Target::Arm64)?;
    if Target::Arm64.is_foreign() {
        bring::arm64_programs()?;
        let runner = format!("CARGO_TARGET_{}_RUNNER", triple.to_ascii_uppercase().replace('-', "_"));
        cargo.env(runner, "qemu-aarch64-static -L /usr/aarch64-linux-gnu");
    }
    cargo.args(["test", "--locked", "--package", "milepost-transform-host", "--test", "determinism"]);
    run(cargo.args(["--target", &triple, "--target-dir"]).arg(out()))
}

/// Builds the agent; gives its program.
fn build(target: Target, profile: &str) -> Result<PathBuf> {
    let (triple, to) = (target.rust(), out());
    let mut cargo = cargo_for(target)?;
    cargo.args(["build", "--locked", "--package", "milepost-agent", "--bins", "--profile", profile]);
    cargo.args(["--target", &triple, "--target-dir"]).arg(&to);
    run(&mut cargo)?;
    let folder = if profile == "dev" { "debug" } else { profile };
    let built = to.join(&triple).join(folder).join("milepost-agent");
    let stripped = built.with_extension("stripped");
    let strip =
        if target.is_foreign() { format!("{}-linux-gnu-strip", target.processor()) } else { "strip".into() };
    run(Command::new(strip).arg("-o").arg(&stripped).arg(&built))?;
    Ok(stripped)
}

/// Lays the package's files out in `tree`.
fn lay(tree: &Path, program: &Path, target: Target) -> Result<()> {
    let _ = fs::remove_dir_all(tree);
    let from = root().join("agent/dist");
    put(program, &tree.join("usr/bin/milepost-agent"), 0o755)?;
    for (file, to, mode) in FILES {
        put(&from.join(file), &tree.join(to), mode)?;
    }
    let doc = tree.join("usr/share/doc/milepost-agent");
    put(&root().join("LICENSE"), &doc.join("copyright"), 0o644)?;
    put(&root().join("agent/src/default.toml"), &doc.join("agent.toml.default"), 0o644)?;
    let size = fs::metadata(program)?.len().div_ceil(1024);
    let control = fs::read_to_string(from.join("control"))?
        .replace("@VERSION@", env!("CARGO_PKG_VERSION"))
        .replace("@ARCHITECTURE@", target.debian())
        .replace("@SIZE@", &size.to_string());
    fs::write(tree.join("DEBIAN/control"), control)?;
    Ok(())
}

/// Copies a file, making its folder.
fn put(from: &Path, to: &Path, mode: u32) -> Result<()> {
    let copy = || {
        fs::create_dir_all(to.parent().unwrap_or(to))?;
        fs::copy(from, to)?;
        fs::set_permissions(to, fs::Permissions::from_mode(mode))
    };
    copy().with_context(|| format!("Cannot copy {} to {}", from.display(), to.display()))
}
