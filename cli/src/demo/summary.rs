//! What the demo has to say at its end.

use super::fleet::{Refused, Stopped};
use super::sql;
use super::tap::Sizes;
use crate::Failure;
use crate::audit::{Report, Verdict};
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The summary: its JSON is what `--json` prints.
#[derive(Debug, Serialize)]
pub(crate) struct Summary {
    /// The whole lake's tables, those of earlier runs included.
    tables: BTreeMap<String, Table>,
    /// What this run accepted and sent.
    streams: BTreeMap<String, Stream>,
    /// Readings that are in no table and in no gap, and wait in no spool.
    lost: u64,
    /// Readings that are in no table yet: they wait in spools for the next demo in this folder.
    waiting: u64,
    /// Rows that are there more than once.
    duplicates: u64,
    /// Readings that `gap_data` declares lost.
    declared: u64,
    /// Frames that are still in spools.
    undelivered: u64,
    /// Whether all that was accepted is in the tables, once.
    pub verdict: Verdict,
    /// How often each vehicle's sources met what they could not read: bad checksums, lines that are no
    /// readings.
    #[serde(serialize_with = "times")]
    refused: BTreeMap<String, Refused>,
    /// Vehicles of whose sources no reading came.
    silent: Vec<String>,
    /// What the sink failed at last, where not all is well.
    #[serde(skip_serializing_if = "Option::is_none")]
    sink_failure: Option<String>,
    /// Where the lake is.
    lake: String,
    #[serde(skip)]
    folder: PathBuf,
    seconds: f64,
}

#[derive(Debug, Serialize)]
struct Table {
    rows: u64,
    files: u64,
    bytes: u64,
}

#[derive(Debug, Default, Serialize)]
struct Stream {
    /// Readings that the agents have numbered in this run.
    accepted: u64,
    /// Their frames.
    payload_bytes: u64,
    json_bytes: u64,
    json_gzip_bytes: u64,
    #[serde(skip)]
    measured: u64,
}

impl Summary {
    pub(crate) fn new(
        report: &Report,
        sizes: BTreeMap<String, Sizes>,
        stopped: &Stopped,
        cut_short: bool,
        sink_failure: Option<String>,
        lake: &Path,
        took: Duration,
    ) -> Self {
        let table = |t: &crate::audit::Table| Table { rows: t.rows, files: t.files, bytes: t.bytes };
        let mut streams: BTreeMap<String, Stream> = BTreeMap::new();
        for (name, accepted) in &stopped.accepted {
            streams.entry(name.clone()).or_default().accepted = *accepted;
        }
        for (name, sizes) in sizes {
            let stream = streams.entry(name).or_default();
            stream.measured = sizes.readings;
            stream.payload_bytes = sizes.payload_bytes;
            stream.json_bytes = sizes.json_bytes;
            stream.json_gzip_bytes = sizes.json_gzip_bytes;
        }
        let good = report.verdict == Verdict::Ok && !cut_short && stopped.undelivered == 0;
        Self {
            tables: report.tables.iter().map(|(name, t)| (name.clone(), table(t))).collect(),
            streams,
            lost: report.lost(),
            waiting: report.waiting(),
            duplicates: report.duplicates(),
            declared: report.tables.values().map(|t| t.gaps_declared).sum(),
            undelivered: stopped.undelivered,
            verdict: if good { Verdict::Ok } else { Verdict::Bad },
            refused: stopped.refused.clone(),
            silent: stopped.silent.clone(),
            sink_failure: sink_failure.filter(|_| !good),
            lake: lake.display().to_string(),
            folder: lake.to_owned(),
            seconds: (took.as_secs_f64() * 10.0).round() / 10.0,
        }
    }

    /// Prints the summary for people: to standard error where standard output is for a machine.
    pub(crate) fn print(&self, report: &Report, json: bool) -> Result<(), Failure> {
        let text = self.text(report)?;
        match json {
            true => crate::remark(text.trim_end_matches('\n')),
            false => crate::say(&text)?,
        }
        Ok(())
    }

    fn text(&self, report: &Report) -> Result<String, std::fmt::Error> {
        let mut out = String::new();
        let o = &mut out;
        writeln!(o, "\nIn the lake")?;
        writeln!(o, "  {:16} {:>10} {:>7} {:>12}", "table", "rows", "files", "bytes")?;
        for (name, t) in &self.tables {
            writeln!(o, "  {name:16} {:>10} {:>7} {:>12}", t.rows, t.files, t.bytes)?;
        }
        writeln!(o, "\nOn the air, bytes a reading (whole frames, with header and checksum)")?;
        writeln!(
            o,
            "  {:16} {:>10} {:>10} {:>10} {:>10} {:>12}",
            "stream", "readings", "Milepost", "JSON", "JSON+gzip", "JSON ÷ ours"
        )?;
        for (name, s) in self.streams.iter().filter(|(_, s)| s.measured > 0) {
            let each = |bytes: u64| bytes as f64 / s.measured as f64;
            writeln!(
                o,
                "  {name:16} {:>10} {:>10.1} {:>10.1} {:>10.1} {:>11.1}×",
                s.measured,
                each(s.payload_bytes),
                each(s.json_bytes),
                each(s.json_gzip_bytes),
                s.json_bytes as f64 / s.payload_bytes as f64,
            )?;
        }
        writeln!(o, "\nThe audit, from the tables and the ledger alone")?;
        for line in report.to_string().lines() {
            writeln!(o, "  {line}")?;
        }
        for vehicle in &self.silent {
            writeln!(o, "  {vehicle}: not one reading came of its source: is its log NMEA or NDJSON?")?;
        }
        for (vehicle, refused) in &self.refused {
            say_refused(o, vehicle, refused)?;
        }
        if let Some(why) = &self.sink_failure {
            writeln!(
                o,
                "  The lake could not be written: {why}. What the demo's Kafka still had is lost with it"
            )?;
        }
        if self.undelivered > 0 {
            writeln!(
                o,
                "  {} frames are still in the vehicles' spools: the next demo in this folder sends them",
                self.undelivered
            )?;
        }
        let verdict = match self.waiting {
            n @ 1.. if report.verdict == Verdict::Ok => {
                format!("{n} wait: run the demo again to deliver them")
            }
            _ => format!("verdict: {}", self.verdict),
        };
        writeln!(o, "\n{} lost, {} twice, {verdict} ({:.0} s)", self.lost, self.duplicates, self.seconds)?;
        sql::write(o, &self.folder, &report.tables)?;
        Ok(out)
    }
}

/// What a vehicle's source could not read: how often, by kind, and the first in words.
fn say_refused(o: &mut String, vehicle: &str, refused: &Refused) -> std::fmt::Result {
    let kinds: Vec<String> = refused.kinds.iter().map(|(kind, n)| format!("{kind} {n}")).collect();
    let (n, kinds) = (refused.times, kinds.join(", "));
    let end = if refused.first.is_empty() { "" } else { ". The first:" };
    writeln!(o, "  {vehicle}: {n} times its source met what is no reading, and went on ({kinds}){end}")?;
    refused.first.iter().try_for_each(|why| writeln!(o, "    {why}"))
}

fn times<S: Serializer>(refused: &BTreeMap<String, Refused>, to: S) -> Result<S::Ok, S::Error> {
    to.collect_map(refused.iter().map(|(vehicle, refused)| (vehicle, refused.times)))
}
