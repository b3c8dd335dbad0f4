//! What a transform must not do, and that it hurts nobody: the guest in `guests/hostile` does it on a fix
//! with `fix` = 99.

mod drive;

use milepost_transform_host::{Engine, EngineSettings, Failure, Limits, LoadError, State, Transform};
use milepost_wire::reading::Gps;
use milepost_wire::{Body, Clock, Reading, Stream, Value};
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

const HOSTILE: &[u8] = include_bytes!("guests/hostile.wasm");

fn limits() -> Limits {
    Limits { cpu: Duration::from_millis(50), init_cpu: Duration::from_millis(50), ..Limits::default() }
}

fn engine() -> Engine {
    Engine::new(&EngineSettings::default()).unwrap()
}

fn load(how: &str) -> Result<Transform, LoadError> {
    Transform::load(&engine(), HOSTILE, "hostile", [("how".into(), how.into())].into(), limits())
}

fn bad_fix() -> Reading {
    let mut reading = drive::fixes(1, 7).remove(0);
    if let Body::Gps(gps) = &mut reading.body {
        gps.fix = 99;
    }
    reading
}

/// What the guest counted for each fix: in its own memory, and with the host.
fn counted(readings: &[Reading]) -> Vec<(i64, i64)> {
    let count = |r: &Reading| match &r.body {
        Body::Derived(row) => match row.values[..] {
            [Value::Int(seen), Value::Int(stored)] => Some((seen, stored)),
            _ => panic!("{row:?}"),
        },
        _ => None,
    };
    readings.iter().filter_map(count).collect()
}

/// Good fixes, then a batch with a bad one at its end, then good ones: the bad batch fails as expected,
/// and it is as if it had never been.
fn survives(how: &str) -> Failure {
    let mut transform = load(how).unwrap();
    let good = drive::fixes(3, 1);
    let first = transform.process(&Stream::Gps, &good).unwrap();
    assert_eq!(counted(&first.readings), [(1, 1), (2, 2), (3, 3)], "{how}");

    let mut bad = good.clone();
    bad.push(bad_fix());
    let before = bad.clone();
    let failure = transform.apply(&Stream::Gps, &mut bad).err().unwrap_or_else(|| panic!("{how} passed"));
    assert_eq!(bad, before, "{how}: readings changed");

    let next = transform.process(&Stream::Gps, &good[..2]).unwrap();
    assert_eq!(counted(&next.readings), [(4, 4), (5, 5)], "{how}");
    let counters = transform.counters();
    assert_eq!(counters.failures.load(Relaxed), 1, "{how}");
    assert_eq!(counters.received.load(Relaxed), 5, "{how}");
    failure
}

#[test]
fn an_endless_loop_is_stopped_by_the_cpu_limit() {
    assert_eq!(survives("loop"), Failure::CpuLimit { limit: Duration::from_millis(50) });
}

#[test]
fn a_hoarder_is_stopped_by_the_memory_limit() {
    assert!(matches!(survives("hog"), Failure::MemoryLimit { limit: 16_777_216, .. }));
}

#[test]
fn endless_recursion_is_stopped() {
    let failure = survives("recurse");
    assert!(matches!(&failure, Failure::Trap(_)), "{failure}");
}

#[test]
fn a_flood_of_rows_is_stopped_by_the_output_limit() {
    assert_eq!(survives("flood"), Failure::OutputLimit { unit: "rows", limit: 16_384 });
}

#[test]
fn a_flood_of_bytes_is_stopped_by_the_output_limit() {
    assert_eq!(survives("flood of text"), Failure::OutputLimit { unit: "bytes", limit: 8 << 20 });
}

#[test]
fn hoarding_with_the_host_is_stopped_by_the_state_limit() {
    assert!(matches!(survives("state"), Failure::StateLimit { limit: 65_536, .. }));
}

#[test]
fn hoarding_and_removing_for_ever_is_stopped() {
    assert!(matches!(
        survives("keys for ever"),
        Failure::StateLimit { limit: 65_536, .. } | Failure::CpuLimit { .. }
    ));
}

