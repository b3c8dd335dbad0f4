//! A vehicle's trip as readings in time order: a pure generator that merges the sensors, each at its
//! own rate. The same seed and settings give the same readings on every machine.

use super::drive::{Drive, Truth};
use super::receiver::{Receiver, centidegrees};
use super::rng::Rng;
use super::road::Road;
use super::scene::{self, Scene};
use super::weather::Sky;
use milepost_wire::reading::{Camera, Emergency, Gps, Vehicle};
use milepost_wire::{Body, Clock, Reading};
use std::collections::VecDeque;
use std::time::Duration;

/// Monday 2026-03-02, 08:00 UTC: when trips begin unless the settings say otherwise.
pub const DEPARTURE: i64 = 1_772_438_400_000_000;
/// How long a vehicle stands at its destination before the trip ends, s.
const FAREWELL: f64 = 10.0;

/// What a trip is like; which road, vehicle, weather and traffic follow from the seed.
#[derive(Clone, Debug, PartialEq)]
pub struct TripSettings {
    /// When the trip begins, µs since 1970 UTC.
    pub departure: i64,
    /// Only so many of the trip's last minutes, so that every trip ends at its destination.
    pub minutes: Option<f64>,
    /// Time from one fix to the next; zero for none. The same holds for the other sensors.
    pub gps: Duration,
    /// Time between readings of the vehicle's own bus.
    pub vehicle: Duration,
    /// Time between pictures.
    pub camera: Duration,
    /// Time between readings of the weather.
    pub weather: Duration,
    /// Mean time between incidents.
    pub emergency: Duration,
}

impl Default for TripSettings {
    fn default() -> Self {
        Self {
            departure: DEPARTURE,
            minutes: None,
            gps: Duration::from_secs(1),
            vehicle: Duration::from_secs(1),
            camera: Duration::from_secs(60),
            weather: Duration::from_secs(60),
            emergency: Duration::from_secs(2 * 3600),
        }
    }
}

/// How far a trip has come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// m since the trip's start.
    pub driven: f64,
    /// m from start to destination.
    pub length: f64,
    /// The vehicle stands at its destination.
    pub arrived: bool,
}

/// A trip: iterate for its readings.
#[derive(Clone, Debug)]
pub struct Trip {
    settings: TripSettings,
    drive: Drive,
    receiver: Receiver,
    sky: Sky,
    model: &'static Model,
    camera_rng: Rng,
    bus_rng: Rng,
    fix: Option<Gps>,
    length: f64,
    from: &'static str,
    to: &'static str,
    /// When each sensor reads next, µs since the trip's start; in the order of [`Sensor`].
    due: [Option<i64>; 5],
    incidents: Incidents,
    /// The part of the trip that is left out, µs.
    skipped: i64,
    said_goodbye: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sensor {
    Gps,
    Vehicle,
    Camera,
    Weather,
    Emergency,
}

const SENSORS: [Sensor; 5] =
    [Sensor::Gps, Sensor::Vehicle, Sensor::Camera, Sensor::Weather, Sensor::Emergency];

/// A kind of vehicle on these roads.
#[derive(Debug)]
struct Model {
    make: &'static str,
    model: &'static str,
    year: u16,
    fuel: &'static str,
    kind: &'static str,
    /// m/s.
    top_speed: f64,
}

const fn model(
    make: &'static str,
    model: &'static str,
    year: u16,
    fuel: &'static str,
    kind: &'static str,
    top_speed: f64,
) -> Model {
    Model { make, model, year, fuel, kind, top_speed }
}

const MODELS: [Model; 8] = [
    model("Ford", "Transit", 2022, "diesel", "van", 31.3),
    model("Volvo", "FH16", 2021, "diesel", "truck", 25.0),
    model("Tesla", "Model 3", 2023, "electric", "car", 33.0),
    model("Vauxhall", "Vivaro-e", 2024, "electric", "van", 30.0),
    model("Mercedes-Benz", "Sprinter", 2020, "diesel", "van", 31.0),
    model("Toyota", "Corolla", 2023, "hybrid", "car", 32.5),
    model("Scania", "R450", 2019, "diesel", "truck", 24.8),
    model("Alexander Dennis", "Plaxton Panorama", 2022, "diesel", "coach", 27.7),
];

impl Trip {
    /// The trip of a seed, from London to Birmingham.
    pub fn new(seed: u64, settings: TripSettings) -> Self {
        let mut rng = Rng::new(seed, "trip");
        let model = &MODELS[(seed % MODELS.len() as u64) as usize];
        let road = Road::get();
        let places = road.places();
        let (from, to) = (places[0], places[places.len() - 1]);
        // Not all set out from the same door.
        let start = from.1 + rng.uniform(0.0, 60.0);
        let end = to.1 - rng.uniform(0.0, 60.0);
        let fresh = || Drive::new(seed, road, start, end, model.top_speed);
        let skipped = settings.minutes.map_or(0.0, |m| (duration(fresh()) - m * 60.0).max(0.0).floor());
        let mut drive = fresh();
        drive.advance(skipped);
        let mut trip = Self {
            receiver: Receiver::new(seed, drive.truth(skipped).spot.heading),
            sky: Sky::new(seed),
            model,
            camera_rng: Rng::new(seed, "camera"),
            bus_rng: Rng::new(seed, "bus"),
            incidents: Incidents::new(seed, settings.emergency.as_secs_f64()),
            fix: None,
            length: end - start,
            from: from.0,
            to: to.0,
            due: [None; 5],
            skipped: (skipped * 1e6) as i64,
            said_goodbye: false,
            drive,
            settings,
        };
        trip.due = SENSORS.map(|s| trip.period(s).map(|p| trip.phase(s, p)));
        trip.due[Sensor::Emergency as usize] = trip.incidents.next();
        trip
    }

