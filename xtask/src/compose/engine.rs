//! A Docker engine of the test's own: its images in the cache folder, its socket in a temporary one. An engine
//! that runs on the machine is left alone, since the stand-ins carry the names of public images.

use crate::run::{cache, run};
use anyhow::{Context, Result, anyhow, bail};
use milepost_transform_build::apt;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The Debian release whose packages of compose and buildx are used: their programs are static, and older
/// releases have none.
const PLUGINS_FROM: &str = "trixie";
/// The plugins, and the packages that they come in.
const PLUGINS: [(&str, &str); 2] = [("docker-compose", "docker-compose"), ("docker-buildx", "docker-buildx")];
/// How long the engine may take to start, and to end.
const PATIENCE: Duration = Duration::from_secs(60);

/// The engine; ended when the value goes.
pub struct Engine {
    dir: PathBuf,
    config: PathBuf,
    process: Child,
    /// Whether packets were forwarded before it started: an engine forbids that, and leaves it so.
    forwarded: bool,
}

impl Engine {
    /// Starts it, with its socket and its log in `dir`.
    pub fn start(dir: &Path) -> Result<Self> {
        let config = plugins()?;
        let data = cache()?.join("docker");
        let log = File::create(dir.join("engine.log")).context("The engine's log cannot be written")?;
        let socket = format!("unix://{}", dir.join("docker.sock").display());
        let mut engine = Command::new("dockerd");
        engine.arg("--data-root").arg(&data).arg("--exec-root").arg(dir.join("exec"));
        engine.arg("--pidfile").arg(dir.join("engine.pid")).args(["--host", &socket]);
        engine.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let forwarded = forwards();
        let process = engine.spawn().context("dockerd cannot be started")?;
        let mut started = Self { dir: dir.to_owned(), config, process, forwarded };
        started.wait()?;
        Ok(started)
    }

    fn wait(&mut self) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        while !crate::run::succeeds(&mut self.docker(&["info"])) {
            let ended = self.process.try_wait()?.is_some();
            if ended || Instant::now() > until {
                let log = fs::read_to_string(self.dir.join("engine.log")).unwrap_or_default();
                let last: Vec<&str> = log.lines().rev().take(5).collect();
                bail!("The Docker engine did not start: {}", last.join(" | "));
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        Ok(())
    }

    /// A `docker` command for this engine.
    pub fn docker(&self, arguments: &[&str]) -> Command {
        let mut docker = Command::new("docker");
        docker.args(arguments).env("DOCKER_CONFIG", &self.config);
        docker.env("DOCKER_HOST", format!("unix://{}", self.dir.join("docker.sock").display()));
        docker
    }

    /// What a `docker` command prints.
    pub fn said(&self, arguments: &[&str]) -> Result<String> {
        said(&mut self.docker(arguments))
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // So that it unmounts what it mounted; a kill would leave that behind.
        let _ = Command::new("kill").arg(self.process.id().to_string()).status();
        let until = Instant::now() + PATIENCE;
        while self.process.try_wait().is_ok_and(|ended| ended.is_none()) && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(100));
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
        if self.forwarded {
            let _ = Command::new("iptables").args(["--policy", "FORWARD", "ACCEPT"]).status();
        }
    }
}

fn forwards() -> bool {
    said(Command::new("iptables").args(["--list-rules", "FORWARD"]))
        .is_ok_and(|rules| rules.contains("ACCEPT"))
}

/// What a command prints, trimmed; fails with its errors.
pub fn said(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let out = command.stdin(Stdio::null()).output().with_context(|| format!("Cannot start {name}"))?;
    if !out.status.success() {
        bail!("{name} failed: {}", String::from_utf8_lossy(&out.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&out.stdout).trim().to_owned())
}

/// The folder with the command-line plugins, which it makes where there is none.
fn plugins() -> Result<PathBuf> {
    let config = cache()?.join("docker-plugins");
    let to = config.join("cli-plugins");
    if PLUGINS.iter().all(|(program, _)| to.join(program).is_file()) {
        return Ok(config);
    }
    let work = config.join("work");
    let source = apt::Source::new(&work, PLUGINS_FROM, "amd64").map_err(|e| anyhow!(e))?;
    source.unpack(&PLUGINS.map(|(_, package)| package), &work.join("root")).map_err(|e| anyhow!(e))?;
    fs::create_dir_all(&to)?;
    for (program, _) in PLUGINS {
        let from = work.join("root/usr/libexec/docker/cli-plugins").join(program);
        fs::copy(&from, to.join(program)).with_context(|| format!("Cannot copy {}", from.display()))?;
    }
    fs::remove_dir_all(&work)?;
    run(Command::new(to.join("docker-compose")).arg("version"))?;
    Ok(config)
}