#[test]
fn logging_for_ever_is_stopped_by_the_cpu_limit() {
    assert_eq!(survives("log for ever"), Failure::CpuLimit { limit: Duration::from_millis(50) });
}

#[test]
fn emitting_for_ever_is_stopped_by_the_memory_or_the_cpu_limit() {
    let failure = survives("emit for ever");
    assert!(matches!(failure, Failure::MemoryLimit { .. } | Failure::CpuLimit { .. }), "{failure}");
}

#[test]
fn garbage_is_refused_before_it_touches_a_reading() {
    for how in ["garbage bits", "garbage places", "garbage stream"] {
        assert!(matches!(survives(how), Failure::InvalidOutput(_)), "{how}");
    }
}

#[test]
fn a_place_that_is_not_on_the_globe_is_refused() {
    let failure = survives("off the globe").to_string();
    assert!(failure.contains("a latitude of 950000000 times 1e-7 degrees"), "{failure}");
    let failure = survives("turned too far").to_string();
    assert!(failure.contains("a heading of 36001 hundredths of a degree"), "{failure}");
}

#[test]
fn a_snapshot_has_the_cpu_time_that_its_call_has_left() {
    let limits = Limits { cpu: Duration::from_millis(50), ..Limits::default() };
    assert!(limits.init_cpu > limits.cpu);
    let how = [("how".into(), "loop in snapshot".into())].into();
    let mut transform = Transform::load(&engine(), HOSTILE, "hostile", how, limits).unwrap();
    let failure = transform.process(&Stream::Gps, &[bad_fix()]).unwrap_err();
    assert_eq!(failure, Failure::CpuLimit { limit: Duration::from_millis(50) });
}

#[test]
fn a_snapshot_that_fails_fails_the_call_that_it_belongs_to() {
    let failure = survives("trap in snapshot");
    assert!(matches!(&failure, Failure::Trap(what) if what.contains("in snapshot")), "{failure}");
    assert_eq!(survives("loop in snapshot"), Failure::CpuLimit { limit: Duration::from_millis(50) });
    assert_eq!(survives("a large snapshot"), Failure::StateLimit { wanted: 100_000, limit: 65_536 });
}

#[test]
fn a_state_that_is_not_taken_back_is_dropped_and_the_transform_goes_on() {
    let mut transform = load("trap in restore").unwrap();
    transform.process(&Stream::Gps, &drive::fixes(2, 1)).unwrap();
    assert!(matches!(transform.process(&Stream::Gps, &[bad_fix()]), Err(Failure::Trap(_))));
    let failure = transform.process(&Stream::Gps, &drive::fixes(1, 1)).unwrap_err();
    assert!(matches!(&failure, Failure::InitFailed(why) if why.contains("in restore")), "{failure}");
    // Its own memory begins anew; what it stored with the host is still there.
    let out = transform.process(&Stream::Gps, &drive::fixes(1, 1)).unwrap();
    assert_eq!(counted(&out.readings), [(1, 3)]);
}

#[test]
fn metrics_beyond_the_limit_are_counted_and_not_kept() {
    let mut transform = load("metrics for ever").unwrap();
    transform.process(&Stream::Gps, &[bad_fix()]).unwrap();
    assert_eq!(transform.metrics().len(), 64);
    assert_eq!(transform.counters().metrics_dropped.load(Relaxed), 10_000 - 64);
}

#[test]
fn a_counter_takes_what_counts() {
    let mut transform = load("metrics that do not count").unwrap();
    transform.process(&Stream::Gps, &[bad_fix()]).unwrap();
    assert_eq!(transform.metrics(), [("fixes".to_owned(), 2.0)].into());
    assert_eq!(transform.counters().metrics_dropped.load(Relaxed), 3);
}

#[test]
fn a_column_keeps_its_kind_from_call_to_call() {
    let mut transform = load("other kind").unwrap();
    transform.process(&Stream::Gps, &drive::fixes(2, 1)).unwrap();
    let failure = transform.process(&Stream::Gps, &[bad_fix()]).unwrap_err().to_string();
    assert!(failure.contains("column seen of stream seen has another kind than it had"), "{failure}");
    transform.process(&Stream::Gps, &drive::fixes(2, 1)).unwrap();
}

