//! Readings in everyday units, and short ways to make them for tests. The fields themselves hold the
//! wire's fixed point; what these methods set is rounded to it.

use crate::geo::Place;
use crate::{Camera, Clock, Emergency, Gps, Row, Vehicle, Weather};

/// What has a time: every reading.
pub trait Timed {
    /// Event time, µs since 1970 UTC.
    fn ts_us(&self) -> i64;
    /// Where it comes from.
    fn clock(&self) -> Clock;
    /// Seconds since an earlier time; negative where it is later.
    fn seconds_since(&self, ts_us: i64) -> f64 {
        self.ts_us().wrapping_sub(ts_us) as f64 / 1e6
    }
}

macro_rules! timed {
    ($($t:ty),*) => {$(
        impl Timed for $t {
            fn ts_us(&self) -> i64 {
                self.ts_us
            }
            fn clock(&self) -> Clock {
                self.clock
            }
        }
    )*};
}
timed!(Vehicle, Gps, Camera, Weather, Emergency, Row);

/// Rounded. What is no number would become 0, a place on the equator or a vehicle that stands: it panics, which
/// sets the reading aside.
fn whole(value: f64) -> f64 {
    assert!(value.is_finite(), "{value} is no measurement");
    value.round()
}

fn e7(deg: f64) -> i32 {
    whole(deg * 1e7) as i32
}

/// A heading as the wire has it, below 36000.
fn cdeg(heading: f64) -> u16 {
    (whole(heading.rem_euclid(360.0) * 100.0) as u32 % 36_000) as u16
}

fn some_e7(place: Place) -> (Option<i32>, Option<i32>) {
    (Some(e7(place.lat_deg)), Some(e7(place.lon_deg)))
}

fn place(lat_e7: Option<i32>, lon_e7: Option<i32>) -> Option<Place> {
    Some(Place::new(f64::from(lat_e7?) / 1e7, f64::from(lon_e7?) / 1e7))
}

impl Gps {
    /// A fix at a time (µs since 1970 UTC) and a place (degrees), dated by the receiver.
    pub fn at(ts_us: i64, lat_deg: f64, lon_deg: f64) -> Self {
        Self {
            ts_us,
            clock: Clock::Gps,
            lat_e7: e7(lat_deg),
            lon_e7: e7(lon_deg),
            altitude_cm: None,
            speed_mm_s: None,
            heading_cdeg: None,
            fix: 1,
            satellites: None,
            hdop_e2: None,
        }
    }

    /// The same with a speed.
    pub fn with_speed_m_s(mut self, speed: f64) -> Self {
        self.speed_mm_s = Some(whole(speed * 1e3) as u32);
        self
    }

    /// The same with a course, degrees clockwise from north, any turn.
    pub fn with_heading_deg(mut self, heading: f64) -> Self {
        self.heading_cdeg = Some(cdeg(heading));
        self
    }

    /// The same at another place.
    pub fn with_place(mut self, place: Place) -> Self {
        (self.lat_e7, self.lon_e7) = (e7(place.lat_deg), e7(place.lon_deg));
        self
    }

    /// The same with an altitude above mean sea level.
    pub fn with_altitude_m(mut self, altitude: f64) -> Self {
        self.altitude_cm = Some(whole(altitude * 100.0) as i32);
        self
    }

    /// The same with a quality, as NMEA's GGA counts it.
    pub fn with_fix(mut self, fix: u8) -> Self {
        self.fix = fix;
        self
    }

    /// The same with a number of satellites.
    pub fn with_satellites(mut self, satellites: u8) -> Self {
        self.satellites = Some(satellites);
        self
    }

    /// The same with a horizontal dilution of precision.
    pub fn with_hdop(mut self, hdop: f64) -> Self {
        self.hdop_e2 = Some(whole(hdop * 100.0) as u16);
        self
    }

    /// Latitude, degrees north.
    pub fn lat_deg(&self) -> f64 {
        f64::from(self.lat_e7) / 1e7
    }

    /// Longitude, degrees east.
    pub fn lon_deg(&self) -> f64 {
        f64::from(self.lon_e7) / 1e7
    }

    /// The place.
    pub fn place(&self) -> Place {
        Place::new(self.lat_deg(), self.lon_deg())
    }

