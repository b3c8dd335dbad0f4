//! Transforms that do what they must not, in whole agents: each is stopped with a word that says what it
//! did, the readings of other streams do not notice, and what a transform remembers outlives a kill and a
//! new edition. No broker: what left the transforms is read from the spool.

use milepost_agent::clock::{self, Clock as _, SystemClock};
use milepost_agent::config::{Config, TransformConfig};
use milepost_agent::outbox::{Now, Outbox, RealDisk, Settings};
use milepost_agent::pipeline::chain::OnChange;
use milepost_agent::run::{Agent, AgentHandle, Named, Seams};
use milepost_agent::source::{Outlet, Run, Source};
use milepost_agent::units::Span;
use milepost_wire::reading::{Gps, Weather};
use milepost_wire::{Batch, Body, BootId, Clock, Reading, Stream, Value, VehicleId, frame};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

const HOSTILE: &[u8] = include_bytes!("../../transforms/host/tests/guests/hostile.wasm");
/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(60);

/// Delivers its readings one after the other, with a pause between some.
struct Script {
    readings: Vec<Reading>,
    /// So many, then a pause.
    pause: Option<(usize, Duration)>,
}

impl Source for Script {
    fn run<'a>(&'a mut self, outlet: &'a Outlet, _: &'a CancellationToken) -> Run<'a> {
        Box::pin(async move {
            for (i, reading) in self.readings.drain(..).enumerate() {
                if let Some((every, pause)) = self.pause
                    && i % every == 0
                {
                    tokio::time::sleep(pause).await;
                }
                outlet.send(reading).await;
            }
            Ok(())
        })
    }
}

/// Delivers what it is fed, until that ends.
struct Fed(mpsc::Receiver<Reading>);

impl Source for Fed {
    fn run<'a>(&'a mut self, outlet: &'a Outlet, _: &'a CancellationToken) -> Run<'a> {
        Box::pin(async move {
            while let Some(reading) = self.0.recv().await {
                outlet.send(reading).await;
            }
            Ok(())
        })
    }
}

fn fed(name: &str) -> (mpsc::Sender<Reading>, Named) {
    let (feed, readings) = mpsc::channel(64);
    (feed, (name.into(), Box::new(Fed(readings))))
}

/// A clock for which a busy machine is fast: what calls take on it does not use a budget up.
struct Slow(SystemClock);

impl clock::Clock for Slow {
    fn wall_us(&self) -> i64 {
        self.0.wall_us()
    }
    fn mono(&self) -> Duration {
        self.0.mono() / 50
    }
    fn trust(&self) -> Clock {
        self.0.trust()
    }
}

fn script(name: &str, readings: impl IntoIterator<Item = Reading>) -> Named {
    (name.into(), Box::new(Script { readings: readings.into_iter().collect(), pause: None }))
}

fn paced(name: &str, readings: impl IntoIterator<Item = Reading>) -> Named {
    let pause = Some((10, Duration::from_millis(1)));
    (name.into(), Box::new(Script { readings: readings.into_iter().collect(), pause }))
}

/// A fix; one that sets a hostile transform off where it is bad.
fn gps(n: i64, bad: bool) -> Reading {
    let body = Gps {
        lat_e7: n as i32,
        lon_e7: 2,
        altitude_cm: None,
        speed_mm_s: None,
        heading_cdeg: None,
        fix: if bad { 99 } else { 1 },
        satellites: None,
        hdop_e2: None,
    };
    Reading { ts: n, clock: Clock::Gps, body: body.into() }
}

fn weather(n: i64) -> Reading {
    let body = Weather {
        lat_e7: None,
        lon_e7: None,
        temperature_c_e2: Some(n as i16),
        condition: None,
        precipitation_mm_h_e2: None,
        wind_speed_mm_s: None,
        humidity_pct_e2: None,
        air_quality_index: None,
    };
    Reading { ts: n, clock: Clock::Gps, body: body.into() }
}

fn hostile(how: &str) -> TransformConfig {
    let mut transform = TransformConfig::embedded("hostile", HOSTILE);
    transform.params = BTreeMap::from([("how".into(), how.into())]);
    transform.limits.cpu = Some(Span(Duration::from_millis(50)));
    transform.limits.init_cpu = Some(Span(Duration::from_millis(50)));
    transform
}

fn config(dir: &Path, transform: Vec<TransformConfig>) -> Config {
    let mut config = Config::new(VehicleId::new("v").unwrap(), dir);
    config.uplink.url = "mqtt://127.0.0.1:1".into();
    config.transform = transform;
    config
}

async fn start(dir: &Path, transform: TransformConfig, sources: Vec<Named>) -> AgentHandle {
    Agent::start_with(config(dir, vec![transform]), Seams::default(), sources).await.unwrap()
}

