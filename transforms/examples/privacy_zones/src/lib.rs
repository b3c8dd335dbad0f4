//! Coarsens or removes positions near given places, such as the homes of drivers.
//!
//! | parameter | default | |
//! |---|---|---|
//! | `zones` | none | `lat,lon,radius_m,mode` parted by `;`, mode `drop` or `coarsen` |
//! | `grid_deg` | 0.02 | what `coarsen` rounds to: about 2 km |
//! | `unplaced_images` | `drop` | `keep` lets images pass whose place is not known |
//!
//! In a `drop` zone a fix is taken out, and other readings lose their position. In a `coarsen` zone the
//! position becomes the middle of a square of the grid, and speed, heading and altitude go, because a
//! track can be drawn from them. An image taken in a zone is taken out in both: it shows the place.
//! Emergencies are left alone: help has to find the vehicle.

use milepost_transform::geo::{METRES_PER_DEGREE, Place, angle_deg, cos_deg};
use milepost_transform::{Camera, Gps, Next, Out, Params, Transform, Vehicle, Weather, transform};

/// The places, and what to do near them.
pub struct PrivacyZones {
    zones: Vec<Zone>,
    grid_e7: i32,
    keep_unplaced_images: bool,
}

struct Zone {
    middle: Place,
    radius_m: f64,
    /// Half the height and width of the square around it, to be quick about places far away.
    reach_deg: (f64, f64),
    mode: Mode,
}

#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
enum Mode {
    Coarsen,
    Drop,
}

impl Transform for PrivacyZones {
    fn new(params: &mut Params) -> Result<Self, String> {
        let keep_unplaced_images = match params.text("unplaced_images", "drop").as_str() {
            "drop" => false,
            "keep" => true,
            other => return Err(format!("Parameter unplaced_images is {other:?}: take drop or keep")),
        };
        Ok(Self {
            zones: params.list("zones", zone)?,
            grid_e7: (params.f64_in("grid_deg", 0.02, 1e-4..=10.0)? * 1e7).round() as i32,
            keep_unplaced_images,
        })
    }

    fn gps(&mut self, fix: &Gps, _: &mut Out) -> Next<Gps> {
        match self.mode(fix.place()) {
            None => Next::Keep,
            Some(Mode::Drop) => Next::TakeOut,
            Some(Mode::Coarsen) => Next::Change(Gps {
                lat_e7: self.coarse(fix.lat_e7),
                lon_e7: self.coarse(fix.lon_e7),
                altitude_cm: None,
                speed_mm_s: None,
                heading_cdeg: None,
                ..*fix
            }),
        }
    }

    fn vehicle(&mut self, reading: &Vehicle, _: &mut Out) -> Next<Vehicle> {
        let Some(mode) = reading.place().and_then(|p| self.mode(p)) else { return Next::Keep };
        let (lat_e7, lon_e7) = self.place(mode, reading.lat_e7, reading.lon_e7);
        Next::Change(Vehicle { lat_e7, lon_e7, speed_mm_s: None, heading_cdeg: None, ..reading.clone() })
    }

    fn weather(&mut self, reading: &Weather, _: &mut Out) -> Next<Weather> {
        let Some(mode) = reading.place().and_then(|p| self.mode(p)) else { return Next::Keep };
        let (lat_e7, lon_e7) = self.place(mode, reading.lat_e7, reading.lon_e7);
        Next::Change(Weather { lat_e7, lon_e7, ..reading.clone() })
    }

    fn camera(&mut self, image: &Camera, _: &mut Out) -> Next<Camera> {
        Next::keep_if(match image.place() {
            Some(place) => self.mode(place).is_none(),
            None => self.keep_unplaced_images,
        })
    }
}
transform!(PrivacyZones: gps, vehicle, weather, camera);

impl PrivacyZones {
    /// The strictest mode of the zones around a place.
    fn mode(&self, place: Place) -> Option<Mode> {
        let strictest = |a: Mode, b: Mode| if b > a { b } else { a };
        self.zones.iter().filter(|z| z.holds(place)).map(|z| z.mode).reduce(strictest)
    }

    fn place(&self, mode: Mode, lat_e7: Option<i32>, lon_e7: Option<i32>) -> (Option<i32>, Option<i32>) {
        match mode {
            Mode::Drop => (None, None),
            Mode::Coarsen => (lat_e7.map(|l| self.coarse(l)), lon_e7.map(|l| self.coarse(l))),
        }
    }

    /// The middle of the grid's square.
    fn coarse(&self, e7: i32) -> i32 {
        e7.div_euclid(self.grid_e7).saturating_mul(self.grid_e7).saturating_add(self.grid_e7 / 2)
    }
}

