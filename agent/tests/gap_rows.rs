//! Every way in which an agent can lose something on purpose, up to the gap row that a real broker's
//! subscriber gets: of which boot and stream, which numbers or how many, and why. What a crash takes and
//! what a broker never takes are in `agent_to_broker.rs`.

mod support;

use milepost_agent::config::{Config, TransformConfig};
use milepost_agent::pipeline::chain::OnFailure;
use milepost_agent::run::{Agent, Named, Seams};
use milepost_agent::source::{Outlet, Run, Source};
use milepost_agent::units::{Size, Span};
use milepost_wire::reading::Gap;
use milepost_wire::{Body, BootId, Reading, Stream};
use std::collections::BTreeMap;
use std::time::Duration;
use support::*;
use tokio_util::sync::CancellationToken;

/// What an agent delivered: its boot, how often each number of a stream came, and its gap rows.
struct Delivered {
    boot: BootId,
    numbers: BTreeMap<u64, usize>,
    gaps: Vec<Gap>,
}

/// Runs an agent to the end of its sources, the broker only then, and takes what it delivers.
async fn run(stream: Stream, sources: Vec<Named>, settings: impl FnOnce(&mut Config)) -> Option<Delivered> {
    let (dir, port) = (tempfile::tempdir().unwrap(), free_port());
    let mut config = config(dir.path(), port);
    // No row but the readings' and the losses'.
    config.health.interval = Span(Duration::from_secs(3600));
    settings(&mut config);
    let agent = Agent::start_with(config, Seams::default(), sources).await.unwrap();
    let boot = agent.boot();
    agent.sources_ended().await;
    let _broker = Mosquitto::start_on(port, "")?;
    let subscriber = Subscriber::start(port).await;
    let report = agent.stop(PATIENCE).await;
    assert_eq!(report.undelivered, 0);
    let rows = report.status.unwrap().streams.into_iter().find(|s| s.stream == Stream::Gap);
    let rows = rows.expect("there is a loss").next_seq as usize;
    until("the gap rows", || subscriber.gaps().len() >= rows).await;
    let numbers = subscriber.numbers(&stream).remove(&boot).unwrap_or_default();
    Some(Delivered { boot, numbers, gaps: subscriber.gaps() })
}

impl Delivered {
    /// Every gap row is of this boot and stream, and of this reason.
    fn assert_all(&self, stream: &Stream, reason: &str) {
        for gap in &self.gaps {
            assert_eq!(gap.gap_boot_id, self.boot.to_string(), "{gap:?}");
            assert_eq!(
                (gap.stream.as_deref(), gap.reason.as_str()),
                (Some(stream.name()), reason),
                "{gap:?}"
            );
            assert_eq!(gap.exact, 1, "{gap:?}");
        }
    }

    fn lost(&self) -> u64 {
        self.gaps.iter().map(|gap| gap.count as u64).sum()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_full_spool_drops_is_declared_by_range() {
    let sources = vec![script((0..60_000).map(gps).collect(), Duration::ZERO)];
    let small = |config: &mut Config| {
        config.spool.segment = Size(4 << 10);
        config.spool.bytes_max = Size(64 << 10);
    };
    let Some(delivered) = run(Stream::Gps, sources, small).await else { return };
    delivered.assert_all(&Stream::Gps, "spool_full");
    let mut accounted = delivered.numbers.clone();
    for gap in &delivered.gaps {
        let (first, last) = (gap.first_seq.unwrap() as u64, gap.last_seq.unwrap() as u64);
        assert_eq!(gap.count as u64, last - first + 1);
        (first..=last).for_each(|n| *accounted.entry(n).or_default() += 1);
    }
    assert!(accounted.keys().copied().eq(0..60_000));
    assert!(accounted.values().all(|n| *n == 1), "a row or a gap row, and never both");
    assert!(delivered.lost() > 5_000, "{}", delivered.lost());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reading_too_large_for_a_frame_is_declared_by_its_number() {
    let pictures = vec![camera(0, 1000), camera(1, 5 << 20), camera(2, 1000)];
    let sources = vec![script(pictures, Duration::ZERO)];
    let Some(delivered) = run(Stream::Camera, sources, |_| {}).await else { return };
    delivered.assert_all(&Stream::Camera, "oversize");
    assert!(delivered.numbers.keys().eq(&[0, 2]), "{:?}", delivered.numbers);
    let range: Vec<_> = delivered.gaps.iter().map(|g| (g.first_seq, g.last_seq, g.count)).collect();
    assert_eq!(range, [(Some(1), Some(1), 1)]);
}

/// A live sensor that is faster than any pipeline: it waits for nobody.
struct Burst(u64);

impl Source for Burst {
    fn run<'a>(&'a mut self, outlet: &'a Outlet, _: &'a CancellationToken) -> Run<'a> {
        Box::pin(async move {
            (0..self.0).for_each(|n| outlet.offer(gps(n as i64)));
            Ok(())
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_source_could_not_hand_over_is_declared_by_count() {
    let sources: Vec<Named> = vec![("burst".into(), Box::new(Burst(300_000)))];
    let Some(delivered) = run(Stream::Gps, sources, |config| config.queue.readings = 4).await else { return };
    delivered.assert_all(&Stream::Gps, "source_overrun");
    assert!(delivered.lost() > 0);
    assert_eq!(delivered.numbers.len() as u64 + delivered.lost(), 300_000);
    for gap in &delivered.gaps {
        assert_eq!((gap.first_seq, gap.last_seq), (None, None), "they never had a number");
        assert_eq!(gap.detail.as_deref(), Some("source burst"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn poison_that_is_dropped_by_policy_is_declared_by_count() {
    let poison = |n: i64| {
        let mut reading = gps(n);
        if let Body::Gps(fix) = &mut reading.body {
            fix.fix = if n % 100 == 50 { 99 } else { fix.fix };
        }
        reading
    };
    let readings: Vec<Reading> = (0..1000).map(poison).collect();
    let sources = vec![script(readings, Duration::ZERO)];
    let transform = |config: &mut Config| {
        let path = "../transforms/host/tests/guests/hostile.wasm".into();
        let params = BTreeMap::from([("how".into(), "fail".into())]);
        let hostile = TransformConfig::embedded("hostile", []);
        config.transform =
            vec![TransformConfig { path, component: None, params, on_failure: OnFailure::Drop, ..hostile }];
    };
    let Some(delivered) = run(Stream::Gps, sources, transform).await else { return };
    delivered.assert_all(&Stream::Gps, "poison");
    assert_eq!((delivered.lost(), delivered.numbers.len()), (10, 990));
    for gap in &delivered.gaps {
        assert_eq!((gap.first_seq, gap.detail.as_deref()), (None, Some("transform hostile")));
    }
}
