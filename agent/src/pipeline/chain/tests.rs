use super::*;
use crate::clock::{Clock as _, FakeClock};
use milepost_wire::reading::{Derived, Gps, Value};
use milepost_wire::{Clock, ColumnSpec, Kind, StreamName};
use std::time::Duration;

/// A transform of a closure, for one stream.
struct Fake<F> {
    stream: Stream,
    apply: F,
}

impl<F: FnMut(&mut Vec<Reading>) -> Result<Applied, Failure> + Send> Step for Fake<F> {
    fn wants(&self, stream: &Stream) -> bool {
        *stream == self.stream
    }
    fn apply(&mut self, _: &Stream, readings: &mut Vec<Reading>, _: u32) -> Result<Applied, Failure> {
        (self.apply)(readings)
    }
}

fn link<F>(n: u8, stream: Stream, on_failure: OnFailure, apply: F) -> Link
where
    F: FnMut(&mut Vec<Reading>) -> Result<Applied, Failure> + Send + 'static,
{
    Link {
        name: format!("t{n}").into(),
        digest: [n; 32],
        edition: [n; 32],
        state: OnChange::default(),
        only: None,
        on_failure,
        while_out: WhileOut::default(),
        step: Box::new(Fake { stream, apply }),
        counters: Arc::default(),
    }
}

/// Fails on any batch that holds a reading of these times; takes nothing out.
fn fails_on(bad: &'static [i64]) -> impl FnMut(&mut Vec<Reading>) -> Result<Applied, Failure> + Send {
    move |readings| match readings.iter().any(|r| bad.contains(&r.ts)) {
        true => Err(Failure::Trap("bad".into())),
        false => Ok(Applied::default()),
    }
}

fn gps(ts: i64) -> Reading {
    let body = Gps {
        lat_e7: 0,
        lon_e7: 0,
        altitude_cm: None,
        speed_mm_s: None,
        heading_cdeg: None,
        fix: 1,
        satellites: None,
        hdop_e2: None,
    };
    Reading { ts, clock: Clock::Gps, body: body.into() }
}

fn event_name() -> StreamName {
    StreamName::new("event").unwrap()
}

fn event(ts: i64) -> Reading {
    let columns = [ColumnSpec::fixed("n", Kind::Int)].into();
    let row = Derived { stream: event_name(), columns, values: vec![Value::Int(1)] };
    Reading { ts, clock: Clock::Gps, body: Body::Derived(row) }
}

fn chain(links: impl IntoIterator<Item = Link>) -> Chain {
    Chain::new(links.into_iter().collect(), &[], Arc::new(FakeClock::at(0)))
}

#[derive(Default)]
struct Seen {
    emitted: Vec<(String, Vec<i64>, Vec<u8>)>,
    poison: Vec<(String, i64, bool)>,
}

impl Outlet for Seen {
    fn emit(&mut self, stream: &Stream, readings: Vec<Reading>, lineage: &[Digest]) {
        let times = readings.iter().map(|r| r.ts).collect();
        self.emitted.push((stream.to_string(), times, lineage.iter().map(|d| d.0[0]).collect()));
    }
    fn poison(&mut self, transform: &Arc<str>, reading: Reading, _: &Failure, keep: bool) {
        self.poison.push((transform.to_string(), reading.ts, keep));
    }
}

fn run(chain: &mut Chain, times: impl IntoIterator<Item = i64>) -> Result<Seen, Halted> {
    let mut seen = Seen::default();
    chain.run(&Stream::Gps, times.into_iter().map(gps).collect(), &mut seen)?;
    for link in chain.links() {
        let c = &link.counters;
        let [received, extra, emitted, taken, poison] =
            [&c.received, &c.extra, &c.emitted, &c.taken_out, &c.poison].map(|n| n.load(Relaxed));
        assert_eq!(received + extra, emitted + taken + poison, "{}", link.name);
    }
    Ok(seen)
}

#[test]
fn without_transforms_readings_go_through_untouched() {
    let seen = run(&mut chain([]), [1, 2]).unwrap();
    assert_eq!(seen.emitted, [("gps_data".into(), vec![1, 2], vec![])]);
}

#[test]
fn each_transform_that_takes_the_stream_is_in_the_lineage_in_order() {
    let links = || {
        [(1, Stream::Gps), (2, Stream::Weather), (3, Stream::Gps)]
            .map(|(n, stream)| link(n, stream, OnFailure::Drop, fails_on(&[])))
    };
    assert_eq!(run(&mut chain(links()), [1]).unwrap().emitted[0].2, [1, 3]);
    let mut links = links();
    links[2].only = Some(vec![Stream::Vehicle]);
    assert_eq!(run(&mut chain(links), [1]).unwrap().emitted[0].2, [1]);
}

