//! Disks that are full, read-only, failing or rotten.

use super::recording_disk::{Fate, Fault, Op, RecordingDisk};
use super::{Arrived, at, declared, drain, emergency, gap_rows, gps, open, sample, small, vehicle};
use crate::outbox::{Outbox, Refused, Settings};
use milepost_wire::BootId;
use std::collections::BTreeSet;
use std::sync::Arc;

const FAULTS: [Fault; 4] = [Fault::Full, Fault::ReadOnly, Fault::Sync, Fault::Io];

#[test]
fn a_disk_that_fails_refuses_readings_and_loses_none_once_it_works_again() {
    for fault in FAULTS {
        let disk = RecordingDisk::default();
        let (mut outbox, mut reader) = open(&disk, &small(), 1, 0);
        let (mut n, mut refused) = (0, 0);
        for t in (0..20_000).step_by(20) {
            match t {
                2_000 => disk.fail(fault),
                9_000 => disk.fail(Fault::None),
                _ => {}
            }
            match outbox.accept(&gps(n), &[], at(t)) {
                Ok(()) => n += 1,
                Err(Refused::Disk(_)) => refused += 1,
                Err(Refused::Closed) => panic!("it is open"),
            }
            outbox.tick(at(t));
        }
        outbox.flush(at(20_000));
        let status = outbox.status(at(20_000));
        assert!(refused > 100 && n > 400, "{fault:?}: {refused} refused, {n} taken");
        assert!(status.trouble.is_none() && (1..30).contains(&status.errors), "{fault:?}: {status:?}");
        let mut arrived = Arrived::default();
        let records = drain(&mut reader);
        records.iter().for_each(|r| arrived.take(r));
        assert_eq!((arrived.count(1, "gps_data") as u64, arrived.repeated), (n, 0), "{fault:?}");
        assert_eq!(gap_rows(&records), [], "{fault:?}");
    }
}

#[test]
fn a_power_cut_while_the_disk_fails_is_declared() {
    for fault in FAULTS {
        let disk = RecordingDisk::default();
        let (mut outbox, reader) = open(&disk, &small(), 1, 0);
        let mut n = 0;
        for t in (0..6_000).step_by(10) {
            if t == 2_000 {
                disk.fail(fault);
            }
            n += u64::from(outbox.accept(&gps(n), &[], at(t)).is_ok());
            outbox.tick(at(t));
        }
        drop((outbox, reader));
        for fate in [Fate::Nothing, Fate::Whole, Fate::Torn(9), Fate::Zeros] {
            let cut = disk.after(disk.ops(), &mut |_| fate);
            let (_outbox, mut reader) = open(&cut, &small(), 2, 0);
            let records = drain(&mut reader);
            let mut arrived = Arrived::default();
            records.iter().for_each(|r| arrived.take(r));
            let mut known = arrived.seqs(1, "gps_data");
            gap_rows(&records).iter().for_each(|row| known.extend(declared(row)));
            assert!((0..n).all(|s| known.contains(&s)), "{fault:?} {fate:?}: {n} accepted");
        }
    }
}

#[test]
fn after_a_failed_sync_the_file_is_not_written_again() {
    let disk = RecordingDisk::default();
    let (mut outbox, _reader) = open(&disk, &small(), 1, 0);
    (0..4).for_each(|n| outbox.accept(&gps(n), &[], at(0)).unwrap());
    outbox.tick(at(1_000));
    let before = disk.inodes_written();
    disk.fail(Fault::Sync);
    (4..8).for_each(|n| outbox.accept(&gps(n), &[], at(1_000)).unwrap());
    outbox.tick(at(2_000));
    assert!(outbox.status(at(2_000)).trouble.is_some());
    disk.fail(Fault::None);
    let from = disk.ops();
    outbox.tick(at(4_000));
    assert!(outbox.status(at(4_000)).trouble.is_none());
    let later = disk.inodes_written_from(from);
    assert!(!later.is_empty() && later.is_disjoint(&before), "{later:?} {before:?}");
}

#[test]
fn emergencies_are_refused_rather_than_lost_while_the_disk_fails() {
    let disk = RecordingDisk::default();
    let (mut outbox, mut reader) = open(&disk, &small(), 1, 0);
    disk.fail(Fault::Io);
    assert!(outbox.accept(&emergency(0), &[], at(0)).is_ok(), "in memory, and first in line");
    assert!(outbox.accept(&emergency(1), &[], at(10)).is_err());
    disk.fail(Fault::None);
    assert!(outbox.accept(&emergency(1), &[], at(2_000)).is_ok());
    let mut arrived = Arrived::default();
    drain(&mut reader).iter().for_each(|r| arrived.take(r));
    assert_eq!((arrived.count(1, "emergency_data"), arrived.repeated), (2, 0));
}

