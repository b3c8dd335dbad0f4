//! What the audit found, for people and as JSON.

use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;

/// The most faults that a report lists; the rest are counted.
const LISTED: usize = 100;

/// Something wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// An object's key, or the vehicle, boot and stream.
    pub at: String,
    /// What is wrong with it.
    pub what: String,
}

impl Fault {
    pub(crate) fn new(at: impl Into<String>, what: impl Into<String>) -> Self {
        Self { at: at.into(), what: what.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.at, self.what)
    }
}

/// Whether everything is accounted for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It is.
    #[default]
    Ok,
    /// It is not.
    Bad,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Verdict::Ok => "ok",
            Verdict::Bad => "bad",
        })
    }
}

/// A table's line.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Table {
    /// Rows, repeated ones included: what a query counts.
    pub rows: u64,
    /// Files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The columns that every file has, and their types as the lists of derived tables call them.
    #[serde(skip)]
    pub columns: BTreeMap<String, &'static str>,
    /// Different vehicles.
    pub vehicles: u64,
    /// Different boots of vehicles.
    pub boots: u64,
    /// Rows beyond the first of the same vehicle, boot and number.
    pub duplicates: u64,
    /// Readings that are not here and that a `gap_data` row declares lost.
    pub gaps_declared: u64,
    /// Readings that are not here, and nothing says why.
    pub gaps_undeclared: u64,
    /// Readings that are not here because they wait in a vehicle's spool, as far as whoever audits knows.
    #[serde(skip)]
    pub waiting: u64,
    /// Whether this table is as it should be.
    pub verdict: Verdict,
}

/// The ledger's totals.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Ledger {
    /// Partitions of topics.
    pub chains: u64,
    /// Claims.
    pub claims: u64,
    /// Claims without a manifest yet: being written, or to be finished by the next sink.
    pub unfinished: u64,
    /// Kafka records in finished claims.
    pub records: u64,
    /// Offsets that Kafka had deleted before the sink read them.
    pub lost_offsets: u64,
    /// Readings that arrived again and were dropped.
    pub duplicates_dropped: u64,
    /// Records that were kept as they came, because the sink could not read them, and are in no table.
    pub unread: u64,
    /// Records that were kept as they came, and whose readings are in the tables by now.
    pub redriven: u64,
    /// Different images that rows name.
    pub images: u64,
}

/// What the vehicles' own reports say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Health {
    /// Boots that reported.
    pub boots: u64,
    /// Boots whose last report is here whole, so that it could be judged whether what was delivered was
    /// numbered, taken out or set aside.
    pub judged: u64,
    /// Of these, the boots where it was not.
    pub wrong: u64,
}

/// The whole report.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// By table.
    pub tables: BTreeMap<String, Table>,
    /// The ledger's totals.
    pub ledger: Ledger,
    /// What the vehicles' own reports say.
    pub health: Health,
    /// What is wrong, up to 100 of them.
    pub faults: Vec<Fault>,
    /// How many faults there are.
    pub faults_total: u64,
    /// Whether everything is accounted for.
    pub verdict: Verdict,
}

impl Report {
    /// Readings that are in no table and in no gap.
    pub fn lost(&self) -> u64 {
        self.tables.values().map(|t| t.gaps_undeclared).sum()
    }

    /// Readings that are in no table yet, because they wait in a vehicle's spool.
    pub fn waiting(&self) -> u64 {
        self.tables.values().map(|t| t.waiting).sum()
    }

    /// Rows that are there more than once.
    pub fn duplicates(&self) -> u64 {
        self.tables.values().map(|t| t.duplicates).sum()
    }

    pub(crate) fn fault(&mut self, fault: Fault) {
        self.faults_total += 1;
        self.verdict = Verdict::Bad;
        if self.faults.len() < LISTED {
            self.faults.push(fault);
        }
    }

    /// As [`Report::fault`], of a table.
    pub(crate) fn table_fault(&mut self, table: &str, fault: Fault) {
        self.tables.entry(table.to_owned()).or_default().verdict = Verdict::Bad;
        self.fault(fault);
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.tables.keys().map(String::len).max().unwrap_or(0).max(5);
        writeln!(
            f,
            "{:width$} {:>12} {:>8} {:>8} {:>11} {:>13} {:>15}  verdict",
            "table", "rows", "vehicles", "boots", "duplicates", "gaps declared", "gaps undeclared"
        )?;
        for (name, t) in &self.tables {
            writeln!(
                f,
                "{name:width$} {:>12} {:>8} {:>8} {:>11} {:>13} {:>15}  {}",
                t.rows, t.vehicles, t.boots, t.duplicates, t.gaps_declared, t.gaps_undeclared, t.verdict
            )?;
        }
        let l = &self.ledger;
        writeln!(
            f,
            "ledger: {} claims of {} partitions ({} unfinished), {} Kafka records, {} readings that arrived again \
             dropped, {} records unread, {} driven through again, {} offsets lost, {} images",
            l.claims,
            l.chains,
            l.unfinished,
            l.records,
            l.duplicates_dropped,
            l.unread,
            l.redriven,
            l.lost_offsets,
            l.images
        )?;
        let h = &self.health;
        writeln!(
            f,
            "health: {} boots reported; of {} the last report is whole, and in {} of these what was delivered is \
             numbered, taken out or set aside",
            h.boots,
            h.judged,
            h.judged - h.wrong
        )?;
        for fault in &self.faults {
            writeln!(f, "fault: {fault}")?;
        }
        if self.faults_total > self.faults.len() as u64 {
            writeln!(f, "… and {} more", self.faults_total - self.faults.len() as u64)?;
        }
        write!(f, "verdict: {}", self.verdict)
    }
}
