//! How many readings an agent takes from a source through the three example transforms into its spool
//! (synced to a real disk, frames encoded), what memory it takes, and what it costs at 1,000 readings a
//! second. No broker: everything stays in the spool.

use milepost_agent::config::{Config, TransformConfig};
use milepost_agent::run::{Agent, Named, Seams};
use milepost_agent::source::{Outlet, Run, Source};
use milepost_wire::reading::Gps;
use milepost_wire::{Clock, Reading, VehicleId};
use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// Readings of the flat-out run.
const FLAT_OUT: i64 = 1_000_000;
/// Readings a second, and seconds, of the steady run.
const STEADY: (i64, u64) = (1_000, 10);

/// A drive that turns and changes speed, `total` fixes of it.
struct Drive {
    next: i64,
    total: i64,
    /// Fixes in 20 ms; none: as fast as they go.
    per_tick: Option<i64>,
}

impl Source for Drive {
    fn run<'a>(&'a mut self, outlet: &'a Outlet, _: &'a CancellationToken) -> Run<'a> {
        Box::pin(async move {
            let mut tick = tokio::time::interval(Duration::from_millis(20));
            while self.next < self.total {
                if self.per_tick.is_some_and(|n| self.next % n == 0) {
                    tick.tick().await;
                }
                outlet.send(fix(self.next)).await;
                self.next += 1;
            }
            Ok(())
        })
    }
}

fn fix(n: i64) -> Reading {
    let angle = n as f64 / 200.0;
    let body = Gps {
        lat_e7: 515_000_000 + (angle.sin() * 400_000.0) as i32,
        lon_e7: -1_000_000 + (angle.cos() * 600_000.0) as i32,
        altitude_cm: Some(4_000 + (angle.sin() * 900.0) as i32),
        speed_mm_s: Some(13_000 + (n * 7 % 311) as u32),
        heading_cdeg: Some((n * 29 % 36_000) as u16),
        fix: 1,
        satellites: Some(9),
        hdop_e2: Some(90),
    };
    Reading { ts: 1_700_000_000_000_000 + n * 1_000_000, clock: Clock::Gps, body: body.into() }
}

fn config(dir: &Path) -> Config {
    let mut config = Config::new(VehicleId::new("bench").expect("a name"), dir);
    config.uplink.url = "mqtt://127.0.0.1:1".into();
    let prebuilt = Path::new("../transforms/prebuilt");
    let transform = |name: &str, params: &[(&str, &str)]| {
        let component = std::fs::read(prebuilt.join(format!("{name}.wasm"))).expect("a prebuilt transform");
        let mut transform = TransformConfig::embedded(name, component);
        transform.params = params.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
        transform
    };
    config.transform = vec![
        transform("privacy_zones", &[("zones", "51.6,-0.2,500,coarsen")]),
        transform("harsh_driving", &[]),
        // Keeps everything, so that the spool has everything to do.
        transform("downsample", &[("min_distance_m", "0")]),
    ];
    config
}

/// User and system time of this process.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let ticks: u64 = fields.split_whitespace().skip(11).take(2).filter_map(|n| n.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}

fn memory(key: &str) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix(key)).unwrap_or_default();
    line.split_whitespace().find_map(|n| n.parse::<f64>().ok()).unwrap_or_default() / 1024.0
}

async fn run(name: &str, total: i64, per_tick: Option<i64>) {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let source: Named = ("drive".into(), Box::new(Drive { next: 0, total, per_tick }));
    let agent = Agent::start_with(config(dir.path()), Seams::default(), vec![source]).await.expect("starts");
    let (wall, before) = (Instant::now(), cpu());
    agent.sources_ended().await;
    let (wall, cpu) = (wall.elapsed().as_secs_f64(), (cpu() - before).as_secs_f64());
    let accepted = agent.counters().pipeline.accepted.load(Relaxed);
    let report = agent.stop(Duration::ZERO).await;
    let bytes: u64 = report.status.iter().flat_map(|s| s.lanes).map(|l| l.bytes).sum();
    println!(
        "{name}: {total} readings in, {accepted} rows, {:.0} readings/s, {:.0} readings per CPU second, \
         CPU {:.1} % of a core, {:.1} B/row in the spool, RSS {:.1} MB (peak {:.1})",
        total as f64 / wall,
        total as f64 / cpu,
        100.0 * cpu / wall,
        bytes as f64 / accepted as f64,
        memory("VmRSS:"),
        memory("VmHWM:"),
    );
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let (rate, seconds) = STEADY;
        run("agent, steady", rate * seconds as i64, Some(rate / 50)).await;
        run("agent, flat out", FLAT_OUT, None).await;
    });
}
