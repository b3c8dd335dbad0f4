//! Dead reckoning: how far a vehicle got between two readings, from speed and heading.
//!
//! Integers only, so that a frame written on one processor is read to the same values on every other:
//! no floating point and no library's sine takes part.

use crate::columns::{Column, Validity, Values};
use alloc::vec::Vec;
use core::cell::OnceCell;

/// Intervals of the quarter wave's table.
const STEPS: usize = 256;
/// sin 0° … 90° in 256 steps, times 2^16.
static SINE: [i32; STEPS + 1] = quarter_wave();
/// Longer silences than this (10 s) are not bridged.
const LONGEST: i64 = 10_000_000;
/// Faster than this (2^20 mm/s, three times the speed of sound) counts as this.
const FASTEST: i64 = 1 << 20;

/// Taylor's series in 60-bit fixed point, evaluated by the compiler.
const fn quarter_wave() -> [i32; STEPS + 1] {
    const HALF_PI: i128 = 1_811_004_864_519_280_711; // π/2 · 2^60
    let mut table = [0; STEPS + 1];
    let mut i = 0;
    while i <= STEPS {
        let x = HALF_PI * i as i128 / STEPS as i128;
        let square = (x * x) >> 60;
        let (mut term, mut sum, mut n) = (x, x, 1);
        while n < 21 {
            term = -((term * square) >> 60) / ((n + 1) * (n + 2));
            sum += term;
            n += 2;
        }
        table[i] = ((sum + (1 << 43)) >> 44) as i32;
        i += 1;
    }
    table
}

/// Sine of an angle in 0.01°, times 2^16.
fn sine(cdeg: i64) -> i64 {
    let turned = cdeg.rem_euclid(36_000);
    let (half, sign) = if turned < 18_000 { (turned, 1) } else { (turned - 18_000, -1) };
    let quarter = if half <= 9_000 { half } else { 18_000 - half };
    let place = quarter * STEPS as i64;
    let (i, part) = ((place / 9_000) as usize, place % 9_000);
    let low = i64::from(SINE[i]);
    let high = i64::from(SINE[(i + 1).min(STEPS)]);
    sign * (low + (high - low) * part / 9_000)
}

fn cosine(cdeg: i64) -> i64 {
    sine(cdeg + 9_000)
}

/// A direction that positions are counted in.
#[derive(Clone, Copy)]
pub(super) enum Axis {
    /// Latitude.
    North,
    /// Longitude, near this latitude (1e-7°).
    East(i64),
}

/// The speed that is taken for a step.
#[derive(Clone, Copy)]
pub(super) enum Pace {
    /// The mean of those at its start and at its end.
    Mean,
    /// The one at its end.
    End,
}

/// The columns that dead reckoning reads, and the ways that come of them once somebody asks.
pub(super) struct Motion<'a> {
    ts: &'a [i64],
    speed: &'a [i64],
    heading: &'a [i64],
    said: Option<&'a Validity>,
    /// At each pace.
    ways: [OnceCell<Ways>; 2],
}

/// For each reading, twice the way since the one before it, in 2^16 nm.
struct Ways {
    north: Vec<i64>,
    east: Vec<i64>,
}

impl<'a> Motion<'a> {
    /// Takes times (µs), speeds (mm/s, a null counts as standing) and headings (0.01°, a null counts as
    /// the last one); `None` where a column is not of integers.
    pub(super) fn new(ts: &'a [i64], speed: &'a Column, heading: &'a Column) -> Option<Self> {
        let (Values::Int(speed), Values::Int(headings)) = (&speed.values, &heading.values) else {
            return None;
        };
        Some(Self {
            ts,
            speed,
            heading: headings,
            said: heading.validity.as_ref(),
            ways: [const { OnceCell::new() }; 2],
        })
    }

    fn ways(&self, pace: Pace) -> &Ways {
        self.ways[pace as usize].get_or_init(|| {
            let n = self.ts.len();
            let mut ways = Ways { north: Vec::with_capacity(n), east: Vec::with_capacity(n) };
            let (mut sin_cos, mut before, mut then) = ((0, 1 << 16), (0, 0), None);
            for (i, &ts) in self.ts.iter().enumerate() {
                if self.said.is_none_or(|v| v.is_set(i)) {
                    let heading = self.heading[i].rem_euclid(36_000);
                    sin_cos = (sine(heading), cosine(heading));
                }
                let speed = self.speed[i].clamp(0, FASTEST);
                let now = (speed * sin_cos.0, speed * sin_cos.1);
                let time = then.map_or(0, |then| ts.saturating_sub(then));
                let time = if (0..=LONGEST).contains(&time) { time } else { 0 };
                let start = if let Pace::Mean = pace { before } else { now };
                ways.east.push((((now.0 + start.0) >> 8) * time) >> 24);
                ways.north.push((((now.1 + start.1) >> 8) * time) >> 24);
                (before, then) = (now, Some(ts));
            }
            ways
        })
    }
}

