//! `milepost-sink`: reads its settings, runs the sink until it is told to stop, and drains; or does what
//! a subcommand says.

use clap::{Parser, Subcommand};
use milepost_ops::Listen;
use milepost_ops::check::Checks;
use milepost_sink::catalog::{Catalog, NoCatalog};
use milepost_sink::ddl::{self, Engine};
#[cfg(feature = "glue")]
use milepost_sink::glue::{Glue, GlueSettings};
use milepost_sink::redrive::redrive;
use milepost_sink::store::{self, S3Settings, Store};
use milepost_sink::{Settings, Sink, check, survey};
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// Writes frames from Kafka into Parquet tables, every reading once.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Settings, TOML. Without it the defaults hold.
    #[arg(long, global = true, env = "MILEPOST_SINK_CONFIG")]
    config: Option<PathBuf>,
    /// The lake: a folder or s3://bucket/prefix.
    #[arg(long, global = true, env = "MILEPOST_SINK_LAKE")]
    lake: Option<String>,
    /// Kafka's brokers, host:port, comma-separated.
    #[arg(long, global = true, env = "MILEPOST_SINK_BROKERS")]
    brokers: Option<String>,
    /// The database in Glue in which tables are registered.
    #[cfg(feature = "glue")]
    #[arg(long, global = true, env = "MILEPOST_SINK_GLUE_DATABASE")]
    glue_database: Option<String>,
    /// Where metrics are served, address:port; empty for nowhere.
    #[arg(long, global = true, env = "MILEPOST_SINK_METRICS_LISTEN")]
    metrics_listen: Option<Listen>,
    /// What to do instead of running the sink.
    #[command(subcommand)]
    command: Option<Command>,
}

/// What else it can do.
#[derive(Subcommand)]
enum Command {
    /// Send frames to Kafka again that an older sink kept unread and that this one can read. Safe to
    /// run at any time and again: readings that have a row are not written a second time
    Redrive,
    /// Print SQL that makes the lake's tables, and useful views over them, visible to a query engine
    Ddl {
        /// The engine
        #[arg(long = "for", value_name = "ENGINE")]
        engine: Engine,
        /// The database; by default the one in Glue, else `milepost`
        #[arg(long)]
        database: Option<String>,
        /// For Redshift: the role by which it reads the lake
        #[arg(long, default_value = "arn:aws:iam::123456789012:role/milepost-redshift")]
        role: String,
        /// For Redshift: the database role that may read the views
        #[arg(long, default_value = "analysts")]
        readers: String,
    },
    /// Try all that the sink needs: a line for each thing, and how to mend what is wrong; status 1 if
    /// anything is. A running sink is not disturbed
    Check,
    /// Ask the sink that runs here whether it does its work now: status 0 if so
    Probe,
    /// Register every table and partition of the lake in Glue, as after its loss; a running sink does so
    /// by itself
    Register,
}

/// The settings file.
#[derive(Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Config {
    lake: Option<String>,
    metrics: Metrics,
    sink: Settings,
    s3: S3Settings,
    #[cfg(feature = "glue")]
    glue: GlueSettings,
}

/// What is served for those who run the sink.
#[derive(serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Metrics {
    /// Where `/metrics` (for Prometheus), `/healthz` and `/readyz` are; empty for nowhere. This machine alone
    /// by default: there is no password on it.
    listen: Listen,
}

impl Default for Metrics {
    fn default() -> Self {
        Self { listen: Listen(Some(SocketAddr::from(([127, 0, 0, 1], 9466)))) }
    }
}

impl Config {
    #[cfg(feature = "glue")]
    fn database(&self) -> Option<&str> {
        Some(self.glue.database.as_str()).filter(|d| !d.is_empty())
    }

    #[cfg(not(feature = "glue"))]
    fn database(&self) -> Option<&str> {
        None
    }

    #[cfg(feature = "glue")]
    async fn catalog(&self) -> Arc<dyn Catalog> {
        match self.database() {
            Some(_) => Arc::new(Glue::open(&self.glue, &self.s3).await),
            None => Arc::new(NoCatalog),
        }
    }

    #[cfg(not(feature = "glue"))]
    async fn catalog(&self) -> Arc<dyn Catalog> {
        Arc::new(NoCatalog)
    }
}

