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

#[test]
fn the_memory_of_a_chain_is_bounded() {
    let mut memory = Memory::default();
    for n in 0..ENTRIES + 1000 {
        memory.apply(&[seen(&format!("v{n}"), 1, &[(0, 1)])], n as i64);
    }
    assert!(memory.entries <= ENTRIES && memory.entries >= ENTRIES / 8 * 7, "{}", memory.entries);
    assert!(memory.ranges(&format!("v{}", ENTRIES + 999), 1, "gps_data").is_some());
    let holes: Vec<_> = (0..10_000).map(|n| (2 * n, 2 * n)).collect();
    memory.apply(&[seen("holes", 1, &holes)], 1 << 40);
    let kept = memory.ranges("holes", 1, "gps_data").unwrap();
    assert_eq!((kept.0.len(), kept.0.last()), (RANGES, Some(&(19_998, 19_998))));
}

#[test]
fn merging_joins_what_touches() {
    let merged = merge(&[seen("b", 1, &[(0, 4)]), seen("a", 1, &[(5, 9)]), seen("b", 1, &[(5, 6)])]);
    assert_eq!(merged, [seen("a", 1, &[(5, 9)]), seen("b", 1, &[(0, 6)])]);
}
