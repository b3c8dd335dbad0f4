//! `milepost audit LAKE`: proves from the tables and the ledger alone that every reading is in a table
//! once, or is declared lost; or says what is wrong.
//!
//! It shares nothing with the sink but the store that objects are fetched from: it parses the ledger
//! after its documentation, reads Parquet with the library's own reader, and keeps its own books.
//! Reading order: [`books`](account) are pure, [`ledger`] and [`table`] turn bytes into facts, this
//! module fetches.

mod account;
mod balance;
pub(crate) mod intervals;
mod ledger;
mod lake;
mod listing;
mod report;
#[cfg(test)]
mod samples;
mod table;

pub use report::{Fault, Health, Ledger, Report, Table, Verdict};

use crate::{Failure, Outcome};
use account::{Account, Discrepancy, What};
use clap::Args;
use milepost_sink::store::{self, S3Settings, Store};
use serde::Deserialize;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Options of `milepost audit`.
#[derive(Args, Debug)]
pub struct Options {
    /// The lake: a folder, or `s3://bucket/prefix` (credentials, region and endpoint from the
    /// environment, as AWS's own tools have them)
    lake: String,
    /// Print the report as one JSON object
    #[arg(long)]
    json: bool,
    /// What is known from elsewhere and must be accounted for: a file of JSON lines, each
    /// `{"vehicle": …, "boot": "16 hex digits", "stream": …, "next": one more than the last number}`
    #[arg(long, value_name = "FILE")]
    expect: Option<PathBuf>,
    /// Read every image too, and compare it with the digest in its name
    #[arg(long)]
    images: bool,
}

/// Runs the command.
pub fn run(options: &Options) -> Result<Outcome, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let promises = options.expect.as_deref().map(expected).transpose()?.unwrap_or_default();
    let mut report = runtime.block_on(async {
        if !options.lake.starts_with("s3://") {
            is_no_folder_above(Path::new(&options.lake))?;
        }
        let store = store::open(&options.lake, &S3Settings::default()).await?;
        audit_with(store, &promises, &[], options.images).await
    })?;
    if !options.lake.starts_with("s3://") {
        listing::odd_entries(Path::new(&options.lake), &mut report)?;
    }
    if report.tables.is_empty() && report.ledger == Ledger::default() {
        return Err(format!("{} holds no lake: neither tables nor a ledger", options.lake).into());
    }
    match options.json {
        true => crate::say(&(serde_json::to_string(&report)? + "\n"))?,
        false => crate::say(&format!("{report}\n"))?,
    }
    Ok(match report.verdict {
        Verdict::Ok => Outcome::Good,
        Verdict::Bad => Outcome::Bad,
    })
}

/// Reads a file of promises.
fn expected(path: &Path) -> Result<Vec<Promise>, Failure> {
    #[derive(Deserialize)]
    struct Line {
        vehicle: String,
        boot: String,
        stream: String,
        next: u64,
    }
    let text =
        std::fs::read_to_string(path).map_err(|e| format!("{} cannot be read: {e}", path.display()))?;
    let line = |(n, line): (usize, &str)| -> Result<Promise, Failure> {
        let wrong = |why: String| format!("{} line {}: {why}", path.display(), n + 1);
        let Line { vehicle, boot, stream, next } =
            serde_json::from_str(line).map_err(|e| wrong(e.to_string()))?;
        let boot =
            u64::from_str_radix(&boot, 16).map_err(|_| wrong(format!("{boot:?} is no boot id in hex")))?;
        Ok(Promise { vehicle, boot, stream, next })
    };
    text.lines().enumerate().map(line).collect()
}

/// Refuses what is no folder, and a folder that holds a lake rather than being one.
fn is_no_folder_above(path: &Path) -> Result<(), Failure> {
    let is_lake = |path: &Path| path.join("_milepost").is_dir();
    if !path.is_dir() {
        return Err(format!("There is no folder {}", path.display()).into());
    }
    if is_lake(path) {
        return Ok(());
    }
    let below = std::fs::read_dir(path)?.filter_map(|entry| Some(entry.ok()?.path()));
    match below.filter(|p| is_lake(p)).min() {
        Some(lake) => {
            let what = format!("{} is no lake, but holds one: audit {}", path.display(), lake.display());
            Err(what.into())
        }
        None => Ok(()),
    }
}

/// What somebody outside of the lake knows of it: that a vehicle has numbered a stream's readings up
/// to, but without, `next`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Promise {
    /// The vehicle.
    pub vehicle: String,
    /// The run of its agent.
    pub boot: u64,
    /// The stream.
    pub stream: String,
    /// The next number.
    pub next: u64,
}

/// Readings of which somebody outside of the lake knows that they wait in their vehicle's spool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// The vehicle.
    pub vehicle: String,
    /// The run of its agent that numbered them.
    pub boot: u64,
    /// The stream.
    pub stream: String,
    /// Their numbers.
    pub seqs: Range<u64>,
}

/// Audits a lake, and whether it holds what was promised. The error is the store's: what is wrong with
/// the lake is in the report.
pub async fn audit(store: Arc<dyn Store>, promises: &[Promise]) -> Result<Report, Failure> {
    audit_with(store, promises, &[], false).await
}

/// As [`audit`]; what is known to be `waiting` is not lost. Where `images` says so every image is read, and
/// compared with the digest in its name.
pub async fn audit_with(
    store: Arc<dyn Store>,
    promises: &[Promise],
    waiting: &[Waiting],
    images: bool,
) -> Result<Report, Failure> {
    let mut report = Report::default();
    let mut account = Account::default();
    for promise in promises {
        let boot = (promise.vehicle.as_str().into(), promise.boot);
        account.reported(&boot, &promise.stream, promise.next);
    }
    for Waiting { vehicle, boot, stream, seqs } in waiting {
        account.waits(&(vehicle.as_str().into(), *boot), stream, seqs.clone());
    }
    lake::read(store, &mut report, &mut account, images).await?;
    let (balances, wrong) = account.balance();
    for (stream, balance) in balances {
        let table = report.tables.entry(stream).or_default();
        table.vehicles = balance.vehicles;
        table.boots = balance.boots;
        table.duplicates = balance.duplicates;
        table.gaps_declared = balance.gaps_declared;
        table.waiting = balance.waiting;
        table.gaps_undeclared = balance.gaps_undeclared;
    }
    let (reported, unbalanced) = account.judge_reports();
    report.health = Health { boots: reported.boots, judged: reported.judged, wrong: unbalanced.len() as u64 };
    for discrepancy in wrong.into_iter().chain(unbalanced) {
        let stream = discrepancy.stream.clone();
        report.table_fault(&stream, in_words(discrepancy));
    }
    Ok(report)
}

fn in_words(d: Discrepancy) -> Fault {
    let at = format!("{} of vehicle {}, boot {:016x}", d.stream, d.vehicle, d.boot);
    let what = match d.what {
        What::Missing(r) => format!(
            "{} readings are in no row and in no gap: seq {} to {}",
            r.end - r.start,
            r.start,
            r.end - 1
        ),
        What::Duplicates(n) => format!("{n} rows repeat the seq of another row"),
        What::Gap(r, n) => {
            format!("a gap row says that {n} readings are lost, from seq {} to {}", r.start, r.end - 1)
        }
        What::Report(what) => format!("its last report does not add up: {what}"),
    };
    Fault::new(at, what)
}

#[cfg(test)]
mod tests;