    /// Altitude above mean sea level, metres.
    pub fn altitude_m(&self) -> Option<f64> {
        self.altitude_cm.map(|cm| f64::from(cm) / 100.0)
    }

    /// Speed over ground, m/s.
    pub fn speed_m_s(&self) -> Option<f64> {
        self.speed_mm_s.map(|mm| f64::from(mm) / 1e3)
    }

    /// Course over ground, degrees clockwise from true north.
    pub fn heading_deg(&self) -> Option<f64> {
        self.heading_cdeg.map(|c| f64::from(c) / 100.0)
    }

    /// Horizontal dilution of precision.
    pub fn hdop(&self) -> Option<f64> {
        self.hdop_e2.map(|h| f64::from(h) / 100.0)
    }
}

impl Vehicle {
    /// A reading at a time (µs since 1970 UTC) that says nothing yet.
    pub fn at(ts_us: i64) -> Self {
        Self {
            ts_us,
            clock: Clock::Gps,
            lat_e7: None,
            lon_e7: None,
            speed_mm_s: None,
            heading_cdeg: None,
            make: None,
            model: None,
            year: None,
            fuel_type: None,
            vehicle_type: None,
        }
    }

    /// The same at a place.
    pub fn with_place(mut self, place: Place) -> Self {
        (self.lat_e7, self.lon_e7) = some_e7(place);
        self
    }

    /// The same with a speed by the wheels.
    pub fn with_speed_m_s(mut self, speed: f64) -> Self {
        self.speed_mm_s = Some(whole(speed * 1e3) as u32);
        self
    }

    /// The same with a heading, degrees clockwise from north, any turn.
    pub fn with_heading_deg(mut self, heading: f64) -> Self {
        self.heading_cdeg = Some(cdeg(heading));
        self
    }

    /// The same with a maker and a model.
    pub fn with_model(mut self, make: &str, model: &str) -> Self {
        (self.make, self.model) = (Some(make.into()), Some(model.into()));
        self
    }

    /// The place, where it is known.
    pub fn place(&self) -> Option<Place> {
        place(self.lat_e7, self.lon_e7)
    }

    /// Speed by the wheels, m/s.
    pub fn speed_m_s(&self) -> Option<f64> {
        self.speed_mm_s.map(|mm| f64::from(mm) / 1e3)
    }

    /// Heading, degrees clockwise from north.
    pub fn heading_deg(&self) -> Option<f64> {
        self.heading_cdeg.map(|c| f64::from(c) / 100.0)
    }
}

impl Camera {
    /// An image at a time (µs since 1970 UTC).
    pub fn at(ts_us: i64, camera_id: &str, image: Vec<u8>) -> Self {
        let camera_id = camera_id.into();
        Self {
            ts_us,
            clock: Clock::Gps,
            camera_id,
            lat_e7: None,
            lon_e7: None,
            image,
            width: None,
            height: None,
        }
    }

    /// The same, taken at a place.
    pub fn with_place(mut self, place: Place) -> Self {
        (self.lat_e7, self.lon_e7) = some_e7(place);
        self
    }

    /// The same with a width and a height, pixels.
    pub fn with_size(mut self, width: u16, height: u16) -> Self {
        (self.width, self.height) = (Some(width), Some(height));
        self
    }

    /// Where it was taken, where that is known.
    pub fn place(&self) -> Option<Place> {
        place(self.lat_e7, self.lon_e7)
    }
}

impl Weather {
    /// A reading at a time (µs since 1970 UTC) that says nothing yet.
    pub fn at(ts_us: i64) -> Self {
        Self {
            ts_us,
            clock: Clock::Gps,
            lat_e7: None,
            lon_e7: None,
            temperature_c_e2: None,
            condition: None,
            precipitation_mm_h_e2: None,
            wind_speed_mm_s: None,
            humidity_pct_e2: None,
            air_quality_index: None,
        }
    }

    /// The same at a place.
    pub fn with_place(mut self, place: Place) -> Self {
        (self.lat_e7, self.lon_e7) = some_e7(place);
        self
    }

    /// The same with an air temperature.
    pub fn with_temperature_c(mut self, temperature: f64) -> Self {
        self.temperature_c_e2 = Some(whole(temperature * 100.0) as i16);
        self
    }

    /// The same with a condition, such as `light rain`.
    pub fn with_condition(mut self, condition: &str) -> Self {
        self.condition = Some(condition.into());
        self
    }

