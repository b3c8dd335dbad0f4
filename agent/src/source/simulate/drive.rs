//! How a vehicle moves along the road: it keeps limits, follows the traffic, stops at lights, takes a
//! break and ends at its destination. The true motion, before any receiver has looked at it.

use super::rng::{Drift, Rng};
use super::road::{Road, Spot, metres_per_degree};

/// Seconds of one step.
const DT: f64 = 0.1;

/// The truth at a moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Truth {
    /// The road under the vehicle, moved to its lane.
    pub(super) spot: Spot,
    /// m/s.
    pub(super) speed: f64,
    /// m driven since the start.
    pub(super) driven: f64,
}

/// What stands in the way next.
#[derive(Clone, Copy, Debug)]
struct Stop {
    at: f64,
    seconds: f64,
}

/// A drive, stepped in simulated time.
#[derive(Clone, Debug)]
pub(super) struct Drive {
    road: &'static Road,
    rng: Rng,
    start: f64,
    end: f64,
    top_speed: f64,
    eagerness: f64,
    traffic: Drift,
    lane: Drift,
    lane_value: f64,
    jam: Option<(f64, f64, f64)>,
    next_jam: f64,
    rest: Option<Stop>,
    next_stop: Stop,
    waits: f64,
    position: f64,
    speed: f64,
    /// Steps done.
    steps: u64,
    arrived_at: Option<u64>,
}

impl Drive {
    /// A drive from one distance along the road to another, both in m.
    pub(super) fn new(seed: u64, road: &'static Road, start: f64, end: f64, top_speed: f64) -> Self {
        let mut rng = Rng::new(seed, "drive");
        let (traffic, lane) = (Drift::new(0.05, 25.0, &mut rng), Drift::new(0.25, 8.0, &mut rng));
        let rest = road
            .places()
            .iter()
            .find(|(name, at)| name.contains("Services") && start + 30_000.0 < *at && *at < end - 30_000.0)
            .filter(|_| rng.chance(0.4))
            .map(|(_, at)| Stop { at: *at, seconds: rng.uniform(300.0, 900.0) });
        let mut drive = Self {
            eagerness: rng.uniform(0.93, 1.02),
            next_jam: start + rng.exponential(25_000.0),
            road,
            rng,
            start,
            end,
            top_speed,
            traffic,
            lane,
            lane_value: 0.0,
            jam: None,
            rest,
            next_stop: Stop { at: end, seconds: 0.0 },
            waits: 6.0,
            position: start,
            speed: 0.0,
            steps: 0,
            arrived_at: None,
        };
        drive.plan_stop();
        drive
    }

    /// Seconds since the start.
    pub(super) fn time(&self) -> f64 {
        self.steps as f64 * DT
    }

    /// When the vehicle stood at its destination, seconds since the start.
    pub(super) fn arrival(&self) -> Option<f64> {
        self.arrived_at.map(|s| s as f64 * DT)
    }

    /// Drives on to `seconds` since the start, not before the present.
    pub(super) fn advance(&mut self, seconds: f64) {
        while self.time() + DT <= seconds {
            self.step();
        }
    }

    /// The truth at `seconds`, at most a step after [`Drive::time`].
    pub(super) fn truth(&self, seconds: f64) -> Truth {
        let ahead = (seconds - self.time()).clamp(0.0, DT) * self.speed;
        let mut spot = self.road.at(self.position + ahead);
        // On the left, as one drives there.
        let aside = -3.0 + self.lane_value;
        let (ky, kx) = metres_per_degree(spot.lat);
        let (sin, cos) = (libm::sin(spot.heading.to_radians()), libm::cos(spot.heading.to_radians()));
        spot.lat -= aside * sin / ky;
        spot.lon += aside * cos / kx;
        Truth { spot, speed: self.speed, driven: self.position + ahead - self.start }
    }

    /// How far the road turns in the next 100 m, degrees, to the right.
    pub(super) fn bend(&self) -> f64 {
        self.road.at(self.position + 100.0).heading - self.road.at(self.position).heading
    }

    fn step(&mut self) {
        self.steps += 1;
        if self.arrived_at.is_some() {
            return;
        }
        let flow = self.traffic.step(DT, &mut self.rng);
        let target = if self.waits > 0.0 {
            self.waits -= DT;
            0.0
        } else {
            let stop = self.next_stop.at - self.position;
            let before_stop = (2.0 * 1.3 * (stop - 1.0).max(0.0)).sqrt();
            (self.wanted() * (1.0 + flow)).min(self.top_speed).min(before_stop.max(0.4))
        };
        let change = ((target - self.speed) * 0.8).clamp(-2.8, self.pull());
        self.speed = (self.speed + change * DT).max(0.0);
        if self.waits > 0.0 && self.speed < 0.3 {
            self.speed = 0.0;
        }
        self.position += self.speed * DT;
        if self.speed > 1.0 {
            self.lane_value = self.lane.step(DT, &mut self.rng);
        }
        if self.next_stop.at - self.position < 1.5 && self.waits <= 0.0 {
            self.stand();
        }
    }

    /// m/s², less the faster it goes.
    fn pull(&self) -> f64 {
        1.9 * (1.0 - self.speed / (self.top_speed * 1.15)).max(0.1)
    }

    /// The speed one would drive here with nothing in front.
    fn wanted(&mut self) -> f64 {
        let spot = self.road.at(self.position);
        if self.position > self.next_jam {
            let length = self.rng.uniform(800.0, 4000.0);
            self.jam = Some((self.position, self.position + length, self.rng.uniform(0.25, 0.65)));
            self.next_jam = self.position + length + self.rng.exponential(25_000.0);
        }
        let slowed = match self.jam {
            Some((from, to, factor)) if self.position < to => {
                // Into and out of a jam within 300 m.
                let edge = ((self.position - from).min(to - self.position) / 300.0).clamp(0.0, 1.0);
                1.0 - (1.0 - factor) * edge
            }
            _ => 1.0,
        };
        (spot.limit * self.eagerness).min(self.top_speed) * slowed
    }

    /// The vehicle has reached its stop.
    fn stand(&mut self) {
        self.speed = 0.0;
        if self.next_stop.at >= self.end {
            self.arrived_at = Some(self.steps);
            return;
        }
        self.waits = self.next_stop.seconds;
        if self.rest.is_some_and(|r| r.at <= self.next_stop.at) {
            self.rest = None;
        }
        self.plan_stop();
    }

    /// The next red light, rest or the destination. Where the road is fast there are no lights.
    fn plan_stop(&mut self) {
        let mut at = self.position;
        self.next_stop = loop {
            let legal = self.road.at(at).legal;
            at += match legal {
                v if v < 16.0 => self.rng.uniform(180.0, 900.0),
                v if v < 20.0 => self.rng.uniform(500.0, 2200.0),
                _ => 1500.0,
            };
            if at >= self.end - 30.0 {
                break Stop { at: self.end, seconds: 0.0 };
            }
            if self.road.at(at).legal < 20.0 {
                break Stop { at, seconds: self.rng.uniform(4.0, 50.0) };
            }
        };
        if let Some(rest) = self.rest
            && rest.at < self.next_stop.at
        {
            self.next_stop = rest;
        }
    }
}
