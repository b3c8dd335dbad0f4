//! The times of a batch: what the header says of them, and in the body each as ticks since the first.
//!
//! Header: the unit of ticks, the unit of the first time beside it, the first time less [`EPOCH`]; and of
//! two or more times a bit that is 0 where they are evenly spaced, with one step then, with the whole
//! span otherwise. The body holds ticks only where they are not even.

use super::bits::{Reader, Writer, unzigzag, zigzag};
use super::int::{Choice, Scratch, write_best};
use super::rice;
use alloc::vec::Vec;

/// What a unit of time is, and the Golomb parameters of numbers in it.
struct Unit {
    micros: i64,
    /// Of a first time: within 8 years of the epoch it takes one bit more than this.
    start: u32,
    /// Of a step.
    step: u32,
    /// Of the whole span.
    span: u32,
}

const fn unit(micros: i64, start: u32, step: u32, span: u32) -> Unit {
    Unit { micros, start, step, span }
}

/// The coarsest first, in whose order they are numbered.
static UNITS: [Unit; 5] = [
    unit(1_000_000, 29, 1, 5),
    unit(100_000, 33, 1, 8),
    unit(10_000, 36, 5, 12),
    unit(1_000, 39, 9, 15),
    unit(1, 49, 20, 25),
];
/// Most frames are read and written near this time: 2025-01-01, µs.
const EPOCH: i64 = 1_735_689_600_000_000;

/// How the times of a batch lie.
pub(super) struct Span {
    /// The first time, µs.
    pub(super) start: i64,
    /// The unit of the first time.
    start_unit: usize,
    /// The last time less the first, in ticks.
    ticks: u64,
    /// The unit of a tick.
    tick_unit: usize,
    /// Whether each time is as far from the one before it.
    even: bool,
}

impl Span {
    /// Of times of which `start` and `end` are the first and the last.
    pub(super) fn of(times: &[i64], start: i64, end: i64) -> Self {
        let since = |t: i64| t.wrapping_sub(start) as u64;
        let even_unit = |u: &Unit| times.iter().all(|t| since(*t).is_multiple_of(u.micros as u64));
        let tick_unit = UNITS.iter().position(even_unit).unwrap_or(UNITS.len() - 1);
        let start_unit = UNITS.iter().position(|u| start % u.micros == 0).unwrap_or(UNITS.len() - 1);
        let ticks = since(end) / UNITS[tick_unit].micros as u64;
        let mut span = Self { start, start_unit, ticks, tick_unit, even: false };
        let gaps = gaps(times.len());
        let step = ticks / gaps;
        span.even = ticks.is_multiple_of(gaps)
            && (0..).zip(times).all(|(i, t)| span.tick(*t) as u64 == step.wrapping_mul(i));
        span
    }

    /// The last time, µs.
    pub(super) fn end(&self) -> i64 {
        self.time(self.ticks as i64)
    }

    fn tick(&self, time: i64) -> i64 {
        (time.wrapping_sub(self.start) as u64 / UNITS[self.tick_unit].micros as u64) as i64
    }

    fn time(&self, tick: i64) -> i64 {
        self.start.wrapping_add(tick.wrapping_mul(UNITS[self.tick_unit].micros))
    }

    /// Writes the header's part, for `n` times.
    pub(super) fn write(&self, w: &mut Writer, n: u32) {
        w.golomb(self.tick_unit as u64, 0);
        w.golomb(zigzag(self.start_unit as i64 - self.tick_unit as i64), 0);
        let (start, tick) = (&UNITS[self.start_unit], &UNITS[self.tick_unit]);
        w.golomb(zigzag((self.start / start.micros).wrapping_sub(EPOCH / start.micros)), start.start);
        if n > 1 {
            w.flag(!self.even);
            match self.even {
                true => w.golomb(self.ticks / gaps(n as usize), tick.step),
                false => w.golomb(self.ticks, tick.span),
            }
        }
    }

