use super::*;
use milepost_wire::{Clock, reading::Gps};

fn fix(ts: i64) -> Reading {
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

fn small() -> QueueLimits {
    QueueLimits { readings: 2, bytes: 1 << 20 }
}

fn times(next: Next) -> (String, Vec<i64>, u64) {
    let Next::Delivery(d) = next else { panic!("{next:?}") };
    let lost = d.overruns.iter().map(|o| o.count).sum();
    (d.source.to_string(), d.readings.iter().map(|r| r.ts).collect(), lost)
}

#[test]
fn what_a_live_sensor_offers_to_a_full_queue_is_counted_per_stream() {
    let (intake, mut deliveries) = channel(small());
    let counters = Arc::new(SourceCounters::default());
    let outlet = intake.outlet("gps", Arc::clone(&counters));
    (0..5).for_each(|ts| outlet.offer(fix(ts)));
    assert_eq!(times(deliveries.next(Duration::ZERO)), ("gps".into(), vec![0, 1], 3));
    assert_eq!((counters.received.load(Relaxed), counters.overruns.load(Relaxed)), (5, 3));
    assert!(matches!(deliveries.next(Duration::ZERO), Next::Timeout));
}

#[test]
fn a_source_that_fills_its_queue_does_not_overrun_another() {
    let (intake, mut deliveries) = channel(small());
    let (a, b) = (intake.outlet("a", Arc::default()), intake.outlet("b", Arc::default()));
    (0..9).for_each(|ts| a.offer(fix(ts)));
    b.offer(fix(100));
    assert_eq!(times(deliveries.next(Duration::ZERO)), ("a".into(), vec![0, 1], 7));
    a.offer(fix(10));
    assert_eq!(times(deliveries.next(Duration::ZERO)), ("b".into(), vec![100], 0), "sources take turns");
    assert_eq!(times(deliveries.next(Duration::ZERO)), ("a".into(), vec![10], 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_source_that_can_wait_loses_nothing_and_its_end_closes_the_deliveries() {
    let (intake, mut deliveries) = channel(small());
    let outlet = intake.outlet("replay", Arc::default());
    drop(intake);
    let sender = tokio::spawn(async move {
        for ts in 0..1000 {
            outlet.send(fix(ts)).await;
        }
    });
    let taken = tokio::task::spawn_blocking(move || {
        let mut taken = Vec::new();
        loop {
            match deliveries.next(Duration::from_secs(20)) {
                Next::Delivery(d) => taken.extend(d.readings.iter().map(|r| r.ts)),
                Next::Closed => return taken,
                Next::Timeout => panic!("the sender got stuck after {} readings", taken.len()),
            }
        }
    });
    assert_eq!(taken.await.unwrap(), (0..1000).collect::<Vec<i64>>());
    sender.await.unwrap();
}

#[tokio::test]
async fn nobody_waits_for_a_pipeline_that_has_gone() {
    let (intake, deliveries) = channel(small());
    let outlet = intake.outlet("replay", Arc::default());
    drop(deliveries);
    for ts in 0..10 {
        outlet.send(fix(ts)).await;
    }
    assert_eq!(outlet.counters().received.load(Relaxed), 0, "what nobody accepted is not counted");
}

#[test]
fn an_image_larger_than_the_queue_still_passes_alone() {
    let (intake, mut deliveries) = channel(QueueLimits { readings: 10, bytes: 1000 });
    let outlet = intake.outlet("camera", Arc::default());
    let image = milepost_wire::reading::Camera {
        camera_id: "front".into(),
        lat_e7: None,
        lon_e7: None,
        image: vec![0; 5000],
        width: None,
        height: None,
    };
    for ts in 0..2 {
        outlet.offer(Reading { ts, clock: Clock::Ntp, body: image.clone().into() });
    }
    assert_eq!(times(deliveries.next(Duration::ZERO)), ("camera".into(), vec![0], 1));
}

#[test]
fn what_was_refused_is_kept_in_words_that_are_few_and_short() {
    let counters = SourceCounters::default();
    (0..9).for_each(|n| counters.refuse("refused_line", || n.to_string().repeat(10_000)));
    counters.note("sentences", 4);
    assert_eq!(counters.first_refusals(), ["0".repeat(200), "1".repeat(200), "2".repeat(200)]);
    assert_eq!(counters.errors_by_kind(), BTreeMap::from([("refused_line", 9)]));
    assert_eq!(counters.details(), BTreeMap::from([("refused_line", 9), ("sentences", 4)]));
    assert_eq!(counters.errors.load(Relaxed), 9);
}
