//! Columns of integers: a grid, a predictor, and Rice codes of what the predictor missed.
//!
//! A *grid* is the resolution that the values really have. A receiver that says minutes with five
//! decimals puts positions on multiples of 1.667 units of 1e-7°; the multiple is written, after a check
//! that it gives back every value of the batch. Arithmetic between values wraps, so that every `i64`
//! survives.

use super::bits::{Reader, Writer, golomb_bits, unzigzag, zigzag};
use super::motion::{Steps, Way};
use super::rice;
use alloc::vec::Vec;

/// A resolution: value = multiple · num / den, rounded half away from zero.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Grid {
    num: i64,
    den: i64,
}

const UNIT: Grid = Grid { num: 1, den: 1 };
/// Where a grid with a denominator is tried, and where its multiples may lie.
const GRID_LIMIT: u64 = 1 << 44;

impl Grid {
    const fn new(num: i64, den: i64) -> Self {
        Self { num, den }
    }

    /// The multiple that stands for `v`, if one does.
    #[inline]
    fn index(self, v: i64) -> Option<i64> {
        if self.den == 1 {
            return (v % self.num == 0).then(|| v / self.num);
        }
        if v.unsigned_abs() >= GRID_LIMIT {
            return None;
        }
        let index = round_div(v * self.den, self.num);
        (round_div(index * self.num, self.den) == v).then_some(index)
    }

    /// The value of a multiple.
    #[inline]
    fn value(self, index: i64) -> Option<i64> {
        if self.den == 1 {
            return index.checked_mul(self.num);
        }
        (index.unsigned_abs() < GRID_LIMIT).then(|| round_div(index * self.num, self.den))
    }
}

fn round_div(a: i64, b: i64) -> i64 {
    let half = if a < 0 { -b } else { b };
    (2 * a + half) / (2 * b)
}

/// What is known of a column from its name. The table of hints belongs to the format: see
/// [`crate::version`].
pub(super) struct Hint {
    /// Grids other than 1, the coarsest first; none, or a power of two of them.
    grids: &'static [Grid],
    /// Golomb parameter of the first value, at least 1.
    first: u32,
    /// Golomb parameter of the first step, at least 1.
    step: u32,
    /// Where values start again at 0, in units: 36000 for a heading; 0 for never.
    circle: i64,
}

const fn hint_of(grids: &'static [Grid], first: u32, step: u32) -> Hint {
    Hint { grids, first, step, circle: 0 }
}

const DECIMALS: [Grid; 2] = [Grid::new(100, 1), Grid::new(10, 1)];
static POSITION: Hint = hint_of(
    // Decimal degrees with 3 to 6 places, NMEA minutes with 2 to 5.
    &[
        Grid::new(10_000, 1),
        Grid::new(5_000, 3),
        Grid::new(1_000, 1),
        Grid::new(500, 3),
        Grid::new(100, 1),
        Grid::new(50, 3),
        Grid::new(10, 1),
        Grid::new(5, 3),
    ],
    29,
    10,
);
static SPEED: Hint = hint_of(
    // 1 m/s, 1 km/h, 0.1 knot, 0.1 m/s, 0.1 km/h, 10 mm/s, 0.01 knot, 0.01 km/h.
    &[
        Grid::new(1_000, 1),
        Grid::new(2_500, 9),
        Grid::new(100, 1),
        Grid::new(463, 9),
        Grid::new(250, 9),
        Grid::new(10, 1),
        Grid::new(463, 90),
        Grid::new(25, 9),
    ],
    14,
    9,
);
static HEADING: Hint = Hint { grids: &DECIMALS, first: 15, step: 8, circle: 36_000 };
static ALTITUDE: Hint = hint_of(&DECIMALS, 14, 6);
static HUNDREDTHS: Hint = hint_of(&DECIMALS, 8, 5);
static SMALL: Hint = hint_of(&[], 3, 2);
static ANY: Hint = hint_of(
    &[
        Grid::new(1_000_000_000, 1),
        Grid::new(1_000_000, 1),
        Grid::new(100_000, 1),
        Grid::new(10_000, 1),
        Grid::new(1_000, 1),
        Grid::new(100, 1),
        Grid::new(60, 1),
        Grid::new(10, 1),
    ],
    8,
    6,
);
/// For numbers that are no readings: lengths, and places in a dictionary.
pub(super) static PLAIN: Hint = hint_of(&[], 4, 3);
/// For floats that were made integers.
pub(super) static FLOAT: Hint = hint_of(&[], 12, 8);

