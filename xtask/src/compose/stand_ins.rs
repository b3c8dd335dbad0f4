//! Images that stand in for the public ones which `docker-compose.yml` names, under the very names.
//! `tests/stand-ins/Dockerfile` says what is in them.

use super::engine::Engine;
use crate::bring;
use crate::run::{root, run};
use anyhow::{Context, Result, bail};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The base of the stand-ins.
const BASE: &str = "milepost-stand-in:debian";
/// The repositories of the public images, and the stage that stands in for each.
const STAGES: [(&str, &str); 6] = [
    ("rust", "rust"),
    ("busybox", "busybox"),
    ("eclipse-mosquitto", "eclipse-mosquitto"),
    ("apache/kafka", "kafka"),
    ("chrislusf/seaweedfs", "seaweedfs"),
    ("prom/prometheus", "prometheus"),
];
/// Images that no package has: their services are left out.
pub const LEFT_OUT: [&str; 1] = ["grafana/grafana"];
/// What busybox is called by in its stand-in.
const APPLETS: [&str; 8] = ["sh", "cp", "chmod", "chown", "ls", "cat", "df", "wget"];

/// The repository of an image: its name without the tag.
pub fn repository(image: &str) -> &str {
    image.split(':').next().unwrap_or(image)
}

/// Makes the stand-in of each image, in the folder `context`, which it fills; those that the project builds and
/// those in [`LEFT_OUT`] are passed over. What stands in for a compiler gives `programs`.
pub fn make(engine: &Engine, images: &[String], context: &Path, programs: &Path) -> Result<()> {
    base(engine)?;
    lay(context, programs)?;
    for image in images.iter().filter(|image| !image.starts_with("milepost-")) {
        let name = repository(image);
        if LEFT_OUT.contains(&name) {
            continue;
        }
        let Some((_, stage)) = STAGES.iter().find(|(repository, _)| *repository == name) else {
            bail!("There is no stand-in for {image} in tests/stand-ins");
        };
        let mut build = engine.docker(&["buildx", "build", "--quiet", "--target", stage, "--tag", image]);
        run(build.arg(context))?;
    }
    Ok(())
}

/// The folder that stand-ins are built from: the files of `tests/stand-ins`, and what they copy.
fn lay(context: &Path, programs: &Path) -> Result<()> {
    let copy = |from: &Path, to: &Path| run(Command::new("cp").arg("-r").arg(from).arg(to));
    copy(&root().join("tests/stand-ins"), context)?;
    copy(&bring::kafka_image()?, &context.join("jars"))?;
    copy(&bring::weed()?.join("weed"), &context.join("weed"))?;
    fs::create_dir(context.join("programs"))?;
    for program in ["milepost-bridge", "milepost-sink"] {
        let to = context.join("programs").join(program);
        run(Command::new("strip").arg("-o").arg(to).arg(programs.join(program)))?;
    }
    Ok(())
}

/// The base: a Debian with the packages of `tests/stand-ins/debian.txt`, made once and kept in the cache.
fn base(engine: &Engine) -> Result<()> {
    let (dir, ready) = bring::kept("stand-in", &root().join("tests/stand-ins/debian.txt"))?;
    let tar = dir.join("root.tar");
    if !ready.is_file() {
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir)?;
        let packages = fs::read_to_string(root().join("tests/stand-ins/debian.txt"))?;
        let tree = dir.join("root");
        debootstrap(&tree, &packages.split_whitespace().collect::<Vec<_>>())?;
        busybox(&tree)?;
        let leave = ["./var/cache/apt", "./var/lib/apt/lists", "./proc", "./sys", "./dev"];
        let mut pack = Command::new("tar");
        pack.arg("--directory").arg(&tree).arg("--create").arg("--file").arg(&tar);
        run(pack.args(leave.map(|path| format!("--exclude={path}"))).arg("."))?;
        fs::remove_dir_all(&tree)?;
        fs::write(&ready, "")?;
    }
    let mut import = engine.docker(&["import", "-", BASE]);
    run(import.stdin(File::open(&tar).with_context(|| format!("Cannot read {}", tar.display()))?))
}

/// A Debian of this machine's kind in `tree`, with `packages`.
fn debootstrap(tree: &Path, packages: &[&str]) -> Result<()> {
    let mut debootstrap = Command::new("debootstrap");
    debootstrap.arg("--variant=minbase").arg(format!("--include={}", packages.join(",")));
    // Thousands of lines.
    debootstrap.arg("bookworm").arg(tree).stdout(Stdio::null());
    run(&mut debootstrap)
}

/// Adds to a Debian what the stand-in of busybox is: its program under its names, and the C library.
fn busybox(tree: &Path) -> Result<()> {
    let to = tree.join("busybox");
    for dir in ["bin", "lib", "lib64", "tmp"] {
        fs::create_dir_all(to.join(dir))?;
    }
    let copy = |from: PathBuf, to: PathBuf| {
        fs::copy(&from, to).with_context(|| format!("Cannot copy {}", from.display()))
    };
    copy(tree.join("usr/bin/busybox"), to.join("bin/busybox"))?;
    for applet in APPLETS {
        std::os::unix::fs::symlink("busybox", to.join("bin").join(applet))?;
    }
    std::os::unix::fs::symlink("busybox", tree.join("usr/bin/wget"))?;
    for library in ["libc.so.6", "libm.so.6", "libresolv.so.2", "libpthread.so.0", "libdl.so.2", "librt.so.1"]
    {
        copy(tree.join("usr/lib/x86_64-linux-gnu").join(library), to.join("lib").join(library))?;
    }
    let loader = "ld-linux-x86-64.so.2";
    copy(tree.join("usr/lib/x86_64-linux-gnu").join(loader), to.join("lib64").join(loader))?;
    Ok(())
}
