//! Power cuts: every state that the disk may be left in, after every operation, recovered.

use super::recording_disk::{Fate, RecordingDisk};
use super::{Arrived, Random, at, declared, drain, gap_rows, open, sample, seeds, small};
use crate::outbox::{Gap, Outbox, Reason, Record, Settings, SpoolReader};
use milepost_wire::{BootId, Stream, frame};
use std::collections::BTreeSet;

const STREAMS: [&str; 4] = ["gps_data", "harsh_event", "camera_data", "emergency_data"];
const BOOT: u64 = 0xb0;

/// What the agent's side knew when the disk had had `ops` operations.
#[derive(Clone, Debug)]
struct Moment {
    ops: usize,
    /// Readings accepted, by stream.
    accepted: [u64; 4],
    /// Of those, on disk for sure.
    durable: [u64; 4],
    /// What had arrived.
    arrived: Arrived,
    closed: bool,
}

/// A life of an agent in small: random steps, everything that was done to the disk, and every moment.
fn live(seed: u64, steps: usize) -> (RecordingDisk, Vec<Moment>) {
    let disk = RecordingDisk::default();
    let mut random = Random(seed);
    let (mut outbox, mut reader) = open(&disk, &small(), BOOT, 0);
    let zero = [0; 4];
    let mut now =
        Moment { ops: 0, accepted: zero, durable: zero, arrived: Arrived::default(), closed: false };
    let mut moments = vec![now.clone()];
    let (mut millis, mut out) = (0, Vec::<Record>::new());
    for _ in 0..steps {
        millis += random.below(300);
        step(&mut random, &mut outbox, &mut reader, millis, &mut now, &mut out);
        if outbox.is_synced() {
            now.durable = now.accepted;
        }
        now.ops = disk.ops();
        moments.push(now.clone());
    }
    if seed.is_multiple_of(3) {
        outbox.close(at(millis));
        (now.durable, now.closed, now.ops) = (now.accepted, true, disk.ops());
        moments.push(now);
    }
    (disk, moments)
}

fn step(
    random: &mut Random,
    outbox: &mut Outbox,
    reader: &mut SpoolReader,
    millis: u64,
    now: &mut Moment,
    out: &mut Vec<Record>,
) {
    match random.below(20) {
        0..=11 => {
            let i = [0, 0, 0, 0, 1, 1, 1, 2, 2, 3][random.below(10) as usize];
            for _ in 0..=random.below(4) {
                outbox.accept(&sample(i, now.accepted[i]), &[], at(millis)).expect("the disk works");
                now.accepted[i] += 1;
                if i == 3 {
                    now.durable[i] = now.accepted[i];
                }
            }
        }
        12..=15 => drop(outbox.tick(at(millis))),
        16 | 17 => {
            for _ in 0..random.below(5) {
                let Some(record) = reader.next() else { break };
                now.arrived.take(&record);
                out.push(record);
            }
        }
        18 => {
            for _ in 0..random.below(6) {
                if !out.is_empty() {
                    let record = out.swap_remove(random.below(out.len() as u64) as usize);
                    reader.ack(record.id);
                }
            }
        }
        _ => {
            reader.rewind();
            out.clear();
        }
    }
}

/// Recovers a disk and holds what arrives against what was promised.
fn check(disk: &RecordingDisk, moment: &Moment, boot: u64, what: &dyn Fn() -> String) {
    let (mut outbox, mut reader) = open(disk, &small(), boot, 10_000);
    let records = drain(&mut reader);
    let mut arrived = moment.arrived.clone();
    records.iter().for_each(|r| arrived.take(r));
    let rows = gap_rows(&records);
    for (i, stream) in STREAMS.iter().enumerate() {
        let seqs = arrived.seqs(BOOT, stream);
        for (seq, ts) in arrived.rows.get(&(BOOT, (*stream).to_owned())).into_iter().flatten() {
            assert_eq!(*ts, *seq as i64, "{}: {stream} {seq} is another reading", what());
        }
        for seq in 0..moment.durable[i] {
            assert!(seqs.contains(&seq), "{}: {stream} {seq} was durable and is lost", what());
        }
        let of_stream = rows
            .iter()
            .filter(|r| r.stream.as_deref() == Some(stream) && r.gap_boot_id == BootId(BOOT).to_string());
        let mut lost = BTreeSet::new();
        for row in of_stream {
            assert!(!moment.closed, "{}: a clean end declares no loss: {row:?}", what());
            assert!(row.count <= 512, "{}: more declared than may be lost: {row:?}", what());
            let range = declared(row);
            assert!(
                row.last_seq.is_some() || seqs.range(range.start..).next().is_none(),
                "{}: {stream} has rows past {row:?}",
                what()
            );
            lost.extend(range);
        }
        for seq in 0..moment.accepted[i] {
            let known = seqs.contains(&seq) || lost.contains(&seq);
            assert!(
                known,
                "{}: {stream} {seq} of {} is neither here nor declared: {rows:?}",
                what(),
                moment.accepted[i]
            );
        }
    }
    // It goes on.
    outbox.accept(&sample(0, 0), &[], at(10_000)).expect("the disk works");
    outbox.flush(at(10_001));
    assert!(reader.next().is_some(), "{}: nothing follows", what());
}

