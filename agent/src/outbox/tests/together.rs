//! Rows and what the transforms remember after them: whatever a crash leaves, the two are in step, and
//! what follows is what a life without the crash gives.

use super::crash::every_state;
use super::recording_disk::RecordingDisk;
use super::{Arrived, Random, at, drain, open, sample, seeds, small};
use crate::outbox::{Outbox, Piece, Settings, SpoolReader};
use milepost_wire::{Clock, Reading, reading};
use std::collections::BTreeMap;
use std::sync::Arc;

const STREAMS: [&str; 4] = ["gps_data", "harsh_event", "camera_data", "emergency_data"];
const BOOT: u64 = 0xb0;

/// A transform with a state: it adds up what it is given, and every row says the sum.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Sum {
    given: u64,
    sum: u64,
}

impl Sum {
    fn read(state: &[u8]) -> Self {
        let word = |i: usize| state.get(i..i + 8).map_or(0, |b| u64::from_le_bytes(b.try_into().unwrap()));
        Self { given: word(0), sum: word(8) }
    }

    fn state(self) -> Arc<[u8]> {
        [self.given.to_le_bytes(), self.sum.to_le_bytes()].concat().into()
    }

    /// The stream of the row for the next input, and the row's number; some inputs are taken out.
    fn give(&mut self) -> Option<(usize, u64)> {
        let input = self.given;
        self.given += 1;
        self.sum += input % 17 + 1;
        let stream = match input {
            n if n % 5 == 0 => return None,
            n if n % 7 == 0 => 1,
            n if n % 11 == 0 => 3,
            n if n % 13 == 0 => 2,
            _ => 0,
        };
        Some((stream, self.sum))
    }

    fn batch(&mut self, inputs: u64) -> Vec<Piece> {
        let mut pieces = BTreeMap::<usize, Piece>::new();
        for (stream, sum) in (0..inputs).filter_map(|_| self.give()) {
            pieces.entry(stream).or_default().readings.push(sample(stream, sum));
        }
        pieces.into_values().collect()
    }

    /// The rows of each stream in a life without a crash.
    fn rows(inputs: u64) -> [Vec<i64>; 4] {
        let mut rows: [Vec<i64>; 4] = Default::default();
        let mut sum = Self::default();
        (0..inputs).filter_map(|_| sum.give()).for_each(|(i, sum)| rows[i].push(sum as i64));
        rows
    }
}

/// A reading of a stream that no transform takes.
fn plain(n: u64) -> Reading {
    let (lat_e7, lon_e7, speed_mm_s, heading_cdeg, year) = (Some(1), None, None, None, None);
    let (make, model, fuel_type, vehicle_type) = (None, None, None, None);
    let body = reading::Vehicle {
        lat_e7,
        lon_e7,
        speed_mm_s,
        heading_cdeg,
        make,
        model,
        year,
        fuel_type,
        vehicle_type,
    };
    Reading { ts: n as i64, clock: Clock::Gps, body: body.into() }
}

/// What was known when the disk had had `ops` operations.
#[derive(Clone, Debug, Default)]
struct Moment {
    ops: usize,
    given: u64,
    durable: u64,
    plain: u64,
    plain_durable: u64,
    arrived: Arrived,
}

fn settings(seed: u64) -> Settings {
    // Every fourth life may have so few readings in danger that most batches are more.
    let unsynced_max = if seed.is_multiple_of(4) { 14 } else { 512 };
    Settings { unsynced_max, ..small() }
}

fn live(seed: u64, steps: usize) -> (RecordingDisk, Vec<Moment>) {
    let disk = RecordingDisk::default();
    let mut random = Random(seed);
    let (mut outbox, mut reader) = open(&disk, &settings(seed), BOOT, 0);
    let (mut sum, mut now, mut millis) = (Sum::default(), Moment::default(), 0);
    let mut moments = vec![now.clone()];
    let mut out = Vec::new();
    for _ in 0..steps {
        millis += random.below(300);
        step(&mut random, &mut outbox, &mut reader, millis, &mut sum, &mut now, &mut out);
        now.given = sum.given;
        if outbox.is_synced() {
            (now.durable, now.plain_durable) = (sum.given, now.plain);
        }
        now.ops = disk.ops();
        moments.push(now.clone());
    }
    if seed.is_multiple_of(3) {
        outbox.close(at(millis));
        (now.durable, now.plain_durable, now.ops) = (now.given, now.plain, disk.ops());
        moments.push(now);
    }
    (disk, moments)
}

fn step(
    random: &mut Random,
    outbox: &mut Outbox,
    reader: &mut SpoolReader,
    millis: u64,
    sum: &mut Sum,
    now: &mut Moment,
    out: &mut Vec<crate::outbox::RecordId>,
) {
    match random.below(15) {
        0..=6 => {
            let pieces = sum.batch(1 + random.below(9));
            outbox.accept_together(&pieces, sum.state(), at(millis)).expect("the disk works");
        }
        7 | 8 => drop(outbox.tick(at(millis))),
        9 => {
            for _ in 0..random.below(5) {
                let Some(record) = reader.next() else { break };
                now.arrived.take(&record);
                out.push(record.id);
            }
        }
        10 => out.drain(..).for_each(|id| reader.ack(id)),
        11..=13 => {
            for _ in 0..=random.below(3) {
                outbox.accept(&plain(now.plain), &[], at(millis)).expect("the disk works");
                now.plain += 1;
            }
        }
        _ => {
            reader.rewind();
            out.clear();
        }
    }
}

