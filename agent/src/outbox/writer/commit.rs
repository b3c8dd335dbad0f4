//! What is written, and in which order.

use super::{GAPS_EVERY, JOURNAL_ROWS_MAX, MARK_EVERY, Outbox, RETRY_EVERY};
use crate::outbox::Now;
use crate::outbox::batches::{self, StreamState};
use crate::outbox::journal::{Group, LaneMark, Mark, StreamMark};
use crate::outbox::lane::{Lane, Place};
use crate::outbox::lane_log::Entry;
use crate::outbox::segment;
use milepost_wire::{Reading, Stream};
use std::io;
use std::sync::Arc;
use std::time::Duration;

impl Outbox {
    /// Makes everything durable that was accepted. The error is what [`Status::trouble`] says.
    pub(super) fn commit(&mut self, now: Now) -> Result<(), String> {
        if let Some(trouble) = self.trouble.as_ref().filter(|_| now.mono < self.retry_at) {
            return Err(trouble.clone());
        }
        if self.trouble.is_some() {
            // What the broker has can go without a mark: a cursor that points at nothing is at the
            // oldest segment that stands.
            let cursors = self.lane_marks();
            self.free(&cursors);
        }
        match self.try_commit(now) {
            Ok(()) => {
                if self.trouble.take().is_some() {
                    tracing::info!("the spool writes again");
                    self.reserve.hold();
                }
                Ok(())
            }
            Err(error) => {
                self.errors += 1;
                // Given away, the room is for the next attempt.
                self.retry_at =
                    now.mono + if self.reserve.give(&error) { Duration::ZERO } else { RETRY_EVERY };
                if self.trouble.is_none() {
                    tracing::error!(%error, "the spool cannot write");
                }
                let text = error.to_string();
                self.trouble = Some(text.clone());
                Err(text)
            }
        }
    }

    /// The order is the point: losses before what follows them, what the transforms remember together
    /// with the rows that they gave and before any of those can be sent, frames before the mark that
    /// lets go of their journal rows, the mark before the files that it makes superfluous.
    pub(super) fn try_commit(&mut self, now: Now) -> io::Result<()> {
        // The cursors first: all that was found missing before them is declared below.
        let marks = self.lane_marks();
        self.gaps.append(&mut self.queues.lock().missing);
        for i in 0..self.streams.list.len() {
            let stream = &self.streams.list[i];
            let large = stream.open.as_ref().is_some_and(|o| o.unjournalled >= JOURNAL_ROWS_MAX);
            if stream.lane != Lane::Live || large {
                self.seal(i);
            }
        }
        let mut rows = self.journal_rows();
        let mut entries = Vec::new();
        self.gap_rows(now, &mut entries);
        entries.into_iter().for_each(|e| self.lanes[Lane::Emergency as usize].push(e));
        let checkpoint = self.state_is_new;
        if checkpoint {
            self.checkpoint(std::mem::take(&mut rows))?;
        }
        self.commit_lanes(now)?;
        if checkpoint {
            self.release_journal();
        }
        let marks = self.with_ends(marks);
        let raised = self.streams.list.iter().any(|s| s.wanted != s.promise);
        let marked = marks != self.marked && now.mono >= self.mark_next;
        if !rows.is_empty() || raised || marked || self.gave_up || self.can_free(&marks) {
            self.write_journal(&marks, rows, now)?;
        }
        self.streams.list.iter_mut().for_each(|s| s.remembered = false);
        self.unsynced_since = None;
        let durable = self.marked;
        self.free(&durable);
        self.queues.notify.notify_one();
        Ok(())
    }

    /// One group with what the transforms remember and all that they gave since the last one: the rows
    /// of open batches, and the frames that wait to be written. Nothing is durable yet that a new mark
    /// could speak of, so it says what the last one said, and no file goes.
    fn checkpoint(&mut self, rows: Vec<(usize, Vec<u8>)>) -> io::Result<()> {
        let (slots, mut rows): (Vec<usize>, Vec<Vec<u8>>) = rows.into_iter().unzip();
        for stream in self.streams.list.iter().filter(|s| s.remembered) {
            let frames = self.lanes[stream.lane as usize].pending_frames(&stream.stream);
            rows.extend(frames.map(<[u8]>::to_vec));
        }
        let (marks, state) = (self.marked, self.state.clone());
        self.write_group(&marks, &slots, &rows, Some(&state))?;
        self.state_is_new = false;
        Ok(())
    }

    pub(super) fn write_journal(
        &mut self,
        marks: &[LaneMark; 3],
        rows: Vec<(usize, Vec<u8>)>,
        now: Now,
    ) -> io::Result<()> {
        let (slots, rows): (Vec<usize>, Vec<Vec<u8>>) = rows.into_iter().unzip();
        self.write_group(marks, &slots, &rows, None)?;
        self.gave_up = false;
        let mut state = self.queues.lock();
        state.given_up.retain(|g| g.is_ahead(marks[g.lane() as usize].cursor));
        self.marked_given_up = state.given_up.clone();
        drop(state);
        self.marked = *marks;
        self.mark_next = now.mono + MARK_EVERY;
        self.release_journal();
        Ok(())
    }

    fn write_group(
        &mut self,
        marks: &[LaneMark; 3],
        slots: &[usize],
        rows: &[Vec<u8>],
        state: Option<&Arc<[u8]>>,
    ) -> io::Result<()> {
        let mut mark = self.mark(marks, false);
        if state.is_some() {
            // The gap rows that declare what was given up since are not on disk yet.
            mark.given_up = self.marked_given_up.clone();
        }
        let group = Group { mark: &mark, rows, state };
        let generation = self.journal.write(&group, self.settings.journal_bytes)?;
        for &i in slots {
            let stream = &mut self.streams.list[i];
            stream.journalled = stream.next;
            if let Some(open) = &mut stream.open {
                open.unjournalled = 0;
                open.generation.get_or_insert(generation);
            }
        }
        self.streams.list.iter_mut().for_each(|s| s.promise = s.wanted);
        Ok(())
    }

