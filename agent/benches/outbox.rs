//! The outbox on a real disk: how many readings a second it takes with every sync on, how much it
//! writes for each, and how long a large backlog takes to open. Prints figures and asserts none.
//!
//! `cargo bench -p milepost-agent --bench outbox`; the disk is the one under `TMPDIR`.

#[allow(dead_code)]
#[path = "../tests/support/counting_disk.rs"]
mod counting_disk;

use counting_disk::Counting;
use milepost_agent::outbox::{Disk, Now, Outbox, Settings};
use milepost_wire::{Batch, BootId, Clock, Reading, Stream, VehicleId, frame, reading};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A drive: a fix every 100 ms, with the noise of a receiver.
fn drive(n: u64) -> Reading {
    let noise = (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 60) as i32;
    let body = reading::Gps {
        lat_e7: 480_000_000 + n as i32 * 130 + noise,
        lon_e7: 110_000_000 + n as i32 * 90 - noise,
        altitude_cm: Some(50_000 + noise * 10),
        speed_mm_s: Some(14_000 + noise as u32 * 20),
        heading_cdeg: Some(9_000 + noise as u16 * 5),
        fix: 1,
        satellites: Some(11),
        hdop_e2: Some(90),
    };
    Reading { ts: 1_700_000_000_000_000 + n as i64 * 100_000, clock: Clock::Gps, body: body.into() }
}

fn vehicle() -> VehicleId {
    VehicleId::new("bench-1").expect("a good name")
}

fn now(mono: Duration) -> Now {
    Now { mono, wall_us: 1_700_000_000_000_000, trust: Clock::Gps }
}

fn folder(name: &str) -> std::path::PathBuf {
    std::env::temp_dir().join(format!("milepost-bench-{name}-{}", std::process::id()))
}

fn counting(name: &str) -> Arc<Counting> {
    Arc::new(Counting::new(&folder(name)).expect("a folder for the bench"))
}

fn coding_alone(readings: &[Reading]) {
    let columns = Stream::Gps.columns().expect("a built-in stream");
    let begun = Instant::now();
    let mut bytes = 0;
    for (i, part) in readings.chunks(60).enumerate() {
        let mut batch = Batch::new(vehicle(), BootId(1), Stream::Gps, columns, i as u64 * 60, Vec::new());
        part.iter().for_each(|r| batch.push(r).expect("it fits"));
        bytes += frame::encode(&batch).expect("it has a frame").len();
    }
    let rate = readings.len() as f64 / begun.elapsed().as_secs_f64();
    println!("coding alone: {rate:.0} readings/s, {:.2} B a reading", bytes as f64 / readings.len() as f64);
}

/// As fast as it goes, on the real clock.
fn at_full_speed(readings: &[Reading]) {
    let disk = counting("speed");
    let settings = Settings { bytes_max: 8 << 30, ..Settings::default() };
    let (mut outbox, _reader) =
        Outbox::open(disk.clone(), settings, vehicle(), BootId(1), now(Duration::ZERO))
            .expect("the spool opens");
    let begun = Instant::now();
    for part in readings.chunks(256) {
        let now = now(begun.elapsed());
        part.iter().for_each(|r| outbox.accept(r, &[], now).expect("the disk works"));
        outbox.tick(now);
    }
    outbox.flush(now(begun.elapsed()));
    let (seconds, n) = (begun.elapsed().as_secs_f64(), readings.len() as f64);
    let written = outbox.status(now(begun.elapsed())).written as f64;
    println!(
        "outbox, every sync on: {:.0} readings/s, {:.2} B written a reading, {} syncs ({:.0} a second)",
        n / seconds,
        written / n,
        disk.counts().syncs,
        disk.counts().syncs as f64 / seconds,
    );
    let _ = std::fs::remove_dir_all(folder("speed"));
}

/// Ten minutes at a sensor's pace, on a clock of its own.
fn at_pace(readings: &[Reading], per_second: u64) {
    let disk = counting("pace");
    let (mut outbox, mut reader) =
        Outbox::open(disk.clone(), Settings::default(), vehicle(), BootId(1), now(Duration::ZERO))
            .expect("the spool opens");
    let n = (600 * per_second).min(readings.len() as u64);
    let (mut deadline, step) = (Duration::ZERO, Duration::from_secs(1) / per_second as u32);
    for (i, reading) in readings[..n as usize].iter().enumerate() {
        let at = step * i as u32;
        while deadline <= at {
            deadline = outbox.tick(now(deadline)).max(deadline + Duration::from_millis(1));
        }
        outbox.accept(reading, &[], now(at)).expect("the disk works");
        deadline = deadline.min(at + Duration::from_millis(750));
        while let Some(record) = reader.next() {
            reader.ack(record.id);
        }
    }
    outbox.close(now(step * n as u32));
    let written = outbox.status(now(step * n as u32)).written as f64;
    let seconds = n as f64 / per_second as f64;
    println!(
        "at {per_second} readings/s: {:.1} B written a reading ({:.0} B/s), {:.2} syncs a second",
        written / n as f64,
        written / seconds,
        disk.counts().syncs as f64 / seconds,
    );
    let _ = std::fs::remove_dir_all(folder("pace"));
}

/// A backlog of as many segments as 10 GB have, each smaller, for the bench's sake.
fn opening(readings: &[Reading]) {
    let disk = counting("backlog");
    let settings = Settings { segment_bytes: 16 << 10, bytes_max: 8 << 30, ..Settings::default() };
    let (mut outbox, reader) =
        Outbox::open(disk, settings.clone(), vehicle(), BootId(1), now(Duration::ZERO)).expect("it opens");
    for (i, reading) in readings.iter().cycle().take(6_000_000).enumerate() {
        outbox.accept(reading, &[], now(Duration::from_micros(i as u64 * 20))).expect("the disk works");
    }
    outbox.flush(now(Duration::from_secs(600)));
    drop((outbox, reader));
    let disk = counting("backlog");
    let files = disk.list().map(|f| f.len()).unwrap_or(0);
    let begun = Instant::now();
    let (outbox, _reader) =
        Outbox::open(disk.clone(), settings, vehicle(), BootId(2), now(Duration::ZERO)).expect("it opens");
    let took = begun.elapsed();
    let depth = outbox.status(now(Duration::ZERO)).lanes[1].depth;
    println!(
        "opening {files} files, {depth} records, after a crash: {:.1} ms, {} KiB read",
        took.as_secs_f64() * 1e3,
        disk.counts().read >> 10,
    );
    let _ = std::fs::remove_dir_all(folder("backlog"));
}

fn main() {
    let readings: Vec<Reading> = (0..1_000_000).map(drive).collect();
    coding_alone(&readings);
    at_full_speed(&readings);
    [1, 10, 1_000].iter().for_each(|rate| at_pace(&readings, *rate));
    opening(&readings);
}
