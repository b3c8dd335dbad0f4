//! One transform: loaded, called, and put back on its feet after a failure.

use crate::bindings::TransformPre;
use crate::convert;
use crate::counters::Counters;
use crate::engine::Engine;
use crate::failure::{Failure, LoadError};
use crate::limits::Limits;
use crate::packed::{self, Batch};
use crate::sandbox::{Host, Instance, said};
use crate::usage::{Frame, Usage};
use crate::verdict::Verdict;
use milepost_wire::{Reading, Stream};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The most streams that a transform may want by name.
const PLAN_STREAMS: usize = 64;

/// What a call of [`Transform::process`] gave.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Output {
    /// The readings of the batch that go on, changed or not, and the rows that the transform added or
    /// derived, in this order: the stream's own rows, then the derived ones by stream.
    pub readings: Vec<Reading>,
    /// How many readings of the batch it took out.
    pub taken_out: u64,
    /// Why its `tick` failed, where it was due and did.
    pub tick_failed: Option<Failure>,
}

/// What a call of [`Transform::apply`] did to the readings that it was given.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Applied {
    /// Rows of other streams, by stream.
    pub derived: Vec<Reading>,
    /// How many readings of the batch it took out.
    pub taken_out: u64,
    /// How many readings of the same stream it added.
    pub added: u64,
    /// Why its `tick` failed, where it was due and did. What the readings gave counts all the same.
    pub tick_failed: Option<Failure>,
}

/// All that a transform remembers, to be kept and given to another instance of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    /// What its `snapshot` returned; `None` where it keeps none.
    pub snapshot: Option<Vec<u8>>,
    /// What it stored with the host.
    pub stored: BTreeMap<String, Vec<u8>>,
    /// Its logical clock, µs since 1970 UTC.
    pub now_us: Option<i64>,
    /// When its next `tick` is due on that clock, where it has asked for ticks.
    pub next_tick_us: Option<i64>,
}

/// What a transform was at some moment, for [`Transform::back_to`].
#[derive(Clone, Debug)]
pub struct Mark {
    state: State,
    asked_for_the_time: bool,
    metrics: BTreeMap<String, f64>,
    counts: [u64; 5],
}

/// A transform in its sandbox. `Send`, one thread at a time; calls are synchronous and end within
/// [`Limits::cpu`].
///
/// Each call counts wholly or not at all. After each that succeeds, the host takes the transform's
/// `snapshot` where it said that it keeps state; a call that fails ends the instance, and the next call
/// makes a fresh one, which gets the parameters and the last snapshot. What the failing call stored with
/// the host and added to metrics is undone.
pub struct Transform {
    name: Arc<str>,
    digest: [u8; 32],
    params: BTreeMap<String, String>,
    engine: Engine,
    component: Arc<TransformPre<Host>>,
    streams: Vec<String>,
    keeps_state: bool,
    tick_every_us: i64,
    next_tick_us: Option<i64>,
    snapshot: Option<Vec<u8>>,
    running: Run,
    counters: Arc<Counters>,
}

/// The instance, or what outlived the last one.
enum Run {
    Live(Box<Instance>),
    Ended(Box<Host>),
    /// Only while one is made from the other.
    Changing,
}

impl Transform {
    /// Compiles a component (once for an engine), checks that it asks for nothing that it does not get,
    /// and starts it with its parameters. `name` is for messages and counters.
    pub fn load(
        engine: &Engine,
        bytes: &[u8],
        name: &str,
        params: BTreeMap<String, String>,
        limits: Limits,
    ) -> Result<Self, LoadError> {
        let digest: [u8; 32] = Sha256::digest(bytes).into();
        let component = engine.compile(name, digest, bytes)?;
        let counters = Arc::<Counters>::default();
        let host = Host::new(name.into(), limits, counters.clone());
        let mut transform = Self {
            name: name.into(),
            digest,
            params,
            engine: engine.clone(),
            component,
            streams: Vec::new(),
            keeps_state: false,
            tick_every_us: 0,
            next_tick_us: None,
            snapshot: None,
            running: Run::Ended(Box::new(host)),
            counters,
        };
        transform.start().map_err(|failure| LoadError::Init { name: name.into(), failure })?;
        Ok(transform)
    }

