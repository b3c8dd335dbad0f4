//! u-blox's binary protocol, as far as it says positions: the message UBX-NAV-PVT.
//!
//! ```text
//! b5 62 · class 01 · id 07 · length (u16, lowest first) · payload · two bytes of checksum
//! ```
//!
//! Fields and flags are those of the "u-blox 8 / u-blox M8 Receiver description", section UBX-NAV-PVT;
//! receivers of protocol 14 send 84 bytes of payload, later ones 92. No other message is looked at.

use super::calendar;
use super::fix::Fix;
use super::values::{cdeg_from_e5, cm_from_mm};

/// The first byte of every message.
pub(super) const SYNC: u8 = 0xb5;
const HEAD: [u8; 4] = [SYNC, 0x62, 0x01, 0x07];
/// Bytes before the payload, and behind it.
const AROUND: usize = 8;
const LENGTHS: [usize; 2] = [84, 92];
/// The longest message that is read.
pub(super) const MAX_MESSAGE: usize = LENGTHS[1] + AROUND;

const DAY_NS: i64 = calendar::DAY_S * 1_000_000_000;

/// What bytes that begin with [`SYNC`] are.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Judged {
    /// The beginning of a message, as far as they go.
    Beginning,
    /// A whole one of so many bytes, whose checksum fits.
    Whole(usize),
    /// A whole one that is damaged.
    Damaged,
    /// Something else.
    Other,
}

/// Judges bytes. What follows a whole message is not looked at.
pub(super) fn judge(bytes: &[u8]) -> Judged {
    if !bytes.iter().zip(HEAD).all(|(found, expected)| *found == expected) {
        return Judged::Other;
    }
    let Some(length) = bytes.get(4..6).map(|l| usize::from(u16::from_le_bytes([l[0], l[1]]))) else {
        return Judged::Beginning;
    };
    if !LENGTHS.contains(&length) {
        return Judged::Other;
    }
    if bytes.len() < length + AROUND {
        return Judged::Beginning;
    }
    let (summed, sums) = bytes[2..length + AROUND].split_at(length + 4);
    let (a, b) = summed.iter().fold((0u8, 0u8), |(a, b), byte| {
        let a = a.wrapping_add(*byte);
        (a, b.wrapping_add(a))
    });
    if sums == [a, b] { Judged::Whole(length + AROUND) } else { Judged::Damaged }
}

/// The fix of a whole message; `None` where it says that there is none.
pub(super) fn fix(message: &[u8], came_us: u64) -> Option<Fix> {
    let payload = message.get(6..6 + LENGTHS[0])?;
    let (kind, flags) = (payload[20], payload[21]);
    let invalid_position = payload[78] & 1 != 0;
    if !(1..=4).contains(&kind) || flags & 1 == 0 || invalid_position {
        return None;
    }
    let (lon_e7, lat_e7) = (int(payload, 24), int(payload, 28));
    if lat_e7.unsigned_abs() > 900_000_000 || lon_e7.unsigned_abs() > 1_800_000_000 {
        return None;
    }
    let (day, time_of_day) = time(payload);
    Some(Fix {
        came_us,
        day,
        time_of_day,
        lat_e7,
        lon_e7,
        altitude_cm: Some(cm_from_mm(int(payload, 36))),
        speed_mm_s: u32::try_from(int(payload, 60)).ok(),
        heading_cdeg: Some(cdeg_from_e5(int(payload, 64))),
        quality: quality(kind, flags),
        satellites: Some(payload[23]),
        // It says the dilution of the position in space, not the horizontal one.
        hdop_e2: None,
    })
}

/// Day and time of day, each where the receiver says that it is valid. The nanoseconds may be negative:
/// the second is the nearest one.
fn time(payload: &[u8]) -> (Option<i64>, Option<u64>) {
    let valid = payload[11];
    let year = u16::from_le_bytes([payload[4], payload[5]]);
    let [month, day, hour, minute, second] = [6, 7, 8, 9, 10].map(|i| u32::from(payload[i]));
    if valid & 2 == 0 || hour > 23 || minute > 59 || second > 60 {
        return (None, None);
    }
    let day = calendar::days(i64::from(year), month, day).filter(|_| valid & 1 != 0);
    let nanos = i64::from(int(payload, 16)).clamp(-1_000_000_000, 1_000_000_000);
    let time = i64::from(hour * 3600 + minute * 60 + second) * 1_000_000_000 + nanos;
    match u64::try_from(time) {
        Ok(time) => (day, Some(time)),
        Err(_) => (day.map(|day| day - 1), u64::try_from(time + DAY_NS).ok()),
    }
}