/// What arrived of a boot is what a life without a crash gives for the same inputs: no row less, none
/// more, none other.
fn hold_against(arrived: &Arrived, boot: u64, from: u64, to: u64, what: &dyn Fn() -> String) {
    let (before, all) = (Sum::rows(from), Sum::rows(to));
    for (i, stream) in STREAMS.iter().enumerate() {
        let rows = arrived.rows.get(&(boot, (*stream).to_owned())).cloned().unwrap_or_default();
        let expected = &all[i][before[i].len()..];
        let seqs: Vec<u64> = rows.keys().copied().collect();
        assert_eq!(rows.into_values().collect::<Vec<_>>(), expected, "{}: {stream} of {from}..{to}", what());
        assert_eq!(seqs, (0..expected.len() as u64).collect::<Vec<_>>(), "{}: {stream}", what());
    }
}

/// Recovers a disk, holds what arrives against what is remembered, and goes on from there.
fn check(disk: &RecordingDisk, seed: u64, moment: &Moment, what: &dyn Fn() -> String) {
    let (mut outbox, mut reader) = open(disk, &settings(seed), 0xb1, 10_000);
    let mut sum = Sum::read(outbox.state());
    assert!(sum.given >= moment.durable, "{}: {sum:?} is older than what was durable", what());
    let mut arrived = moment.arrived.clone();
    drain(&mut reader).iter().for_each(|r| arrived.take(r));
    let given = sum.given;
    hold_against(&arrived, BOOT, 0, given, what);
    let plain = arrived.seqs(BOOT, "vehicle_data");
    for seq in 0..moment.plain_durable {
        assert!(plain.contains(&seq), "{}: vehicle_data {seq} was durable and is lost", what());
    }
    let pieces = sum.batch(40);
    outbox.accept_together(&pieces, sum.state(), at(10_001)).expect("the disk works");
    outbox.flush(at(10_002));
    drain(&mut reader).iter().for_each(|r| arrived.take(r));
    hold_against(&arrived, 0xb1, given, sum.given, what);
}

fn moment_at(moments: &[Moment], ops: usize) -> &Moment {
    &moments[moments.partition_point(|m| m.ops <= ops).saturating_sub(1)]
}

#[test]
fn whatever_a_power_cut_leaves_rows_and_what_is_remembered_are_in_step() {
    let mut count = 0;
    for seed in seeds(8) {
        let (disk, moments) = live(seed, 60);
        count += every_state(&disk, seed, 0, |n, state, fates| {
            let what = || format!("MILEPOST_SEED={seed}, cut after {n}, {fates:?}");
            check(&state, seed, moment_at(&moments, n), &what);
        });
    }
    println!("{count} states recovered");
    assert!(count > 100);
}

#[test]
fn a_power_cut_during_recovery_keeps_them_in_step() {
    let mut count = 0;
    for seed in seeds(6) {
        let (disk, moments) = live(seed + 100, 40);
        let mut random = Random(seed);
        every_state(&disk, seed, 0, |n, state, first| {
            if random.below(60) != 0 {
                return;
            }
            let begin = state.ops();
            drop(open(&state, &settings(seed + 100), 0xaa, 5_000));
            count += every_state(&state, seed, begin, |m, again, second| {
                let what =
                    || format!("MILEPOST_SEED={seed}, cut after {n}, {first:?}, then after {m}, {second:?}");
                check(&again, seed + 100, moment_at(&moments, n), &what);
            });
        });
    }
    println!("{count} states recovered");
    assert!(count > 100);
}

#[test]
fn what_is_remembered_outlives_many_generations_of_the_journal() {
    let disk = RecordingDisk::default();
    let (mut outbox, _reader) = open(&disk, &small(), BOOT, 0);
    outbox.accept_together(&[], Arc::from(&b"remembered"[..]), at(0)).unwrap();
    for n in 0..200 {
        outbox.accept(&sample(0, n), &[], at(n * 900)).unwrap();
        outbox.tick(at(n * 900 + 800));
    }
    outbox.close(at(200_000));
    drop((outbox, _reader));
    assert_eq!(&open(&disk, &small(), 0xb1, 0).0.state()[..], b"remembered");
}

#[test]
fn rows_without_anything_new_to_remember_are_written_once() {
    let written = |state: &[u8]| {
        let (mut outbox, _reader) = open(&RecordingDisk::default(), &Settings::default(), BOOT, 0);
        for n in 0..100 {
            let piece = Piece { readings: vec![sample(2, n)], lineage: Vec::new() };
            outbox.accept_together(&[piece], state.into(), at(n)).unwrap();
        }
        outbox.flush(at(200));
        outbox.status(at(200)).written
    };
    let (plain, known) = (written(b""), written(b"x"));
    assert!(known < plain + 1_000, "{known} bytes instead of {plain}");
}
