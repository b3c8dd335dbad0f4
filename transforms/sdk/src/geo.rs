//! Distances and directions on the ground, by plain arithmetic: no call of a platform's mathematics
//! library, so that a transform gives the same bits in the sandbox, natively, on x86-64 and on aarch64.

/// Metres in a degree of latitude, on a sphere of the Earth's mean radius of 6,371,008.8 m.
pub const METRES_PER_DEGREE: f64 = 111_195.080;

/// A place, degrees.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Place {
    /// Latitude, degrees north.
    pub lat_deg: f64,
    /// Longitude, degrees east.
    pub lon_deg: f64,
}

impl Place {
    /// A place.
    pub const fn new(lat_deg: f64, lon_deg: f64) -> Self {
        Self { lat_deg, lon_deg }
    }

    /// The distance over ground, metres. On the plane that touches the Earth between the two places: right
    /// within 0.1 % up to 100 km away from the poles. Across the date line it takes the short way.
    pub fn distance_m(self, other: Place) -> f64 {
        let north = (self.lat_deg - other.lat_deg) * METRES_PER_DEGREE;
        let east = angle_deg(self.lon_deg, other.lon_deg)
            * METRES_PER_DEGREE
            * cos_deg((self.lat_deg + other.lat_deg) / 2.0);
        (north * north + east * east).sqrt()
    }

    /// The place so many metres ahead in a direction, degrees clockwise from north. On the plane that
    /// touches the Earth here, as [`Place::distance_m`].
    pub fn ahead(self, distance_m: f64, heading_deg: f64) -> Place {
        let north = distance_m * cos_deg(heading_deg) / METRES_PER_DEGREE;
        // Never further than a whole turn, even at a pole.
        let shrink = cos_deg(self.lat_deg + north / 2.0).abs().max(1e-6);
        let east = distance_m * sin_deg(heading_deg) / METRES_PER_DEGREE / shrink;
        Place::new((self.lat_deg + north).clamp(-90.0, 90.0), angle_deg(self.lon_deg + east, 0.0))
    }

    /// The distance to the straight way from one place to another, metres.
    pub fn distance_to_way_m(self, from: Place, to: Place) -> f64 {
        let shrink = cos_deg(self.lat_deg);
        let flat = |p: Place| {
            let east = angle_deg(p.lon_deg, self.lon_deg) * shrink;
            (east * METRES_PER_DEGREE, (p.lat_deg - self.lat_deg) * METRES_PER_DEGREE)
        };
        let ((ax, ay), (bx, by)) = (flat(from), flat(to));
        let (dx, dy) = (bx - ax, by - ay);
        let length2 = dx * dx + dy * dy;
        let along = if length2 > 0.0 { (-(ax * dx + ay * dy) / length2).clamp(0.0, 1.0) } else { 0.0 };
        let (x, y) = (ax + along * dx, ay + along * dy);
        (x * x + y * y).sqrt()
    }
}

/// The angle from `from` to `to`, degrees in -180 to 180: how far one turned, to the right if positive.
pub fn angle_deg(to: f64, from: f64) -> f64 {
    let d = within_a_turn(to - from);
    if d > 180.0 {
        d - 360.0
    } else if d < -180.0 {
        d + 360.0
    } else {
        d
    }
}

/// The remainder of whole turns. Angles are rarely larger than one.
fn within_a_turn(deg: f64) -> f64 {
    if deg.abs() < 360.0 { deg } else { remainder(deg) }
}

/// Not inlined: the compiler takes a remainder for something cheap and computes it before it knows whether
/// it is needed, and in WebAssembly it is a function of a few hundred cycles.
#[cold]
#[inline(never)]
fn remainder(deg: f64) -> f64 {
    deg % 360.0
}

/// The sine of an angle in degrees, as [`cos_deg`].
pub fn sin_deg(deg: f64) -> f64 {
    cos_deg(deg - 90.0)
}

