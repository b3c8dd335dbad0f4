//! What the outbox does when the disk is well.

use super::recording_disk::{Fate, Op, RecordingDisk};
use super::{Arrived, at, camera, derived, drain, emergency, gap_rows, gps, open, small, vehicle};
use crate::outbox::{Gap, Lane, Outbox, RealDisk, Reason, Record, Settings};
use milepost_wire::{BootId, Digest, Stream, frame};
use std::sync::Arc;

fn ranges(records: &[Record]) -> Vec<(String, u64, u64)> {
    let range = |r: &Record| {
        let header = frame::check(&r.frame).expect("a frame");
        (header.stream.name().to_owned(), header.first_seq, header.last_seq())
    };
    records.iter().map(range).collect()
}

fn named(stream: &str, first: u64, last: u64) -> (String, u64, u64) {
    (stream.to_owned(), first, last)
}

#[test]
fn numbers_are_contiguous_from_0_for_each_stream() {
    let (mut outbox, mut reader) = open(&RecordingDisk::default(), &small(), 1, 0);
    for n in 0..6 {
        outbox.accept(&gps(n), &[], at(0)).unwrap();
        outbox.accept(&derived(n), &[], at(0)).unwrap();
    }
    outbox.flush(at(1));
    let mut found = ranges(&drain(&mut reader));
    found.sort();
    let both = |s| [named(s, 0, 3), named(s, 4, 5)];
    assert_eq!(found, [both("gps_data"), both("harsh_event")].concat());
    assert!(outbox.status(at(1)).streams.iter().all(|s| s.next_seq == 6));
}

#[test]
fn a_batch_is_sealed_by_count_bytes_age_and_lineage() {
    let settings = Settings { batch_bytes_max: 150, batch_count_max: 3, ..small() };
    let (mut outbox, mut reader) = open(&RecordingDisk::default(), &settings, 1, 0);
    let digest = [Digest([7; 8])];
    (0..4).for_each(|n| outbox.accept(&gps(n), &[], at(0)).unwrap());
    outbox.accept(&gps(4), &digest, at(0)).unwrap();
    (0..3).for_each(|n| outbox.accept(&camera(n, 60), &[], at(0)).unwrap());
    outbox.tick(at(900));
    assert_eq!(ranges(&drain(&mut reader))[..2], [named("gps_data", 0, 2), named("gps_data", 3, 3)]);
    outbox.tick(at(4_900));
    assert_eq!(drain(&mut reader), [], "the last is not old enough");
    outbox.tick(at(5_000));
    let records = drain(&mut reader);
    assert_eq!(ranges(&records), [named("gps_data", 4, 4)]);
    assert_eq!(frame::check(&records[0].frame).unwrap().lineage, digest);
}

#[test]
fn nothing_is_handed_out_before_it_is_durable() {
    let (mut outbox, mut reader) = open(&RecordingDisk::default(), &small(), 1, 0);
    (0..5).for_each(|n| outbox.accept(&gps(n), &[], at(0)).unwrap());
    assert!(reader.next().is_none());
    outbox.tick(at(800));
    assert!(reader.next().is_some());
}

#[test]
fn an_emergency_is_durable_when_accept_returns_and_comes_first() {
    let disk = RecordingDisk::default();
    let (mut outbox, mut reader) = open(&disk, &small(), 1, 0);
    (0..4).for_each(|n| outbox.accept(&camera(n, 10), &[], at(0)).unwrap());
    (0..4).for_each(|n| outbox.accept(&gps(n), &[], at(0)).unwrap());
    outbox.accept(&emergency(0), &[], at(0)).unwrap();
    let lanes: Vec<Lane> = drain(&mut reader).iter().map(|r| r.lane).collect();
    assert_eq!(lanes, [Lane::Emergency, Lane::Live, Lane::Bulk]);
    let cut = disk.after(disk.ops(), &mut |_| Fate::Nothing);
    let (_outbox, mut reader) = open(&cut, &small(), 2, 0);
    assert!(drain(&mut reader).iter().any(|r| r.stream == Stream::Emergency));
}

