//! What a transform that loops costs the streams that it does not take: readings of `vehicle_data` a second,
//! flat out through a transform and into the spool, beside fixes at 10 Hz for a transform that does nothing,
//! that loops on a fix now and then, and that loops on every one. The runs alternate.
//!
//! `cargo bench -p milepost-agent --bench isolation [-- SECONDS]`

use milepost_agent::config::{Config, TransformConfig};
use milepost_agent::run::{Agent, Named, Seams};
use milepost_agent::source::{Outlet, Run, Source};
use milepost_wire::reading::{Gps, Vehicle};
use milepost_wire::{Clock, Reading, Stream, VehicleId};
use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

const HOSTILE: &[u8] = include_bytes!("../../transforms/host/tests/guests/hostile.wasm");
/// The goal: the others lose at most this part of their rate.
const GOAL: f64 = 0.05;
/// How long a run is.
const SECONDS: u64 = 60;

/// Vehicle readings as fast as they are taken.
struct FlatOut;

impl Source for FlatOut {
    fn run<'a>(&'a mut self, outlet: &'a Outlet, stop: &'a CancellationToken) -> Run<'a> {
        Box::pin(async move {
            let mut n = 0;
            while !stop.is_cancelled() {
                let body = Vehicle {
                    lat_e7: Some(n as i32),
                    lon_e7: Some(7),
                    speed_mm_s: Some(13_000 + n as u32 % 100),
                    heading_cdeg: Some(9_000),
                    make: None,
                    model: None,
                    year: None,
                    fuel_type: None,
                    vehicle_type: None,
                };
                outlet.send(Reading { ts: n * 1_000, clock: Clock::Gps, body: body.into() }).await;
                n += 1;
            }
            Ok(())
        })
    }
}

/// Ten fixes a second, of which one in `bad` makes the transform loop.
struct Fixes {
    bad: Option<i64>,
}

impl Source for Fixes {
    fn run<'a>(&'a mut self, outlet: &'a Outlet, stop: &'a CancellationToken) -> Run<'a> {
        Box::pin(async move {
            let mut tick = tokio::time::interval(Duration::from_millis(100));
            let mut n = 1;
            while !stop.is_cancelled() {
                tick.tick().await;
                let body = Gps {
                    lat_e7: n as i32,
                    lon_e7: 0,
                    altitude_cm: None,
                    speed_mm_s: None,
                    heading_cdeg: None,
                    fix: if self.bad.is_some_and(|bad| n % bad == 0) { 99 } else { 1 },
                    satellites: None,
                    hdop_e2: None,
                };
                outlet.offer(Reading { ts: n * 100_000, clock: Clock::Gps, body: body.into() });
                n += 1;
            }
            Ok(())
        })
    }
}

fn config(dir: &Path) -> Config {
    let mut config = Config::new(VehicleId::new("bench").expect("a name"), dir);
    config.uplink.url = "mqtt://127.0.0.1:1".into();
    let privacy = std::fs::read("../transforms/prebuilt/privacy_zones.wasm").expect("a prebuilt transform");
    let mut looping = TransformConfig::embedded("looping", HOSTILE);
    looping.params = [("how".into(), "loop".into())].into();
    let mut others = TransformConfig::embedded("others", privacy);
    others.params = [("zones".into(), "".into())].into();
    config.transform = vec![looping, others];
    config
}

/// Vehicle readings a second.
async fn run(bad: Option<i64>, seconds: u64) -> f64 {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let sources: Vec<Named> =
        vec![("vehicle".into(), Box::new(FlatOut)), ("gps".into(), Box::new(Fixes { bad }))];
    let agent = Agent::start_with(config(dir.path()), Seams::default(), sources).await.expect("it starts");
    let rows = || agent.counters().pipeline.accepted_by_stream().get(&Stream::Vehicle).copied().unwrap_or(0);
    let (from, before) = (Instant::now(), rows());
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let rate = (rows() - before) as f64 / from.elapsed().as_secs_f64();
    let counters = agent.counters().transforms.get()[0].counters.clone();
    let [poison, errors, outages] =
        [&counters.poison, &counters.errors, &counters.outages].map(|c| c.load(Relaxed));
    println!(
        "  {rate:>9.0} readings/s ({poison} fixes set aside, {errors} calls failed, {outages} times out)"
    );
    agent.abort().await;
    rate
}

fn main() {
    let seconds = std::env::args().find_map(|a| a.parse().ok()).unwrap_or(SECONDS);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let cases =
            [("no fix loops", None), ("one fix in 300 loops", Some(300)), ("every fix loops", Some(1))];
        let mut rates = [0.0; 3];
        for _ in 0..2 {
            for ((name, bad), rate) in cases.into_iter().zip(&mut rates) {
                println!("{name}");
                *rate += run(bad, seconds).await;
            }
        }
        for ((name, _), rate) in cases.into_iter().zip(rates).skip(1) {
            let lost = 1.0 - rate / rates[0];
            let met = if lost < GOAL { "met" } else { "NOT MET" };
            println!(
                "{name}: the others lose {:.1} % of their rate (goal: below {:.0} %, {met})",
                lost * 100.0,
                GOAL * 100.0
            );
        }
    });
}