#[test]
fn the_poison_reading_alone_is_set_aside() {
    for bad in 0..9 {
        let bad: &'static [i64] = Box::leak(Box::new([bad]));
        let mut chain = chain([link(1, Stream::Gps, OnFailure::DeadLetter, fails_on(bad))]);
        let seen = run(&mut chain, 0..9).unwrap();
        let others: Vec<i64> = (0..9).filter(|t| !bad.contains(t)).collect();
        assert_eq!(seen.emitted, [("gps_data".into(), others, vec![1])]);
        assert_eq!(seen.poison, [("t1".into(), bad[0], true)]);
    }
}

#[test]
fn poison_leaves_no_trace_in_what_a_transform_says_and_remembers() {
    const HOSTILE: &[u8] = include_bytes!("../../../../transforms/host/tests/guests/hostile.wasm");
    #[derive(Default)]
    struct All(Vec<(Stream, Vec<Reading>)>, usize);
    impl Outlet for All {
        fn emit(&mut self, stream: &Stream, readings: Vec<Reading>, _: &[Digest]) {
            self.0.push((stream.clone(), readings));
        }
        fn poison(&mut self, _: &Arc<str>, _: Reading, _: &Failure, _: bool) {
            self.1 += 1;
        }
    }
    let engine = milepost_transform_host::Engine::new(&Default::default()).unwrap();
    // Says what time it sees at each fix, and ticks each second.
    let clock = || {
        let params = [("how".into(), "clock".into())].into();
        let transform = Transform::load(&engine, HOSTILE, "clock", params, Default::default()).unwrap();
        let plain = link(1, Stream::Gps, OnFailure::DeadLetter, fails_on(&[]));
        chain([Link { step: Box::new(transform), ..plain }])
    };
    let bad = |ts: i64| {
        let Body::Gps(fix) = gps(ts).body else { unreachable!() };
        Reading { body: Gps { fix: 99, ..fix }.into(), ..gps(ts) }
    };
    let good: Vec<Reading> = (0..60).map(|n| gps(n * 100_000)).collect();
    for poison in [vec![0], vec![20], vec![60], vec![3, 17, 18, 40], vec![59, 60, 61]] {
        let (mut with, mut without) = (clock(), clock());
        let (mut got, mut expected) = (All::default(), All::default());
        let mut readings = good[..40].to_vec();
        for at in poison.iter().filter(|at| **at < 40) {
            readings.insert(*at, bad(*at as i64 * 100_000 + 7));
        }
        let mut rest = good[40..].to_vec();
        // The newest of all, and far ahead.
        rest.extend(poison.iter().filter(|at| **at >= 40).map(|at| bad(*at as i64 * 100_000_000)));
        with.run(&Stream::Gps, readings, &mut got).unwrap();
        with.run(&Stream::Gps, rest, &mut got).unwrap();
        without.run(&Stream::Gps, good[..40].to_vec(), &mut expected).unwrap();
        without.run(&Stream::Gps, good[40..].to_vec(), &mut expected).unwrap();
        assert_eq!(got.1, poison.len());
        assert_eq!(got.0, expected.0, "{poison:?}");
        assert_eq!(with.memory(), without.memory(), "{poison:?}");
        // Each fix that counts was counted once by the transform itself, too.
        with.tell();
        let own = with.links().next().unwrap().counters.own.lock().unwrap().clone();
        assert_eq!(own, [("fixes".to_owned(), 60.0)].into());
    }
}

#[test]
fn poison_may_pass_in_its_place_and_then_its_lineage_says_so() {
    let mut chain = chain([
        link(1, Stream::Gps, OnFailure::Pass, fails_on(&[2])),
        link(2, Stream::Gps, OnFailure::Pass, fails_on(&[])),
    ]);
    let seen = run(&mut chain, 0..5).unwrap();
    let expected = [(vec![0, 1], vec![1, 2]), (vec![2], vec![2]), (vec![3, 4], vec![1, 2])];
    assert_eq!(seen.emitted, expected.map(|(times, lineage)| ("gps_data".into(), times, lineage)));
    assert!(seen.poison.is_empty());
}

#[test]
fn halting_stops_at_the_poison_reading() {
    let mut chain = chain([link(1, Stream::Gps, OnFailure::Halt, fails_on(&[3]))]);
    let halted = run(&mut chain, 0..5).err().unwrap();
    assert_eq!(halted.transform.as_ref(), "t1");
}

