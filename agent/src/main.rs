//! The agent's binary: read the configuration, start, wait for a signal, drain.

use clap::Parser;
use milepost_agent::config::{Config, ConfigError, DEFAULTS};
use milepost_agent::run::{Agent, AgentHandle, Seams};
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};

/// Brings a vehicle's readings through its transforms to the broker.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// The configuration file; the environment (MILEPOST_AGENT__…) wins over it.
    #[arg(long, value_name = "FILE", env = "MILEPOST_AGENT_CONFIG")]
    config: Option<PathBuf>,
    /// Prints every setting with its default and its meaning.
    #[arg(long)]
    print_config: bool,
}

/// The configuration or what it names is not usable: starting again will not help.
const EXIT_CONFIG: u8 = 78;
/// The agent stopped by itself.
const EXIT_HALTED: u8 = 1;

fn main() -> ExitCode {
    let args = Args::parse();
    if args.print_config {
        return print_config();
    }
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into());
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(colours)
        .with_writer(std::io::stderr)
        // A log that nobody takes must not stop the vehicle.
        .log_internal_errors(false)
        .init();
    let config = match load(&args) {
        Ok(config) => config,
        Err(error) => return fail(EXIT_CONFIG, &error),
    };
    // The pipeline has its own thread; one more is enough for sources and uplink.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    match runtime {
        Ok(runtime) => runtime.block_on(run(config, &args)),
        Err(error) => fail(EXIT_HALTED, &error),
    }
}

fn load(args: &Args) -> Result<Config, ConfigError> {
    // A variable that is not UTF-8 is not ours.
    let environment =
        std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)));
    Config::load(args.config.as_deref(), environment)
}

async fn run(config: Config, args: &Args) -> ExitCode {
    let drain = config.shutdown.drain.0;
    let (mut term, mut int) = match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
        (Ok(term), Ok(int)) => (term, int),
        (Err(error), _) | (_, Err(error)) => return fail(EXIT_HALTED, &error),
    };
    let mut hangup = match signal(SignalKind::hangup()) {
        Ok(hangup) => hangup,
        Err(error) => return fail(EXIT_HALTED, &error),
    };
    let agent = match Agent::start(config, Seams::default()).await {
        Ok(agent) => agent,
        Err(error) => return fail(EXIT_CONFIG, &error),
    };
    let halted = loop {
        tokio::select! {
            _ = term.recv() => break None,
            _ = int.recv() => break None,
            ended = agent.ended() => break Some(ended),
            _ = hangup.recv() => reload(&agent, args).await,
        }
    };
    let report = agent.stop(drain).await;
    tracing::info!(undelivered = report.undelivered, "The agent has stopped");
    match halted {
        None => ExitCode::SUCCESS,
        Some(Ok(())) => fail(EXIT_HALTED, &"The pipeline ended without a reason"),
        Some(Err(halted)) => fail(EXIT_HALTED, &halted),
    }
}

/// Whoever closes the pipe, as `head` does, has read enough.
fn print_config() -> ExitCode {
    let mut out = std::io::stdout().lock();
    match out.write_all(DEFAULTS.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => fail(EXIT_HALTED, &error),
        _ => ExitCode::SUCCESS,
    }
}

/// Reads the transforms of the configuration again.
async fn reload(agent: &AgentHandle, args: &Args) {
    let reloaded = match load(args) {
        Ok(config) => agent.reload(config.transform).await.map_err(|why| why.to_string()),
        Err(why) => Err(why.to_string()),
    };
    match reloaded {
        Ok(()) => tracing::info!("The transforms are read again; other settings are at a start"),
        Err(why) => tracing::error!(why, "The transforms stay as they are"),
    }
}

fn fail(code: u8, error: &dyn std::fmt::Display) -> ExitCode {
    // Where nobody reads it there is nobody to tell; the status says it too.
    let _ = writeln!(std::io::stderr(), "milepost-agent: {error}");
    ExitCode::from(code)
}