/// Quality as GGA counts it.
fn quality(kind: u8, flags: u8) -> u8 {
    let (differential, carrier) = (flags & 2 != 0, flags >> 6);
    match (kind, carrier, differential) {
        (1, ..) => 6,
        (_, 2, _) => 4,
        (_, 1, _) => 5,
        (_, _, true) => 2,
        _ => 1,
    }
}

fn int(payload: &[u8], at: usize) -> i32 {
    i32::from_le_bytes([payload[at], payload[at + 1], payload[at + 2], payload[at + 3]])
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A message of 12:00:00 on 2024-02-29, with the fields that a test sets.
    pub(in super::super) fn message(set: &[(usize, &[u8])]) -> [u8; MAX_MESSAGE] {
        let mut m = [0; MAX_MESSAGE];
        m[..6].copy_from_slice(&[SYNC, 0x62, 1, 7, 92, 0]);
        let mut put = |at: usize, bytes: &[u8]| m[6 + at..6 + at + bytes.len()].copy_from_slice(bytes);
        put(4, &2024u16.to_le_bytes());
        put(6, &[2, 29, 12, 0, 0, 0b111]);
        put(20, &[3, 1, 0, 9]);
        put(24, &115_166_667i32.to_le_bytes());
        put(28, &481_173_000i32.to_le_bytes());
        put(36, &545_400i32.to_le_bytes());
        put(60, &5_144i32.to_le_bytes());
        put(64, &8_440_000i32.to_le_bytes());
        set.iter().for_each(|(at, bytes)| put(*at, bytes));
        let (a, b) = m[2..98].iter().fold((0u8, 0u8), |(a, b), byte| {
            let a = a.wrapping_add(*byte);
            (a, b.wrapping_add(a))
        });
        m[98..].copy_from_slice(&[a, b]);
        m
    }

    fn read(set: &[(usize, &[u8])]) -> Option<Fix> {
        let message = message(set);
        assert_eq!(judge(&message), Judged::Whole(MAX_MESSAGE));
        fix(&message, 77)
    }

    #[test]
    fn every_field_is_read_in_its_unit() {
        let expected = Fix {
            came_us: 77,
            day: calendar::days(2024, 2, 29),
            time_of_day: Some(43_200_000_000_000),
            lat_e7: 481_173_000,
            lon_e7: 115_166_667,
            altitude_cm: Some(54_540),
            speed_mm_s: Some(5_144),
            heading_cdeg: Some(8_440),
            quality: 1,
            satellites: Some(9),
            hdop_e2: None,
        };
        assert_eq!(read(&[]), Some(expected));
    }

    #[test]
    fn a_time_a_moment_before_the_full_second_belongs_to_the_second_before() {
        let nanos = (-200_000i32).to_le_bytes();
        assert_eq!(read(&[(16, &nanos)]).unwrap().time_of_day, Some(43_199_999_800_000));
        let midnight = read(&[(8, &[0, 0, 0]), (16, &nanos)]).unwrap();
        assert_eq!(
            (midnight.day, midnight.time_of_day),
            (calendar::days(2024, 2, 28), Some(86_399_999_800_000))
        );
    }

    #[test]
    fn what_is_not_valid_is_none() {
        assert_eq!(read(&[(11, &[0b010])]).unwrap().day, None);
        let timeless = read(&[(11, &[0b001])]).unwrap();
        assert_eq!((timeless.day, timeless.time_of_day), (None, None));
        for (at, byte) in [(20, 0), (20, 5), (21, 0), (78, 1)] {
            assert_eq!(read(&[(at, &[byte])]), None, "byte {at} = {byte}");
        }
        assert_eq!(read(&[(28, &900_000_001i32.to_le_bytes())]), None, "beyond the pole");
    }

    #[test]
    fn the_kind_of_fix_becomes_a_quality() {
        for (kind, flags, quality) in [(3, 1, 1), (2, 3, 2), (3, 0x41, 5), (3, 0x83, 4), (1, 1, 6), (4, 1, 1)]
        {
            assert_eq!(read(&[(20, &[kind, flags])]).unwrap().quality, quality, "{kind} {flags:#x}");
        }
    }

    #[test]
    fn a_message_is_told_from_damage_and_from_others() {
        let good = message(&[]);
        for n in 1..good.len() {
            assert_eq!(judge(&good[..n]), Judged::Beginning, "{n} bytes");
        }
        let mut bad = good;
        bad[40] ^= 4;
        assert_eq!(judge(&bad), Judged::Damaged);
        for (at, byte) in [(1, 0x61), (2, 2), (3, 6), (4, 91), (5, 1)] {
            let mut other = good;
            other[at] = byte;
            assert_eq!(judge(&other), Judged::Other, "byte {at}");
        }
    }
}
