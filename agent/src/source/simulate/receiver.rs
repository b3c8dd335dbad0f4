//! What a GNSS receiver makes of the truth: an error that wanders slowly (the sky's), a little noise
//! on top (its own), a course that is held at standstill. Typical of a good single-frequency receiver;
//! nothing here is chosen to compress well.

use super::drive::Truth;
use super::rng::{Drift, Rng};
use super::road::metres_per_degree;
use milepost_wire::reading::Gps;

/// Below this speed receivers hold the last course, m/s.
const HOLD: f64 = 0.5;

/// A receiver with its errors.
#[derive(Clone, Debug)]
pub(super) struct Receiver {
    rng: Rng,
    east: Drift,
    north: Drift,
    up: Drift,
    satellites: Drift,
    dilution: Drift,
    course: f64,
}

impl Receiver {
    pub(super) fn new(seed: u64, course: f64) -> Self {
        let mut rng = Rng::new(seed, "receiver");
        Self {
            east: Drift::new(1.5, 60.0, &mut rng),
            north: Drift::new(1.5, 60.0, &mut rng),
            up: Drift::new(2.5, 60.0, &mut rng),
            satellites: Drift::new(1.5, 120.0, &mut rng),
            dilution: Drift::new(0.05, 200.0, &mut rng),
            course,
            rng,
        }
    }

    /// The fix, `seconds` after the one before.
    pub(super) fn fix(&mut self, truth: &Truth, seconds: f64) -> Gps {
        let rng = &mut self.rng;
        let (ky, kx) = metres_per_degree(truth.spot.lat);
        let east = self.east.step(seconds, rng) + rng.normal(0.1);
        let north = self.north.step(seconds, rng) + rng.normal(0.1);
        let up = self.up.step(seconds, rng) + rng.normal(0.15);
        let speed = (truth.speed + rng.normal(0.05)).abs();
        let spread = (0.05 / truth.speed.max(0.3)).to_degrees().min(5.0);
        let course = truth.spot.heading + rng.normal(spread);
        if truth.speed >= HOLD {
            self.course = course;
        }
        let satellites = (11.0 + self.satellites.step(seconds, rng)).round().clamp(5.0, 18.0);
        let dilution = 9.0 / satellites + self.dilution.step(seconds, rng);
        Gps {
            lat_e7: e7(truth.spot.lat + north / ky),
            lon_e7: e7(truth.spot.lon + east / kx),
            altitude_cm: Some(((truth.spot.height + up) * 100.0).round() as i32),
            speed_mm_s: Some((speed * 1000.0).round() as u32),
            heading_cdeg: Some(centidegrees(self.course)),
            fix: 1,
            satellites: Some(satellites as u8),
            hdop_e2: Some((dilution * 100.0).round().clamp(50.0, 9999.0) as u16),
        }
    }
}

fn e7(degrees: f64) -> i32 {
    (degrees * 1e7).round() as i32
}

/// 0.01°, below 36000.
pub(super) fn centidegrees(degrees: f64) -> u16 {
    ((degrees * 100.0).round() as i64).rem_euclid(36_000) as u16
}
