//! Keeps fixes that say no date until their receiver says one, and dates them backwards from it: a
//! receiver that has just been switched on often gives its first positions in GGA or GLL, a moment
//! before the first RMC or ZDA, and a recorded log may begin anywhere.
//!
//! How long it waits is stated; after that the host's date must do (see [`super::dating`]), and a
//! receiver that has been waited for in vain is not waited for again.

use super::Fix;
use crate::clock::Now;
use std::time::Duration;

/// Going back by more than this is midnight, anything less is a clock that was set.
const HALF_DAY_NS: u64 = 43_200_000_000_000;

/// How long a date is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::source) struct Patience {
    /// The most fixes that are kept.
    pub fixes: usize,
    /// The longest that the first of them is kept.
    pub wait: Duration,
}

/// The fixes that wait, and when each of them came.
pub(super) struct Undated {
    patience: Patience,
    held: Vec<(Fix, Now)>,
    in_vain: bool,
}

impl Undated {
    pub(super) fn new(patience: Patience) -> Self {
        Self { patience, held: Vec::new(), in_vain: false }
    }

    /// Takes a fix. Appends what need not wait any longer, in the order in which it came.
    pub(super) fn take(&mut self, fix: Fix, now: Now, ready: &mut Vec<(Fix, Now)>) {
        if let (Some(day), Some(time)) = (fix.day, fix.time_of_day) {
            self.date(day, time);
        } else if !self.in_vain && self.held.len() < self.patience.fixes {
            self.held.push((fix, now));
            return self.look(now, ready);
        } else {
            self.in_vain = true;
        }
        self.release(ready);
        ready.push((fix, now));
    }

    /// Gives up where the first fix has waited for long enough.
    pub(super) fn look(&mut self, now: Now, ready: &mut Vec<(Fix, Now)>) {
        let waited = self.held.first().map(|(_, came)| now.mono.saturating_sub(came.mono));
        if waited.is_some_and(|waited| waited >= self.patience.wait) {
            self.in_vain = true;
            self.release(ready);
        }
    }

    /// Gives what waits as it is: nothing more comes.
    pub(super) fn release(&mut self, ready: &mut Vec<(Fix, Now)>) {
        ready.append(&mut self.held);
    }

    /// Dates what waits, from the last one back: a time of day that is later by far than the one behind
    /// it is of the day before.
    fn date(&mut self, mut day: i64, mut time: u64) {
        for (fix, _) in self.held.iter_mut().rev() {
            let Some(earlier) = fix.time_of_day else { continue };
            day -= i64::from(earlier > time + HALF_DAY_NS);
            time = earlier;
            fix.day = Some(day);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use milepost_wire::Clock;

    const PATIENCE: Patience = Patience { fixes: 3, wait: Duration::from_secs(30) };

    fn at(second: u64) -> Now {
        Now { wall_us: 0, trust: Clock::None, mono: Duration::from_secs(second) }
    }

    fn fix(day: Option<i64>, hour: u64) -> Fix {
        Fix { day, time_of_day: Some(hour * 3_600_000_000_000), ..Fix::default() }
    }

    /// Days and hours of what came out.
    fn out(ready: &[(Fix, Now)]) -> Vec<(Option<i64>, u64)> {
        ready.iter().map(|(f, _)| (f.day, f.time_of_day.unwrap() / 3_600_000_000_000)).collect()
    }

    #[test]
    fn what_came_before_the_first_date_is_dated_from_it_over_midnight() {
        let (mut undated, mut ready) = (Undated::new(PATIENCE), Vec::new());
        for hour in [22, 23, 0] {
            undated.take(fix(None, hour), at(0), &mut ready);
        }
        assert_eq!(out(&ready), []);
        undated.take(fix(Some(100), 1), at(1), &mut ready);
        undated.take(fix(Some(100), 2), at(2), &mut ready);
        assert_eq!(
            out(&ready),
            [(Some(99), 22), (Some(99), 23), (Some(100), 0), (Some(100), 1), (Some(100), 2)]
        );
    }

    #[test]
    fn a_receiver_that_is_waited_for_in_vain_is_not_waited_for_again() {
        let (mut undated, mut ready) = (Undated::new(PATIENCE), Vec::new());
        undated.take(fix(None, 1), at(0), &mut ready);
        undated.look(at(29), &mut ready);
        assert_eq!(out(&ready), []);
        undated.look(at(30), &mut ready);
        undated.take(fix(None, 2), at(31), &mut ready);
        assert_eq!(out(&ready), [(None, 1), (None, 2)]);
    }

    #[test]
    fn no_more_fixes_are_kept_than_stated() {
        let (mut undated, mut ready) = (Undated::new(PATIENCE), Vec::new());
        for hour in 0..5 {
            undated.take(fix(None, hour), at(0), &mut ready);
        }
        assert_eq!(out(&ready).len(), 5);
        undated.take(fix(None, 5), at(0), &mut ready);
        undated.release(&mut ready);
        assert_eq!(out(&ready).iter().map(|(_, hour)| *hour).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5]);
    }
}