    /// The name it was loaded under.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// SHA-256 of the component's bytes; lineage takes the first 8.
    pub fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// The names of the streams that it works on; `*` stands for every derived stream.
    pub fn streams(&self) -> &[String] {
        &self.streams
    }

    /// Whether it works on the readings of a stream. Others need not be given to it: it keeps them as they
    /// are. The system's own streams are never given to a transform.
    pub fn wants(&self, stream: &Stream) -> bool {
        let derived = matches!(stream, Stream::Derived(_));
        !matches!(stream, Stream::Health | Stream::Gap)
            && self.streams.iter().any(|s| s == stream.name() || (derived && s == "*"))
    }

    /// The counters, readable from any thread.
    pub fn counters(&self) -> Arc<Counters> {
        self.counters.clone()
    }

    /// The transform's own counters, by name.
    pub fn metrics(&mut self) -> BTreeMap<String, f64> {
        self.host().metrics().clone()
    }

    /// What the last call used.
    pub fn usage(&mut self) -> Usage {
        let snapshot_bytes = self.snapshot.as_ref().map_or(0, Vec::len);
        Usage { snapshot_bytes, ..self.host().usage() }
    }

    /// Where the last call failed, innermost function first; empty where it did not.
    pub fn trace(&mut self) -> &[Frame] {
        self.host().trace()
    }

    /// What it remembers: to be stored with the position that it belongs to.
    pub fn state(&mut self) -> State {
        let (snapshot, next_tick_us) = (self.snapshot.clone(), self.next_tick_us);
        let host = self.host();
        let now_us = Some(host.now_us()).filter(|&t| t != i64::MIN);
        State { snapshot, stored: host.stored().clone(), now_us, next_tick_us }
    }

    /// Whether it remembers anything from call to call. One that keeps no state, stores nothing, wants no
    /// ticks and has never asked for the time gives the same for the same readings without
    /// [`Transform::set_state`].
    pub fn remembers(&mut self) -> bool {
        let needs_clock = self.tick_every_us > 0 || self.host().has_asked_for_the_time();
        self.keeps_state || needs_clock || !self.host().stored().is_empty()
    }

    /// Puts it back to a state. A snapshot that it does not understand is the error, and the next call
    /// starts without.
    pub fn set_state(&mut self, state: State) -> Result<(), Failure> {
        self.end();
        self.next_tick_us = state.next_tick_us;
        self.snapshot = state.snapshot;
        let host = self.host();
        host.set_stored(state.stored);
        host.restore_now(state.now_us);
        self.start().map(drop)
    }

    /// What it is now, counts included.
    pub fn mark(&mut self) -> Mark {
        let (state, counts) = (self.state(), self.counters.counts());
        let host = self.host();
        let (asked_for_the_time, metrics) = (host.has_asked_for_the_time(), host.metrics().clone());
        Mark { state, asked_for_the_time, metrics, counts }
    }

    /// Makes it what it was, as if the calls since then had never been. Fails as [`Transform::set_state`] does.
    pub fn back_to(&mut self, mark: Mark) -> Result<(), Failure> {
        let Mark { state, asked_for_the_time, metrics, counts } = mark;
        let done = self.set_state(state);
        self.counters.set_counts(counts);
        let host = self.host();
        host.set_asked_for_the_time(asked_for_the_time);
        host.set_metrics(metrics);
        done
    }

    /// Lets it work on a batch in place: what it keeps is not moved, what it takes out is removed, what it
    /// changes is replaced. All of `readings` are of `stream`. On failure nothing has changed.
    pub fn apply(&mut self, stream: &Stream, readings: &mut Vec<Reading>) -> Result<Applied, Failure> {
        self.apply_in_part(stream, readings, 1)
    }

    /// [`Transform::apply`] with its CPU limit divided by `part`: for a part of a batch that has used the
    /// whole of it up.
    pub fn apply_in_part(
        &mut self,
        stream: &Stream,
        readings: &mut Vec<Reading>,
        part: u32,
    ) -> Result<Applied, Failure> {
        if readings.is_empty() || !self.wants(stream) {
            return Ok(Applied::default());
        }
        let now_before = self.host().now_us();
        let next_tick_before = self.next_tick_us;
        match self.attempt(stream, readings, part) {
            Ok((verdict, tick_failed)) => {
                if self.host().is_swollen() {
                    self.end();
                }
                let applied = self.carry_out(verdict, readings);
                Ok(Applied { tick_failed, ..applied })
            }
            Err(failure) => {
                Counters::add(&self.counters.failures, 1);
                self.next_tick_us = next_tick_before;
                let host = self.host();
                host.undo();
                host.set_now(now_before);
                Err(failure)
            }
        }
    }

