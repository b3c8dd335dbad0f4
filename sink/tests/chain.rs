//! A real sink between librdkafka's mock cluster and a folder.

mod support;

use std::sync::atomic::Ordering;
use support::{Bench, Gate, Lake, gps_frame};

#[test]
fn every_row_lands_once_in_its_table_and_the_ledger_is_contiguous() {
    let bench = Bench::new(&[("gps_data", 4), ("derived_data", 2)]);
    let mut sent = bench.send_drives("gps_data", 6, 20, 60, 0);
    let sink = bench.sink(|_| {});
    bench.wait_for_rows(&sink, sent.len() as u64);
    sent.extend(bench.send_drives("gps_data", 6, 5, 60, 20));
    let status = bench.stop(sink);
    // What was sent last may be read by this sink or not; whoever comes next writes the rest.
    let sink = bench.sink(|_| {});
    bench.wait_for_rows(&sink, sent.len() as u64 - status.rows());
    bench.stop(sink);
    let lake = Lake::read(bench.folder());
    lake.check(&sent);
    assert!(lake.manifests.iter().all(|m| m.lost.is_empty() && m.unread.is_none()));
}

#[test]
fn frames_that_come_again_are_dropped_within_a_run_and_over_restarts() {
    let bench = Bench::new(&[("gps_data", 2)]);
    let sent = bench.send_drives("gps_data", 3, 10, 10, 0);
    bench.send_drives("gps_data", 3, 4, 10, 3);
    let sink = bench.sink(|_| {});
    bench.wait_for_rows(&sink, sent.len() as u64);
    bench.stop(sink);
    // Cut differently, as after a crash of an agent, and beyond what was sent.
    bench.send("gps_data", "v0", gps_frame("v0", 1, 95, 10));
    let mut sent = sent;
    sent.extend((100..105).map(|seq| ("gps_data".into(), "v0".into(), 1, seq)));
    let sink = bench.sink(|_| {});
    bench.wait_for_rows(&sink, 5);
    let status = bench.stop(sink);
    assert_eq!(status.duplicates, 5);
    let lake = Lake::read(bench.folder());
    lake.check(&sent);
    assert_eq!(lake.manifests.iter().map(|m| m.duplicates).sum::<u64>(), 3 * 40 + 5);
}

#[test]
fn two_sinks_share_the_partitions_and_one_that_dies_is_replaced() {
    let bench = Bench::new(&[("gps_data", 6)]);
    let mut sent = bench.send_drives("gps_data", 12, 10, 20, 0);
    let first = bench.sink(|_| {});
    bench.wait_for_rows(&first, 1);
    let second = bench.sink(|_| {});
    sent.extend(bench.send_drives("gps_data", 12, 10, 20, 10));
    bench.wait("both have partitions", || first.status().partitions > 0 && second.status().partitions > 0);
    drop(first);
    sent.extend(bench.send_drives("gps_data", 12, 10, 20, 20));
    bench.wait("all rows are in the lake", || Lake::read(bench.folder()).rows.len() >= sent.len());
    bench.stop(second);
    Lake::read(bench.folder()).check(&sent);
}

#[test]
fn a_topic_made_again_with_offsets_from_zero_is_read_from_its_start() {
    let bench = Bench::new(&[("gps_data", 1)]);
    let mut sent = bench.send_drives("gps_data", 2, 5, 10, 0);
    let sink = bench.sink(|_| {});
    bench.wait_for_rows(&sink, sent.len() as u64);
    bench.stop(sink);
    // Another cluster, the same lake: what a deleted topic looks like.
    let again = Bench::over(&bench, &[("gps_data", 1)]);
    sent.extend(again.send_drives("gps_data", 2, 5, 10, 5));
    let sink = again.sink(|_| {});
    again.wait_for_rows(&sink, 100);
    again.stop(sink);
    let lake = Lake::read(bench.folder());
    lake.check(&sent);
    assert_eq!(lake.chains().len(), 2, "two incarnations, two chains");
}

