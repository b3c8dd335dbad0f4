//! Columns that are no integers: floats, bools, texts and bytes; and null masks.

use super::bits::{Reader, Writer};
use super::hints;
use super::int::{self, Scratch};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// Powers of ten that a float holds exactly.
const TENS: [f64; 16] =
    [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];
/// Integers up to here are floats too.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// Writes floats, of which there is at least one: as integers over a power of ten where that gives back
/// every bit of every value, else as their bits without the zeros that all end in.
pub(super) fn write_floats(w: &mut Writer, values: &[f64], scratch: &mut Scratch) {
    let decimal = (0..).zip(TENS).find_map(|(i, ten)| Some((i, all_decimal(values, ten)?)));
    w.flag(decimal.is_none());
    let (parameter, bits, integers) = match decimal {
        Some((exponent, integers)) => (exponent, 4, integers),
        None => {
            let shift = values.iter().map(|v| v.to_bits() << 1).fold(0, |a, b| a | b).trailing_zeros();
            // Doubled above, so that the sign does not count: a float that is not 0 has 1 to 63.
            let shift = shift.saturating_sub(1).min(63);
            (u64::from(shift), 6, values.iter().map(|v| ordered(v.to_bits(), shift)).collect())
        }
    };
    w.put(parameter, bits);
    int::write(w, &integers, &hints::FLOAT, None, scratch);
}

/// Reads what [`write_floats`] wrote.
pub(super) fn read_floats(r: &mut Reader<'_>, n: usize) -> Result<Vec<f64>, &'static str> {
    let bits = r.flag();
    let parameter = r.get(if bits { 6 } else { 4 }) as u32;
    let mut integers = alloc::vec![0; n];
    int::read(r, &mut integers, &hints::FLOAT, None)?;
    Ok(match bits {
        true => integers.into_iter().map(|i| f64::from_bits(unordered(i, parameter))).collect(),
        false => integers.into_iter().map(|i| i as f64 / TENS[parameter as usize]).collect(),
    })
}

fn all_decimal(values: &[f64], ten: f64) -> Option<Vec<i64>> {
    let decimal = |v: f64| {
        let scaled = v * ten;
        let near = (scaled + if scaled < 0.0 { -0.5 } else { 0.5 }) as i64;
        (scaled.abs() <= EXACT && (near as f64 / ten).to_bits() == v.to_bits()).then_some(near)
    };
    decimal(*values.first()?)?;
    values.iter().map(|v| decimal(*v)).collect()
}

/// A float's bits as an integer of the same order, without its `shift` lowest ones, which are 0.
fn ordered(bits: u64, shift: u32) -> i64 {
    let magnitude = (bits << 1 >> 1 >> shift) as i64;
    if bits >> 63 == 1 { !magnitude } else { magnitude }
}

fn unordered(v: i64, shift: u32) -> u64 {
    let (sign, magnitude) = if v < 0 { (1 << 63, !v) } else { (0, v) };
    sign | (magnitude as u64) << shift << 1 >> 1
}

/// Writes bits, of which there is at least one: all the same, as they are, or as runs.
pub(super) fn write_bools(w: &mut Writer, values: &[bool]) {
    let mut runs = values.chunk_by(|a, b| a == b);
    let first = values[0];
    let runs_bits: u32 = runs.clone().map(|run| super::bits::golomb_bits(run.len() as u64 - 1, 0)).sum();
    match runs.nth(1) {
        None => w.put(u64::from(first) << 1, 2),
        Some(_) if (runs_bits as usize) < values.len() => {
            w.put(0b11 | u64::from(first) << 2, 3);
            values.chunk_by(|a, b| a == b).for_each(|run| w.gamma(run.len() as u64));
        }
        Some(_) => {
            w.put(0b01, 2);
            values.iter().for_each(|v| w.flag(*v));
        }
    }
}

/// Reads what [`write_bools`] wrote.
pub(super) fn read_bools(r: &mut Reader<'_>, n: usize) -> Result<Vec<bool>, &'static str> {
    if !r.flag() {
        return Ok(alloc::vec![r.flag(); n]);
    }
    let mut values = Vec::with_capacity(n);
    if !r.flag() {
        values.extend((0..n).map(|_| r.flag()));
        return Ok(values);
    }
    let mut value = r.flag();
    while values.len() < n {
        let run = r.gamma()?;
        if run > (n - values.len()) as u64 {
            return Err("a run that is longer than the column");
        }
        values.resize(values.len() + run as usize, value);
        value = !value;
    }
    Ok(values)
}

/// Bytes that stand behind all bits: of one column, in pieces.
pub(super) struct Heap<'a> {
    pub(super) pieces: Vec<&'a [u8]>,
    pub(super) bytes: usize,
}

/// Writes texts, of which there is at least one: each different one once and places, or all as they are.
pub(super) fn write_texts<'a>(w: &mut Writer, texts: Vec<&'a [u8]>, scratch: &mut Scratch) -> Heap<'a> {
    let (places, different) = dictionary(&texts);
    let total = |texts: &[&[u8]]| texts.iter().map(|t| t.len()).sum::<usize>();
    let lengths = |texts: &[&[u8]]| texts.iter().map(|t| t.len() as i64).collect::<Vec<_>>();
    // A place takes about as many bits as the number of different texts has.
    let place_bits = texts.len() * (usize::BITS - (different.len() - 1).leading_zeros()) as usize;
    let plain = total(&different) * 8 + place_bits >= total(&texts) * 8 + texts.len();
    w.flag(plain);
    if plain {
        int::write(w, &lengths(&texts), &hints::PLAIN, None, scratch);
        return Heap { bytes: total(&texts), pieces: texts };
    }
    w.golomb(different.len() as u64 - 1, 1);
    int::write(w, &lengths(&different), &hints::PLAIN, None, scratch);
    if different.len() > 1 {
        int::write(w, &places, &hints::PLAIN, None, scratch);
    }
    Heap { bytes: total(&different), pieces: different }
}

