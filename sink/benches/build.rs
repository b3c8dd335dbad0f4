//! Readings a second on one core: frames decoded only, and decoded and made into Parquet files.
//!
//! `cargo bench -p milepost-sink`

use milepost_sink::build::{Record, build};
use milepost_sink::claim::Range;
use milepost_sink::columns::log::Tables;
use milepost_sink::dedupe::Memory;
use milepost_sink::ledger::{Chain, Shape};
use milepost_wire::reading::Gps;
use milepost_wire::{Batch, Body, BootId, Clock, Reading, Stream, VehicleId, frame};
use std::time::Instant;

const VEHICLES: u64 = 50;
const FRAMES: u64 = 200;
const ROWS: u64 = 60;
const START_US: i64 = 1_795_392_000_000_000;

fn gps_frame(vehicle: u64, frame_number: u64) -> Vec<u8> {
    let columns = Stream::Gps.columns().unwrap_or_default();
    let id = VehicleId::new(format!("truck-{vehicle:04}")).expect("a name that is allowed");
    let first = frame_number * ROWS;
    let mut batch = Batch::new(id, BootId(vehicle), Stream::Gps, columns, first, Vec::new());
    for seq in first..first + ROWS {
        // A drive with a little noise, so that nothing is a constant.
        let noise = (seq.wrapping_mul(2_654_435_761) ^ vehicle) % 97;
        let body = Gps {
            lat_e7: 515_000_000 + (seq * 1_200 + noise) as i32,
            lon_e7: -1_270_000 - (seq * 900 + noise * 3) as i32,
            altitude_cm: Some(9_000 + (seq % 400) as i32 * 10 + noise as i32),
            speed_mm_s: Some(13_000 + noise as u32 * 20),
            heading_cdeg: Some(9_000 + (seq % 300) as u16 + noise as u16),
            fix: 1,
            satellites: Some(8 + (noise % 4) as u8),
            hdop_e2: Some(80 + (noise % 10) as u16),
        };
        let ts = START_US + seq as i64 * 1_000_000;
        batch.push(&Reading { ts, clock: Clock::Gps, body: Body::Gps(body) }).expect("a batch with room");
    }
    frame::encode(&batch).expect("a batch that can be sent")
}

fn main() {
    let mut records = Vec::new();
    for n in 0..FRAMES {
        for vehicle in 0..VEHICLES {
            let offset = records.len() as i64;
            let value = gps_frame(vehicle, n).into();
            records.push(Record { offset, at_ms: START_US / 1000 + 80_000_000, value });
        }
    }
    let readings = (VEHICLES * FRAMES * ROWS) as f64;
    let bytes: usize = records.iter().map(|r| r.value.len()).sum();
    println!("{readings} readings, {:.2} B each in frames", bytes as f64 / readings);
    let began = Instant::now();
    let rows: usize = records.iter().map(|r| frame::decode(&r.value).map_or(0, |b| b.len())).sum();
    assert_eq!(rows as f64, readings);
    println!("decode alone      {:>6.2} M readings/s", readings / began.elapsed().as_secs_f64() / 1e6);
    let chain = Chain { topic: "gps_data".into(), topic_id: "0".repeat(32), partition: 0 };
    let range = Range { first: 0, last: records.len() as i64 - 1 };
    for zstd_level in [3, 1, 0] {
        let shape = Shape { frame_max: 1, row_group_rows: 131_072, zstd_level, images: String::new() };
        let began = Instant::now();
        let built =
            build(&chain, range, &shape, &records, &Memory::default(), &Tables::new()).expect("files");
        let speed = readings / began.elapsed().as_secs_f64() / 1e6;
        let size: usize = built.files.iter().map(|f| f.body.len()).sum();
        let name = if zstd_level == 0 { "Snappy".into() } else { format!("zstd {zstd_level}") };
        println!(
            "frames to {name:<7} {speed:>6.2} M readings/s, {:.2} B each in files",
            size as f64 / readings
        );
    }
}
