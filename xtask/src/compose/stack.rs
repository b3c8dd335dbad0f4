//! `docker-compose.yml` as it is, in a folder of its own beside the fleet's files and `.env`, as a person has it.

use super::engine::{Engine, said};
use super::stand_ins::{LEFT_OUT, repository};
use crate::run::{root, run};
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The one service that may be root: it ends before any other starts.
const MAY_BE_ROOT: &str = "prepare";
/// Files that bring the stack up, below the repository's root.
const FILES: [&str; 4] = ["docker-compose.yml", "Dockerfile", ".dockerignore", "deploy"];
/// The commands of the file's head that make `.env`.
const ENV: &str = "umask 077; for secret in S3_SECRET GRAFANA_PASSWORD; do echo \"MILEPOST_$secret=$(openssl rand -hex 20)\"; done >.env";

/// The stack in its folder.
pub struct Stack<'a> {
    engine: &'a Engine,
    dir: PathBuf,
    config: Value,
}

impl<'a> Stack<'a> {
    /// Copies the files to `dir`, and makes the fleet and `.env` there.
    pub fn new(engine: &'a Engine, dir: &Path, milepost: &Path) -> Result<Self> {
        fs::create_dir_all(dir)?;
        for file in FILES {
            run(Command::new("cp").arg("-r").arg(root().join(file)).arg(dir))?;
        }
        let names = ["--broker", "127.0.0.1", "--broker", "broker"];
        run(Command::new(milepost).args(["fleet", "init"]).args(names).current_dir(dir))?;
        let head = fs::read_to_string(dir.join("docker-compose.yml"))?;
        ensure!(head.contains(ENV), "The head of docker-compose.yml makes .env in another way than {ENV:?}");
        run(Command::new("sh").args(["-c", ENV]).current_dir(dir))?;
        let mut stack = Self { engine, dir: dir.to_owned(), config: Value::Null };
        let text = said(&mut stack.compose(&["--profile", "aws", "config", "--format", "json"]))?;
        stack.config = serde_json::from_str(&text).context("docker compose config gives JSON")?;
        Ok(stack)
    }

