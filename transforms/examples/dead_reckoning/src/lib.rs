//! Estimates where the vehicle is while the receiver does not say, as in a tunnel: from the last fix on,
//! by the speed of the wheels and the heading.
//!
//! | parameter | default | |
//! |---|---|---|
//! | `max_gap_s` | 60 | how long after the last fix an estimate is worth something |
//! | `after_s` | 2 | how long there must have been no fix |
//! | `fill` | false | puts the estimate into `vehicle_data` too, where that has no position |
//!
//! Derives `estimated_position` from `vehicle_data`: `lat`, `lon` (degrees), `since_fix_s`, `distance_m`
//! (driven since the fix). It is a stream of its own, so that nobody takes an estimate for a measurement.

use milepost_transform::geo::Place;
use milepost_transform::reading::Timed;
use milepost_transform::{Gps, Next, Out, Params, Transform, Vehicle, keep_struct, keeps, transform};

/// Wheel speeds further apart say nothing about what was driven between them.
const MAX_STEP_S: f64 = 5.0;

/// The settings, and where the vehicle is thought to be.
pub struct DeadReckoning {
    max_gap_s: f64,
    after_s: f64,
    fill: bool,
    track: Option<Track>,
}

/// The way since the last fix.
struct Track {
    fix_us: i64,
    at_us: i64,
    lat_deg: f64,
    lon_deg: f64,
    heading_deg: Option<f64>,
    distance_m: f64,
}
keep_struct!(Track { fix_us, at_us, lat_deg, lon_deg, heading_deg, distance_m });

impl Transform for DeadReckoning {
    keeps!(track);

    fn new(params: &mut Params) -> Result<Self, String> {
        Ok(Self {
            max_gap_s: params.f64_in("max_gap_s", 60.0, 1.0..=3600.0)?,
            after_s: params.f64_in("after_s", 2.0, 0.0..=600.0)?,
            fill: params.bool("fill", false)?,
            track: None,
        })
    }

    fn gps(&mut self, fix: &Gps, _: &mut Out) -> Next<Gps> {
        // Standing, a receiver reports any course: the last one that meant something stays.
        let moving = fix.speed_m_s().is_some_and(|v| v > 1.0);
        let before = self.track.as_ref().and_then(|t| t.heading_deg);
        self.track = Some(Track {
            fix_us: fix.ts_us,
            at_us: fix.ts_us,
            lat_deg: fix.lat_deg(),
            lon_deg: fix.lon_deg(),
            heading_deg: fix.heading_deg().filter(|_| moving).or(before),
            distance_m: 0.0,
        });
        Next::Keep
    }

    fn vehicle(&mut self, reading: &Vehicle, out: &mut Out) -> Next<Vehicle> {
        let Some(place) = self.estimate(reading) else { return Next::Keep };
        let Some(track) = &self.track else { return Next::Keep };
        let since_fix_s = reading.seconds_since(track.fix_us);
        if since_fix_s < self.after_s {
            return Next::Keep;
        }
        out.derive("estimated_position", reading, |row| {
            let round = |v: f64, to: f64| (v * to).round() / to;
            row.set("lat", round(place.lat_deg, 1e7)).set("lon", round(place.lon_deg, 1e7));
            row.set("since_fix_s", since_fix_s).set("distance_m", round(track.distance_m, 10.0));
        });
        match reading.place() {
            None if self.fill => Next::Change(reading.clone().with_place(place)),
            _ => Next::Keep,
        }
    }
}
transform!(DeadReckoning: gps, vehicle);

