//! `milepost-sink`: reads its settings, runs the sink until it is told to stop, and drains; or does what
//! a subcommand says.

use clap::{Parser, Subcommand};
use milepost_sink::catalog::{Catalog, NoCatalog};
use milepost_sink::ddl::{self, Engine};
#[cfg(feature = "glue")]
use milepost_sink::glue::{Glue, GlueSettings};
use milepost_sink::redrive::redrive;
use milepost_sink::store::{self, S3Settings, Store};
use milepost_sink::{Settings, Sink, survey};
use std::io::Write;
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
    /// Register every table and partition of the lake in Glue, as after its loss; a running sink does so
    /// by itself
    Register,
}

/// The settings file.
#[derive(Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Config {
    lake: Option<String>,
    sink: Settings,
    s3: S3Settings,
    #[cfg(feature = "glue")]
    glue: GlueSettings,
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

fn main() -> ExitCode {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            tracing::error!("{e}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn run() -> Result<(), Box<dyn std::error::Error>> {
    let arguments = Arguments::parse();
    let mut config = match &arguments.config {
        Some(path) => {
            let wrong = |e: &dyn std::fmt::Display| format!("The settings {}: {e}", path.display());
            let text = std::fs::read_to_string(path).map_err(|e| wrong(&e))?;
            toml::from_str(&text).map_err(|e| wrong(&e))?
        }
        None => Config::default(),
    };
    let lake =
        arguments.lake.or(config.lake.take()).ok_or("No lake is given: use --lake or the key `lake`")?;
    #[cfg(feature = "glue")]
    if let Some(database) = arguments.glue_database {
        config.glue.database = database;
    }
    if let Some(brokers) = arguments.brokers {
        config.sink.brokers = brokers;
    }
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
