//! `milepost`, one tool for people: see the chain work (`demo`), load a broker with its fleet
//! (`simulate`), write a transform (`transform`), read frames (`decode`), say who is let in (`fleet`), ask the
//! tables (`query`, `shell`), and prove that nothing is lost and nothing is twice (`audit`).
//!
//! Everything here is a user of the other crates. Nothing of the product runs through this crate: a
//! vehicle, the bridge and the sink have their own binaries.

pub mod audit;
pub mod demo;
pub mod fleet;
pub mod simulate;
pub mod transform;
pub mod decode;
pub mod query;

use clap::{Parser, Subcommand};
use std::io::{self, Write};
use std::process::ExitCode;

/// The command line of `milepost`.
#[derive(Debug, Parser)]
#[command(name = "milepost", version, about = "From the road to the row.", max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Drive a small fleet through the whole chain on this machine, into Parquet tables
    Demo(demo::Options),
    /// Drive light vehicles against a given broker, as many and as fast as you like
    Simulate(simulate::Options),
    /// Prove that every reading is in a table once, or declared lost
    Audit(audit::Options),
    /// Write, test and measure a transform of your own
    Transform(transform::Options),
    /// Print frames as NDJSON: one line for each reading
    Decode(decode::Options),
    /// Say who is let in: certificates for vehicles, broker and bridge
    Fleet(fleet::Options),
    /// Ask a lake's tables and views in SQL, with the DuckDB of this machine
    Query(query::Options),
    /// The same, as long as you type
    Shell(query::ShellOptions),
    /// What this program calls itself with to have a transform's component compiled
    #[command(hide = true, name = transform::COMPILE)]
    Compile,
}

/// How a command ended, apart from errors that stopped it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All is well: exit status 0.
    Good,
    /// It ran to its end and found something wrong: exit status 1.
    Bad,
}

/// What stops a command. It is shown to a person and never matched on.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Runs a command to its end.
pub fn run(cli: Cli) -> ExitCode {
    let outcome = match cli.command {
        Command::Compile => return milepost_transform_host::compiler::serve(),
        Command::Demo(options) => demo::run(&options),
        Command::Simulate(options) => simulate::run(&options),
        Command::Audit(options) => audit::run(&options),
        Command::Transform(options) => transform::run(&options),
        Command::Decode(options) => decode::run(&options),
        Command::Fleet(options) => fleet::run(&options),
        Command::Query(options) => query::run(&options),
        Command::Shell(options) => query::shell(&options),
    };
    match outcome {
        Ok(Outcome::Good) => ExitCode::SUCCESS,
        Ok(Outcome::Bad) => ExitCode::from(1),
        Err(failure) => {
            remark(&format!("milepost: {failure}"));
            ExitCode::from(1)
        }
    }
}

/// Writes a command's result to standard output. Whoever has closed it has read enough, as in
/// `milepost audit … | head`: that is no failure.
pub(crate) fn say(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => Err(unwritten(&e)),
        _ => Ok(()),
    }
}

/// Writes a line to standard error. Where nobody reads it there is nobody to tell.
pub(crate) fn remark(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

pub(crate) fn unwritten(e: &io::Error) -> Failure {
    format!("Standard output cannot be written: {e}").into()
}

/// A number of vehicles.
pub(crate) fn at_most<const MOST: usize>(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|n| *n <= MOST).ok_or_else(|| format!("take a number from 0 to {MOST}"))
}

/// Lets this process open the files and sockets that its vehicles need; says what to do where the system
/// does not.
pub(crate) fn may_open_files(vehicles: usize, needed: usize) -> Result<(), Failure> {
    let needed = needed as u64;
    let allowed = milepost_agent::kernel::allow_open_files(needed);
    if allowed >= needed {
        return Ok(());
    }
    let why = format!(
        "{vehicles} vehicles in one process need up to {needed} open files, and this system allows {allowed}: \
         take fewer --vehicles, or raise the hard limit (`ulimit -Hn`)"
    );
    Err(why.into())
}

/// For options that take a number above 0.
pub(crate) fn positive(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(n) if n > 0.0 && f64::is_finite(n) => Ok(n),
        _ => Err("take a number above 0".into()),
    }
}