    /// [`Transform::apply`] on a copy.
    pub fn process(&mut self, stream: &Stream, readings: &[Reading]) -> Result<Output, Failure> {
        let mut readings = readings.to_vec();
        let applied = self.apply(stream, &mut readings)?;
        readings.extend(applied.derived);
        Ok(Output { readings, taken_out: applied.taken_out, tick_failed: applied.tick_failed })
    }

    fn carry_out(&mut self, verdict: Verdict, readings: &mut Vec<Reading>) -> Applied {
        let (received, taken_out, added) = (readings.len(), verdict.taken_out, verdict.added);
        let derived = verdict.carry_out(readings);
        let counters = &self.counters;
        Counters::add(&counters.received, received);
        Counters::add(&counters.taken_out, taken_out);
        Counters::add(&counters.added, added);
        Counters::add(&counters.derived, derived.len());
        Counters::add(&counters.emitted, readings.len() + derived.len());
        Applied { derived, taken_out: taken_out as u64, added: added as u64, tick_failed: None }
    }

    /// The calls for a batch. What goes wrong ends the instance.
    fn attempt(
        &mut self,
        stream: &Stream,
        readings: &[Reading],
        part: u32,
    ) -> Result<(Verdict, Option<Failure>), Failure> {
        let newest = readings.iter().map(|r| r.ts).max().unwrap_or(i64::MIN);
        let result = convert::with_batch(stream, readings, |batch| {
            let _running = self.engine.running();
            let result = self.live().and_then(|_| self.calls(stream, readings.len(), newest, part, batch));
            let mut verdict = result.inspect_err(|_| self.end())?;
            let ticked = self.tick_where_due(stream, &mut verdict);
            let failed = ticked.inspect_err(|_| {
                Counters::add(&self.counters.failures, 1);
                self.end();
                self.host().undo();
            });
            Ok((verdict, failed.err()))
        });
        result.unwrap_or_else(|| {
            let what = format!("the readings are not all of {stream}, with the same columns");
            Err(Failure::InvalidInput(what))
        })
    }

    fn calls(
        &mut self,
        stream: &Stream,
        len: usize,
        newest: i64,
        part: u32,
        batch: Batch<'_>,
    ) -> Result<Verdict, Failure> {
        let Run::Live(instance) = &mut self.running else {
            return Err(Failure::InitFailed("there is no instance".into()));
        };
        let host = instance.host();
        host.begin();
        host.advance(newest);
        let limits = host.limits().clone();
        instance.may_take(limits.cpu / part.max(1));
        let output = instance.call(|exports, store| packed::call_process(exports, store, batch))?;
        let verdict = Verdict::check(output.map_err(refusal)?, stream, len, &limits)?;
        let snapshot = snapshot(instance, self.keeps_state)?;
        // The last that can fail.
        instance.host().derives(&verdict.derived)?;
        instance.host().commit();
        self.snapshot = snapshot;
        Ok(verdict)
    }

    /// Calls `tick` where it is due after a batch, in the CPU time that the batch has left. It is none of the
    /// readings' fault where it fails: what they gave stays, and the next one is due after the usual time.
    fn tick_where_due(&mut self, stream: &Stream, verdict: &mut Verdict) -> Result<(), Failure> {
        let Run::Live(instance) = &mut self.running else { return Ok(()) };
        if self.tick_every_us == 0 {
            return Ok(());
        }
        let now_us = instance.host().now_us();
        let next = now_us.saturating_add(self.tick_every_us);
        // The clock may have been set back.
        let due = self.next_tick_us.map_or(next, |due| due.min(next));
        self.next_tick_us = Some(due);
        if now_us < due {
            return Ok(());
        }
        self.next_tick_us = Some(next);
        let rows = instance.call(|exports, store| exports.call_tick(store, now_us))?.map_err(refusal)?;
        let with_tick = verdict.with_derived(rows, stream, instance.host().limits())?;
        let snapshot = snapshot(instance, self.keeps_state)?;
        instance.host().derives(&with_tick)?;
        instance.host().commit();
        (verdict.derived, self.snapshot) = (with_tick, snapshot);
        Ok(())
    }

