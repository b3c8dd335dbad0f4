//! An hour of the agent's time at 1,000 readings a second, with no broker to be had: its memory stays
//! flat, whether the spool holds all of it or overflows. Alone in its process, because it looks at the
//! process's memory.

use milepost_agent::clock::{Clock, FakeClock};
use milepost_agent::config::Config;
use milepost_agent::health::resident_bytes;
use milepost_agent::run::{Agent, Named, Report, Seams};
use milepost_agent::source::{Outlet, Run, Source};
use milepost_agent::units::{Size, Span};
use milepost_wire::reading::Gps;
use milepost_wire::{Reading, VehicleId};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const RATE: u64 = 1_000;
const MINUTES: u64 = 60;
/// Readings between two steps of the clock.
const STEP: u64 = 10;

/// A receiver that lets time pass itself, and notes the process's memory every minute.
struct Receiver {
    clock: Arc<FakeClock>,
    memory: Arc<Mutex<Vec<u64>>>,
}

impl Source for Receiver {
    fn run<'a>(&'a mut self, outlet: &'a Outlet, _: &'a CancellationToken) -> Run<'a> {
        Box::pin(async move {
            for n in 0..RATE * 60 * MINUTES {
                if n % STEP == 0 {
                    self.clock.advance(Duration::from_micros(1_000_000 * STEP / RATE));
                }
                outlet.send(fix(n, self.clock.wall_us())).await;
                if (n + 1) % (RATE * 60) == 0 {
                    self.memory.lock().unwrap().extend(resident_bytes());
                }
            }
            Ok(())
        })
    }
}

/// A drive, with the noise of a receiver.
fn fix(n: u64, ts: i64) -> Reading {
    let noise = (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 60) as i32;
    let body = Gps {
        lat_e7: 480_000_000 + (n % 1_000_000) as i32 * 13 + noise,
        lon_e7: 110_000_000 + (n % 1_000_000) as i32 * 9 - noise,
        altitude_cm: Some(50_000 + noise * 10),
        speed_mm_s: Some(14_000 + noise as u32 * 20),
        heading_cdeg: Some(9_000 + noise as u16 * 5),
        fix: 1,
        satellites: Some(11),
        hdop_e2: Some(90),
    };
    Reading { ts, clock: milepost_wire::Clock::Gps, body: body.into() }
}

/// Two agents at a time would see each other's memory.
static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// An hour with a spool of so many bytes: the agent's last report, the bytes of its folder, and the
/// process's memory minute by minute.
async fn hour(bytes_max: u64) -> (Report, u64, Vec<u64>) {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(FakeClock::at(1_700_000_000_000_000));
    let memory = Arc::<Mutex<Vec<u64>>>::default();
    let mut config = Config::new(VehicleId::new("truck-1").unwrap(), dir.path());
    config.uplink.url = "mqtt://127.0.0.1:1".into();
    // As often as with the defaults in an hour, and more: this one is over in a minute.
    config.uplink.retry_max = Span(Duration::from_millis(200));
    // The clock waits for the pipeline, so that every reading meets the time that is its own.
    config.queue.readings = 100;
    config.pipeline.linger = Span(Duration::ZERO);
    config.spool.bytes_max = Size(bytes_max);
    config.spool.segment = Size(config.spool.segment.0.min(bytes_max / 16));
    let source: Named = ("gps".into(), Box::new(Receiver { clock: clock.clone(), memory: memory.clone() }));
    let agent = Agent::start_with(config, Seams { clock, ..Seams::default() }, vec![source]).await.unwrap();
    agent.sources_ended().await;
    let report = agent.stop(Duration::ZERO).await;
    let memory = memory.lock().unwrap().clone();
    (report, bytes_below(dir.path()), memory)
}

fn bytes_below(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).unwrap().map(Result::unwrap);
    entries
        .map(|e| if e.path().is_dir() { bytes_below(&e.path()) } else { e.metadata().unwrap().len() })
        .sum()
}

fn is_flat(memory: &[u64]) {
    let (early, late) = (memory[5], *memory[6..].iter().max().unwrap());
    let mib = |bytes: u64| bytes as f64 / (1 << 20) as f64;
    println!("memory {:.1} MiB after six minutes, {:.1} MiB at most later", mib(early), mib(late));
    assert!(late < early + (4 << 20), "bytes, by minute: {memory:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_hour_without_a_broker_at_a_thousand_readings_a_second_leaves_the_memory_flat() {
    let _turn = TURN.lock().await;
    let (report, _, memory) = hour(1 << 30).await;
    let status = report.status.unwrap();
    let gps = status.streams.iter().find(|s| s.stream == milepost_wire::Stream::Gps).unwrap();
    assert_eq!(gps.next_seq, RATE * 60 * MINUTES);
    assert!(status.lanes.iter().all(|l| l.dropped == 0) && report.undelivered >= gps.next_seq / 60);
    let bytes: u64 = status.lanes.iter().map(|l| l.bytes).sum();
    println!("{} records wait in {} MiB of spool", report.undelivered, bytes >> 20);
    is_flat(&memory);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_hour_without_a_broker_and_with_a_spool_that_overflows_all_the_time_leaves_the_memory_flat() {
    const BYTES_MAX: u64 = 1 << 20;
    let _turn = TURN.lock().await;
    let (report, on_disk, memory) = hour(BYTES_MAX).await;
    let status = report.status.unwrap();
    let gps = status.streams.iter().find(|s| s.stream == milepost_wire::Stream::Gps).unwrap();
    assert_eq!(gps.next_seq, RATE * 60 * MINUTES);
    let (bytes, dropped): (u64, u64) =
        (status.lanes.iter().map(|l| l.bytes).sum(), status.lanes.iter().map(|l| l.dropped).sum());
    println!(
        "{} records wait, {dropped} dropped, {bytes} bytes of spool, {on_disk} on disk",
        report.undelivered
    );
    assert!(dropped > 10 * report.undelivered, "it overflowed many times over");
    assert!(bytes <= BYTES_MAX, "{bytes} bytes of spool");
    assert!(on_disk < BYTES_MAX + (4 << 20), "{on_disk} bytes with the journal and the reserve");
    is_flat(&memory);
}