    /// A `docker compose` command.
    pub fn compose(&self, arguments: &[&str]) -> Command {
        let mut compose = self.engine.docker(&["compose"]);
        compose.args(arguments).current_dir(&self.dir);
        compose
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    fn services(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.config["services"].as_object().into_iter().flatten().map(|(name, s)| (name.as_str(), s))
    }

    /// The images that it names, and that the Dockerfile begins with, each once.
    pub fn images(&self) -> Result<Vec<String>> {
        let mut images: Vec<_> =
            self.services().filter_map(|(_, s)| Some(s["image"].as_str()?.into())).collect();
        let dockerfile = fs::read_to_string(self.dir.join("Dockerfile"))?;
        images.extend(begins_with(&dockerfile));
        images.sort();
        images.dedup();
        Ok(images)
    }

    /// The services that run here: those of the default profile whose image can be had.
    pub fn here(&self) -> Vec<&str> {
        let is_here = |service: &Value| {
            let image = service["image"].as_str().unwrap_or_default();
            service["profiles"].is_null() && !LEFT_OUT.contains(&repository(image))
        };
        self.services().filter(|(_, service)| is_here(service)).map(|(name, _)| name).collect()
    }

    /// The secret key of the S3 server.
    pub fn secret(&self) -> Result<String> {
        let text = fs::read_to_string(self.dir.join(".env"))?;
        let secret = text.lines().find_map(|line| line.strip_prefix("MILEPOST_S3_SECRET="));
        secret.map(str::to_owned).context(".env has no MILEPOST_S3_SECRET")
    }

    /// Brings up what can be had, and waits until all of it is ready.
    pub fn up(&self) -> Result<()> {
        let mut up = self.compose(&["up", "--wait", "--pull", "never", "--no-build"]);
        run(up.args(self.here()))
    }

    /// Every service is locked down as the file's head promises.
    pub fn is_hardened(&self) -> Result<()> {
        for (name, service) in self.services() {
            let rules = [
                ("is not read-only", service["read_only"] == true),
                ("keeps capabilities", service["cap_drop"] == serde_json::json!(["ALL"])),
                ("may gain rights", service["security_opt"] == serde_json::json!(["no-new-privileges:true"])),
                ("has no limit of memory", !service["mem_limit"].is_null()),
                ("has no limit of processes", !service["pids_limit"].is_null()),
                ("may be root", !is_root(name, service)),
                ("has no pinned image", is_pinned(service["image"].as_str().unwrap_or_default())),
                ("has no health check", !service["healthcheck"].is_null() || service["restart"] == "no"),
            ];
            if let Some((wrong, _)) = rules.iter().find(|(_, holds)| !holds) {
                bail!("docker-compose.yml: {name} {wrong}");
            }
            for port in service["ports"].as_array().into_iter().flatten() {
                let open = port["published"] == "8883" || port["host_ip"] == "127.0.0.1";
                ensure!(open, "docker-compose.yml: {name} opens port {} to the network", port["published"]);
            }
        }
        Ok(())
    }

    /// Of the containers that run, none is root or can write to its image.
    pub fn runs_hardened(&self) -> Result<()> {
        let ids = said(&mut self.compose(&["ps", "--quiet"]))?;
        for id in ids.lines() {
            let asked = "{{.Name}} {{.Config.User}} {{.HostConfig.ReadonlyRootfs}}";
            let line = self.engine.said(&["inspect", "--format", asked, id])?;
            let [name, user, read_only] = line.split(' ').collect::<Vec<_>>()[..] else {
                bail!("docker inspect says {line:?}");
            };
            ensure!(!user.is_empty() && !user.starts_with('0'), "{name} runs as {user:?}");
            ensure!(read_only == "true", "{name} can write to its image");
        }
        Ok(())
    }

    /// The address by which containers reach this machine.
    pub fn gateway(&self) -> Result<String> {
        self.engine.said(&[
            "network",
            "inspect",
            "--format",
            "{{(index .IPAM.Config 0).Gateway}}",
            "milepost_outer",
        ])
    }
}

/// Whether a service runs, or may run, as root. An image of the project's own says its user itself.
fn is_root(name: &str, service: &Value) -> bool {
    let own = service["image"].as_str().is_some_and(|image| image.starts_with("milepost-"));
    let user = service["user"].as_str();
    name != MAY_BE_ROOT && !own && user.is_none_or(|user| user.starts_with('0'))
}

/// The public images that stages of a Dockerfile begin with; a tag tells them from the file's own stages.
fn begins_with(dockerfile: &str) -> impl Iterator<Item = String> {
    let lines = dockerfile.lines().filter_map(|line| line.strip_prefix("FROM "));
    let images = lines.filter_map(|line| line.split(' ').find(|word| !word.starts_with("--")));
    images.filter(|image| image.contains(':')).map(str::to_owned)
}

/// Whether a tag names one version.
fn is_pinned(image: &str) -> bool {
    image.split_once(':').is_some_and(|(_, tag)| tag.contains(|c: char| c.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_service_without_a_user_counts_as_root_but_for_the_one_that_may_be() {
        assert!(is_root("kafka", &json!({ "image": "apache/kafka:4" })));
        assert!(is_root("kafka", &json!({ "image": "apache/kafka:4", "user": "0:0" })));
        assert!(!is_root("kafka", &json!({ "image": "apache/kafka:4", "user": "1000:1000" })));
        assert!(!is_root("prepare", &json!({ "image": "busybox:1", "user": "0:0" })));
        assert!(!is_root("sink", &json!({ "image": "milepost-sink:0.1.0" })));
    }

    #[test]
    fn a_dockerfile_s_own_stages_are_no_images() {
        let file = "FROM --platform=$BUILDPLATFORM rust:1.95.0 AS build\nRUN x:y\nFROM busybox:1 AS base\nFROM base AS sink\n";
        assert_eq!(begins_with(file).collect::<Vec<_>>(), ["rust:1.95.0", "busybox:1"]);
    }

    #[test]
    fn only_a_tag_with_a_version_is_pinned() {
        assert!(is_pinned("prom/prometheus:v3.5.0"));
        assert!(!is_pinned("prom/prometheus:latest"));
        assert!(!is_pinned("prom/prometheus"));
    }
}
