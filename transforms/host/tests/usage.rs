//! What an author may ask of a call: what it used, and where it failed.

mod drive;

use milepost_transform_host::{Engine, EngineSettings, Limits, Transform};
use milepost_wire::{Body, Reading, Stream};

const HOSTILE: &[u8] = include_bytes!("guests/hostile.wasm");

fn load(how: &str, settings: EngineSettings) -> Transform {
    let engine = Engine::new(&settings).unwrap();
    let params = [("how".into(), how.into())].into();
    Transform::load(&engine, HOSTILE, "hostile", params, Limits::default()).unwrap_or_else(|e| panic!("{e}"))
}

fn bad_fix() -> Reading {
    let mut reading = drive::fixes(1, 7).remove(0);
    if let Body::Gps(gps) = &mut reading.body {
        gps.fix = 99;
    }
    reading
}

#[test]
fn fuel_is_counted_where_it_is_asked_for_and_is_the_same_each_time() {
    let used = |n: usize| {
        let mut transform = load("nothing", EngineSettings { count_fuel: true, ..EngineSettings::default() });
        transform.process(&Stream::Gps, &drive::fixes(n, 1)).unwrap();
        transform.usage().fuel.unwrap()
    };
    assert_eq!(used(10), used(10));
    assert!(used(20) > used(10) && used(10) > 10, "{} and {}", used(10), used(20));
    let mut plain = load("nothing", EngineSettings::default());
    plain.process(&Stream::Gps, &drive::fixes(10, 1)).unwrap();
    let usage = plain.usage();
    assert_eq!(usage.fuel, None);
    assert!(usage.memory_bytes >= 65_536 && usage.snapshot_bytes == 8 && usage.stored_bytes > 8, "{usage:?}");
}

#[test]
fn a_failure_leaves_a_trace_until_the_next_call() {
    let mut transform = load("recurse", EngineSettings::default());
    assert!(transform.trace().is_empty());
    transform.process(&Stream::Gps, &[bad_fix()]).unwrap_err();
    assert!(transform.trace().len() > 2, "{:?}", transform.trace());
    transform.process(&Stream::Gps, &drive::fixes(1, 1)).unwrap();
    assert!(transform.trace().is_empty());
}
