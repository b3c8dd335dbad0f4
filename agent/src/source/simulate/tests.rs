use super::super::{SourceCounters, outlet};
use super::*;
use crate::clock::SystemClock;
use outlet::{Next, QueueLimits, channel};

fn source(settings: &Settings) -> Box<dyn Source> {
    build(settings, &Context { clock: Arc::new(SystemClock::new()) }).unwrap()
}

#[tokio::test]
async fn a_source_that_is_stopped_and_run_again_skips_nothing() {
    let settings = Settings { speed: 0.0, minutes: Some(3.0), ..Settings::default() };
    let expected: Vec<_> = Trip::new(settings.seed, settings.trip()).collect();
    let mut source = source(&settings);
    let mut got = Vec::new();
    // A queue of ten readings fills at once; then the source is stopped in mid-send, many times.
    let (intake, mut deliveries) = channel(QueueLimits { readings: 10, bytes: 1 << 20 });
    let out = intake.outlet("trip", Arc::<SourceCounters>::default());
    drop(intake);
    while got.len() < expected.len() {
        let stop = CancellationToken::new();
        let end = tokio::time::timeout(Duration::from_millis(1), source.run(&out, &stop)).await;
        while let Next::Delivery(delivery) = deliveries.next(Duration::ZERO) {
            got.extend(delivery.readings);
        }
        assert!(end.is_err() || got.len() == expected.len());
    }
    assert_eq!(got, expected);
}

#[test]
fn impossible_settings_are_refused() {
    let context = Context { clock: Arc::new(SystemClock::new()) };
    for settings in [
        Settings { speed: -1.0, ..Settings::default() },
        Settings { speed: f64::NAN, ..Settings::default() },
        Settings { minutes: Some(0.0), ..Settings::default() },
    ] {
        assert!(build(&settings, &context).is_err(), "{settings:?}");
    }
}