#[test]
fn a_rewind_sends_again_what_was_not_acknowledged_and_only_that() {
    let (mut outbox, mut reader) = open(&RecordingDisk::default(), &small(), 1, 0);
    (0..40).for_each(|n| outbox.accept(&gps(n), &[], at(n * 10)).unwrap());
    outbox.flush(at(500));
    let first: Vec<Record> = std::iter::from_fn(|| reader.next()).collect();
    assert_eq!(first.len(), 10);
    [0, 1, 3, 7].iter().for_each(|i| reader.ack(first[*i].id));
    reader.rewind();
    let again: Vec<Record> = std::iter::from_fn(|| reader.next()).collect();
    let rest: Vec<Record> = [2, 4, 5, 6, 8, 9].iter().map(|i| first[*i].clone()).collect();
    assert_eq!(again, rest);
    // Late, twice and out of order.
    first.iter().rev().for_each(|r| reader.ack(r.id));
    reader.rewind();
    assert!(reader.next().is_none());
    assert_eq!(outbox.status(at(500)).lanes[1].depth, 0);
    assert_eq!(outbox.status(at(500)).lanes[1].acked, 10);
}

#[test]
fn what_was_acknowledged_is_not_sent_again_after_a_clean_restart_and_its_segments_go() {
    let disk = RecordingDisk::default();
    let (mut outbox, mut reader) = open(&disk, &small(), 1, 0);
    for n in 0..200 {
        outbox.accept(&gps(n), &[], at(n * 100)).unwrap();
        outbox.tick(at(n * 100));
    }
    outbox.flush(at(30_000));
    let segments = |disk: &RecordingDisk| disk.files().iter().filter(|f| f.0.ends_with(".seg")).count();
    assert!(segments(&disk) > 3, "{:?}", disk.files());
    let records = drain(&mut reader);
    outbox.close(at(31_000));
    assert_eq!(segments(&disk), 1, "{:?}", disk.files());
    drop((outbox, reader));
    let (mut outbox, mut reader) = open(&disk, &small(), 2, 0);
    assert!(drain(&mut reader).is_empty() && records.len() == 50);
    outbox.accept(&gps(0), &[], at(0)).unwrap();
    outbox.flush(at(1));
    assert_eq!(ranges(&drain(&mut reader)), [named("gps_data", 0, 0)], "and a clean end declares no loss");
}

#[test]
fn an_open_batch_survives_a_power_cut_under_its_own_numbers() {
    let disk = RecordingDisk::default();
    let settings = Settings { batch_count_max: 60, ..Settings::default() };
    let (mut outbox, reader) = open(&disk, &settings, 1, 0);
    for n in 0..10 {
        outbox.accept(&gps(n), &[], at(n * 100)).unwrap();
        outbox.tick(at(n * 100));
    }
    outbox.tick(at(1_700));
    outbox.accept(&gps(10), &[], at(1_800)).unwrap();
    drop((outbox, reader));
    let cut = disk.after(disk.ops(), &mut |_| Fate::Nothing);
    let (_outbox, mut reader) = open(&cut, &settings, 2, 0);
    let records = drain(&mut reader);
    let mut arrived = Arrived::default();
    records.iter().for_each(|r| arrived.take(r));
    assert_eq!(arrived.count(1, "gps_data"), 10);
    let rows = gap_rows(&records);
    assert_eq!(rows.len(), 1);
    assert_eq!(
        (rows[0].reason.as_str(), rows[0].first_seq, rows[0].last_seq),
        ("crash_tail", Some(10), None)
    );
    assert_eq!((rows[0].gap_boot_id.as_str(), rows[0].exact), ("0000000000000001", 0));
    assert!((1..=24).contains(&rows[0].count), "{rows:?}");
}

#[test]
fn a_reading_that_fits_into_no_frame_becomes_a_gap_row_and_the_numbers_go_on() {
    let (mut outbox, mut reader) = open(&RecordingDisk::default(), &Settings::default(), 1, 0);
    outbox.accept(&camera(0, 10), &[], at(0)).unwrap();
    outbox.accept(&camera(1, 5 << 20), &[], at(0)).unwrap();
    // It passes the first look and not the coding.
    let mut random = super::Random(1);
    let mut incompressible = camera(2, 0);
    if let milepost_wire::Body::Camera(c) = &mut incompressible.body {
        c.image = (0..(4 << 20) - 33).map(|_| random.next() as u8).collect();
    }
    outbox.accept(&incompressible, &[], at(0)).unwrap();
    outbox.accept(&camera(3, 10), &[], at(0)).unwrap();
    outbox.flush(at(1));
    let records = drain(&mut reader);
    let rows = gap_rows(&records);
    let lost: Vec<_> = rows.iter().map(|r| (r.first_seq, r.last_seq, r.count, r.reason.as_str())).collect();
    let one = |n| (Some(n), Some(n), 1, "oversize");
    assert_eq!(lost, [one(1), one(2)]);
    let mut arrived = Arrived::default();
    records.iter().for_each(|r| arrived.take(r));
    assert_eq!(arrived.seqs(1, "camera_data").into_iter().collect::<Vec<_>>(), [0, 3]);
}

