//! The prebuilt examples in the sandbox do what the same code does natively.

mod drive;

use milepost_transform as sdk;
use milepost_transform::run::Registered;
use milepost_transform::testing::Bench;
use milepost_transform_host::{Engine, EngineSettings, Limits, Transform};
use milepost_wire::reading::{Camera, Vehicle};
use milepost_wire::{Body, Clock, Reading, Stream, Value};
use std::path::Path;

fn load(name: &str, params: &[(&str, &str)]) -> Transform {
    let path = Path::new("../prebuilt").join(format!("{name}.wasm"));
    let bytes = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let engine = Engine::new(&EngineSettings::default()).unwrap();
    let params = params.iter().map(|(k, v)| (String::from(*k), String::from(*v))).collect();
    Transform::load(&engine, &bytes, name, params, Limits::default()).unwrap_or_else(|e| panic!("{e}"))
}

fn derived(row: &sdk::Row, columns: &[sdk::Column]) -> Vec<(String, Value)> {
    let value = |v: &sdk::Value| match v {
        sdk::Value::Null => Value::Null,
        sdk::Value::Int(v) => Value::Int(*v),
        sdk::Value::Float(v) => Value::Float(*v),
        sdk::Value::Boolean(v) => Value::Bool(*v),
        sdk::Value::Text(v) => Value::Text(v.clone()),
        sdk::Value::Bytes(v) => Value::Bytes(v.clone()),
    };
    columns.iter().map(|c| c.name.clone()).zip(row.values.iter().map(value)).collect()
}

/// Runs fixes in uneven batches through both, and compares every row and count.
fn agrees<T: Registered>(name: &str, params: &[(&str, &str)]) -> Vec<Reading> {
    let mut sandboxed = load(name, params);
    let mut native = Bench::<T>::new(params);
    let mut all = Vec::new();
    for seed in 1..6 {
        let fixes = drive::fixes(2_000, seed);
        let mut rest = &fixes[..];
        for size in [1, 7, 256, 64, 8, 999, 665] {
            let (batch, behind) = rest.split_at(size);
            rest = behind;
            let ours = sandboxed.process(&Stream::Gps, batch).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
            let theirs = native.gps(batch.iter().map(drive::to_sdk));
            let rows: Vec<Reading> = theirs.rows.iter().map(drive::to_wire).collect();
            assert_eq!(ours.readings[..rows.len()], rows, "seed {seed}");
            assert_eq!(ours.taken_out, theirs.taken_out as u64, "seed {seed}");
            let expected =
                theirs.derived.iter().flat_map(|d| d.rows.iter().map(|r| (r.ts_us, derived(r, &d.columns))));
            let found = ours.readings[rows.len()..].iter().map(|r| match &r.body {
                Body::Derived(d) => {
                    (r.ts, d.columns.iter().map(|c| c.name.clone().into()).zip(d.values.clone()).collect())
                }
                other => panic!("{other:?} among the derived rows"),
            });
            assert_eq!(found.collect::<Vec<_>>(), expected.collect::<Vec<_>>(), "seed {seed}");
            all.extend(ours.readings);
        }
    }
    let counters = sandboxed.counters();
    let of = |c: &std::sync::atomic::AtomicU64| c.load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!(of(&counters.received), 10_000);
    assert_eq!(of(&counters.emitted), all.len() as u64);
    assert_eq!(
        of(&counters.received) + of(&counters.derived),
        of(&counters.emitted) + of(&counters.taken_out)
    );
    all
}

#[test]
fn downsample_agrees_with_its_native_build() {
    let rows = agrees::<downsample::Downsample>("downsample", &[("min_distance_m", "40")]);
    assert!((1_000..9_000).contains(&rows.len()), "{} rows: the drive does not exercise it", rows.len());
}

#[test]
fn privacy_zones_agrees_with_its_native_build() {
    let zones = "52.0001,-1.4999,30,drop; 52.001,-1.499,100,coarsen; 52.002,-1.5,60,coarsen";
    let rows = agrees::<privacy_zones::PrivacyZones>("privacy_zones", &[("zones", zones)]);
    let coarse = rows.iter().filter(|r| matches!(&r.body, Body::Gps(g) if g.lat_e7 == 520_100_000)).count();
    assert!(rows.len() < 10_000 && coarse > 0, "{} rows, {coarse} coarse", rows.len());
}

#[test]
fn harsh_driving_agrees_with_its_native_build() {
    let rows = agrees::<harsh_driving::HarshDriving>("harsh_driving", &[("braking_g", "0.2")]);
    assert!(rows.len() > 10_100, "{} rows: hardly an event", rows.len());
}

#[test]
fn speeding_agrees_with_its_native_build() {
    let roads = "Lane,30,52.0,-1.5,52.05,-1.45; Road,70,52.0,-1.5,51.99,-1.6";
    let rows = agrees::<speeding::Speeding>("speeding", &[("roads", roads), ("elsewhere_km_h", "50")]);
    assert!(rows.len() > 10_050, "{} rows: hardly an episode", rows.len());
}

