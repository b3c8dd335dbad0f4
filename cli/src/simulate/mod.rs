//! `milepost simulate`: the demo's fleet against a given broker, any number of vehicles, in step with
//! simulated time, at a stated rate, or flat out.
//!
//! Vehicles here are light: they make the agent's frames and keep them in memory until the broker has
//! answered, with no spool and no transforms. Whoever ends it early loses what was not yet sent.

mod van;

use crate::{Failure, Outcome};
use clap::Args;
use milepost_agent::clock;
use milepost_agent::config::Config;
use milepost_agent::mqtt::{Address, Connection, Event};
use milepost_agent::source::simulate::{Trip, TripSettings};
use milepost_agent::uplink::window::{Limits, Loss, Outcome as Sent, Outgoing, Window};
use milepost_wire::{BootId, VehicleId, topic};
use std::collections::BTreeMap;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use van::Van;

/// Frames of a vehicle on their way at a time.
const WINDOW: u16 = 16;
/// Frames of a vehicle that wait in memory; beyond that it makes no more.
const WAITING: usize = 64;
/// Files and sockets that are open beside each vehicle's connection.
const OPEN_FILES: usize = 100;
/// Between two attempts to connect.
const AGAIN: Duration = Duration::from_secs(1);
/// How long a vehicle that was asked to stop may take for the broker's answers, over all connections.
const GOODBYE: Duration = Duration::from_secs(10);

/// Options of `milepost simulate`.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// The MQTT v5 broker, mqtt://host:port
    #[arg(long, value_name = "URL")]
    broker: String,
    /// How many vehicles drive
    #[arg(long, default_value = "10", value_parser = crate::at_most::<100_000>)]
    vehicles: usize,
    /// Only the last so many minutes of each trip, in simulated time [default: the whole trip]
    #[arg(long, value_name = "M", value_parser = crate::positive)]
    minutes: Option<f64>,
    /// How much faster than real time
    #[arg(long, value_name = "X", default_value_t = 1.0, value_parser = crate::positive, conflicts_with = "flat_out")]
    speed: f64,
    /// As fast as the broker takes it
    #[arg(long)]
    flat_out: bool,
    /// At most so many readings a second, over all vehicles
    #[arg(long, value_name = "R", value_parser = crate::positive)]
    rate: Option<f64>,
    /// Which trips: the same number gives the same readings
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// What the vehicles' names begin with
    #[arg(long, default_value = "sim")]
    name: String,
}

/// What the fleet has done.
#[derive(Debug, Default)]
struct Counters {
    readings: AtomicU64,
    frames: AtomicU64,
    bytes: AtomicU64,
    connected: AtomicU64,
    arrived: AtomicU64,
    trouble: Mutex<Trouble>,
}

/// What keeps vehicles from sending, in words. Many of them meet the same, again and again.
#[derive(Debug, Default)]
struct Trouble {
    newest: Option<String>,
    said: Option<String>,
}

impl Trouble {
    /// What there is to say: the newest, unless it was the last that was said.
    fn news(&mut self) -> Option<String> {
        let what = self.newest.take().filter(|what| self.said.as_ref() != Some(what))?;
        self.said = Some(what.clone());
        Some(what)
    }
}

impl Counters {
    fn trouble(&self) -> MutexGuard<'_, Trouble> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn meets(&self, trouble: String) {
        self.trouble().newest = Some(trouble);
    }
}

/// Runs the command.
pub fn run(options: &Options) -> Result<Outcome, Failure> {
    crate::may_open_files(options.vehicles, OPEN_FILES + options.vehicles)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(simulate(options))
}

async fn simulate(options: &Options) -> Result<Outcome, Failure> {
    let counters = Arc::new(Counters::default());
    let stop = CancellationToken::new();
    let mut vans = JoinSet::new();
    for n in 0..options.vehicles {
        let id = VehicleId::new(format!("{}-{:05}", options.name, n + 1))?;
        let driver = Driver {
            address: address(&id, &options.broker)?,
            pace: Pace::new(options),
            counters: counters.clone(),
            stop: stop.clone(),
            goodbye: GOODBYE,
            since: Instant::now(),
        };
        let settings = TripSettings { minutes: options.minutes, ..TripSettings::default() };
        let seed = options.seed.wrapping_mul(1_000_003).wrapping_add(n as u64);
        let boot = BootId(clock::entropy());
        vans.spawn(async move { driver.drive(Van::new(id, boot, Trip::new(seed, settings))).await });
    }
    let (since, mut ticker) = (Instant::now(), tokio::time::interval(Duration::from_secs(5)));
    ticker.tick().await;
    loop {
        tokio::select! {
            done = vans.join_next() => if done.is_none() { break },
            _ = ticker.tick() => say(&counters, options, since.elapsed()),
            _ = tokio::signal::ctrl_c(), if !stop.is_cancelled() => stop.cancel(),
        }
    }
    say(&counters, options, since.elapsed());
    let arrived = counters.arrived.load(Relaxed);
    Ok(if arrived == options.vehicles as u64 { Outcome::Good } else { Outcome::Bad })
}