#[test]
fn an_agent_comes_up_on_a_full_disk_and_empties_it() {
    let disk = RecordingDisk::default();
    let (mut outbox, reader) = open(&disk, &small(), 1, 0);
    for n in 0..400 {
        outbox.accept(&gps(n), &[], at(n)).unwrap();
    }
    outbox.flush(at(500));
    drop((outbox, reader));
    // Full but for what the reserve holds.
    let disk = disk.copy();
    disk.limit_to_present();
    let (mut outbox, mut reader) = open(&disk, &small(), 2, 0);
    let mut arrived = Arrived::default();
    drain(&mut reader).iter().for_each(|r| arrived.take(r));
    assert_eq!(arrived.count(1, "gps_data"), 400);
    (1..5).for_each(|t| _ = outbox.tick(at(t * 1_000)));
    outbox.accept(&gps(0), &[], at(6_000)).unwrap();
    outbox.flush(at(6_000));
    assert!(outbox.status(at(6_000)).trouble.is_none());
}

#[test]
fn a_spool_on_a_read_only_disk_does_not_open_and_is_left_as_it_is() {
    let disk = RecordingDisk::default();
    let (mut outbox, reader) = open(&disk, &small(), 1, 0);
    (0..40).for_each(|n| outbox.accept(&gps(n), &[], at(n)).unwrap());
    outbox.flush(at(50));
    drop((outbox, reader));
    let disk = disk.copy();
    let (before, ops) = (disk.files(), disk.ops());
    disk.fail(Fault::ReadOnly);
    let refused = Outbox::open(Arc::new(disk.clone()), small(), vehicle(), BootId(2), at(0));
    let message = refused.err().expect("it cannot write its state").to_string();
    assert!(message.contains("cannot write") && message.contains("writable"), "{message}");
    assert_eq!((disk.files(), disk.ops()), (before, ops));
    disk.fail(Fault::None);
    let (_outbox, mut reader) = open(&disk, &small(), 3, 0);
    let mut arrived = Arrived::default();
    drain(&mut reader).iter().for_each(|r| arrived.take(r));
    assert_eq!(arrived.count(1, "gps_data"), 40);
}

#[test]
fn a_segment_whose_bytes_never_came_does_not_stop_the_reader() {
    let disk = RecordingDisk::default();
    let name = crate::outbox::segment::name(crate::outbox::Lane::Live, 1);
    crate::outbox::Disk::create(&disk, &name).unwrap();
    for boot in 1..4 {
        let (mut outbox, mut reader) = open(&disk, &small(), boot, 0);
        outbox.accept(&gps(0), &[], at(0)).unwrap();
        outbox.flush(at(1));
        assert_eq!(drain(&mut reader).len(), 1, "boot {boot}");
        outbox.close(at(2));
    }
}

/// A spool with something of everything in it.
fn filled(clean: bool) -> (RecordingDisk, [u64; 4]) {
    let disk = RecordingDisk::default();
    let (mut outbox, _reader) = open(&disk, &small(), 0xb0, 0);
    let mut n = [0; 4];
    for t in 0..60 {
        let i = [0, 0, 1, 0, 2, 0, 1, 3][t % 8];
        outbox.accept(&sample(i, n[i]), &[], at(t as u64 * 150)).unwrap();
        n[i] += 1;
        outbox.tick(at(t as u64 * 150));
    }
    outbox.tick(at(10_000));
    outbox.accept(&sample(0, n[0]), &[], at(10_000)).unwrap();
    n[0] += 1;
    outbox.tick(at(10_900));
    if clean {
        outbox.close(at(11_000));
    }
    (disk.copy(), n)
}

/// Opens what is left, reads everything and lets the reader's findings be declared.
fn accounted(disk: &RecordingDisk, accepted: [u64; 4], what: &str) {
    let (mut outbox, mut reader) = open(disk, &small(), 0xb1, 0);
    let mut records = drain(&mut reader);
    outbox.accept(&gps(0), &[], at(0)).unwrap();
    outbox.flush(at(1));
    outbox.tick(at(500));
    records.extend(drain(&mut reader));
    outbox.flush(at(1_000));
    records.extend(drain(&mut reader));
    let mut arrived = Arrived::default();
    records.iter().for_each(|r| arrived.take(r));
    let rows = gap_rows(&records);
    let boot = BootId(0xb0).to_string();
    let anything = rows.iter().any(|r| r.stream.is_none() && r.gap_boot_id == boot);
    for (i, stream) in ["gps_data", "harsh_event", "camera_data", "emergency_data"].iter().enumerate() {
        let mut known = arrived.seqs(0xb0, stream);
        for row in rows.iter().filter(|r| r.stream.as_deref() == Some(stream) && r.gap_boot_id == boot) {
            known.extend(declared(row));
        }
        let missing: BTreeSet<u64> = (0..accepted[i]).filter(|s| !known.contains(s)).collect();
        assert!(missing.is_empty() || anything, "{what}: {stream} {missing:?} of {}: {rows:?}", accepted[i]);
    }
}

