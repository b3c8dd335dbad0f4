//! One transform of the chain, and what becomes of a reading that makes it fail.
//!
//! When a call fails the batch is halved until the poison reading is alone; the others go on as if it had
//! not been there. While the transform is out because that costs too much, readings go past it.

use super::breaker::{Breaker, Leave};
use super::chain::{Halted, Link, OnFailure, Outlet, WhileOut};
use crate::clock::Clock;
use milepost_transform_host::Failure;
use milepost_wire::{Reading, Stream};
use std::sync::atomic::Ordering::Relaxed;

/// Where a batch has used up its CPU time its parts get only so much of it each, until a reading is alone:
/// the one that makes a transform loop is found in two or three times the limit, not in ten times.
const PART: u32 = 8;

/// A transform in the chain.
pub(super) struct Seat {
    pub(super) link: Link,
    breaker: Breaker,
    /// Why it failed last.
    failure: Option<Failure>,
}

/// Readings that stayed together through a transform, and whether it saw them.
pub(super) struct Segment {
    pub(super) readings: Vec<Reading>,
    pub(super) seen: bool,
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
        match self.segments.last_mut() {
            Some(last) if last.seen == seen => last.readings.extend(readings),
            _ => self.segments.push(Segment { readings, seen }),
        }
    }
}

impl Seat {
    /// A seat in a chain of so many transforms.
    pub(super) fn new(link: Link, transforms: usize) -> Self {
        Self { link, breaker: Breaker::one_of(transforms), failure: None }
    }

    /// The seat after its transform was replaced by one of the same name.
    pub(super) fn replaced_by(mut self, mut link: Link, transforms: usize) -> Self {
        link.counters = self.link.counters.clone();
        if link.edition != self.link.edition {
            return Self::new(link, transforms);
        }
        std::mem::swap(&mut link.step, &mut self.link.step);
        Self { link, breaker: self.breaker, failure: self.failure }
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
            self.call(readings, 1, passing)?;
            readings = rest;
        }
        self.pass_part(readings, 1, passing)
    }

    fn pass_part(
        &mut self,
        readings: Vec<Reading>,
        part: u32,
        passing: &mut Passing<'_>,
    ) -> Result<(), Halted> {
        if readings.is_empty() {
            return Ok(());
        }
        match self.breaker.leave(passing.clock.mono()) {
            Leave::Call => self.call(readings, part, passing),
            Leave::Try | Leave::Stay => {
                self.go_past(readings, passing);
                Ok(())
            }
        }
    }

    /// Calls the transform; halves the batch where it fails.
    fn call(
        &mut self,
        mut readings: Vec<Reading>,
        part: u32,
        passing: &mut Passing<'_>,
    ) -> Result<(), Halted> {
        let from = passing.clock.mono();
        let failure = match self.link.step.apply(passing.stream, &mut readings, part) {
            Ok(applied) => {
                if self.breaker.worked(from) {
                    tracing::info!(transform = %self.link.name, "It works again and is back");
                }
                self.link.note(&readings, &applied);
                passing.derived.extend(applied.derived);
                passing.go_on(readings, true);
                return Ok(());
            }
            Err(failure) => failure,
        };
        self.count(&failure, from, passing.clock.mono());
        let slow = matches!(failure, Failure::CpuLimit { .. });
        self.failure = Some(failure.clone());
        if readings.len() > 1 {
            let rest = readings.split_off(readings.len() / 2);
            let part = if slow { PART } else { part };
            self.pass_part(readings, part, passing)?;
            return self.pass_part(rest, part, passing);
        }
        if slow && part > 1 {
            return self.pass_part(readings, 1, passing);
        }
        if self.link.on_failure == OnFailure::Halt {
            let (transform, stream) = (self.link.name.clone(), passing.stream.clone());
            return Err(Halted { transform, stream, failure });
        }
        self.set_aside(readings, passing);
        Ok(())
    }

    fn count(&mut self, failure: &Failure, from: std::time::Duration, now: std::time::Duration) {
        let link = &self.link;
        link.counters.errors.fetch_add(1, Relaxed);
        if link.on_failure == OnFailure::Halt {
            // The agent ends with the reading that is to blame, whatever it takes to find that.
            return;
        }
        let Some(wait) = self.breaker.failed(now, now.saturating_sub(from)) else { return };
        link.counters.outages.fetch_add(1, Relaxed);
        let (transform, while_out) = (&link.name, link.while_out);
        tracing::error!(%transform, %failure, ?wait, ?while_out, "It fails too much and is taken out for a while");
    }

    /// Readings that the transform is not asked about, because it is out.
    fn go_past(&mut self, readings: Vec<Reading>, passing: &mut Passing<'_>) {
        match self.link.while_out {
            WhileOut::Pass => self.let_pass(readings, passing),
            WhileOut::SetAside => self.set_aside(readings, passing),
        }
    }

    fn let_pass(&mut self, readings: Vec<Reading>, passing: &mut Passing<'_>) {
        self.link.counters.emitted.fetch_add(readings.len() as u64, Relaxed);
        passing.go_on(readings, false);
    }

    /// Readings that made it fail, or are treated so.
    fn set_aside(&mut self, readings: Vec<Reading>, passing: &mut Passing<'_>) {
        let failure = match &self.failure {
            Some(failure) if self.link.on_failure != OnFailure::Pass => failure,
            _ => return self.let_pass(readings, passing),
        };
        let link = &self.link;
        link.counters.poison.fetch_add(readings.len() as u64, Relaxed);
        let keep = link.on_failure == OnFailure::DeadLetter;
        for reading in readings {
            passing.outlet.poison(&link.name, reading, failure, keep);
        }
    }
}
