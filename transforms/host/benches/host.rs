//! Nanoseconds a reading in batches of 256 fixes: each example in the sandbox and natively, and a
//! pass-through, beside their goals. Rounds alternate between the two, the median counts. Then what a fresh
//! instance costs, as after a failure.
//!
//! The drive has a hard stop in three minutes; `wild` has little else.
//!
//! `cargo bench -p milepost-transform-host`

#[path = "../tests/drive/mod.rs"]
mod drive;

use downsample::Downsample;
use harsh_driving::HarshDriving;
use milepost_transform::Batch;
use milepost_transform::run::Registered;
use milepost_transform::testing::Bench;
use milepost_transform_host::{Engine, EngineSettings, Limits, Transform};
use milepost_wire::{Reading, Stream};
use privacy_zones::PrivacyZones;
use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

const BATCH: usize = 256;
const ROUNDS: usize = 201;
const BATCHES_A_ROUND: usize = 20;
/// The goal above a native call, ns a reading.
const GOAL_NS: f64 = 60.0;
/// The goal of `harsh_driving`, times its native build.
const GOAL_RATIO: f64 = 1.6;

fn main() {
    let engine = Engine::new(&EngineSettings::default()).expect("an engine");
    println!("{:<16}{:>12}{:>12}{:>12}{:>9}", "ns a reading", "sandbox", "native", "above", "times");
    // Its thresholds are never reached and its fixes all stay: what is left is the way there and back.
    let idle = [("braking_g", "5"), ("acceleration_g", "5"), ("cornering_g", "5")];
    let zones = [("zones", "52.0,-1.5,300,drop; 51.5,-0.1,1000,coarsen; 52.48,-1.9,500,drop")];
    let (drive, wild) = (drive::calm(BATCH, 1), drive::fixes(BATCH, 1));
    let bench = Rows { engine: &engine };
    let pass = bench.row::<PrivacyZones>("pass-through", "privacy_zones", &[("zones", "")], &drive);
    bench.row::<Downsample>("downsample", "downsample", &[], &drive);
    bench.row::<PrivacyZones>("privacy_zones", "privacy_zones", &zones, &drive);
    let harsh = bench.row::<HarshDriving>("harsh_driving", "harsh_driving", &[], &drive);
    bench.row::<HarshDriving>("  no events", "harsh_driving", &idle, &drive);
    bench.row::<HarshDriving>("  wild", "harsh_driving", &[], &wild);
    println!(
        "goals: pass-through at most {GOAL_NS} above native ({}); harsh_driving at most {GOAL_RATIO} times native ({})",
        met(pass.0 - pass.1 <= GOAL_NS),
        met(harsh.0 <= GOAL_RATIO * harsh.1)
    );
    bench.fresh("harsh_driving");
}

fn met(met: bool) -> &'static str {
    if met { "met" } else { "NOT MET" }
}

struct Rows<'a> {
    engine: &'a Engine,
}

impl Rows<'_> {
    fn load(&self, file: &str, title: &str, params: &[(&str, &str)]) -> Transform {
        let path = Path::new("../prebuilt").join(format!("{file}.wasm"));
        let bytes = std::fs::read(&path).expect("a prebuilt example");
        let params = params.iter().map(|(k, v)| (String::from(*k), String::from(*v))).collect();
        Transform::load(self.engine, &bytes, title, params, Limits::default()).expect("it starts")
    }

    /// Median ns a reading, in the sandbox and natively.
    fn row<T: Registered>(
        &self,
        title: &str,
        file: &str,
        params: &[(&str, &str)],
        fixes: &[Reading],
    ) -> (f64, f64) {
        let mut sandbox = self.load(file, title, params);
        let mut native = Bench::<T>::new(params);
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            ours.push(time(fixes, |batch| {
                black_box(sandbox.apply(&Stream::Gps, batch).expect("it works"));
            }));
            // The native call sees the readings as the sandbox does: typed, in a batch of its own.
            theirs.push(time(fixes, |batch| {
                let rows = batch.iter().map(drive::to_sdk).collect();
                black_box(native.process(Batch::Gps(rows)).expect("it works"));
            }));
        }
        let (ours, theirs) = (median(ours), median(theirs));
        println!("{title:<16}{ours:>12.1}{theirs:>12.1}{:>12.1}{:>9.2}", ours - theirs, ours / theirs);
        (ours, theirs)
    }

    /// What it takes to end an instance and to start another with its state.
    fn fresh(&self, file: &str) {
        let mut transform = self.load(file, file, &[]);
        transform.process(&Stream::Gps, &drive::calm(BATCH, 1)).expect("it works");
        let times = (0..ROUNDS).map(|_| {
            let state = transform.state();
            let from = Instant::now();
            transform.set_state(state).expect("it takes its state back");
            from.elapsed().as_nanos() as f64 / 1e3
        });
        println!("a fresh instance of {file}, with its state: {:.0} µs", median(times.collect()));
    }
}

/// ns a reading of a round; making the batches is not counted.
fn time(fixes: &[Reading], mut run: impl FnMut(&mut Vec<Reading>)) -> f64 {
    let mut spent = Duration::ZERO;
    for _ in 0..BATCHES_A_ROUND {
        let mut batch = fixes.to_vec();
        let from = Instant::now();
        run(&mut batch);
        spent += from.elapsed();
        black_box(&batch);
    }
    spent.as_nanos() as f64 / (BATCH * BATCHES_A_ROUND) as f64
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