#[test]
fn a_turned_bit_anywhere_is_survived_and_what_it_costs_is_declared() {
    let mut count = 0;
    for clean in [true, false] {
        let (disk, accepted) = filled(clean);
        for (name, len) in disk.files().into_iter().filter(|f| f.0 != "reserve") {
            for at in 0..len {
                let rotten = disk.copy();
                rotten.damage(&name, at, 1 << (at % 8));
                accounted(&rotten, accepted, &format!("{name} byte {at}, clean {clean}"));
                count += 1;
            }
        }
    }
    println!("{count} bytes turned");
    assert!(count > 1_000);
}

#[test]
fn a_part_that_cannot_be_read_costs_itself_and_is_declared() {
    let disk = RecordingDisk::default();
    let settings = Settings { segment_bytes: 100_000, ..small() };
    let (mut outbox, _reader) = open(&disk, &settings, 0xb0, 0);
    for n in 0..1_200 {
        outbox.accept(&gps(n), &[], at(n * 10)).unwrap();
        outbox.tick(at(n * 10));
    }
    outbox.close(at(13_000));
    let name = crate::outbox::segment::name(crate::outbox::Lane::Live, 1);
    assert!(disk.files().iter().any(|f| f.0 == name && f.1 > 12_000));
    let rotten = disk.copy();
    rotten.unreadable(&name, 5_000, 5_600);
    accounted(&rotten, [1_200, 0, 0, 0], "unreadable");
    let rotten = disk.copy();
    rotten.unreadable(&name, 5_000, 5_600);
    let (_outbox, mut reader) = open(&rotten, &small(), 0xb2, 0);
    let mut arrived = Arrived::default();
    drain(&mut reader).iter().for_each(|r| arrived.take(r));
    assert!((700..1_200).contains(&arrived.count(0xb0, "gps_data")));
}

#[test]
fn what_a_start_cannot_read_is_left_as_it_is() {
    let (disk, accepted) = filled(false);
    for (name, len) in disk.files() {
        let rotten = disk.copy();
        rotten.unreadable(&name, 0, len);
        let before = rotten.files();
        let opened =
            Outbox::open(Arc::new(rotten.clone()), small(), vehicle(), BootId(0xb1), at(0)).map(drop);
        if let Err(error) = opened {
            assert!(error.to_string().contains(&name), "{name}: {error}");
            assert_eq!(rotten.files(), before, "{name}");
            rotten.unreadable(&name, 0, 0);
            accounted(&rotten, accepted, &name);
        } else {
            assert!(name == "reserve" || name.ends_with(".seg"), "{name} was not read");
        }
    }
}

#[test]
fn any_file_may_be_gone_or_hold_nonsense_without_a_panic() {
    for clean in [true, false] {
        let (disk, accepted) = filled(clean);
        for (name, len) in disk.files() {
            let gone = disk.copy();
            gone.remove(&name);
            let nonsense = disk.copy();
            (0..len).for_each(|at| nonsense.damage(&name, at, at as u8 | 1));
            for disk in [gone, nonsense] {
                let (mut outbox, mut reader) = open(&disk, &small(), 0xb1, 0);
                drain(&mut reader);
                outbox.accept(&gps(0), &[], at(0)).unwrap();
                outbox.flush(at(1));
                assert!(drain(&mut reader).iter().any(|r| r.stream.name() == "gps_data"), "{name}");
            }
        }
        accounted(&disk, accepted, "untouched");
    }
}

#[test]
fn a_spool_of_a_newer_agent_is_left_alone() {
    let disk = RecordingDisk::default();
    let name = crate::outbox::segment::name(crate::outbox::Lane::Live, 1);
    let mut bytes = Vec::new();
    let salt = crate::outbox::record::salt(&name);
    crate::outbox::record::put(&mut bytes, salt, crate::outbox::segment::HEADER, &[99, 1, 2, 3]);
    let file = crate::outbox::Disk::create(&disk, &name).unwrap();
    file.write_at(0, &bytes).unwrap();
    let error = Outbox::open(Arc::new(disk.clone()), Settings::default(), vehicle(), BootId(1), at(0));
    assert!(error.err().unwrap().to_string().contains("version 99"));
    assert_eq!(disk.count(|op| matches!(op, Op::Unlink { .. })), 0);
}