/// The way along one axis, for the column that counts positions on it.
pub(super) struct Way<'a> {
    pub(super) motion: &'a Motion<'a>,
    pub(super) axis: Axis,
}

impl Way<'_> {
    /// The steps in units of a position's grid (`num`/`den` of 1e-7°), where the first position is
    /// `first` on that grid.
    pub(super) fn steps(&self, pace: Pace, first: i64, num: i64, den: i64) -> Steps<'_> {
        let ways = self.motion.ways(pace);
        let (latitude, doubled) = match self.axis {
            Axis::North => (i128::from(first) * i128::from(num) / i128::from(den), &ways.north),
            Axis::East(latitude) => (i128::from(latitude), &ways.east),
        };
        let latitude = latitude.clamp(-900_000_000, 900_000_000) as i64 / 100_000;
        let scale = (den << 47) / (length(self.axis, latitude) * num);
        Steps { doubled, scale }
    }
}

/// The steps along one axis on one grid.
#[derive(Clone, Copy)]
pub(super) struct Steps<'a> {
    doubled: &'a [i64],
    scale: i64,
}

impl Steps<'_> {
    /// The step from reading `i - 1` to reading `i`.
    #[inline]
    pub(super) fn to(&self, i: usize) -> i64 {
        (self.doubled[i] * self.scale + (1 << 31)) >> 32
    }
}

/// The length of 1e-7° in nm at a latitude (0.01°): the usual series for the WGS-84 ellipsoid.
fn length(axis: Axis, latitude: i64) -> i64 {
    match axis {
        Axis::North => 11_113_292 - ((55_982 * cosine(2 * latitude)) >> 16),
        Axis::East(_) => {
            let at = (11_141_284 * cosine(latitude) - 9_350 * cosine(3 * latitude)) >> 16;
            at.max(100_000)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::{ColumnSpec, Kind};

    #[test]
    fn the_sine_is_within_two_of_its_units() {
        for cdeg in (-40_000..80_000).step_by(7) {
            let exact = (cdeg as f64 / 100.0).to_radians().sin();
            let error = (sine(cdeg) as f64 / 65_536.0 - exact).abs();
            assert!(error < 2.0 / 65_536.0, "sine of {cdeg}: off by {error}");
        }
    }

    #[test]
    fn a_degree_is_as_long_as_on_the_ellipsoid() {
        // Metres of a degree, WGS-84, from the tables of the (US) NGA.
        for (latitude, north, east) in
            [(0, 110_574.3, 111_319.5), (4_500, 111_131.8, 78_846.8), (6_000, 111_412.3, 55_800.0)]
        {
            let near = |nm: i64, metres: f64| (nm as f64 / 100.0 - metres).abs() < 8.0;
            assert!(near(length(Axis::North, latitude), north), "north at {latitude}");
            assert!(near(length(Axis::East(0), latitude), east), "east at {latitude}");
        }
    }

    fn ints(values: &[i64]) -> Column {
        let mut column = Column::new(ColumnSpec::fixed("x", Kind::Int));
        values.iter().for_each(|v| column.push_int(Some(*v)));
        column
    }

    #[test]
    fn a_second_at_a_metre_per_second_north_is_ninety_units() {
        let (speed, heading) = (ints(&[1000, 1000]), ints(&[0, 0]));
        let motion = Motion::new(&[0, 1_000_000], &speed, &heading).unwrap();
        let (north, east) = (Axis::North, Axis::East(515_000_000));
        assert_eq!(Way { motion: &motion, axis: north }.steps(Pace::Mean, 515_000_000, 1, 1).to(1), 90);
        assert_eq!(Way { motion: &motion, axis: east }.steps(Pace::Mean, 0, 1, 1).to(1), 0);
    }

    #[test]
    fn the_wildest_columns_do_not_overflow() {
        let wild = ints(&[i64::MIN, i64::MAX, 0, 36_000, -1, FASTEST]);
        let ts = [0, 1 << 62, i64::MIN, i64::MAX, i64::MAX, 10_000_000];
        let motion = Motion::new(&ts, &wild, &wild).unwrap();
        for axis in [Axis::North, Axis::East(i64::MAX), Axis::East(0)] {
            for (num, den) in [(1, 1), (5, 3), (10_000, 1)] {
                for first in [i64::MIN, 0, i64::MAX] {
                    let way = Way { motion: &motion, axis };
                    for pace in [Pace::Mean, Pace::End] {
                        let steps = way.steps(pace, first, num, den);
                        (0..6).for_each(|i| {
                            steps.to(i);
                        });
                    }
                }
            }
        }
    }
}
