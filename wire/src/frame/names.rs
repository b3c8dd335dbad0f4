//! Short names as bits: three characters of one case in 16 bits.
//!
//! Vehicles, streams and columns have names of letters of one case, digits, `-`, `.` and `_`, 39
//! characters in all: one takes 6 bits, two take 11, three take 16. A vehicle's name that has letters of
//! both cases takes 7 bits for each character.

use super::bits::{Reader, Writer};
use alloc::string::String;
use alloc::vec::Vec;

/// The characters of the lower case; the upper case has capitals in their place.
const LOWER: &[u8; 39] = b"abcdefghijklmnopqrstuvwxyz0123456789-._";
/// The bits of one, two and three characters.
const BITS: [u32; 3] = [6, 11, 16];
/// How many combinations those have.
const COMBINATIONS: [u64; 3] = [39, 39 * 39, 39 * 39 * 39];
/// The bits of a length, less 1.
const LENGTH: u32 = 6;
/// The bits of a character where a name has both cases.
const MIXED: u32 = 7;

/// Writes a vehicle's name: its length, its case, its characters.
pub(super) fn write_vehicle(w: &mut Writer, name: &str) {
    w.put(name.len() as u64 - 1, LENGTH);
    match name {
        _ if name.bytes().all(|b| place(b).is_some()) => {
            w.put(0, 1);
            packed(w, name.bytes());
        }
        _ if !name.bytes().any(|b| b.is_ascii_lowercase()) => {
            w.put(0b01, 2);
            packed(w, name.bytes().map(|b| b.to_ascii_lowercase()));
        }
        _ => {
            w.put(0b11, 2);
            name.bytes().for_each(|b| w.put(u64::from(b), MIXED));
        }
    }
}

/// Reads what [`write_vehicle`] wrote; who calls checks the characters.
pub(super) fn read_vehicle(r: &mut Reader<'_>) -> Result<String, &'static str> {
    let length = r.get(LENGTH) as usize + 1;
    if !r.flag() {
        return unpacked(r, length);
    }
    if !r.flag() {
        return unpacked(r, length).map(|name| name.to_ascii_uppercase());
    }
    Ok((0..length).map(|_| char::from(r.get(MIXED) as u8)).collect())
}

/// Writes the name of a derived stream or of a column, which has no capitals.
pub(super) fn write(w: &mut Writer, name: &str) {
    w.put(name.len() as u64 - 1, LENGTH);
    packed(w, name.bytes());
}

/// Reads what [`write`] wrote; who calls checks the characters.
pub(super) fn read(r: &mut Reader<'_>) -> Result<String, &'static str> {
    let length = r.get(LENGTH) as usize + 1;
    unpacked(r, length)
}

/// Where a character stands in [`LOWER`].
fn place(b: u8) -> Option<u64> {
    Some(u64::from(match b {
        b'a'..=b'z' => b - b'a',
        b'0'..=b'9' => b - b'0' + 26,
        b'-' => 36,
        b'.' => 37,
        b'_' => 38,
        _ => return None,
    }))
}

fn packed(w: &mut Writer, name: impl Iterator<Item = u8>) {
    let places: Vec<u64> = name.map(|b| place(b).unwrap_or_default()).collect();
    for group in places.chunks(3) {
        let number = group.iter().fold(0, |number, place| number * COMBINATIONS[0] + place);
        w.put(number, BITS[group.len() - 1]);
    }
}

fn unpacked(r: &mut Reader<'_>, length: usize) -> Result<String, &'static str> {
    let mut name = String::with_capacity(length);
    while name.len() < length {
        let group = (length - name.len()).min(3);
        let mut number = r.get(BITS[group - 1]);
        if number >= COMBINATIONS[group - 1] {
            return Err("a name with a character that no name has");
        }
        for i in (0..group).rev() {
            let of = if i == 0 { 1 } else { COMBINATIONS[i - 1] };
            name.push(char::from(LOWER[(number / of) as usize]));
            number %= of;
        }
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_character_has_its_place() {
        assert!((0..=255u8).all(|b| place(b) == LOWER.iter().position(|c| *c == b).map(|i| i as u64)));
    }

    #[test]
    fn every_length_and_case_reads_back() {
        let lower = "truck-0042.a_b9".repeat(5);
        for length in 1..=64 {
            let lower = &lower[..length];
            let mixed: String = lower
                .chars()
                .enumerate()
                .map(|(i, c)| if i % 2 == 0 { c.to_ascii_uppercase() } else { c })
                .collect();
            for name in [lower, &lower.to_ascii_uppercase(), &mixed] {
                let mut w = Writer::default();
                write_vehicle(&mut w, name);
                assert_eq!(read_vehicle(&mut Reader::new(&w.finish(), 0)).as_deref(), Ok(name));
            }
            let mut w = Writer::default();
            write(&mut w, lower);
            assert_eq!(read(&mut Reader::new(&w.finish(), 0)).as_deref(), Ok(lower));
        }
    }

    #[test]
    fn a_group_that_stands_for_no_characters_is_refused() {
        for (length, bits) in [(1, 6), (2, 11), (3, 16)] {
            let mut w = Writer::default();
            w.put(length - 1, LENGTH);
            w.put((1 << bits) - 1, bits);
            assert!(read(&mut Reader::new(&w.finish(), 0)).is_err(), "{length}");
        }
    }
}
