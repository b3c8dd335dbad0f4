//! The bridge as a program: reads its settings, runs until a signal, stops in order.

use clap::Parser;
use milepost_bridge::{Bridge, DEFAULTS, Settings};
use std::path::PathBuf;
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};

/// Carries frames from an MQTT broker to Kafka, unread and unchanged.
#[derive(Parser)]
#[command(name = "milepost-bridge", version)]
struct Args {
    /// A TOML file with settings that differ from the defaults
    #[arg(long, env = "MILEPOST_BRIDGE_CONFIG")]
    config: Option<PathBuf>,
    /// Print the defaults with their explanations, and end
    #[arg(long)]
    print_defaults: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    if args.print_defaults {
        print!("{DEFAULTS}");
        return ExitCode::SUCCESS;
    }
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    match run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("milepost-bridge: {e}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: Args) -> Result<(), Box<dyn std::error::Error>> {
    let settings = Settings::load(args.config.as_deref()).map_err(|e| match &args.config {
        Some(file) => format!("The settings {}: {e}", file.display()),
        None => e.to_string(),
    })?;
    // One thread: the work is one task, and librdkafka has threads of its own.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (mut interrupt, mut terminate) =
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let bridge = Bridge::start(settings)?;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        let done = bridge.counters();
        let unfinished = bridge.stop().await;
        tracing::info!("Stopped after {done:?}; {unfinished} frames are left to the broker");
        Ok(())
    })
}
