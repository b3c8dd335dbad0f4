//! The books: what is in the tables, what is declared lost, what the vehicles say they wrote, and
//! whether it adds up. Pure: facts go in, in any order, and the balance comes out.
//!
//! The rule: for each vehicle, boot and stream the numbers run from 0 without a hole to the last one
//! that a row or an `agent_health` report names, each exactly once, except for those inside a delivered
//! `gap_data` row.

use super::balance::{Reports, Since};
use super::intervals::{Intervals, total};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;
use std::sync::Arc;

/// A vehicle's boot: whose numbers start at 0.
pub(crate) type Boot = (Arc<str>, u64);

/// A row of `gap_data`, as far as the books need it.
#[derive(Clone, Debug)]
pub(crate) struct GapRow {
    pub vehicle: Arc<str>,
    /// Of the lost readings, not of the report.
    pub boot: u64,
    pub stream: Option<String>,
    pub first_seq: Option<u64>,
    pub last_seq: Option<u64>,
    pub count: u64,
}

/// What is known of one stream of one boot.
#[derive(Debug, Default)]
struct Entry {
    rows: Intervals,
    duplicates: u64,
    declared: Intervals,
    /// Known to wait in a vehicle's spool.
    waiting: Intervals,
    /// The largest next number that an `agent_health` row names.
    reported_next: u64,
    /// Gap rows whose range and count differ.
    bad_gaps: Vec<(Range<u64>, u64)>,
}

const HEALTH: &str = "agent_health";
const GAPS: &str = "gap_data";

/// The books of a lake.
#[derive(Debug, Default)]
pub(crate) struct Account {
    entries: HashMap<Boot, BTreeMap<String, Entry>>,
    /// Lost readings that never had a number, by stream.
    unnumbered: BTreeMap<String, u64>,
    /// The same by boot.
    unnumbered_of: HashMap<Boot, u64>,
    health: Reports,
}

/// A stream's balance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Balance {
    /// Different rows.
    pub rows: u64,
    pub vehicles: u64,
    pub boots: u64,
    /// Rows beyond the first of the same number.
    pub duplicates: u64,
    /// Readings that are not there and declared so.
    pub gaps_declared: u64,
    /// Readings that are not there and wait in a vehicle's spool.
    pub waiting: u64,
    /// Readings that are not there, and nobody says why.
    pub gaps_undeclared: u64,
}

/// A place where the books do not balance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Discrepancy {
    pub stream: String,
    pub vehicle: Arc<str>,
    pub boot: u64,
    pub what: What,
}

/// What does not balance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// Numbers that are in no row and in no gap.
    Missing(Range<u64>),
    /// This many rows too many.
    Duplicates(u64),
    /// A gap row whose range and count differ.
    Gap(Range<u64>, u64),
    /// What the boot's last report says does not add up.
    Report(String),
}

/// How many boots reported, and of how many all was judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reported {
    pub boots: u64,
    pub judged: u64,
}

impl Account {
    /// Rows of `stream` with the numbers `seqs`.
    pub(crate) fn rows(&mut self, boot: &Boot, stream: &str, seqs: Range<u64>) {
        let entry = self.entry(boot, stream);
        entry.duplicates += entry.rows.insert(seqs);
    }

    /// An `agent_health` row: `stream`'s next number was `next`.
    pub(crate) fn reported(&mut self, boot: &Boot, stream: &str, next: u64) {
        if next == 0 {
            return;
        }
        let entry = self.entry(boot, stream);
        entry.reported_next = entry.reported_next.max(next);
    }

    /// Numbers of `stream` wait in the vehicle's spool, whether they are in rows as well or not.
    pub(crate) fn waits(&mut self, boot: &Boot, stream: &str, seqs: Range<u64>) {
        self.entry(boot, stream).waiting.insert(seqs);
    }

