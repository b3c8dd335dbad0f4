//! The bridge's one task: moves what happened (packets, reports, time, the wish to stop) into
//! [`Flight`] and carries out what it says.

use crate::counters::Live;
use crate::flight::{Flight, Landed};
use crate::kafka::{self, Producer, Report, SendError};
use crate::mqtt::{Connection, Incoming, MqttError, Target};
use crate::rate::{Allowance, Rates, Seldom};
use crate::route::{Reason, Route, route};
use crate::settings::{PerVehicle, Settings};
use bytes::Bytes;
use milepost_ops::check::kafka::said;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

/// How long to wait for room in the producer's queue when no report comes.
const QUEUE_PAUSE: Duration = Duration::from_millis(20);
/// A pause that is as good as none.
const FAR: Duration = Duration::from_secs(3600);
/// Reports to take at once.
const REPORTS: usize = 4096;

pub(crate) struct Runner {
    pub(crate) settings: Settings,
    pub(crate) target: Target,
    pub(crate) producer: Producer,
    pub(crate) reports: UnboundedReceiver<Report>,
    pub(crate) reports_tx: UnboundedSender<Report>,
    pub(crate) live: Arc<Live>,
    pub(crate) subscribed: watch::Sender<bool>,
    pub(crate) stop: CancellationToken,
}

/// How a connection ended.
enum End {
    Lost(MqttError),
    Stopped,
}

struct Task {
    runner: Runner,
    flight: Flight,
    rates: Rates,
    refusals: Seldom,
    generation: u32,
    started: Instant,
    batch: Vec<Report>,
}

/// Runs until told to stop; returns how many frames had no report then.
pub(crate) async fn run(runner: Runner) -> u64 {
    let flight = Flight::new(runner.settings.retry_after, runner.settings.dead_letter_part as usize);
    let batch = Vec::with_capacity(REPORTS);
    let PerVehicle { frames, bytes, burst } = runner.settings.per_vehicle;
    let rates = Rates::new(Allowance { frames, bytes, burst });
    let refusals = Seldom::default();
    Task { runner, flight, rates, refusals, generation: 0, started: Instant::now(), batch }.run().await
}

impl Task {
    async fn run(mut self) -> u64 {
        let limits = self.runner.settings.mqtt.clone();
        let mut pause = limits.reconnect_min;
        loop {
            let target = self.runner.target.clone();
            let opened = self.meanwhile(async move { Connection::open(&target).await }).await;
            let error = match opened {
                None => return self.flight.len() as u64,
                Some(Err(error)) => error,
                Some(Ok(connection)) => {
                    let since = Instant::now();
                    let end = self.serve(connection).await;
                    self.runner.live.set_connected(false);
                    self.flight.disconnected();
                    if since.elapsed() > limits.reconnect_max {
                        pause = limits.reconnect_min;
                    }
                    match end {
                        End::Stopped => return self.flight.len() as u64,
                        End::Lost(error) => error,
                    }
                }
            };
            let wait = pause.mul_f64(jitter(self.started.elapsed()));
            tracing::warn!("MQTT broker {}: {error}. Connecting again in {wait:.1?}", limits.url);
            if self.meanwhile(sleep(wait)).await.is_none() {
                return self.flight.len() as u64;
            }
            pause = (pause * 2).min(limits.reconnect_max);
        }
    }

    /// Waits for `other` while deliveries go on; `None` when the bridge is to stop.
    async fn meanwhile<T>(&mut self, other: impl Future<Output = T>) -> Option<T> {
        let mut other = std::pin::pin!(other);
        let stop = self.runner.stop.clone();
        loop {
            self.produce();
            let timer = self.timer();
            tokio::select! {
                result = &mut other => return Some(result),
                () = stop.cancelled() => return None,
                _ = self.runner.reports.recv_many(&mut self.batch, REPORTS) => self.take_reports(),
                () = sleep_until(timer) => {}
            }
        }
    }

    /// Serves one connection to its end.
    async fn serve(&mut self, mut connection: Connection) -> End {
        Live::add(&self.runner.live.connections, 1);
        tracing::info!(resumed = connection.resumed, "Connected to {}", self.runner.settings.mqtt.url);
        match self.serve_until(&mut connection).await {
            Ok(()) => {
                let _ = tokio::time::timeout(Duration::from_secs(1), connection.close()).await;
                End::Stopped
            }
            Err(error) => End::Lost(error),
        }
    }

    async fn serve_until(&mut self, connection: &mut Connection) -> Result<(), MqttError> {
        let stop = self.runner.stop.clone();
        let mut stop_at: Option<Instant> = None;
        let mut ticks = interval(connection.keep_alive / 2);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks.reset();
        let mut unanswered = 0;
        loop {
            // Before the first turn as well: what a kept session holds may have come with the CONNACK.
            while let Some(packet) = connection.next()? {
                self.take(packet);
            }
            self.produce();
            while let Some(packet_id) = self.flight.pop_ack() {
                connection.acknowledge(packet_id)?;
                Live::add(&self.runner.live.acked, 1);
            }
            let timer = self.timer();
            if let Some(at) = stop_at
                && (self.flight.len() == 0 || Instant::now() >= at)
            {
                return Ok(());
            }
            let may_read = stop_at.is_none() && self.has_room();
            tokio::select! {
                read = connection.turn(may_read) => {
                    read?;
                    unanswered = 0;
                }
                _ = self.runner.reports.recv_many(&mut self.batch, REPORTS) => self.take_reports(),
                _ = ticks.tick() => {
                    // While nothing is read, an answer cannot be seen.
                    unanswered = if may_read { unanswered + 1 } else { 0 };
                    if unanswered > 3 {
                        return Err(MqttError::Silent);
                    }
                    connection.ping()?;
                }
                () = stop.cancelled(), if stop_at.is_none() => {
                    stop_at = Some(Instant::now() + self.runner.settings.stop_within);
                }
                () = sleep_until(stop_at.map_or(timer, |at| at.min(timer))) => {}
            }
        }
    }

