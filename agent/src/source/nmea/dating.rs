//! Gives a fix its time stamp: the receiver's own, corrected where a stated rule says that it is
//! wrong, or the host's date where the receiver has none.
//!
//! * **Week roll-over.** GPS counts weeks in ten bits, and a receiver whose firmware is older than
//!   1024 weeks dates its fixes 1024 weeks back. Where a setting names a day before which no fix can
//!   be, an earlier date is moved on by as many times 1024 weeks as reach that day. The fix is kept,
//!   and the correction counted. Without the setting no date is touched.
//! * **No date.** A receiver that sends only GGA or GLL says a time of day without a date: it gets
//!   the host's date, of the day that brings it nearest to the host's time, and the host's trust.

use super::Fix;
use super::calendar::{DAY_S, after_rollovers, days};
use milepost_wire::{Clock, Reading, reading::Gps};
use serde::{Deserialize, Deserializer};

/// A day, in settings written as `2026-01-01`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Day(i64);

impl Day {
    /// The day of a date; `None` where there is none.
    pub fn new(year: i64, month: u32, day: u32) -> Option<Self> {
        days(year, month, day).map(Self)
    }

    /// Days since 1970.
    pub fn since_1970(self) -> i64 {
        self.0
    }
}

impl<'de> Deserialize<'de> for Day {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        let mut parts = text.splitn(3, '-').map(|part| part.parse::<u32>().ok());
        let mut next = || parts.next().flatten();
        let day = next().zip(next()).zip(next()).and_then(|((y, m), d)| Self::new(i64::from(y), m, d));
        day.ok_or_else(|| serde::de::Error::custom(format!("{text:?} is not a day: write it as 2026-01-01")))
    }
}

const DAY_US: i64 = DAY_S * 1_000_000;

/// What was done to date a fix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dated {
    /// The receiver's date and time, as they are.
    AsSaid,
    /// The receiver's, moved on by a multiple of 1024 weeks.
    RolledOver,
    /// The receiver's time of day, or not even that, with the host's date.
    ByHost,
}

/// Makes the reading of a fix. `not_before` is a day, counted from 1970; `host` is the host's date in
/// µs and how far it is to be trusted.
pub fn date(fix: &Fix, not_before: Option<i64>, host: (i64, Clock)) -> (Reading, Dated) {
    let in_day = fix.time_of_day.map(|ns| (ns / 1_000) as i64);
    let (ts, clock, dated) = match (fix.day, in_day) {
        (Some(day), Some(in_day)) => {
            let true_day = not_before.map_or(day, |first| after_rollovers(day, first));
            let dated = if true_day == day { Dated::AsSaid } else { Dated::RolledOver };
            (true_day * DAY_US + in_day, Clock::Gps, dated)
        }
        (_, Some(in_day)) => {
            let (now, trust) = host;
            let days = (now - in_day + DAY_US / 2).div_euclid(DAY_US);
            (days * DAY_US + in_day, trust, Dated::ByHost)
        }
        (_, None) => (host.0, host.1, Dated::ByHost),
    };
    let body = Gps {
        lat_e7: fix.lat_e7,
        lon_e7: fix.lon_e7,
        altitude_cm: fix.altitude_cm,
        speed_mm_s: fix.speed_mm_s,
        heading_cdeg: fix.heading_cdeg,
        fix: fix.quality,
        satellites: fix.satellites,
        hdop_e2: fix.hdop_e2,
    };
    (Reading { ts, clock, body: body.into() }, dated)
}

#[cfg(test)]
mod tests {
    use super::super::Reader;
    use super::*;
    use crate::source::oracle;

    #[test]
    fn recorded_logs_agree_with_gpsd() {
        for log in oracle::logs().unwrap_or_default() {
            let (mut reader, mut readings) = (Reader::new(), Vec::new());
            let mut take = |fix: Fix| readings.push(date(&fix, None, (0, Clock::None)).0);
            reader.push(&std::fs::read(&log).unwrap(), &mut take);
            reader.end(&mut take);
            let said = std::fs::read(log.with_extension("log.chk")).unwrap();
            let result = oracle::compare(&oracle::epochs(&String::from_utf8_lossy(&said)), &readings);
            assert_eq!((result.invented, result.wrong), (vec![], vec![]), "{}", log.display());
        }
    }

    fn stamped(
        day: Option<i64>,
        second: Option<u64>,
        not_before: Option<i64>,
        host: i64,
    ) -> (i64, Clock, Dated) {
        let fix = Fix { day, time_of_day: second.map(|s| s * 1_000_000_000), ..Fix::default() };
        let (reading, dated) = date(&fix, not_before, (host, Clock::None));
        (reading.ts / 1_000_000, reading.clock, dated)
    }

    #[test]
    fn a_date_before_the_stated_day_is_moved_by_whole_roll_overs() {
        let first = days(2026, 1, 1);
        let now = days(2026, 11, 23).unwrap();
        for back in 0..3 {
            let (ts, clock, dated) = stamped(Some(now - back * 7168), Some(5), first, 0);
            assert_eq!((ts, clock), (now * 86_400 + 5, Clock::Gps));
            assert_eq!(dated, if back == 0 { Dated::AsSaid } else { Dated::RolledOver });
        }
        let (ts, _, dated) = stamped(Some(now - 7168), Some(5), None, 0);
        assert_eq!((ts, dated), ((now - 7168) * 86_400 + 5, Dated::AsSaid), "no rule, no correction");
    }

    #[test]
    fn a_time_of_day_takes_the_nearest_day_of_the_host() {
        let noon = 20_000 * 86_400 + 43_200;
        for (host, second, day) in
            [(noon, 43_100, 20_000), (noon - 43_100, 86_390, 19_999), (noon + 43_100, 10, 20_001)]
        {
            let (ts, clock, dated) = stamped(None, Some(second), None, host * 1_000_000);
            assert_eq!((ts, clock, dated), (day * 86_400 + second as i64, Clock::None, Dated::ByHost));
        }
        assert_eq!(stamped(None, None, None, noon * 1_000_000), (noon, Clock::None, Dated::ByHost));
    }

    #[test]
    fn a_leap_second_lands_on_the_next_day() {
        let day = days(2016, 12, 31).unwrap();
        assert_eq!(stamped(Some(day), Some(86_400), None, 0).0, (day + 1) * 86_400);
    }
}
