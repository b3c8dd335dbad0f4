//! The same on every machine: what each example makes of a drive, to the bit. The digests were written on
//! x86-64; `cargo xtask test --full` runs this program on aarch64 too, in emulation.

mod drive;

use milepost_transform_host::{Engine, EngineSettings, Limits, Transform};
use milepost_wire::reading::Vehicle;
use milepost_wire::{Body, Reading, Stream, Value};
use sha2::{Digest as _, Sha256};

/// Fixes a call.
const BATCH: usize = 60;

/// Everything of a row that leaves a transform; numbers as their bits.
fn add(sha: &mut Sha256, reading: &Reading) {
    sha.update(reading.ts.to_le_bytes());
    sha.update([reading.clock as u8]);
    match &reading.body {
        Body::Derived(row) => {
            sha.update(format!("{} {:?}", row.stream.as_str(), row.columns));
            for value in &row.values {
                match value {
                    Value::Float(v) => sha.update(v.to_bits().to_le_bytes()),
                    // Whole numbers, texts and bytes.
                    other => sha.update(format!("{other:?}")),
                }
            }
        }
        // Fixed point.
        other => sha.update(format!("{other:?}")),
    }
}

/// What a vehicle says of itself beside each fix.
fn wheels(fix: &Reading) -> Reading {
    let (speed_mm_s, heading_cdeg) = match &fix.body {
        Body::Gps(gps) => (gps.speed_mm_s, gps.heading_cdeg),
        _ => (None, None),
    };
    let body = Vehicle {
        lat_e7: None,
        lon_e7: None,
        speed_mm_s,
        heading_cdeg,
        make: None,
        model: None,
        year: None,
        fuel_type: None,
        vehicle_type: None,
    };
    Reading { ts: fix.ts + 500_000, clock: fix.clock, body: body.into() }
}

/// What a component makes of two drives: its rows, and the digest of them and of what it remembers.
fn outcome(component: &[u8], params: &[(&str, &str)]) -> (usize, String) {
    let engine = Engine::new(&EngineSettings::default()).unwrap();
    let params = params.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
    let mut transform = Transform::load(&engine, component, "example", params, Limits::default()).unwrap();
    let mut sha = Sha256::new();
    let mut rows = 0;
    for fixes in [drive::calm(3_000, 11), drive::fixes(3_000, 12)] {
        for batch in fixes.chunks(BATCH) {
            let beside: Vec<Reading> = batch.iter().map(wheels).collect();
            for (stream, readings) in [(Stream::Gps, batch), (Stream::Vehicle, &beside)] {
                let output = transform.process(&stream, readings).unwrap();
                rows += output.readings.len();
                output.readings.iter().for_each(|reading| add(&mut sha, reading));
            }
        }
    }
    sha.update(transform.state().snapshot.unwrap_or_default());
    (rows, sha.finalize().iter().map(|b| format!("{b:02x}")).collect())
}

macro_rules! example {
    ($name:literal) => {
        ($name, include_bytes!(concat!("../../prebuilt/", $name, ".wasm")) as &[u8])
    };
}

#[test]
fn the_examples_give_the_same_bits_on_every_machine() {
    let zones = [("zones", "52.0,-1.5,300,drop; 52.01,-1.49,1000,coarsen")];
    let roads = [("roads", "Lane,30,52.0,-1.5,52.05,-1.45"), ("elsewhere_km_h", "50")];
    let cases = [
        (example!("downsample"), &[][..], "945b8145f1cf5014e789b45c8d17f2e7cbaf6d75da3b8ac00be657b9ee5c2042"),
        (
            example!("privacy_zones"),
            &zones[..],
            "f15cd2f6a245732af35630564b2e2f8937195d21b5c3d640b6a0e3c1eaaccff9",
        ),
        (
            example!("harsh_driving"),
            &[][..],
            "37f3d5173eea505f4bdcd1223d203217c2c211996829cd5c32dfd7bdad67a297",
        ),
        (
            example!("speeding"),
            &roads[..],
            "135c3596b737ced4fcf862513d85a25c0cb3eff96ea2979a9fc2ca60052f094f",
        ),
        (
            example!("dead_reckoning"),
            &[("fill", "true")][..],
            "b021c57294b321d70e7f1cbdd82cd86cad65b8ef1a51ab4d42e1565330420119",
        ),
    ];
    let mut wrong = Vec::new();
    for ((name, component), params, expected) in cases {
        let (rows, digest) = outcome(component, params);
        println!("{name}: {rows} rows, {digest}");
        assert!(rows > 1_000, "{name}: {rows} rows");
        if digest != expected {
            wrong.push(format!("{name} gives {digest}, and not {expected}"));
        }
    }
    assert_eq!(wrong, <[String; 0]>::default());
}
