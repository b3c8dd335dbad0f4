//! The outbox against a disk that records every operation, forgets what was not synced, fails and rots.

mod behaviour;
mod crash;
mod faults;
mod random;
mod recording_disk;
mod together;

use super::{Now, Outbox, Record, Settings, SpoolReader};
use milepost_wire::{
    BootId, Clock, ColumnSpec, Derived, Kind, Reading, Stream, StreamName, Value, VehicleId,
};
use milepost_wire::{frame, reading};
use recording_disk::RecordingDisk;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

fn at(millis: u64) -> Now {
    Now { mono: Duration::from_millis(millis), wall_us: 1_700_000_000_000_000, trust: Clock::Ntp }
}

fn vehicle() -> VehicleId {
    VehicleId::new("truck-1").expect("a good name")
}

/// Small files, so that a short test crosses many borders.
fn small() -> Settings {
    Settings {
        batch_count_max: 4,
        segment_bytes: 700,
        journal_bytes: 900,
        unsynced_max: 512,
        ..Settings::default()
    }
}

fn open(disk: &RecordingDisk, settings: &Settings, boot: u64, millis: u64) -> (Outbox, SpoolReader) {
    Outbox::open(Arc::new(disk.clone()), settings.clone(), vehicle(), BootId(boot), at(millis))
        .expect("the spool opens")
}

fn gps(n: u64) -> Reading {
    let body = reading::Gps {
        lat_e7: n as i32,
        lon_e7: 2,
        altitude_cm: None,
        speed_mm_s: Some(1),
        heading_cdeg: None,
        fix: 1,
        satellites: Some(7),
        hdop_e2: None,
    };
    Reading { ts: n as i64, clock: Clock::Gps, body: body.into() }
}

fn camera(n: u64, bytes: usize) -> Reading {
    let image = (0..bytes as u64).map(|i| (i.wrapping_mul(n + 7) >> 3) as u8).collect();
    let body = reading::Camera {
        camera_id: "front".into(),
        lat_e7: None,
        lon_e7: None,
        image,
        width: None,
        height: None,
    };
    Reading { ts: n as i64, clock: Clock::Gps, body: body.into() }
}

fn emergency(n: u64) -> Reading {
    let body = reading::Emergency {
        incident_id: format!("i{n}"),
        kind: "collision".into(),
        status: "open".into(),
        description: None,
        lat_e7: None,
        lon_e7: None,
    };
    Reading { ts: n as i64, clock: Clock::Gps, body: body.into() }
}

fn derived(n: u64) -> Reading {
    let columns = Arc::from([ColumnSpec::new("force", Kind::Int).expect("a good name")]);
    let stream = StreamName::new("harsh_event").expect("a good name");
    let body = Derived { stream, columns, values: vec![Value::Int(n as i64)] };
    Reading { ts: n as i64, clock: Clock::Gps, body: milepost_wire::Body::Derived(body) }
}

/// The reading that a test gives the number `n` of stream `i`.
fn sample(i: usize, n: u64) -> Reading {
    match i {
        0 => gps(n),
        1 => derived(n),
        2 => camera(n, 90),
        _ => emergency(n),
    }
}

/// What arrived, as the broker's other side sees it: rows by boot and stream, and the gap rows.
#[derive(Clone, Debug, Default)]
struct Arrived {
    rows: BTreeMap<(u64, String), BTreeMap<u64, i64>>,
    repeated: usize,
}

impl Arrived {
    fn take(&mut self, record: &Record) {
        let batch = frame::decode(&record.frame).expect("a frame that decodes");
        assert_eq!(batch.stream, record.stream);
        let rows = self.rows.entry((batch.boot.0, batch.stream.name().to_owned())).or_default();
        for i in 0..batch.len() {
            let (seq, ts) = (batch.first_seq + i as u64, batch.rows.ts[i]);
            match rows.insert(seq, ts) {
                None => {}
                Some(before) => {
                    assert_eq!(before, ts, "{} {seq} arrived twice, and differs", batch.stream);
                    self.repeated += 1;
                }
            }
        }
    }

    fn count(&self, boot: u64, stream: &str) -> usize {
        self.rows.get(&(boot, stream.to_owned())).map_or(0, BTreeMap::len)
    }

    fn seqs(&self, boot: u64, stream: &str) -> BTreeSet<u64> {
        self.rows.get(&(boot, stream.to_owned())).map(|r| r.keys().copied().collect()).unwrap_or_default()
    }
}

/// A gap row, as it arrived.
type GapRow = reading::Gap;

fn gap_rows(records: &[Record]) -> Vec<GapRow> {
    let mut rows = Vec::new();
    for record in records.iter().filter(|r| r.stream == Stream::Gap) {
        let batch = frame::decode(&record.frame).expect("a frame that decodes");
        for i in 0..batch.len() {
            let milepost_wire::Body::Gap(row) = batch.reading(i).expect("a row").body else {
                panic!("a gap")
            };
            rows.push(row);
        }
    }
    rows
}

/// The numbers that a row declares lost.
fn declared(row: &GapRow) -> std::ops::Range<u64> {
    let first = row.first_seq.expect("a range has a first number") as u64;
    match row.last_seq {
        Some(last) => first..last as u64 + 1,
        None => first..first + row.count as u64,
    }
}

/// Reads and acknowledges all that waits.
fn drain(reader: &mut SpoolReader) -> Vec<Record> {
    let mut records = Vec::new();
    while let Some(record) = reader.next() {
        reader.ack(record.id);
        records.push(record);
    }
    records
}

/// A small generator of random numbers, so that a seed says all.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }
}

/// The seeds of a random test: one where the variable `MILEPOST_SEED` names it, else these.
fn seeds(count: u64) -> Vec<u64> {
    match std::env::var("MILEPOST_SEED").ok().and_then(|s| s.parse().ok()) {
        Some(seed) => vec![seed],
        None => (1..=count).collect(),
    }
}
