use super::*;
use std::collections::BTreeSet;

/// A small generator of numbers for tests; the seed is in the message of whatever fails.
struct Rng(u64);
impl Rng {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

fn seen(vehicle: &str, boot: u64, ranges: &[(u64, u64)]) -> Seen {
    let boot = format!("{boot:016x}");
    Seen { vehicle: vehicle.into(), boot, stream: "gps_data".into(), ranges: ranges.to_vec(), touched: None }
}

#[test]
fn ranges_agree_with_a_plain_set() {
    for seed in 0..200 {
        let (mut rng, mut ranges, mut set) = (Rng(seed), Ranges::default(), BTreeSet::new());
        for _ in 0..40 {
            let first = rng.below(60);
            let last = first + rng.below(8);
            let missing: Vec<u64> = ranges.missing(first, last).iter().flat_map(|&(a, b)| a..=b).collect();
            let plain: Vec<u64> = (first..=last).filter(|n| !set.contains(n)).collect();
            assert_eq!(missing, plain, "seed {seed}");
            ranges.insert(first, last);
            set.extend(first..=last);
            let all: Vec<u64> = ranges.0.iter().flat_map(|&(a, b)| a..=b).collect();
            assert_eq!(all, set.iter().copied().collect::<Vec<_>>(), "seed {seed}");
            assert!(ranges.0.windows(2).all(|w| w[0].1 + 1 < w[1].0), "seed {seed}: {ranges:?}");
        }
    }
}

#[test]
fn ranges_hold_the_ends_of_what_can_be_numbered() {
    let mut ranges = Ranges::default();
    ranges.insert(u64::MAX - 1, u64::MAX);
    ranges.insert(0, 0);
    assert_eq!(ranges.missing(0, u64::MAX), [(1, u64::MAX - 2)]);
    ranges.insert(0, u64::MAX);
    assert_eq!(ranges.missing(0, u64::MAX), []);
    assert_eq!(ranges.as_slice(), [(0, u64::MAX)]);
}

#[test]
fn a_delta_takes_each_number_once() {
    let mut memory = Memory::default();
    memory.apply(&[seen("a", 1, &[(0, 9)])], 5);
    let mut delta = Delta::new(&memory);
    assert_eq!(delta.take("a", 1, "gps_data", 5, 19), [(10, 19)]);
    assert_eq!(delta.take("a", 1, "gps_data", 5, 19), []);
    assert_eq!(delta.take("a", 1, "gps_data", 15, 29), [(20, 29)]);
    assert_eq!(delta.take("a", 2, "gps_data", 5, 6), [(5, 6)], "another boot");
    assert_eq!(delta.take("b", 1, "gps_data", 5, 6), [(5, 6)], "another vehicle");
    assert_eq!(delta.take("a", 1, "camera_data", 5, 6), [(5, 6)], "another stream");
}

#[test]
fn a_state_object_brings_the_memory_back() {
    let mut memory = Memory::default();
    memory.apply(&[seen("a", 1, &[(0, 9)]), seen("b", 7, &[(3, 4), (8, 8)])], 5);
    memory.apply(&[seen("a", 1, &[(10, 12)])], 9);
    let state = memory.to_state();
    assert_eq!(Memory::from_state(&state).to_state(), state);
    assert_eq!(state.entries[0].ranges, [(0, 12)]);
    assert_eq!(state.entries.iter().map(|e| e.touched).collect::<Vec<_>>(), [Some(9), Some(5)]);
}

#[test]
fn the_boots_touched_longest_ago_are_forgotten_first() {
    let mut memory = Memory::default();
    for boot in 0..BOOTS as u64 {
        memory.apply(&[seen("a", boot, &[(0, 1)])], boot as i64);
    }
    memory.apply(&[seen("a", 0, &[(2, 3)])], 1000);
    memory.apply(&[seen("a", 99, &[(0, 1)])], 1001);
    assert!(memory.ranges("a", 0, "gps_data").is_some());
    assert!(memory.ranges("a", 1, "gps_data").is_none());
    assert!(memory.ranges("a", 99, "gps_data").is_some());
    assert_eq!(memory.entries, BOOTS);
}

fn vehicle(n: usize) -> String {
    format!("v{n}")
}

/// Whether a frame of two readings of a vehicle would be dropped as written, were it to come again.
fn is_known(memory: &Memory, n: usize) -> bool {
    Delta::new(memory).take(&vehicle(n), 1, "gps_data", 0, 1).is_empty()
}

#[test]
fn a_chain_remembers_as_many_entries_as_its_bound_then_forgets_what_was_touched_longest_ago() {
    let mut memory = Memory::default();
    for n in 0..ENTRIES {
        memory.apply(&[seen(&vehicle(n), 1, &[(0, 1)])], n as i64);
    }
    assert_eq!(memory.entries, ENTRIES);
    assert!((0..ENTRIES).all(|n| is_known(&memory, n)), "at the bound nothing is forgotten");
    // The first vehicle sends again, and is the newest now.
    memory.apply(&[seen(&vehicle(0), 1, &[(2, 3)])], ENTRIES as i64);
    memory.apply(&[seen(&vehicle(ENTRIES), 1, &[(0, 1)])], ENTRIES as i64 + 1);
    let forgotten = 1..=ENTRIES - ENTRIES / 8 * 7 + 1;
    for n in 0..=ENTRIES {
        assert_eq!(is_known(&memory, n), !forgotten.contains(&n), "vehicle {n} of {forgotten:?}");
    }
    assert_eq!(memory.entries, ENTRIES / 8 * 7);
}

#[test]
fn a_chain_s_memory_does_not_grow_however_many_vehicles_there_were() {
    let (mut memory, mut most) = (Memory::default(), 0);
    for n in 0..4 * ENTRIES {
        memory.apply(&[seen(&vehicle(n), 1, &[(0, 1)])], n as i64);
        most = most.max(memory.entries);
        assert!(memory.boots.len() <= memory.entries, "nothing is left of what is forgotten");
    }
    assert_eq!(most, ENTRIES);
    let held: usize = memory.boots.values().map(Vec::len).sum();
    assert_eq!((held, memory.to_state().entries.len()), (memory.entries, memory.entries));
    assert!((3 * ENTRIES + ENTRIES / 8..4 * ENTRIES).all(|n| is_known(&memory, n)), "seven eighths at least");
    assert!((0..3 * ENTRIES).all(|n| !is_known(&memory, n)));
}

#[test]
fn an_entry_remembers_as_many_ranges_as_its_bound_then_forgets_the_lowest_numbers() {
    let alone = |n: usize| (2 * n as u64, 2 * n as u64);
    let known = |memory: &Memory, n: usize| {
        let (first, last) = alone(n);
        Delta::new(memory).take("a", 1, "gps_data", first, last).is_empty()
    };
    let mut memory = Memory::default();
    for n in 0..RANGES {
        memory.apply(&[seen("a", 1, &[alone(n)])], n as i64);
    }
    assert!((0..RANGES).all(|n| known(&memory, n)), "at the bound nothing is forgotten");
    memory.apply(&[seen("a", 1, &[alone(RANGES)])], RANGES as i64);
    assert!(!known(&memory, 0) && (1..=RANGES).all(|n| known(&memory, n)), "the lowest goes first");
    // A number that joins two ranges makes room for another.
    memory.apply(&[seen("a", 1, &[(3, 3)])], 1_000);
    memory.apply(&[seen("a", 1, &[alone(RANGES + 1)])], 1_001);
    assert!((1..=RANGES + 1).all(|n| known(&memory, n)));
    let many: Vec<_> = (0..10_000).map(alone).collect();
    memory.apply(&[seen("a", 1, &many)], 2_000);
    let kept = memory.ranges("a", 1, "gps_data").unwrap().as_slice();
    assert_eq!((kept.len(), kept[0]), (RANGES, alone(10_000 - RANGES)), "and never more than the bound");
}

#[test]
fn merging_joins_what_touches() {
    let merged = merge(&[seen("b", 1, &[(0, 4)]), seen("a", 1, &[(5, 9)]), seen("b", 1, &[(5, 6)])]);
    assert_eq!(merged, [seen("a", 1, &[(5, 9)]), seen("b", 1, &[(0, 6)])]);
}
