//! The bridge as a program: reads its settings, runs until a signal, stops in order.

use clap::{Parser, Subcommand};
use milepost_bridge::redrive::{Done, Reason, redrive};
use milepost_bridge::{Bridge, DEFAULTS, Settings, check};
use milepost_ops::check::Checks;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};

/// Carries frames from an MQTT broker to Kafka, unread and unchanged.
#[derive(Parser)]
#[command(name = "milepost-bridge", version)]
struct Args {
    /// A TOML file with settings that differ from the defaults
    #[arg(long, global = true, env = "MILEPOST_BRIDGE_CONFIG")]
    config: Option<PathBuf>,
    /// Print the defaults with their explanations, and end
    #[arg(long)]
    print_defaults: bool,
    /// What to do instead of running the bridge
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Ask the bridge that runs here whether it does its work now: status 0 if so
    Probe,
    /// Try all that the bridge needs: a line for each thing, and how to mend what is wrong; status 1 if
    /// anything is. A running bridge is not disturbed
    Check,
    /// Put frames that became dead letters for no fault of their own into the topics of their streams. May be
    /// run at any time and again: readings that have a row get no second one
    Redrive {
        /// Those of this reason; may be repeated
        #[arg(long = "reason", value_name = "REASON", default_value = "rate")]
        reasons: Vec<Reason>,
    },
}

fn main() -> ExitCode {
    let args = Args::parse();
    if args.print_defaults {
        print!("{DEFAULTS}");
        return ExitCode::SUCCESS;
    }
    match run(args) {
        Ok(code) => code,
        Err(e) => {
            eprintln!("milepost-bridge: {e}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: Args) -> Result<ExitCode, Box<dyn std::error::Error>> {
    // What a check finds is all that it says.
    if !matches!(args.command, Some(Command::Check)) {
        milepost_ops::start_log()?;
    }
    let settings = Settings::load(args.config.as_deref()).map_err(|e| match &args.config {
        Some(file) => format!("The settings {}: {e}", file.display()),
        None => e.to_string(),
    })?;
    let listen = settings.metrics.listen.0;
    if let Some(Command::Probe) = args.command {
        let address = listen.ok_or("metrics.listen is empty, so nobody can be asked")?;
        milepost_ops::probe(address)?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(Command::Redrive { reasons }) = args.command {
        let Done { read, sent, left } = redrive(&settings, &reasons)?;
        println!("{{\"read\":{read},\"sent\":{sent},\"left\":{left}}}");
        return Ok(ExitCode::SUCCESS);
    }
    // One thread: the work is one task, and librdkafka has threads of its own.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    if let Some(Command::Check) = args.command {
        let mut checks = Checks::new(std::io::stdout());
        runtime.block_on(check::everything(&settings, &mut checks));
        return Ok(ExitCode::from(u8::from(checks.wrong() > 0)));
    }
    runtime.block_on(async {
        let (mut interrupt, mut terminate) =
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let bridge = Bridge::start(settings)?;
        if let Some(address) = listen {
            tokio::spawn(milepost_ops::serve(address, Arc::new(bridge.monitor())));
        }
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        let done = bridge.counters();
        let unfinished = bridge.stop().await;
        tracing::info!("Stopped after {done:?}; {unfinished} frames are left to the broker");
        Ok(ExitCode::SUCCESS)
    })
}
