//! Developer chores: `cargo xtask …`.

mod cross;
mod transforms;

use clap::{Parser, Subcommand};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Developer chores of Milepost")]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// The example transforms: build `transforms/prebuilt`, or check that it matches its source.
    #[command(subcommand)]
    Transforms(transforms::Command),
}

fn main() -> ExitCode {
    let result = match Args::parse().command {
        Command::Transforms(command) => transforms::run(&root(), &command),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("{e}");
            ExitCode::FAILURE
        }
    }
}

/// The workspace's folder.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask is a folder of the workspace").into()
}
