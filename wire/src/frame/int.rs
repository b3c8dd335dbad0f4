//! Columns of integers: a grid, a predictor, and Rice codes of what the predictor missed.
//!
//! A *grid* is the resolution that the values really have. A receiver that says minutes with five
//! decimals puts positions on multiples of 1.667 units of 1e-7°; the multiple is written, after a check
//! that it gives back every value of the batch. Arithmetic between values wraps, so that every `i64`
//! survives.

use super::bits::{Reader, Writer, golomb_bits, unzigzag, zigzag};
use super::hints::{Grid, Hint, UNIT};
use super::motion::{Pace, Steps, Way};
use super::rice;
use alloc::vec::Vec;

/// What the next value is expected to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Guess {
    /// A level that follows the values slowly: noise around a value that holds.
    Level,
    /// The last one.
    Last,
    /// As far from the last one as half the last step.
    HalfStep,
    /// As far from the last one as the last step.
    Step,
    /// Where dead reckoning puts it.
    Reckoned,
    /// The same, and half of what it missed last.
    ReckonedHalf,
    /// The same, and all of what it missed last.
    ReckonedAll,
    /// Where dead reckoning with the speed at the step's end puts it: a receiver that adds its speed up.
    Summed,
}

impl Guess {
    const PLAIN: [Guess; 4] = [Guess::Level, Guess::Last, Guess::HalfStep, Guess::Step];
    const MOVING: [Guess; 8] = [
        Guess::Level,
        Guess::Last,
        Guess::HalfStep,
        Guess::Step,
        Guess::Reckoned,
        Guess::ReckonedHalf,
        Guess::ReckonedAll,
        Guess::Summed,
    ];

    /// Whether the first step is written apart, because this guess misses all of it.
    fn first_step_apart(self) -> bool {
        matches!(self, Guess::HalfStep | Guess::Step)
    }

    /// The speed that dead reckoning takes for a step.
    fn pace(self) -> Pace {
        if self == Guess::Summed { Pace::End } else { Pace::Mean }
    }

    /// What is added to the dead-reckoned step.
    fn correction(self, missed: i64) -> i64 {
        match self {
            Guess::ReckonedHalf => missed / 2,
            Guess::ReckonedAll => missed,
            _ => 0,
        }
    }
}

/// How far a level goes towards a value that it missed.
fn pull(miss: i64) -> i64 {
    miss.wrapping_add(2) >> 2
}

/// Buffers that one batch's columns share.
#[derive(Default)]
pub(super) struct Scratch {
    indices: Vec<i64>,
    trial: Vec<u64>,
    best: Vec<u64>,
}

/// Writes the values of a column, of which there is at least one.
pub(super) fn write(
    w: &mut Writer,
    values: &[i64],
    hint: &Hint,
    way: Option<&Way<'_>>,
    scratch: &mut Scratch,
) {
    let Some((&first, rest)) = values.split_first() else { return };
    let constant = rest.iter().all(|&v| v == first);
    let mut indices = core::mem::take(&mut scratch.indices);
    let grid = match constant {
        true => None,
        false => hint.grids.iter().position(|g| on_grid(values, *g, &mut indices)),
    };
    if !hint.grids.is_empty() {
        w.flag(grid.is_some());
        if let Some(i) = grid {
            w.put(i as u64, hint.grids.len().trailing_zeros());
        }
    }
    let (on, values) = match grid {
        Some(i) => (hint.grids[i], &indices[..]),
        None => (UNIT, values),
    };
    w.golomb(zigzag(values[0]), on.parameter(hint.first));
    if !rest.is_empty() {
        w.flag(constant);
        if !constant {
            series(w, values, hint, on, way, scratch);
        }
    }
    scratch.indices = indices;
}

fn on_grid(values: &[i64], grid: Grid, indices: &mut Vec<i64>) -> bool {
    indices.clear();
    for &v in values {
        match grid.index(v) {
            Some(i) => indices.push(i),
            None => return false,
        }
    }
    true
}

