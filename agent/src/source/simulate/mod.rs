//! The simulated trip: a vehicle drives from London to Birmingham, with the readings that its sensors
//! would make. [`Trip`] is a pure generator; the source here only paces it.

mod rng;
mod road;
mod drive;
mod receiver;
mod weather;
mod jpeg;
mod scene;
mod trip;

pub use trip::{DEPARTURE, Progress, Trip, TripSettings};

use super::{Context, Outlet, Run, Source, SourceError};
use crate::clock::Clock;
use crate::units::Span;
use serde::Deserialize;
use std::iter::Peekable;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// What to simulate and how fast.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Which trip: road, vehicle, weather and traffic follow from it.
    pub seed: u64,
    /// How much faster than real time; 0 for as fast as the pipeline takes it.
    pub speed: f64,
    /// Only so many of the trip's last minutes; it always ends at its destination.
    pub minutes: Option<f64>,
    /// When the trip begins, µs since 1970 UTC; by default 2026-03-02 08:00.
    pub departure_us: i64,
    /// Time between fixes; `"0s"` for none, as for the other sensors.
    pub gps: Span,
    /// Time between readings of the vehicle's bus.
    pub vehicle: Span,
    /// Time between pictures.
    pub camera: Span,
    /// Time between readings of the weather.
    pub weather: Span,
    /// Mean time between incidents.
    pub emergency: Span,
}

impl Default for Settings {
    fn default() -> Self {
        let trip = TripSettings::default();
        Self {
            seed: 1,
            speed: 1.0,
            minutes: trip.minutes,
            departure_us: trip.departure,
            gps: Span(trip.gps),
            vehicle: Span(trip.vehicle),
            camera: Span(trip.camera),
            weather: Span(trip.weather),
            emergency: Span(trip.emergency),
        }
    }
}

impl Settings {
    /// The part that the generator needs.
    pub fn trip(&self) -> TripSettings {
        TripSettings {
            departure: self.departure_us,
            minutes: self.minutes,
            gps: self.gps.0,
            vehicle: self.vehicle.0,
            camera: self.camera.0,
            weather: self.weather.0,
            emergency: self.emergency.0,
        }
    }
}

/// Makes the source.
pub fn build(settings: &Settings, context: &Context) -> Result<Box<dyn Source>, SourceError> {
    if !(settings.speed >= 0.0 && settings.speed.is_finite()) {
        let speed = settings.speed;
        return Err(SourceError::Unusable(format!("Speed {speed} of a simulated trip must be 0 or more")));
    }
    if settings.minutes.is_some_and(|m| !(m > 0.0 && m.is_finite())) {
        return Err(SourceError::Unusable("The minutes of a simulated trip must be more than 0".into()));
    }
    let trip = Trip::new(settings.seed, settings.trip());
    Ok(Box::new(Simulation {
        destination: trip.destination(),
        trip: trip.peekable(),
        settings: settings.clone(),
        clock: Arc::clone(&context.clock),
        started: None,
    }))
}

struct Simulation {
    trip: Peekable<Trip>,
    destination: &'static str,
    settings: Settings,
    clock: Arc<dyn Clock>,
    /// The monotonic time and the event time of the first reading.
    started: Option<(Duration, i64)>,
}

impl Simulation {
    /// How long to wait until a reading of this event time is due.
    fn wait(&mut self, ts: i64) -> Duration {
        if self.settings.speed == 0.0 {
            return Duration::ZERO;
        }
        let now = self.clock.mono();
        let (began, first) = *self.started.get_or_insert((now, ts));
        let after = (ts - first).max(0) as f64 / 1e6 / self.settings.speed;
        (began + Duration::from_secs_f64(after)).saturating_sub(now)
    }

    async fn deliver(&mut self, outlet: &Outlet) {
        while let Some(reading) = self.trip.peek().cloned() {
            let wait = self.wait(reading.ts);
            if !wait.is_zero() {
                tokio::time::sleep(wait).await;
            }
            outlet.send(reading).await;
            // Taken only now: when this future is dropped before, nothing is skipped.
            self.trip.next();
        }
    }
}

impl Source for Simulation {
    fn run<'a>(&'a mut self, outlet: &'a Outlet, stop: &'a CancellationToken) -> Run<'a> {
        Box::pin(async move {
            let to = self.destination;
            tokio::select! {
                () = self.deliver(outlet) => tracing::info!("Destination reached: {to}"),
                () = stop.cancelled() => {}
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests;
