//! Dates of the Gregorian calendar as days since 1970, and back: all that a receiver's ddmmyy and an
//! RFC 3339 text need.

/// Seconds of a day without a leap second.
pub const DAY_S: i64 = 86_400;

/// GPS counts weeks in ten bits: a receiver whose firmware is older than 1024 weeks is so many days behind.
const ROLLOVER_DAYS: i64 = 1024 * 7;

/// A day as it was said, moved on by as many roll-overs of the week count as it takes not to be before
/// `first`.
pub fn after_rollovers(day: i64, first: i64) -> i64 {
    let missing = (first - day).max(0);
    day + (missing + ROLLOVER_DAYS - 1) / ROLLOVER_DAYS * ROLLOVER_DAYS
}

/// Days since 1970-01-01 of a date, or `None` where there is no such day (30 February, month 13).
pub fn days(year: i64, month: u32, day: u32) -> Option<i64> {
    if !(1..=12).contains(&month) || !(0..=9999).contains(&year) {
        return None;
    }
    if day == 0 || day > days_in_month(year, month) {
        return None;
    }
    // Years that begin in March put the leap day last, so that months have fixed places.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let (era, of_era) = (y.div_euclid(400), y.rem_euclid(400));
    let of_year = i64::from((153 * m + 2) / 5 + day - 1);
    Some(era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468)
}

/// Year, month and day of days since 1970-01-01.
pub fn date(days: i64) -> (i64, u32, u32) {
    let shifted = days + 719_468;
    let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let m = (5 * of_year + 2) / 153;
    let day = (of_year - (153 * m + 2) / 5 + 1) as u32;
    let month = if m < 10 { m + 3 } else { m - 9 } as u32;
    (year + era * 400 + i64::from(month <= 2), month, day)
}

fn days_in_month(year: i64, month: u32) -> u32 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_days_are_where_they_belong() {
        for ((y, m, d), n) in [
            ((1970, 1, 1), 0),
            ((1969, 12, 31), -1),
            ((2000, 2, 29), 11_016),
            ((2024, 2, 29), 19_782),
            ((2026, 11, 23), 20_780),
        ] {
            assert_eq!(days(y, m, d), Some(n), "{y}-{m}-{d}");
        }
    }

    #[test]
    fn every_day_of_four_centuries_reads_back() {
        let (from, to) = (days(1800, 1, 1).unwrap(), days(2200, 1, 1).unwrap());
        for n in from..to {
            let (y, m, d) = date(n);
            assert_eq!(days(y, m, d), Some(n));
        }
    }

    #[test]
    fn a_day_before_the_first_is_moved_by_whole_rollovers() {
        for back in 0..4 {
            assert_eq!(after_rollovers(20_780 - back * 7_168, 20_000), 20_780);
        }
        assert_eq!(after_rollovers(20_000, 20_000), 20_000);
        assert_eq!(after_rollovers(19_999, 20_000), 27_167);
    }

    #[test]
    fn days_that_do_not_exist_are_refused() {
        for (y, m, d) in
            [(2023, 2, 29), (1900, 2, 29), (2024, 4, 31), (2024, 13, 1), (2024, 0, 1), (2024, 1, 0)]
        {
            assert_eq!(days(y, m, d), None, "{y}-{m}-{d}");
        }
    }
}