#[test]
fn dead_reckoning_agrees_with_its_native_build() {
    let params = [("fill", "true")];
    let mut sandboxed = load("dead_reckoning", &params);
    let mut native = Bench::<dead_reckoning::DeadReckoning>::new(&params);
    for fix in drive::fixes(50, 3) {
        sandboxed.process(&Stream::Gps, std::slice::from_ref(&fix)).unwrap();
        native.gps([drive::to_sdk(&fix)]);
        let van = |s: i64| {
            let ts = fix.ts + s * 1_000_000;
            sdk::Vehicle::at(ts).with_speed_m_s(13.7).with_heading_deg(s as f64 * 40.0)
        };
        let readings: Vec<Reading> = (1..5)
            .map(van)
            .map(|v| {
                let (speed_mm_s, heading_cdeg) = (v.speed_mm_s, v.heading_cdeg);
                let bare = Vehicle { speed_mm_s, heading_cdeg, ..nothing() };
                Reading { ts: v.ts_us, clock: Clock::Gps, body: bare.into() }
            })
            .collect();
        let ours = sandboxed.process(&Stream::Vehicle, &readings).unwrap().readings;
        let theirs = native.vehicle((1..5).map(van));
        let places = |r: &Reading| match &r.body {
            Body::Vehicle(v) => Some((v.lat_e7, v.lon_e7)),
            _ => None,
        };
        let found: Vec<_> = ours.iter().filter_map(places).collect();
        assert_eq!(found, theirs.rows.iter().map(|r| (r.lat_e7, r.lon_e7)).collect::<Vec<_>>());
        assert_eq!(ours.len(), 4 + 3, "three of four are two seconds from the fix");
    }
}

#[test]
fn image_gate_keeps_what_it_cannot_compare() {
    let camera = |ts, image| {
        let body = Camera {
            camera_id: "front".into(),
            lat_e7: None,
            lon_e7: None,
            image,
            width: None,
            height: None,
        };
        Reading { ts, clock: Clock::Gps, body: body.into() }
    };
    let images = [camera(0, vec![1, 2, 3]), camera(1, vec![0xff, 0xd8, 0xff, 0xd9])];
    let mut gate = load("image_gate", &[]);
    assert_eq!(gate.process(&Stream::Camera, &images).unwrap().readings, images);
    assert_eq!(gate.metrics()["not_compared"], 2.0);
}

/// A vehicle that says nothing.
fn nothing() -> Vehicle {
    Vehicle {
        lat_e7: None,
        lon_e7: None,
        speed_mm_s: None,
        heading_cdeg: None,
        make: None,
        model: None,
        year: None,
        fuel_type: None,
        vehicle_type: None,
    }
}

#[test]
fn texts_and_images_pass_whole() {
    let mut zones = load("privacy_zones", &[("zones", "52,-1.5,100,drop")]);
    let vehicle = |lat_e7| Vehicle {
        lat_e7,
        lon_e7: Some(-15_000_000),
        speed_mm_s: Some(5),
        heading_cdeg: None,
        make: Some("Škoda".into()),
        model: None,
        year: Some(2026),
        fuel_type: Some(String::new()),
        vehicle_type: None,
    };
    let reading = |body: Body| Reading { ts: 1, clock: Clock::Ntp, body };
    let near = reading(vehicle(Some(520_000_000)).into());
    let far = reading(vehicle(Some(530_000_000)).into());
    let out = zones.process(&Stream::Vehicle, &[near, far.clone()]).unwrap();
    let hidden = Vehicle { lat_e7: None, lon_e7: None, speed_mm_s: None, ..vehicle(None) };
    assert_eq!(out.readings, [reading(hidden.into()), far]);

    let camera = |lat_e7, image| Camera {
        camera_id: "front".into(),
        lat_e7: Some(lat_e7),
        lon_e7: Some(-15_000_000),
        image,
        width: Some(640),
        height: None,
    };
    let images = [
        reading(camera(530_000_000, vec![7; 300_000]).into()),
        reading(camera(520_000_000, vec![8; 10]).into()),
    ];
    let out = zones.process(&Stream::Camera, &images).unwrap();
    assert_eq!((out.readings, out.taken_out), (images[..1].to_vec(), 1));
}

#[test]
fn other_streams_go_past() {
    let mut transform = load("harsh_driving", &[]);
    assert_eq!(transform.streams(), ["gps_data"]);
    assert!(!transform.wants(&Stream::Camera) && transform.wants(&Stream::Gps));
    assert!(!transform.wants(&Stream::Health));
    let mixed = [&drive::fixes(1, 1)[..], &[]].concat();
    assert_eq!(transform.process(&Stream::Weather, &mixed).unwrap().readings, mixed);
}

#[test]
fn a_mistake_in_the_parameters_is_shown_at_start() {
    let path = Path::new("../prebuilt/downsample.wasm");
    let engine = Engine::new(&EngineSettings::default()).unwrap();
    let params = [("min_distance".to_owned(), "5".to_owned())].into();
    let bytes = std::fs::read(path).unwrap();
    let refused = Transform::load(&engine, &bytes, "thin", params, Limits::default()).err().unwrap();
    assert_eq!(
        refused.to_string(),
        "Transform thin did not start: It said: Parameter min_distance is not known: this transform has \
         max_interval_s, min_distance_m, min_turn_deg"
    );
}
