//! The road from London to Birmingham: waypoints along the A40, the M40 and the A34, written from
//! general knowledge and good to a few hundred metres, joined by a smooth line. It knows where the
//! road runs, how high, and how fast one may drive; nothing of vehicles.

use std::sync::OnceLock;

/// Metres between two points of the grid.
const STEP: f64 = 5.0;
const MPH: f64 = 0.447_04;
/// Sideways acceleration that a driver accepts in a bend, m/s².
const SIDEWAYS: f64 = 1.8;
/// How drivers brake for a lower limit, m/s².
const BRAKING: f64 = 1.2;

/// Latitude and longitude in degrees, height in m, speed limit in mph until the next, name.
type Waypoint = (f64, f64, f64, f64, &'static str);

const WAYPOINTS: &[Waypoint] = &[
    (51.5077, -0.1279, 12.0, 20.0, "London"),
    (51.5063, -0.1303, 11.0, 20.0, ""),
    (51.5043, -0.1370, 9.0, 30.0, ""),
    (51.5024, -0.1418, 9.0, 30.0, ""),
    (51.5027, -0.1527, 14.0, 30.0, ""),
    (51.5062, -0.1530, 18.0, 30.0, ""),
    (51.5110, -0.1572, 25.0, 30.0, ""),
    (51.5136, -0.1597, 27.0, 30.0, ""),
    (51.5162, -0.1640, 28.0, 30.0, ""),
    (51.5196, -0.1690, 28.0, 40.0, ""),
    (51.5197, -0.1790, 28.0, 40.0, ""),
    (51.5203, -0.1935, 27.0, 40.0, ""),
    (51.5182, -0.2080, 22.0, 40.0, ""),
    (51.5140, -0.2230, 12.0, 40.0, ""),
    (51.5149, -0.2330, 10.0, 40.0, ""),
    (51.5177, -0.2465, 12.0, 40.0, ""),
    (51.5218, -0.2665, 25.0, 40.0, ""),
    (51.5263, -0.2810, 30.0, 40.0, ""),
    (51.5301, -0.2931, 35.0, 40.0, ""),
    (51.5322, -0.3080, 28.0, 50.0, ""),
    (51.5338, -0.3230, 25.0, 50.0, ""),
    (51.5398, -0.3420, 28.0, 50.0, ""),
    (51.5437, -0.3560, 30.0, 50.0, ""),
    (51.5447, -0.3720, 33.0, 50.0, ""),
    (51.5483, -0.3895, 36.0, 60.0, ""),
    (51.5510, -0.4060, 37.0, 60.0, ""),
    (51.5556, -0.4260, 36.0, 70.0, ""),
    (51.5602, -0.4480, 36.0, 70.0, ""),
    (51.5655, -0.4700, 37.0, 70.0, ""),
    (51.5717, -0.4920, 40.0, 70.0, ""),
    (51.5760, -0.5120, 62.0, 70.0, ""),
    (51.5793, -0.5310, 75.0, 70.0, ""),
    (51.5830, -0.5620, 82.0, 70.0, ""),
    (51.5893, -0.5930, 90.0, 70.0, ""),
    (51.5955, -0.6230, 95.0, 70.0, "Beaconsfield"),
    (51.6001, -0.6550, 92.0, 70.0, ""),
    (51.6060, -0.6880, 85.0, 70.0, ""),
    (51.6095, -0.7230, 120.0, 70.0, ""),
    (51.6150, -0.7590, 150.0, 70.0, "High Wycombe"),
    (51.6245, -0.7890, 165.0, 70.0, ""),
    (51.6362, -0.8260, 185.0, 70.0, ""),
    (51.6471, -0.8640, 210.0, 70.0, ""),
    (51.6560, -0.9010, 235.0, 70.0, "Stokenchurch"),
    (51.6640, -0.9330, 215.0, 70.0, ""),
    (51.6745, -0.9530, 140.0, 70.0, ""),
    (51.6850, -0.9700, 110.0, 70.0, ""),
    (51.7040, -1.0040, 90.0, 70.0, ""),
    (51.7185, -1.0300, 82.0, 70.0, ""),
    (51.7310, -1.0560, 75.0, 70.0, "Thame"),
    (51.7420, -1.0830, 68.0, 70.0, ""),
    (51.7520, -1.1090, 72.0, 70.0, ""),
    (51.7600, -1.1310, 78.0, 70.0, "Oxford Services"),
    (51.7760, -1.1500, 68.0, 70.0, ""),
    (51.7980, -1.1560, 62.0, 70.0, ""),
    (51.8180, -1.1640, 60.0, 70.0, ""),
    (51.8360, -1.1780, 61.0, 70.0, ""),
    (51.8530, -1.1950, 65.0, 70.0, ""),
    (51.8690, -1.2060, 72.0, 70.0, "Bicester"),
    (51.8930, -1.2050, 90.0, 70.0, ""),
    (51.9190, -1.2030, 105.0, 70.0, ""),
    (51.9440, -1.2080, 112.0, 70.0, "Cherwell Valley"),
    (51.9680, -1.2330, 118.0, 70.0, ""),
    (51.9850, -1.2530, 120.0, 70.0, ""),
    (51.9990, -1.2690, 112.0, 70.0, ""),
    (52.0330, -1.2960, 105.0, 70.0, ""),
    (52.0540, -1.3040, 100.0, 70.0, ""),
    (52.0730, -1.3110, 96.0, 70.0, "Banbury"),
    (52.1020, -1.3450, 115.0, 70.0, ""),
    (52.1310, -1.3920, 135.0, 70.0, ""),
    (52.1540, -1.4350, 110.0, 70.0, ""),
    (52.1760, -1.4600, 95.0, 70.0, ""),
    (52.1930, -1.4770, 90.0, 70.0, "Gaydon"),
    (52.2170, -1.5120, 88.0, 70.0, ""),
    (52.2350, -1.5350, 82.0, 70.0, ""),
    (52.2470, -1.5570, 75.0, 70.0, ""),
    (52.2560, -1.5860, 65.0, 70.0, ""),
    (52.2650, -1.6170, 62.0, 70.0, "Warwick"),
    (52.2790, -1.6560, 75.0, 70.0, ""),
    (52.2930, -1.6960, 88.0, 70.0, ""),
    (52.3130, -1.7300, 105.0, 70.0, ""),
    (52.3330, -1.7630, 125.0, 70.0, "Hockley Heath"),
    (52.3480, -1.7930, 135.0, 70.0, ""),
    (52.3600, -1.8040, 140.0, 60.0, ""),
    (52.3740, -1.7960, 140.0, 40.0, ""),
    (52.3850, -1.8030, 138.0, 40.0, ""),
    (52.4020, -1.8190, 135.0, 40.0, "Shirley"),
    (52.4170, -1.8330, 138.0, 30.0, ""),
    (52.4300, -1.8430, 135.0, 30.0, ""),
    (52.4410, -1.8540, 128.0, 30.0, ""),
    (52.4500, -1.8600, 122.0, 30.0, ""),
    (52.4590, -1.8690, 120.0, 30.0, ""),
    (52.4660, -1.8755, 122.0, 30.0, ""),
    (52.4720, -1.8830, 115.0, 30.0, ""),
    (52.4755, -1.8885, 118.0, 30.0, ""),
    (52.4777, -1.8950, 132.0, 20.0, ""),
    (52.4797, -1.9025, 140.0, 20.0, "Birmingham"),
];

/// Where the road is at a distance from its start.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spot {
    /// Degrees.
    pub(super) lat: f64,
    /// Degrees.
    pub(super) lon: f64,
    /// m.
    pub(super) height: f64,
    /// The road's direction, degrees clockwise from north; runs on through 360.
    pub(super) heading: f64,
    /// How fast one may drive here: by law, for the bend, and for what comes, m/s.
    pub(super) limit: f64,
    /// The legal limit, m/s.
    pub(super) legal: f64,
}

