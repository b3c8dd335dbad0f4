//! `milepost transform`: the author's loop. `new` makes a project, `build` its component, `test` runs
//! it on files of readings, `bench` says what it costs, `inspect` what it asks for, `run` pipes readings
//! through it.
//!
//! The sandbox is the agent's own, with the agent's limits: what passes here passes in a vehicle.
//!
//! Reading order: [`project`] is what lies in the author's folder, [`sdk`] what this program puts beside
//! it, `new` and `build` make it, [`readings`] and [`lake`] read what goes in, [`sandbox`] runs it,
//! [`case`] and [`diff`] compare what comes out.

mod project;
mod sdk;
mod new;
mod build;

mod readings;
mod lake;
mod sandbox;

mod case;
mod diff;
mod test;

mod bench;
mod inspect;
mod pipe;

use crate::{Failure, Outcome};
use clap::{Args, Subcommand};

/// The command by which this program's call of itself is known.
pub(crate) const COMPILE: &str = "compile-component";

/// Options of `milepost transform`.
#[derive(Args, Debug)]
pub struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a project with a transform that works, and a test of it
    New(new::Options),
    /// Build a project's component
    Build(build::Options),
    /// Run a project's cases: readings in, readings out, compared
    Test(test::Options),
    /// Say what a transform costs, beside its limits
    Bench(bench::Options),
    /// Say what a component is and asks for; refuses one that asks for more than a transform gets
    Inspect(inspect::Options),
    /// Pipe NDJSON through a transform
    Run(pipe::Options),
}

/// Runs the command.
pub fn run(options: &Options) -> Result<Outcome, Failure> {
    match &options.command {
        Command::New(options) => new::run(options),
        Command::Build(options) => build::run(options),
        Command::Test(options) => test::run(options),
        Command::Bench(options) => bench::run(options),
        Command::Inspect(options) => inspect::run(options),
        Command::Run(options) => pipe::run(options),
    }
}

/// Red text, where a person reads it.
fn red(text: &str, colours: bool) -> String {
    if colours { format!("\x1b[31m{text}\x1b[0m") } else { text.to_owned() }
}

/// Green text, where a person reads it.
fn green(text: &str, colours: bool) -> String {
    if colours { format!("\x1b[32m{text}\x1b[0m") } else { text.to_owned() }
}

/// A number of bytes for a person.
fn size(bytes: usize) -> String {
    match bytes {
        0..10_240 => format!("{bytes} B"),
        10_240..10_485_760 => format!("{:.1} KiB", bytes as f64 / 1024.0),
        _ => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
    }
}