#[test]
fn derived_rows_go_on_with_the_later_transforms_of_their_stream_only() {
    let derives = |stream: Stream| {
        move |readings: &mut Vec<Reading>| {
            let _ = &stream;
            Ok(Applied {
                derived: readings.iter().map(|r| event(r.ts + 100)).collect(),
                ..Applied::default()
            })
        }
    };
    let events = Stream::Derived(event_name());
    let mut chain = chain([
        // Would loop for ever if derived rows started at the front.
        link(1, events.clone(), OnFailure::Drop, derives(events.clone())),
        link(2, Stream::Gps, OnFailure::Drop, derives(Stream::Gps)),
        link(3, events.clone(), OnFailure::Drop, fails_on(&[101])),
    ]);
    let seen = run(&mut chain, [1, 2]).unwrap();
    let expected = [("gps_data".into(), vec![1, 2], vec![2]), ("event".into(), vec![102], vec![2, 3])];
    assert_eq!(seen.emitted, expected);
    assert_eq!(seen.poison, [("t3".into(), 101, false)]);
}

#[test]
fn a_tick_that_fails_costs_no_reading_and_is_counted() {
    let ticks = |_: &mut Vec<Reading>| {
        Ok(Applied { tick_failed: Some(Failure::Trap("in tick".into())), ..Applied::default() })
    };
    let mut chain = chain([link(1, Stream::Gps, OnFailure::DeadLetter, ticks)]);
    let seen = run(&mut chain, 0..5).unwrap();
    assert_eq!(seen.emitted, [("gps_data".into(), vec![0, 1, 2, 3, 4], vec![1])]);
    assert_eq!(seen.poison, []);
    assert_eq!(chain.links[0].link.counters.errors.load(Relaxed), 1);
}

#[test]
fn halting_stops_at_a_tick_that_fails_too() {
    let ticks = |_: &mut Vec<Reading>| {
        Ok(Applied { tick_failed: Some(Failure::Trap("in tick".into())), ..Applied::default() })
    };
    let mut chain = chain([link(1, Stream::Gps, OnFailure::Halt, ticks)]);
    let halted = run(&mut chain, 0..5).err().unwrap();
    assert_eq!(halted.failure, Failure::Trap("in tick".into()));
}

#[test]
fn what_is_taken_out_is_counted() {
    let mut chain = chain([link(1, Stream::Gps, OnFailure::Drop, |readings: &mut Vec<Reading>| {
        let before = readings.len();
        readings.retain(|r| r.ts % 2 == 0);
        Ok(Applied { taken_out: (before - readings.len()) as u64, ..Applied::default() })
    })]);
    assert_eq!(run(&mut chain, 0..5).unwrap().emitted[0].1, [0, 2, 4]);
    assert_eq!(chain.links[0].link.counters.taken_out.load(Relaxed), 2);
}

#[test]
fn streams_are_split_with_their_order_kept() {
    let mixed = vec![event(1), gps(2), event(3), gps(4)];
    let split: Vec<(String, Vec<i64>)> =
        by_stream(mixed).map(|(s, r)| (s.to_string(), r.iter().map(|r| r.ts).collect())).collect();
    assert_eq!(split, [("gps_data".into(), vec![2, 4]), ("event".into(), vec![1, 3])]);
}

/// Loops on the readings at these times: each call that holds one takes its CPU limit.
struct Loops {
    bad: fn(i64) -> bool,
    clock: Arc<FakeClock>,
    calls: Arc<AtomicU64>,
}

impl Step for Loops {
    fn wants(&self, stream: &Stream) -> bool {
        *stream == Stream::Gps
    }
    fn apply(&mut self, _: &Stream, readings: &mut Vec<Reading>, part: u32) -> Result<Applied, Failure> {
        self.calls.fetch_add(1, Relaxed);
        let limit = Duration::from_millis(250) / part;
        match readings.iter().any(|r| (self.bad)(r.ts)) {
            true => {
                self.clock.advance(limit);
                Err(Failure::CpuLimit { limit })
            }
            false => Ok(Applied::default()),
        }
    }
}

/// A chain of one that loops, its clock, and how often it was called.
fn looping(on_failure: OnFailure, bad: fn(i64) -> bool) -> (Link, Arc<FakeClock>, Arc<AtomicU64>) {
    let (clock, calls) = (Arc::new(FakeClock::at(0)), Arc::<AtomicU64>::default());
    let mut link = link(1, Stream::Gps, on_failure, fails_on(&[]));
    link.step = Box::new(Loops { bad, clock: clock.clone(), calls: calls.clone() });
    (link, clock, calls)
}

#[test]
fn a_reading_that_loops_is_found_in_less_than_a_second() {
    for bad in [|t: i64| t == 0, |t| t == 700, |t| t == 1023] {
        let (link, clock, _) = looping(OnFailure::Drop, bad);
        let mut chain = Chain::new(vec![link], &[], clock.clone());
        let seen = run(&mut chain, 0..1024).unwrap();
        assert_eq!((seen.poison.len(), seen.emitted[0].1.len()), (1, 1023));
        assert_eq!(seen.emitted[0].2, [1]);
        assert!(clock.mono() < Duration::from_secs(1), "{:?}", clock.mono());
    }
}