#[test]
fn an_instance_that_has_swollen_makes_way_for_a_fresh_one_with_its_state() {
    let mut transform = load("swell").unwrap();
    let mut with_bad = drive::fixes(3, 1);
    with_bad.push(bad_fix());
    let out = transform.process(&Stream::Gps, &with_bad).unwrap();
    assert_eq!(counted(&out.readings).len(), 3);
    let next = transform.process(&Stream::Gps, &drive::fixes(2, 1)).unwrap();
    assert_eq!(counted(&next.readings), [(5, 5), (6, 6)]);
    let counters = transform.counters();
    assert_eq!((counters.restarts.load(Relaxed), counters.failures.load(Relaxed)), (1, 0));
    transform.process(&Stream::Gps, &drive::fixes(2, 1)).unwrap();
    assert_eq!(counters.restarts.load(Relaxed), 1, "a slim one is left alone");
}

#[test]
fn a_component_of_100_mb_is_refused_by_its_size() {
    let large = vec![0; 100 << 20];
    let e = Transform::load(&engine(), &large, "x", Default::default(), limits()).err().unwrap();
    assert!(matches!(e, LoadError::TooLarge { bytes: 104_857_600, max: 33_554_432, .. }), "{e}");
}

#[test]
fn a_component_s_file_is_neither_waited_for_nor_read_beyond_its_limit() {
    let dir = tempfile::tempdir().unwrap();
    let refused =
        |name: &str| milepost_transform_host::read_component(&dir.path().join(name)).unwrap_err().to_string();
    std::fs::File::create(dir.path().join("large")).unwrap().set_len(100 << 20).unwrap();
    assert_eq!(refused("large"), "it has 104857600 bytes, and a component may have 33554432");
    let pipe = std::process::Command::new("mkfifo").arg(dir.path().join("pipe")).status();
    assert!(pipe.unwrap().success());
    assert_eq!(refused("pipe"), "it is no file");
    assert_eq!(refused("."), "it is no file");
    std::fs::write(dir.path().join("good"), HOSTILE).unwrap();
    assert_eq!(milepost_transform_host::read_component(&dir.path().join("good")).unwrap(), HOSTILE);
}

#[test]
fn ticks_and_the_logical_clock_are_a_part_of_the_state() {
    let mut one = load("nothing").unwrap();
    assert!(one.remembers(), "it keeps a count");
    one.process(&Stream::Gps, &drive::fixes(5, 1)).unwrap();
    let state = State { next_tick_us: Some(17), ..one.state() };
    let mut other = load("nothing").unwrap();
    other.set_state(state.clone()).unwrap();
    assert_eq!(other.state(), state);
}

#[test]
fn a_tick_that_fails_costs_no_reading_and_nothing_that_is_remembered() {
    for (how, kind) in [("trap in tick", "trap"), ("loop in tick", "cpu_limit")] {
        let mut transform = load(how).unwrap();
        let mut at = |s: i64| {
            let fixes = drive::fixes(1, 1).into_iter().map(|r| Reading { ts: s * 1_000_000, ..r });
            let output = transform.process(&Stream::Gps, &fixes.collect::<Vec<_>>()).unwrap();
            (counted(&output.readings), output.tick_failed.map(|why| why.kind()))
        };
        let today = 1_772_438_400;
        assert_eq!(at(today), (vec![(1, 1)], None), "{how}");
        assert_eq!(at(today + 1), (vec![(2, 2)], Some(kind)), "{how}");
        assert_eq!(at(today + 1), (vec![(3, 3)], None), "{how}: it is due after a second again");
        assert_eq!(at(today + 2), (vec![(4, 4)], Some(kind)), "{how}");
        let counters = transform.counters();
        assert_eq!(counters.failures.load(Relaxed), 2, "{how}");
        assert_eq!(counters.received.load(Relaxed), 4, "{how}");
    }
}

#[test]
fn a_panic_says_what_and_where() {
    let failure = survives("panic").to_string();
    assert!(failure.contains("is bad") && failure.contains("lib.rs"), "{failure}");
}

#[test]
fn a_stream_that_cannot_be_is_refused() {
    let failure = survives("bad name");
    assert!(matches!(&failure, Failure::InvalidOutput(what) if what.contains("No Such Name")), "{failure}");
}

