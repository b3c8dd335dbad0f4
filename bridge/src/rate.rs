//! How much each vehicle may send: so many frames and so many bytes a second, and after a pause as much at
//! once as `burst` of that. What is more is not for the topics of the tables. Pure: time is an argument.
//!
//! Memory is bounded for any number of names: a vehicle that has sent nothing for as long as `burst` is
//! forgotten, since it may send as much as one that was never seen, and where more names than
//! [`NAMES`] are active at once, those beyond share one allowance.

use milepost_wire::VehicleId;
use std::collections::HashMap;
use std::time::Duration;

/// So many vehicles are told apart; an entry takes about 150 bytes.
const NAMES: usize = 1 << 16;

/// What one vehicle may send.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Allowance {
    /// Frames a second; 0 for any number.
    pub(crate) frames: u64,
    /// Bytes of frames a second; 0 for any number.
    pub(crate) bytes: u64,
    /// How much of it may come at once.
    pub(crate) burst: Duration,
}

/// What all vehicles have sent lately.
#[derive(Debug)]
pub(crate) struct Rates {
    allowance: Allowance,
    vehicles: HashMap<VehicleId, Sent>,
    /// Of all names that there was no room for.
    others: Sent,
    names: usize,
}

/// When a vehicle would have sent what it did send, had it kept to its rate from the first frame on: as far
/// ahead of now as it has sent too fast.
#[derive(Clone, Copy, Debug, Default)]
struct Sent {
    frames_until: Duration,
    bytes_until: Duration,
}

impl Rates {
    pub(crate) fn new(allowance: Allowance) -> Self {
        Self { allowance, vehicles: HashMap::new(), others: Sent::default(), names: NAMES }
    }

    /// How many vehicles are told apart now.
    pub(crate) fn names(&self) -> usize {
        self.vehicles.len()
    }

    /// Takes note of a frame; whether its vehicle may send it. One that it may not send counts for nothing.
    pub(crate) fn take(&mut self, vehicle: &VehicleId, bytes: usize, now: Duration) -> bool {
        let allowance = self.allowance;
        if allowance.frames == 0 && allowance.bytes == 0 {
            return true;
        }
        if let Some(sent) = self.vehicles.get_mut(vehicle) {
            return sent.take(allowance, bytes, now);
        }
        if self.vehicles.len() >= self.names {
            self.vehicles.retain(|_, sent| sent.is_ahead_of(now));
        }
        if self.vehicles.len() >= self.names {
            return self.others.take(allowance, bytes, now);
        }
        self.vehicles.entry(vehicle.clone()).or_default().take(allowance, bytes, now)
    }
}

impl Sent {
    fn take(&mut self, allowance: Allowance, bytes: usize, now: Duration) -> bool {
        let frames = self.frames_until.max(now) + cost(1, allowance.frames);
        let bytes = self.bytes_until.max(now) + cost(bytes as u64, allowance.bytes);
        // At least one frame goes, however large it is for the rate.
        let idle = !self.is_ahead_of(now);
        let within = idle || frames.max(bytes) <= now + allowance.burst;
        if within {
            (self.frames_until, self.bytes_until) = (frames, bytes);
        }
        within
    }

    fn is_ahead_of(&self, now: Duration) -> bool {
        self.frames_until.max(self.bytes_until) > now
    }
}

/// A line of the log that anybody can bring about is written once a second at most.
#[derive(Debug, Default)]
pub(crate) struct Seldom {
    next: Duration,
    unsaid: u64,
}

impl Seldom {
    /// Whether to write it now, and then how often it was not.
    pub(crate) fn say(&mut self, now: Duration) -> Option<u64> {
        if now < self.next {
            self.unsaid += 1;
            return None;
        }
        self.next = now + Duration::from_secs(1);
        Some(std::mem::take(&mut self.unsaid))
    }
}

/// The time that `n` take at a rate a second.
fn cost(n: u64, rate: u64) -> Duration {
    match rate {
        0 => Duration::ZERO,
        rate => Duration::from_nanos(n.saturating_mul(1_000_000_000) / rate),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALLOWANCE: Allowance = Allowance { frames: 10, bytes: 1000, burst: Duration::from_secs(2) };
    const T0: Duration = Duration::from_secs(100);

    fn van(n: usize) -> VehicleId {
        VehicleId::new(format!("van-{n}")).unwrap()
    }

    /// How many of `n` frames of `bytes` are let through at one moment.
    fn burst(rates: &mut Rates, vehicle: usize, n: usize, bytes: usize, now: Duration) -> usize {
        (0..n).filter(|_| rates.take(&van(vehicle), bytes, now)).count()
    }

    #[test]
    fn a_vehicle_may_send_its_rate_and_after_a_pause_a_burst_of_it() {
        let mut rates = Rates::new(ALLOWANCE);
        assert_eq!(burst(&mut rates, 1, 100, 1, T0), 20, "two seconds of ten frames");
        assert_eq!(burst(&mut rates, 1, 100, 1, T0 + Duration::from_secs(1)), 10);
        assert_eq!(burst(&mut rates, 1, 100, 1, T0 + Duration::from_secs(3600)), 20);
        let steady = (0..600).filter(|i| rates.take(&van(2), 1, T0 + Duration::from_millis(100 * i)));
        assert_eq!(steady.count(), 600, "whoever keeps to the rate is never refused");
    }

    #[test]
    fn bytes_count_as_frames_do_and_one_frame_may_always_go() {
        let mut rates = Rates::new(ALLOWANCE);
        assert_eq!(burst(&mut rates, 1, 100, 500, T0), 4, "two seconds of 1000 bytes");
        assert_eq!(burst(&mut rates, 2, 3, 1 << 20, T0), 1);
        let mut free = Rates::new(Allowance { frames: 0, bytes: 0, ..ALLOWANCE });
        assert_eq!((burst(&mut free, 1, 5000, 1 << 20, T0), free.names()), (5000, 0));
    }

    #[test]
    fn what_is_not_said_is_counted() {
        let mut seldom = Seldom::default();
        let at = |ms| T0 + Duration::from_millis(ms);
        let said: Vec<_> = [0, 1, 999, 1000, 1001, 5000].map(|ms| seldom.say(at(ms))).into();
        assert_eq!(said, [Some(0), None, None, Some(2), None, Some(1)]);
    }

    #[test]
    fn one_that_floods_takes_nothing_from_another() {
        let mut rates = Rates::new(ALLOWANCE);
        for i in 0..1000 {
            let now = T0 + Duration::from_millis(i);
            burst(&mut rates, 1, 10, 100, now);
            if i % 100 == 0 {
                assert!(rates.take(&van(2), 100, now), "at {now:?}");
            }
        }
    }

    #[test]
    fn any_number_of_names_takes_bounded_memory_and_the_known_keep_their_own_allowance() {
        let mut rates = Rates { names: 100, ..Rates::new(ALLOWANCE) };
        for n in 0..100 {
            assert_eq!(burst(&mut rates, n, 30, 1, T0), 20);
        }
        let passed: usize = (100..10_000).map(|n| burst(&mut rates, n, 3, 1, T0)).sum();
        assert_eq!((passed, rates.names()), (20, 100), "those beyond share one allowance");
        assert_eq!(burst(&mut rates, 5, 30, 1, T0 + Duration::from_secs(1)), 10);
        // Those who are quiet make room.
        let later = T0 + Duration::from_secs(60);
        assert_eq!(burst(&mut rates, 10_001, 30, 1, later), 20);
        assert_eq!(rates.names(), 1);
    }
}