    /// The same with a precipitation.
    pub fn with_precipitation_mm_h(mut self, precipitation: f64) -> Self {
        self.precipitation_mm_h_e2 = Some(whole(precipitation * 100.0) as u32);
        self
    }

    /// The same with a wind speed.
    pub fn with_wind_speed_m_s(mut self, speed: f64) -> Self {
        self.wind_speed_mm_s = Some(whole(speed * 1e3) as u32);
        self
    }

    /// The same with a relative humidity, percent.
    pub fn with_humidity_pct(mut self, humidity: f64) -> Self {
        self.humidity_pct_e2 = Some(whole(humidity * 100.0) as u16);
        self
    }

    /// The place, where it is known.
    pub fn place(&self) -> Option<Place> {
        place(self.lat_e7, self.lon_e7)
    }

    /// Air temperature, °C.
    pub fn temperature_c(&self) -> Option<f64> {
        self.temperature_c_e2.map(|t| f64::from(t) / 100.0)
    }

    /// Precipitation, mm/h.
    pub fn precipitation_mm_h(&self) -> Option<f64> {
        self.precipitation_mm_h_e2.map(|p| f64::from(p) / 100.0)
    }

    /// Wind speed, m/s.
    pub fn wind_speed_m_s(&self) -> Option<f64> {
        self.wind_speed_mm_s.map(|mm| f64::from(mm) / 1e3)
    }

    /// Relative humidity, percent.
    pub fn humidity_pct(&self) -> Option<f64> {
        self.humidity_pct_e2.map(|h| f64::from(h) / 100.0)
    }
}

impl Emergency {
    /// A step of an incident at a time (µs since 1970 UTC).
    pub fn at(ts_us: i64, incident_id: &str, kind: &str, status: &str) -> Self {
        Self {
            ts_us,
            clock: Clock::Gps,
            incident_id: incident_id.into(),
            kind: kind.into(),
            status: status.into(),
            description: None,
            lat_e7: None,
            lon_e7: None,
        }
    }

    /// The same at a place.
    pub fn with_place(mut self, place: Place) -> Self {
        (self.lat_e7, self.lon_e7) = some_e7(place);
        self
    }

    /// The same with a description.
    pub fn with_description(mut self, description: &str) -> Self {
        self.description = Some(description.into());
        self
    }

    /// The place, where it is known.
    pub fn place(&self) -> Option<Place> {
        place(self.lat_e7, self.lon_e7)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_read_back_what_was_set() {
        let fix = Gps::at(1_500_000, 52.123_456_7, -1.5).with_speed_m_s(13.89).with_heading_deg(-0.5);
        assert_eq!((fix.lat_e7, fix.lon_e7), (521_234_567, -15_000_000));
        assert_eq!(
            (fix.lat_deg(), fix.speed_m_s(), fix.heading_deg()),
            (52.123_456_7, Some(13.89), Some(359.5))
        );
        assert_eq!(fix.seconds_since(500_000), 1.0);
        assert_eq!(Gps::at(0, 0.0, 0.0).with_heading_deg(359.999).heading_cdeg, Some(0));
        let van =
            Vehicle::at(0).with_place(Place::new(-33.9, 151.2)).with_speed_m_s(4.2).with_heading_deg(-90.0);
        assert_eq!((van.place(), van.speed_m_s()), (Some(Place::new(-33.9, 151.2)), Some(4.2)));
        assert_eq!(van.heading_deg(), Some(270.0));
        let sleet =
            Weather::at(0).with_temperature_c(-3.5).with_precipitation_mm_h(0.25).with_humidity_pct(81.5);
        assert_eq!((sleet.temperature_c(), sleet.precipitation_mm_h()), (Some(-3.5), Some(0.25)));
        assert_eq!(sleet.humidity_pct(), Some(81.5));
    }

    #[test]
    #[should_panic(expected = "NaN is no measurement")]
    fn what_is_no_number_is_no_vehicle_that_stands() {
        let _ = Gps::at(0, 0.0, 0.0).with_speed_m_s(f64::NAN);
    }

    #[test]
    #[should_panic(expected = "inf is no measurement")]
    fn nor_is_infinity_a_place() {
        let _ = Gps::at(0, f64::INFINITY, 0.0);
    }
}
