//! `cargo xtask compose`: brings `docker-compose.yml` up, unmodified, in a Docker engine of the test's own, sends
//! it readings of an agent outside over TLS, asks its Prometheus all that dashboards and alerts ask, and lets the
//! audit judge the tables in its S3 server.
//!
//! No registry of images is needed: what can be had elsewhere stands in under the same names, the rest is left
//! out by name. The engine needs root.

mod engine;
mod queries;
mod stack;
mod stand_ins;

use crate::bring;
use crate::run::{cargo, run};
use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use engine::{Engine, said};
use serde_json::Value;
use stack::Stack;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The most that an image of ours may weigh.
const IMAGE_MAX: u64 = 60 << 20;
/// How long it may take until everything that is counted has figures: a file is cut after a minute, Prometheus asks
/// every 15 s, and a rate needs two answers.
const FIGURES: Duration = Duration::from_secs(300);
/// How long readings may take from the agent's end to their tables: a file is cut after a minute.
const PATIENCE: Duration = Duration::from_secs(180);
const PROMETHEUS: &str = "http://127.0.0.1:9090";
const VEHICLE: &str = "van-1";

#[derive(Args, Default)]
pub struct Options {
    /// A folder with the programs, where they are built already
    #[arg(long)]
    programs: Option<PathBuf>,
}

pub fn run_command(options: &Options) -> Result<()> {
    bring::compose()?;
    let programs = match &options.programs {
        Some(dir) => dir.clone(),
        None => build()?,
    };
    let dir = tempfile::tempdir()?;
    let engine = Engine::start(dir.path())?;
    let milepost = programs.join("milepost");
    let stack = Stack::new(&engine, &dir.path().join("cloud"), &milepost)?;
    stack.is_hardened()?;
    stand_ins::make(&engine, &stack.images()?, &dir.path().join("stand-ins"), &programs)?;
    images(&engine, stack.dir())?;
    let from = Instant::now();
    let done = stack.up().and_then(|()| {
        println!("up and ready in {:.1} s: {}", from.elapsed().as_secs_f64(), stack.here().join(" "));
        drive(&stack, &programs)
    });
    if done.is_err() {
        let _ = run(&mut stack.compose(&["ps", "--all"]));
        let _ = run(&mut stack.compose(&["logs", "--no-color", "--tail", "30"]));
    }
    run(&mut stack.compose(&["down", "--volumes"]))?;
    done
}

/// The programs, as the tests have them.
fn build() -> Result<PathBuf> {
    run(&mut cargo(&["build", "--workspace", "--bins", "--quiet"]))?;
    let here = std::env::current_exe()?;
    Ok(here.parent().context("A program is in a folder")?.to_owned())
}

/// Builds the images of bridge and sink, and weighs them.
fn images(engine: &Engine, dir: &Path) -> Result<()> {
    for name in ["bridge", "sink"] {
        let image = format!("milepost-{name}:{}", env!("CARGO_PKG_VERSION"));
        run(engine.docker(&["buildx", "build", "--quiet", "--target", name, "--tag", &image]).arg(dir))?;
        let size: u64 = engine.said(&["image", "inspect", "--format", "{{.Size}}", &image])?.parse()?;
        ensure!(size <= IMAGE_MAX, "Image {image} has {size} bytes: more than {IMAGE_MAX}");
        println!("{image}: {size} bytes");
    }
    Ok(())
}

/// A vehicle drives, and what it says ends in the tables.
fn drive(stack: &Stack<'_>, programs: &Path) -> Result<()> {
    stack.runs_hardened()?;
    let mut agent = agent(stack, programs)?;
    let asked = asked(stack);
    run(Command::new("kill").arg(agent.id().to_string()))?;
    let ended = agent.wait()?;
    ensure!(ended.success(), "The agent ended with {ended}");
    asked?;
    audit(stack, programs)
}

/// Asks what dashboards and alerts ask, until all of it is answered.
fn asked(stack: &Stack<'_>) -> Result<()> {
    let until = Instant::now() + FIGURES;
    let queries = loop {
        match queries::answers(PROMETHEUS) {
            Err(_) if Instant::now() < until => std::thread::sleep(Duration::from_secs(5)),
            answered => break answered?,
        }
    };
    let rules = ["exec", "prometheus", "wget", "-q", "-O", "-", "http://127.0.0.1:9090/api/v1/rules"];
    let alerts = queries::alerts(&said(&mut stack.compose(&rules))?)?;
    println!("Prometheus answers {queries} queries of dashboards and works out {alerts} alerts");
    Ok(())
}

/// Starts an agent outside of the containers, with the bundle that the fleet gave it.
fn agent(stack: &Stack<'_>, programs: &Path) -> Result<Child> {
    let bundle = stack.dir().join("fleet/vehicles").join(VEHICLE);
    let mut enroll = Command::new(programs.join("milepost"));
    enroll.args(["fleet", "enroll", VEHICLE, "--config-dir"]).arg(&bundle).current_dir(stack.dir());
    run(&mut enroll)?;
    let file = bundle.join("agent.toml");
    let text = fs::read_to_string(&file)?;
    let data = format!("data_dir = \"{}\"", bundle.join("data").display());
    let listen = format!("{}:9464", stack.gateway()?);
    let more = format!(
        "\n[metrics]\nlisten = \"{listen}\"\n\n\
         [[source]]\nname = \"trip\"\ntype = \"simulate\"\nspeed = 20\n"
    );
    fs::write(&file, text.replace("data_dir = \"/var/lib/milepost\"", &data) + &more)?;
    let seen = format!("[{{ \"targets\": [\"{listen}\"] }}]\n");
    fs::write(stack.dir().join("deploy/prometheus/vehicles/van.json"), seen)?;
    let log = fs::File::create(stack.dir().join("agent.log"))?;
    let mut agent = Command::new(programs.join("milepost-agent"));
    agent.arg("--config").arg(file).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    agent.spawn().context("The agent cannot be started")
}

/// Waits until the audit has found all that the vehicle said.
fn audit(stack: &Stack<'_>, programs: &Path) -> Result<()> {
    let secret = stack.secret()?;
    let audit = || {
        let mut audit = Command::new(programs.join("milepost"));
        audit.args(["audit", "s3://milepost/lake"]).env("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:8333");
        audit.env("AWS_ACCESS_KEY_ID", "milepost").env("AWS_SECRET_ACCESS_KEY", &secret);
        audit
    };
    let until = Instant::now() + PATIENCE;
    loop {
        // Its status says whether all is there; it reports in either case.
        let out = audit().arg("--json").output()?;
        let report: Value = serde_json::from_slice(&out.stdout).unwrap_or_default();
        let whole =
            report["health"]["judged"] == 1 && report["tables"]["gps_data"]["rows"].as_u64() > Some(0);
        if out.status.success() && whole {
            return run(&mut audit());
        }
        if Instant::now() > until {
            bail!("The audit is not content: {}", String::from_utf8_lossy(&out.stdout));
        }
        std::thread::sleep(Duration::from_secs(3));
    }
}
