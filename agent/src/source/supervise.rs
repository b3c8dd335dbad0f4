//! Keeps a source running: a source that fails is started again after a pause that doubles from one
//! failure to the next and starts afresh once the source has run well for a while.

use super::{Outlet, Source, SourceCounters};
use crate::clock::{Clock, Entropy};
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

/// How long to wait before a source is started again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backoff {
    /// After the first failure.
    pub first: Duration,
    /// At most.
    pub most: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { first: Duration::from_millis(500), most: Duration::from_secs(30) }
    }
}

impl Backoff {
    /// The pause after the `failures`th failure in a row: between half and all of the doubled pause,
    /// where in between `random` says, so that many sources do not come back at the same moment.
    pub fn pause(&self, failures: u32, random: u64) -> Duration {
        let doubled = self.first.saturating_mul(1 << failures.saturating_sub(1).min(20)).min(self.most);
        doubled.mul_f64(0.5 + 0.5 * (random as f64 / u64::MAX as f64))
    }

    /// Whether a run of this length counts as good, so that the next failure is the first again.
    fn is_good(&self, ran: Duration) -> bool {
        ran >= self.most
    }
}

/// Runs a source until it ends for good or `stop` is cancelled. When `stop` is cancelled, the source's
/// run is dropped where it stands: everything it handed to its outlet stays handed over, and what it
/// still kept it hands over then.
pub async fn supervise(
    source: &mut dyn Source,
    name: &str,
    outlet: &Outlet,
    stop: &CancellationToken,
    backoff: Backoff,
    clock: &dyn Clock,
    entropy: Entropy,
) {
    let mut failures = 0;
    loop {
        let started = clock.mono();
        let ended = tokio::select! {
            biased;
            () = stop.cancelled() => None,
            ended = source.run(outlet, stop).instrument(tracing::info_span!("source", name)) => Some(ended),
        };
        let error = match ended {
            None => return source.leave(outlet),
            Some(Ok(())) => {
                return ended_well(name, outlet.counters());
            }
            Some(Err(error)) => error,
        };
        if backoff.is_good(clock.mono().saturating_sub(started)) {
            failures = 0;
        }
        failures += 1;
        let pause = backoff.pause(failures, entropy());
        tracing::warn!(source = name, %error, pause_ms = pause.as_millis() as u64, "The source failed");
        outlet.counters().error("run", 1);
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
        outlet.counters().restarts.fetch_add(1, Relaxed);
    }
}

/// Says at a source's end what came of it, and what of that could not be read.
fn ended_well(name: &str, counters: &SourceCounters) {
    let received = counters.received.load(Relaxed);
    match counters.errors.load(Relaxed) {
        0 => tracing::info!(source = name, received, "The source has ended"),
        errors => {
            let (kinds, first) = (counters.errors_by_kind(), counters.first_refusals());
            tracing::warn!(
                source = name,
                received,
                errors,
                ?kinds,
                ?first,
                "The source has ended; not all that came could be read"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::outlet::{QueueLimits, channel};
    use super::super::{Run, SourceError};
    use super::*;
    use crate::clock::FakeClock;
    use std::sync::Arc;

    struct FailsTwice(u32);

    impl Source for FailsTwice {
        fn run<'a>(&'a mut self, _: &'a Outlet, _: &'a CancellationToken) -> Run<'a> {
            self.0 += 1;
            let ended = if self.0 <= 2 { Err(SourceError::Closed("It".into())) } else { Ok(()) };
            Box::pin(async { ended })
        }
    }

    struct Hangs;

    impl Source for Hangs {
        fn run<'a>(&'a mut self, _: &'a Outlet, _: &'a CancellationToken) -> Run<'a> {
            Box::pin(std::future::pending())
        }
    }

    const QUICK: Backoff = Backoff { first: Duration::from_millis(1), most: Duration::from_millis(2) };

    #[test]
    fn the_pause_doubles_up_to_the_most_and_is_never_below_half() {
        let backoff = Backoff { first: Duration::from_secs(1), most: Duration::from_secs(5) };
        let most: Vec<u64> = (1..6).map(|n| backoff.pause(n, u64::MAX).as_secs()).collect();
        assert_eq!(most, [1, 2, 4, 5, 5]);
        assert_eq!(backoff.pause(1, 0), Duration::from_millis(500));
        assert_eq!(backoff.pause(u32::MAX, u64::MAX), Duration::from_secs(5));
    }

    #[tokio::test]
    async fn a_source_that_fails_is_started_again_and_counted() {
        let (intake, _deliveries) = channel(QueueLimits::default());
        let outlet = intake.outlet("s", Arc::default());
        let mut source = FailsTwice(0);
        let clock = FakeClock::at(0);
        supervise(&mut source, "s", &outlet, &CancellationToken::new(), QUICK, &clock, || 7).await;
        let counters = outlet.counters();
        assert_eq!((source.0, counters.restarts.load(Relaxed), counters.errors.load(Relaxed)), (3, 2, 2));
    }

    #[tokio::test]
    async fn a_source_that_hangs_stops_when_told() {
        let (intake, _deliveries) = channel(QueueLimits::default());
        let outlet = intake.outlet("s", Arc::default());
        let stop = CancellationToken::new();
        let clock = FakeClock::at(0);
        let mut hangs = Hangs;
        let run = supervise(&mut hangs, "s", &outlet, &stop, QUICK, &clock, || 7);
        let tell = async { stop.cancel() };
        tokio::join!(run, tell);
    }
}
