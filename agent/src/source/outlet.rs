//! The bounded queues between the sources, which are async, and the pipeline, which is one thread.
//!
//! Each source has a queue of its own, so that a replay that runs flat out cannot push a live
//! receiver's fixes out. Queues are bounded in readings and in bytes. A source that can wait does
//! ([`Outlet::send`]); a live sensor cannot ([`Outlet::offer`]): what finds its queue full is counted
//! per stream, and the pipeline makes a gap row of the count.

use milepost_wire::{Body, Reading, Stream, Value};
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// A source's name in the configuration.
pub type SourceId = Arc<str>;

/// What a source did since the agent started. Cheap to count, read by the health report at any time.
#[derive(Debug, Default)]
pub struct SourceCounters {
    /// Readings it made, those that were overrun included.
    pub received: AtomicU64,
    /// Errors met and survived, such as bad checksums or refused lines, and those it was restarted for.
    pub errors: AtomicU64,
    /// Times it was started again.
    pub restarts: AtomicU64,
    /// Readings lost because the pipeline was behind; each is also in a gap row.
    pub overruns: AtomicU64,
    met: Mutex<Met>,
}

/// What a source met on its way.
#[derive(Debug, Default)]
struct Met {
    errors: BTreeMap<&'static str, u64>,
    notes: BTreeMap<&'static str, u64>,
    first_refusals: Vec<String>,
}

/// So many refusals are kept in words, cut to so many characters: a file that is all wrong must not fill
/// the memory.
const KEPT_REFUSALS: (usize, usize) = (3, 200);

impl SourceCounters {
    /// Counts `n` errors of a kind, such as `bad_checksum`.
    pub fn error(&self, kind: &'static str, n: u64) {
        if n > 0 {
            self.errors.fetch_add(n, Relaxed);
            *lock(&self.met).errors.entry(kind).or_default() += n;
        }
    }

    /// Counts an error, and keeps in words what it was if it is among the first: which part of the input,
    /// and why.
    pub fn refuse(&self, kind: &'static str, why: impl FnOnce() -> String) {
        self.error(kind, 1);
        let (count, length) = KEPT_REFUSALS;
        let first = &mut lock(&self.met).first_refusals;
        if first.len() < count {
            first.push(why().chars().take(length).collect());
        }
    }

    /// Counts something worth knowing that is no error, such as `week_rollover`.
    pub fn note(&self, kind: &'static str, n: u64) {
        if n > 0 {
            *lock(&self.met).notes.entry(kind).or_default() += n;
        }
    }

    /// What [`SourceCounters::error`] and [`SourceCounters::note`] counted, by kind.
    pub fn details(&self) -> BTreeMap<&'static str, u64> {
        let met = lock(&self.met);
        met.errors.iter().chain(&met.notes).map(|(kind, n)| (*kind, *n)).collect()
    }

    /// The errors among them.
    pub fn errors_by_kind(&self) -> BTreeMap<&'static str, u64> {
        lock(&self.met).errors.clone()
    }

    /// What [`SourceCounters::refuse`] was told first, at most three.
    pub fn first_refusals(&self) -> Vec<String> {
        lock(&self.met).first_refusals.clone()
    }
}

/// Readings of one source, in the order in which it made them.
#[derive(Debug)]
pub struct Delivery {
    /// Whose.
    pub source: SourceId,
    /// At least one, unless there are overruns.
    pub readings: Vec<Reading>,
    /// What was lost since this source's last delivery because its queue was full.
    pub overruns: Vec<Overrun>,
}

/// Readings of a stream that were lost before they had a number, because the pipeline was behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overrun {
    /// The stream.
    pub stream: Stream,
    /// How many.
    pub count: u64,
}

/// What [`Deliveries::next`] found.
#[derive(Debug)]
pub enum Next {
    /// Readings or overruns of one source.
    Delivery(Delivery),
    /// Nothing came within the time given.
    Timeout,
    /// Every outlet is gone and all they sent was taken: nothing will come any more.
    Closed,
}