    /// Where it begins.
    pub fn from(&self) -> &'static str {
        self.from
    }

    /// Where it goes.
    pub fn destination(&self) -> &'static str {
        self.to
    }

    /// How far it has come.
    pub fn progress(&self) -> Progress {
        let driven = self.drive.truth(self.drive.time()).driven;
        Progress { driven, length: self.length, arrived: self.drive.arrival().is_some() }
    }

    fn period(&self, sensor: Sensor) -> Option<i64> {
        let every = match sensor {
            Sensor::Gps => self.settings.gps,
            Sensor::Vehicle => self.settings.vehicle,
            Sensor::Camera => self.settings.camera,
            Sensor::Weather => self.settings.weather,
            Sensor::Emergency => return None,
        };
        i64::try_from(every.as_micros()).ok().filter(|us| *us > 0)
    }

    /// Receivers fix on the second; the rest runs on clocks of its own.
    fn phase(&mut self, sensor: Sensor, period: i64) -> i64 {
        match sensor {
            Sensor::Gps => 0,
            _ => (self.bus_rng.uniform(0.0, period.min(1_000_000) as f64) / 1e3) as i64 * 1000,
        }
    }

    fn read(&mut self, sensor: Sensor, at: i64) -> Body {
        let seconds = (self.skipped + at) as f64 / 1e6;
        self.drive.advance(seconds);
        let truth = self.drive.truth(seconds);
        match sensor {
            Sensor::Gps => self.fix(&truth).into(),
            Sensor::Vehicle => self.vehicle(&truth).into(),
            Sensor::Camera => self.camera(&truth, at).into(),
            Sensor::Weather => {
                let every = self.settings.weather.as_secs_f64();
                let position = self.position(&truth);
                self.sky.look(&truth, position, every, self.time_of_day(at)).into()
            }
            Sensor::Emergency => {
                let position = self.position(&truth);
                self.incidents.take(position).into()
            }
        }
    }

    fn fix(&mut self, truth: &Truth) -> Gps {
        let every = if self.settings.gps.is_zero() { 1.0 } else { self.settings.gps.as_secs_f64() };
        let fix = self.receiver.fix(truth, every);
        self.fix = Some(fix.clone());
        fix
    }

    /// The last fix: what everything but the receiver knows of the position.
    fn position(&mut self, truth: &Truth) -> (i32, i32) {
        match &self.fix {
            Some(fix) if !self.settings.gps.is_zero() => (fix.lat_e7, fix.lon_e7),
            _ => {
                let fix = self.receiver.fix(truth, 1.0);
                (fix.lat_e7, fix.lon_e7)
            }
        }
    }

    fn vehicle(&mut self, truth: &Truth) -> Vehicle {
        let (lat, lon) = self.position(truth);
        // Wheels count in steps of 0.01 m/s and stand still when the vehicle does.
        let wheels = match truth.speed {
            0.0 => 0.0,
            v => (v * 1.004 + self.bus_rng.normal(0.02)).max(0.0),
        };
        Vehicle {
            lat_e7: Some(lat),
            lon_e7: Some(lon),
            speed_mm_s: Some((wheels * 100.0).round() as u32 * 10),
            heading_cdeg: Some(
                self.fix
                    .as_ref()
                    .and_then(|f| f.heading_cdeg)
                    .unwrap_or_else(|| centidegrees(truth.spot.heading)),
            ),
            make: Some(self.model.make.to_owned()),
            model: Some(self.model.model.to_owned()),
            year: Some(self.model.year),
            fuel_type: Some(self.model.fuel.to_owned()),
            vehicle_type: Some(self.model.kind.to_owned()),
        }
    }

    fn camera(&mut self, truth: &Truth, at: i64) -> Camera {
        let (lat, lon) = self.position(truth);
        let scene = Scene {
            time: self.time_of_day(at) as u32,
            speed: truth.speed,
            driven: truth.driven,
            bend: self.drive.bend(),
            cloud: self.sky.cloud,
        };
        Camera {
            camera_id: "front".to_owned(),
            lat_e7: Some(lat),
            lon_e7: Some(lon),
            image: scene::photograph(&scene, &mut self.camera_rng),
            width: Some(scene::WIDTH as u16),
            height: Some(scene::HEIGHT as u16),
        }
    }

    fn time_of_day(&self, at: i64) -> f64 {
        ((self.settings.departure + self.skipped + at).rem_euclid(86_400_000_000)) as f64 / 1e6
    }

    fn reading(&self, at: i64, body: Body) -> Reading {
        Reading { ts: self.settings.departure + self.skipped + at, clock: Clock::Gps, body }
    }
}

