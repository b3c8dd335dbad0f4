//! Brings what the tests need: Debian packages as root, Python packages into a private environment.
//! Nothing is assumed to be on the machine but Rust; nothing is fetched but packages by name.

use crate::run::{cache, found, root, run, succeeds};
use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};
use std::path::PathBuf;
use std::process::Command;

/// A program that the tests run and the Debian package that holds it.
const PROGRAMS: [(&str, &str); 6] = [
    ("cc", "build-essential"),
    ("make", "build-essential"),
    ("mosquitto", "mosquitto"),
    ("gpsd", "gpsd"),
    ("gpsfake", "gpsd-clients"),
    ("python3", "python3"),
];

/// Installs the Debian packages that are missing. Says what to install where it may not.
pub fn debian_packages() -> Result<()> {
    let mut missing: Vec<&str> = PROGRAMS.iter().filter(|(program, _)| !found(program)).map(|(_, p)| *p).collect();
    missing.dedup();
    if missing.is_empty() {
        return Ok(());
    }
    let by_hand = format!("apt-get install {}", missing.join(" "));
    if !found("apt-get") || !is_root() {
        bail!("The tests need {}: install them (on Debian: `sudo {by_hand}`) and run again", missing.join(", "));
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
    for (program, package) in PROGRAMS {
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
    let text = std::fs::read(&requirements).with_context(|| format!("Cannot read {}", requirements.display()))?;
    let tag: String = Sha256::digest(&text).iter().take(6).map(|b| format!("{b:02x}")).collect();
    let env = cache()?.join(format!("python-{tag}"));
    let (python, ready) = (env.join("bin/python"), env.join("ready"));
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

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|m| std::os::unix::fs::MetadataExt::uid(&m) == 0)
}
