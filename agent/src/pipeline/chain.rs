//! The transforms in their configured order, and what leaves them.
//!
//! A reading passes every transform that wants its stream, in the order of the configuration. Rows
//! that a transform derives go on with the transforms after it, never with those before: a chain
//! cannot loop. How a reading passes one transform, which may fail, is told in `seat`.

use super::memory::Memory;
use super::seat::{Passing, Seat};
use crate::clock::Clock;
use milepost_transform_host::{Applied, Failure, Mark, State, Transform};
use milepost_wire::{Body, Digest, Reading, Stream};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

/// What becomes of a reading that makes a transform fail.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// It is kept in a file of the data folder and counted as a gap.
    #[default]
    DeadLetter,
    /// It is counted as a gap.
    Drop,
    /// It goes on unchanged, without the transform in its lineage.
    Pass,
    /// The agent stops: nothing leaves that this transform has not seen.
    Halt,
}

/// What becomes of readings while a transform is out because it failed too much.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum WhileOut {
    /// They go on unchanged, without the transform in their lineage.
    #[default]
    Pass,
    /// They are treated as if each had made it fail.
    SetAside,
}

/// What becomes of what a transform remembers when its component, parameters or limits change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OnChange {
    /// The new edition takes it over.
    #[default]
    Keep,
    /// The new edition begins without.
    Drop,
}

/// One transform as the chain sees it; the seam for tests.
pub trait Step: Send {
    /// Whether it works on a stream.
    fn wants(&self, stream: &Stream) -> bool;
    /// Works on readings of one stream in place; on failure nothing has changed. It has its CPU limit
    /// divided by `part`.
    fn apply(&mut self, stream: &Stream, readings: &mut Vec<Reading>, part: u32) -> Result<Applied, Failure>;
    /// All that it remembers; `None` where that is nothing.
    fn state(&mut self) -> Option<State> {
        None
    }
    /// Has it remember this instead.
    fn set_state(&mut self, _: State) -> Result<(), Failure> {
        Ok(())
    }
    /// What it is now, to go back to; `None` where every call finds it the same.
    fn mark(&mut self) -> Option<Mark> {
        None
    }
    /// As if what was called since a mark had not been.
    fn back_to(&mut self, _: Mark) -> Result<(), Failure> {
        Ok(())
    }
    /// Says what it counts itself, and what was left out of what it said.
    fn tell(&mut self, _: &LinkCounters) {}
}

impl Step for Transform {
    fn wants(&self, stream: &Stream) -> bool {
        Transform::wants(self, stream)
    }
    fn apply(&mut self, stream: &Stream, readings: &mut Vec<Reading>, part: u32) -> Result<Applied, Failure> {
        self.apply_in_part(stream, readings, part)
    }
    fn state(&mut self) -> Option<State> {
        self.remembers().then(|| Transform::state(self))
    }
    fn set_state(&mut self, state: State) -> Result<(), Failure> {
        Transform::set_state(self, state)
    }
    fn mark(&mut self) -> Option<Mark> {
        Some(Transform::mark(self))
    }
    fn back_to(&mut self, mark: Mark) -> Result<(), Failure> {
        Transform::back_to(self, mark)
    }
    fn tell(&mut self, counters: &LinkCounters) {
        *counters.own.lock().unwrap_or_else(PoisonError::into_inner) = self.metrics();
        let left_out = self.counters();
        counters.log_dropped.store(left_out.log_dropped.load(Relaxed), Relaxed);
        counters.metrics_dropped.store(left_out.metrics_dropped.load(Relaxed), Relaxed);
    }
}

/// Counts of one transform since the boot, for `agent_health`:
/// `received + extra = emitted + taken_out + poison`.
#[derive(Debug, Default)]
pub struct LinkCounters {
    /// Readings given to it.
    pub received: AtomicU64,
    /// Readings that went on, with those that it added or derived.
    pub emitted: AtomicU64,
    /// Readings that it took out on purpose.
    pub taken_out: AtomicU64,
    /// Readings that made it fail and do not go on.
    pub poison: AtomicU64,
    /// Rows that it added or derived.
    pub extra: AtomicU64,
    /// Calls that failed.
    pub errors: AtomicU64,
    /// How often it was taken out because it failed too much.
    pub outages: AtomicU64,
    /// Bytes of its log text that were over the limits, since it was loaded.
    pub log_dropped: AtomicU64,
    /// Metrics of its own that were not kept, since it was loaded.
    pub metrics_dropped: AtomicU64,
    /// What it counts itself, by name, since it was loaded.
    pub own: Mutex<BTreeMap<String, f64>>,
}

