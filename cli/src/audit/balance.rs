//! What the agents say of themselves in `agent_health`, and whether it adds up: what was delivered is
//! what was numbered, taken out, or set aside as poison. Pure.
//!
//! A report is a run of rows that begins with the agent's own; all of them are counted at one instant,
//! between two batches. Only the last report of each boot is kept: counters only grow, so it speaks for
//! all before it.

use super::account::Boot;
use std::collections::{BTreeMap, HashMap};

/// A row of `agent_health`, as far as the books need it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct HealthRow {
    /// `agent`, `source`, `transform`, `stream`, `lane`.
    pub component: String,
    pub name: String,
    pub received: u64,
    pub emitted: u64,
    pub taken_out: u64,
    pub poison: u64,
}

/// The last report of one boot, by the numbers of its rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Last {
    /// The row that it begins with; `None` while none was seen.
    start: Option<u64>,
    rows: BTreeMap<u64, HealthRow>,
}

/// The last reports of all boots. Rows go in in any order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reports(HashMap<Boot, Last>);

impl Reports {
    /// A row, by its number.
    pub(crate) fn add(&mut self, boot: &Boot, seq: u64, row: HealthRow) {
        let last = self.0.entry(boot.clone()).or_default();
        if row.component == "agent" && last.start.is_none_or(|start| seq > start) {
            last.start = Some(seq);
            last.rows = last.rows.split_off(&seq);
        }
        if last.start.is_none_or(|start| seq >= start) {
            last.rows.insert(seq, row);
        }
    }

    /// All rows of another.
    pub(crate) fn merge(&mut self, other: Reports) {
        for (boot, last) in other.0 {
            last.rows.into_iter().for_each(|(seq, row)| self.add(&boot, seq, row));
        }
    }

    /// The boots that reported.
    pub(crate) fn boots(&self) -> impl Iterator<Item = &Boot> {
        self.0.keys()
    }

    /// What a boot's last report adds up to, where all its rows are here: `end` is one more than the
    /// number of the boot's newest health row.
    pub(crate) fn totals(&self, boot: &Boot, end: u64) -> Option<Totals> {
        let last = self.0.get(boot)?;
        let start = last.start?;
        let whole = (start..end).eq(last.rows.keys().copied());
        whole.then(|| Totals::of(last.rows.values()))
    }
}

/// A report, added up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    /// What the sources say they delivered, lost on the way to the pipeline or not.
    pub from_sources: u64,
    pub sources: u64,
    /// What the pipeline was given.
    pub delivered: u64,
    /// Rows numbered, without the agent's own reports.
    pub numbered: u64,
    /// What the transforms were given, and what came of it.
    pub into_transforms: u64,
    pub out_of_transforms: u64,
    pub taken_out: u64,
    pub poison: u64,
    /// The next number of each stream, without the agent's own.
    pub next: BTreeMap<String, u64>,
    /// A transform that says it was given more than came of it.
    pub swallowing: Option<String>,
}

/// What has come in beyond the last report, and what is declared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Since {
    /// Rows with a number that the report does not have yet.
    pub later: u64,
    /// Losses of this boot that are declared without a number.
    pub unnumbered: u64,
}