/// How much one source's queue holds: the first limit that is met counts. One reading always fits.
#[derive(Clone, Copy, Debug)]
pub struct QueueLimits {
    /// Readings.
    pub readings: usize,
    /// Bytes in memory, about.
    pub bytes: usize,
}

impl Default for QueueLimits {
    fn default() -> Self {
        Self { readings: 4096, bytes: 16 << 20 }
    }
}

/// Makes the queues' two ends.
pub fn channel(limits: QueueLimits) -> (Intake, Deliveries) {
    let shared = Arc::new(Shared { state: Mutex::new(State::default()), filled: Condvar::new() });
    (Intake { shared: Arc::clone(&shared), limits }, Deliveries { shared, turn: 0 })
}

/// Makes an outlet for each source. Dropped when all sources have theirs, so that the end of the last
/// source is the end of the deliveries.
pub struct Intake {
    shared: Arc<Shared>,
    limits: QueueLimits,
}

impl Intake {
    /// An outlet with a queue of its own.
    pub fn outlet(&self, source: impl Into<SourceId>, counters: Arc<SourceCounters>) -> Outlet {
        let mut state = self.shared.lock();
        state.outlets += 1;
        state.queues.push(Queue::new(source.into()));
        let (index, space) = (state.queues.len() - 1, Arc::new(Notify::new()));
        state.queues[index].space = Arc::clone(&space);
        Outlet { shared: Arc::clone(&self.shared), limits: self.limits, index, space, counters }
    }
}

impl Drop for Intake {
    fn drop(&mut self) {
        self.shared.lock().sealed = true;
        self.shared.filled.notify_one();
    }
}

/// Where one source puts its readings.
pub struct Outlet {
    shared: Arc<Shared>,
    limits: QueueLimits,
    index: usize,
    space: Arc<Notify>,
    counters: Arc<SourceCounters>,
}

impl Outlet {
    /// Hands over a reading, waiting while the queue is full. Cancel-safe: when the future is dropped
    /// before it is ready, the reading was not handed over and is not counted.
    pub async fn send(&self, reading: Reading) {
        let weight = weight(&reading);
        loop {
            // Registered before the queue is looked at, so that a wake-up between the two is not lost.
            let mut space = std::pin::pin!(self.space.notified());
            space.as_mut().enable();
            {
                let state = self.shared.lock();
                if state.deaf || state.queues[self.index].has_room(weight, self.limits) {
                    return self.put(state, reading, weight);
                }
            }
            space.await;
        }
    }

    /// Hands over a reading if there is room, and counts it as overrun if not.
    pub fn offer(&self, reading: Reading) {
        let weight = weight(&reading);
        let state = self.shared.lock();
        if state.deaf || state.queues[self.index].has_room(weight, self.limits) {
            return self.put(state, reading, weight);
        }
        drop(state);
        self.lost(reading.stream(), 1);
    }

    /// Declares readings lost on the way here, or that may be: they are counted as overrun.
    pub fn lost(&self, stream: Stream, count: u64) {
        let mut state = self.shared.lock();
        if state.deaf || count == 0 {
            return;
        }
        *state.queues[self.index].overruns.entry(stream).or_default() += count;
        let wake = state.waiting;
        drop(state);
        self.counters.received.fetch_add(count, Relaxed);
        self.counters.overruns.fetch_add(count, Relaxed);
        if wake {
            self.shared.filled.notify_one();
        }
    }

    /// The source's counters.
    pub fn counters(&self) -> &SourceCounters {
        &self.counters
    }

    fn put(&self, mut state: MutexGuard<'_, State>, reading: Reading, weight: usize) {
        if state.deaf {
            return; // The pipeline has gone: the agent is stopping and nobody accepts it any more.
        }
        let queue = &mut state.queues[self.index];
        queue.readings.push_back(reading);
        queue.bytes += weight;
        let wake = state.waiting;
        drop(state);
        self.counters.received.fetch_add(1, Relaxed);
        if wake {
            self.shared.filled.notify_one();
        }
    }
}