/// The fates of what is unsure at a point: none, all, each alone, all but each, torn, and at random.
fn fates(unsure: &[usize], lens: &dyn Fn(usize) -> usize, seed: u64) -> Vec<Vec<Fate>> {
    let mut all = vec![vec![Fate::Nothing; unsure.len()], vec![Fate::Whole; unsure.len()]];
    for i in 0..unsure.len() {
        for (one, others) in [(Fate::Whole, Fate::Nothing), (Fate::Nothing, Fate::Whole)] {
            let mut fates = vec![others; unsure.len()];
            fates[i] = one;
            all.push(fates);
        }
        let len = lens(unsure[i]);
        for torn in [
            Fate::Torn(len / 2),
            Fate::Torn(len.saturating_sub(1)),
            Fate::Torn(7),
            Fate::Zeros,
            Fate::Sectors(seed + i as u64),
        ] {
            if len > 0 {
                let mut fates = vec![Fate::Whole; unsure.len()];
                fates[i] = torn;
                all.push(fates);
            }
        }
    }
    let mut random = Random(seed);
    for _ in 0..4 {
        let one = |r: &mut Random| match r.below(5) {
            0 => Fate::Nothing,
            1 => Fate::Torn(r.below(600) as usize),
            2 => Fate::Sectors(r.next()),
            3 => Fate::Zeros,
            _ => Fate::Whole,
        };
        all.push(unsure.iter().map(|_| one(&mut random)).collect());
    }
    all
}

/// Runs `then` with every state that a power cut after each operation may leave.
pub(super) fn every_state(
    disk: &RecordingDisk,
    seed: u64,
    from: usize,
    mut then: impl FnMut(usize, RecordingDisk, &[Fate]),
) -> usize {
    let mut count = 0;
    for n in from..=disk.ops() {
        let unsure = disk.unsure(n);
        for fates in fates(&unsure, &|i| disk.write_len(i), seed ^ n as u64) {
            let mut fate = fates.iter().copied();
            let state = disk.after(n, &mut |_| fate.next().unwrap_or(Fate::Whole));
            then(n, state, &fates);
            count += 1;
        }
    }
    count
}

fn moment_at(moments: &[Moment], ops: usize) -> &Moment {
    let i = moments.partition_point(|m| m.ops <= ops);
    &moments[i.saturating_sub(1)]
}

#[test]
fn every_power_cut_keeps_what_was_durable_and_declares_the_rest() {
    let mut count = 0;
    for seed in seeds(12) {
        let (disk, moments) = live(seed, 120);
        count += every_state(&disk, seed, 0, |n, state, fates| {
            let what = || format!("MILEPOST_SEED={seed}, cut after {n}, {fates:?}");
            check(&state, moment_at(&moments, n), 0xb1, &what);
        });
    }
    println!("{count} states recovered");
    assert!(count > 100);
}

#[test]
fn a_power_cut_during_recovery_is_recovered_too() {
    let mut count = 0;
    for seed in seeds(24) {
        let (disk, moments) = live(seed + 100, 60);
        let mut random = Random(seed);
        every_state(&disk, seed, 0, |n, state, first| {
            if random.below(40) != 0 {
                return;
            }
            let begin = state.ops();
            drop(open(&state, &small(), 0xaa, 5_000));
            count += every_state(&state, seed, begin, |m, again, second| {
                let what =
                    || format!("MILEPOST_SEED={seed}, cut after {n}, {first:?}, then after {m}, {second:?}");
                check(&again, moment_at(&moments, n), 0xb1, &what);
            });
        });
    }
    println!("{count} states recovered");
    assert!(count > 100);
}

/// Eight seconds of an agent with a reading each 13 ms.
struct Drive {
    disk: RecordingDisk,
    /// When each reading came.
    came: Vec<u64>,
    /// When each operation was done.
    done: Vec<u64>,
    /// What the uplink had sent, and after how many operations.
    sent: Vec<(usize, Record)>,
}

fn drive(settings: &Settings, uplink: bool) -> Drive {
    let disk = RecordingDisk::default();
    let (mut outbox, mut reader) = open(&disk, settings, BOOT, 0);
    let (mut came, mut done, mut sent, mut deadline) = (Vec::new(), Vec::new(), Vec::new(), 0);
    for millis in 0..8_000 {
        if millis >= deadline {
            deadline = outbox.tick(at(millis)).as_millis() as u64;
        }
        if millis % 13 == 0 {
            outbox.accept(&sample(0, came.len() as u64), &[], at(millis)).expect("the disk works");
            came.push(millis);
            deadline = deadline.min(millis + 750);
        }
        if uplink {
            sent.extend(drain(&mut reader).into_iter().map(|r| (disk.ops(), r)));
        }
        done.resize(disk.ops(), millis);
    }
    Drive { disk, came, done, sent }
}

