//! How a board's monotonic clock stands to the host's and to UTC.

use super::board::Now;
use milepost_wire::Clock;

/// How far two crystals may run apart, in parts of a million: a better measurement is preferred to a
/// newer one until so much drift may have made it the worse of the two.
const DRIFT_PPM: u64 = 100;
/// A longer answer says nothing of use.
const LONGEST_TRIP_US: u64 = 1_000_000;

/// The state of measuring.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct BoardClock {
    host: Option<Measured>,
    /// UTC less the board's clock, µs, by the last fix.
    utc: Option<i64>,
}

#[derive(Clone, Copy, Debug)]
struct Measured {
    /// The host's monotonic clock less the board's, µs.
    offset: i64,
    /// How far that may be off, µs.
    error: u64,
    /// When, by the host's monotonic clock, µs.
    at_us: u64,
}

impl BoardClock {
    /// A ping of `host_us` was answered at `board_us`, and the answer came at `now_us`. The board is
    /// taken to have answered in the middle.
    pub(super) fn pong(&mut self, host_us: u64, board_us: u64, now_us: u64) {
        let Some(trip) = now_us.checked_sub(host_us).filter(|trip| *trip <= LONGEST_TRIP_US) else { return };
        let error = trip / 2;
        let Some(offset) = signed(host_us + error).checked_sub(signed(board_us)) else { return };
        let aged = |old: &Measured| old.error + now_us.saturating_sub(old.at_us) / 1_000_000 * DRIFT_PPM;
        if self.host.as_ref().is_none_or(|old| error <= aged(old)) {
            self.host = Some(Measured { offset, error, at_us: now_us });
        }
    }

    /// A fix of `utc_us` came in at `board_us`.
    pub(super) fn fix(&mut self, board_us: u64, utc_us: i64) {
        self.utc = utc_us.checked_sub(signed(board_us));
    }

    /// The date of the board's time `board_us`: by the host's clock where the network has set it, else
    /// by the receiver's last fix, else by the host's clock as it is. Before the first measurement the
    /// message's arrival stands in for its time.
    pub(super) fn date(&self, board_us: u64, now: Now) -> (i64, Clock) {
        let by_fix = self.utc.and_then(|utc| utc.checked_add(signed(board_us)));
        if let (Some(ts), true) = (by_fix, now.trust != Clock::Ntp) {
            return (ts, Clock::Gps);
        }
        let host = self.host.and_then(|m| signed(board_us).checked_add(m.offset));
        let ago = host.map_or(0, |host| signed(now.mono_us).saturating_sub(host).max(0));
        (now.wall_us.saturating_sub(ago), now.trust)
    }
}

fn signed(us: u64) -> i64 {
    i64::try_from(us).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now(mono_us: u64, trust: Clock) -> Now {
        Now { mono_us, wall_us: 1_000_000_000 + mono_us as i64, trust }
    }

    #[test]
    fn a_board_time_is_dated_by_the_best_answer() {
        let mut clock = BoardClock::default();
        assert_eq!(clock.date(5, now(100, Clock::Ntp)), (1_000_000_100, Clock::Ntp), "arrival stands in");
        clock.pong(1_000, 501, 1_002);
        assert_eq!(clock.date(600, now(5_000, Clock::Ntp)).0, 1_000_001_100);
        clock.pong(10_000, 0, 900_000);
        assert_eq!(clock.date(600, now(5_000, Clock::Ntp)).0, 1_000_001_100, "a slow answer is worse");
        clock.pong(100_000_000, 99_990_000, 100_002_000);
        assert_eq!(clock.date(99_990_000, now(100_002_000, Clock::Ntp)).0, 1_100_001_000, "an old one fades");
        clock.pong(5, 1, 2);
        assert_eq!(
            clock.date(99_990_000, now(100_002_000, Clock::Ntp)).0,
            1_100_001_000,
            "time ran backwards"
        );
    }

    #[test]
    fn the_receiver_dates_what_an_unset_host_cannot() {
        let mut clock = BoardClock::default();
        clock.fix(1_000, 1_700_000_000_000_000);
        assert_eq!(clock.date(1_500, now(9, Clock::None)), (1_700_000_000_000_500, Clock::Gps));
        assert_eq!(clock.date(1_500, now(9, Clock::Ntp)).1, Clock::Ntp);
        clock.fix(u64::MAX, i64::MIN);
        assert_eq!(clock.date(u64::MAX, now(9, Clock::None)).1, Clock::None);
    }
}