#[test]
fn streams_without_end_are_refused() {
    let failure = survives("streams for ever");
    assert!(
        matches!(&failure, Failure::InvalidOutput(what) if what.contains("more than 64 streams")),
        "{failure}"
    );
}

#[test]
fn an_error_of_its_own_is_one_line_of_bounded_length() {
    let Failure::GuestError(said) = survives("say too much") else { panic!() };
    assert!(said.len() <= 1024 && !said.contains('\n'), "{} bytes", said.len());
}

#[test]
fn an_error_of_its_own_is_passed_on() {
    assert_eq!(survives("fail"), Failure::GuestError("this fix is bad".into()));
}

#[test]
fn log_text_over_the_limit_is_cut_off_and_counted() {
    let mut transform = load("log").unwrap();
    transform.process(&Stream::Gps, &[bad_fix()]).unwrap();
    // Of 10,000 lines "line 0" to "line 9999" ten of 6 + 64 bytes and 47 of 7 + 64 go into 4 KiB.
    assert_eq!(transform.counters().log_dropped.load(Relaxed), 88_890 - (10 * 6 + 47 * 7));
}

#[test]
fn what_goes_wrong_in_init_is_said_at_start() {
    for (how, expected) in [
        ("refuse in init", "It said: not today"),
        ("trap in init", "It trapped: panicked at"),
        ("loop in init", "It used its CPU time of 50ms"),
        ("want all in init", "300000 streams in its plan: name 64 at most"),
        ("want health in init", "a stream in its plan that no transform is given: agent_health"),
        ("want what cannot be in init", "no transform is given: \\u{1b}[2J "),
    ] {
        let refused = load(how).err().unwrap_or_else(|| panic!("{how} started")).to_string();
        assert!(
            refused.starts_with("Transform hostile did not start: ") && refused.contains(expected),
            "{refused}"
        );
    }
}

#[test]
fn bisecting_gives_what_a_run_without_the_bad_reading_gives() {
    let mut with = load("panic").unwrap();
    let mut without = load("panic").unwrap();
    let good = drive::fixes(40, 3);
    let mut readings = good.clone();
    readings.insert(17, bad_fix());

    let mut got = Vec::new();
    let mut poison = Vec::new();
    let mut todo = vec![&readings[..]];
    while let Some(part) = todo.pop() {
        match with.process(&Stream::Gps, part) {
            Ok(out) => got.extend(out.readings),
            Err(_) if part.len() == 1 => poison.push(part[0].clone()),
            Err(_) => {
                let (left, right) = part.split_at(part.len() / 2);
                todo.extend([right, left]);
            }
        }
    }
    let expected = without.process(&Stream::Gps, &good).unwrap();
    let (rows, derived): (Vec<_>, Vec<_>) = got.into_iter().partition(|r| r.stream() == Stream::Gps);
    assert_eq!([rows, derived].concat(), expected.readings);
    assert_eq!(poison, [bad_fix()]);
    assert_eq!(with.state(), without.state());
}

#[test]
fn what_is_undone_has_never_been() {
    let mut one = load("clock").unwrap();
    let mut other = load("clock").unwrap();
    let drive = drive::fixes(40, 3);
    let (before, after) = drive.split_at(20);
    one.process(&Stream::Gps, before).unwrap();
    other.process(&Stream::Gps, before).unwrap();

    let mark = one.mark();
    one.process(&Stream::Gps, &drive::fixes(90, 4)).unwrap();
    one.back_to(mark).unwrap();
    assert_eq!((one.state(), one.metrics()), (other.state(), other.metrics()));
    let outputs = [&mut one, &mut other].map(|t| t.process(&Stream::Gps, after).unwrap());
    assert_eq!(outputs[0], outputs[1]);
    assert_eq!((one.state(), one.metrics()), (other.state(), other.metrics()));
    let counts = [&one, &other].map(|t| t.counters().received.load(Relaxed));
    assert_eq!(counts, [40, 40]);
}

