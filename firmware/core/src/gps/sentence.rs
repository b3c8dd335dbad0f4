//! One NMEA sentence: its checksum, its fields, and the numbers in them. Integers throughout, so that
//! what a receiver wrote becomes fixed point without a float in between, and no allocation, so that a
//! board can use it too.

/// The most fields that are looked at. A GSA of the widest receivers has 31.
const MAX_FIELDS: usize = 40;

/// What came of a line that began with `$`.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Check {
    /// The checksum fits.
    Good,
    /// There is none.
    Missing,
    /// It does not fit, or is cut off.
    Bad,
}

/// Checks a line from behind the `$` to before the line's end. Returns the part that the checksum
/// covers. What follows the checksum is not looked at.
pub(super) fn check(line: &[u8]) -> (Check, &[u8]) {
    let Some(star) = line.iter().position(|b| *b == b'*') else {
        return (Check::Missing, line);
    };
    let (body, sum) = (&line[..star], &line[star + 1..]);
    let said = match sum {
        [high, low, ..] => hex(*high).zip(hex(*low)).map(|(h, l)| h << 4 | l),
        _ => None,
    };
    let fits = said == Some(body.iter().fold(0, |sum, b| sum ^ b));
    (if fits { Check::Good } else { Check::Bad }, body)
}

fn hex(b: u8) -> Option<u8> {
    char::from(b).to_digit(16).map(|d| d as u8)
}

/// The fields of a sentence.
pub(super) struct Sentence<'a> {
    fields: [&'a [u8]; MAX_FIELDS],
    count: usize,
}

impl<'a> Sentence<'a> {
    /// Splits the part that the checksum covers at its commas.
    pub(super) fn split(body: &'a [u8]) -> Self {
        let mut fields: [&[u8]; MAX_FIELDS] = [&[]; MAX_FIELDS];
        let mut count = 0;
        for field in body.split(|b| *b == b',').take(MAX_FIELDS) {
            fields[count] = field.trim_ascii();
            count += 1;
        }
        Self { fields, count }
    }

    /// Talker and kind of a standard sentence: `(b"GP", b"RMC")`. A tag that begins with `P` is a
    /// maker's own, whatever it ends in: `PGRMC` sets up a Garmin. Only Quectel's `PQGSA` is what it
    /// seems to be.
    pub(super) fn tag(&self) -> Option<([u8; 2], [u8; 3])> {
        match self.fields[0] {
            [b'P', ..] if self.fields[0] != b"PQGSA" => None,
            &[a, b, c, d, e] => Some(([a, b], [c, d, e])),
            _ => None,
        }
    }

    /// How many fields there are, the tag among them.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// Field `i`; empty where there is none.
    pub(super) fn field(&self, i: usize) -> &'a [u8] {
        self.fields.get(i).copied().unwrap_or(&[])
    }

    /// The first character of field `i`.
    pub(super) fn letter(&self, i: usize) -> Option<u8> {
        self.field(i).first().copied()
    }

    /// A whole number; what follows its digits is not looked at.
    pub(super) fn int(&self, i: usize) -> Option<u32> {
        let digits = self.field(i);
        let end = digits.iter().position(|b| !b.is_ascii_digit()).unwrap_or(digits.len());
        number(&digits[..end.min(9)])
    }

    /// A decimal number in millionths.
    pub(super) fn decimal_e6(&self, i: usize) -> Option<i64> {
        decimal(self.field(i), 6)
    }

    /// Latitude and longitude, 1e-7°, from four fields that begin at `i`. `None` where one is empty,
    /// is no number, or lies outside of the globe.
    pub(super) fn position(&self, i: usize) -> Option<(i32, i32)> {
        let lat = angle(self.field(i), 90)?;
        let lon = angle(self.field(i + 2), 180)?;
        let lat = if self.letter(i + 1)? == b'S' { -lat } else { lat };
        let lon = if self.letter(i + 3)? == b'W' { -lon } else { lon };
        Some((lat, lon))
    }

    /// `hhmmss[.sss]` as nanoseconds since midnight. Second 60 is a leap second.
    pub(super) fn time_of_day(&self, i: usize) -> Option<u64> {
        let text = self.field(i);
        let (hms, fraction) = (text.get(..6)?, text.get(6..)?);
        let (h, m, s) = (number(&hms[..2])?, number(&hms[2..4])?, number(&hms[4..])?);
        let nanos = match fraction {
            [] => 0,
            [b'.', digits @ ..] => decimal_fraction(digits, 9)?,
            _ => return None,
        };
        let in_range = h < 24 && m < 60 && s <= 60;
        in_range.then(|| u64::from(h * 3600 + m * 60 + s) * 1_000_000_000 + nanos)
    }
}