fn dictionary<'a>(texts: &[&'a [u8]]) -> (Vec<i64>, Vec<&'a [u8]>) {
    let (mut known, mut different, mut places) =
        (BTreeMap::new(), Vec::new(), Vec::with_capacity(texts.len()));
    let mut last: Option<(&[u8], i64)> = None;
    for &text in texts {
        let place = match last {
            Some((same, place)) if same == text => place,
            _ => *known.entry(text).or_insert_with(|| {
                different.push(text);
                different.len() as i64 - 1
            }),
        };
        last = Some((text, place));
        places.push(place);
    }
    (places, different)
}

/// Texts as they were read: which piece of which length each row takes.
pub(super) struct Texts {
    /// The lengths of the pieces that stand in the heap.
    lengths: Vec<i64>,
    /// Each row's piece; none where each row has its own.
    places: Option<Vec<i64>>,
    /// The bytes that the pieces take in the heap.
    pub(super) heap: usize,
    /// The bytes that the rows take in memory.
    pub(super) expanded: u64,
}

/// Reads what [`write_texts`] wrote but for the heap, which has at most `most` bytes.
pub(super) fn read_texts(r: &mut Reader<'_>, n: usize, most: usize) -> Result<Texts, &'static str> {
    let plain = r.flag();
    let different = match plain {
        true => n,
        // All but one have a byte, for they differ; so the lengths take no memory that the frame has not.
        false => match r.golomb(1)? {
            d if d < n as u64 && d <= most as u64 => d as usize + 1,
            _ => return Err("a dictionary that is larger than the column or than its texts"),
        },
    };
    let mut lengths = alloc::vec![0; different];
    int::read(r, &mut lengths, &hints::PLAIN, None)?;
    let mut heap = 0;
    for &length in &lengths {
        match usize::try_from(length) {
            Ok(length) if length <= most - heap => heap += length,
            _ => return Err("texts that are longer than the frame"),
        }
    }
    if plain {
        return Ok(Texts { lengths, places: None, heap, expanded: heap as u64 });
    }
    let mut places = alloc::vec![0; n];
    if different > 1 {
        int::read(r, &mut places, &hints::PLAIN, None)?;
    }
    let mut expanded = 0;
    for &place in &places {
        match usize::try_from(place).ok().and_then(|p| lengths.get(p)) {
            Some(&length) => expanded += length as u64,
            None => return Err("a place outside of the dictionary"),
        }
    }
    Ok(Texts { lengths, places: Some(places), heap, expanded })
}

impl Texts {
    /// Appends the rows' bytes to `data`, and where each ends to `ends`.
    pub(super) fn fill(&self, heap: &[u8], data: &mut Vec<u8>, ends: &mut Vec<i32>) {
        let mut end = data.len() as i32;
        match &self.places {
            None => {
                data.extend_from_slice(heap);
                ends.extend(self.lengths.iter().map(|n| {
                    end += *n as i32;
                    end
                }));
            }
            Some(places) => {
                let mut starts = Vec::with_capacity(self.lengths.len());
                self.lengths.iter().fold(0, |start, n| {
                    starts.push(start);
                    start + *n as usize
                });
                for &place in places {
                    let (from, n) = (starts[place as usize], self.lengths[place as usize] as usize);
                    data.extend_from_slice(&heap[from..from + n]);
                    ends.push(data.len() as i32);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dictionary_takes_no_memory_that_its_texts_do_not_have() {
        let texts: Vec<Vec<u8>> =
            (0..=255u8).map(|b| if b == 0 { Vec::new() } else { alloc::vec![b] }).collect();
        let rows: Vec<&[u8]> = (0..8192).map(|i| &texts[i / 32][..]).collect();
        let mut w = Writer::default();
        let heap = write_texts(&mut w, rows, &mut Scratch::default());
        assert_eq!((heap.pieces.len(), heap.bytes), (256, 255));
        let bits = w.finish();
        assert!(read_texts(&mut Reader::new(&bits, 0), 8192, 255).is_ok());
        assert!(read_texts(&mut Reader::new(&bits, 0), 8192, 254).is_err());
        // Many of no bytes, in a few bits.
        let mut w = Writer::default();
        w.flag(false);
        w.golomb(8191, 1);
        assert!(read_texts(&mut Reader::new(&w.finish(), 0), 8192, 200).is_err());
    }
}