    /// Reads what [`Span::write`] wrote.
    pub(super) fn read(r: &mut Reader<'_>, n: u32) -> Result<Self, &'static str> {
        let tick_unit = r.golomb(0)?.min(UNITS.len() as u64) as usize;
        let start_unit = (tick_unit as i64).checked_add(unzigzag(r.golomb(0)?));
        let start_unit = start_unit.and_then(|u| usize::try_from(u).ok()).unwrap_or(UNITS.len());
        let (Some(tick), Some(unit)) = (UNITS.get(tick_unit), UNITS.get(start_unit)) else {
            return Err("an unknown unit of times");
        };
        let start = unzigzag(r.golomb(unit.start)?).wrapping_add(EPOCH / unit.micros);
        let even = n == 1 || !r.flag();
        let ticks = match even {
            _ if n == 1 => Some(0),
            true => r.golomb(tick.step)?.checked_mul(gaps(n as usize)),
            false => Some(r.golomb(tick.span)?),
        };
        let (Some(start), Some(ticks)) = (start.checked_mul(unit.micros), ticks) else {
            return Err("a time that is not within 64 bits of µs");
        };
        match i64::try_from(i128::from(start) + i128::from(ticks) * i128::from(tick.micros)) {
            Ok(_) => Ok(Self { start, start_unit, ticks, tick_unit, even }),
            Err(_) => Err("a time that is not within 64 bits of µs"),
        }
    }

    /// Writes the body's part.
    pub(super) fn write_times(&self, w: &mut Writer, times: &[i64], scratch: &mut Scratch) {
        if !self.even {
            let ticks: Vec<i64> = times.iter().map(|t| self.tick(*t)).collect();
            write_ticks(w, &ticks, self.ticks, scratch);
        }
    }

    /// Reads what [`Span::write_times`] wrote, and holds it against the header.
    pub(super) fn read_times(&self, r: &mut Reader<'_>, out: &mut [i64]) -> Result<(), &'static str> {
        match self.even {
            true => {
                let step = self.ticks / gaps(out.len());
                (0..).zip(&mut *out).for_each(|(i, t)| *t = step.wrapping_mul(i) as i64);
            }
            false => {
                read_ticks(r, out, self.ticks)?;
                let (mut least, mut most) = (u64::MAX, 0);
                for t in out.iter() {
                    least = least.min(*t as u64);
                    most = most.max(*t as u64);
                }
                if (least, most) != (0, self.ticks) {
                    return Err("times that are not those of the header");
                }
            }
        }
        for t in out {
            *t = self.time(*t);
        }
        Ok(())
    }
}

/// The steps between `n` times, counted as 1 where there is none.
fn gaps(n: usize) -> u64 {
    (n as u64).saturating_sub(1).max(1)
}

/// Off an even spacing over the whole span: a clock that jitters.
const LINE: u64 = 0;
/// Off one step for all, the median, which is written first: a beat that misses a stroke now and then.
const BEAT: u64 = 1;
/// Off the last step, the first one being written apart: a rate that drifts.
const STEP: u64 = 2;
const CHOICES: [Choice; 3] = [
    Choice { code: LINE, apart: None, holds: true },
    Choice { code: BEAT, apart: Some(4), holds: true },
    Choice { code: STEP, apart: Some(4), holds: true },
];

/// Writes two or more ticks, of which 0 is the least and `span` the most.
fn write_ticks(w: &mut Writer, ticks: &[i64], span: u64, scratch: &mut Scratch) {
    let gaps = ticks.len() as u64 - 1;
    w.golomb(ticks[0] as u64, 1);
    let mut steps: Vec<i64> = ticks.windows(2).map(|p| p[1].wrapping_sub(p[0])).collect();
    let median = *steps.select_nth_unstable(gaps as usize / 2).1;
    let steps = || ticks.windows(2).map(|p| p[1].wrapping_sub(p[0]));
    let numbers = |code, out: &mut Vec<u64>| {
        out.clear();
        match code {
            LINE => {
                out.extend((1..).zip(&ticks[1..]).map(|(i, &t)| zigzag(t.wrapping_sub(line(i, span, gaps)))))
            }
            BEAT => {
                out.push(zigzag(median));
                out.extend(steps().map(|s| zigzag(s.wrapping_sub(median))));
            }
            _ => {
                let mut before = 0i64;
                out.extend(steps().map(|s| zigzag(s.wrapping_sub(core::mem::replace(&mut before, s)))));
            }
        }
    };
    write_best(w, CHOICES.into_iter(), 2, numbers, scratch);
}

/// Where the `i`-th of `gaps` even gaps ends.
fn line(i: u64, span: u64, gaps: u64) -> i64 {
    (span.wrapping_mul(i) / gaps) as i64
}

/// Reads what [`write_ticks`] wrote.
fn read_ticks(r: &mut Reader<'_>, out: &mut [i64], span: u64) -> Result<(), &'static str> {
    let gaps = out.len() as u64 - 1;
    out[0] = r.golomb(1)? as i64;
    let code = r.get(2);
    let mut last = out[0];
    let rest = &mut out[1..];
    match code {
        LINE => {
            rice::read(r, rest)?;
            (1..).zip(rest).for_each(|(i, t)| *t = t.wrapping_add(line(i, span, gaps)));
        }
        BEAT => {
            let beat = unzigzag(r.golomb(4)?);
            rice::read(r, rest)?;
            for t in rest {
                last = last.wrapping_add(t.wrapping_add(beat));
                *t = last;
            }
        }
        STEP => {
            rest[0] = unzigzag(r.golomb(4)?);
            rice::read(r, &mut rest[1..])?;
            let mut step = 0i64;
            for t in rest {
                step = step.wrapping_add(*t);
                last = last.wrapping_add(step);
                *t = last;
            }
        }
        _ => return Err("an unknown predictor of times"),
    }
    Ok(())
}