fn address(id: &VehicleId, broker: &str) -> Result<Address, Failure> {
    let mut config = Config::new(id.clone(), "");
    config.uplink.url = broker.to_owned();
    Ok(Address { window: WINDOW, ..config.address()? })
}

fn say(counters: &Counters, options: &Options, took: Duration) {
    let [readings, frames, bytes, connected, arrived] =
        [&counters.readings, &counters.frames, &counters.bytes, &counters.connected, &counters.arrived]
            .map(|n| n.load(Relaxed));
    let line = format!(
        "{:7.1} s  {readings} readings ({:.0}/s) in {frames} frames of {bytes} bytes with the broker; of {} vehicles \
         {connected} are connected, {arrived} have arrived\n",
        took.as_secs_f64(),
        readings as f64 / took.as_secs_f64().max(0.001),
        options.vehicles,
    );
    // The fleet drives on, whoever looks at it.
    let _ = crate::say(&line);
    if let Some(what) = counters.trouble().news() {
        crate::remark(&what);
    }
}

/// When a vehicle's readings are due.
#[derive(Clone, Copy, Debug)]
struct Pace {
    /// Simulated seconds in a second; none: at once.
    speed: Option<f64>,
    /// Readings a second of this vehicle.
    rate: Option<f64>,
}

impl Pace {
    fn new(options: &Options) -> Self {
        Self {
            speed: (!options.flat_out).then_some(options.speed),
            rate: options.rate.map(|r| r / options.vehicles.max(1) as f64),
        }
    }

    /// How long after its start the vehicle makes its `n`th reading, whose event time is `after` µs
    /// after the first one's.
    fn due(&self, n: u64, after: i64) -> Duration {
        let by_speed = self.speed.map_or(0.0, |speed| after.max(0) as f64 / 1e6 / speed);
        let by_rate = self.rate.map_or(0.0, |rate| n as f64 / rate);
        Duration::from_secs_f64(by_speed.max(by_rate).min(1e9))
    }
}

struct Driver {
    address: Address,
    pace: Pace,
    counters: Arc<Counters>,
    stop: CancellationToken,
    /// See [`GOODBYE`].
    goodbye: Duration,
    since: Instant,
}

/// What a vehicle has made and the broker has not answered.
#[derive(Default)]
struct Waiting {
    frames: BTreeMap<u64, Outgoing<u64>>,
    /// Readings in each.
    readings: BTreeMap<u64, u64>,
    next: u64,
    /// The first that was not sent on this connection.
    unsent: u64,
}

