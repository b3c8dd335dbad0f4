//! The machine that the agent's package is tried on: an arm64 Debian with systemd, for QEMU, that lives in memory.
//! `tests/tests/pi.rs` boots it.

use crate::bring;
use crate::dist::{self, Target};
use crate::run::{cargo, root, run};
use anyhow::{Context, Result, anyhow};
use clap::Args;
use milepost_transform_build::apt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const RELEASE: &str = "bookworm";
/// Modules that the kernel needs for its network, and the lists that say which depends on which.
const MODULES: &str = "virtio.ko virtio_ring.ko virtio_mmio.ko virtio_net.ko failover.ko net_failover.ko \
                       modules.order modules.builtin modules.builtin.modinfo";
/// What tells the kernel to run programs for arm64 by QEMU: the head of such a program, and what of it counts.
const FORMAT: &str = ":milepost-aarch64:M::\\x7fELF\\x02\\x01\\x01\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\
                      \\x02\\x00\\xb7\\x00:\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\x00\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\xff\
                      \\xfe\\xff\\xff\\xff:/usr/bin/qemu-aarch64-static:F";

#[derive(Args)]
pub struct Options {
    /// Cargo's profile for the agent
    #[arg(long, default_value = "dist")]
    profile: String,
}

/// Makes the package and the machine, and runs the test.
pub fn run_command(options: &Options) -> Result<()> {
    bring::debian_packages()?;
    let kafka = bring::kafka()?;
    let package = dist::dist(Target::Arm64, &options.profile)?.package;
    let mut test = cargo(&["test", "--workspace", "--test", "pi", "--", "--nocapture"]);
    run(test
        .env("MILEPOST_KAFKA_LIB", kafka)
        .env("MILEPOST_PI", machine()?)
        .env("MILEPOST_PI_PACKAGE", package))
}

/// A folder with the machine: `vmlinuz`, and `root.cpio.gz`, its whole disk. Made once and kept in the cache.
pub fn machine() -> Result<PathBuf> {
    bring::emulated_pi()?;
    let packages = root().join("tests/pi/debian.txt");
    let (dir, ready) = bring::kept("pi", &packages)?;
    if ready.is_file() {
        return Ok(dir);
    }
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir)?;
    let tree = dir.join("root");
    debian(&tree, &fs::read_to_string(&packages)?.split_whitespace().collect::<Vec<_>>())?;
    kernel(&dir, &tree)?;
    pack(&tree, &dir.join("root.cpio.gz"))?;
    fs::remove_dir_all(&tree)?;
    fs::write(ready, "")?;
    Ok(dir)
}

/// An arm64 Debian in `tree`: unpacked here, its packages' scripts run by QEMU, which takes minutes.
fn debian(tree: &Path, packages: &[&str]) -> Result<()> {
    let formats = Path::new("/proc/sys/fs/binfmt_misc");
    if !formats.join("register").exists() {
        run(Command::new("mount").args(["-t", "binfmt_misc", "none"]).arg(formats))?;
    }
    let known = ["qemu-aarch64", "milepost-aarch64"].iter().any(|name| formats.join(name).exists());
    if !known {
        fs::write(formats.join("register"), FORMAT)
            .context("The kernel takes no further format of programs")?;
    }
    let mut first = Command::new("debootstrap");
    first.args(["--arch=arm64", "--foreign", "--variant=minbase"]);
    first.arg(format!("--include={}", packages.join(","))).arg(RELEASE).arg(tree);
    run(first.stdout(Stdio::null()))?;
    // For kernels that know QEMU by its path alone.
    fs::copy("/usr/bin/qemu-aarch64-static", tree.join("usr/bin/qemu-aarch64-static"))?;
    let mut second = Command::new("chroot");
    second.arg(tree).args(["/debootstrap/debootstrap", "--second-stage"]);
    run(second.stdout(Stdio::null()))
}

/// Debian's kernel into `dir`, and those of its modules that are needed into `tree`.
fn kernel(dir: &Path, tree: &Path) -> Result<()> {
    let work = dir.join("kernel");
    let source = apt::Source::new(&work, RELEASE, "arm64").map_err(|e| anyhow!(e))?;
    let names = source.depends("linux-image-arm64").map_err(|e| anyhow!(e))?;
    let name = names.iter().find(|name| name.starts_with("linux-image-")).context("No kernel is known")?;
    source.unpack(&[name], &work.join("root")).map_err(|e| anyhow!(e))?;
    let version = name.trim_start_matches("linux-image-");
    fs::copy(work.join("root/boot").join(format!("vmlinuz-{version}")), dir.join("vmlinuz"))?;
    let modules = Path::new("lib/modules").join(version);
    let to = tree.join(&modules);
    fs::create_dir_all(&to)?;
    let mut copy = Command::new("find");
    copy.arg(work.join("root").join(&modules)).args(["(", "-false"]);
    copy.args(MODULES.split_whitespace().flat_map(|module| ["-o", "-name", module]));
    run(copy.args([")", "-exec", "cp", "-t"]).arg(&to).args(["{}", "+"]))?;
    run(Command::new("depmod").arg("--basedir").arg(tree).arg(version))?;
    fs::remove_dir_all(work)?;
    Ok(())
}

/// Packs a tree as what the kernel unpacks into memory.
fn pack(tree: &Path, to: &Path) -> Result<()> {
    let script = "find . -xdev -path ./var/cache/apt -prune -o -path ./var/lib/apt/lists -prune -o \
                  -path ./usr/share/doc -prune -o -print0 | cpio --null --create --format=newc --quiet | gzip -1";
    let file = fs::File::create(to).with_context(|| format!("Cannot write {}", to.display()))?;
    run(Command::new("sh").args(["-c", script]).current_dir(tree).stdout(file))
}