async fn start_slow(dir: &Path, transform: TransformConfig, sources: Vec<Named>) -> AgentHandle {
    let seams = Seams { clock: Arc::new(Slow(SystemClock::new())), ..Seams::default() };
    Agent::start_with(config(dir, vec![transform]), seams, sources).await.unwrap()
}

async fn until(what: &str, done: impl Fn() -> bool) {
    let clock = SystemClock::new();
    while !done() {
        assert!(clock.mono() < PATIENCE, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// All frames in the spool that an agent left.
fn spool(dir: &Path) -> Vec<Batch> {
    // A thread of the agent that was stopped may still be letting go of it.
    let clock = SystemClock::new();
    let disk = loop {
        match RealDisk::new(dir.join("spool")) {
            Err(e) if e.kind() == std::io::ErrorKind::ResourceBusy && clock.mono() < PATIENCE => {
                std::thread::sleep(Duration::from_millis(5));
            }
            opened => break Arc::new(opened.unwrap()),
        }
    };
    let now = Now { mono: Duration::ZERO, wall_us: 0, trust: Clock::None };
    let vehicle = VehicleId::new("v").unwrap();
    let (_outbox, mut reader) =
        Outbox::open(disk, Settings::default(), vehicle, BootId(u64::MAX), now).unwrap();
    let records = std::iter::from_fn(|| reader.next());
    records.map(|record| frame::decode(&record.frame).unwrap()).collect()
}

/// The readings of a stream, boot by boot in the order in which the boots ran.
fn readings(batches: &[Batch], boots: &[BootId], stream: &Stream) -> Vec<Vec<Reading>> {
    let of_boot = |boot: &BootId| {
        let mine = batches.iter().filter(|b| b.boot == *boot && b.stream == *stream);
        mine.flat_map(|b| (0..b.len()).map(move |i| b.reading(i).unwrap())).collect()
    };
    boots.iter().map(of_boot).collect()
}

/// What a hostile transform counted for each fix that it saw: in its memory and with the host.
fn counted(rows: &[Reading]) -> Vec<(i64, i64)> {
    let row = |r: &Reading| match &r.body {
        Body::Derived(row) => match row.values[..] {
            [Value::Int(seen), Value::Int(stored)] => (seen, stored),
            _ => panic!("{row:?}"),
        },
        other => panic!("{other:?}"),
    };
    rows.iter().map(row).collect()
}

fn seen() -> Stream {
    "seen".parse().unwrap()
}

/// The log of all tests of this program.
fn log() -> &'static Mutex<Vec<u8>> {
    static LOG: OnceLock<&'static Mutex<Vec<u8>>> = OnceLock::new();
    LOG.get_or_init(|| {
        let log: &'static Mutex<Vec<u8>> = Box::leak(Box::default());
        struct Lines(&'static Mutex<Vec<u8>>);
        impl Write for Lines {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                self.0.lock().unwrap().extend_from_slice(bytes);
                Ok(bytes.len())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        tracing_subscriber::fmt().with_ansi(false).with_writer(move || Lines(log)).init();
        log
    })
}

fn log_has(what: &str) -> bool {
    String::from_utf8_lossy(&log().lock().unwrap()).contains(what)
}

/// An agent whose transform does `how` on three of 300 fixes, beside a stream that it does not take: the
/// three are set aside, all others are there, and the log says what happened.
async fn survives(how: &str, said: &str) {
    log();
    let dir = tempfile::tempdir().unwrap();
    let bad = |n: i64| [40, 41, 250].contains(&n);
    let fixes = (0..300).map(|n| gps(n, bad(n)));
    let sources = vec![paced("gps", fixes), script("weather", (0..20_000).map(weather))];
    let mut transform = hostile(how);
    // Named as what it does, to tell the lines of the log apart.
    transform.name = how.into();
    let agent = start_slow(dir.path(), transform, sources).await;
    let boot = agent.boot();
    agent.sources_ended().await;
    let counters = agent.counters().transforms.get()[0].counters.clone();
    agent.stop(Duration::ZERO).await;
    assert_eq!(counters.poison.load(Relaxed), 3, "{how}");
    assert!(log_has(&format!("transform={how}")) && log_has(said), "{how}: the log does not say {said:?}");

    let batches = spool(dir.path());
    let of = |stream| readings(&batches, &[boot], &stream).remove(0);
    assert_eq!(of(Stream::Weather), (0..20_000).map(weather).collect::<Vec<_>>(), "{how}");
    let good: Vec<Reading> = (0..300).filter(|n| !bad(*n)).map(|n| gps(n, false)).collect();
    assert_eq!(of(Stream::Gps), good, "{how}");
    let expected: Vec<(i64, i64)> = (1..=297).map(|n| (n, n)).collect();
    assert_eq!(counted(&of(seen())), expected, "{how}: as if the three had never been");
    let kept = std::fs::read_to_string(dir.path().join("dead_letter.ndjson")).unwrap();
    assert_eq!(kept.lines().count(), 3, "{how}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_survives_transforms_that_do_not_end() {
    survives("loop", "It used its CPU time of 50ms").await;
    survives("log for ever", "It used its CPU time of 50ms").await;
    survives("loop in snapshot", "It used its CPU time of 50ms").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_survives_transforms_that_want_everything() {
    survives("hog", "bytes of memory, and may have 16777216").await;
    survives("flood", "more than the 16384 rows of output").await;
    survives("flood of text", "more than the 8388608 bytes of output").await;
    survives("state", "bytes of state, and may store 65536").await;
    survives("a large snapshot", "It stored 100000 bytes of state, and may store 65536").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_survives_transforms_that_trap() {
    survives("recurse", "It trapped: wasm trap: call stack exhausted").await;
    survives("panic", "is bad").await;
    survives("trap in snapshot", "in snapshot").await;
    survives("fail", "It said: this fix is bad").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_survives_transforms_that_return_garbage() {
    survives("garbage bits", "100 bytes of bits").await;
    survives("garbage places", "places, ascending below").await;
    survives("garbage stream", "It returned what cannot be").await;
    survives("bad name", "No Such Name").await;
}

/// Bytes that swap the names of two exports, which then have each other's types.
fn with_wrong_types() -> Vec<u8> {
    let mut bytes = HOSTILE.to_vec();
    for at in 0..bytes.len() - 7 {
        let name = &mut bytes[at..at + 7];
        if *name == *b"process" {
            name.copy_from_slice(b"restore");
        } else if *name == *b"restore" {
            name.copy_from_slice(b"process");
        }
    }
    bytes
}

/// (component (import "wasi:cli/environment@0.2.0" (instance)))
fn with_an_import() -> Vec<u8> {
    let mut bytes = b"\0asm\x0d\0\x01\0\x07\x03\x01\x42\x00\x0a\x1f\x01\x00\x1a".to_vec();
    bytes.extend(b"wasi:cli/environment@0.2.0\x05\x00");
    bytes
}

/// What must not be loaded, and what is said of it.
fn unloadable() -> Vec<(TransformConfig, &'static str)> {
    let bytes = |bytes: Vec<u8>| TransformConfig { component: Some(bytes.into()), ..hostile("nothing") };
    vec![
        (bytes(Vec::new()), "is not a WebAssembly component"),
        (bytes(HOSTILE[..HOSTILE.len() / 2].to_vec()), "is not a WebAssembly component"),
        (bytes(vec![0; 100 << 20]), "has 104857600 bytes, and a component may have 33554432"),
        (bytes(with_an_import()), "imports \"wasi:cli/environment@0.2.0\""),
        (bytes(with_wrong_types()), "is not built for the world milepost:transform/transform"),
        (hostile("refuse in init"), "did not start: It said: not today"),
        (hostile("trap in init"), "did not start: It trapped: panicked at"),
        (hostile("loop in init"), "did not start: It used its CPU time of 50ms"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_loaded_keeps_an_agent_from_starting_and_says_why() {
    for (transform, said) in unloadable() {
        let dir = tempfile::tempdir().unwrap();
        let refused = Agent::start(config(dir.path(), vec![transform]), Seams::default()).await;
        let why = refused.err().unwrap_or_else(|| panic!("it started where {said:?} was due")).to_string();
        assert!(why.starts_with("Transform hostile ") && why.contains(said), "{why}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_loaded_while_the_agent_runs_leaves_the_old_transform_at_work() {
    let dir = tempfile::tempdir().unwrap();
    let sources = vec![paced("gps", (0..5_000).map(|n| gps(n, false)))];
    let agent = start(dir.path(), hostile("nothing"), sources).await;
    let boot = agent.boot();
    for (transform, said) in unloadable() {
        let why = agent.reload(vec![transform]).await.unwrap_err().to_string();
        assert!(why.contains(said), "{why}");
    }
    let many = (0..33).map(|_| hostile("nothing")).collect();
    let why = agent.reload(many).await.unwrap_err().to_string();
    assert!(why.contains("33 transforms are configured, and a frame can name 32"), "{why}");
    // It starts, but does not take the state over.
    let why = agent.reload(vec![hostile("trap in restore")]).await.unwrap_err().to_string();
    assert!(why.contains("does not take over what the old one remembers") && why.contains("drop"), "{why}");
    agent.sources_ended().await;
    agent.stop(Duration::ZERO).await;
    let batches = spool(dir.path());
    let expected: Vec<(i64, i64)> = (1..=5_000).map(|n| (n, n)).collect();
    assert_eq!(counted(&readings(&batches, &[boot], &seen())[0]), expected);
    assert!(batches.iter().filter(|b| b.stream == Stream::Gps).all(|b| b.lineage.len() == 1));
}

/// Runs 6,000 fixes while the transform becomes another edition of itself again and again.
async fn reloaded(state: OnChange) -> (Vec<Batch>, BootId, u64) {
    let dir = tempfile::tempdir().unwrap();
    let (feed, source) = fed("gps");
    let agent = start(dir.path(), hostile("edition 0"), vec![source]).await;
    let boot = agent.boot();
    let pipeline = agent.counters().pipeline.clone();
    let mut fixes = (0..6_000).map(|n| gps(n, false));
    for edition in 1..7 {
        for fix in fixes.by_ref().take(800) {
            feed.send(fix).await.unwrap();
        }
        let mut transform = TransformConfig { state, ..hostile(&format!("edition {edition}")) };
        if edition == 6 {
            // Other bytes, so that the lineage changes too: a custom section named x.
            let bytes = [HOSTILE, &[0, 2, 1, b'x']].concat();
            transform.component = Some(bytes.into());
        }
        until("some fixes", || pipeline.received.load(Relaxed) > 800 * edition - 100).await;
        agent.reload(vec![transform]).await.unwrap();
    }
    for fix in fixes {
        feed.send(fix).await.unwrap();
    }
    drop(feed);
    agent.sources_ended().await;
    let figures = agent.counters().transforms.get();
    assert_eq!(figures.len(), 1);
    let received = figures[0].counters.received.load(Relaxed);
    agent.stop(Duration::ZERO).await;
    (spool(dir.path()), boot, received)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_edition_takes_over_between_two_readings_with_what_the_old_one_remembers() {
    let (batches, boot, received) = reloaded(OnChange::Keep).await;
    assert_eq!(received, 6_000);
    let of = |stream| readings(&batches, &[boot], &stream).remove(0);
    assert_eq!(of(Stream::Gps), (0..6_000).map(|n| gps(n, false)).collect::<Vec<_>>());
    let expected: Vec<(i64, i64)> = (1..=6_000).map(|n| (n, n)).collect();
    assert_eq!(counted(&of(seen())), expected, "none lost, none twice, the count goes on");
    let mut lineages: Vec<_> = batches.iter().filter(|b| b.stream == Stream::Gps).collect();
    lineages.sort_by_key(|b| b.first_seq);
    let mut lineages: Vec<_> = lineages.into_iter().map(|b| b.lineage.clone()).collect();
    lineages.dedup();
    assert_eq!(lineages.len(), 2, "it changes at one number: {lineages:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_edition_begins_without_a_state_where_that_is_asked_for() {
    let (batches, boot, received) = reloaded(OnChange::Drop).await;
    assert_eq!(received, 6_000);
    let counts = counted(&readings(&batches, &[boot], &seen())[0]);
    assert_eq!(counts.len(), 6_000);
    let starts = counts.iter().filter(|count| **count == (1, 1)).count();
    assert_eq!(starts, 7, "one for each edition");
    for pair in counts.windows(2) {
        assert!(pair[1] == (1, 1) || pair[1] == (pair[0].0 + 1, pair[0].1 + 1), "{pair:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transform_goes_on_where_the_last_row_of_a_killed_agent_left_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut boots = Vec::new();
    for life in 0..6 {
        let sources = vec![paced("gps", (0..50_000).map(|n| gps(n, n % 4_001 == 7)))];
        let agent = start(dir.path(), hostile("panic"), sources).await;
        boots.push(agent.boot());
        let pipeline = agent.counters().pipeline.clone();
        // Longer than the loss window, so that some of it is kept.
        until("some rows", || pipeline.accepted.load(Relaxed) > 2_000).await;
        tokio::time::sleep(Duration::from_millis(1_100 + 37 * life)).await;
        agent.abort().await;
    }
    let batches = spool(dir.path());
    let counts: Vec<(i64, i64)> =
        readings(&batches, &boots, &seen()).iter().flat_map(|rows| counted(rows)).collect();
    let expected: Vec<(i64, i64)> = (1..=counts.len() as i64).map(|n| (n, n)).collect();
    assert!(counts.len() > 1_000, "{} rows were kept", counts.len());
    assert_eq!(counts, expected, "each life goes on with the number after the last that the one before kept");
}
