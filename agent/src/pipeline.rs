//! The one thread that readings go through: it takes what the sources deliver, runs the transforms and
//! hands the rows to the outbox, which it owns.
//!
//! One loop over a closed set of events; nothing else touches the transforms or the outbox. It never
//! talks to the network: the uplink reads the spool. When the disk refuses a row, the loop holds on to
//! it and takes nothing more from the sources until the disk is back.

pub mod breaker;
pub mod chain;
pub mod dead_letter;
pub mod load;
pub mod memory;
mod seat;

use crate::clock::Clock;
use crate::health::{self, Figures};
use crate::outbox::{Gap, Now, Outbox, Piece, Reason, Refused, STREAMS_MAX, Status};
use crate::source::{Deliveries, Delivery, Next};
use crate::uplink::Declare;
use chain::{Chain, Halted, by_stream};
use dead_letter::DeadLetters;
use milepost_transform_host::Failure;
use milepost_wire::{Body, Digest, Reading, Stream};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

/// The longest that the loop waits for readings before it looks at everything else.
const WAIT_MAX: Duration = Duration::from_millis(250);
/// How long a refused row waits for the disk.
const DISK_WAIT: Duration = Duration::from_millis(200);
/// How often poison that was counted becomes a gap row.
const POISON_EVERY: Duration = Duration::from_secs(1);

/// What the pipeline did since the agent started.
#[derive(Debug, Default)]
pub struct PipelineCounters {
    /// Readings that sources delivered.
    pub received: AtomicU64,
    /// Rows that the outbox numbered, the agent's own reports not counted.
    pub accepted: AtomicU64,
    /// The same per stream, the agent's own included.
    streams: Mutex<BTreeMap<Stream, u64>>,
    /// The outbox's state, as of the last tick.
    status: Mutex<Option<Status>>,
    /// When the last tick was, µs of the monotonic clock.
    ticked: AtomicU64,
}

impl PipelineCounters {
    /// Rows that the outbox accepted, by stream.
    pub fn accepted_by_stream(&self) -> BTreeMap<Stream, u64> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The outbox's state at most a quarter of a second ago; none before the first tick.
    pub fn status(&self) -> Option<Status> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// When the loop last looked after everything, on the monotonic clock. It does so at least four times a
    /// second, whether there are readings or not.
    pub fn ticked(&self) -> Duration {
        Duration::from_micros(self.ticked.load(Relaxed))
    }

    fn accept(&self, stream: &Stream, count: u64) {
        if count == 0 {
            return;
        }
        if !matches!(stream, Stream::Health | Stream::Gap) {
            self.accepted.fetch_add(count, Relaxed);
        }
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        let room = streams.len() < STREAMS_MAX;
        match streams.get_mut(stream) {
            Some(n) => *n += count,
            None if room => drop(streams.insert(stream.clone(), count)),
            // The outbox has no more either.
            None => {}
        }
    }
}

/// What others ask of the pipeline.
pub enum Control {
    /// The uplink gives up on a frame.
    Declare(Declare),
    /// Other transforms are to take the place of these.
    Reload(load::Reload),
    /// Everything that will be delivered now is: close the spool.
    Close,
}

/// The few settings that the loop needs.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How long readings may gather.
    pub linger: Duration,
    /// The most readings in one call of a transform.
    pub batch_max: usize,
    /// Between two reports.
    pub health_every: Duration,
}

/// The loop and all that it owns.
pub struct Pipeline {
    /// Its settings.
    pub settings: Settings,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// From the sources.
    pub deliveries: Deliveries,
    /// From the uplink and the runner.
    pub control: Receiver<Control>,
    /// The transforms.
    pub chain: Chain,
    /// Where rows go.
    pub rows: Rows,
    /// What is reported on.
    pub figures: Figures,
    /// Cancelled when the sources have ended and all they delivered is in the spool.
    pub flushed: CancellationToken,
    /// Set to leave everything as it is and return.
    pub abort: Arc<AtomicBool>,
    /// Who waits to hear that a gap row is on disk.
    pub declared: Vec<oneshot::Sender<()>>,
}

/// Everything that can make the loop do something.
enum Event {
    Delivery(Delivery),
    Control(Control),
    Tick,
    SourcesEnded,
    Abort,
}

impl Pipeline {
    /// Runs until the sources have ended and the runner says to close, or a transform halts the agent.
    pub fn run(mut self) -> Result<(), Halted> {
        let result = self.work();
        if let Err(halted) = &result {
            tracing::error!(%halted, "The agent stops");
        }
        result
    }

