//! What `check`, `test` and `bench` run, in order.

use crate::firmware::{self, Board, prebuilt};
use crate::run::{cargo, found, in_ci, root, run, succeeds};
use crate::{bring, compose, dist, pi, transforms};
use anyhow::{Context, Result, bail};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Instant;

/// Format, lint and unit tests.
pub fn check() -> Result<()> {
    lint()?;
    if succeeds(&mut cargo(&["nextest", "--version"])) {
        return run(&mut cargo(&["nextest", "run", "--workspace", "--lib", "--bins"]));
    }
    run(&mut cargo(&["test", "--workspace", "--lib", "--bins", "--quiet"]))
}

fn lint() -> Result<()> {
    run(&mut cargo(&["fmt", "--all", "--check"]))?;
    run(&mut cargo(&["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"]))?;
    // The wire does without the standard library, and for the firmware without a heap.
    for features in ["", "alloc"] {
        let wire = ["check", "-p", "milepost-wire", "--no-default-features", "--quiet", "--features"];
        run(cargo(&wire).arg(features))?;
    }
    if found("cargo-deny") {
        run(&mut cargo(&["deny", "check"]))?;
    }
    Ok(())
}

/// Everything that proves the chain. Ends with a line that counts the tests.
pub fn test(full: bool) -> Result<()> {
    let started = Instant::now();
    let mut steps = Steps::default();
    steps.step("bring: Debian packages", || match bring::debian_packages() {
        Err(e) if !in_ci() => {
            eprintln!("{e:#}\nThe tests that need them say that they skip.");
            Ok(())
        }
        other => other,
    })?;
    if full {
        steps.step("bring: compilers of transforms in other languages", bring::languages)?;
    }
    let python = steps.step("bring: Python readers", bring::python)?;
    let kafka = steps.step("bring: Kafka", bring::kafka)?;
    let emulator = steps.step("bring: the firmware's emulator", bring::emulator)?;
    steps.step("lint", lint)?;
    steps.step("firmware: what is committed is of this source and within its budget", || {
        prebuilt::check(Board::Pico)
    })?;
    let built = match full {
        true => Some(steps.step("firmware: build", || {
            firmware::size(Board::Pico, false)?;
            firmware::build(Board::Pico)
        })?),
        false => None,
    };
    let vehicle = match full {
        true => Some(steps.step("vehicle: the package and a machine to try it on", || {
            Ok((pi::machine()?, dist::dist(dist::Target::Arm64, "dist")?.package))
        })?),
        false => None,
    };
    steps.step("transforms: the committed components match their source", || {
        transforms::run(&root(), &transforms::Command::Check).map_err(anyhow::Error::msg)
    })?;
    if full {
        steps.step("transforms: the same bits on the processor of a Raspberry Pi", dist::same_on_arm64)?;
    }
    // The end-to-end tests start the real programs, so these are built before any test runs.
    steps.step("build", || run(&mut cargo(&["build", "--workspace", "--bins"])))?;
    let counts = steps.step("tests", || {
        let mut c = cargo(&["test", "--workspace", "--no-fail-fast"]);
        c.env("MILEPOST_PYTHON", &python).env("MILEPOST_KAFKA_LIB", &kafka);
        c.env("MILEPOST_EMULATOR", &emulator);
        if full {
            c.env("MILEPOST_FULL", "1");
        }
        if let Some(elf) = &built {
            c.env("MILEPOST_FIRMWARE", elf.with_extension("uf2"));
        }
        if let Some((machine, package)) = &vehicle {
            c.env("MILEPOST_PI", machine).env("MILEPOST_PI_PACKAGE", package);
        }
        let data = root().join("../shared/data");
        if data.is_dir() && std::env::var_os("MILEPOST_SHARED_DATA").is_none() {
            c.env("MILEPOST_SHARED_DATA", data);
        }
        counted(&mut c)
    })?;
    if full {
        steps.step("compose: the cloud side in a Docker engine", || {
            compose::run_command(&compose::Options::default())
        })?;
    }
    eprintln!("\nWhat ran, in {} s:", started.elapsed().as_secs());
    for (name, seconds) in &steps.0 {
        eprintln!("{seconds:6} s  {name}");
    }
    println!("{} passed, {} failed", counts.passed, counts.failed);
    if counts.failed > 0 || !counts.success {
        bail!("The tests failed");
    }
    if counts.passed == 0 {
        bail!("No test ran");
    }
    Ok(())
}

