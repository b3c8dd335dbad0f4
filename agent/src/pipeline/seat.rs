//! One transform of the chain, and what becomes of a reading that makes it fail.
//!
//! When a call fails the batch is halved until the poison reading is alone; the others are then given to the
//! transform together, from where it was before, as if the poison had never come. While the transform is out
//! because that costs too much, readings go past it.

use super::breaker::{Breaker, Leave};
use super::chain::{Halted, Link, OnFailure, Outlet, WhileOut};
use crate::clock::Clock;
use crate::outbox::weight;
use milepost_transform_host::{Applied, Failure, Mark};
use milepost_wire::{Reading, Stream};
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// Where a batch has used up its CPU time its parts get only so much of it each, until a reading is alone:
/// the one that makes a transform loop is found in two or three times the limit, not in ten times.
const PART: u32 = 8;
/// The parts of a batch together give about so many bytes, and what one call may give beside: they are all in
/// memory until the last of them is through.
const PARTS_BYTES: usize = 32 << 20;

/// A transform in the chain.
pub(super) struct Seat {
    pub(super) link: Link,
    breaker: Breaker,
    /// Why it failed last.
    failure: Option<Failure>,
    /// The last call failed, so that the next one starts an instance first.
    ended: bool,
    /// Bytes that the parts of the batch have given so far.
    given: usize,
    /// The log has that its `tick` fails.
    tick_told: bool,
    /// Why its `tick` failed, where that halts the agent.
    halts: Option<Failure>,
}

/// Readings that stayed together through a transform, and whether it saw them.
pub(super) struct Segment {
    pub(super) readings: Vec<Reading>,
    pub(super) seen: bool,
}

/// What became of a part of a batch that failed as a whole.
enum Part {
    Through(Vec<Reading>, Applied),
    Past(Vec<Reading>),
    /// The number of the reading in the batch; itself, and why.
    Poison(usize, Box<(Reading, Failure)>),
}

impl Part {
    fn poison(&self) -> Option<usize> {
        match self {
            Part::Poison(index, ..) => Some(*index),
            _ => None,
        }
    }
}

/// What a call gave, with the poison where its event time puts it: by `on_failure` it may pass, too.
fn in_order(
    mut through: Vec<Reading>,
    mut applied: Applied,
    poison: impl Iterator<Item = Part>,
) -> Vec<Part> {
    let mut parts = Vec::new();
    for part in poison {
        if let Part::Poison(_, poison) = &part {
            let later = through.iter().position(|r| r.ts > poison.0.ts).unwrap_or(through.len());
            let rest = through.split_off(later);
            parts.push(Part::Through(std::mem::replace(&mut through, rest), std::mem::take(&mut applied)));
        }
        parts.push(part);
    }
    parts.push(Part::Through(through, applied));
    parts
}

/// Readings of one stream on their way through one transform.
pub(super) struct Passing<'a> {
    stream: &'a Stream,
    clock: &'a dyn Clock,
    outlet: &'a mut dyn Outlet,
    segments: Vec<Segment>,
    derived: Vec<Reading>,
}

impl<'a> Passing<'a> {
    pub(super) fn new(stream: &'a Stream, clock: &'a dyn Clock, outlet: &'a mut dyn Outlet) -> Self {
        Self { stream, clock, outlet, segments: Vec::new(), derived: Vec::new() }
    }

    /// What goes on: the readings, and the rows that were derived from them.
    pub(super) fn into_parts(self) -> (Vec<Segment>, Vec<Reading>) {
        (self.segments, self.derived)
    }

    /// Readings go on; together with those before where they were treated alike.
    fn go_on(&mut self, readings: Vec<Reading>, seen: bool) {
        if readings.is_empty() {
            return;
        }
        match self.segments.last_mut() {
            Some(last) if last.seen == seen => last.readings.extend(readings),
            _ => self.segments.push(Segment { readings, seen }),
        }
    }
}

impl Seat {
    /// A seat in a chain of so many transforms.
    pub(super) fn new(link: Link, transforms: usize) -> Self {
        Self {
            link,
            breaker: Breaker::one_of(transforms),
            failure: None,
            ended: false,
            given: 0,
            tick_told: false,
            halts: None,
        }
    }

    /// The seat after its transform was replaced by one of the same name.
    pub(super) fn replaced_by(mut self, mut link: Link, transforms: usize) -> Self {
        link.counters = self.link.counters.clone();
        if link.edition != self.link.edition {
            return Self::new(link, transforms);
        }
        std::mem::swap(&mut link.step, &mut self.link.step);
        Self { link, ..self }
    }

