//! Walks a batch through a transform and notes what became of each reading, so that what is kept does
//! not travel back.

use crate::bindings::milepost::transform::types::{Insertions, Kept, Output, Plan};
use crate::fixes;
use crate::{Batch, Derived, Next, Out, Params, Saved, Transform};
use std::borrow::Borrow;

/// A transform and the streams it is called for.
pub struct Runner<T> {
    transform: T,
}

/// Names the streams of a transform; `transform!` implements it.
pub trait Registered: Transform {
    /// Stream names, `*` for every derived stream.
    const STREAMS: &'static [&'static str];
}

impl<T: Registered> Runner<T> {
    /// Starts a transform with its parameters.
    pub fn init(params: Vec<(String, String)>) -> Result<(Self, Plan), String> {
        let mut params = Params::new(params);
        let transform = T::new(&mut params)?;
        params.finish()?;
        let plan = Plan {
            streams: T::STREAMS.iter().map(|s| String::from(*s)).collect(),
            keeps_state: T::KEEPS_STATE,
            tick_every_ms: T::TICK_EVERY_MS,
        };
        Ok((Self { transform }, plan))
    }

    /// See the interface's `process`.
    pub fn process(&mut self, batch: Batch) -> Result<Output, String> {
        let t = &mut self.transform;
        match batch {
            Batch::Gps(rows) => walk(fixes::of(rows), Batch::Gps, |r, out| t.gps(r, out)),
            Batch::Vehicle(rows) => walk(rows.iter(), Batch::Vehicle, |r, out| t.vehicle(r, out)),
            Batch::Camera(rows) => walk(rows.iter(), Batch::Camera, |r, out| t.camera(r, out)),
            Batch::Weather(rows) => walk(rows.iter(), Batch::Weather, |r, out| t.weather(r, out)),
            Batch::Emergency(rows) => walk(rows.iter(), Batch::Emergency, |r, out| t.emergency(r, out)),
            Batch::Derived(Derived { stream, columns, rows }) => {
                let back =
                    |rows| Batch::Derived(Derived { stream: stream.clone(), columns: columns.clone(), rows });
                walk(rows.iter(), back, |r, out| t.derived(&stream, &columns, r, out))
            }
        }
    }

    /// See the interface's `tick`.
    pub fn tick(&mut self, now_us: i64) -> Result<Vec<Derived>, String> {
        let mut out = Out::default();
        self.transform.tick(now_us, &mut out);
        out.finish()
    }

    /// See the interface's `snapshot`.
    pub fn snapshot(&self) -> Vec<u8> {
        let mut saved = Saved::default();
        self.transform.save(&mut saved);
        saved.into_bytes()
    }

    /// See the interface's `restore`.
    pub fn restore(&mut self, state: Vec<u8>) -> Result<(), String> {
        let mut saved = Saved::from_bytes(state);
        self.transform.load(&mut saved)?;
        saved.finish()
    }
}

fn walk<R>(
    rows: impl ExactSizeIterator<Item: Borrow<R>>,
    batch: impl FnOnce(Vec<R>) -> Batch,
    mut step: impl FnMut(&R, &mut Out) -> Next<R>,
) -> Result<Output, String> {
    let len = rows.len();
    let mut out = Out::default();
    let mut marks = Marks::default();
    let (mut at, mut readings) = (Vec::new(), Vec::new());
    for (i, row) in rows.enumerate() {
        let next = step(row.borrow(), &mut out);
        if out.failed() {
            break;
        }
        marks.push(i, matches!(next, Next::Keep));
        match next {
            Next::Keep | Next::TakeOut => {}
            Next::Change(reading) => {
                at.push(i as u32);
                readings.push(reading);
            }
            Next::Become(others) => {
                at.extend(others.iter().map(|_| i as u32));
                readings.extend(others);
            }
        }
    }
    let put_in = (!at.is_empty()).then(|| Insertions { at, readings: batch(readings) });
    Ok(Output { derived: out.finish()?, kept: marks.finish(len), put_in })
}

/// Which readings are kept; the bits are only made where neither all nor none are.
#[derive(Default)]
struct Marks {
    kept: usize,
    bits: Vec<u8>,
}

impl Marks {
    #[inline]
    fn push(&mut self, i: usize, keep: bool) {
        if keep && self.kept == i {
            self.kept += 1;
        } else if keep {
            self.mark(i);
        }
    }

    fn mark(&mut self, i: usize) {
        self.bits.resize(i / 8 + 1, 0);
        self.bits[i / 8] |= 1 << (i % 8);
    }

    /// `kept` leading readings and the marked ones behind them.
    fn finish(mut self, len: usize) -> Kept {
        if self.kept == len {
            return Kept::All;
        }
        if self.kept == 0 && self.bits.is_empty() {
            return Kept::Nothing;
        }
        self.bits.resize(len.div_ceil(8), 0);
        let (whole, rest) = (self.kept / 8, self.kept % 8);
        self.bits[..whole].fill(0xff);
        if rest > 0 {
            self.bits[whole] |= (1 << rest) - 1;
        }
        Kept::Bits(self.bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_name_what_is_kept() {
        for pattern in 0..1u32 << 11 {
            for len in [1, 8, 11] {
                let keep = |i: usize| pattern >> i & 1 == 1;
                let mut marks = Marks::default();
                (0..len).for_each(|i| marks.push(i, keep(i)));
                let said = marks.finish(len);
                let got = |i: usize| match &said {
                    Kept::All => true,
                    Kept::Nothing => false,
                    Kept::Bits(bits) => bits[i / 8] >> (i % 8) & 1 == 1,
                };
                assert!((0..len).all(|i| got(i) == keep(i)), "{pattern:b} of {len}: {said:?}");
            }
        }
    }
}
