//! The agent's binary: read the configuration, start, wait for a signal, drain.

use clap::{Parser, Subcommand};
use milepost_agent::check;
use milepost_agent::config::{Config, ConfigError, DEFAULTS};
use milepost_agent::notify::Notifier;
use milepost_agent::run::{Agent, AgentHandle, Seams};
use milepost_ops::check::Checks;
use milepost_transform_host::{Compiler, compiler};
use std::io::Write;
use std::path::PathBuf;
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};

/// Brings a vehicle's readings through its transforms to the broker.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// The configuration file; the environment (MILEPOST_AGENT__…) wins over it.
    #[arg(long, global = true, value_name = "FILE", env = "MILEPOST_AGENT_CONFIG")]
    config: Option<PathBuf>,
    /// Prints every setting with its default and its meaning.
    #[arg(long)]
    print_config: bool,
    /// What to do instead of running the agent.
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Ask the agent that runs here whether it does its work now: status 0 if so
    Probe,
    /// Try all that the agent needs: a line for each thing, and how to mend what is wrong; status 1 if
    /// anything is. A running agent is not disturbed
    Check,
    /// What the agent calls itself with to have a component compiled
    #[command(hide = true, name = COMPILE)]
    Compile,
}

/// By this the agent's own call is known.
const COMPILE: &str = "compile-component";
/// The configuration or what it names is not usable: starting again will not help.
const EXIT_CONFIG: u8 = 78;
/// The agent stopped by itself.
const EXIT_HALTED: u8 = 1;

fn main() -> ExitCode {
    let args = Args::parse();
    if args.print_config {
        return print_config();
    }
    if let Some(Command::Compile) = args.command {
        return compiler::serve();
    }
    // What a check finds is all that it says.
    if !matches!(args.command, Some(Command::Check))
        && let Err(error) = milepost_ops::start_log()
    {
        return fail(EXIT_CONFIG, &error);
    }
    let config = match load(&args) {
        Ok(config) => config,
        Err(error) => return fail(EXIT_CONFIG, &error),
    };
    if let Some(Command::Probe) = args.command {
        return probe(&config);
    }
    // The pipeline has its own thread; one more is enough for sources and uplink.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    match runtime {
        Ok(runtime) => {
            let status = match args.command {
                Some(Command::Check) => runtime.block_on(check(&config)),
                _ => runtime.block_on(run(config, &args)),
            };
            // What still waits for standard input, or for a compiler, is not waited for.
            runtime.shutdown_background();
            status
        }
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
    let (drain, listen) = (config.shutdown.drain.0, config.metrics.listen);
    let (mut term, mut int) = match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
        (Ok(term), Ok(int)) => (term, int),
        (Err(error), _) | (_, Err(error)) => return fail(EXIT_HALTED, &error),
    };
    let mut hangup = match signal(SignalKind::hangup()) {
        Ok(hangup) => hangup,
        Err(error) => return fail(EXIT_HALTED, &error),
    };
    let seams = Seams { compiler: Some(Compiler::this_program(COMPILE)), ..Seams::default() };
    let started = tokio::select! {
        started = Agent::start(config, seams) => started,
        _ = term.recv() => return stopped_early(),
        _ = int.recv() => return stopped_early(),
    };
    let agent = match started {
        Ok(agent) => agent,
        Err(error) => return fail(EXIT_CONFIG, &error),
    };
    // Both go on while the agent stops, and end with the process.
    if let Some(address) = listen.0 {
        tokio::spawn(milepost_ops::serve(address, Arc::new(agent.monitor())));
    }
    let systemd = Notifier::from_environment().map(Arc::new);
    if let Some(systemd) = systemd.clone() {
        let monitor = agent.monitor();
        tokio::spawn(async move { systemd.attend(monitor).await });
    }
    // Signals are heard while transforms are compiled; what changes meanwhile is read once more.
    let (mut reloading, mut once_more) = (None, false);
    let halted = loop {
        tokio::select! {
            _ = term.recv() => break None,
            _ = int.recv() => break None,
            ended = agent.ended() => break Some(ended),
            _ = hangup.recv() => match reloading.is_some() {
                true => once_more = true,
                false => reloading = Some(Box::pin(reload(&agent, args))),
            },
            () = until(&mut reloading) => {
                reloading = std::mem::take(&mut once_more).then(|| Box::pin(reload(&agent, args)));
            }
        }
    };
    drop(reloading);
    if let Some(systemd) = systemd {
        systemd.stopping();
    }
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

async fn check(config: &Config) -> ExitCode {
    let mut checks = Checks::new(std::io::stdout());
    check::everything(config, Some(Compiler::this_program(COMPILE)), &mut checks).await;
    ExitCode::from(u8::from(checks.wrong() > 0))
}

/// What a container's health check runs.
fn probe(config: &Config) -> ExitCode {
    let Some(address) = config.metrics.listen.0 else {
        return fail(EXIT_CONFIG, &"`metrics.listen` is empty, so nobody can be asked");
    };
    match milepost_ops::probe(address) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(EXIT_HALTED, &error),
    }
}

fn stopped_early() -> ExitCode {
    tracing::info!("The agent has stopped before it had started");
    ExitCode::SUCCESS
}

/// Waits for what is under way; for ever where nothing is.
async fn until(work: &mut Option<Pin<Box<impl Future<Output = ()>>>>) {
    match work {
        Some(work) => work.await,
        None => std::future::pending().await,
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