    /// A `gap_data` row. Where it has no last number, it is a bound: at most `count` from its first on.
    pub(crate) fn gap(&mut self, gap: &GapRow) {
        let name = gap.stream.as_deref().unwrap_or("");
        let Some(first) = gap.first_seq else {
            let of_stream = self.unnumbered.entry(name.to_owned()).or_default();
            *of_stream = of_stream.saturating_add(gap.count);
            let of_boot = self.unnumbered_of.entry((gap.vehicle.clone(), gap.boot)).or_default();
            *of_boot = of_boot.saturating_add(gap.count);
            return;
        };
        let end = match gap.last_seq {
            Some(last) => last.saturating_add(1),
            None => first.saturating_add(gap.count),
        };
        let entry = self.entry(&(gap.vehicle.clone(), gap.boot), name);
        entry.declared.insert(first..end);
        if end.saturating_sub(first) != gap.count {
            entry.bad_gaps.push((first..end, gap.count));
        }
    }

    /// The last reports that a file of `agent_health` holds.
    pub(crate) fn health(&mut self, reports: Reports) {
        self.health.merge(reports);
    }

    /// Whether every one of these numbers has a row.
    pub(crate) fn has(&self, boot: &Boot, stream: &str, seqs: &Range<u64>) -> bool {
        let entry = self.entries.get(boot).and_then(|streams| streams.get(stream));
        entry.is_some_and(|e| e.rows.missing_in(seqs).is_empty())
    }

    /// Whether the boots' last reports add up, with what came after them.
    pub(crate) fn judge_reports(&self) -> (Reported, Vec<Discrepancy>) {
        let (mut reported, mut wrong) = (Reported::default(), Vec::new());
        for boot in self.health.boots() {
            reported.boots += 1;
            let end = |stream: &str| {
                self.entries.get(boot).and_then(|s| s.get(stream)).map_or(0, |entry| entry.rows.end())
            };
            let Some(totals) = self.health.totals(boot, end(HEALTH)) else { continue };
            reported.judged += 1;
            let streams = self.entries.get(boot).into_iter().flat_map(BTreeMap::keys);
            let later = streams
                .filter(|s| !matches!(s.as_str(), HEALTH | GAPS))
                .map(|s| end(s).saturating_sub(totals.next.get(s).copied().unwrap_or(0)))
                .sum();
            let unnumbered = self.unnumbered_of.get(boot).copied().unwrap_or(0);
            if let Some(what) = totals.wrong(Since { later, unnumbered }) {
                let (vehicle, boot) = boot.clone();
                wrong.push(Discrepancy { stream: HEALTH.into(), vehicle, boot, what: What::Report(what) });
            }
        }
        wrong.sort_by(|a, b| (&a.vehicle, a.boot).cmp(&(&b.vehicle, b.boot)));
        (reported, wrong)
    }

    fn entry(&mut self, boot: &Boot, stream: &str) -> &mut Entry {
        // Most calls find both: no key is made for them.
        if !self.entries.contains_key(boot) {
            self.entries.insert(boot.clone(), BTreeMap::new());
        }
        let streams = self.entries.get_mut(boot).expect("just made");
        if !streams.contains_key(stream) {
            streams.insert(stream.to_owned(), Entry::default());
        }
        streams.get_mut(stream).expect("just made")
    }