impl Driver {
    /// Drives to the destination, over as many connections as it takes.
    async fn drive(self, mut van: Van) {
        let mut waiting = Waiting::default();
        let first = van.due().unwrap_or(0);
        let mut progress = Progress { first, made: 0, ended: false };
        let mut patience = pin!(async {
            self.stop.cancelled().await;
            tokio::time::sleep(self.goodbye).await;
        });
        loop {
            let ended = self.connection(&mut van, &mut waiting, &mut progress, patience.as_mut()).await;
            if ended {
                let arrived = van.due().is_none() && waiting.frames.is_empty();
                self.counters.arrived.fetch_add(u64::from(arrived), Relaxed);
                return;
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// One connection's life, until `patience` ends at most. True: the vehicle has nothing more to send, or
    /// gives up.
    async fn connection(
        &self,
        van: &mut Van,
        waiting: &mut Waiting,
        progress: &mut Progress,
        mut patience: Pin<&mut impl Future<Output = ()>>,
    ) -> bool {
        let mut connection = Connection::open(&self.address);
        let limits =
            Limits { records: usize::from(WINDOW), bytes: 8 << 20, wait_min: AGAIN, wait_max: AGAIN };
        let mut window = Window::new(limits);
        waiting.unsent = waiting.frames.keys().next().copied().unwrap_or(waiting.next);
        let mut up = false;
        let ended = loop {
            if self.fill(van, waiting, progress, &mut window, &connection).is_err() {
                break false;
            }
            if progress.ended && waiting.frames.is_empty() {
                break true;
            }
            let due = self.next_due(van, waiting, progress);
            tokio::select! {
                event = connection.next() => match event {
                    Event::Up(broker) => {
                        up = true;
                        self.counters.connected.fetch_add(1, Relaxed);
                        window.connected(broker);
                    }
                    Event::Written(id) => window.written(id),
                    Event::Answered(id, answer) => {
                        if let Sent::Delivered(frame, bytes) = window.answered(id, answer, self.since.elapsed()) {
                            waiting.frames.remove(&frame);
                            let readings = waiting.readings.remove(&frame).unwrap_or(0);
                            self.counters.readings.fetch_add(readings, Relaxed);
                            self.counters.frames.fetch_add(1, Relaxed);
                            self.counters.bytes.fetch_add(bytes as u64, Relaxed);
                        }
                    }
                    Event::Down(why) => {
                        let (Loss::Connection(why) | Loss::Objection(why)) = why;
                        self.counters.meets(format!("No connection to the broker: {why}. It is tried again"));
                        break self.stop.is_cancelled();
                    }
                },
                () = tokio::time::sleep(due.unwrap_or_default()), if due.is_some() => {}
                () = self.stop.cancelled(), if !progress.ended => {}
                () = patience.as_mut() => break true,
            }
        };
        self.counters.connected.fetch_sub(u64::from(up), Relaxed);
        if ended {
            connection.close(Duration::from_millis(500)).await;
        }
        ended
    }

    /// Makes what is due and sends what there is room for. The error: the connection is gone.
    fn fill(
        &self,
        van: &mut Van,
        waiting: &mut Waiting,
        progress: &mut Progress,
        window: &mut Window<u64>,
        connection: &Connection,
    ) -> Result<(), milepost_agent::mqtt::NotTaken> {
        let mut made = Vec::new();
        // Whoever is told to stop makes the last frames at once, however many wait.
        while !progress.ended && (self.stop.is_cancelled() || waiting.frames.len() < WAITING) {
            match van.due() {
                Some(ts) if !self.stop.is_cancelled() => {
                    if self.pace.due(progress.made, ts - progress.first) > self.since.elapsed() {
                        break;
                    }
                    van.step(&mut made);
                    progress.made += 1;
                }
                _ => {
                    van.end(&mut made);
                    progress.ended = true;
                }
            }
            for made in made.drain(..) {
                let readings = milepost_wire::frame::check(&made.frame).map_or(0, |h| u64::from(h.count));
                let (id, topic) = (waiting.next, topic::mqtt(&van.id, &made.stream));
                waiting.frames.insert(id, Outgoing { id, topic, payload: made.frame.into() });
                waiting.readings.insert(id, readings);
                waiting.next += 1;
            }
        }
        while window.has_room() {
            // What the broker refused for now comes again; else what was not sent yet.
            let Some(frame) = window.due(self.since.elapsed()).or_else(|| {
                let next = waiting.frames.range(waiting.unsent..).next()?.1.clone();
                waiting.unsent = next.id + 1;
                Some(next)
            }) else {
                break;
            };
            let (topic, payload, id) = (frame.topic.clone(), frame.payload.clone(), frame.id);
            match window.send(frame) {
                Ok(()) => connection.publish(&topic, payload)?,
                Err(_) => {
                    // Larger than the broker takes: it will be missing, and the audit says so.
                    self.counters.meets("A frame is larger than the broker takes, and is left out".into());
                    waiting.frames.remove(&id);
                }
            }
        }
        Ok(())
    }

    /// When to make the next reading; none while too many frames wait for the broker.
    fn next_due(&self, van: &mut Van, waiting: &Waiting, progress: &Progress) -> Option<Duration> {
        if progress.ended || waiting.frames.len() >= WAITING {
            return None;
        }
        let ts = van.due()?;
        Some(self.pace.due(progress.made, ts - progress.first).saturating_sub(self.since.elapsed()))
    }
}

/// How far a vehicle is.
struct Progress {
    /// The event time of its first reading.
    first: i64,
    /// Readings made.
    made: u64,
    /// It makes no more.
    ended: bool,
}

#[cfg(test)]
mod tests;
