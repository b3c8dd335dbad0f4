//! Takes a transform out for a while when its failures cost too much, and tries it again.
//!
//! A call that fails may have run up to its CPU limit, and a batch is halved down to the reading that did
//! it; a transform that fails again and again would hold up every stream. So the time of failing calls has
//! a budget: some at once, and a small part of the time in the long run. When it is used up the transform
//! is out, and one reading at a time finds out whether it works again. What becomes of the readings
//! meanwhile is not decided here.

use std::time::Duration;

/// The time that failing calls of one transform may take at once. With the default limit, a reading that
/// makes it loop is found in less.
const AT_ONCE: Duration = Duration::from_secs(1);
/// The part of the time that failing calls of all transforms may take in the long run, one in so many.
const ONE_IN: u32 = 50;
/// How long it is out at first, and at most.
const WAIT: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(600));

/// What a call of the transform may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leave {
    /// It works.
    Call,
    /// It is out, but one reading may find out whether it works again.
    Try,
    /// It is out.
    Stay,
}

/// The breaker of one transform. Time is an argument, on a clock that never goes back.
#[derive(Clone, Debug)]
pub struct Breaker {
    /// What the budget gains in this time is one of it.
    one_in: u32,
    /// When the budget is full again.
    full_at: Duration,
    state: State,
    /// How long it was out last, and when that ended.
    last_wait: Duration,
    worked_since: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    In,
    Out { until: Duration },
}

impl Breaker {
    /// The breaker of one of so many transforms.
    pub fn one_of(transforms: usize) -> Self {
        let one_in = ONE_IN.saturating_mul(u32::try_from(transforms.max(1)).unwrap_or(u32::MAX));
        let zero = Duration::ZERO;
        Self { one_in, full_at: zero, state: State::In, last_wait: zero, worked_since: zero }
    }

    /// Whether it may be called now.
    pub fn leave(&self, now: Duration) -> Leave {
        match self.state {
            State::In => Leave::Call,
            State::Out { until } if now >= until => Leave::Try,
            State::Out { .. } => Leave::Stay,
        }
    }

    /// A call worked. Says whether that brings it back.
    pub fn worked(&mut self, now: Duration) -> bool {
        let back = self.state != State::In;
        if back {
            (self.state, self.worked_since) = (State::In, now);
        }
        back
    }

    /// A call that took so long failed. Says for how long it is out, where this takes it out.
    pub fn failed(&mut self, now: Duration, took: Duration) -> Option<Duration> {
        self.full_at = self.full_at.max(now).saturating_add(took.saturating_mul(self.one_in));
        let debt_free = self.full_at.saturating_sub(AT_ONCE.saturating_mul(self.one_in));
        if self.state == State::In && debt_free <= now {
            return None;
        }
        let soon = !self.last_wait.is_zero() && now.saturating_sub(self.worked_since) < WAIT.1;
        let relapse = soon || self.state != State::In;
        self.last_wait = if relapse { (self.last_wait * 2).min(WAIT.1) } else { WAIT.0 };
        let until = (now + self.last_wait).max(debt_free);
        self.state = State::Out { until };
        Some(until - now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALL: Duration = Duration::from_millis(250);

    fn seconds(s: u64) -> Duration {
        Duration::from_secs(s)
    }

    #[test]
    fn a_failure_now_and_then_does_not_take_it_out() {
        let mut breaker = Breaker::one_of(1);
        for minute in 0..600 {
            let mut now = seconds(minute * 60);
            for took in [CALL, Duration::from_millis(31), Duration::from_millis(31), CALL] {
                assert_eq!(breaker.leave(now), Leave::Call);
                now += took;
                assert_eq!(breaker.failed(now, took), None, "minute {minute}");
                breaker.worked(now);
            }
        }
    }

    #[test]
    fn one_that_fails_on_everything_is_out_and_one_call_tries_it_again() {
        let mut breaker = Breaker::one_of(1);
        let mut now = Duration::ZERO;
        let mut calls = 0;
        while breaker.leave(now) == Leave::Call {
            now += CALL;
            breaker.failed(now, CALL);
            calls += 1;
        }
        assert_eq!(calls, 5, "a second, and the call that goes over it");
        assert_eq!(breaker.leave(now + seconds(9)), Leave::Stay);
        let later = now + seconds(20);
        assert_eq!(breaker.leave(later), Leave::Try);
        let wait = breaker.failed(later + CALL, CALL).unwrap();
        assert!(wait >= seconds(20), "{wait:?}");
        let mended = later + CALL + wait;
        assert_eq!(breaker.leave(mended), Leave::Try);
        assert!(breaker.worked(mended));
        assert_eq!(breaker.leave(mended), Leave::Call);
        assert!(!breaker.worked(mended), "it is back once");
    }

    #[test]
    fn it_is_out_no_longer_than_ten_minutes_and_forgiven_after_as_long() {
        let mut breaker = Breaker::one_of(1);
        let mut now = Duration::ZERO;
        let mut longest = Duration::ZERO;
        for _ in 0..20 {
            now += seconds(2);
            let wait = breaker.failed(now, seconds(2)).unwrap();
            longest = longest.max(wait);
            now += wait;
        }
        assert_eq!(longest, seconds(600));
        breaker.worked(now);
        now += seconds(3600);
        assert!(breaker.failed(now, seconds(2)).unwrap() < seconds(60));
    }

    #[test]
    fn whatever_fails_however_often_the_time_is_bounded() {
        for transforms in [1, 3] {
            let mut spent = Duration::ZERO;
            let mut breakers = vec![Breaker::one_of(transforms); transforms];
            let mut now = Duration::ZERO;
            let end = seconds(3600);
            while now < end {
                for breaker in &mut breakers {
                    let leave = breaker.leave(now);
                    if leave == Leave::Try {
                        // It does not loop on everything, so it comes back each time.
                        breaker.worked(now);
                    }
                    if leave != Leave::Stay {
                        now += CALL;
                        spent += CALL;
                        breaker.failed(now, CALL);
                    }
                }
                now += Duration::from_millis(20);
            }
            let most = AT_ONCE * transforms as u32 + end / ONE_IN + CALL * transforms as u32;
            assert!(spent <= most, "{transforms}: {spent:?} of {end:?}");
        }
    }
}
