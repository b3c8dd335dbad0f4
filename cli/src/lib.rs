//! `milepost`, one tool for people: see the chain work (`demo`), load a broker with its fleet
//! (`simulate`), read frames (`decode`), and prove that nothing is lost and nothing is twice (`audit`).
//!
//! Everything here is a user of the other crates. Nothing of the product runs through this crate: a
//! vehicle, the bridge and the sink have their own binaries.

pub mod audit;
mod demo;

use clap::{Parser, Subcommand};
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
    /// Prove that every reading is in a table once, or declared lost
    Audit(audit::Options),
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
        Command::Audit(options) => audit::run(&options),
    };
    match outcome {
        Ok(Outcome::Good) => ExitCode::SUCCESS,
        Ok(Outcome::Bad) => ExitCode::from(1),
        Err(failure) => {
            eprintln!("milepost: {failure}");
            ExitCode::from(1)
        }
    }
}
