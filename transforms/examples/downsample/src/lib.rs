//! Keeps a fix when the vehicle moved, turned or a time passed since the last one that was kept: a
//! parked van sends a fix in two minutes and not one a second, a winding road keeps its shape.
//!
//! | parameter | default | |
//! |---|---|---|
//! | `min_distance_m` | 25 | keep after this distance |
//! | `min_turn_deg` | 15 | keep after this change of course, while faster than 1 m/s |
//! | `max_interval_s` | 120 | keep after this time in any case |

use milepost_transform::geo::angle_deg;
use milepost_transform::reading::Timed;
use milepost_transform::{Gps, Next, Out, Params, Transform, geo::Place, keep_struct, keeps, transform};

/// The settings, and the last fix that was kept.
pub struct Downsample {
    min_distance_m: f64,
    min_turn_deg: f64,
    max_interval_s: f64,
    last: Option<Kept>,
}

/// What counts of the last fix that was kept.
struct Kept {
    ts_us: i64,
    lat_deg: f64,
    lon_deg: f64,
    heading_deg: Option<f64>,
}
keep_struct!(Kept { ts_us, lat_deg, lon_deg, heading_deg });

impl Transform for Downsample {
    keeps!(last);

    fn new(params: &mut Params) -> Result<Self, String> {
        Ok(Self {
            min_distance_m: params.f64_in("min_distance_m", 25.0, 0.0..=1e6)?,
            min_turn_deg: params.f64_in("min_turn_deg", 15.0, 0.0..=180.0)?,
            max_interval_s: params.f64_in("max_interval_s", 120.0, 0.0..=1e6)?,
            last: None,
        })
    }

    fn gps(&mut self, fix: &Gps, _: &mut Out) -> Next<Gps> {
        let keep = self.last.as_ref().is_none_or(|last| self.differs(last, fix));
        if keep {
            let Place { lat_deg, lon_deg } = fix.place();
            self.last = Some(Kept { ts_us: fix.ts_us, lat_deg, lon_deg, heading_deg: course(fix) });
        }
        Next::keep_if(keep)
    }
}
transform!(Downsample: gps);

impl Downsample {
    fn differs(&self, last: &Kept, fix: &Gps) -> bool {
        let turned = match (course(fix), last.heading_deg) {
            (Some(now), Some(then)) => angle_deg(now, then).abs() >= self.min_turn_deg,
            // Set off, or came to a stand.
            (now, then) => now.is_some() != then.is_some(),
        };
        // A clock that was set back counts as time passed too.
        turned
            || fix.seconds_since(last.ts_us).abs() >= self.max_interval_s
            || fix.place().distance_m(Place::new(last.lat_deg, last.lon_deg)) >= self.min_distance_m
    }
}

/// The course, where it means something: a receiver at rest reports any.
fn course(fix: &Gps) -> Option<f64> {
    fix.heading_deg().filter(|_| fix.speed_m_s().is_some_and(|v| v > 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use milepost_transform::testing::Bench;

    const S: i64 = 1_000_000;

    fn drive(lat: f64, s: i64) -> Gps {
        Gps::at(s * S, lat, -1.5).with_speed_m_s(10.0).with_heading_deg(0.0)
    }

    #[test]
    fn a_parked_vehicle_sends_a_fix_in_two_minutes() {
        let out = Bench::<Downsample>::new(&[]).gps((0..300).map(|s| Gps::at(s * S, 52.0, -1.5)));
        assert_eq!(out.kept, [0, 120, 240]);
        assert_eq!(out.taken_out, 297);
    }

    #[test]
    fn a_moving_one_sends_a_fix_in_25_metres() {
        let metres = |i: i64| i as f64 * 10.0 / 111_195.0;
        let out = Bench::<Downsample>::new(&[]).gps((0..10).map(|s| drive(52.0 + metres(s), s)));
        assert_eq!(out.kept, [0, 3, 6, 9]);
    }

    #[test]
    fn a_turn_and_a_stop_are_kept() {
        let fixes = [
            drive(52.0, 0),
            drive(52.0, 1).with_heading_deg(350.0),
            drive(52.0, 2).with_heading_deg(344.0),
            drive(52.0, 3).with_heading_deg(344.0).with_speed_m_s(0.2),
            drive(52.0, 4).with_heading_deg(90.0).with_speed_m_s(0.2),
        ];
        assert_eq!(Bench::<Downsample>::new(&[]).gps(fixes).kept, [0, 2, 3]);
    }

    #[test]
    fn what_was_kept_last_outlives_a_restart() {
        let mut bench = Bench::<Downsample>::new(&[]);
        bench.gps([Gps::at(0, 52.0, -1.5)]);
        bench.restart(&[]).unwrap();
        assert_eq!(bench.gps([Gps::at(S, 52.0, -1.5)]).taken_out, 1);
    }

    #[test]
    fn parameters_are_checked() {
        let refused = Bench::<Downsample>::try_new(&[("min_turn_deg", "270")]).err();
        assert_eq!(refused.as_deref(), Some("Parameter min_turn_deg is 270: take 0 to 180"));
    }
}
