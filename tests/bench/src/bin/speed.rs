//! Prints how fast batches are encoded and decoded, on one core, beside the same batch as protobuf.
//!
//! `cargo run --release -p milepost-bench --bin speed`

use milepost_bench::drives;
use milepost_wire::{Batch, Body, frame};
use prost::Message;
use std::hint::black_box;
use std::time::{Duration, Instant};

/// A fix as protobuf has it; each field is optional, as in the frame.
#[derive(Clone, PartialEq, prost::Message)]
struct Fix {
    #[prost(uint64, tag = "1")]
    ts: u64,
    #[prost(sfixed32, optional, tag = "2")]
    lat_e7: Option<i32>,
    #[prost(sfixed32, optional, tag = "3")]
    lon_e7: Option<i32>,
    #[prost(sint32, optional, tag = "4")]
    altitude_cm: Option<i32>,
    #[prost(uint32, optional, tag = "5")]
    speed_mm_s: Option<u32>,
    #[prost(uint32, optional, tag = "6")]
    heading_cdeg: Option<u32>,
    #[prost(uint32, optional, tag = "7")]
    fix: Option<u32>,
    #[prost(uint32, optional, tag = "8")]
    satellites: Option<u32>,
    #[prost(uint32, optional, tag = "9")]
    hdop_e2: Option<u32>,
    #[prost(uint32, optional, tag = "10")]
    clock: Option<u32>,
}

/// A batch as protobuf has it.
#[derive(Clone, PartialEq, prost::Message)]
struct Fixes {
    #[prost(string, tag = "1")]
    vehicle_id: String,
    #[prost(fixed64, tag = "2")]
    boot_id: u64,
    #[prost(uint64, tag = "3")]
    first_seq: u64,
    #[prost(message, repeated, tag = "4")]
    fixes: Vec<Fix>,
}

fn protobuf(batch: &Batch) -> Fixes {
    let fixes = (0..batch.len()).filter_map(|i| match batch.reading(i).ok()? {
        milepost_wire::Reading { ts, clock, body: Body::Gps(g) } => Some(Fix {
            ts: ts as u64,
            lat_e7: Some(g.lat_e7),
            lon_e7: Some(g.lon_e7),
            altitude_cm: g.altitude_cm,
            speed_mm_s: g.speed_mm_s,
            heading_cdeg: g.heading_cdeg.map(u32::from),
            fix: Some(u32::from(g.fix)),
            satellites: g.satellites.map(u32::from),
            hdop_e2: g.hdop_e2.map(u32::from),
            clock: Some(clock as u32),
        }),
        _ => None,
    });
    let fixes = fixes.collect();
    Fixes { vehicle_id: batch.vehicle.to_string(), boot_id: batch.boot.0, first_seq: batch.first_seq, fixes }
}

/// Million readings a second: the best of five rounds of 0.2 s, because other programs only slow it.
fn rate(readings: usize, mut work: impl FnMut()) -> f64 {
    work();
    let round = |work: &mut dyn FnMut()| {
        let (start, mut times) = (Instant::now(), 0);
        while start.elapsed() < Duration::from_millis(200) {
            work();
            times += 1;
        }
        (readings * times) as f64 / start.elapsed().as_secs_f64() / 1e6
    };
    (0..5).map(|_| round(&mut work)).fold(0.0, f64::max)
}

fn main() {
    let Some(gps) = drives::trip(1).into_iter().find(|d| d.name == "gps_data") else { return };
    println!("\nMillion readings a second on one core, `gps_data` (ten columns) of the simulated trip:\n");
    println!("| batch | encode | protobuf encode | decode to columns | protobuf decode | check |");
    println!("|--:|--:|--:|--:|--:|--:|");
    for n in [10, 60, 300, 3000] {
        let batches = gps.batches(n);
        let readings = batches.iter().map(Batch::len).sum();
        let frames: Vec<_> = batches.iter().map(|b| frame::encode(b).expect("within the rules")).collect();
        let messages: Vec<_> = batches.iter().map(protobuf).collect();
        let bytes: Vec<_> = messages.iter().map(Message::encode_to_vec).collect();
        let rates = [
            rate(readings, || batches.iter().for_each(|b| drop(black_box(frame::encode(black_box(b)))))),
            rate(readings, || messages.iter().for_each(|m| drop(black_box(black_box(m).encode_to_vec())))),
            rate(readings, || frames.iter().for_each(|f| drop(black_box(frame::decode(black_box(f)))))),
            rate(readings, || bytes.iter().for_each(|b| drop(black_box(Fixes::decode(&black_box(b)[..]))))),
            rate(readings, || frames.iter().for_each(|f| drop(black_box(frame::check(black_box(f)))))),
        ];
        println!("| {n} | {} |", rates.map(|r| format!("{r:.1}")).join(" | "));
    }
    println!("\nGoals: encode 2, decode 8, and decode faster than protobuf in the same run.");
}
