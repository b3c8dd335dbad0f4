//! Brings what the spool holds to the broker: takes records in the spool's order, keeps a window of
//! them on their way and acknowledges each to the spool when the broker has answered it.
//!
//! [`window`] decides and does no I/O; the driver here moves values between it, the spool and one
//! [`Connection`] after another. Every connection starts with nothing: the spool is rewound to the
//! oldest record without an answer. It never decides that something is lost: a frame that the broker
//! will never take goes to the pipeline, which declares the gap and makes that durable first.

pub mod window;

use crate::clock::{Clock, Entropy};
use crate::mqtt::{Address, Connection, Event};
use crate::outbox::{Gap, Reason, Record, RecordId, SpoolReader};
use milepost_wire::{VehicleId, frame, topic};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use window::{Limits, Loss, Outcome, Outgoing, Window};

/// What the uplink did since the agent started.
#[derive(Debug, Default)]
pub struct UplinkCounters {
    /// Frames given to the client, repetitions included.
    pub published: AtomicU64,
    /// Frames that the broker has.
    pub delivered: AtomicU64,
    /// Bytes of those frames.
    pub delivered_bytes: AtomicU64,
    /// Connections that the broker accepted.
    pub connections: AtomicU64,
    /// Connections that were lost or did not come about.
    pub losses: AtomicU64,
    /// Answers that refused a frame for now.
    pub refusals: AtomicU64,
    /// Frames that the broker will never take; each is a gap row.
    pub undeliverable: AtomicU64,
    /// Whether there is a connection now.
    pub connected: AtomicBool,
}

/// A frame that the pipeline is to declare lost; the answer comes when that is durable.
pub struct Declare {
    /// The frame's record.
    pub record: RecordId,
    /// The gap.
    pub gap: Gap,
    /// Answered when the gap row is on disk.
    pub done: oneshot::Sender<()>,
}

/// What the uplink needs beside the spool.
pub struct Driver {
    /// The vehicle, for topics.
    pub vehicle: VehicleId,
    /// Where to connect.
    pub address: Address,
    /// The window's numbers.
    pub limits: Limits,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness for the jitter.
    pub entropy: Entropy,
    /// Takes gaps to the pipeline.
    pub declare: Box<dyn Fn(Declare) + Send + Sync>,
    /// Counts.
    pub counters: Arc<UplinkCounters>,
}

/// How long the goodbye to the broker may take.
const GOODBYE: Duration = Duration::from_millis(500);