/// `dddmm.mmmm` in 1e-7°, rounded to the nearest. The decimal point must be there, as gpsd wants it:
/// a number without is a cut-off one.
fn angle(text: &[u8], most_degrees: u32) -> Option<i32> {
    let point = text.iter().position(|b| *b == b'.')?;
    let whole = number(&text[..point])?;
    let (degrees, minutes) = (whole / 100, whole % 100);
    // Minutes in 1e-9'; 1e-7° are 6000 of these.
    let minutes = u64::from(minutes) * 1_000_000_000 + decimal_fraction(&text[point + 1..], 9)?;
    let e7 = u64::from(degrees) * 10_000_000 + (minutes + 3_000) / 6_000;
    let in_range = e7 <= u64::from(most_degrees) * 10_000_000;
    i32::try_from(e7).ok().filter(|_| in_range)
}

/// One to nine digits.
pub(super) fn number(digits: &[u8]) -> Option<u32> {
    if digits.is_empty() || digits.len() > 9 {
        return None;
    }
    digits.iter().try_fold(0, |n, b| Some(n * 10 + char::from(*b).to_digit(10)?))
}

/// A decimal number in units of 10^-`places`; further digits are cut off.
fn decimal(text: &[u8], places: u32) -> Option<i64> {
    let (negative, text) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        all => (false, all),
    };
    let point = text.iter().position(|b| *b == b'.').unwrap_or(text.len());
    let (whole, fraction) = (&text[..point], text.get(point + 1..).unwrap_or(&[]));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let whole = if whole.is_empty() { 0 } else { number(whole)? };
    let value = i64::from(whole) * 10i64.pow(places) + decimal_fraction(fraction, places)? as i64;
    Some(if negative { -value } else { value })
}

/// The digits behind a decimal point in units of 10^-`places`; further digits are cut off.
fn decimal_fraction(digits: &[u8], places: u32) -> Option<u64> {
    if digits.len() > 20 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let padded = digits.iter().copied().chain(core::iter::repeat(b'0')).take(places as usize);
    Some(padded.fold(0, |n, b| n * 10 + u64::from(b - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(field: &str) -> Option<i64> {
        Sentence::split(format!("X,{field}").as_bytes()).decimal_e6(1)
    }

    #[test]
    fn checksums_are_checked() {
        assert_eq!(check(b"GPGLL,,,,,,V,N*64").0, Check::Good);
        assert_eq!(check(b"GPGLL,,,,,,V,N*64\x20junk").0, Check::Good);
        assert_eq!(check(b"GPGLL,,,,,,A,N*64").0, Check::Bad);
        assert_eq!(check(b"GPGLL,,,,,,V,N*6").0, Check::Bad);
        assert_eq!(check(b"GPGLL,,,,,,V,N*zz").0, Check::Bad);
        assert_eq!(check(b"GPGLL,,,,,,V,N").0, Check::Missing);
    }

    #[test]
    fn angles_keep_every_digit_that_fits_and_round_the_rest() {
        assert_eq!(angle(b"4807.038", 90), Some(481_173_000));
        assert_eq!(angle(b"4629.8972306", 90), Some(464_982_872));
        assert_eq!(angle(b"18000.0000", 180), Some(1_800_000_000));
        assert_eq!(angle(b"0000.00000001", 90), Some(0));
        for bad in [&b"4807"[..], b"", b".", b"x.5", b"9000.001", b"4807.0 38", b"-4807.038"] {
            assert_eq!(angle(bad, 90), None, "{:?}", String::from_utf8_lossy(bad));
        }
    }

    #[test]
    fn decimals_and_times_read_as_written() {
        assert_eq!(
            (one("0.040"), one("-29.5"), one(".5"), one("12")),
            (Some(40_000), Some(-29_500_000), Some(500_000), Some(12_000_000))
        );
        for bad in ["", ".", "-", "1e3", "0x1", "1.2.3", "12345678901"] {
            assert_eq!(one(bad), None, "{bad}");
        }
        let tod = |t: &str| Sentence::split(format!("X,{t}").as_bytes()).time_of_day(1);
        assert_eq!(tod("000001.5"), Some(1_500_000_000));
        assert_eq!(tod("235960"), Some(86_400_000_000_000));
        for bad in ["", "12", "240000", "126000", "120061", "12:00:00", "1200005", "120000.x"] {
            assert_eq!(tod(bad), None, "{bad}");
        }
    }
}
