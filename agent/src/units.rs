//! Durations and sizes as people write them in a configuration: `"500ms"`, `"64 MiB"`. A bare number
//! is refused, so that nobody has to guess its unit.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A duration: a number and `us`, `ms`, `s`, `min`, `h` or `d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

/// A number of bytes: a number and `B`, `kB`, `MB`, `GB` (powers of 1000) or `KiB`, `MiB`, `GiB`
/// (powers of 1024).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

/// Text that is not a duration or a size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a {what}: write a number and a unit of {units}, such as {example:?}")]
pub struct InvalidUnit {
    text: String,
    what: &'static str,
    units: &'static str,
    example: &'static str,
}

/// The duration units, in nanoseconds, largest first.
const SPANS: [(&str, u128); 6] = [
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("min", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
];
/// The size units, in bytes, largest first.
const SIZES: [(&str, u128); 7] = [
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("kB", 1_000),
    ("B", 1),
];

impl FromStr for Span {
    type Err = InvalidUnit;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let nanos = parse(text, &SPANS).and_then(|n| u64::try_from(n).ok());
        nanos.map(|n| Self(Duration::from_nanos(n))).ok_or_else(|| InvalidUnit {
            text: shorten(text),
            what: "duration",
            units: "us, ms, s, min, h, d",
            example: "500ms",
        })
    }
}

impl FromStr for Size {
    type Err = InvalidUnit;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text, &SIZES).and_then(|n| u64::try_from(n).ok()).map(Self).ok_or_else(|| InvalidUnit {
            text: shorten(text),
            what: "size",
            units: "B, kB, MB, GB, KiB, MiB, GiB",
            example: "64 MiB",
        })
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show(f, self.0.as_nanos(), &SPANS, "")
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show(f, u128::from(self.0), &SIZES, " ")
    }
}

/// Reads a decimal number and one of `units`; what is finer than the smallest unit is cut off.
fn parse(text: &str, units: &[(&str, u128)]) -> Option<u128> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = (&text[..end], text[end..].trim_start());
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    if fraction.is_empty() || fraction.len() > 18 || fraction.contains('.') {
        return None;
    }
    let (whole, part): (u64, u64) = (whole.parse().ok()?, fraction.parse().ok()?);
    let part = u128::from(part) * factor / 10u128.pow(fraction.len() as u32);
    Some(u128::from(whole) * factor + part)
}

/// Writes an amount in the largest unit that divides it.
fn show(f: &mut fmt::Formatter<'_>, amount: u128, units: &[(&str, u128)], space: &str) -> fmt::Result {
    let exact = units.iter().find(|(_, factor)| amount != 0 && amount.is_multiple_of(*factor));
    let (unit, factor) = exact.or(units.last()).copied().unwrap_or(("", 1));
    write!(f, "{}{space}{unit}", amount / factor)
}

fn shorten(text: &str) -> String {
    text.chars().take(40).collect()
}

macro_rules! as_text {
    ($($t:ty),*) => {$(
        impl Serialize for $t {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $t {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}
as_text!(Span, Size);

impl From<Span> for Duration {
    fn from(span: Span) -> Self {
        span.0
    }
}

impl From<Size> for u64 {
    fn from(size: Size) -> Self {
        size.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_read_back_what_they_print() {
        for text in ["500ms", "1s", "90s", "2min", "1h", "30d", "250us", "0us"] {
            assert_eq!(text.parse::<Span>().unwrap().to_string(), text, "{text}");
        }
        for text in ["64 MiB", "1 GiB", "10 MB", "4 KiB", "123 B", "0 B"] {
            assert_eq!(text.parse::<Size>().unwrap().to_string(), text, "{text}");
        }
        assert_eq!("1.5s".parse::<Span>().unwrap().0, Duration::from_millis(1500));
        assert_eq!("1.5MiB".parse::<Size>().unwrap().0, 3 << 19);
    }

    #[test]
    fn what_has_no_unit_or_no_number_is_refused() {
        for bad in ["", "5", "ms", "1.2.3s", "1. s", "-1s", "1e3s", "1 fortnight", "99999999999999999999s"] {
            assert!(bad.parse::<Span>().is_err(), "{bad}");
            assert!(bad.replace('s', "B").parse::<Size>().is_err(), "{bad}");
        }
        assert!("600000000000d".parse::<Span>().is_err(), "more than fits");
    }
}
