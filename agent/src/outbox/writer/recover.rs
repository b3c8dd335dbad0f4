//! Carries out what [`recovery`](crate::outbox::recovery) planned.

use super::{Outbox, PENDING_MAX};
use crate::outbox::Now;
use crate::outbox::disk::Disk;
use crate::outbox::journal::{Group, StreamMark};
use crate::outbox::lane::Lane;
use crate::outbox::lane_log::{Entry, LaneLog};
use crate::outbox::queue::{Queues, Segment};
use crate::outbox::recovery::{self, FoundLane, Rescue};
use crate::outbox::segment::{self, Key};
use std::io;
use std::sync::Arc;

impl Outbox {
    /// Carries the plan out, so that a crash in the middle is recovered to the same end: first a
    /// generation of the journal with all rows that are rescued and the gap rows, which makes the
    /// recovery a fact; then the segments; then a mark that says so; then the old files go.
    pub(super) fn recover(
        &mut self,
        rescues: Vec<Rescue>,
        lanes: &[FoundLane; 3],
        before: Option<u64>,
        now: Now,
    ) -> io::Result<()> {
        let mut rows: Vec<Vec<u8>> = rescues
            .iter()
            .filter_map(|r| match r {
                Rescue::Rows(_, _, bytes) => Some(bytes.clone()),
                _ => None,
            })
            .collect();
        let mut entries = Vec::new();
        self.gap_rows(now, &mut entries);
        rows.extend(entries.iter().filter_map(|e| match e {
            Entry::Frame { bytes, .. } => Some(bytes.clone()),
            Entry::Skip(_) => None,
        }));
        let mark = self.mark(&self.lane_marks(), false);
        let bytes_max = self.settings.journal_bytes;
        let group = Group { mark: &mark, rows: &rows, state: None };
        let generation = match self.journal.write(&group, bytes_max) {
            // The agent must come up on a full disk, or nothing would ever empty it.
            Err(e) if self.reserve.give(&e) => self.journal.write(&group, bytes_max)?,
            other => other?,
        };
        for rescue in rescues {
            let (key, next, bytes) = match rescue {
                Rescue::Rows(key, next, bytes) => (key, next, Some(bytes)),
                Rescue::Stray(key, next, stray) => {
                    let bytes = recovery::read(&self.disk, Lane::of(&key.1), stray);
                    (key, next, bytes)
                }
                Rescue::Skip(skip) => {
                    self.lanes[Lane::of(&skip.stream) as usize].push(Entry::Skip(skip));
                    continue;
                }
            };
            let Some(bytes) = bytes else { continue };
            self.note_former(&key, next);
            let log = &mut self.lanes[Lane::of(&key.1) as usize];
            log.push(Entry::Frame { key, next, bytes });
            if log.pending_bytes() >= PENDING_MAX {
                log.commit(self.boot, self.settings.segment_bytes, &self.queues, now.mono)?;
            }
        }
        entries.into_iter().for_each(|e| self.lanes[Lane::Emergency as usize].push(e));
        self.commit_lanes(now)?;
        for lane in lanes {
            self.cut(lane)?;
        }
        let marks = self.lane_marks();
        for given_up in &mut self.queues.lock().given_up {
            let end = marks[given_up.lane() as usize].end;
            given_up.before = (end.segment, end.offset);
        }
        let group = Group { mark: &self.mark(&marks, false), rows: &[], state: None };
        self.journal.write(&group, bytes_max)?;
        self.marked_given_up = self.queues.lock().given_up.clone();
        self.marked = marks;
        if before.is_some() {
            self.journal.release(Some(generation));
            self.disk.sync_dir()?;
        }
        self.former.clear();
        Ok(())
    }

    fn note_former(&mut self, key: &Key, next: u64) {
        let same = |m: &&mut StreamMark| m.boot == Some(key.0) && m.stream == key.1;
        match self.former.iter_mut().find(same) {
            Some(mark) => mark.sealed = mark.sealed.max(next),
            None => {
                let (boot, stream) = (Some(key.0), key.1.clone());
                self.former.push(StreamMark { boot, stream, sealed: next, promise: 0 });
            }
        }
    }

    /// Cuts what was not durable off the segments of an earlier boot; all that was whole is written
    /// again by now.
    fn cut(&self, lane: &FoundLane) -> io::Result<()> {
        for &(number, len) in &lane.cuts {
            let name = segment::name(lane.lane, number);
            if len == 0 {
                self.disk.unlink(&name)?;
            } else {
                let file = self.disk.open(&name)?;
                file.truncate(len)?;
                file.sync()?;
            }
        }
        Ok(())
    }
}

/// Makes the writer of a lane as it was found, and shows its segments to the reader.
pub(super) fn adopt(disk: &Arc<dyn Disk>, found: &FoundLane, queues: &Queues, now: Now) -> LaneLog {
    let mut state = queues.lock();
    let queue = &mut state.lanes[found.lane as usize];
    for &(number, len) in &found.segments {
        queue.segments.push_back(Segment { number, len });
        queue.bytes += len;
    }
    (queue.cursor, queue.handed) = (found.cursor, found.handed.max(found.cursor));
    queue.adopted = segment::skips(&found.expected);
    queue.adopt_end(found.end, now.mono);
    LaneLog::new(found.lane, disk.clone(), found.next_number, found.end, found.expected.clone())
}