/// What is known of a column of that name.
pub(super) fn hint(name: &str) -> &'static Hint {
    match name {
        "lat_e7" | "lon_e7" => &POSITION,
        "speed_mm_s" | "wind_speed_mm_s" => &SPEED,
        "heading_cdeg" => &HEADING,
        "altitude_cm" => &ALTITUDE,
        "hdop_e2" | "temperature_c_e2" | "precipitation_mm_h_e2" | "humidity_pct_e2" => &HUNDREDTHS,
        "fix" | "satellites" | "exact" => &SMALL,
        _ => &ANY,
    }
}

/// What the next value is expected to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Guess {
    /// The first one.
    First,
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
}

impl Guess {
    const PLAIN: [Guess; 4] = [Guess::First, Guess::Last, Guess::HalfStep, Guess::Step];
    const MOVING: [Guess; 7] = [
        Guess::First,
        Guess::Last,
        Guess::HalfStep,
        Guess::Step,
        Guess::Reckoned,
        Guess::ReckonedHalf,
        Guess::ReckonedAll,
    ];

    /// Whether the first step is written apart, because this guess misses all of it.
    fn first_step_apart(self) -> bool {
        matches!(self, Guess::HalfStep | Guess::Step)
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
    w.golomb(zigzag(values[0]), hint.first);
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
    out[0] = unzigzag(r.golomb(hint.first)?);
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
    let steps = way.map(|w| w.steps(values[0], grid.num, grid.den));
    let miss = |guess, out: &mut Vec<u64>| misses(guess, values, circle, steps, out);
    write_best(w, guesses, hint.step, if way.is_some() { 3 } else { 2 }, miss, scratch);
}

/// Writes what the best of some guesses misses.
fn write_best(
    w: &mut Writer,
    guesses: &[Guess],
    step: u32,
    code_bits: u32,
    misses: impl Fn(Guess, &mut Vec<u64>),
    scratch: &mut Scratch,
) {
    let mut best = (guesses[0], rice::Plan { bits: u32::MAX, blocks: false });
    for &guess in guesses {
        misses(guess, &mut scratch.trial);
        let (apart, rest) = apart(guess, &scratch.trial);
        let mut plan = rice::plan(rest, best.1.bits);
        plan.bits += apart.map_or(0, |u| golomb_bits(u, step));
        if plan.bits < best.1.bits {
            best = (guess, plan);
            core::mem::swap(&mut scratch.trial, &mut scratch.best);
        }
    }
    w.put(best.0 as u64, code_bits);
    let (apart, rest) = apart(best.0, &scratch.best);
    if let Some(u) = apart {
        w.golomb(u, step);
    }
    rice::write(w, rest, &best.1);
}

fn apart(guess: Guess, misses: &[u64]) -> (Option<u64>, &[u64]) {
    match misses.split_first() {
        Some((&first, rest)) if guess.first_step_apart() => (Some(first), rest),
        _ => (None, misses),
    }
}

/// What a guess misses at every value but the first.
fn misses(guess: Guess, values: &[i64], circle: i64, steps: Option<Steps<'_>>, out: &mut Vec<u64>) {
    out.clear();
    let pairs = values.windows(2).map(|p| shorter_way(p[1].wrapping_sub(p[0]), circle));
    match guess {
        Guess::First => out.extend(values[1..].iter().map(|v| zigzag(v.wrapping_sub(values[0])))),
        Guess::Last => out.extend(pairs.map(zigzag)),
        Guess::HalfStep | Guess::Step => {
            let mut before = 0;
            out.extend(pairs.map(|step| {
                let guessed = if guess == Guess::Step { before } else { before / 2 };
                before = step;
                zigzag(step.wrapping_sub(guessed))
            }));
        }
        Guess::Reckoned | Guess::ReckonedHalf | Guess::ReckonedAll => {
            let Some(steps) = steps else { return };
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
    let guess = *Guess::MOVING.get(code).ok_or("an unknown predictor")?;
    let first = out[0];
    let misses = &mut out[1..];
    match guess.first_step_apart() {
        true => {
            misses[0] = unzigzag(r.golomb(hint.step)?);
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
        Guess::First => misses.iter_mut().for_each(|v| *v = v.wrapping_add(first)),
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
        Guess::Reckoned | Guess::ReckonedHalf | Guess::ReckonedAll => {
            let Some(way) = way else { return Err("dead reckoning without speed and heading") };
            let steps = way.steps(first, grid.num, grid.den);
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

/// Writes times as ticks since the header's first one, of which `span` is the last.
pub(super) fn write_times(w: &mut Writer, ticks: &[i64], span: u64, scratch: &mut Scratch) {
    let gaps = ticks.len().saturating_sub(1) as u64;
    if gaps == 0 {
        return;
    }
    let step = span / gaps;
    let even = span % gaps == 0 && (0..).zip(ticks).all(|(i, &t)| t as u64 == step.wrapping_mul(i));
    w.flag(!even);
    if even {
        return;
    }
    w.golomb(ticks[0] as u64, 1);
    let miss = |guess, out: &mut Vec<u64>| match guess {
        Guess::First => off_the_line(ticks, span, out),
        _ => misses(guess, ticks, 0, None, out),
    };
    write_best(w, &Guess::PLAIN, TIME.step, 2, miss, scratch);
}

static TIME: Hint = hint_of(&[], 1, 4);

/// How far each time but the first lies from where an even spacing would put it.
fn off_the_line(ticks: &[i64], span: u64, out: &mut Vec<u64>) {
    let gaps = ticks.len() as u64 - 1;
    out.clear();
    out.extend((1..).zip(&ticks[1..]).map(|(i, &t)| zigzag(t.wrapping_sub(line(i, span, gaps)))));
}

/// Where the `i`-th of `gaps` even gaps ends.
fn line(i: u64, span: u64, gaps: u64) -> i64 {
    (span.wrapping_mul(i) / gaps) as i64
}

/// Reads what [`write_times`] wrote.
pub(super) fn read_times(r: &mut Reader<'_>, out: &mut [i64], span: u64) -> Result<(), &'static str> {
    let gaps = out.len().saturating_sub(1) as u64;
    if gaps == 0 {
        out.fill(0);
        return Ok(());
    }
    if !r.flag() {
        let step = span / gaps;
        (0..).zip(out).for_each(|(i, t)| *t = step.wrapping_mul(i) as i64);
        return Ok(());
    }
    out[0] = r.golomb(1)? as i64;
    match r.get(2) {
        0 => {
            rice::read(r, &mut out[1..])?;
            (1..).zip(&mut out[1..]).for_each(|(i, t)| *t = t.wrapping_add(line(i, span, gaps)));
        }
        code => {
            let first = out[0];
            let misses = &mut out[1..];
            match code {
                1 => rice::read(r, misses)?,
                _ => {
                    misses[0] = unzigzag(r.golomb(TIME.step)?);
                    rice::read(r, &mut misses[1..])?;
                }
            }
            let (mut last, mut step) = (first, 0i64);
            for t in misses {
                step = t.wrapping_add(match code {
                    1 => 0,
                    2 => step / 2,
                    _ => step,
                });
                last = last.wrapping_add(step);
                *t = last;
            }
        }
    }
    Ok(())
}