    fn work(&mut self) -> Result<(), Halted> {
        let mut next_report = self.clock.mono() + self.settings.health_every;
        let mut ended = false;
        loop {
            let now = self.now();
            if now.mono >= next_report {
                self.report(now);
                next_report = now.mono + self.settings.health_every;
            }
            let deadline = self.tick(now).min(next_report);
            match self.wait(deadline.saturating_sub(now.mono).min(WAIT_MAX), ended) {
                Event::Tick => {}
                Event::Delivery(first) => self.deliver(first).inspect_err(|_| self.close())?,
                Event::Control(Control::Declare(declare)) => self.declare(declare),
                Event::Control(Control::Reload(reload)) => self.reload(reload),
                Event::SourcesEnded => {
                    // What is declared now is still sent before the goodbye.
                    self.rows.declare_poison(self.now(), true);
                    self.report(self.now());
                    self.rows.outbox.flush(self.now());
                    self.flushed.cancel();
                    ended = true;
                    next_report = Duration::MAX;
                }
                Event::Control(Control::Close) => {
                    self.close();
                    return Ok(());
                }
                Event::Abort => return Ok(()),
            }
        }
    }

    fn wait(&mut self, at_most: Duration, ended: bool) -> Event {
        if self.abort.load(Relaxed) {
            return Event::Abort;
        }
        if ended {
            return match self.control.recv_timeout(at_most) {
                Ok(control) => Event::Control(control),
                Err(RecvTimeoutError::Timeout) => Event::Tick,
                Err(RecvTimeoutError::Disconnected) => Event::Control(Control::Close),
            };
        }
        if let Ok(control) = self.control.try_recv() {
            return Event::Control(control);
        }
        if self.rows.is_blocked() {
            std::thread::sleep(DISK_WAIT);
            return Event::Tick;
        }
        match self.deliveries.next(at_most) {
            Next::Delivery(delivery) => Event::Delivery(delivery),
            Next::Timeout => Event::Tick,
            Next::Closed => Event::SourcesEnded,
        }
    }

    /// Takes what came and what comes within the linger, and runs it through the transforms.
    fn deliver(&mut self, first: Delivery) -> Result<(), Halted> {
        let urgent = |d: &Delivery| d.readings.iter().any(|r| matches!(r.body, Body::Emergency(_)));
        let enough = self.settings.batch_max;
        if first.readings.len() < enough / 4 && !urgent(&first) && !self.settings.linger.is_zero() {
            std::thread::sleep(self.settings.linger);
        }
        let mut readings = Vec::new();
        self.take(first, &mut readings);
        while readings.len() < enough {
            let Next::Delivery(next) = self.deliveries.next(Duration::ZERO) else { break };
            self.take(next, &mut readings);
        }
        self.rows.now = self.now();
        for (stream, mut readings) in by_stream(readings) {
            while !readings.is_empty() {
                let rest = readings.split_off(readings.len().min(enough));
                let ran = self.chain.run(&stream, readings, &mut self.rows);
                self.rows.leave(self.chain.memory());
                ran?;
                readings = rest;
            }
        }
        Ok(())
    }

    fn take(&mut self, delivery: Delivery, into: &mut Vec<Reading>) {
        let now = self.now();
        for overrun in delivery.overruns {
            let source = format!("source {}", delivery.source);
            let gap = Gap::unnumbered(Some(overrun.stream), overrun.count, Reason::SourceOverrun, source);
            self.rows.outbox.gap(gap, now);
        }
        self.figures.pipeline.received.fetch_add(delivery.readings.len() as u64, Relaxed);
        match into.is_empty() {
            true => *into = delivery.readings,
            false => into.extend(delivery.readings),
        }
    }

    fn tick(&mut self, now: Now) -> Duration {
        self.rows.retry(now);
        self.rows.declare_poison(now, false);
        let deadline = self.rows.outbox.tick(now);
        let status = self.rows.outbox.status(now);
        // What was given up is on disk by now, or else the disk is in trouble.
        if status.trouble.is_none() {
            for done in self.declared.drain(..) {
                let _ = done.send(());
            }
        }
        self.chain.tell();
        let counters = &self.figures.pipeline;
        *counters.status.lock().unwrap_or_else(PoisonError::into_inner) = Some(status);
        counters.ticked.store(u64::try_from(now.mono.as_micros()).unwrap_or(u64::MAX), Relaxed);
        deadline
    }

    fn report(&mut self, now: Now) {
        let status = self.rows.outbox.status(now);
        let rows = health::report(&self.figures, &status, health::resident_bytes(), now);
        self.rows.now = now;
        chain::Outlet::emit(&mut self.rows, &Stream::Health, rows, &[]);
        self.rows.leave(self.chain.memory());
    }

    fn declare(&mut self, declare: Declare) {
        self.rows.outbox.give_up(declare.record, declare.gap, self.now());
        // Answered by the next tick that finds the row on disk.
        self.declared.push(declare.done);
    }

    /// No reading is on its way through the chain here: those before saw the old transforms, those after
    /// see the new ones, and their lineage says so.
    fn reload(&mut self, reload: load::Reload) {
        let result = self.chain.replace(reload.links);
        if result.is_ok() {
            self.figures.transforms.update(self.chain.links());
        }
        // Who asked may have gone.
        let _ = reload.done.send(result);
    }