#[test]
fn while_a_transform_is_out_readings_go_on_without_it_and_it_is_tried_again() {
    // It loops on everything, until it is mended.
    let (link, clock, calls) = looping(OnFailure::Drop, |t| t < 10_000);
    let mut chain = Chain::new(vec![link], &[], clock.clone());
    let mut seen = 0;
    let (mut poison, mut past) = (0, 0);
    while seen < 10_000 {
        let got = run(&mut chain, seen..seen + 10).unwrap();
        poison += got.poison.len();
        for (_, times, lineage) in got.emitted {
            assert!(lineage.is_empty());
            past += times.len();
        }
        seen += 10;
        clock.advance(Duration::from_millis(100));
    }
    assert_eq!(poison + past, 10_000);
    assert!(past > 9_900 && calls.load(Relaxed) < 50, "{past} of 10,000 went past it");
    assert!(chain.links().next().unwrap().counters.outages.load(Relaxed) > 1, "it was tried again");
    clock.advance(Duration::from_secs(600));
    assert_eq!(
        run(&mut chain, 10_000..10_010).unwrap().emitted,
        [("gps_data".into(), (10_000..10_010).collect(), vec![1])]
    );
}

#[test]
fn while_a_transform_is_out_nothing_may_pass_where_that_is_asked_for() {
    let (mut link, clock, _) = looping(OnFailure::DeadLetter, |_| true);
    link.while_out = WhileOut::SetAside;
    let mut chain = Chain::new(vec![link], &[], clock);
    let seen = run(&mut chain, 0..1000).unwrap();
    assert_eq!((seen.poison.len(), seen.emitted.len()), (1000, 0));
}

#[test]
fn a_transform_that_loops_now_and_then_costs_the_others_little() {
    // One reading in a minute, for a simulated hour, in batches of five.
    let (link, clock, _) = looping(OnFailure::Drop, |t| t % 600 == 7);
    let mut chain = Chain::new(vec![link], &[], clock.clone());
    let (mut at, mut busy) = (0, Duration::ZERO);
    while clock.mono() < Duration::from_secs(3600) {
        let from = clock.mono();
        run(&mut chain, at..at + 5).unwrap();
        busy += clock.mono() - from;
        at += 5;
        clock.advance(Duration::from_millis(500));
    }
    assert!(busy < Duration::from_secs(180), "{busy:?} of an hour");
    assert_eq!(chain.links().next().unwrap().counters.outages.load(Relaxed), 0);
}

#[test]
fn what_the_parts_of_a_batch_give_is_bounded() {
    let text = Value::Text("x".repeat(4 << 20));
    let columns: Arc<[ColumnSpec]> = [ColumnSpec::fixed("text", Kind::Text)].into();
    let apply = move |readings: &mut Vec<Reading>| {
        if readings.len() > 1 {
            return Err(Failure::OutputLimit { unit: "bytes", limit: 8 << 20 });
        }
        let row = Derived { stream: event_name(), columns: columns.clone(), values: vec![text.clone()] };
        let derived = vec![Reading { ts: readings[0].ts, clock: Clock::Gps, body: Body::Derived(row) }];
        Ok(Applied { derived, ..Applied::default() })
    };
    let mut chain = chain([link(1, Stream::Gps, OnFailure::Drop, apply)]);
    let seen = run(&mut chain, 0..64).unwrap();
    let of = |stream: &str| {
        let pieces = seen.emitted.iter().filter(|(s, ..)| s == stream);
        pieces.flat_map(|(_, times, _)| times.clone()).collect::<Vec<i64>>()
    };
    // 32 MiB, of which the fixes are a little.
    assert_eq!((of("event").len(), of("gps_data")), (8, (0..64).collect()));
}

#[test]
fn what_a_failure_costs_later_counts_too() {
    let clock = Arc::new(FakeClock::at(0));
    let (time, mut ended) = (clock.clone(), false);
    let apply = move |readings: &mut Vec<Reading>| {
        if readings.iter().any(|r| r.ts % 2 == 1) {
            ended = true;
            return Err(Failure::Trap("odd".into()));
        }
        if std::mem::take(&mut ended) {
            time.advance(Duration::from_millis(600));
        }
        Ok(Applied::default())
    };
    let link = link(1, Stream::Gps, OnFailure::Drop, apply);
    let mut chain = Chain::new(vec![link], &[], clock);
    assert_eq!(run(&mut chain, [0, 1]).unwrap().poison.len(), 1);
    // The start of an instance for the search and one for the batch without the poison: more than a second.
    assert_eq!(chain.links().next().unwrap().counters.outages.load(Relaxed), 1);
    assert_eq!(run(&mut chain, [2, 3]).unwrap().poison, []);
}