impl Totals {
    fn of<'a>(rows: impl Iterator<Item = &'a HealthRow>) -> Self {
        let mut totals = Totals::default();
        for row in rows {
            match row.component.as_str() {
                "agent" => (totals.delivered, totals.numbered) = (row.received, row.emitted),
                "source" => {
                    totals.sources += 1;
                    totals.from_sources = totals.from_sources.saturating_add(row.received);
                }
                "transform" => totals.transform(row),
                "stream" if !matches!(row.name.as_str(), "agent_health" | "gap_data") => {
                    totals.next.insert(row.name.clone(), row.emitted);
                }
                _ => {}
            }
        }
        totals
    }

    fn transform(&mut self, row: &HealthRow) {
        self.into_transforms = self.into_transforms.saturating_add(row.received);
        self.out_of_transforms = self.out_of_transforms.saturating_add(row.emitted);
        self.taken_out = self.taken_out.saturating_add(row.taken_out);
        self.poison = self.poison.saturating_add(row.poison);
        if row.received > row.emitted + row.taken_out + row.poison {
            self.swallowing = Some(row.name.clone());
        }
    }

    /// What does not add up, in words.
    pub(crate) fn wrong(&self, since: Since) -> Option<String> {
        if let Some(name) = &self.swallowing {
            return Some(format!(
                "transform {name} was given more readings than it passed on, took out and failed on"
            ));
        }
        // What came to the end of the transforms.
        let passed = (self.delivered + self.out_of_transforms).checked_sub(self.into_transforms);
        let next: u64 = self.next.values().sum();
        match passed {
            None => Some("its transforms were given more readings than were delivered".into()),
            Some(passed) if passed < self.numbered => Some(format!(
                "{} readings were delivered and {passed} came out of the transforms, but {} were numbered",
                self.delivered, self.numbered
            )),
            Some(passed) if passed - self.numbered > since.later => Some(format!(
                "of {} readings that were delivered, {} are neither numbered nor taken out nor set aside",
                self.delivered,
                passed - self.numbered - since.later
            )),
            _ if next > self.numbered || self.numbered - next > since.unnumbered => Some(format!(
                "it says that {} readings were numbered, and its streams say {next}",
                self.numbered
            )),
            // A source counts a reading just after it has handed it over.
            _ if self.from_sources + self.sources < self.delivered => Some(format!(
                "its sources delivered {} readings, and {} were received",
                self.from_sources, self.delivered
            )),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(component: &str, name: &str, counts: [u64; 4]) -> HealthRow {
        let [received, emitted, taken_out, poison] = counts;
        HealthRow { component: component.into(), name: name.into(), received, emitted, taken_out, poison }
    }

    /// 100 delivered: a transform took out 30, failed on 2 and derived 5.
    fn report() -> Vec<HealthRow> {
        vec![
            row("agent", "0.1.0", [100, 73, 0, 0]),
            row("source", "gps", [101, 0, 0, 0]),
            row("transform", "thin", [100, 73, 30, 2]),
            row("stream", "gps_data", [0, 68, 0, 0]),
            row("stream", "harsh_event", [0, 5, 0, 0]),
            row("stream", "agent_health", [0, 40, 0, 0]),
            row("lane", "live", [9, 9, 0, 0]),
        ]
    }

    fn boot() -> Boot {
        ("truck-1".into(), 7)
    }

    fn wrong(change: impl FnOnce(&mut Vec<HealthRow>), since: Since) -> Option<String> {
        let mut rows = report();
        change(&mut rows);
        let mut reports = Reports::default();
        // The last report counts, whatever the order.
        for (seq, row) in report().into_iter().enumerate() {
            reports.add(&boot(), seq as u64, HealthRow { received: 1, ..row });
        }
        for (seq, row) in rows.into_iter().enumerate().rev() {
            reports.add(&boot(), 7 + seq as u64, row);
        }
        reports.totals(&boot(), 14).expect("the report is whole").wrong(since)
    }

    #[test]
    fn what_was_delivered_is_numbered_taken_out_or_set_aside() {
        assert_eq!(wrong(|_| {}, Since::default()), None);
        let more = |r: &mut Vec<HealthRow>| (r[0].received, r[1].received) = (104, 104);
        let vanished = wrong(more, Since::default()).unwrap();
        assert!(vanished.starts_with("of 104 readings that were delivered, 4 are neither"), "{vanished}");
        assert_eq!(wrong(more, Since { later: 4, unnumbered: 0 }), None, "numbered since");
    }

    #[test]
    fn rows_out_of_nothing_are_found() {
        assert!(wrong(|r| r[0].received = 99, Since::default()).unwrap().contains("but 73 were numbered"));
        assert!(wrong(|r| r[3].emitted = 69, Since::default()).unwrap().contains("its streams say 74"));
        assert!(wrong(|r| r[1].received = 90, Since::default()).unwrap().contains("sources delivered 90"));
    }

    #[test]
    fn a_transform_that_swallows_is_named() {
        assert!(wrong(|r| r[2].taken_out = 20, Since::default()).unwrap().contains("transform thin"));
    }

    #[test]
    fn numbers_that_no_stream_has_must_be_declared() {
        let fewer = |r: &mut Vec<HealthRow>| r[3].emitted = 67;
        assert!(wrong(fewer, Since::default()).is_some());
        assert_eq!(wrong(fewer, Since { later: 0, unnumbered: 1 }), None);
    }

    #[test]
    fn a_report_with_a_row_missing_is_not_judged() {
        let mut reports = Reports::default();
        for (seq, row) in report().into_iter().enumerate().filter(|(seq, _)| *seq != 3) {
            reports.add(&boot(), seq as u64, row);
        }
        assert_eq!(reports.totals(&boot(), 7), None);
        assert_eq!(reports.totals(&boot(), 9), None);
    }
}
