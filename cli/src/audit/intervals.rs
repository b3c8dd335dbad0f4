//! A set of numbers kept as disjoint ranges.
//!
//! Sequence numbers come in long runs, so that what a vehicle wrote in a month is a handful of ranges:
//! this is what keeps the audit's memory flat while it reads a lake of any size.

use std::collections::BTreeMap;
use std::ops::Range;

/// A set of `u64` as disjoint, non-adjacent half-open ranges.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Intervals {
    /// Start → end.
    ranges: BTreeMap<u64, u64>,
}

impl Intervals {
    /// Adds a range and says how many of its numbers were there already.
    pub(crate) fn insert(&mut self, range: Range<u64>) -> u64 {
        let Range { mut start, mut end } = range;
        if start >= end {
            return 0;
        }
        let mut overlap = 0;
        // From the right: the last range that begins at or before the new one's end.
        while let Some((&s, &e)) = self.ranges.range(..=end).next_back()
            && e >= start
        {
            overlap += e.min(range.end).saturating_sub(s.max(range.start));
            self.ranges.remove(&s);
            start = start.min(s);
            end = end.max(e);
        }
        self.ranges.insert(start, end);
        overlap
    }

    /// The ranges in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        self.ranges.iter().map(|(&s, &e)| s..e)
    }

    /// How many numbers it holds.
    pub(crate) fn count(&self) -> u64 {
        self.iter().map(|r| r.end - r.start).sum()
    }

    /// One more than the largest number; 0 where there is none.
    pub(crate) fn end(&self) -> u64 {
        self.ranges.last_key_value().map_or(0, |(_, &e)| e)
    }

    /// The numbers of `0..end` that are not in the set.
    pub(crate) fn missing_below(&self, end: u64) -> Vec<Range<u64>> {
        let mut missing = Vec::new();
        let mut at = 0;
        for range in self.iter().take_while(|r| r.start < end).chain(std::iter::once(end..end)) {
            if at < range.start {
                missing.push(at..range.start);
            }
            at = range.end;
        }
        missing
    }

    /// The numbers of `range` that are not in the set.
    pub(crate) fn missing_in(&self, range: &Range<u64>) -> Vec<Range<u64>> {
        let mut missing = Vec::new();
        let mut at = range.start;
        if let Some((_, &e)) = self.ranges.range(..=at).next_back() {
            at = at.max(e);
        }
        for (&s, &e) in self.ranges.range(range.start..range.end) {
            if at < s {
                missing.push(at..s);
            }
            at = at.max(e);
        }
        if at < range.end {
            missing.push(at..range.end);
        }
        missing
    }
}

/// How many numbers are in ranges that do not overlap.
pub(crate) fn total(ranges: &[Range<u64>]) -> u64 {
    ranges.iter().map(|r| r.end - r.start).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn neighbours_become_one_range() {
        let mut set = Intervals::default();
        for start in [20, 0, 10] {
            assert_eq!(set.insert(start..start + 10), 0);
        }
        assert_eq!((set.iter().count(), set.missing_below(30), set.end()), (1, Vec::new(), 30));
    }

    proptest! {
        #[test]
        fn it_is_the_set_of_its_numbers(ranges in prop::collection::vec((0u64..60, 0u64..12), 0..40), from in 0u64..70, len in 0u64..20) {
            let mut set = Intervals::default();
            let mut model = BTreeSet::new();
            for (start, len) in ranges {
                let twice = (start..start + len).filter(|n| !model.insert(*n)).count() as u64;
                prop_assert_eq!(set.insert(start..start + len), twice);
            }
            prop_assert_eq!(set.iter().flatten().collect::<Vec<_>>(), model.iter().copied().collect::<Vec<_>>());
            prop_assert_eq!(set.count(), model.len() as u64);
            prop_assert_eq!(set.end(), model.last().map_or(0, |l| l + 1));
            let all: Vec<_> = set.iter().collect();
            prop_assert!(all.windows(2).all(|w| w[0].end < w[1].start));
            let absent = |r: Range<u64>| r.filter(|n| !model.contains(n)).collect::<Vec<_>>();
            prop_assert_eq!(set.missing_below(from).into_iter().flatten().collect::<Vec<_>>(), absent(0..from));
            prop_assert_eq!(set.missing_in(&(from..from + len)).into_iter().flatten().collect::<Vec<_>>(), absent(from..from + len));
        }
    }
}
