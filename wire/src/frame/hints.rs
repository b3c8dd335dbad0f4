//! What a column's name says of its values: the grids they may lie on, and how long first values are.
//!
//! These tables belong to frame version 1: a change makes another version.

/// A resolution: value = multiple · num / den, rounded half away from zero.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Grid {
    pub(super) num: i64,
    pub(super) den: i64,
}

/// The grid of all integers.
pub(super) const UNIT: Grid = Grid { num: 1, den: 1 };
/// Where a grid with a denominator is tried, and where its multiples may lie.
const GRID_LIMIT: u64 = 1 << 44;

impl Grid {
    const fn new(num: i64, den: i64) -> Self {
        Self { num, den }
    }

    /// The multiple that stands for `v`, if one does.
    #[inline]
    pub(super) fn index(self, v: i64) -> Option<i64> {
        if self.den == 1 {
            return (v % self.num == 0).then(|| v / self.num);
        }
        if v.unsigned_abs() >= GRID_LIMIT {
            return None;
        }
        let index = round_div(v * self.den, self.num);
        (round_div(index * self.num, self.den) == v).then_some(index)
    }

    /// What a Golomb parameter of values is for multiples.
    pub(super) fn parameter(self, of_values: u32) -> u32 {
        of_values.saturating_sub((self.num / self.den).max(1).ilog2()).max(1)
    }

    /// The value of a multiple.
    #[inline]
    pub(super) fn value(self, index: i64) -> Option<i64> {
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
    pub(super) grids: &'static [Grid],
    /// Golomb parameter of the first value, at least 1, where there is no grid.
    pub(super) first: u32,
    /// Golomb parameter of the first step, likewise.
    pub(super) step: u32,
    /// Where values start again at 0, in units: 36000 for a heading; 0 for never.
    pub(super) circle: i64,
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
pub(super) fn of(name: &str) -> &'static Hint {
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