#[test]
fn a_wrong_date_does_not_silence_the_ticks() {
    let mut transform = load("clock").unwrap();
    let at = |s: i64| drive::fixes(1, 1).into_iter().map(move |r| Reading { ts: s * 1_000_000, ..r });
    let mut ticks = |s: i64| {
        let out = transform.process(&Stream::Gps, &at(s).collect::<Vec<_>>()).unwrap();
        let ticked = |r: &Reading| matches!(&r.body, Body::Derived(row) if row.stream.as_str() == "ticked");
        out.readings.iter().filter(|r| ticked(r)).map(|r| r.ts / 1_000_000).collect::<Vec<_>>()
    };
    let (today, in_2099) = (1_772_438_400, 4_070_908_800);
    assert_eq!(ticks(today), []);
    assert_eq!(ticks(today + 1), [today + 1]);
    assert_eq!(ticks(in_2099), [in_2099], "so it seems");
    assert_eq!(ticks(today + 2), []);
    assert_eq!(ticks(today + 3), [today + 3]);
    // What is only late is of no concern to the clock.
    assert_eq!(ticks(today - 3600), []);
    assert_eq!(ticks(today + 4), [today + 4]);
}

#[test]
fn memory_that_was_refused_is_named_beside_what_failed_then() {
    let recursed = survives("want too much, then recurse").to_string();
    assert!(recursed.contains("call stack exhausted"), "{recursed}");
    assert!(recursed.contains("bytes of memory, and may have 16777216"), "{recursed}");
    let panicked = survives("want too much, then panic").to_string();
    assert!(panicked.contains("is bad") && panicked.contains("may have 16777216"), "{panicked}");
}

#[test]
fn state_moves_to_another_instance() {
    let mut one = load("nothing").unwrap();
    one.process(&Stream::Gps, &drive::fixes(5, 1)).unwrap();
    let mut other = load("nothing").unwrap();
    other.set_state(one.state()).unwrap();
    let out = other.process(&Stream::Gps, &drive::fixes(1, 1)).unwrap();
    assert_eq!(counted(&out.readings), [(6, 6)]);

    let mut odd = one.state();
    odd.snapshot = Some(vec![1, 2, 3]);
    assert!(matches!(other.set_state(odd), Err(Failure::GuestError(what)) if what.contains("too short")));
    let out = other.process(&Stream::Gps, &drive::fixes(1, 1)).unwrap();
    assert_eq!(counted(&out.readings)[0].0, 1);
}

#[test]
fn every_field_of_a_fix_goes_in_and_comes_back() {
    let mut transform = load("give back").unwrap();
    let full = Gps {
        lat_e7: -899_999_999,
        lon_e7: 1_799_999_999,
        altitude_cm: Some(-1234),
        speed_mm_s: Some(u32::MAX),
        heading_cdeg: Some(35_999),
        fix: 99,
        satellites: Some(255),
        hdop_e2: Some(u16::MAX),
    };
    let none = Gps {
        altitude_cm: None,
        speed_mm_s: None,
        heading_cdeg: None,
        satellites: None,
        hdop_e2: None,
        ..full
    };
    let one = |make: fn(&mut Gps)| {
        let mut fix = none.clone();
        make(&mut fix);
        fix
    };
    let fixes = [
        full.clone(),
        one(|f| f.altitude_cm = Some(i32::MIN)),
        one(|f| f.speed_mm_s = Some(1)),
        one(|f| f.heading_cdeg = Some(2)),
        one(|f| f.satellites = Some(3)),
        one(|f| f.hdop_e2 = Some(4)),
        none,
    ];
    let clocks = [Clock::Gps, Clock::Ntp, Clock::None].into_iter().cycle();
    let reading = |(fix, clock): (&Gps, Clock)| Reading { ts: i64::MIN + 5, clock, body: fix.clone().into() };
    let readings: Vec<Reading> = fixes.iter().zip(clocks).map(reading).collect();
    assert_eq!(transform.process(&Stream::Gps, &readings).unwrap().readings, readings);
}

#[test]
fn readings_of_another_stream_are_not_given_to_it() {
    let mut transform = load("nothing").unwrap();
    let mut mixed = drive::fixes(2, 1);
    let row = transform.process(&Stream::Gps, &mixed).unwrap().readings.pop().unwrap();
    mixed.push(row);
    assert!(matches!(transform.process(&Stream::Gps, &mixed), Err(Failure::InvalidInput(_))));
    assert_eq!(transform.counters().restarts.load(Relaxed), 0);
}

