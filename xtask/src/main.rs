//! `cargo xtask …`: the chores of those who work on Milepost.
//!
//! `check` is the fast loop; `test` proves the whole chain and brings what it needs; `bench` prints
//! figures. Nothing here is part of what users run.
#![allow(unreachable_pub)]

mod bindings;
mod bring;
mod card;
mod compose;
mod dashboards;
mod dist;
mod firmware;
mod pi;
mod run;
mod suite;
mod transforms;

use anyhow::Result;
use clap::{Parser, Subcommand};
use milepost_transform_build::toolchain as cross;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Developer chores of Milepost")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Format, lint and unit tests: the fast loop
    Check,
    /// Everything that proves the chain; brings what it needs into a cache folder
    Test {
        /// Also what takes long
        #[arg(long)]
        full: bool,
    },
    /// Kill and disturb the whole chain by seeded schedules and let the audit judge: the campaign
    Chaos {
        /// How many schedules
        #[arg(long, default_value_t = 10)]
        seeds: u64,
        /// The first seed; each schedule takes the next
        #[arg(long, default_value_t = 1)]
        first_seed: u64,
        /// The last line as one JSON object: schedules, unaccounted, duplicates, failed seeds
        #[arg(long)]
        json: bool,
    },
    /// Print the figures of every bench
    Bench {
        /// Only the benches whose name contains this
        filter: Option<String>,
    },
    /// Build, measure, flash or emulate the firmware of a board
    #[command(subcommand)]
    Firmware(firmware::Command),
    /// Measure what a vehicle writes to its SD card
    Card(card::Options),
    /// Bring up docker-compose.yml in a Docker engine of the test's own and send it readings
    Compose(compose::Options),
    /// Build the agent for a vehicle: a Debian package and a tarball
    Dist(dist::Options),
    /// Install the agent's package on an emulated arm64 machine with systemd and see its readings arrive
    Pi(pi::Options),
    /// Build the example transforms, or check that the committed ones match their source
    #[command(subcommand)]
    Transforms(transforms::Command),
}

fn main() -> Result<()> {
    match Cli::parse().command {
        Command::Check => suite::check(),
        Command::Test { full } => suite::test(full),
        Command::Chaos { seeds, first_seed, json } => suite::chaos(seeds, first_seed, json),
        Command::Bench { filter } => suite::bench(filter.as_deref()),
        Command::Firmware(command) => firmware::run_command(&command),
        Command::Card(options) => card::run_command(&options),
        Command::Compose(options) => compose::run_command(&options),
        Command::Dist(options) => dist::run_command(&options),
        Command::Pi(options) => pi::run_command(&options),
        Command::Transforms(command) => transforms::run(&run::root(), &command).map_err(anyhow::Error::msg),
    }
}
