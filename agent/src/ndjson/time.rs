//! Time stamps as RFC 3339 text.

use crate::source::nmea::calendar::{DAY_S, date, days};
use std::fmt::Write;

/// µs since 1970 of a text such as `2024-02-29T12:00:00.5Z` or with an offset such as `+01:00`.
/// Digits beyond the µs are cut off. `None` where it is not such a text or there is no such time.
pub fn parse_rfc3339(text: &str) -> Option<i64> {
    let (day, rest) = (text.get(..10)?, text.get(10..)?);
    let rest = rest.strip_prefix(['T', 't', ' '])?;
    let day = match day.as_bytes() {
        [_, _, _, _, b'-', _, _, b'-', _, _] => {
            days(digits(&day[..4])?, digits(&day[5..7])? as u32, digits(&day[8..])? as u32)?
        }
        _ => return None,
    };
    let (hms, rest) = (rest.get(..8)?, rest.get(8..)?);
    let (h, m, s) = match hms.as_bytes() {
        [_, _, b':', _, _, b':', _, _] => (digits(&hms[..2])?, digits(&hms[3..5])?, digits(&hms[6..])?),
        _ => return None,
    };
    if h > 23 || m > 59 || s > 60 {
        return None;
    }
    let (micros, zone) = match rest.strip_prefix('.') {
        Some(rest) => {
            let end = rest.find(|c: char| !c.is_ascii_digit())?;
            let fraction: String = rest[..end].chars().chain("000000".chars()).take(6).collect();
            (if end == 0 { None } else { digits(&fraction) }?, &rest[end..])
        }
        None => (0, rest),
    };
    let offset = match zone.as_bytes() {
        b"Z" | b"z" => 0,
        [sign @ (b'+' | b'-'), _, _, b':', _, _] => {
            let minutes = digits(&zone[1..3])? * 60 + digits(&zone[4..])?;
            if *sign == b'-' { -minutes } else { minutes }
        }
        _ => return None,
    };
    Some((day * DAY_S + h * 3600 + m * 60 + s - offset * 60) * 1_000_000 + micros)
}

/// The text of µs since 1970, in UTC; a fraction only where there is one. For years 0 to 9999.
pub fn rfc3339(ts: i64) -> String {
    let (seconds, micros) = (ts.div_euclid(1_000_000), ts.rem_euclid(1_000_000));
    let (day, second) = (seconds.div_euclid(DAY_S), seconds.rem_euclid(DAY_S));
    let (year, month, day) = date(day);
    let (h, m, s) = (second / 3600, second / 60 % 60, second % 60);
    let mut text = format!("{year:04}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}");
    // Writing to a string cannot fail.
    let _ = match micros {
        0 => Ok(()),
        _ if micros % 1000 == 0 => write!(text, ".{:03}", micros / 1000),
        _ => write!(text, ".{micros:06}"),
    };
    text + "Z"
}

fn digits(text: &str) -> Option<i64> {
    if text.bytes().all(|b| b.is_ascii_digit()) { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_read_back() {
        for (text, ts) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2024-02-29T23:59:59.123Z", 1_709_251_199_123_000),
            ("2018-08-02T16:14:48.299001Z", 1_533_226_488_299_001),
        ] {
            assert_eq!((parse_rfc3339(text), rfc3339(ts).as_str()), (Some(ts), text));
        }
        assert_eq!(parse_rfc3339("1970-01-01T01:00:00+01:00"), Some(0));
        assert_eq!(parse_rfc3339("1970-01-01 00:00:00.5Z"), Some(500_000));
        assert_eq!(parse_rfc3339("1970-01-01T00:00:00.1234567Z"), Some(123_456));
    }

    #[test]
    fn other_texts_are_refused() {
        for bad in [
            "",
            "1970-01-01",
            "1970-01-01T00:00:00",
            "1970-02-30T00:00:00Z",
            "1970-01-01T24:00:00Z",
            "1970-01-01T00:00:00.Z",
            "1970-01-01T00:00:00+1:00",
            "1970/01/01T00:00:00Z",
            "+970-01-01T00:00:00Z",
            "1970-01-01T00:00:00€",
            "197€-01-01T00:00:00Z",
        ] {
            assert_eq!(parse_rfc3339(bad), None, "{bad}");
        }
    }
}
