//! Durations and sizes as people write them in settings: `"500ms"`, `"64 MiB"`. Only these two; a
//! plain number is refused, because it does not say its unit.

use std::time::Duration;

const TIME_UNITS: [(&str, u64); 5] =
    [("ms", 1), ("s", 1_000), ("min", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
const SIZE_UNITS: [(&str, u64); 6] =
    [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("kB", 1_000), ("MB", 1_000_000)];

/// Reads `"250ms"`, `"30s"`, `"5min"`, `"2h"`, `"7d"`.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    scaled(text, &TIME_UNITS)
        .map(Duration::from_millis)
        .ok_or_else(|| format!("{text:?} is not a duration: write a whole number and ms, s, min, h or d"))
}

/// Reads `"512 KiB"`, `"64 MiB"`, `"1 MB"`.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    scaled(text, &SIZE_UNITS)
        .ok_or_else(|| format!("{text:?} is not a size: write a whole number and B, KiB, MiB, GiB, kB or MB"))
}

fn scaled(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit.trim_start())?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

/// For `#[serde(deserialize_with)]` on a [`Duration`].
pub(crate) fn duration<'de, D: serde::Deserializer<'de>>(d: D) -> Result<Duration, D::Error> {
    let text: String = serde::Deserialize::deserialize(d)?;
    parse_duration(&text).map_err(serde::de::Error::custom)
}

/// For `#[serde(deserialize_with)]` on a number of bytes.
pub(crate) fn size<'de, D: serde::Deserializer<'de>>(d: D) -> Result<u64, D::Error> {
    let text: String = serde::Deserialize::deserialize(d)?;
    parse_size(&text).map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_need_their_unit() {
        assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse_duration("2 h"), Ok(Duration::from_secs(7200)));
        assert_eq!(parse_size("64 MiB"), Ok(64 << 20));
        assert_eq!(parse_size("10B"), Ok(10));
        for bad in ["", "5", "ms", "-1s", "1.5s", "1 week", "99999999999999999999d", "20000000000000d"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
        for bad in ["", "5", "KiB", "1 K", "20000000000 GiB"] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
    }
}
