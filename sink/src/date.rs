//! Which date a row belongs to. Pure.

use std::ops::RangeInclusive;

const DAY_US: i64 = 86_400_000_000;
/// 2015-01-01: no vehicle had an agent before.
const EARLIEST_US: i64 = 1_420_070_400_000_000;

/// The event times that are believed in a record with this Kafka timestamp (ms); outside, the date is
/// the record's own.
pub fn believable(record_ms: i64) -> RangeInclusive<i64> {
    EARLIEST_US..=record_ms.saturating_mul(1000).saturating_add(DAY_US)
}

/// The day, counted from 1970, of an event time in a record with this Kafka timestamp.
pub fn day(ts_us: i64, record_ms: i64) -> i64 {
    match believable(record_ms).contains(&ts_us) {
        true => ts_us.div_euclid(DAY_US),
        false => record_ms.div_euclid(DAY_US / 1000),
    }
}

/// A day as `YYYY-MM-DD`, in the Gregorian calendar ("days to civil", Howard Hinnant's
/// "chrono-Compatible Low-Level Date Algorithms").
pub fn name(day: i64) -> String {
    let z = day.clamp(-719_468, 2_932_896) + 719_468; // years 0 to 9999
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let d = doy - (153 * mp + 2) / 5 + 1;
    let m = if mp < 10 { mp + 3 } else { mp - 9 };
    let y = yoe + era * 400 + i64::from(m <= 2);
    format!("{y:04}-{m:02}-{d:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_have_their_names() {
        for (n, text) in [
            (0, "1970-01-01"),
            (-1, "1969-12-31"),
            (11_016, "2000-02-29"),
            (16_436, "2015-01-01"),
            (19_782, "2024-02-29"),
            (19_783, "2024-03-01"),
            (i64::MAX, "9999-12-31"),
            (i64::MIN, "0000-03-01"),
        ] {
            assert_eq!(name(n), text);
        }
    }

    #[test]
    fn a_time_that_cannot_be_true_takes_the_records_date() {
        let record_ms = 1_795_000_000_000; // 2026-11-18
        let record_day = record_ms / 86_400_000;
        assert_eq!(day(record_ms * 1000 - 5 * DAY_US, record_ms), record_day - 5);
        assert_eq!(day(record_ms * 1000 + DAY_US, record_ms), record_day + 1);
        assert_eq!(day(record_ms * 1000 + DAY_US + 1, record_ms), record_day);
        assert_eq!(day(EARLIEST_US, record_ms), 16_436);
        assert_eq!(day(EARLIEST_US - 1, record_ms), record_day);
        for wild in [i64::MIN, i64::MAX] {
            assert_eq!(day(wild, record_ms), record_day);
            let _ = name(day(0, wild));
        }
    }
}