impl DeadReckoning {
    /// Moves on by what the wheels say; none where the track is lost.
    fn estimate(&mut self, reading: &Vehicle) -> Option<Place> {
        let track = self.track.as_mut()?;
        let step_s = reading.seconds_since(track.at_us);
        if !(0.0..=MAX_STEP_S).contains(&step_s) || reading.seconds_since(track.fix_us) > self.max_gap_s {
            // An older reading is passed over; behind a gap there is nothing to go on from.
            if step_s > 0.0 {
                self.track = None;
            }
            return None;
        }
        track.heading_deg = reading.heading_deg().or(track.heading_deg);
        let (speed_m_s, heading_deg) = (reading.speed_m_s()?, track.heading_deg?);
        let distance_m = speed_m_s * step_s;
        let place = Place::new(track.lat_deg, track.lon_deg).ahead(distance_m, heading_deg);
        (track.lat_deg, track.lon_deg) = (place.lat_deg, place.lon_deg);
        track.at_us = reading.ts_us;
        track.distance_m += distance_m;
        Some(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use milepost_transform::testing::{Bench, Outcome};
    use milepost_transform::{Derived, Value};

    const S: i64 = 1_000_000;

    fn van(s: i64, speed: f64) -> Vehicle {
        Vehicle::at(s * S).with_speed_m_s(speed)
    }

    fn with_fix(params: &[(&str, &str)]) -> Bench<DeadReckoning> {
        let mut bench = Bench::new(params);
        bench.gps([Gps::at(0, 52.0, -1.5).with_speed_m_s(20.0).with_heading_deg(90.0)]);
        bench
    }

    /// Time, distance from the fix over ground, and `distance_m` of each row.
    fn estimates(derived: &[Derived]) -> Vec<(i64, f64, f64)> {
        let rows = derived.iter().flat_map(|d| &d.rows);
        rows.map(|r| match r.values[..] {
            [Value::Float(lat), Value::Float(lon), _, Value::Float(driven)] => {
                let away = Place::new(lat, lon).distance_m(Place::new(52.0, -1.5));
                (r.ts_us / S, away.round(), driven)
            }
            _ => panic!("{r:?}"),
        })
        .collect()
    }

    #[test]
    fn in_a_tunnel_the_wheels_go_on_counting() {
        let out: Outcome<Vehicle> = with_fix(&[]).vehicle((1..=4).map(|s| van(s, 20.0)));
        assert_eq!(estimates(&out.derived), [(2, 40.0, 40.0), (3, 60.0, 60.0), (4, 80.0, 80.0)]);
        assert_eq!(out.kept.len(), 4);
    }

    #[test]
    fn a_turn_in_the_tunnel_is_followed() {
        let mut way: Vec<Vehicle> = (1..=3).map(|s| van(s, 10.0)).collect();
        way.extend((4..=6).map(|s| van(s, 10.0).with_heading_deg(270.0)));
        let found = estimates(&with_fix(&[]).vehicle(way).derived);
        assert_eq!(found.last(), Some(&(6, 0.0, 60.0)));
    }

    #[test]
    fn an_estimate_fills_a_reading_only_where_that_is_asked_for() {
        let fill = with_fix(&[("fill", "true")]).vehicle((1..=3).map(|s| van(s, 20.0)));
        assert_eq!(fill.rows.iter().map(|r| r.place().is_some()).collect::<Vec<_>>(), [false, true, true]);
        assert_eq!(fill.taken_out, 0);
    }

    #[test]
    fn an_old_fix_and_a_gap_end_it() {
        let long = with_fix(&[("max_gap_s", "5")]).vehicle((1..=9).map(|s| van(s, 20.0)));
        assert_eq!(estimates(&long.derived).last(), Some(&(5, 100.0, 100.0)));
        let gap = with_fix(&[]).vehicle([van(1, 20.0), van(9, 20.0), van(10, 20.0)]);
        assert_eq!(estimates(&gap.derived), []);
    }

    #[test]
    fn the_track_outlives_a_restart() {
        let mut bench = with_fix(&[]);
        bench.vehicle([van(1, 20.0)]);
        bench.restart(&[]).unwrap();
        assert_eq!(estimates(&bench.vehicle([van(2, 20.0)]).derived), [(2, 40.0, 40.0)]);
    }

    #[test]
    fn without_a_heading_nothing_is_made_up() {
        let mut bench = Bench::<DeadReckoning>::new(&[]);
        bench.gps([Gps::at(0, 52.0, -1.5)]);
        assert_eq!(estimates(&bench.vehicle([van(1, 20.0), van(2, 20.0), van(3, 20.0)]).derived), []);
    }
}
