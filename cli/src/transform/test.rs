//! `milepost transform test`: runs a project's cases in the sandbox.

use super::case::{self, Case, Ran};
use super::sandbox::{Subject, settings};
use super::{green, red};
use crate::{Failure, Outcome, say};
use clap::Args;
use milepost_transform_host::{Engine, EngineSettings};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

/// Options of `milepost transform test`.
#[derive(Args, Debug)]
pub(super) struct Options {
    /// The project's folder, which is built first, or a component's file beside `cases/`
    #[arg(default_value = ".")]
    path: PathBuf,
    /// Only this case; may be repeated
    #[arg(long = "case", value_name = "NAME")]
    cases: Vec<String>,
    /// Write what comes out as what has to come out. Look at the change before you commit it
    #[arg(long)]
    bless: bool,
    /// Show what the transform logs
    #[arg(long)]
    log: bool,
}

/// Runs the command.
pub(super) fn run(options: &Options) -> Result<Outcome, Failure> {
    if options.log {
        show_log();
    }
    let subject = Subject::open(&options.path)?;
    let beside = options.path.parent().unwrap_or(Path::new("."));
    let dir = subject.project.as_deref().unwrap_or(beside);
    let engine = Engine::new(&EngineSettings { source_lines: true, ..settings() })?;
    let colours = std::io::stdout().is_terminal();
    let found = case::find(dir, &options.cases)?;
    let mut failed = 0;
    for path in &found {
        let name = case::name(path);
        let problems = match run_case(path, &engine, &subject, options.bless) {
            Ok((case, ran)) if ran.problems.is_empty() => {
                let (done, rows) =
                    (green(if options.bless { "written" } else { "ok" }, colours), ran.rows.len());
                say(&format!("case {name}: {done}, {} readings in, {rows} rows out\n", case.len()))?;
                continue;
            }
            Ok((_, ran)) => ran.problems,
            // The other cases are run all the same.
            Err(why) => vec![format!("  {why}")],
        };
        failed += 1;
        say(&format!("case {name}: {}\n", red("FAILED", colours)))?;
        for problem in &problems {
            say(&format!("{}\n", coloured(problem, colours)))?;
        }
    }
    say(&format!("{} passed, {failed} failed\n", found.len() - failed))?;
    Ok(if failed == 0 { Outcome::Good } else { Outcome::Bad })
}

fn run_case(path: &Path, engine: &Engine, subject: &Subject, bless: bool) -> Result<(Case, Ran), Failure> {
    let case = Case::open(path)?;
    let mut ran = case.run(engine, subject);
    match bless && ran.problems.is_empty() {
        true => case.bless(&ran.rows)?,
        false => case.compare(&mut ran),
    }
    Ok((case, ran))
}

/// Shows what transforms log, on standard error.
pub(super) fn show_log() {
    let log = tracing_subscriber::fmt().with_max_level(tracing::Level::DEBUG).with_target(false);
    // Where there is a subscriber already, that one shows it.
    let _ = log.without_time().with_writer(std::io::stderr).try_init();
}

fn coloured(line: &str, colours: bool) -> String {
    match line.as_bytes().first() {
        Some(b'-') => red(line, colours),
        Some(b'+') => green(line, colours),
        _ => line.to_owned(),
    }
}
