//! What a sentence's fields mean in the units of a reading: dates, qualities, knots, degrees, metres.

use super::calendar;
use super::sentence::number;

/// Receivers send this and more as "no idea".
const NO_DOP_E6: i64 = 99_000_000;

/// `ddmmyy`. Two digits of the year mean 1980 to 2079, as GPS time began in 1980.
pub(super) fn short_date(text: &[u8]) -> Option<i64> {
    let (&[a, b, c, d, e, f], true) = (text, text.len() == 6) else {
        return None;
    };
    let (day, month, year) = (number(&[a, b])?, number(&[c, d])?, i64::from(number(&[e, f])?));
    calendar::days(if year >= 80 { 1900 + year } else { 2000 + year }, month, day)
}

/// What a mode letter of NMEA 2.3 and later means as a GGA quality.
pub(super) fn quality_of_mode(letter: u8) -> u8 {
    match letter {
        b'D' => 2,
        b'P' => 3,
        b'R' => 4,
        b'F' => 5,
        b'E' => 6,
        b'M' => 7,
        b'S' => 8,
        _ => 1,
    }
}

/// A knot is 1852 m an hour: 4630/9 mm/s.
pub(super) fn mm_s_from_knots_e6(knots: i64) -> Option<u32> {
    u32::try_from((knots.checked_mul(4_630)? + 4_500_000) / 9_000_000).ok().filter(|_| knots >= 0)
}

pub(super) fn cdeg_from_e6(degrees: i64) -> Option<u16> {
    let in_range = (-360_000_000..=360_000_000).contains(&degrees);
    let cdeg = (degrees.rem_euclid(360_000_000) + 5_000) / 10_000 % 36_000;
    u16::try_from(cdeg).ok().filter(|_| in_range)
}

pub(super) fn cm_from_e6(metres: i64) -> Option<i32> {
    i32::try_from((metres + if metres < 0 { -5_000 } else { 5_000 }) / 10_000).ok()
}

pub(super) fn dop_e2_from_e6(dop: i64) -> Option<u16> {
    let known = (1..NO_DOP_E6).contains(&dop);
    u16::try_from((dop + 5_000) / 10_000).ok().filter(|_| known)
}

/// 1e-5° as u-blox says a course, to 0.01°.
pub(super) fn cdeg_from_e5(e5: i32) -> u16 {
    // Below 36000 after the division, so nothing is cut off.
    ((e5.rem_euclid(36_000_000) + 500) / 1_000 % 36_000) as u16
}

pub(super) fn cm_from_mm(mm: i32) -> i32 {
    (mm.saturating_add(if mm < 0 { -5 } else { 5 })) / 10
}