impl Drop for Outlet {
    fn drop(&mut self) {
        self.shared.lock().outlets -= 1;
        self.shared.filled.notify_one();
    }
}

/// The pipeline's end.
pub struct Deliveries {
    shared: Arc<Shared>,
    turn: usize,
}

impl Deliveries {
    /// The next source's readings, all that are queued, waiting at most `timeout`. Sources take turns.
    pub fn next(&mut self, timeout: Duration) -> Next {
        // A wait in real time is all this is; no decision depends on the clock.
        let give_up = Instant::now().checked_add(timeout);
        let shared = Arc::clone(&self.shared);
        let mut state = shared.lock();
        loop {
            if let Some(delivery) = self.take(&mut state) {
                return Next::Delivery(delivery);
            }
            if state.sealed && state.outlets == 0 {
                return Next::Closed;
            }
            let left = match give_up {
                Some(at) => at.saturating_duration_since(Instant::now()),
                None => Duration::from_secs(3600),
            };
            if left.is_zero() {
                return Next::Timeout;
            }
            state.waiting = true;
            state = shared.filled.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
            state.waiting = false;
        }
    }

    fn take(&mut self, state: &mut State) -> Option<Delivery> {
        let n = state.queues.len();
        for index in (self.turn..n).chain(0..self.turn.min(n)) {
            let queue = &mut state.queues[index];
            if queue.readings.is_empty() && queue.overruns.is_empty() {
                continue;
            }
            self.turn = index + 1;
            queue.bytes = 0;
            queue.space.notify_waiters();
            let overruns = std::mem::take(&mut queue.overruns).into_iter();
            return Some(Delivery {
                source: Arc::clone(&queue.source),
                readings: std::mem::take(&mut queue.readings).into(),
                overruns: overruns.map(|(stream, count)| Overrun { stream, count }).collect(),
            });
        }
        None
    }
}

impl Drop for Deliveries {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.deaf = true;
        for queue in &mut state.queues {
            queue.readings.clear();
            queue.space.notify_waiters();
        }
    }
}

struct Shared {
    state: Mutex<State>,
    filled: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Default)]
struct State {
    queues: Vec<Queue>,
    outlets: usize,
    /// No more outlets will be made.
    sealed: bool,
    /// Nobody takes deliveries any more.
    deaf: bool,
    /// The pipeline waits to be woken.
    waiting: bool,
}

struct Queue {
    source: SourceId,
    readings: VecDeque<Reading>,
    bytes: usize,
    overruns: BTreeMap<Stream, u64>,
    space: Arc<Notify>,
}

impl Queue {
    fn new(source: SourceId) -> Self {
        let (readings, overruns) = (VecDeque::new(), BTreeMap::new());
        Self { source, readings, bytes: 0, overruns, space: Arc::default() }
    }

    fn has_room(&self, weight: usize, limits: QueueLimits) -> bool {
        self.readings.is_empty()
            || (self.readings.len() < limits.readings && self.bytes.saturating_add(weight) <= limits.bytes)
    }
}

/// About the bytes that a reading takes in memory.
fn weight(reading: &Reading) -> usize {
    let outside = match &reading.body {
        Body::Camera(camera) => camera.image.len() + camera.camera_id.len(),
        Body::Derived(row) => row.values.iter().map(value_weight).sum(),
        Body::Vehicle(_) | Body::Weather(_) | Body::Emergency(_) | Body::Health(_) | Body::Gap(_) => 256,
        Body::Gps(_) => 0,
    };
    size_of::<Reading>() + outside
}

fn value_weight(value: &Value) -> usize {
    size_of::<Value>()
        + match value {
            Value::Text(text) => text.len(),
            Value::Bytes(bytes) => bytes.len(),
            _ => 0,
        }
}

#[cfg(test)]
mod tests;