#[test]
fn losses_without_numbers_are_added_up_into_one_row() {
    let (mut outbox, mut reader) = open(&RecordingDisk::default(), &small(), 1, 0);
    for _ in 0..1000 {
        outbox.gap(Gap::unnumbered(Some(Stream::Gps), 3, Reason::SourceOverrun, "gps0"), at(0));
    }
    outbox.tick(at(1));
    let rows = gap_rows(&drain(&mut reader));
    assert_eq!(rows.iter().map(|r| (r.count, r.exact, r.first_seq)).collect::<Vec<_>>(), [(3000, 1, None)]);
}

#[test]
fn a_full_spool_drops_the_oldest_of_the_lowest_lane_and_says_which() {
    let settings = Settings { bytes_max: 12_000, bulk_share: 0.5, live_share: 0.9, ..small() };
    let (mut outbox, mut reader) = open(&RecordingDisk::default(), &settings, 1, 0);
    let mut n = [0; 3];
    for i in 0..800 {
        outbox.accept(&gps(n[0]), &[], at(i * 50)).unwrap();
        n[0] += 1;
        if i % 4 == 0 {
            outbox.accept(&camera(n[1], 200), &[], at(i * 50)).unwrap();
            n[1] += 1;
        }
        if i % 40 == 0 {
            outbox.accept(&emergency(n[2]), &[], at(i * 50)).unwrap();
            n[2] += 1;
        }
        outbox.tick(at(i * 50));
    }
    outbox.flush(at(90_000));
    outbox.tick(at(90_000));
    let status = outbox.status(at(90_000));
    assert!(status.lanes.iter().map(|l| l.bytes).sum::<u64>() <= 12_000, "{status:?}");
    assert!(status.lanes[1].dropped > 0 && status.lanes[2].dropped > 0 && status.lanes[0].dropped == 0);
    let records = drain(&mut reader);
    let mut arrived = Arrived::default();
    records.iter().for_each(|r| arrived.take(r));
    assert_eq!(arrived.count(1, "emergency_data"), n[2] as usize);
    for (i, stream) in ["gps_data", "camera_data"].iter().enumerate() {
        let mut seqs = arrived.seqs(1, stream);
        for row in gap_rows(&records).iter().filter(|r| r.stream.as_deref() == Some(stream)) {
            assert_eq!((row.reason.as_str(), row.exact), ("spool_full", 1));
            let (first, last) = (row.first_seq.unwrap() as u64, row.last_seq.unwrap() as u64);
            assert_eq!(row.count as u64, last - first + 1);
            (first..=last).for_each(|s| assert!(seqs.insert(s), "{stream} {s} is here and declared lost"));
        }
        assert_eq!(seqs.len() as u64, n[i], "{stream}");
    }
}

#[test]
fn an_idle_outbox_writes_nothing() {
    let disk = RecordingDisk::default();
    let (mut outbox, mut reader) = open(&disk, &small(), 1, 0);
    outbox.accept(&gps(0), &[], at(0)).unwrap();
    (0..20_000).step_by(500).for_each(|t| _ = outbox.tick(at(t)));
    drain(&mut reader);
    (20_000..40_000).step_by(500).for_each(|t| _ = outbox.tick(at(t)));
    let writes = disk.count(|op| matches!(op, Op::Write { .. }));
    (40_000..90_000).step_by(500).for_each(|t| _ = outbox.tick(at(t)));
    assert_eq!(disk.count(|op| matches!(op, Op::Write { .. })), writes);
}