#[test]
fn a_power_cut_takes_at_most_the_loss_window_whatever_the_batch_size_and_the_uplink() {
    for (batch_count_max, uplink) in [(1, false), (7, true), (60, false), (60, true), (8_192, true)] {
        let settings = Settings { batch_count_max, ..Settings::default() };
        let (drive, window) = (drive(&settings, uplink), settings.loss_window.as_millis() as u64);
        for n in 1..=drive.disk.ops() {
            let until = drive.done.get(n).copied().unwrap_or(7_999);
            let what = format!("batches of {batch_count_max}, uplink {uplink}, cut at {until} ms");
            let cut = drive.disk.after(n, &mut |_| Fate::Nothing);
            let (_outbox, mut reader) = open(&cut, &settings, 0xb1, 0);
            let sent = drive.sent.iter().filter(|(ops, _)| *ops <= n).map(|(_, r)| r.clone());
            let records: Vec<Record> = sent.chain(drain(&mut reader)).collect();
            let mut arrived = Arrived::default();
            records.iter().for_each(|r| arrived.take(r));
            let seqs = arrived.seqs(BOOT, "gps_data");
            let kept = seqs.len() as u64;
            assert!(seqs.into_iter().eq(0..kept), "{what}: without a hole");
            let safe = drive.came.iter().filter(|t| **t + window <= until).count() as u64;
            assert!(kept >= safe, "{what}: {kept} of {safe}");
            // The gap row names the boot, the last durable number and the most that can be missing.
            let accepted = drive.came.iter().filter(|t| **t < until).count() as u64;
            let rows: Vec<_> = gap_rows(&records);
            assert!(rows.len() <= 1 && (!rows.is_empty() || accepted <= kept), "{what}: {rows:?}");
            for row in rows {
                let said =
                    (row.reason.as_str(), row.stream.as_deref(), row.first_seq, row.last_seq, row.exact);
                assert_eq!(said, ("crash_tail", Some("gps_data"), Some(kept as i64), None, 0), "{what}");
                assert_eq!(row.gap_boot_id, BootId(BOOT).to_string());
                assert!(kept + row.count as u64 >= accepted, "{what}: {row:?} of {accepted}");
                // It names no more than came within the window before the cut; while the rate is still
                // new to it, a quarter more and 8.
                let came = drive.came.iter().filter(|t| (until.saturating_sub(window)..=until).contains(t));
                let came = came.count() as i64;
                let most = if until >= window { came } else { came + came / 4 + 8 };
                assert!(row.count <= most, "{what}: {row:?}, and {came} came within the window");
            }
        }
    }
}

#[test]
fn a_frame_that_is_given_up_is_declared_once_or_sent_again_whenever_the_power_goes() {
    let disk = RecordingDisk::default();
    let (mut outbox, mut reader) = open(&disk, &small(), BOOT, 0);
    (0..12).for_each(|n| outbox.accept(&sample(0, n), &[], at(0)).unwrap());
    outbox.flush(at(1));
    let frames: Vec<Record> = std::iter::from_fn(|| reader.next()).collect();
    assert_eq!(frames.len(), 3);
    let from = disk.ops();
    // The first has no answer for long, so the cursor stays before all of them.
    let gap = Gap::range(Stream::Gps, BootId(BOOT), 4, 7, Reason::Undeliverable);
    outbox.give_up(frames[1].id, gap, at(2));
    reader.ack(frames[1].id);
    let row = reader.next().expect("the gap row is on disk");
    reader.ack(row.id);
    let sent = disk.ops();
    for n in 0..12 {
        outbox.accept(&sample(3, n), &[], at(1_000 * n)).unwrap();
        drain(&mut reader);
        outbox.tick(at(1_000 * n + 900));
    }
    let passed = disk.ops();
    frames.iter().for_each(|r| reader.ack(r.id));
    outbox.tick(at(30_000));
    let numbers = |record: &Record| {
        let header = frame::check(&record.frame).expect("a frame");
        (header.boot.0, header.first_seq)
    };
    let states = every_state(&disk, 5, from, |n, state, fates| {
        // The second start recovers what the first one's recovery has written.
        for boot in [0xb1, 0xb2] {
            let (_outbox, mut reader) = open(&state, &small(), boot, 40_000);
            let waiting: Vec<Record> = std::iter::from_fn(|| reader.next()).collect();
            let rows = waiting.iter().chain((n >= sent).then_some(&row)).filter(|r| {
                let undeliverable = gap_rows(&[(*r).clone()]).iter().any(|g| g.reason == "undeliverable");
                r.stream == Stream::Gap && undeliverable
            });
            let rows: BTreeSet<(u64, u64)> = rows.map(numbers).collect();
            let again = waiting.iter().any(|r| r.stream == Stream::Gps && numbers(r) == (BOOT, 4));
            let once = rows.len() + usize::from(again) == 1;
            assert!(
                once,
                "cut after {n} of {passed}, boot {boot:x}, {fates:?}: {rows:?}, sent again {again}"
            );
        }
    });
    println!("{states} states recovered");
}
