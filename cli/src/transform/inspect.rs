//! `milepost transform inspect`: what a component is and asks for, before it comes near a vehicle.

use super::build::digest;
use super::sandbox::{Params, Subject, param, settings};
use super::{red, size};
use crate::{Failure, Outcome};
use clap::Args;
use milepost_transform_host::{Engine, EngineSettings, Limits};
use std::io::{IsTerminal, Write};
use std::path::PathBuf;

/// Options of `milepost transform inspect`.
#[derive(Args, Debug)]
pub(super) struct Options {
    /// The component's file, or a project's folder, which is built first
    #[arg(default_value = ".")]
    path: PathBuf,
    /// A parameter to start it with, where it needs one; may be repeated
    #[arg(long = "param", value_name = "NAME=VALUE", value_parser = param)]
    params: Vec<(String, String)>,
}

/// Runs the command.
pub(super) fn run(options: &Options) -> Result<Outcome, Failure> {
    let subject = Subject::open(&options.path)?;
    let mut text = Vec::new();
    let outcome = describe(&subject, options.params.iter().cloned().collect(), &mut text)
        .map_err(|e| format!("{}: {e}", options.path.display()))?;
    match std::io::stdout().write_all(&text) {
        // `milepost transform inspect … | head` is no failure.
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(outcome),
        written => written.map(|()| outcome).map_err(Failure::from),
    }
}

fn describe(subject: &Subject, params: Params, out: &mut Vec<u8>) -> Result<Outcome, Failure> {
    let bytes = &subject.shipped;
    let digest = digest(bytes);
    writeln!(out, "{:<9} {}", "name", subject.name)?;
    writeln!(out, "{:<9} {} ({} bytes)", "size", size(bytes.len()), bytes.len())?;
    writeln!(out, "{:<9} {digest}", "sha256")?;
    writeln!(out, "{:<9} {}", "lineage", &digest[..16])?;
    look(bytes)?;
    // What is compiled to be looked at need not be compiled again to be started.
    let compiled = tempfile::tempdir()?;
    let engine = Engine::new(&EngineSettings { cache: Some(compiled.path().into()), ..settings() })?;
    let world = engine.world(&subject.name, bytes)?;
    writeln!(out, "{:<9} {}", "exports", world.exports.join(", "))?;
    writeln!(
        out,
        "{:<9} {}",
        "imports",
        if world.imports.is_empty() { "nothing".into() } else { world.imports.join(", ") }
    )?;
    let colours = std::io::stdout().is_terminal();
    let refused: Vec<&String> =
        world.imports.iter().filter(|import| !milepost_transform_host::is_offered(import)).collect();
    for import in &refused {
        let line =
            format!("{:<9} {import}: a transform does not get it. The agent will not load this", "REFUSED");
        writeln!(out, "{}", red(&line, colours))?;
    }
    if !refused.is_empty() {
        return Ok(Outcome::Bad);
    }
    match subject.start(&engine, params) {
        Ok(mut sandbox) => {
            writeln!(out, "{:<9} milepost:transform/transform@0.1.0", "world")?;
            writeln!(out, "{:<9} {}", "streams", sandbox.transform.streams().join(", "))?;
            writeln!(out, "{:<9} {} after init", "memory", size(sandbox.transform.usage().memory_bytes))?;
        }
        Err(why) => {
            writeln!(out, "{}", red(&format!("{:<9} {why}", "REFUSED"), colours))?;
            limits(&subject.limits, out)?;
            return Ok(Outcome::Bad);
        }
    }
    limits(&subject.limits, out)?;
    Ok(Outcome::Good)
}

fn limits(limits: &Limits, out: &mut Vec<u8>) -> std::io::Result<()> {
    let Limits { cpu, init_cpu, memory_bytes, output_rows, output_bytes, log_bytes, state_bytes, .. } =
        limits;
    writeln!(out, "{:<9} CPU {cpu:?} a call, {init_cpu:?} for init and restore each", "limits")?;
    writeln!(out, "{:<9} memory {}, state {}", "", size(*memory_bytes), size(*state_bytes))?;
    let (output, log) = (size(*output_bytes), size(*log_bytes));
    writeln!(out, "{:<9} a call: {output_rows} rows or {output} of output, {log} of log", "")
}

/// Says of what is no component what it is.
fn look(bytes: &[u8]) -> Result<(), Failure> {
    let refuse = |why: String| format!("not a WebAssembly component: {why}");
    // The version and the layer: what a core module has is 1 and 0.
    match bytes.split_at_checked(8).map(|(head, _)| (&head[..4], head[6])) {
        Some((b"\0asm", 0)) => {
            let why = "it is a core module: `milepost transform build` makes a component of it";
            return Err(refuse(why.into()).into());
        }
        Some((b"\0asm", _)) => {}
        _ => return Err(refuse("it is no WebAssembly at all".into()).into()),
    }
    Ok(())
}