/// A transform and how the agent uses it.
pub struct Link {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// SHA-256 of its component.
    pub digest: [u8; 32],
    /// Stands for all that makes it what it is: component, parameters and limits.
    pub edition: [u8; 32],
    /// What becomes of what it remembers where its edition changes.
    pub state: OnChange,
    /// The streams it is given; `None`: those that it says it wants.
    pub only: Option<Vec<Stream>>,
    /// What becomes of poison.
    pub on_failure: OnFailure,
    /// What becomes of readings while it is out.
    pub while_out: WhileOut,
    /// The transform.
    pub step: Box<dyn Step>,
    /// Its counts.
    pub counters: Arc<LinkCounters>,
}

impl Link {
    fn takes(&self, stream: &Stream) -> bool {
        // The agent's own reports are for the operator and pass nobody.
        !matches!(stream, Stream::Health | Stream::Gap)
            && self.only.as_ref().is_none_or(|only| only.contains(stream))
            && self.step.wants(stream)
    }

    fn lineage(&self) -> Digest {
        let mut short = [0; 8];
        short.copy_from_slice(&self.digest[..8]);
        Digest(short)
    }
}

/// Where the chain leaves what comes out.
pub trait Outlet {
    /// Readings of one stream, in order, and the transforms they passed.
    fn emit(&mut self, stream: &Stream, readings: Vec<Reading>, lineage: &[Digest]);
    /// A reading that made `transform` fail and does not go on.
    fn poison(&mut self, transform: &Arc<str>, reading: Reading, failure: &Failure, keep: bool);
}

/// A transform whose policy is [`OnFailure::Halt`] failed.
#[derive(Debug, thiserror::Error)]
#[error("Transform {transform} failed on a reading of {stream}, and its policy is to halt: {failure}")]
pub struct Halted {
    /// The transform.
    pub transform: Arc<str>,
    /// The reading's stream.
    pub stream: Stream,
    /// What happened.
    pub failure: Failure,
}

/// A new edition of a transform does not take over what the old one remembers.
#[derive(Debug, thiserror::Error)]
#[error(
    "The new transform {transform} does not take over what the old one remembers: {failure}. \
     Set `state = \"drop\"` for it to begin without"
)]
pub struct NotTaken {
    /// The transform.
    pub transform: Arc<str>,
    /// What happened.
    pub failure: Failure,
}

/// All transforms, in order.
pub struct Chain {
    links: Vec<Seat>,
    /// What they remember after all that they were given.
    memory: Memory,
    clock: Arc<dyn Clock>,
}

impl Chain {
    /// A chain of these transforms, which remember what `memory` says, by their names: what
    /// [`Chain::memory`] gave in an earlier boot. A transform that does not take its part back, or is not
    /// to, begins without, and the log says so. The clock is for the time that failing calls take.
    pub fn new(links: Vec<Link>, memory: &[u8], clock: Arc<dyn Clock>) -> Self {
        let mut known = Memory::read(memory);
        let mut memory = Memory::default();
        let count = links.len();
        let seat = |mut link: Link| {
            if let Some((edition, state)) = known.take(&link.name) {
                link.take_over(edition, state);
            }
            memory.set(&link.name, link.edition, link.step.state());
            Seat::new(link, count)
        };
        let links = links.into_iter().map(seat).collect();
        Self { links, memory, clock }
    }

    /// Puts other transforms in the place of these, from the next reading on. One whose name is known
    /// goes on counting, and takes over what the old one remembers, unless it is not to; one that is the
    /// same edition goes on as it is. On an error nothing has changed.
    pub fn replace(&mut self, mut links: Vec<Link>) -> Result<(), NotTaken> {
        for link in &mut links {
            let known = self.links.iter_mut().find(|seat| seat.link.name == link.name);
            let Some(old) = known.filter(|old| old.link.edition != link.edition) else { continue };
            if link.state == OnChange::Keep
                && let Some(state) = old.link.step.state()
            {
                let refused = |failure| NotTaken { transform: link.name.clone(), failure };
                link.step.set_state(state).map_err(refused)?;
            }
        }
        let (count, mut before) = (links.len(), std::mem::take(&mut self.links));
        for link in links {
            let known = before.iter().position(|seat| seat.link.name == link.name);
            let mut seat = match known.map(|i| before.swap_remove(i)) {
                Some(old) => old.replaced_by(link, count),
                None => Seat::new(link, count),
            };
            self.memory.set(&seat.link.name, seat.link.edition, seat.link.step.state());
            self.links.push(seat);
        }
        for gone in before {
            self.memory.set(&gone.link.name, gone.link.edition, None);
        }
        Ok(())
    }