impl Zone {
    fn holds(&self, place: Place) -> bool {
        (place.lat_deg - self.middle.lat_deg).abs() <= self.reach_deg.0
            && angle_deg(place.lon_deg, self.middle.lon_deg).abs() <= self.reach_deg.1
            && place.distance_m(self.middle) <= self.radius_m
    }
}

fn zone(text: &str) -> Result<Zone, String> {
    let fields: Vec<&str> = text.split(',').map(str::trim).collect();
    let [lat, lon, radius, mode] = fields[..] else {
        return Err("take lat,lon,radius_m,mode".into());
    };
    let number = |name: &str, text: &str, most: f64| match text.parse::<f64>() {
        Ok(v) if v.abs() <= most => Ok(v),
        _ => Err(format!("{name} is {text:?}: take a number up to {most}")),
    };
    let middle = Place::new(number("lat", lat, 85.0)?, number("lon", lon, 180.0)?);
    let radius_m = number("radius_m", radius, 50_000.0)?.abs();
    let mode = match mode {
        "drop" => Mode::Drop,
        "coarsen" => Mode::Coarsen,
        _ => return Err(format!("mode is {mode:?}: take drop or coarsen")),
    };
    // A little wider than the circle, which `holds` measures exactly.
    let lat_reach = radius_m / METRES_PER_DEGREE * 1.01;
    let lon_reach = lat_reach / cos_deg(middle.lat_deg.abs() + lat_reach);
    Ok(Zone { middle, radius_m, reach_deg: (lat_reach, lon_reach), mode })
}

#[cfg(test)]
mod tests {
    use super::*;
    use milepost_transform::Batch;
    use milepost_transform::testing::Bench;

    const ZONES: (&str, &str) = ("zones", "52.0,-1.5,300,drop; 51.5,-0.1,1000,coarsen");

    #[test]
    fn fixes_near_a_place_are_dropped_or_coarsened_and_others_stay() {
        let fixes = [
            Gps::at(0, 52.002, -1.5),
            Gps::at(1, 52.004, -1.5),
            Gps::at(2, 51.505, -0.103).with_speed_m_s(5.0).with_heading_deg(10.0),
            Gps::at(3, 51.5, -0.12),
        ];
        let out = Bench::<PrivacyZones>::new(&[ZONES]).gps(fixes);
        assert_eq!((out.kept, out.taken_out), (vec![1, 3], 1));
        let coarse = &out.rows[1];
        assert_eq!((coarse.ts_us, coarse.lat_e7, coarse.lon_e7), (2, 515_100_000, -1_100_000));
        assert_eq!((coarse.speed_mm_s, coarse.heading_cdeg), (None, None));
    }

    #[test]
    fn the_stricter_of_two_zones_counts() {
        let zones = ("zones", "52,-1.5,1000,coarsen; 52,-1.5,100,drop; 52,-1.5,500,coarsen");
        assert_eq!(Bench::<PrivacyZones>::new(&[zones]).gps([Gps::at(0, 52.0, -1.5)]).taken_out, 1);
    }

    #[test]
    fn other_readings_lose_their_position_only() {
        let here = Vehicle {
            lat_e7: Some(520_000_000),
            lon_e7: Some(-15_000_000),
            speed_mm_s: Some(9),
            make: Some("Ford".into()),
            ..Vehicle::at(5)
        };
        let out = Bench::<PrivacyZones>::new(&[ZONES]).vehicle([here, Vehicle::at(6)]);
        assert_eq!(out.rows[0], Vehicle { make: Some("Ford".into()), ..Vehicle::at(5) });
        assert_eq!((out.kept, out.rows.len()), (vec![1], 2));
    }

    #[test]
    fn images_of_a_zone_or_of_an_unknown_place_are_taken_out() {
        let image = |lat_e7| Camera {
            lat_e7,
            lon_e7: lat_e7.map(|_| -15_000_000),
            ..Camera::at(0, "front", vec![1])
        };
        let batch = Batch::Camera(vec![image(Some(520_000_000)), image(Some(530_000_000)), image(None)]);
        let kept = |params: &[(&str, &str)]| {
            format!("{:?}", Bench::<PrivacyZones>::new(params).process(batch.clone()).unwrap().kept)
        };
        assert_eq!(kept(&[ZONES]), "Kept::Bits([2])");
        assert_eq!(kept(&[ZONES, ("unplaced_images", "keep")]), "Kept::Bits([6])");
    }

    #[test]
    fn a_wrong_zone_is_named() {
        let refused = Bench::<PrivacyZones>::try_new(&[("zones", "52,-1.5,300,drop;52,200,1,drop")]).err();
        assert_eq!(
            refused.as_deref(),
            Some("Parameter zones, entry 2 (\"52,200,1,drop\"): lon is \"200\": take a number up to 180")
        );
    }
}
