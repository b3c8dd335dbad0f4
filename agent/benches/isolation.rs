//! What a transform that loops costs the streams that it does not take: readings of `vehicle_data` a second,
//! flat out through a transform and into the spool, beside fixes at 10 Hz for a transform that does nothing,
//! that loops on a fix now and then, and that loops on every one.
//!
//! A machine may be a fifth faster in one minute than in the next, which is more than is looked for. So the three
//! agents live side by side and take turns of two seconds; an agent's clock stands while it is not its turn.
//!
//! `cargo bench -p milepost-agent --bench isolation [-- SECONDS]`

use milepost_agent::clock::{Clock, SystemClock};
use milepost_agent::config::{Config, TransformConfig};
use milepost_agent::run::{Agent, AgentHandle, Named, Seams};
use milepost_agent::source::{Outlet, Run, Source};
use milepost_wire::reading::{Gps, Vehicle};
use milepost_wire::{Clock as Trust, Reading, Stream, VehicleId};
use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

const HOSTILE: &[u8] = include_bytes!("../../transforms/host/tests/guests/hostile.wasm");
/// The goal: the others lose at most this part of their rate.
const GOAL: f64 = 0.05;
/// How long each agent runs, in all.
const SECONDS: u64 = 60;
/// How long a turn is, and how long what is under way at its end is waited for.
const TURN: (Duration, Duration) = (Duration::from_secs(2), Duration::from_millis(100));

/// Whose turn it is, and the time of an agent, which passes in its turns only.
struct Turn {
    is_on: watch::Sender<bool>,
    spent: Mutex<(Duration, Option<Instant>)>,
    system: SystemClock,
}

impl Turn {
    fn new() -> Self {
        Self { is_on: watch::channel(false).0, spent: Mutex::default(), system: SystemClock::new() }
    }

    fn set(&self, on: bool) {
        let mut spent = self.spent.lock().expect("nobody panicked");
        if let Some(since) = spent.1.take() {
            spent.0 += since.elapsed();
        }
        spent.1 = on.then(Instant::now);
        self.is_on.send_replace(on);
    }
}

impl Clock for Turn {
    fn wall_us(&self) -> i64 {
        self.system.wall_us()
    }
    fn mono(&self) -> Duration {
        let spent = self.spent.lock().expect("nobody panicked");
        spent.0 + spent.1.map_or(Duration::ZERO, |since| since.elapsed())
    }
    fn trust(&self) -> Trust {
        Trust::Ntp
    }
}

/// Vehicle readings as fast as they are taken.
struct FlatOut(Arc<Turn>);

impl Source for FlatOut {
    fn run<'a>(&'a mut self, outlet: &'a Outlet, stop: &'a CancellationToken) -> Run<'a> {
        Box::pin(async move {
            let mut turn = self.0.is_on.subscribe();
            let mut n = 0;
            while !stop.is_cancelled() {
                if n % 64 == 0 && turn.wait_for(|on| *on).await.is_err() {
                    break;
                }
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
                outlet.send(Reading { ts: n * 1_000, clock: Trust::Gps, body: body.into() }).await;
                n += 1;
            }
            Ok(())
        })
    }
}

/// Ten fixes a second, of which one in `bad` makes the transform loop.
struct Fixes {
    turn: Arc<Turn>,
    bad: Option<i64>,
}

impl Source for Fixes {
    fn run<'a>(&'a mut self, outlet: &'a Outlet, stop: &'a CancellationToken) -> Run<'a> {
        Box::pin(async move {
            let mut turn = self.turn.is_on.subscribe();
            let mut n = 1;
            while !stop.is_cancelled() && turn.wait_for(|on| *on).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(100)).await;
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
                outlet.offer(Reading { ts: n * 100_000, clock: Trust::Gps, body: body.into() });
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

/// An agent, its turns, and what it did in each.
struct Case {
    name: &'static str,
    turn: Arc<Turn>,
    agent: AgentHandle,
    /// Vehicle readings a second, by turn.
    rates: Vec<f64>,
    _dir: tempfile::TempDir,
}

impl Case {
    async fn start(name: &'static str, bad: Option<i64>) -> Self {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
        let turn = Arc::new(Turn::new());
        let fixes = Fixes { turn: turn.clone(), bad };
        let sources: Vec<Named> =
            vec![("vehicle".into(), Box::new(FlatOut(turn.clone()))), ("gps".into(), Box::new(fixes))];
        let seams = Seams { clock: turn.clone(), ..Seams::default() };
        let agent = Agent::start_with(config(dir.path()), seams, sources).await.expect("it starts");
        Self { name, turn, agent, rates: Vec::new(), _dir: dir }
    }

    fn rows(&self) -> u64 {
        let rows = self.agent.counters().pipeline.accepted_by_stream();
        rows.get(&Stream::Vehicle).copied().unwrap_or(0)
    }

    async fn take_turn(&mut self) {
        let (before, from) = (self.rows(), Instant::now());
        self.turn.set(true);
        tokio::time::sleep(TURN.0).await;
        self.turn.set(false);
        let took = from.elapsed();
        tokio::time::sleep(TURN.1).await;
        self.rates.push((self.rows() - before) as f64 / took.as_secs_f64());
    }

    fn rate(&self) -> f64 {
        self.rates.iter().sum::<f64>() / self.rates.len() as f64
    }
}

fn main() {
    let seconds = std::env::args().find_map(|a| a.parse().ok()).unwrap_or(SECONDS);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    runtime.expect("a runtime").block_on(async {
        // The first two show what the measurement itself can tell apart.
        let mut cases = Vec::new();
        for (name, bad) in [
            ("no fix loops", None),
            ("no fix loops, once more", None),
            ("one fix in 300 loops", Some(300)),
            ("every fix loops", Some(1)),
        ] {
            cases.push(Case::start(name, bad).await);
        }
        for _ in 0..seconds / TURN.0.as_secs() {
            for case in &mut cases {
                case.take_turn().await;
            }
        }
        let base = cases[0].rate();
        for case in &cases {
            let counters = case.agent.counters().transforms.get()[0].counters.clone();
            let [poison, errors, outages] =
                [&counters.poison, &counters.errors, &counters.outages].map(|c| c.load(Relaxed));
            let (rate, lost) = (case.rate(), 1.0 - case.rate() / base);
            let met = if lost < GOAL { "met" } else { "NOT MET" };
            println!(
                "{:<24} {rate:>9.0} readings/s, {:>5.1} % less (goal: below {:.0} %, {met}); \
                 {poison} fixes set aside, {errors} calls failed, {outages} times out",
                case.name,
                lost * 100.0,
                GOAL * 100.0
            );
        }
        for case in cases {
            case.agent.abort().await;
        }
    });
}