    /// The transforms.
    pub fn links(&self) -> impl Iterator<Item = &Link> {
        self.links.iter().map(|seat| &seat.link)
    }

    /// Has the transforms say what they count themselves.
    pub fn tell(&mut self) {
        self.links.iter_mut().for_each(|seat| seat.link.step.tell(&seat.link.counters));
    }

    /// What the transforms remember, as bytes; empty where that is nothing.
    pub fn memory(&mut self) -> Arc<[u8]> {
        self.memory.bytes()
    }

    /// Sends readings of one stream through the chain.
    pub fn run(
        &mut self,
        stream: &Stream,
        readings: Vec<Reading>,
        outlet: &mut dyn Outlet,
    ) -> Result<(), Halted> {
        self.run_from(0, stream, readings, &mut Vec::new(), outlet)
    }

    fn run_from(
        &mut self,
        first: usize,
        stream: &Stream,
        readings: Vec<Reading>,
        lineage: &mut Vec<Digest>,
        outlet: &mut dyn Outlet,
    ) -> Result<(), Halted> {
        if readings.is_empty() {
            return Ok(());
        }
        let Some(at) = (first..self.links.len()).find(|i| self.links[*i].link.takes(stream)) else {
            outlet.emit(stream, readings, lineage);
            return Ok(());
        };
        let seat = &mut self.links[at];
        let mut passing = Passing::new(stream, &*self.clock, outlet);
        let passed = seat.pass(readings, &mut passing);
        let (segments, derived) = passing.into_parts();
        self.memory.set(&seat.link.name, seat.link.edition, seat.link.step.state());
        passed?;
        let digest = seat.link.lineage();
        for segment in segments {
            if segment.seen {
                lineage.push(digest);
            }
            self.run_from(at + 1, stream, segment.readings, lineage, outlet)?;
            if segment.seen {
                lineage.pop();
            }
        }
        lineage.push(digest);
        for (stream, readings) in by_stream(derived) {
            self.run_from(at + 1, &stream, readings, lineage, outlet)?;
        }
        lineage.pop();
        Ok(())
    }
}

impl Link {
    /// Takes back what an edition of it remembered in an earlier boot.
    fn take_over(&mut self, edition: [u8; 32], state: State) {
        if self.state == OnChange::Drop && edition != self.edition {
            tracing::info!(transform = %self.name, "It has changed, and begins without what it remembered");
        } else if let Err(failure) = self.step.set_state(state) {
            tracing::error!(transform = %self.name, %failure, "It begins without what it remembered");
        }
    }

    pub(super) fn note(&self, kept: &[Reading], applied: &Applied) {
        let extra = applied.derived.len() as u64 + applied.added;
        self.counters.emitted.fetch_add((kept.len() + applied.derived.len()) as u64, Relaxed);
        self.counters.taken_out.fetch_add(applied.taken_out, Relaxed);
        self.counters.extra.fetch_add(extra, Relaxed);
    }
}

/// Splits readings by stream; within a stream their order stays. Built-in streams first.
pub fn by_stream(readings: Vec<Reading>) -> impl Iterator<Item = (Stream, Vec<Reading>)> {
    let mut built_in: [Vec<Reading>; Stream::BUILT_IN.len()] = Default::default();
    let mut derived: BTreeMap<Stream, Vec<Reading>> = BTreeMap::new();
    for reading in readings {
        let slot = match &reading.body {
            Body::Vehicle(_) => &mut built_in[0],
            Body::Gps(_) => &mut built_in[1],
            Body::Camera(_) => &mut built_in[2],
            Body::Weather(_) => &mut built_in[3],
            Body::Emergency(_) => &mut built_in[4],
            Body::Health(_) => &mut built_in[5],
            Body::Gap(_) => &mut built_in[6],
            Body::Derived(_) => derived.entry(reading.stream()).or_default(),
        };
        slot.push(reading);
    }
    Stream::BUILT_IN.into_iter().zip(built_in).filter(|(_, r)| !r.is_empty()).chain(derived)
}

#[cfg(test)]
mod tests;