    /// The balance of every stream, and each place where it is not even.
    pub(crate) fn balance(&self) -> (BTreeMap<String, Balance>, Vec<Discrepancy>) {
        let mut balances: BTreeMap<String, Balance> = BTreeMap::new();
        let mut vehicles: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        let mut wrong = Vec::new();
        for ((vehicle, boot), streams) in &self.entries {
            for (stream, entry) in streams {
                let mut note = |what| {
                    wrong.push(Discrepancy {
                        stream: stream.clone(),
                        vehicle: vehicle.clone(),
                        boot: *boot,
                        what,
                    });
                };
                let end = entry.rows.end().max(entry.reported_next).max(entry.waiting.end());
                let missing = entry.rows.missing_below(end);
                let not_in = |known: &Intervals, seqs: &[Range<u64>]| -> Vec<Range<u64>> {
                    seqs.iter().flat_map(|s| known.missing_in(s)).collect()
                };
                let not_declared = not_in(&entry.declared, &missing);
                let undeclared = not_in(&entry.waiting, &not_declared);
                let balance = balances.entry(stream.clone()).or_default();
                balance.rows += entry.rows.count();
                balance.duplicates += entry.duplicates;
                balance.gaps_undeclared = balance.gaps_undeclared.saturating_add(total(&undeclared));
                let waiting = total(&not_declared).saturating_sub(total(&undeclared));
                balance.waiting = balance.waiting.saturating_add(waiting);
                let declared = total(&missing).saturating_sub(total(&not_declared));
                balance.gaps_declared = balance.gaps_declared.saturating_add(declared);
                if entry.rows.end() > 0 {
                    balance.boots += 1;
                    vehicles.entry(stream).or_default().insert(vehicle);
                }
                if entry.duplicates > 0 {
                    note(What::Duplicates(entry.duplicates));
                }
                undeclared.into_iter().map(What::Missing).for_each(&mut note);
                entry.bad_gaps.iter().map(|(range, n)| What::Gap(range.clone(), *n)).for_each(note);
            }
        }
        for (stream, set) in vehicles {
            balances.entry(stream.to_owned()).or_default().vehicles = set.len() as u64;
        }
        for (stream, count) in &self.unnumbered {
            let declared = &mut balances.entry(stream.clone()).or_default().gaps_declared;
            *declared = declared.saturating_add(*count);
        }
        wrong.sort_by(|a, b| {
            (&a.stream, &a.vehicle, a.boot, a.what.order()).cmp(&(
                &b.stream,
                &b.vehicle,
                b.boot,
                b.what.order(),
            ))
        });
        (balances, wrong)
    }
}