/// Reads what [`write`] wrote: `out` has the length of the column's values, at least 1.
pub(super) fn read(
    r: &mut Reader<'_>,
    out: &mut [i64],
    hint: &Hint,
    way: Option<&Way<'_>>,
) -> Result<(), &'static str> {
    let mut grid = UNIT;
    if !hint.grids.is_empty() && r.flag() {
        grid = hint.grids[r.get(hint.grids.len().trailing_zeros()) as usize];
    }
    out[0] = unzigzag(r.golomb(grid.parameter(hint.first))?);
    if out.len() > 1 {
        match r.flag() {
            true => {
                let first = out[0];
                out.fill(first);
            }
            false => read_series(r, out, hint, grid, way)?,
        }
    }
    if grid != UNIT {
        for v in out {
            *v = grid.value(*v).ok_or("a value that is too large for its grid")?;
        }
    }
    Ok(())
}

/// The circle on a grid, or 0.
fn circle(hint: &Hint, grid: Grid) -> i64 {
    if grid.den == 1 { hint.circle / grid.num } else { 0 }
}

/// Writes all values but the first by the best guess.
fn series(
    w: &mut Writer,
    values: &[i64],
    hint: &Hint,
    grid: Grid,
    way: Option<&Way<'_>>,
    scratch: &mut Scratch,
) {
    let circle = circle(hint, grid);
    let round = circle > 0 && values.iter().all(|v| (0..circle).contains(v));
    let guesses = match way {
        Some(_) => &Guess::MOVING[..],
        // The reader takes steps around the circle, which values outside of it would not survive.
        None if circle > 0 && !round => &Guess::PLAIN[..1],
        None => &Guess::PLAIN,
    };
    let steps = way.map(|w| [Pace::Mean, Pace::End].map(|pace| w.steps(pace, values[0], grid.num, grid.den)));
    let first_step = grid.parameter(hint.step);
    // The last are the likeliest, and spare the others the search for their parameters.
    let choices = guesses.iter().rev().map(|g| Choice {
        code: *g as u64,
        apart: g.first_step_apart().then_some(first_step),
        holds: matches!(g, Guess::Level | Guess::Last | Guess::Step),
    });
    let numbers = |code: u64, out: &mut Vec<u64>| misses(guesses[code as usize], values, circle, steps, out);
    write_best(w, choices, if way.is_some() { 3 } else { 2 }, numbers, scratch);
}

/// A way to write a series.
#[derive(Clone, Copy)]
pub(super) struct Choice {
    /// How it is called on the wire.
    pub(super) code: u64,
    /// The Golomb parameter of its first number, where that is written apart.
    pub(super) apart: Option<u32>,
    /// Whether it may miss nothing for long, and then much.
    pub(super) holds: bool,
}

/// Writes a series in the way that takes the fewest bits; `numbers` makes the numbers of a way.
pub(super) fn write_best(
    w: &mut Writer,
    choices: impl Iterator<Item = Choice>,
    code_bits: u32,
    mut numbers: impl FnMut(u64, &mut Vec<u64>),
    scratch: &mut Scratch,
) {
    let mut best: Option<(Choice, rice::Plan)> = None;
    for choice in choices {
        numbers(choice.code, &mut scratch.trial);
        let (apart, rest) = apart(choice, &scratch.trial);
        let wanted = best.as_ref().map_or(u32::MAX, |(_, plan)| plan.bits);
        let Some(mut plan) = rice::plan(rest, choice.holds, wanted) else { continue };
        plan.bits += apart.map_or(0, |(u, k)| golomb_bits(u, k));
        // Of equals the one with the lower code, so that it does not matter which is tried first.
        if (plan.bits, choice.code) < best.as_ref().map_or((u32::MAX, 0), |(c, plan)| (plan.bits, c.code)) {
            best = Some((choice, plan));
            core::mem::swap(&mut scratch.trial, &mut scratch.best);
        }
    }
    let Some((choice, plan)) = best else { return };
    w.put(choice.code, code_bits);
    let (apart, rest) = apart(choice, &scratch.best);
    if let Some((u, k)) = apart {
        w.golomb(u, k);
    }
    rice::write(w, rest, &plan);
}

