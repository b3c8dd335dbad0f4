//! `milepost query "SELECT …"` and `milepost shell`: SQL over a lake on this machine, with no warehouse.
//!
//! DuckDB does the work. It is not built in: its own program is taken where it is on the path, else a
//! Python that has its module. What is ours is that the tables and the views are there by name, as
//! `milepost-sink ddl --for duckdb` prints them.

mod engine;

use crate::{Failure, Outcome};
use clap::{Args, ValueEnum};
use engine::Engine;
use milepost_sink::ddl::{self, Lake};
use milepost_sink::store::{self, S3Settings, Store};
use milepost_sink::survey;
use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;

/// Where the demo leaves its lake.
const LAKE: &str = "milepost-data/lake";

/// Options of `milepost query`.
#[derive(Args, Debug)]
pub struct Options {
    /// What to ask, such as "SELECT * FROM latest_position"
    sql: String,
    /// The lake: a folder, or `s3://bucket/prefix` (credentials, region and endpoint from the
    /// environment)
    #[arg(long, default_value = LAKE)]
    lake: String,
    /// How to print
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

/// Options of `milepost shell`.
#[derive(Args, Debug)]
pub struct ShellOptions {
    /// The lake, as for `query`
    #[arg(long, default_value = LAKE)]
    lake: String,
}

/// How an answer is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    Table,
    /// Comma-separated, with a header
    Csv,
    /// One array of objects
    Json,
}

/// Runs `milepost query`.
pub fn run(options: &Options) -> Result<Outcome, Failure> {
    let engine = Engine::find()?;
    let script = prepare(&options.lake)?;
    outcome(engine.query(script.path(), &options.sql, options.format)?)
}

/// Runs `milepost shell`.
pub fn shell(options: &ShellOptions) -> Result<Outcome, Failure> {
    let engine = Engine::find()?;
    let script = prepare(&options.lake)?;
    outcome(engine.shell(script.path())?)
}

/// The engine has said what is wrong.
fn outcome(status: std::process::ExitStatus) -> Result<Outcome, Failure> {
    Ok(if status.success() { Outcome::Good } else { Outcome::Bad })
}

/// A file with what DuckDB has to be told first; it goes with the value.
fn prepare(lake: &str) -> Result<tempfile::NamedTempFile, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let text = runtime.block_on(script(lake))?;
    let mut file = tempfile::NamedTempFile::new()?;
    file.write_all(text.as_bytes())?;
    file.flush()?;
    Ok(file)
}

async fn script(lake: &str) -> Result<String, Failure> {
    let in_s3 = lake.starts_with("s3://");
    if !in_s3 && !Path::new(lake).is_dir() {
        return Err(format!("There is no folder {lake}: name the lake with --lake").into());
    }
    let store = store::open(lake, &S3Settings::default()).await?;
    let described = describe(&*store).await?;
    if described.empty.len() == described.tables.len() {
        return Err(format!("{lake} holds no lake: none of its tables has a file").into());
    }
    let statements = ddl::script(ddl::Engine::Duckdb, &described);
    Ok(match in_s3 {
        true => engine::s3_access() + &statements,
        false => statements,
    })
}

async fn describe(store: &dyn Store) -> Result<Lake, Failure> {
    let tables = survey::tables(store).await?;
    let mut empty = BTreeSet::new();
    for table in &tables {
        if !survey::has_files(store, &table.name).await? {
            empty.insert(table.name.clone());
        }
    }
    Ok(Lake {
        location: store.uri(""),
        database: String::new(),
        role: String::new(),
        readers: String::new(),
        tables,
        empty,
    })
}
