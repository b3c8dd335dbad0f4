//! Which rows have been written: sets of `seq` ranges per (vehicle, boot, stream). Pure.
//!
//! A frame may arrive twice (an acknowledgement lost on the way), so each chain of claims remembers
//! what it wrote. The memory is bounded: what was touched longest ago is forgotten first, because an
//! agent resends only what it sent last.

use crate::ledger::{Seen, State};
use std::collections::{BTreeMap, HashMap};

/// Boots remembered per vehicle and stream.
const BOOTS: usize = 32;
/// Entries remembered per chain.
const ENTRIES: usize = 65_536;
/// Ranges remembered per entry.
const RANGES: usize = 256;
/// What is taken off the age of an inherited entry, so that it is older than any offset.
const OLDER: i64 = 1 << 62;

/// Disjoint ranges of `seq`, inclusive, ascending, never adjacent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranges(Vec<(u64, u64)>);

impl Ranges {
    /// The ranges.
    pub fn as_slice(&self) -> &[(u64, u64)] {
        &self.0
    }

    /// Adds `first..=last`.
    pub fn insert(&mut self, first: u64, last: u64) {
        if first > last {
            return;
        }
        let from = self.0.partition_point(|&(_, b)| b.saturating_add(1) < first);
        let to = self.0.partition_point(|&(a, _)| a <= last.saturating_add(1));
        let merged = match self.0.get(from..to) {
            Some([]) | None => (first, last),
            Some(met) => (first.min(met[0].0), last.max(met[met.len() - 1].1)),
        };
        self.0.splice(from..to, [merged]);
    }

    /// The parts of `first..=last` that are not in here, ascending.
    pub fn missing(&self, first: u64, last: u64) -> Vec<(u64, u64)> {
        let mut out = Vec::new();
        let mut next = first;
        for &(a, b) in &self.0[self.0.partition_point(|&(_, b)| b < first)..] {
            if a > last {
                break;
            }
            if a > next {
                out.push((next, a - 1));
            }
            match b.checked_add(1) {
                Some(after) => next = next.max(after),
                None => return out,
            }
        }
        if next <= last {
            out.push((next, last));
        }
        out
    }

    fn forget_oldest(&mut self) {
        let excess = self.0.len().saturating_sub(RANGES);
        self.0.drain(..excess);
    }
}

#[derive(Clone, Debug)]
struct Entry {
    boot: u64,
    ranges: Ranges,
    touched: i64,
}

/// What a chain remembers.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    boots: HashMap<(String, String), Vec<Entry>>,
    entries: usize,
}

impl Memory {
    /// The memory that a state object holds.
    pub fn from_state(state: &State) -> Self {
        let mut memory = Self::default();
        for seen in &state.entries {
            memory.add(seen, seen.touched.unwrap_or(0));
        }
        memory
    }

    /// As a state object, in an order that follows from the contents.
    pub fn to_state(&self) -> State {
        let mut entries: Vec<Seen> = Vec::with_capacity(self.entries);
        for ((stream, vehicle), boots) in &self.boots {
            entries.extend(boots.iter().map(|e| Seen {
                vehicle: vehicle.clone(),
                boot: format!("{:016x}", e.boot),
                stream: stream.clone(),
                ranges: e.ranges.0.clone(),
                touched: Some(e.touched),
            }));
        }
        entries.sort_by(|a, b| (&a.stream, &a.vehicle, &a.boot).cmp(&(&b.stream, &b.vehicle, &b.boot)));
        State { format: crate::ledger::FORMAT, entries }
    }

    /// What is known of one boot's stream.
    pub fn ranges(&self, vehicle: &str, boot: u64, stream: &str) -> Option<&Ranges> {
        let boots = self.boots.get(&(stream.to_owned(), vehicle.to_owned()))?;
        boots.iter().find(|e| e.boot == boot).map(|e| &e.ranges)
    }

    /// Takes in what a claim that ends at offset `last` has written, then forgets down to the bounds.
    pub fn apply(&mut self, seen: &[Seen], last: i64) {
        for one in seen {
            self.add(one, last);
        }
        for one in seen {
            self.bound_boots(&one.stream, &one.vehicle);
        }
        self.bound_entries();
    }