    fn take(&mut self, packet: Incoming) {
        match packet {
            Incoming::Publish { packet_id, topic, payload } => {
                Live::add(&self.runner.live.received, 1);
                Live::add(&self.runner.live.received_bytes, payload.len() as u64);
                let to = self.judge(&topic, &payload);
                self.flight.received(packet_id, topic, payload, to);
            }
            Incoming::Subscribed => {
                self.runner.live.set_connected(true);
                self.runner.subscribed.send_replace(true);
            }
            Incoming::Pong => {}
        }
    }

    /// Where a publish goes, by what it is and by how much its vehicle sends.
    fn judge(&mut self, topic: &Bytes, payload: &[u8]) -> Route {
        let to = match route(&self.runner.settings.mqtt.topic_prefix, topic, payload) {
            Route::Stream { vehicle, topic } => {
                let now = self.started.elapsed();
                match self.rates.take(&vehicle, payload.len(), now) {
                    true => return Route::Stream { vehicle, topic },
                    false => {
                        let detail = "The vehicle sends more than `per_vehicle` lets it".to_owned();
                        Route::Dead { reason: Reason { code: "rate", detail }, vehicle: Some(vehicle) }
                    }
                }
            }
            dead => dead,
        };
        if let Route::Dead { reason, .. } = &to
            && let Some(unsaid) = self.refusals.say(self.started.elapsed())
        {
            let topic = String::from_utf8_lossy(topic);
            tracing::warn!(%topic, unsaid, "Frame refused ({}): {}", reason.code, reason.detail);
        }
        to
    }

    /// Whether more may be read: no is the back-pressure.
    fn has_room(&self) -> bool {
        !self.flight.is_waiting()
            && self.flight.bytes() < self.runner.settings.in_flight_bytes as usize
            && self.flight.len() < 2 * usize::from(self.runner.settings.mqtt.receive_maximum)
    }

    /// Hands everything that is ready to the producer, as far as its queue goes.
    fn produce(&mut self) {
        let now = self.started.elapsed();
        while let Some((seq, item)) = self.flight.next(now) {
            match self.runner.producer.send(seq, item) {
                Ok(()) => self.flight.produced(seq, self.generation),
                Err(SendError::Full) => break,
                Err(SendError::Failed(code)) => {
                    let failure = kafka::failure(code);
                    tracing::warn!("Kafka's producer did not take a record: {code}");
                    let landed = self.flight.failed(seq, failure, now);
                    self.count(landed);
                    self.replace_broken_producer();
                }
            }
        }
        let live = &self.runner.live;
        Live::set(&live.in_flight, self.flight.len() as u64);
        Live::set(&live.in_flight_bytes, self.flight.bytes() as u64);
        Live::set(&live.vehicles, self.rates.names() as u64);
    }

    fn take_reports(&mut self) {
        let now = self.started.elapsed();
        let mut failed = false;
        let mut batch = std::mem::take(&mut self.batch);
        for report in batch.drain(..) {
            let result = report.result.map_err(|code| {
                if !failed {
                    tracing::warn!("Kafka did not take a record: {code}");
                }
                failed = true;
                kafka::failure(code)
            });
            let landed = self.flight.reported(report.seq, report.producer, result, now);
            self.count(landed);
        }
        self.batch = batch;
        if failed {
            self.replace_broken_producer();
        }
    }

    fn count(&self, landed: Landed) {
        let live = &self.runner.live;
        match landed {
            Landed::Delivered => Live::add(&live.delivered, 1),
            Landed::DeadLettered(code) => live.dead_letter(code),
            Landed::Again => Live::add(&live.retried, 1),
            Landed::Nothing => {}
        }
    }

    /// An idempotent producer that cannot keep its promise is done for: a new one takes over all
    /// that has no report.
    fn replace_broken_producer(&mut self) {
        let Some(why) = self.runner.producer.fatal() else { return };
        let next = self.generation + 1;
        match Producer::new(
            &self.runner.settings,
            next,
            self.runner.reports_tx.clone(),
            self.runner.live.clone(),
        ) {
            Ok(producer) => {
                tracing::warn!("Kafka's producer is broken and is replaced: {why}");
                self.runner.producer = producer;
                self.generation = next;
                self.flight.producer_replaced(next);
                Live::add(&self.runner.live.producers_replaced, 1);
            }
            Err(e) => {
                tracing::error!("Kafka's producer is broken and cannot be replaced: {why}; {}", said(&e))
            }
        }
    }

    /// When to look again although nothing happened.
    fn timer(&self) -> Instant {
        let full = self.flight.is_waiting().then(|| Instant::now() + QUEUE_PAUSE);
        let due = self.flight.next_due().map(|due| self.started + due);
        full.into_iter().chain(due).min().unwrap_or_else(|| Instant::now() + FAR)
    }
}

/// Between 0.5 and 1, so that bridges that lost the same broker do not return in step. The time is
/// randomness enough for that.
fn jitter(time: Duration) -> f64 {
    0.5 + f64::from(time.subsec_nanos() % 1_000_003) / 2_000_006.0
}