/// The number that is written apart, with its parameter, and the others.
fn apart(choice: Choice, numbers: &[u64]) -> (Option<(u64, u32)>, &[u64]) {
    match (choice.apart, numbers.split_first()) {
        (Some(k), Some((&first, rest))) => (Some((first, k)), rest),
        _ => (None, numbers),
    }
}

/// What a guess misses at every value but the first.
fn misses(guess: Guess, values: &[i64], circle: i64, steps: Option<[Steps<'_>; 2]>, out: &mut Vec<u64>) {
    out.clear();
    let pairs = values.windows(2).map(|p| shorter_way(p[1].wrapping_sub(p[0]), circle));
    match guess {
        Guess::Level => {
            let mut level = values[0];
            out.extend(values[1..].iter().map(|v| {
                let miss = v.wrapping_sub(level);
                level = level.wrapping_add(pull(miss));
                zigzag(miss)
            }));
        }
        Guess::Last => out.extend(pairs.map(zigzag)),
        Guess::HalfStep | Guess::Step => {
            let mut before = 0;
            out.extend(pairs.map(|step| {
                let guessed = if guess == Guess::Step { before } else { before / 2 };
                before = step;
                zigzag(step.wrapping_sub(guessed))
            }));
        }
        Guess::Reckoned | Guess::ReckonedHalf | Guess::ReckonedAll | Guess::Summed => {
            let Some(steps) = steps.map(|both| both[guess.pace() as usize]) else { return };
            let mut missed = 0i64;
            out.extend(pairs.enumerate().map(|(i, step)| {
                let miss = step.wrapping_sub(steps.to(i + 1));
                let rest = miss.wrapping_sub(guess.correction(missed));
                missed = miss;
                zigzag(rest)
            }));
        }
    }
}

/// A step around a circle by the shorter way.
fn shorter_way(step: i64, circle: i64) -> i64 {
    match circle {
        0 => step,
        _ if step >= circle / 2 => step.wrapping_sub(circle),
        _ if step < -(circle / 2) => step.wrapping_add(circle),
        _ => step,
    }
}

/// Reads what [`series`] wrote into `out[1..]`, as multiples of the grid.
fn read_series(
    r: &mut Reader<'_>,
    out: &mut [i64],
    hint: &Hint,
    grid: Grid,
    way: Option<&Way<'_>>,
) -> Result<(), &'static str> {
    let circle = circle(hint, grid);
    let code = r.get(if way.is_some() { 3 } else { 2 }) as usize;
    let guess = Guess::MOVING[code];
    let first = out[0];
    let misses = &mut out[1..];
    match guess.first_step_apart() {
        true => {
            misses[0] = unzigzag(r.golomb(grid.parameter(hint.step))?);
            rice::read(r, &mut misses[1..])?;
        }
        false => rice::read(r, misses)?,
    }
    let add = |last: i64, step: i64| match circle {
        0 => last.wrapping_add(step),
        circle => last.wrapping_add(step).rem_euclid(circle),
    };
    let (mut last, mut step) = (first, 0i64);
    match guess {
        Guess::Level => misses.iter_mut().for_each(|v| {
            let miss = *v;
            *v = last.wrapping_add(miss);
            last = last.wrapping_add(pull(miss));
        }),
        Guess::Last => misses.iter_mut().for_each(|v| {
            last = add(last, *v);
            *v = last;
        }),
        Guess::HalfStep => misses.iter_mut().for_each(|v| {
            step = v.wrapping_add(step / 2);
            last = add(last, step);
            *v = last;
        }),
        Guess::Step => misses.iter_mut().for_each(|v| {
            step = v.wrapping_add(step);
            last = add(last, step);
            *v = last;
        }),
        Guess::Reckoned | Guess::ReckonedHalf | Guess::ReckonedAll | Guess::Summed => {
            let Some(way) = way else { return Err("dead reckoning without speed and heading") };
            let steps = way.steps(guess.pace(), first, grid.num, grid.den);
            let mut missed = 0i64;
            for (i, v) in misses.iter_mut().enumerate() {
                missed = v.wrapping_add(guess.correction(missed));
                last = last.wrapping_add(steps.to(i + 1).wrapping_add(missed));
                *v = last;
            }
        }
    }
    Ok(())
}