    fn add(&mut self, seen: &Seen, touched: i64) {
        let Ok(boot) = u64::from_str_radix(&seen.boot, 16) else { return };
        let boots = self.boots.entry((seen.stream.clone(), seen.vehicle.clone())).or_default();
        let at = boots.iter().position(|e| e.boot == boot).unwrap_or_else(|| {
            self.entries += 1;
            boots.push(Entry { boot, ranges: Ranges::default(), touched });
            boots.len() - 1
        });
        let entry = &mut boots[at];
        entry.touched = entry.touched.max(touched);
        seen.ranges.iter().for_each(|&(a, b)| entry.ranges.insert(a, b));
        entry.ranges.forget_oldest();
    }

    fn bound_boots(&mut self, stream: &str, vehicle: &str) {
        let Some(boots) = self.boots.get_mut(&(stream.to_owned(), vehicle.to_owned())) else { return };
        if boots.len() > BOOTS {
            boots.sort_by_key(|e| (std::cmp::Reverse(e.touched), e.boot));
            self.entries -= boots.len() - BOOTS;
            boots.truncate(BOOTS);
        }
    }

    /// Takes in what the chain of a former incarnation of the topic remembers. It is older than all that
    /// this chain writes, and is forgotten first.
    pub fn inherit(&mut self, former: &State) {
        for seen in &former.entries {
            self.add(seen, seen.touched.unwrap_or(0).saturating_sub(OLDER));
        }
        self.bound_entries();
    }

    fn bound_entries(&mut self) {
        if self.entries <= ENTRIES {
            return;
        }
        // Down to seven eighths, so that this does not happen again at every claim. By name where the age
        // is the same: whoever does a claim again has to forget the same.
        let mut all: Vec<(i64, (String, String), u64)> = Vec::with_capacity(self.entries);
        for (key, boots) in &self.boots {
            all.extend(boots.iter().map(|e| (e.touched, key.clone(), e.boot)));
        }
        all.sort_unstable();
        for (_, key, boot) in all.drain(..self.entries - ENTRIES / 8 * 7) {
            if let Some(boots) = self.boots.get_mut(&key) {
                boots.retain(|e| e.boot != boot);
            }
        }
        self.boots.retain(|_, boots| !boots.is_empty());
        self.entries = self.boots.values().map(Vec::len).sum();
    }
}

/// What one claim adds, collected while its frames are looked at in the order of their offsets.
#[derive(Debug)]
pub struct Delta<'a> {
    before: &'a Memory,
    added: BTreeMap<(String, String, u64), Ranges>,
}

impl<'a> Delta<'a> {
    /// Nothing yet, on top of what was before.
    pub fn new(before: &'a Memory) -> Self {
        Self { before, added: BTreeMap::new() }
    }

    /// The parts of a frame's range that no row has yet; from now on they count as written.
    pub fn take(&mut self, vehicle: &str, boot: u64, stream: &str, first: u64, last: u64) -> Vec<(u64, u64)> {
        let added = self.added.entry((stream.to_owned(), vehicle.to_owned(), boot)).or_default();
        let mut fresh = added.missing(first, last);
        if let Some(known) = self.before.ranges(vehicle, boot, stream) {
            fresh = fresh.into_iter().flat_map(|(a, b)| known.missing(a, b)).collect();
        }
        fresh.iter().for_each(|&(a, b)| added.insert(a, b));
        fresh
    }
}

/// One entry for each (stream, vehicle, boot), in this order, with the ranges of all that are given.
pub fn merge<'a>(seen: impl IntoIterator<Item = &'a Seen>) -> Vec<Seen> {
    let mut all: BTreeMap<(&str, &str, &str), Ranges> = BTreeMap::new();
    for one in seen {
        let ranges = all.entry((&one.stream, &one.vehicle, &one.boot)).or_default();
        one.ranges.iter().for_each(|&(a, b)| ranges.insert(a, b));
    }
    let entry = |((stream, vehicle, boot), ranges): ((&str, &str, &str), Ranges)| Seen {
        vehicle: vehicle.into(),
        boot: boot.into(),
        stream: stream.into(),
        ranges: ranges.0,
        touched: None,
    };
    all.into_iter().map(entry).collect()
}

#[cfg(test)]
mod tests;