/// The road as a grid of points [`STEP`] apart.
#[derive(Debug)]
pub(super) struct Road {
    spots: Vec<Spot>,
    places: Vec<(&'static str, f64)>,
}

impl Road {
    /// The road from London to Birmingham; made once per process.
    pub(super) fn get() -> &'static Road {
        static ROAD: OnceLock<Road> = OnceLock::new();
        ROAD.get_or_init(|| Road::along(WAYPOINTS))
    }

    /// The named places and their distance from the start, m.
    pub(super) fn places(&self) -> &[(&'static str, f64)] {
        &self.places
    }

    /// The road at `distance` m from its start; before and behind the road its ends.
    pub(super) fn at(&self, distance: f64) -> Spot {
        let x = (distance / STEP).clamp(0.0, (self.spots.len() - 1) as f64);
        let i = (x as usize).min(self.spots.len() - 2);
        let (a, b, f) = (&self.spots[i], &self.spots[i + 1], x - i as f64);
        let mix = |a: f64, b: f64| a + (b - a) * f;
        Spot {
            lat: mix(a.lat, b.lat),
            lon: mix(a.lon, b.lon),
            height: mix(a.height, b.height),
            heading: mix(a.heading, b.heading),
            limit: mix(a.limit, b.limit),
            legal: a.legal,
        }
    }

    fn along(waypoints: &[Waypoint]) -> Road {
        let (line, marks) = smooth(waypoints);
        let mut points = resample(&meander(resample(&line)));
        let mut spots: Vec<Spot> = (0..points.len())
            .map(|i| {
                let (a, b) = (points[i.saturating_sub(2)], points[(i + 2).min(points.len() - 1)]);
                let (east, north) = between(a, b);
                let heading = libm::atan2(east, north).to_degrees();
                let p = points[i];
                Spot { lat: p.0, lon: p.1, height: p.2, heading, limit: p.3, legal: p.3 }
            })
            .collect();
        points.clear();
        for i in 1..spots.len() {
            let turn = spots[i].heading - spots[i - 1].heading;
            spots[i].heading -= 360.0 * (turn / 360.0).round();
        }
        limit_speeds(&mut spots);
        // The meander makes the road a little longer than the line through the waypoints.
        let stretch = (spots.len() - 1) as f64 * STEP / marks[marks.len() - 1];
        let named = waypoints.iter().zip(&marks).filter(|(w, _)| !w.4.is_empty());
        let places = named.map(|(w, m)| (w.4, m * stretch)).collect();
        Road { spots, places }
    }
}

/// m per degree of latitude and of longitude at a latitude, on the WGS 84 ellipsoid.
pub(super) fn metres_per_degree(lat: f64) -> (f64, f64) {
    const A: f64 = 6_378_137.0;
    const E2: f64 = 0.006_694_38;
    let (sin, cos) = (libm::sin(lat.to_radians()), libm::cos(lat.to_radians()));
    let w = 1.0 - E2 * sin * sin;
    let degree = std::f64::consts::PI / 180.0;
    (degree * A * (1.0 - E2) / (w * w.sqrt()), degree * A * cos / w.sqrt())
}

/// Latitude, longitude, height, legal limit in m/s.
type Point = (f64, f64, f64, f64);

/// East and north from `a` to `b`, m.
fn between(a: Point, b: Point) -> (f64, f64) {
    let (ky, kx) = metres_per_degree((a.0 + b.0) / 2.0);
    ((b.1 - a.1) * kx, (b.0 - a.0) * ky)
}

fn distance(a: Point, b: Point) -> f64 {
    let (east, north) = between(a, b);
    (east * east + north * north).sqrt()
}

/// A cubic Hermite curve through the waypoints, and how far along it each of them is.
fn smooth(waypoints: &[Waypoint]) -> (Vec<Point>, Vec<f64>) {
    let p: Vec<Point> = waypoints.iter().map(|w| (w.0, w.1, w.2, w.3 * MPH)).collect();
    let chord: Vec<f64> = p.windows(2).map(|w| distance(w[0], w[1])).collect();
    let last = p.len() - 1;
    // Tangents per metre: the two chords at a waypoint, the shorter one weighing more.
    let tangent = |i: usize, part: fn(&Point) -> f64| {
        let slope = |k: usize| (part(&p[k + 1]) - part(&p[k])) / chord[k];
        match i {
            0 => slope(0),
            i if i == last => slope(last - 1),
            i => (slope(i - 1) * chord[i] + slope(i) * chord[i - 1]) / (chord[i - 1] + chord[i]),
        }
    };
    let (mut line, mut marks, mut far) = (vec![p[0]], vec![0.0], 0.0);
    for i in 0..last {
        let steps = (chord[i] / STEP).ceil() as usize;
        for k in 1..=steps {
            let t = k as f64 / steps as f64;
            let curve = |part: fn(&Point) -> f64| {
                let (t2, t3) = (t * t, t * t * t);
                (2.0 * t3 - 3.0 * t2 + 1.0) * part(&p[i])
                    + (t3 - 2.0 * t2 + t) * chord[i] * tangent(i, part)
                    + (3.0 * t2 - 2.0 * t3) * part(&p[i + 1])
                    + (t3 - t2) * chord[i] * tangent(i + 1, part)
            };
            let point = (curve(|p| p.0), curve(|p| p.1), curve(|p| p.2), p[i].3);
            far += distance(line[line.len() - 1], point);
            line.push(point);
        }
        marks.push(far);
    }
    (line, marks)
}

/// Bends that waypoints kilometres apart do not show: wide ones where one drives fast.
fn meander(points: Vec<Point>) -> Vec<Point> {
    let tau = std::f64::consts::TAU;
    // The limit changes at once, the road does not: its mean over 800 m decides.
    let mut sums = vec![0.0];
    sums.extend(points.iter().scan(0.0, |sum, p| {
        *sum += p.3;
        Some(*sum)
    }));
    let mean = |i: usize| {
        let (a, b) = (i.saturating_sub(80), (i + 80).min(points.len()));
        (sums[b] - sums[a]) / (b - a) as f64
    };
    let aside = |i: usize| {
        let s = i as f64 * STEP;
        let fast = ((mean(i) - 20.0) / 10.0).clamp(0.0, 1.0);
        let slow = (s / 400.0).min((points.len() - i) as f64 * STEP / 400.0).clamp(0.0, 1.0);
        slow * (26.0 * fast * libm::sin(tau * s / 2130.0) + 3.0 * libm::sin(tau * s / 410.0))
    };
    (0..points.len())
        .map(|i| {
            let p = points[i];
            let (a, b) = (points[i.saturating_sub(1)], points[(i + 1).min(points.len() - 1)]);
            let (east, north) = between(a, b);
            let length = (east * east + north * north).sqrt().max(1e-9);
            let (ky, kx) = metres_per_degree(p.0);
            let d = aside(i);
            (p.0 - d * east / length / ky, p.1 + d * north / length / kx, p.2, p.3)
        })
        .collect()
}

/// Points [`STEP`] apart along the line.
fn resample(line: &[Point]) -> Vec<Point> {
    let (mut out, mut left) = (vec![line[0]], STEP);
    for w in line.windows(2) {
        let (a, b, length) = (w[0], w[1], distance(w[0], w[1]));
        let mut done = 0.0;
        while length - done >= left {
            done += left;
            left = STEP;
            let f = done / length;
            let mix = |x: f64, y: f64| x + (y - x) * f;
            out.push((mix(a.0, b.0), mix(a.1, b.1), mix(a.2, b.2), a.3));
        }
        left -= length - done;
    }
    out
}

/// From legal limits to those that a driver keeps: slower in bends, and braking in time.
fn limit_speeds(spots: &mut [Spot]) {
    for i in 0..spots.len() {
        let (a, b) = (i.saturating_sub(4), (i + 4).min(spots.len() - 1));
        let bend = (spots[b].heading - spots[a].heading).abs().to_radians() / ((b - a) as f64 * STEP);
        spots[i].limit = spots[i].limit.min((SIDEWAYS / bend.max(1e-5)).sqrt()).max(4.0);
    }
    for i in (0..spots.len() - 1).rev() {
        let next = spots[i + 1].limit;
        spots[i].limit = spots[i].limit.min((next * next + 2.0 * BRAKING * STEP).sqrt());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_road_is_as_long_as_the_real_one_and_has_no_kinks() {
        let road = Road::get();
        let length = road.places().last().unwrap().1;
        assert!((170_000.0..205_000.0).contains(&length), "{length} m");
        for (a, b) in road.spots.iter().zip(&road.spots[1..]) {
            let d = distance((a.lat, a.lon, 0.0, 0.0), (b.lat, b.lon, 0.0, 0.0));
            assert!((d - STEP).abs() < 0.2, "{d} m at {a:?}");
            assert!((a.heading - b.heading).abs() < 12.0, "{a:?} {b:?}");
            assert!((3.9..32.0).contains(&a.limit), "{a:?}");
        }
    }

    #[test]
    fn the_places_are_where_the_waypoints_say() {
        let road = Road::get();
        for (name, far) in road.places() {
            let w = WAYPOINTS.iter().find(|w| w.4 == *name).unwrap();
            let spot = road.at(*far);
            let d = distance((spot.lat, spot.lon, 0.0, 0.0), (w.0, w.1, 0.0, 0.0));
            assert!(d < 500.0, "{name}: {d} m");
        }
        assert_eq!(road.places().first().unwrap().0, "London");
        assert_eq!(road.places().last().unwrap().0, "Birmingham");
    }
}