    /// Makes sure that there is an instance.
    fn live(&mut self) -> Result<(), Failure> {
        match &self.running {
            Run::Live(_) => Ok(()),
            _ => {
                Counters::add(&self.counters.restarts, 1);
                self.start().map_err(|e| Failure::InitFailed(e.to_string()))
            }
        }
    }

    /// A fresh instance with the parameters and the last snapshot.
    fn start(&mut self) -> Result<(), Failure> {
        let _running = self.engine.running();
        let host = match std::mem::replace(&mut self.running, Run::Changing) {
            Run::Live(instance) => instance.into_host(),
            Run::Ended(host) => *host,
            Run::Changing => return Err(Failure::InitFailed("it is being started already".into())),
        };
        let instance = match Instance::new(&self.component, host) {
            Ok(instance) => instance,
            Err(ended) => {
                let (mut host, failure) = *ended;
                host.undo();
                self.running = Run::Ended(Box::new(host));
                return Err(failure);
            }
        };
        self.running = Run::Live(Box::new(instance));
        let result = self.init();
        match result {
            Ok(()) => {
                let host = self.host();
                host.commit();
                host.started();
            }
            Err(_) => {
                self.end();
                self.host().undo();
            }
        }
        result
    }

    fn init(&mut self) -> Result<(), Failure> {
        let Run::Live(instance) = &mut self.running else { return Ok(()) };
        let limit = instance.host().limits().init_cpu;
        let params: Vec<(&str, &str)> = self.params.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        instance.may_take(limit);
        let plan = instance.call(|exports, store| exports.call_init(store, &params))?;
        let plan = plan.map_err(refusal)?;
        self.streams = wanted(plan.streams)?;
        self.keeps_state = plan.keeps_state;
        self.tick_every_us = i64::from(plan.tick_every_ms) * 1000;
        let Some(snapshot) = &self.snapshot else { return Ok(()) };
        instance.may_take(limit);
        let restored = instance.call(|exports, store| exports.call_restore(store, snapshot));
        if let Ok(Ok(())) = restored {
            return Ok(());
        }
        // It would fail for ever: start without it the next time.
        self.snapshot = None;
        restored?.map_err(|e| refusal(format!("it does not take its state back: {e}")))
    }

    /// Ends the instance; what the host holds for it stays.
    fn end(&mut self) {
        self.running = match std::mem::replace(&mut self.running, Run::Changing) {
            Run::Live(instance) => Run::Ended(Box::new(instance.into_host())),
            other => other,
        };
    }

    fn host(&mut self) -> &mut Host {
        match &mut self.running {
            Run::Live(instance) => instance.host(),
            Run::Ended(host) => host,
            Run::Changing => unreachable!("start and end leave an instance or its host's part"),
        }
    }
}

/// The streams that a plan names: each batch of each stream is held against them.
fn wanted(streams: Vec<String>) -> Result<Vec<String>, Failure> {
    if streams.len() > PLAN_STREAMS {
        let count = streams.len();
        let what =
            format!("{count} streams in its plan: name {PLAN_STREAMS} at most, or `*` for all derived ones");
        return Err(Failure::InvalidOutput(what));
    }
    let can_be = |name: &String| match name.parse() {
        Ok(Stream::Health | Stream::Gap) => false,
        parsed => parsed.is_ok() || name == "*",
    };
    match streams.iter().find(|name| !can_be(name)) {
        Some(name) => {
            let what = format!("a stream in its plan that no transform is given: {}", said(name));
            Err(Failure::InvalidOutput(what))
        }
        None => Ok(streams),
    }
}

/// What an instance remembers, where it says that it keeps something.
fn snapshot(instance: &mut Instance, keeps_state: bool) -> Result<Option<Vec<u8>>, Failure> {
    if !keeps_state {
        return Ok(None);
    }
    let snapshot = instance.call(|exports, store| exports.call_snapshot(store))?;
    let (wanted, limit) = (snapshot.len(), instance.host().limits().state_bytes);
    if wanted > limit {
        return Err(Failure::StateLimit { wanted, limit });
    }
    Ok(Some(snapshot))
}

/// An error that the guest returned.
fn refusal(text: String) -> Failure {
    match said(&text) {
        empty if empty.trim().is_empty() => Failure::GuestError("an error, without a word".into()),
        text => Failure::GuestError(text),
    }
}