#[test]
fn a_large_backlog_is_opened_without_reading_it() {
    let disk = RecordingDisk::default();
    let (mut outbox, _reader) = open(&disk, &small(), 1, 0);
    for n in 0..6_000 {
        outbox.accept(&gps(n), &[], at(n)).unwrap();
        outbox.tick(at(n));
    }
    outbox.close(at(6_000));
    let cut = disk.copy();
    assert!(cut.files().len() > 30, "{} files", cut.files().len());
    let (outbox, mut reader) = open(&cut, &small(), 2, 0);
    assert!(cut.bytes_read() < 20_000, "{} bytes read", cut.bytes_read());
    let depth = outbox.status(at(0)).lanes[1].depth;
    let records = drain(&mut reader);
    assert_eq!(depth, records.len() as u64);
    assert_eq!(records.iter().map(|r| frame::check(&r.frame).unwrap().count).sum::<u32>(), 6_000);
}

#[test]
fn a_clock_that_jumps_back_changes_nothing() {
    let lived = |jump: bool| {
        let disk = RecordingDisk::default();
        let (mut outbox, mut reader) = open(&disk, &small(), 1, 0);
        let mut records = Vec::new();
        for n in 0..200 {
            let mut now = at(n * 40);
            if jump && n >= 100 {
                // Years before 1970, and on from there.
                now.wall_us -= 1_800_000_000_000_000;
            }
            outbox.accept(&gps(n), &[], now).unwrap();
            outbox.tick(now);
            records.extend(drain(&mut reader));
        }
        outbox.close(at(9_000));
        records.extend(drain(&mut reader));
        drop((outbox, reader));
        let (mut outbox, mut reader) = open(&disk, &small(), 2, 0);
        outbox.close(at(1));
        records.extend(drain(&mut reader));
        (records, disk.ops())
    };
    assert_eq!(lived(true), lived(false), "the same frames, the same work");
}

#[test]
fn a_real_folder_keeps_what_it_is_given_and_has_one_owner() {
    let dir = std::env::temp_dir().join(format!("milepost-outbox-{}", std::process::id()));
    let open = |boot| {
        let disk = RealDisk::new(&dir).expect("the folder is free");
        Outbox::open(Arc::new(disk), small(), vehicle(), BootId(boot), at(0)).expect("the spool opens")
    };
    let (mut outbox, reader) = open(1);
    (0..50).for_each(|n| outbox.accept(&gps(n), &[], at(n * 40)).unwrap());
    assert!(RealDisk::new(&dir).unwrap_err().to_string().contains("in use"));
    outbox.close(at(3_000));
    drop((outbox, reader));
    let (outbox, mut reader) = open(2);
    let records = drain(&mut reader);
    drop((outbox, reader));
    std::fs::remove_dir_all(&dir).expect("the test's own folder");
    assert_eq!(records.iter().map(|r| frame::check(&r.frame).unwrap().count).sum::<u32>(), 50);
}

/// Rows of ever new streams, as a transform or a source may name them.
#[test]
fn names_of_streams_take_no_built_in_streams_place_and_no_declaration() {
    let (mut outbox, mut reader) = open(&RecordingDisk::default(), &small(), 1, 0);
    let row = |n: u64| {
        let mut row = derived(n);
        let milepost_wire::Body::Derived(body) = &mut row.body else { unreachable!() };
        body.stream = milepost_wire::StreamName::new(format!("road_{n}")).unwrap();
        row
    };
    for n in 0..1_100 {
        outbox.accept(&row(n), &[], at(n)).unwrap();
    }
    let of_the_others = [gps(0), camera(0, 60), emergency(0)];
    of_the_others.iter().for_each(|reading| outbox.accept(reading, &[], at(1_100)).unwrap());
    outbox.flush(at(5_000));
    let (mut known, mut gaps) = (std::collections::BTreeSet::new(), 0);
    for record in drain(&mut reader) {
        known.insert(frame::check(&record.frame).unwrap().stream.name().to_owned());
        gaps += gap_rows(std::slice::from_ref(&record)).iter().map(|gap| gap.count).sum::<i64>();
    }
    for stream in ["gps_data", "camera_data", "emergency_data", "gap_data"] {
        assert!(known.contains(stream), "{stream} of {} streams", known.len());
    }
    // 1,024 less the seven that are built in.
    assert_eq!((known.iter().filter(|s| s.starts_with("road_")).count(), gaps), (1_017, 83));
}