impl Driver {
    /// Runs until `stop` is cancelled, or, once `drain` is cancelled, until everything is delivered.
    pub async fn run(self, mut spool: SpoolReader, drain: CancellationToken, stop: CancellationToken) {
        let mut window = Window::new(self.limits);
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.serve(&mut spool, &mut window, &drain) => {}
        }
        self.counters.connected.store(false, Relaxed);
    }

    async fn serve(&self, spool: &mut SpoolReader, window: &mut Window<RecordId>, drain: &CancellationToken) {
        loop {
            let loss = match self.connection(spool, window, drain).await {
                Some(loss) => loss,
                None => return,
            };
            self.counters.connected.store(false, Relaxed);
            self.counters.losses.fetch_add(1, Relaxed);
            let after = window.lost(&loss, (self.entropy)());
            let (Loss::Connection(why) | Loss::Objection(why)) = &loss;
            tracing::warn!(why, wait_ms = after.wait.as_millis() as u64, "No connection to the broker");
            spool.rewind();
            if let Some(record) = after.hopeless {
                self.give_up(spool, record, "the broker ends the connection over it").await;
            }
            tokio::time::sleep(after.wait).await;
        }
    }

    /// One connection's life. `None`: everything is delivered and no more will come.
    async fn connection(
        &self,
        spool: &mut SpoolReader,
        window: &mut Window<RecordId>,
        drain: &CancellationToken,
    ) -> Option<Loss> {
        let mut connection = Connection::open(&self.address);
        let more = spool.notify();
        loop {
            let empty = match self.send(spool, window, &connection).await {
                Ok(empty) => empty,
                Err(loss) => return Some(loss),
            };
            if empty && drain.is_cancelled() && window.is_connected() && window.pending() == 0 {
                connection.close(GOODBYE).await;
                return None;
            }
            let due = window
                .next_due()
                .filter(|_| window.has_room())
                .map(|due| due.saturating_sub(self.clock.mono()));
            tokio::select! {
                event = connection.next() => {
                    if let Some(loss) = self.handle(event, spool, window) {
                        return Some(loss);
                    }
                }
                () = more.notified(), if empty => {}
                () = drain.cancelled(), if !drain.is_cancelled() => {}
                () = tokio::time::sleep(due.unwrap_or_default()), if due.is_some() => {}
            }
        }
    }

    fn handle(&self, event: Event, spool: &mut SpoolReader, window: &mut Window<RecordId>) -> Option<Loss> {
        match event {
            Event::Up(broker) => {
                tracing::info!(?broker, "Connected to the broker");
                self.counters.connections.fetch_add(1, Relaxed);
                self.counters.connected.store(true, Relaxed);
                window.connected(broker);
            }
            Event::Written(packet_id) => window.written(packet_id),
            Event::Answered(packet_id, answer) => match window.answered(packet_id, answer, self.clock.mono())
            {
                Outcome::Delivered(id, bytes) => {
                    self.counters.delivered.fetch_add(1, Relaxed);
                    self.counters.delivered_bytes.fetch_add(bytes as u64, Relaxed);
                    spool.ack(id);
                }
                Outcome::Later(why) => {
                    self.counters.refusals.fetch_add(1, Relaxed);
                    tracing::warn!(why, "The broker refused a frame; it is sent again later");
                }
                Outcome::Stale => tracing::debug!(packet_id, "The broker answered an unknown packet"),
            },
            Event::Down(loss) => return Some(loss),
        }
        None
    }

    /// Fills the window. `Ok(true)`: the spool has no more.
    async fn send(
        &self,
        spool: &mut SpoolReader,
        window: &mut Window<RecordId>,
        connection: &Connection,
    ) -> Result<bool, Loss> {
        while window.has_room() {
            let record = match window.due(self.clock.mono()) {
                Some(record) => record,
                None if !window.takes_new() => return Ok(false),
                None => match spool.next() {
                    Some(record) => self.outgoing(record),
                    None => return Ok(true),
                },
            };
            let (topic, payload) = (record.topic.clone(), record.payload.clone());
            match window.send(record) {
                Ok(()) => {
                    let taken = connection.publish(&topic, payload);
                    taken.map_err(|e| Loss::Connection(e.to_string()))?;
                    self.counters.published.fetch_add(1, Relaxed);
                }
                Err(too_large) => {
                    self.give_up(spool, too_large, "it is larger than the broker's maximum packet").await;
                }
            }
        }
        Ok(false)
    }

    fn outgoing(&self, record: Record) -> Outgoing<RecordId> {
        let topic = topic::mqtt(&self.vehicle, &record.stream);
        Outgoing { id: record.id, topic, payload: record.frame.into() }
    }

    /// Lets the pipeline declare the frame's readings lost, and takes it off the spool when that is on
    /// disk. If the agent stops before, the frame stays.
    async fn give_up(&self, spool: &mut SpoolReader, record: Outgoing<RecordId>, why: &str) {
        let bytes = record.payload.len();
        let gap = match frame::check(&record.payload) {
            Ok(header) => {
                let (first, last) = (header.first_seq, header.last_seq());
                Gap::range(header.stream, header.boot, first, last, Reason::Undeliverable)
            }
            Err(error) => Gap {
                exact: false,
                ..Gap::unnumbered(None, frame::MAX_READINGS as u64, Reason::Undeliverable, error.to_string())
            },
        };
        let gap = Gap { detail: Some(format!("a frame of {bytes} bytes: {why}")), ..gap };
        tracing::error!(
            topic = record.topic,
            bytes,
            why,
            "A frame cannot be delivered; it becomes a gap row"
        );
        let (done, declared) = oneshot::channel();
        (self.declare)(Declare { record: record.id, gap, done });
        if declared.await.is_ok() {
            self.counters.undeliverable.fetch_add(1, Relaxed);
            spool.ack(record.id);
        }
    }
}
