//! Lives of many boots, with faults, reads that fail now and then, power cuts, clean ends and a spool that
//! overflows: at the end everything that was accepted is here or declared.

use super::recording_disk::{Fate, Fault, RecordingDisk};
use super::{Arrived, Random, at, declared, drain, gap_rows, open, sample, seeds, small, vehicle};
use crate::outbox::{Outbox, Record, Settings, SpoolReader};
use milepost_wire::BootId;
use std::collections::BTreeMap;
use std::sync::Arc;

const STREAMS: [&str; 4] = ["gps_data", "harsh_event", "camera_data", "emergency_data"];

fn settings(random: &mut Random) -> Settings {
    Settings {
        batch_count_max: 1 + random.below(20) as u32,
        batch_bytes_max: 100 + random.below(4_000) as u32,
        segment_bytes: 300 + random.below(5_000),
        journal_bytes: 300 + random.below(5_000),
        bytes_max: if random.below(3) == 0 { 3_000 + random.below(20_000) } else { 1 << 30 },
        ..small()
    }
}

/// Opens a spool, again where it could not be read: whoever runs the agent starts it again.
fn start(disk: &RecordingDisk, settings: Settings, id: u64) -> (Outbox, SpoolReader) {
    let open = || Outbox::open(Arc::new(disk.clone()), settings.clone(), vehicle(), BootId(id), at(0));
    (0..10).find_map(|_| open().ok()).expect("reads that fail pass")
}

/// One boot: returns what it accepted, and the disk as its end left it.
fn boot(
    random: &mut Random,
    disk: RecordingDisk,
    id: u64,
    all: &mut Vec<Record>,
) -> ([u64; 4], RecordingDisk) {
    if random.below(3) == 0 {
        disk.fail_reads(random.below(40), 1 + random.below(3));
    }
    let (mut outbox, mut reader) = start(&disk, settings(random), id);
    let (mut n, mut millis, mut out) = ([0; 4], 0, Vec::new());
    for _ in 0..random.below(300) {
        millis += random.below(400);
        match random.below(26) {
            0..=13 => {
                let i = [0, 0, 0, 1, 1, 2, 3][random.below(7) as usize];
                for _ in 0..random.below(9) {
                    n[i] += u64::from(outbox.accept(&sample(i, n[i]), &[], at(millis)).is_ok());
                }
            }
            14..=17 => drop(outbox.tick(at(millis))),
            18 => disk.fail([Fault::Full, Fault::Sync, Fault::Io, Fault::ReadOnly][random.below(4) as usize]),
            19 | 20 => disk.fail(Fault::None),
            21 => {
                let records: Vec<Record> = std::iter::from_fn(|| reader.next()).take(8).collect();
                out.extend(records.iter().map(|r| r.id));
                all.extend(records);
            }
            22 => (0..random.below(9)).for_each(|_| {
                if !out.is_empty() {
                    reader.ack(out.swap_remove(random.below(out.len() as u64) as usize));
                }
            }),
            23 | 24 => disk.fail_reads(random.below(6), 1 + random.below(3)),
            _ => {
                reader.rewind();
                out.clear();
            }
        }
    }
    if random.below(3) == 0 {
        outbox.close(at(millis));
    }
    let after = disk.after(disk.ops(), &mut |_| match random.below(5) {
        0 => Fate::Nothing,
        1 => Fate::Torn(random.below(500) as usize),
        2 => Fate::Sectors(random.next()),
        3 => Fate::Zeros,
        _ => Fate::Whole,
    });
    (n, after)
}

#[test]
fn many_boots_with_faults_and_power_cuts_account_for_everything() {
    for seed in seeds(600) {
        let mut random = Random(seed);
        let (mut disk, mut all) = (RecordingDisk::default(), Vec::new());
        let mut accepted = BTreeMap::new();
        for id in 1..=2 + random.below(5) {
            let (n, after) = boot(&mut random, disk, id, &mut all);
            accepted.insert(id, n);
            disk = after;
        }
        let (mut outbox, mut reader) = open(&disk, &small(), 99, 0);
        for t in 0..4 {
            all.extend(drain(&mut reader));
            outbox.tick(at(t * 1_000));
        }
        let mut arrived = Arrived::default();
        all.iter().for_each(|r| arrived.take(r));
        let rows = gap_rows(&all);
        for (id, n) in accepted {
            for (i, stream) in STREAMS.iter().enumerate() {
                let mut known = arrived.seqs(id, stream);
                let boot = BootId(id).to_string();
                for row in
                    rows.iter().filter(|r| r.stream.as_deref() == Some(stream) && r.gap_boot_id == boot)
                {
                    let most = row.reason != "crash_tail" || row.count <= i64::from(small().unsynced_max);
                    assert!(most, "MILEPOST_SEED={seed}: more declared than may be lost: {row:?}");
                    known.extend(declared(row));
                }
                // An emergency that was taken while the disk failed can go with the power.
                let slack = u64::from(i == 3);
                let missing: Vec<u64> =
                    (0..n[i].saturating_sub(slack)).filter(|s| !known.contains(s)).collect();
                assert!(
                    missing.is_empty(),
                    "MILEPOST_SEED={seed}: boot {id} {stream} {missing:?} of {}",
                    n[i]
                );
            }
        }
    }
}