#[test]
fn what_cannot_be_read_is_kept_as_it_came_and_counted() {
    let bench = Bench::new(&[("gps_data", 1)]);
    let mut newer = gps_frame("v0", 1, 0, 10);
    newer[0] = 200;
    let mut damaged = gps_frame("v0", 1, 0, 10);
    let middle = damaged.len() / 2;
    damaged[middle] ^= 0x40;
    bench.send("gps_data", "v0", newer.clone());
    bench.send("gps_data", "v0", damaged.clone());
    bench.send("gps_data", "v0", Vec::new());
    bench.send("gps_data", "v0", gps_frame("v0", 1, 0, 10));
    let sink = bench.sink(|_| {});
    bench.wait_for_rows(&sink, 10);
    assert_eq!(bench.stop(sink).unread, 3);
    let lake = Lake::read(bench.folder());
    lake.check(&(0..10).map(|seq| ("gps_data".into(), "v0".into(), 1, seq)).collect());
    let unread: Vec<_> = lake.manifests.iter().filter_map(|m| m.unread.clone()).collect();
    assert_eq!(unread.iter().map(|u| u.reasons.get("version 200").copied().unwrap_or(0)).sum::<u64>(), 1);
    assert_eq!(unread.iter().map(|u| u.reasons.get("damaged").copied().unwrap_or(0)).sum::<u64>(), 2);
    let kept: Vec<u8> =
        unread.iter().flat_map(|u| std::fs::read(bench.folder().join(&u.key)).unwrap()).collect();
    let holds = |frame: &[u8]| kept.windows(frame.len()).any(|w| w == frame);
    assert!(holds(&newer) && holds(&damaged));
}

#[test]
fn images_become_objects_that_their_rows_name() {
    let bench = Bench::new(&[("camera_data", 1)]);
    let sent = bench.send_images(8);
    let sink = bench.sink(|_| {});
    bench.wait_for_rows(&sink, sent.len() as u64);
    assert_eq!(bench.stop(sink).images, 4, "each image once, and two rows for each");
    let lake = Lake::read(bench.folder());
    lake.check(&sent);
    assert_eq!(lake.images.len(), 8);
    for uri in &lake.images {
        assert!(std::fs::read(uri).unwrap().starts_with(b"\xff\xd8"), "{uri}");
    }
}

#[test]
fn full_buffers_pause_reading_and_nothing_is_lost() {
    let bench = Bench::new(&[("gps_data", 3)]);
    let sent = bench.send_drives("gps_data", 9, 60, 60, 0);
    let sink = bench.sink(|s| {
        s.buffer_bytes = 20_000;
        s.claim_bytes = 5_000;
        s.file_age_ms = 60_000;
    });
    bench.wait_for_rows(&sink, sent.len() as u64 / 2);
    let status = bench.stop(sink);
    assert!(status.claims > 3, "{status:?}");
    let sink = bench.sink(|_| {});
    bench.wait_for_rows(&sink, sent.len() as u64 - status.rows());
    bench.stop(sink);
    Lake::read(bench.folder()).check(&sent);
}

#[test]
fn a_frozen_store_stops_reading_and_everything_drains_when_it_thaws() {
    let bench = Bench::new(&[("gps_data", 40)]);
    let gate = Gate::new(bench.store());
    let sink = bench.sink_on(gate.clone(), |s| {
        s.buffer_bytes = 60_000;
        s.claim_bytes = 4_000;
    });
    let mut sent = bench.send_drives("gps_data", 40, 1, 60, 0);
    bench.wait_for_rows(&sink, sent.len() as u64);
    gate.frozen.store(true, Ordering::SeqCst);
    sent.extend(bench.send_drives("gps_data", 40, 20, 60, 1));
    bench.wait("reading is paused", || sink.status().paused);
    let most = sink.status().buffered_bytes;
    // One record may come after the last that fitted, and what librdkafka had in hand is dropped.
    assert!(most < 60_000 + 2_000, "{most} bytes are held");
    assert!(sink.status().rows() < sent.len() as u64);
    gate.frozen.store(false, Ordering::SeqCst);
    bench.wait_for_rows(&sink, sent.len() as u64);
    bench.wait("the lag is gone", || sink.status().lag == Some(0));
    bench.stop(sink);
    Lake::read(bench.folder()).check(&sent);
}

#[test]
fn sinks_that_are_killed_again_and_again_leave_every_row_once() {
    let bench = Bench::new(&[("gps_data", 3)]);
    let mut sent = std::collections::BTreeSet::new();
    for round in 0..6 {
        sent.extend(bench.send_drives("gps_data", 6, 6, 20, round * 6));
        let sink = bench.sink(|s| {
            s.file_age_ms = 20;
            s.claim_bytes = 300;
        });
        let before = Lake::read(bench.folder()).rows.len();
        bench.wait("some rows are new", || Lake::read(bench.folder()).rows.len() > before);
        drop(sink);
    }
    let sink = bench.sink(|_| {});
    bench.wait("all rows are in the lake", || Lake::read(bench.folder()).rows.len() >= sent.len());
    bench.wait("the lag is gone", || sink.status().lag == Some(0));
    bench.stop(sink);
    Lake::read(bench.folder()).check(&sent);
}