/// The property of librdkafka that an environment variable sets: `MILEPOST_SINK__KAFKA__SASL_PASSWORD` sets
/// `sasl.password`.
fn property(variable: &str) -> Option<String> {
    let name = variable.strip_prefix("MILEPOST_SINK__KAFKA__")?;
    Some(name.to_ascii_lowercase().replace('_', "."))
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // What a check finds is all that it says, and why there is none.
    let checks = matches!(arguments.command, Some(Command::Check));
    if !checks && let Err(e) = milepost_ops::start_log() {
        eprintln!("milepost-sink: {e}");
        return ExitCode::FAILURE;
    }
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) if checks => {
            eprintln!("milepost-sink: {e}");
            ExitCode::FAILURE
        }
        Err(e) => {
            tracing::error!("{e}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn run(arguments: Arguments) -> Result<(), Box<dyn std::error::Error>> {
    let mut config = match &arguments.config {
        Some(path) => {
            let wrong = |e: &dyn std::fmt::Display| format!("The settings {}: {e}", path.display());
            let text = std::fs::read_to_string(path).map_err(|e| wrong(&e))?;
            // Where, but not the line itself: it may be the one with a password.
            toml::from_str(&text).map_err(|e| {
                let line = e.span().map_or(0, |span| text[..span.start].matches('\n').count() + 1);
                wrong(&format!("line {line}: {}", e.message()))
            })?
        }
        None => Config::default(),
    };
    if let Some(listen) = arguments.metrics_listen {
        config.metrics.listen = listen;
    }
    let lake =
        arguments.lake.or(config.lake.take()).ok_or("No lake is given: use --lake or the key `lake`")?;
    #[cfg(feature = "glue")]
    if let Some(database) = arguments.glue_database {
        config.glue.database = database;
    }
    if let Some(brokers) = arguments.brokers {
        config.sink.brokers = brokers;
    }
    // What is no UTF-8 is none of ours.
    let variables = std::env::vars_os().filter_map(|(name, value)| Some((property(name.to_str()?)?, value)));
    config.sink.kafka.extend(variables.filter_map(|(name, value)| Some((name, value.into_string().ok()?))));
    if lake.is_empty() || config.sink.brokers.is_empty() {
        return Err(
            "`lake` or `sink.brokers` is empty: name a folder or s3://bucket/prefix, and host:port".into()
        );
    }
    let store = store::open(&lake, &config.s3).await?;
    if let Some(command) = arguments.command {
        return command.run(store, &config).await;
    }
    let catalog = config.catalog().await;
    let mut sink = Sink::start_with(config.sink, store, catalog)?;
    if let Some(address) = config.metrics.listen.0 {
        let monitor = sink.monitor();
        // A client of its own: those of the claims may have to wait for their turn.
        tokio::spawn(monitor.clone().watch(store::open(&lake, &config.s3).await?));
        tokio::spawn(milepost_ops::serve(address, Arc::new(monitor)));
    }
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let mut report = tokio::time::interval(Duration::from_secs(10));
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            e = sink.ended() => return Err(e.into()),
            _ = report.tick() => {
                let s = sink.status();
                tracing::info!(rows = s.rows(), claims = s.claims, duplicates = s.duplicates, lag = s.lag, partitions = s.partitions, refused = s.refused.len(), "Running");
            }
        }
    }
    let status = sink.stop().await?;
    tracing::info!(rows = status.rows(), claims = status.claims, "Stopped");
    Ok(())
}

impl Command {
    async fn run(self, store: Arc<dyn Store>, config: &Config) -> Result<(), Box<dyn std::error::Error>> {
        let text = match self {
            Self::Redrive => serde_json::to_string(&redrive(&config.sink, &*store).await?)? + "\n",
            Self::Ddl { engine, database, role, readers } => {
                let database = database.or(config.database().map(str::to_owned));
                let mut lake = ddl::Lake {
                    location: store.uri(""),
                    database: database.unwrap_or("milepost".into()),
                    role,
                    readers,
                    tables: survey::tables(&*store).await?,
                    empty: Default::default(),
                };
                for table in &lake.tables {
                    if !survey::has_files(&*store, &table.name).await? {
                        lake.empty.insert(table.name.clone());
                    }
                }
                ddl::script(engine, &lake)
            }
            Self::Check => {
                let mut checks = Checks::new(std::io::stdout());
                check::everything(&config.sink, &*store, &std::process::id().to_string(), &mut checks).await;
                #[cfg(feature = "glue")]
                if config.database().is_some() {
                    checks.found("Catalogue", Glue::open(&config.glue, &config.s3).await.reach().await);
                }
                match checks.wrong() {
                    0 => String::new(),
                    wrong => return Err(format!("Wrong: {wrong}, see above").into()),
                }
            }
            Self::Probe => {
                let address = config.metrics.listen.0;
                let address = address.ok_or("`metrics.listen` is empty, so nobody can be asked")?;
                milepost_ops::probe(address)?;
                String::new()
            }
            Self::Register => {
                if config.database().is_none() {
                    return Err("No database is given: set `glue.database` in the settings".into());
                }
                let registered = survey::register(&*store, &*config.catalog().await).await?;
                registered.iter().map(|(table, dates)| format!("{table}: {dates} partitions\n")).collect()
            }
        };
        // Who reads only the beginning has closed the pipe, which is no failure.
        match std::io::stdout().write_all(text.as_bytes()) {
            Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(e.into()),
            _ => Ok(()),
        }
    }
}
