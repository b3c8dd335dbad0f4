//! The weather around the vehicle: fronts that pass in an hour, a day's temperature, a city's air.

use super::drive::Truth;
use super::rng::{Drift, Rng};
use milepost_wire::reading::Weather;

/// The weather and its course.
#[derive(Clone, Debug)]
pub(super) struct Sky {
    rng: Rng,
    front: Drift,
    temperature: Drift,
    wind: Drift,
    air: Drift,
    /// 0 for a clear sky to 1 for rain.
    pub(super) cloud: f64,
}

impl Sky {
    pub(super) fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed, "weather");
        Self {
            front: Drift::new(0.35, 3000.0, &mut rng),
            temperature: Drift::new(1.5, 7200.0, &mut rng),
            wind: Drift::new(1.8, 900.0, &mut rng),
            air: Drift::new(9.0, 2400.0, &mut rng),
            cloud: 0.5,
            rng,
        }
    }

    /// The weather, `seconds` after the reading before, at a time of the day in seconds UTC.
    pub(super) fn look(&mut self, truth: &Truth, position: (i32, i32), seconds: f64, day: f64) -> Weather {
        let rng = &mut self.rng;
        self.cloud = (0.5 + self.front.step(seconds, rng)).clamp(0.0, 1.0);
        let rain = (self.cloud - 0.72).max(0.0) * 9.0;
        let noon = libm::cos((day / 3600.0 - 14.5) / 24.0 * std::f64::consts::TAU);
        let height = truth.spot.height / 150.0;
        let temperature = 6.5 + 3.5 * noon - height + self.temperature.step(seconds, rng) - rain * 0.3;
        let wind = (4.5 + height + self.wind.step(seconds, rng)).max(0.1);
        let humidity = (68.0 + 28.0 * self.cloud - 6.0 * noon + rng.normal(0.6)).clamp(30.0, 100.0);
        let town = if truth.spot.legal < 20.0 { 24.0 } else { 0.0 };
        let air = (31.0 + town - rain * 2.0 + self.air.step(seconds, rng)).clamp(3.0, 300.0);
        Weather {
            lat_e7: Some(position.0),
            lon_e7: Some(position.1),
            temperature_c_e2: Some((temperature * 10.0).round() as i16 * 10),
            condition: Some(condition(self.cloud, rain).to_owned()),
            precipitation_mm_h_e2: Some((rain * 10.0).round() as u32 * 10),
            wind_speed_mm_s: Some((wind * 10.0).round() as u32 * 100),
            humidity_pct_e2: Some(humidity.round() as u16 * 100),
            air_quality_index: Some(air.round() as u16),
        }
    }
}

fn condition(cloud: f64, rain: f64) -> &'static str {
    match (cloud, rain) {
        (_, r) if r > 1.5 => "rain",
        (_, r) if r > 0.0 => "light rain",
        (c, _) if c > 0.6 => "overcast",
        (c, _) if c > 0.3 => "partly cloudy",
        _ => "clear",
    }
}