    /// Lets the generations go whose rows are all in durable frames.
    fn release_journal(&mut self) {
        let living = self.streams.list.iter().filter_map(|s| s.open.as_ref()?.generation).min();
        self.journal.release(living);
    }

    /// The rows of open batches that the journal does not have, a small frame for each stream.
    pub(super) fn journal_rows(&mut self) -> Vec<(usize, Vec<u8>)> {
        let mut rows = Vec::new();
        for i in 0..self.streams.list.len() {
            let stream = &self.streams.list[i];
            let Some(open) = stream.open.as_ref().filter(|o| o.unjournalled > 0) else { continue };
            let from = stream.journalled.saturating_sub(open.batch.first_seq) as usize;
            let part = match from {
                0 => None,
                _ => batches::slice(&open.batch, from, open.batch.len()),
            };
            match milepost_wire::frame::encode(part.as_ref().unwrap_or(&open.batch)) {
                Ok(frame) => rows.push((i, frame)),
                // The batch itself has no frame then: sealing it finds the reading that is to blame.
                Err(_) => self.seal(i),
            }
        }
        rows
    }

    /// Turns the losses into rows of `gap_data`, sealed.
    pub(super) fn gap_rows(&mut self, now: Now, entries: &mut Vec<Entry>) {
        self.gaps_since = None;
        let gaps = std::mem::take(&mut self.gaps);
        if !gaps.is_empty() {
            self.gaps_next = now.mono + GAPS_EVERY;
        }
        for gaps in gaps.chunks(batches::count_max(1024)) {
            let rows: Vec<Reading> = gaps.iter().map(|g| g.reading(self.boot, now)).collect();
            let Some(i) = rows.first().and_then(|r| self.streams.slot(&r.body)) else { continue };
            let stream = &mut self.streams.list[i];
            let mut batch =
                batches::begin(&self.vehicle, self.boot, &Stream::Gap, &rows[0], stream.next, &[]);
            debug_assert!(rows.iter().all(|r| r.stream() == Stream::Gap));
            rows.iter().for_each(|r| _ = batch.push(r));
            stream.next += batch.len() as u64;
            stream.framed = stream.next;
            batches::seal(&batch, entries, &mut self.gaps);
        }
    }

    pub(super) fn commit_lanes(&mut self, now: Now) -> io::Result<()> {
        for lane in Lane::ALL {
            let log = &mut self.lanes[lane as usize];
            log.commit(self.boot, self.settings.segment_bytes, &self.queues, now.mono)?;
            let streams = self.streams.list.iter_mut().filter(|s| s.lane == lane);
            streams.for_each(|s| s.sealed = s.framed);
        }
        Ok(())
    }

    pub(super) fn lane_marks(&self) -> [LaneMark; 3] {
        let state = self.queues.lock();
        let mark = |lane: Lane| {
            let queue = &state.lanes[lane as usize];
            let end = self.lanes[lane as usize].end();
            LaneMark { cursor: queue.cursor, handed: queue.handed, end }
        };
        Lane::ALL.map(mark)
    }

    pub(super) fn with_ends(&self, mut marks: [LaneMark; 3]) -> [LaneMark; 3] {
        Lane::ALL.iter().for_each(|l| marks[*l as usize].end = self.lanes[*l as usize].end());
        marks
    }

    pub(super) fn mark(&self, lanes: &[LaneMark; 3], clean: bool) -> Mark {
        let stream = |s: &StreamState| StreamMark {
            boot: None,
            stream: s.stream.clone(),
            sealed: s.sealed,
            promise: s.wanted,
        };
        let streams = self.former.iter().cloned().chain(self.streams.list.iter().map(stream));
        let mut given_up = self.queues.lock().given_up.clone();
        given_up.retain(|g| g.is_ahead(lanes[g.lane() as usize].cursor));
        Mark { boot: self.boot, clean, lanes: *lanes, streams: streams.collect(), given_up }
    }

    /// Whether a mark with these cursors would free a segment.
    pub(super) fn can_free(&self, marks: &[LaneMark; 3]) -> bool {
        let state = self.queues.lock();
        let oldest = |lane: Lane| state.lanes[lane as usize].segments.front().map(|s| s.number);
        Lane::ALL.into_iter().any(|l| oldest(l).is_some_and(|n| n < marks[l as usize].cursor.segment))
    }

    /// Unlinks the segments before the cursors.
    pub(super) fn free(&mut self, marks: &[LaneMark; 3]) {
        for lane in Lane::ALL {
            loop {
                let oldest = self.queues.lock().lanes[lane as usize].segments.front().copied();
                let cursor = marks[lane as usize].cursor;
                let Some(oldest) = oldest.filter(|s| s.number < cursor.segment) else { break };
                if !self.unlink(lane, oldest.number) {
                    break;
                }
                let next = Place { segment: oldest.number + 1, ..Place::default() };
                self.queues.lock().lanes[lane as usize].drop_before(next);
            }
        }
    }

    pub(super) fn unlink(&mut self, lane: Lane, number: u64) -> bool {
        match self.disk.unlink(&segment::name(lane, number)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                self.errors += 1;
                tracing::warn!(%error, lane = lane.name(), number, "a segment cannot be unlinked; tried again later");
                false
            }
            _ => true,
        }
    }
}
