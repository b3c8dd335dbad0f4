//! Rows that left the transforms together, and what the transforms remember after them: on disk both or
//! neither.

use super::{Outbox, PENDING_MAX};
use crate::outbox::lane::Lane;
use crate::outbox::lane_log::LaneLog;
use crate::outbox::recovery;
use crate::outbox::{Now, Refused};
use milepost_wire::{Digest, Reading};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Readings of one stream, in order, and the transforms that they passed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Piece {
    /// The readings.
    pub readings: Vec<Reading>,
    /// The transforms.
    pub lineage: Vec<Digest>,
}

impl Outbox {
    /// What the transforms remembered after the last row that is on disk; empty where they never said.
    /// It is what [`accept_together`](Self::accept_together) was given.
    pub fn state(&self) -> &Arc<[u8]> {
        &self.state
    }

    /// Numbers rows and keeps them, with what the transforms remember after them: all or none. On `Ok`
    /// they are on disk together within the loss window, at once where a row is of the emergency lane,
    /// and nothing of them is sent before `state` is on disk. More rows of a stream than may be in
    /// danger are written at once too.
    pub fn accept_together(&mut self, pieces: &[Piece], state: Arc<[u8]>, now: Now) -> Result<(), Refused> {
        if self.closed {
            return Err(Refused::Closed);
        }
        if self.unsynced_since.is_some_and(|t| now.mono >= t + self.settings.loss_window) {
            let _ = self.commit(now);
        }
        let at_once = self.make_way(pieces, now)?;
        let remembered = self.state != state;
        self.holding = true;
        for piece in pieces {
            for reading in &piece.readings {
                self.put_together(reading, &piece.lineage, remembered, now);
            }
        }
        self.holding = false;
        if remembered {
            (self.state, self.state_is_new) = (state, true);
            self.unsynced_since.get_or_insert(now.mono);
        }
        if at_once || self.lanes.iter().map(LaneLog::pending_bytes).sum::<usize>() >= PENDING_MAX {
            let _ = self.commit(now);
        }
        Ok(())
    }

    /// Sees to it that the rows may be in danger together; says whether they are to be written at once.
    fn make_way(&mut self, pieces: &[Piece], now: Now) -> Result<bool, Refused> {
        let mut counts = BTreeMap::<usize, u64>::new();
        for piece in pieces {
            let slot = piece.readings.first().and_then(|r| self.streams.slot(&r.body));
            if let Some(i) = slot {
                *counts.entry(i).or_default() += piece.readings.len() as u64;
            }
        }
        let most = recovery::promise_max(self.settings.unsynced_max);
        let mut at_once = false;
        for (i, count) in counts {
            if self.streams.list[i].lane == Lane::Emergency {
                at_once = true;
                continue;
            }
            at_once |= count > u64::from(most);
            while self.lacks(i, count) {
                let stream = &mut self.streams.list[i];
                stream.wanted = recovery::raised(stream.promise).min(most).max(stream.promise);
                let raised = stream.wanted > stream.promise || stream.unsynced() > 0;
                self.commit(now).map_err(Refused::Disk)?;
                if !raised {
                    break;
                }
            }
        }
        if at_once && self.trouble.is_some() {
            self.commit(now).map_err(Refused::Disk)?;
        }
        Ok(at_once)
    }

    fn lacks(&self, i: usize, count: u64) -> bool {
        let stream = &self.streams.list[i];
        stream.unsynced() + count > u64::from(stream.promise)
    }

    fn put_together(&mut self, reading: &Reading, lineage: &[Digest], remembered: bool, now: Now) {
        let Some(i) = self.streams.slot(&reading.body) else {
            return self.refuse_stream(reading, now);
        };
        self.streams.list[i].remembered |= remembered;
        self.put(i, reading, lineage, now);
    }
}