    fn close(&mut self) {
        let now = self.now();
        self.rows.retry(now);
        self.rows.declare_poison(now, true);
        if let Some(lost) = self.rows.blocked() {
            tracing::error!(rows = lost, "The disk takes nothing: these rows are lost with this stop");
        }
        self.rows.outbox.close(now);
        let status = self.rows.outbox.status(now);
        *self.figures.pipeline.status.lock().unwrap_or_else(PoisonError::into_inner) = Some(status);
    }

    fn now(&self) -> Now {
        Now::of(&*self.clock)
    }
}

/// Takes what comes out of the chain to the outbox, and counts it.
pub struct Rows {
    /// The outbox.
    pub outbox: Outbox,
    counters: Arc<PipelineCounters>,
    dead_letters: DeadLetters,
    now: Now,
    /// What has come out of the chain since it last came to rest.
    pieces: Vec<Piece>,
    /// What the disk refused, in order.
    blocked: VecDeque<Group>,
    /// Poison that no gap row says yet, by transform and stream.
    poison: BTreeMap<(Arc<str>, Stream), u64>,
    poison_declared: Duration,
    /// The transforms whose poison was spoken of since the last gap row.
    warned: BTreeSet<Arc<str>>,
}

/// Rows that left the chain together, and what the transforms remember after them.
struct Group {
    pieces: Vec<Piece>,
    memory: Arc<[u8]>,
}

impl Rows {
    /// Rows for this outbox.
    pub fn new(outbox: Outbox, counters: Arc<PipelineCounters>, dead_letters: DeadLetters, now: Now) -> Self {
        let (pieces, blocked, poison) = (Vec::new(), VecDeque::new(), BTreeMap::new());
        let (poison_declared, warned) = (now.mono, BTreeSet::new());
        Self { outbox, counters, dead_letters, now, pieces, blocked, poison, poison_declared, warned }
    }

    fn is_blocked(&self) -> bool {
        !self.blocked.is_empty()
    }

    fn blocked(&self) -> Option<usize> {
        let pieces = self.blocked.iter().flat_map(|group| &group.pieces);
        self.is_blocked().then(|| pieces.map(|piece| piece.readings.len()).sum())
    }

    /// The chain is at rest: what came out of it goes to the outbox, with what the transforms remember.
    fn leave(&mut self, memory: Arc<[u8]>) {
        let group = Group { pieces: std::mem::take(&mut self.pieces), memory };
        if self.is_blocked() {
            return self.blocked.push_back(group);
        }
        if let Err((group, why)) = self.accept(group, self.now) {
            tracing::error!(%why, "Rows wait for the disk");
            self.blocked.push_back(group);
        }
    }

    fn accept(&mut self, group: Group, now: Now) -> Result<(), (Group, Refused)> {
        match self.outbox.accept_together(&group.pieces, group.memory.clone(), now) {
            Ok(()) => {
                for piece in &group.pieces {
                    if let Some(first) = piece.readings.first() {
                        self.counters.accept(&first.stream(), piece.readings.len() as u64);
                    }
                }
                Ok(())
            }
            Err(why) => Err((group, why)),
        }
    }

    /// Offers what the disk refused once more, in order.
    fn retry(&mut self, now: Now) {
        while let Some(group) = self.blocked.pop_front() {
            if let Err((group, _)) = self.accept(group, now) {
                return self.blocked.push_front(group);
            }
        }
    }

    fn declare_poison(&mut self, now: Now, at_once: bool) {
        let due = at_once || now.mono.saturating_sub(self.poison_declared) >= POISON_EVERY;
        if self.poison.is_empty() || !due || self.is_blocked() {
            return;
        }
        self.poison_declared = now.mono;
        self.warned.clear();
        for ((transform, stream), count) in std::mem::take(&mut self.poison) {
            let detail = format!("transform {transform}");
            self.outbox.gap(Gap::unnumbered(Some(stream), count, Reason::Poison, detail), now);
        }
    }
}

impl chain::Outlet for Rows {
    fn emit(&mut self, _: &Stream, readings: Vec<Reading>, lineage: &[Digest]) {
        self.pieces.push(Piece { readings, lineage: lineage.to_vec() });
    }

    fn poison(&mut self, transform: &Arc<str>, reading: Reading, failure: &Failure, keep: bool) {
        let stream = reading.stream();
        if self.warned.insert(transform.clone()) {
            tracing::warn!(%transform, %stream, %failure, "A reading made a transform fail and is set aside");
        }
        if keep {
            self.dead_letters.keep(&reading);
        }
        *self.poison.entry((transform.clone(), stream)).or_default() += 1;
    }
}

#[cfg(test)]
mod tests;
