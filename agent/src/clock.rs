//! The seam through which time and randomness enter the agent. Nothing else reads a clock: pure
//! modules take the time as an argument, drivers are given a [`Clock`].
//!
//! It does not set the clock and does not correct dates; it says how far the host's date can be
//! trusted, since a Raspberry Pi has no battery clock.

use crate::kernel;
use milepost_wire::Clock as Trust;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Time as the agent sees it.
pub trait Clock: Send + Sync {
    /// The host's date, µs since 1970 UTC. It may jump, and may be wrong (see [`Clock::trust`]).
    fn wall_us(&self) -> i64;
    /// Time since some fixed point; it never jumps. Only differences mean anything.
    fn mono(&self) -> Duration;
    /// Whether the date of [`Clock::wall_us`] was set by the network ([`Trust::Ntp`]) or by nobody
    /// ([`Trust::None`]).
    fn trust(&self) -> Trust;
}

/// What the clocks say at one moment, for those who read none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Since some moment before the agent's start; never goes back. All ages and deadlines are of it.
    pub mono: Duration,
    /// The host's date, µs since 1970 UTC.
    pub wall_us: i64,
    /// How far `wall_us` can be trusted.
    pub trust: Trust,
}

impl Now {
    /// Reads a clock.
    pub fn of(clock: &dyn Clock) -> Self {
        Self { mono: clock.mono(), wall_us: clock.wall_us(), trust: clock.trust() }
    }
}

/// The host's clocks.
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// The host's clocks, the monotonic one counted from now.
    pub fn new() -> Self {
        Self { start: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the seam")]
    fn wall_us(&self) -> i64 {
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => micros(since),
            Err(before) => -micros(before.duration()),
        }
    }

    fn mono(&self) -> Duration {
        self.start.elapsed()
    }

    /// Asks the kernel whether something keeps its clock in step (`adjtimex`), which all of
    /// systemd-timesyncd, chrony and ntpd tell it.
    fn trust(&self) -> Trust {
        if kernel::clock_is_synchronised() { Trust::Ntp } else { Trust::None }
    }
}

fn micros(d: Duration) -> i64 {
    i64::try_from(d.as_micros()).unwrap_or(i64::MAX)
}

/// A clock that stands still until a test moves it.
pub struct FakeClock {
    state: Mutex<FakeState>,
}

struct FakeState {
    wall_us: i64,
    mono: Duration,
    trust: Trust,
}

impl FakeClock {
    /// A clock at a date, trusted as network time, its monotonic time at 0.
    pub fn at(wall_us: i64) -> Self {
        Self { state: Mutex::new(FakeState { wall_us, mono: Duration::ZERO, trust: Trust::Ntp }) }
    }

    /// Lets time pass on both clocks.
    pub fn advance(&self, by: Duration) {
        let mut state = self.lock();
        state.wall_us += micros(by);
        state.mono += by;
    }

    /// Sets the date, as somebody who corrects the host's clock does; the monotonic clock stays.
    pub fn set_wall_us(&self, wall_us: i64) {
        self.lock().wall_us = wall_us;
    }

    /// Says how far the date can be trusted from now on.
    pub fn set_trust(&self, trust: Trust) {
        self.lock().trust = trust;
    }

    fn lock(&self) -> MutexGuard<'_, FakeState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock for FakeClock {
    fn wall_us(&self) -> i64 {
        self.lock().wall_us
    }

    fn mono(&self) -> Duration {
        self.lock().mono
    }

    fn trust(&self) -> Trust {
        self.lock().trust
    }
}

/// Where randomness comes from: boot ids and the jitter of back-off. Not for secrets.
pub type Entropy = fn() -> u64;

/// 64 bits from the operating system's random numbers, by way of the standard library's hash seeds.
pub fn entropy() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fake_clock_moves_only_when_told() {
        let clock = FakeClock::at(1_000_000);
        assert_eq!((clock.wall_us(), clock.mono()), (1_000_000, Duration::ZERO));
        clock.advance(Duration::from_millis(5));
        assert_eq!((clock.wall_us(), clock.mono()), (1_005_000, Duration::from_millis(5)));
        clock.set_wall_us(0);
        assert_eq!((clock.wall_us(), clock.mono()), (0, Duration::from_millis(5)));
    }

    #[test]
    fn entropy_does_not_repeat() {
        let drawn: std::collections::HashSet<u64> = (0..1000).map(|_| entropy()).collect();
        assert!(drawn.len() > 990, "{} of 1000 differ", drawn.len());
    }
}