/// Runs the campaign on real brokers, `seeds` schedules from `first_seed` on.
pub fn chaos(seeds: u64, first_seed: u64, json: bool) -> Result<()> {
    bring::debian_packages()?;
    let kafka = bring::kafka()?;
    run(&mut cargo(&["build", "--workspace", "--bins", "--quiet"]))?;
    // Beside this program: `cargo run --package` would build every dependency again with other features.
    let mut c = Command::new(std::env::current_exe()?.with_file_name("chaos"));
    c.args([seeds.to_string(), first_seed.to_string()]).env("MILEPOST_KAFKA_LIB", kafka);
    if json {
        c.arg("--json");
    }
    run(&mut c)
}

/// Runs every bench, or those whose name contains `filter`, optimised as what is shipped.
pub fn bench(filter: Option<&str>) -> Result<()> {
    let wanted = |name: &str| filter.is_none_or(|f| name.contains(f));
    let benches: &[(&str, &[&str])] = &[
        ("wire-size", &["run", "--release", "-p", "milepost-bench", "--bin", "sizes"]),
        ("wire-speed", &["run", "--release", "-p", "milepost-bench", "--bin", "speed"]),
        ("transform-host", &["bench", "-p", "milepost-transform-host"]),
        ("agent-outbox", &["bench", "-p", "milepost-agent", "--bench", "outbox", "--bench", "whole_agent"]),
        ("gps", &["bench", "-p", "milepost-firmware-core", "--bench", "gps"]),
        ("isolation", &["bench", "-p", "milepost-agent", "--bench", "isolation"]),
        ("agent-start", &["bench", "-p", "milepost-agent", "--bench", "start"]),
    ];
    for (_, args) in benches.iter().filter(|(name, _)| wanted(name)) {
        run(&mut cargo(args))?;
    }
    if wanted("bridge") {
        bring::debian_packages()?;
        let kafka = bring::kafka()?;
        run(&mut cargo(&["build", "--release", "-p", "milepost-bridge"]))?;
        let mut bridge = cargo(&["bench", "-p", "milepost-tests", "--bench", "bridge"]);
        run(bridge.env("MILEPOST_KAFKA_LIB", kafka))?;
    }
    Ok(())
}

#[derive(Default)]
struct Steps(Vec<(&'static str, u64)>);

impl Steps {
    fn step<T>(&mut self, name: &'static str, f: impl FnOnce() -> Result<T>) -> Result<T> {
        eprintln!("\n== {name}");
        let from = Instant::now();
        let done = f().with_context(|| format!("Step failed: {name}"));
        self.0.push((name, from.elapsed().as_secs()));
        done
    }
}

struct Counts {
    passed: u64,
    failed: u64,
    success: bool,
}

/// Runs `cargo test`, shows its output and adds up the closing lines of its test programs.
fn counted(c: &mut Command) -> Result<Counts> {
    let mut child = c.stdout(Stdio::piped()).spawn().context("Cannot start cargo test")?;
    let stdout = child.stdout.take().context("cargo test has no output")?;
    let (mut passed, mut failed) = (0, 0);
    for line in BufReader::new(stdout).lines() {
        let line = line?;
        println!("{line}");
        if let Some(result) = line.strip_prefix("test result: ") {
            passed += number_before(result, " passed");
            failed += number_before(result, " failed");
        }
    }
    Ok(Counts { passed, failed, success: child.wait()?.success() })
}

fn number_before(text: &str, word: &str) -> u64 {
    let before = text.split(word).next().unwrap_or_default();
    before.rsplit(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_lines_of_test_programs_are_added_up() {
        let line = "ok. 12 passed; 3 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s";
        assert_eq!((number_before(line, " passed"), number_before(line, " failed")), (12, 3));
        assert_eq!(number_before("FAILED. x", " passed"), 0);
    }
}
