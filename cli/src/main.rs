//! The `milepost` binary: reads the command line, runs the command, says how it ended.

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    milepost_cli::run(milepost_cli::Cli::parse())
}