    /// Sends readings through the transform, or past it while it is out.
    pub(super) fn pass(
        &mut self,
        mut readings: Vec<Reading>,
        passing: &mut Passing<'_>,
    ) -> Result<(), Halted> {
        self.link.counters.received.fetch_add(readings.len() as u64, Relaxed);
        if self.breaker.leave(passing.clock.mono()) == Leave::Try {
            let rest = readings.split_off(1);
            self.call(readings, passing)?;
            readings = rest;
        }
        if readings.is_empty() {
            return Ok(());
        }
        match self.breaker.leave(passing.clock.mono()) {
            Leave::Call => self.call(readings, passing),
            Leave::Try | Leave::Stay => {
                self.go_past(readings, passing);
                Ok(())
            }
        }
    }

    /// Calls the transform; halts the agent where its policy is that.
    fn call(&mut self, readings: Vec<Reading>, passing: &mut Passing<'_>) -> Result<(), Halted> {
        self.call_and_search(readings, passing)?;
        match self.halts.take() {
            Some(failure) => Err(self.halted(failure, passing)),
            None => Ok(()),
        }
    }

    fn halted(&self, failure: Failure, passing: &Passing<'_>) -> Halted {
        Halted { transform: self.link.name.clone(), stream: passing.stream.clone(), failure }
    }

    /// Calls the transform; where it fails, finds the readings that are to blame and leaves them out.
    fn call_and_search(
        &mut self,
        mut readings: Vec<Reading>,
        passing: &mut Passing<'_>,
    ) -> Result<(), Halted> {
        let failure = match self.apply(&mut readings, 1, passing) {
            Ok(applied) => {
                self.go_through(readings, applied, passing);
                return Ok(());
            }
            Err(failure) => failure,
        };
        self.given = 0;
        let before = self.link.step.mark();
        let all = readings.clone();
        let mut parts = Vec::new();
        self.search(0, readings, (failure, 1), &mut parts, passing)?;
        self.without_poison(all, before, &mut parts, passing);
        for part in parts {
            match part {
                Part::Through(readings, applied) => self.go_through(readings, applied, passing),
                Part::Past(readings) => self.go_past(readings, passing),
                Part::Poison(_, poison) => {
                    let (reading, failure) = *poison;
                    self.set_aside(vec![reading], &failure, passing);
                }
            }
        }
        Ok(())
    }

    /// Halves readings that the transform failed on until the one that does it is alone. `first` is the number
    /// of the first of them; `failed` says why, and with what part of its CPU time.
    fn search(
        &mut self,
        first: usize,
        mut readings: Vec<Reading>,
        (failure, part): (Failure, u32),
        parts: &mut Vec<Part>,
        passing: &Passing<'_>,
    ) -> Result<(), Halted> {
        let slow = matches!(failure, Failure::CpuLimit { .. });
        if readings.len() > 1 {
            let rest = readings.split_off(readings.len() / 2);
            let (middle, part) = (first + readings.len(), if slow { PART } else { part });
            self.search_in(first, readings, part, parts, passing)?;
            return self.search_in(middle, rest, part, parts, passing);
        }
        if slow && part > 1 {
            return self.search_in(first, readings, 1, parts, passing);
        }
        if self.link.on_failure == OnFailure::Halt {
            return Err(self.halted(failure, passing));
        }
        parts.extend(readings.pop().map(|reading| Part::Poison(first, Box::new((reading, failure)))));
        Ok(())
    }

    fn search_in(
        &mut self,
        first: usize,
        mut readings: Vec<Reading>,
        part: u32,
        parts: &mut Vec<Part>,
        passing: &Passing<'_>,
    ) -> Result<(), Halted> {
        if self.given > PARTS_BYTES || self.breaker.leave(passing.clock.mono()) != Leave::Call {
            parts.push(Part::Past(readings));
            return Ok(());
        }
        match self.apply(&mut readings, part, passing) {
            Ok(applied) => {
                self.given += readings.iter().chain(&applied.derived).map(|r| weight(&r.body)).sum::<usize>();
                parts.push(Part::Through(readings, applied));
            }
            Err(failure) => self.search(first, readings, (failure, part), parts, passing)?,
        }
        Ok(())
    }