/// The cosine of an angle in degrees, within 1e-11, the same bits everywhere.
pub fn cos_deg(deg: f64) -> f64 {
    let a = within_a_turn(deg).abs();
    let a = if a > 180.0 { 360.0 - a } else { a };
    let (a, sign) = if a > 90.0 { (180.0 - a, -1.0) } else { (a, 1.0) };
    let x = a.to_radians();
    let x2 = x * x;
    // Taylor's series to x^16: its next term is below 1e-12 at 90°.
    const FACTORS: [f64; 8] =
        [1.0 / 240.0, 1.0 / 182.0, 1.0 / 132.0, 1.0 / 90.0, 1.0 / 56.0, 1.0 / 30.0, 1.0 / 12.0, 1.0 / 2.0];
    let mut sum = 1.0;
    for factor in FACTORS {
        sum = 1.0 - x2 * factor * sum;
    }
    sign * sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_agree_with_the_great_circle() {
        // By the haversine formula on the same sphere.
        let haversine = |a: Place, b: Place| {
            let (p, q) = (a.lat_deg.to_radians(), b.lat_deg.to_radians());
            let dl = (b.lon_deg - a.lon_deg).to_radians();
            let h = ((q - p) / 2.0).sin().powi(2) + p.cos() * q.cos() * (dl / 2.0).sin().powi(2);
            2.0 * 6_371_008.8 * h.sqrt().asin()
        };
        for (a, b) in [
            (Place::new(51.5, -0.12), Place::new(51.5001, -0.1203)),
            (Place::new(51.5, -0.12), Place::new(52.2, 0.3)),
            (Place::new(-33.9, 151.2), Place::new(-33.8, 151.0)),
            (Place::new(10.0, 179.99), Place::new(10.1, -179.98)),
            (Place::new(0.0, 0.0), Place::new(0.0, 0.0)),
        ] {
            let (ours, exact) = (a.distance_m(b), haversine(a, b));
            assert!((ours - exact).abs() <= exact * 1e-3 + 1e-6, "{a:?} {b:?}: {ours} and {exact}");
        }
    }

    #[test]
    fn cosines_are_those_of_the_library() {
        for i in -800..800 {
            let deg = f64::from(i) * 0.9;
            assert!((cos_deg(deg) - deg.to_radians().cos()).abs() < 1e-10, "{deg}");
            assert!((sin_deg(deg) - deg.to_radians().sin()).abs() < 1e-10, "{deg}");
        }
    }

    #[test]
    fn who_goes_ahead_is_so_far_away() {
        let here = Place::new(52.0, 179.999);
        for heading in [0.0, 45.0, 90.0, 181.0, 300.0] {
            let there = here.ahead(500.0, heading);
            assert!((here.distance_m(there) - 500.0).abs() < 0.5, "{heading}: {there:?}");
        }
        assert!(here.ahead(500.0, 90.0).lon_deg < -179.9);
        let pole = Place::new(90.0, 0.0).ahead(1000.0, 90.0);
        assert!(pole.lon_deg.abs() <= 180.0 && pole.lat_deg == 90.0);
    }

    #[test]
    fn the_way_is_nearest_beside_it_or_at_its_ends() {
        let (a, b) = (Place::new(52.0, -1.5), Place::new(52.01, -1.5));
        let beside = Place::new(52.005, -1.499);
        assert!((beside.distance_to_way_m(a, b) - 68.46).abs() < 0.1);
        let behind = Place::new(51.999, -1.5);
        assert!((behind.distance_to_way_m(a, b) - 111.2).abs() < 0.1);
        assert_eq!(a.distance_to_way_m(a, a), 0.0);
    }

    #[test]
    fn turns_take_the_short_way_around() {
        assert_eq!(angle_deg(10.0, 350.0), 20.0);
        assert_eq!(angle_deg(350.0, 10.0), -20.0);
        assert_eq!(angle_deg(180.0, 0.0), 180.0);
    }
}