impl What {
    fn order(&self) -> (u8, u64) {
        match self {
            What::Missing(range) => (0, range.start),
            What::Duplicates(n) => (1, *n),
            What::Gap(range, _) => (2, range.start),
            What::Report(_) => (3, 0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GPS: &str = "gps_data";

    fn boot() -> Boot {
        ("truck-1".into(), 7)
    }

    fn gap(first: u64, last: Option<u64>, count: u64) -> GapRow {
        GapRow {
            vehicle: "truck-1".into(),
            boot: 7,
            stream: Some(GPS.into()),
            first_seq: Some(first),
            last_seq: last,
            count,
        }
    }

    /// The balance of `gps_data` and what is wrong with it, after `fill`.
    fn after(fill: impl FnOnce(&mut Account)) -> (Balance, Vec<What>) {
        let mut account = Account::default();
        fill(&mut account);
        let (balances, wrong) = account.balance();
        (balances.get(GPS).cloned().unwrap_or_default(), wrong.into_iter().map(|d| d.what).collect())
    }

    #[test]
    fn rows_from_zero_without_a_hole_balance_in_any_order() {
        let (balance, wrong) = after(|a| {
            a.rows(&boot(), GPS, 60..120);
            a.rows(&boot(), GPS, 0..60);
            a.reported(&boot(), GPS, 100);
        });
        assert_eq!(wrong, []);
        assert_eq!(balance, Balance { rows: 120, vehicles: 1, boots: 1, ..Balance::default() });
    }

    #[test]
    fn a_missing_start_middle_and_end_are_found() {
        let (balance, wrong) = after(|a| {
            a.rows(&boot(), GPS, 5..60);
            a.rows(&boot(), GPS, 61..100);
            a.reported(&boot(), GPS, 110);
        });
        assert_eq!(wrong, [What::Missing(0..5), What::Missing(60..61), What::Missing(100..110)]);
        assert_eq!(balance.gaps_undeclared, 16);
    }

    #[test]
    fn a_stream_of_which_nothing_arrived_is_found_by_its_report() {
        let (balance, wrong) = after(|a| a.reported(&boot(), GPS, 30));
        assert_eq!(wrong, [What::Missing(0..30)]);
        assert_eq!((balance.rows, balance.vehicles), (0, 0));
    }

    #[test]
    fn repeated_rows_are_counted_beyond_the_first() {
        let (balance, wrong) = after(|a| {
            a.rows(&boot(), GPS, 0..60);
            a.rows(&boot(), GPS, 50..70);
            a.rows(&boot(), GPS, 50..60);
        });
        assert_eq!(wrong, [What::Duplicates(20)]);
        assert_eq!((balance.rows, balance.duplicates), (70, 20));
    }

    #[test]
    fn a_declared_range_excuses_exactly_itself() {
        let (balance, wrong) = after(|a| {
            a.rows(&boot(), GPS, 0..10);
            a.rows(&boot(), GPS, 20..30);
            a.gap(&gap(10, Some(17), 8));
        });
        assert_eq!(wrong, [What::Missing(18..20)]);
        assert_eq!((balance.gaps_declared, balance.gaps_undeclared), (8, 2));
    }

    #[test]
    fn a_crash_tail_excuses_at_most_its_count() {
        let (balance, wrong) = after(|a| {
            a.rows(&boot(), GPS, 0..10);
            a.reported(&boot(), GPS, 40);
            a.gap(&gap(10, None, 25));
        });
        assert_eq!(wrong, [What::Missing(35..40)]);
        assert_eq!((balance.gaps_declared, balance.gaps_undeclared), (25, 5));
    }

    #[test]
    fn a_gap_row_that_was_made_wider_is_found() {
        let (_, wrong) = after(|a| {
            a.rows(&boot(), GPS, 0..10);
            a.rows(&boot(), GPS, 30..40);
            a.gap(&gap(10, Some(29), 8));
        });
        assert_eq!(wrong, [What::Gap(10..30, 8)]);
    }

    #[test]
    fn a_gap_of_another_boot_excuses_nothing() {
        let (_, wrong) = after(|a| {
            a.rows(&boot(), GPS, 1..10);
            a.gap(&GapRow { boot: 8, ..gap(0, Some(0), 1) });
        });
        assert_eq!(wrong, [What::Missing(0..1)]);
    }

    #[test]
    fn a_declared_gap_that_arrived_after_all_is_no_loss() {
        let (balance, wrong) = after(|a| {
            a.rows(&boot(), GPS, 0..10);
            a.gap(&gap(3, Some(5), 3));
        });
        assert_eq!(wrong, []);
        assert_eq!(balance.gaps_declared, 0);
    }

    #[test]
    fn readings_that_never_had_a_number_are_declared_by_count() {
        let (balance, wrong) = after(|a| {
            a.rows(&boot(), GPS, 0..10);
            a.gap(&GapRow { first_seq: None, ..gap(0, None, 12) });
        });
        assert_eq!(wrong, []);
        assert_eq!(balance.gaps_declared, 12);
    }

    #[test]
    fn vehicles_and_boots_are_counted_apart() {
        let (balance, _) = after(|a| {
            a.rows(&("a".into(), 1), GPS, 0..1);
            a.rows(&("a".into(), 2), GPS, 0..1);
            a.rows(&("b".into(), 1), GPS, 0..1);
        });
        assert_eq!((balance.vehicles, balance.boots), (2, 3));
    }

    #[test]
    fn what_waits_in_a_spool_is_not_lost_and_what_has_a_row_does_not_wait() {
        let mut account = Account::default();
        account.rows(&boot(), GPS, 0..20);
        account.reported(&boot(), GPS, 50);
        account.gap(&gap(20, Some(24), 5));
        account.waits(&boot(), GPS, 15..30);
        account.waits(&boot(), GPS, 45..60);
        let (balances, wrong) = account.balance();
        let balance = &balances[GPS];
        assert_eq!((balance.waiting, balance.gaps_declared, balance.gaps_undeclared), (5 + 15, 5, 15));
        let missing: Vec<_> = wrong.into_iter().map(|d| d.what).collect();
        assert_eq!(missing, [What::Missing(30..45)]);
    }
}