    /// Has the transform work on the batch once more without the poison that was found, in one call and from
    /// where it was before: as if the poison had never come. Where that cannot be, what the parts gave stays.
    fn without_poison(
        &mut self,
        all: Vec<Reading>,
        before: Option<Mark>,
        parts: &mut Vec<Part>,
        passing: &Passing<'_>,
    ) {
        let went_past = parts.iter().any(|part| matches!(part, Part::Past(_)));
        let poison: Vec<usize> = parts.iter().filter_map(Part::poison).collect();
        if went_past || poison.is_empty() || poison.len() == all.len() {
            return;
        }
        let good = all.into_iter().enumerate().filter(|(i, _)| poison.binary_search(i).is_err());
        let mut good: Vec<Reading> = good.map(|(_, reading)| reading).collect();
        let after = self.link.step.mark();
        let back = before.map_or(Ok(()), |before| self.back_to(before, passing));
        match back.and_then(|()| self.apply(&mut good, 1, passing)) {
            Ok(applied) => {
                let poison = std::mem::take(parts).into_iter().filter(|part| part.poison().is_some());
                *parts = in_order(good, applied, poison);
            }
            Err(_) => {
                if let Some(Err(failure)) = after.map(|after| self.back_to(after, passing)) {
                    tracing::error!(transform = %self.link.name, %failure, "It goes on without what it remembered");
                }
            }
        }
    }

    /// Puts the transform back to what it was, which costs it the start of an instance.
    fn back_to(&mut self, mark: Mark, passing: &Passing<'_>) -> Result<(), Failure> {
        let from = passing.clock.mono();
        let done = self.link.step.back_to(mark);
        self.ended = done.is_err();
        self.charge(from, passing.clock.mono());
        done
    }

    /// One call.
    fn apply(
        &mut self,
        readings: &mut Vec<Reading>,
        part: u32,
        passing: &Passing<'_>,
    ) -> Result<Applied, Failure> {
        let from = passing.clock.mono();
        let applied = self.link.step.apply(passing.stream, readings, part);
        let failed = applied.as_ref().map_or_else(Some, |applied| applied.tick_failed.as_ref());
        let started = std::mem::replace(&mut self.ended, failed.is_some());
        match &applied {
            Ok(Applied { tick_failed: Some(failure), .. }) => {
                if !std::mem::replace(&mut self.tick_told, true) {
                    tracing::warn!(transform = %self.link.name, %failure, "Its tick fails; what readings give counts");
                }
                self.halts = Some(failure.clone()).filter(|_| self.link.on_failure == OnFailure::Halt);
                self.count(failure.clone(), from, passing);
            }
            Ok(_) => {
                if self.breaker.worked(from) {
                    tracing::info!(transform = %self.link.name, "It works again and is back");
                } else if started {
                    // The failure before cost that, too.
                    self.charge(from, passing.clock.mono());
                }
            }
            Err(failure) => self.count(failure.clone(), from, passing),
        }
        applied
    }

    /// A call failed.
    fn count(&mut self, failure: Failure, from: Duration, passing: &Passing<'_>) {
        self.link.counters.errors.fetch_add(1, Relaxed);
        self.failure = Some(failure);
        self.charge(from, passing.clock.mono());
    }

    /// Time that a failure cost; takes the transform out where that is too much.
    fn charge(&mut self, from: Duration, now: Duration) {
        let link = &self.link;
        if link.on_failure == OnFailure::Halt {
            // The agent ends with the reading that is to blame, whatever it takes to find that.
            return;
        }
        let Some(wait) = self.breaker.failed(now, now.saturating_sub(from)) else { return };
        link.counters.outages.fetch_add(1, Relaxed);
        let (transform, while_out) = (&link.name, link.while_out);
        let failure = self.failure.as_ref().map(tracing::field::display);
        tracing::error!(%transform, failure, ?wait, ?while_out, "It fails too much and is taken out for a while");
    }

    /// What a call gave.
    fn go_through(&self, readings: Vec<Reading>, applied: Applied, passing: &mut Passing<'_>) {
        self.link.note(&readings, &applied);
        passing.derived.extend(applied.derived);
        passing.go_on(readings, true);
    }

    /// Readings that the transform is not asked about, because it is out.
    fn go_past(&self, readings: Vec<Reading>, passing: &mut Passing<'_>) {
        match (&self.failure, self.link.while_out) {
            (Some(failure), WhileOut::SetAside) => self.set_aside(readings, failure, passing),
            _ => self.let_pass(readings, passing),
        }
    }

    fn let_pass(&self, readings: Vec<Reading>, passing: &mut Passing<'_>) {
        self.link.counters.emitted.fetch_add(readings.len() as u64, Relaxed);
        passing.go_on(readings, false);
    }

    /// Readings that made it fail, or are treated so.
    fn set_aside(&self, readings: Vec<Reading>, failure: &Failure, passing: &mut Passing<'_>) {
        let link = &self.link;
        if link.on_failure == OnFailure::Pass {
            return self.let_pass(readings, passing);
        }
        link.counters.poison.fetch_add(readings.len() as u64, Relaxed);
        let keep = link.on_failure == OnFailure::DeadLetter;
        for reading in readings {
            passing.outlet.poison(&link.name, reading, failure, keep);
        }
    }
}
