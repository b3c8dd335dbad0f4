//! The transforms in their configured order, and what becomes of a reading that makes one fail.
//!
//! A reading passes every transform that wants its stream, in the order of the configuration. Rows
//! that a transform derives go on with the transforms after it, never with those before: a chain
//! cannot loop. When a call fails the batch is halved until the poison reading is alone; the others
//! go on as if it had not been there.

use milepost_transform_host::{Applied, Failure, Transform};
use milepost_wire::{Body, Digest, Reading, Stream};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

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

/// One transform as the chain sees it; the seam for tests.
pub trait Step: Send {
    /// Whether it works on a stream.
    fn wants(&self, stream: &Stream) -> bool;
    /// Works on readings of one stream in place; on failure nothing has changed.
    fn apply(&mut self, stream: &Stream, readings: &mut Vec<Reading>) -> Result<Applied, Failure>;
}

impl Step for Transform {
    fn wants(&self, stream: &Stream) -> bool {
        Transform::wants(self, stream)
    }
    fn apply(&mut self, stream: &Stream, readings: &mut Vec<Reading>) -> Result<Applied, Failure> {
        Transform::apply(self, stream, readings)
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
}

/// A transform and how the agent uses it.
pub struct Link {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// SHA-256 of its component.
    pub digest: [u8; 32],
    /// The streams it is given; `None`: those that it says it wants.
    pub only: Option<Vec<Stream>>,
    /// What becomes of poison.
    pub on_failure: OnFailure,
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

/// All transforms, in order.
#[derive(Default)]
pub struct Chain {
    /// The transforms.
    pub links: Vec<Link>,
}

/// Readings that stayed together through a transform, and whether it saw them.
struct Segment {
    readings: Vec<Reading>,
    seen: bool,
}

impl Chain {
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
        let Some(at) = (first..self.links.len()).find(|i| self.links[*i].takes(stream)) else {
            outlet.emit(stream, readings, lineage);
            return Ok(());
        };
        let link = &mut self.links[at];
        let (mut segments, mut derived) = (Vec::new(), Vec::new());
        link.counters.received.fetch_add(readings.len() as u64, Relaxed);
        link.call(stream, readings, &mut segments, &mut derived, outlet)?;
        let digest = link.lineage();
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
    /// Calls the transform; halves the batch where it fails.
    fn call(
        &mut self,
        stream: &Stream,
        mut readings: Vec<Reading>,
        segments: &mut Vec<Segment>,
        derived: &mut Vec<Reading>,
        outlet: &mut dyn Outlet,
    ) -> Result<(), Halted> {
        let failure = match self.step.apply(stream, &mut readings) {
            Ok(applied) => {
                self.note(&readings, &applied);
                derived.extend(applied.derived);
                push(segments, readings, true);
                return Ok(());
            }
            Err(failure) => failure,
        };
        self.counters.errors.fetch_add(1, Relaxed);
        if readings.len() > 1 {
            let rest = readings.split_off(readings.len() / 2);
            self.call(stream, readings, segments, derived, outlet)?;
            return self.call(stream, rest, segments, derived, outlet);
        }
        match self.on_failure {
            OnFailure::Halt => {
                return Err(Halted { transform: self.name.clone(), stream: stream.clone(), failure });
            }
            OnFailure::Pass => {
                self.counters.emitted.fetch_add(1, Relaxed);
                push(segments, readings, false);
            }
            policy @ (OnFailure::DeadLetter | OnFailure::Drop) => {
                self.counters.poison.fetch_add(readings.len() as u64, Relaxed);
                for reading in readings {
                    outlet.poison(&self.name, reading, &failure, policy == OnFailure::DeadLetter);
                }
            }
        }
        Ok(())
    }

    fn note(&self, kept: &[Reading], applied: &Applied) {
        let extra = applied.derived.len() as u64 + applied.added;
        self.counters.emitted.fetch_add((kept.len() + applied.derived.len()) as u64, Relaxed);
        self.counters.taken_out.fetch_add(applied.taken_out, Relaxed);
        self.counters.extra.fetch_add(extra, Relaxed);
    }
}

/// Appends to the last segment where it was treated alike.
fn push(segments: &mut Vec<Segment>, readings: Vec<Reading>, seen: bool) {
    match segments.last_mut() {
        Some(last) if last.seen == seen => last.readings.extend(readings),
        _ => segments.push(Segment { readings, seen }),
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
