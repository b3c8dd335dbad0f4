//! The times of a batch, as ticks since the header's first one.

use super::bits::{Reader, Writer, unzigzag, zigzag};
use super::int::{Choice, Scratch, write_best};
use super::rice;
use alloc::vec::Vec;

/// Off an even spacing over the whole span: a clock that jitters.
const LINE: u64 = 0;
/// Off one step for all, the median, which is written first: a beat that misses a stroke now and then.
const BEAT: u64 = 1;
/// Off the last step, the first one being written apart: a rate that drifts.
const STEP: u64 = 2;
const CHOICES: [Choice; 3] = [(LINE, None), (BEAT, Some(4)), (STEP, Some(4))];

/// Writes ticks, of which 0 is the least and `span` the most; one bit where they are evenly spaced.
pub(super) fn write(w: &mut Writer, ticks: &[i64], span: u64, scratch: &mut Scratch) {
    let gaps = ticks.len().saturating_sub(1) as u64;
    if gaps == 0 {
        return;
    }
    let step = span / gaps;
    let even = span.is_multiple_of(gaps) && (0..).zip(ticks).all(|(i, &t)| t as u64 == step.wrapping_mul(i));
    w.flag(!even);
    if even {
        return;
    }
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

/// Reads what [`write`] wrote.
pub(super) fn read(r: &mut Reader<'_>, out: &mut [i64], span: u64) -> Result<(), &'static str> {
    let gaps = out.len().saturating_sub(1) as u64;
    if gaps == 0 {
        return Ok(());
    }
    if !r.flag() {
        let step = span / gaps;
        (0..).zip(out).for_each(|(i, t)| *t = step.wrapping_mul(i) as i64);
        return Ok(());
    }
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