#[test]
fn the_code_of_all_transforms_is_limited_and_what_is_gone_does_not_count() {
    let code = |name: &str| std::fs::read(format!("../prebuilt/{name}.wasm")).unwrap();
    let [one, other] = ["downsample", "harsh_driving"].map(code);
    // Room for either, about 400 kB, and not for both.
    let engine =
        Engine::new(&EngineSettings { max_code_bytes: 600_000, ..EngineSettings::default() }).unwrap();
    let load = |bytes: &[u8]| Transform::load(&engine, bytes, "x", Default::default(), limits());
    let first = load(&one).unwrap();
    let again = load(&one).unwrap();
    let refused = load(&other).err().unwrap().to_string();
    assert!(refused.contains("and all transforms together may have 600000"), "{refused}");
    drop((first, again));
    load(&other).unwrap();
}

#[test]
fn no_more_instances_are_made_than_are_pooled_and_a_slot_is_used_again() {
    let engine = Engine::new(&EngineSettings { pooled: 1, ..EngineSettings::default() }).unwrap();
    let load = || Transform::load(&engine, HOSTILE, "x", Default::default(), limits());
    let mut one = load().unwrap();
    let refused = load().map(drop).unwrap_err().to_string();
    assert!(refused.contains("limit of 1"), "{refused}");
    // A failing call ends the instance, and the next call has a fresh one.
    for _ in 0..3 {
        let state = one.state();
        one.set_state(state).unwrap();
        one.process(&Stream::Gps, &drive::fixes(2, 1)).unwrap();
    }
    drop(one);
    load().unwrap();
}

#[test]
fn what_is_no_component_of_our_world_is_refused_with_the_reason() {
    let try_load = |bytes: &[u8]| match Transform::load(&engine(), bytes, "x", Default::default(), limits()) {
        Err(e) => e,
        Ok(_) => panic!("{} bytes were loaded", bytes.len()),
    };
    for garbage in [&b""[..], b"garbage", &HOSTILE[..HOSTILE.len() / 2], b"\0asm\x01\0\0\0"] {
        let e = try_load(garbage);
        assert!(matches!(e, LoadError::NotAComponent { .. }), "{e}");
    }
    let small =
        Engine::new(&EngineSettings { max_component_bytes: 1000, ..EngineSettings::default() }).unwrap();
    let e = Transform::load(&small, HOSTILE, "x", Default::default(), limits()).err().unwrap();
    let expected = format!("Transform x has {} bytes, and a component may have 1000:", HOSTILE.len());
    assert!(e.to_string().starts_with(&expected), "{e}");

    // (component)
    let empty = b"\0asm\x0d\0\x01\0";
    let e = try_load(empty);
    assert!(matches!(e, LoadError::World { .. }), "{e}");

    // (component (import "wasi:cli/environment@0.2.0" (instance)))
    let mut wasi = empty.to_vec();
    wasi.extend(b"\x07\x03\x01\x42\x00");
    wasi.extend(b"\x0a\x1f\x01\x00\x1a");
    wasi.extend(b"wasi:cli/environment@0.2.0\x05\x00");
    let e = try_load(&wasi);
    assert!(matches!(&e, LoadError::Import { import, .. } if import == "wasi:cli/environment@0.2.0"), "{e}");
    assert!(e.to_string().contains("without WASI"), "{e}");
}

#[test]
fn changed_bytes_of_a_component_never_do_more_than_fail() {
    let engine = engine();
    let mut random = 0x5eed_u64;
    for _ in 0..12 {
        let mut bytes = HOSTILE.to_vec();
        for _ in 0..3 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let at = random as usize % bytes.len();
            bytes[at] ^= 1 << (random >> 60 & 7);
        }
        if let Ok(mut transform) = Transform::load(&engine, &bytes, "changed", Default::default(), limits()) {
            let _ = transform.process(&Stream::Gps, &drive::fixes(3, 1));
        }
    }
}
