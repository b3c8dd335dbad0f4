//! A backlog of 10 GB: opening it reads next to nothing, whatever it holds. Alone in its process, because
//! it looks at the process's memory.
//!
//! The segments are real and hold a picture each, one a second; those before the last mark, which is ten
//! seconds old at most, are then stretched to a full segment's length by a hole, which a reader would have
//! to read through and an opening may not touch. With `MILEPOST_FULL` set the 10 GB are written by the
//! spool itself, opened within a second, and read to the end.

#[allow(dead_code)]
#[path = "support/counting_disk.rs"]
mod counting_disk;

use counting_disk::Counting;
use milepost_agent::health::resident_bytes;
use milepost_agent::outbox::{Now, Outbox, Settings, SpoolReader};
use milepost_wire::reading::Camera;
use milepost_wire::{BootId, Clock, Reading, Stream, VehicleId};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

const SEGMENT: u64 = 8 << 20;
const SEGMENTS: u64 = 10_000_000_000 / SEGMENT + 1 + NEW;
/// Segments that may be newer than the last mark.
const NEW: u64 = 12;

fn full() -> bool {
    std::env::var_os("MILEPOST_FULL").is_some()
}

fn settings() -> Settings {
    // Where they are stretched, every picture begins a segment.
    let segment_bytes = if full() { SEGMENT } else { 1 };
    Settings { segment_bytes, bytes_max: 64 << 30, bulk_share: 1.0, ..Settings::default() }
}

fn at(millis: u64) -> Now {
    Now { mono: Duration::from_millis(millis), wall_us: 1_700_000_000_000_000, trust: Clock::Ntp }
}

fn open(disk: Counting, boot: u64) -> (Arc<Counting>, Outbox, SpoolReader) {
    let disk = Arc::new(disk);
    let vehicle = VehicleId::new("truck-1").unwrap();
    let (outbox, reader) = Outbox::open(disk.clone(), settings(), vehicle, BootId(boot), at(0)).unwrap();
    (disk, outbox, reader)
}

fn picture(n: u64) -> Reading {
    let bytes = if full() { 1 << 20 } else { 1 << 10 };
    let noise = |i: u64| ((i ^ n << 32).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8;
    let (camera_id, image) = ("front".into(), (0..bytes).map(noise).collect());
    let body = Camera { camera_id, lat_e7: None, lon_e7: None, image, width: None, height: None };
    Reading { ts: n as i64, clock: Clock::Ntp, body: body.into() }
}

/// Fills a spool and ends without a goodbye. Gives the number of its records.
fn fill(dir: &Path) -> u64 {
    let (disk, mut outbox, reader) = open(Counting::lazy(dir).unwrap(), 1);
    let pictures = if full() { SEGMENTS * 8 } else { SEGMENTS };
    for n in 0..pictures {
        outbox.accept(&picture(n), &[], at(n * 1_000)).unwrap();
        outbox.flush(at(n * 1_000));
    }
    drop((outbox, reader, disk));
    if !full() {
        let name = |entry: std::io::Result<std::fs::DirEntry>| entry.unwrap().path();
        let mut segments: Vec<_> = std::fs::read_dir(dir).unwrap().map(name).collect();
        segments.retain(|path| path.extension().is_some_and(|e| e == "seg"));
        segments.sort();
        for path in &segments[..segments.len() - NEW as usize] {
            std::fs::File::options().write(true).open(path).unwrap().set_len(SEGMENT).unwrap();
        }
    }
    pictures
}

#[test]
fn ten_gigabytes_of_backlog_are_opened_without_reading_them_or_growing() {
    let dir = tempfile::tempdir().unwrap();
    let pictures = fill(dir.path());
    let before = resident_bytes().unwrap();
    let begun = Instant::now();
    let (disk, outbox, mut reader) = open(Counting::new(dir.path()).unwrap(), 2);
    let took = begun.elapsed();
    let (counts, grown) = (disk.counts(), resident_bytes().unwrap().saturating_sub(before));
    let lane = outbox.status(at(0)).lanes[2];
    println!(
        "{} bytes in {SEGMENTS} segments opened in {took:?}: {counts:?}, {grown} bytes of memory more",
        lane.bytes
    );
    assert!(lane.bytes >= 10_000_000_000 && lane.depth == pictures, "{lane:?}");
    assert!(counts.opened <= 2 * NEW, "{counts:?}");
    assert!(counts.read <= 2 * SEGMENT, "{counts:?}");
    assert!(grown < 16 << 20, "{grown} bytes");
    // Asked only of the long run by hand; elsewhere it is reported.
    assert!(!full() || took < Duration::from_secs(1), "opened in {took:?}");

    // Before the pictures comes the row that declares the end without a goodbye.
    let (mut read, wanted) = (0, if full() { pictures } else { 1 });
    while read < wanted {
        let record = reader.next().expect("every picture waits");
        reader.ack(record.id);
        read += u64::from(record.stream == Stream::Camera);
    }
    assert!(!full() || reader.next().is_none());
    let grown = resident_bytes().unwrap().saturating_sub(before);
    println!("{read} pictures read, {grown} bytes of memory more");
    assert!(grown < 32 << 20, "{grown} bytes");
}