impl Iterator for Trip {
    type Item = Reading;

    fn next(&mut self) -> Option<Reading> {
        let (at, sensor) = SENSORS
            .iter()
            .filter_map(|s| self.due[*s as usize].map(|at| (at, *s)))
            .min_by_key(|(at, _)| *at)?;
        let now = (self.skipped + at) as f64 / 1e6;
        self.drive.advance(now);
        if self.drive.arrival().is_some_and(|arrival| now > arrival + FAREWELL) {
            // The last word is the vehicle's, standing at its destination.
            if std::mem::replace(&mut self.said_goodbye, true) || self.period(Sensor::Vehicle).is_none() {
                return None;
            }
            let body = self.read(Sensor::Vehicle, at);
            return Some(self.reading(at, body));
        }
        let body = self.read(sensor, at);
        self.due[sensor as usize] = match self.period(sensor) {
            Some(period) => Some(at + period),
            None => self.incidents.next(),
        };
        Some(self.reading(at, body))
    }
}

/// How long a drive takes, s.
fn duration(mut drive: Drive) -> f64 {
    // A day is far more than any drive takes, whatever the traffic.
    while drive.arrival().is_none() && drive.time() < 86_400.0 {
        drive.advance(drive.time() + 10.0);
    }
    drive.arrival().unwrap_or(0.0) + FAREWELL
}

/// Incidents: each is opened, worked on and closed.
#[derive(Clone, Debug)]
struct Incidents {
    rng: Rng,
    mean: f64,
    seed: u64,
    count: u32,
    planned: VecDeque<(i64, Emergency)>,
    last: i64,
}

const KINDS: [(&str, &str); 4] = [
    ("breakdown", "Warning lamp: coolant temperature"),
    ("medical", "Driver unwell, needs assistance"),
    ("collision", "Light contact at low speed"),
    ("obstruction", "Debris in the carriageway"),
];

impl Incidents {
    fn new(seed: u64, mean: f64) -> Self {
        let rng = Rng::new(seed, "emergency");
        Self { rng, mean, seed, count: 0, planned: VecDeque::new(), last: 0 }
    }

    /// When the next step of an incident comes, µs; `None` where there are no incidents.
    fn next(&mut self) -> Option<i64> {
        if self.planned.is_empty() && self.mean > 0.0 {
            let rng = &mut self.rng;
            let (kind, text) = *rng.pick(&KINDS);
            self.count += 1;
            let id = format!("{:04x}-{:03}", self.seed & 0xffff, self.count);
            self.last += micros(rng.exponential(self.mean).max(1.0));
            for status in ["open", "acknowledged", "resolved"] {
                let description = (status == "open").then(|| text.to_owned());
                let step = Emergency {
                    incident_id: id.clone(),
                    kind: kind.to_owned(),
                    status: status.to_owned(),
                    description,
                    lat_e7: None,
                    lon_e7: None,
                };
                self.planned.push_back((self.last, step));
                self.last += micros(rng.uniform(30.0, 240.0));
            }
        }
        self.planned.front().map(|(at, _)| *at)
    }

    /// The step that [`Incidents::next`] announced.
    fn take(&mut self, position: (i32, i32)) -> Emergency {
        let (_, mut step) = self.planned.pop_front().expect("next has planned it");
        (step.lat_e7, step.lon_e7) = (Some(position.0), Some(position.1));
        step
    }
}

fn micros(seconds: f64) -> i64 {
    (seconds * 1e3) as i64 * 1000
}

#[cfg(test)]
mod tests;
