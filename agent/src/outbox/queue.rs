//! What the writer and the reader of the spool share: which bytes of which segments are durable, what
//! was handed out, and what was acknowledged. Numbers only; no bytes of a frame and no file.

use super::Gap;
use super::lane::{Lane, Place};
use super::segment::Skip;
use milepost_wire::{BootId, Header, Stream};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// The times that are kept of a lane's groups, to tell the age of its oldest record.
const TIMES_MAX: usize = 1024;

/// The shared state, behind its lock.
#[derive(Clone, Default)]
pub(super) struct Queues {
    state: Arc<Mutex<State>>,
    /// Notified when the lanes have more.
    pub(super) notify: Arc<Notify>,
}

impl Queues {
    /// Takes the lock. Nobody who holds it touches a disk.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Default)]
pub(super) struct State {
    pub(super) lanes: [Queue; 3],
    /// What the reader found missing, until the writer has declared it.
    pub(super) missing: Vec<Gap>,
    /// What was declared lost and still stands in a segment, behind the cursor of the last mark.
    pub(super) given_up: Vec<GivenUp>,
}

/// Readings in whole frames that a gap row has declared undeliverable: so that after a crash their
/// frames are not sent, refused and declared again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct GivenUp {
    pub(super) boot: BootId,
    pub(super) stream: Stream,
    pub(super) first: u64,
    pub(super) last: u64,
    /// The frames stand before this segment and offset.
    pub(super) before: (u64, u64),
}

impl GivenUp {
    /// What a gap names as a whole; `None` where it has no range.
    pub(super) fn of(gap: &Gap, before: (u64, u64)) -> Option<Self> {
        let (boot, stream) = (gap.boot?, gap.stream.clone()?);
        Some(Self { boot, stream, first: gap.first_seq?, last: gap.last_seq?, before })
    }

    /// Whether it may still be met by who starts at this cursor of its lane.
    pub(super) fn is_ahead(&self, cursor: Place) -> bool {
        (cursor.segment, cursor.offset) < self.before
    }

    /// Its lane.
    pub(super) fn lane(&self) -> Lane {
        Lane::of(&self.stream)
    }
}

impl State {
    /// Whether a frame was given up.
    pub(super) fn is_given_up(&self, frame: &Header) -> bool {
        self.given_up.iter().any(|g| {
            let same = g.boot == frame.boot && g.stream == frame.stream;
            same && g.first <= frame.first_seq && frame.last_seq() <= g.last
        })
    }
}

/// A segment's durable part.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment {
    pub(super) number: u64,
    pub(super) len: u64,
}

/// Something that was handed out or passed over, behind one that was handed out.
struct Flight {
    at: (u64, u64),
    end: Place,
    fate: Fate,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It waits for its acknowledgement.
    Out,
    /// Acknowledged. Such an entry may stand for several records that touch.
    Acknowledged,
    /// It could not be read, or was given up. It stands for no record in it: what could not be read once
    /// may be read the next time.
    PassedOver,
}

impl Flight {
    fn covers(&self, at: (u64, u64)) -> bool {
        let end = (self.end.segment, self.end.offset);
        self.at == at || self.fate == Fate::Acknowledged && self.at < at && at < end
    }
}

/// One lane.
#[derive(Default)]
pub(super) struct Queue {
    /// Oldest first.
    pub(super) segments: VecDeque<Segment>,
    /// All before this is acknowledged.
    pub(super) cursor: Place,
    /// Nothing from here on was ever handed out.
    pub(super) handed: Place,
    /// All before this is durable.
    pub(super) end: Place,
    /// What the segments of earlier boots should have come to, until the reader has been there.
    pub(super) adopted: Vec<Skip>,
    /// Bytes of all segments.
    pub(super) bytes: u64,
    /// Records acknowledged since the start.
    pub(super) acked: u64,
    flight: VecDeque<Flight>,
    times: VecDeque<(Place, Duration)>,
}

impl Queue {
    /// More is durable: up to `end`.
    pub(super) fn extend(&mut self, end: Place, mono: Duration) {
        // The header of the segment that follows says the same.
        self.adopted.clear();
        match self.segments.back_mut() {
            Some(last) if last.number == end.segment => {
                self.bytes += end.offset - last.len;
                last.len = end.offset;
            }
            _ => {
                self.bytes += end.offset;
                self.segments.push_back(Segment { number: end.segment, len: end.offset });
            }
        }
        self.end = end;
        if self.times.len() >= TIMES_MAX {
            let mut keep = false;
            self.times.retain(|_| {
                keep = !keep;
                keep
            });
        }
        self.times.push_back((end, mono));
    }

    /// What an earlier boot left ends here.
    pub(super) fn adopt_end(&mut self, end: Place, mono: Duration) {
        self.end = end;
        self.times.push_back((end, mono));
    }

    /// How long the oldest record has waited.
    pub(super) fn age(&self, mono: Duration) -> Duration {
        let oldest = self.times.iter().find(|(end, _)| *end > self.cursor);
        oldest.map_or(Duration::ZERO, |(_, since)| mono.saturating_sub(*since))
    }

    /// Records that wait.
    pub(super) fn depth(&self) -> u64 {
        self.end.index.saturating_sub(self.cursor.index)
    }

    /// The reader has read from `at` to `end`. `done` says that there is nothing to acknowledge in
    /// it. Returns whether it is done by now.
    pub(super) fn pass(&mut self, at: Place, end: Place, done: bool) -> bool {
        let key = (at.segment, at.offset);
        if !done {
            self.handed = self.handed.max(end);
        }
        let fate = if done { Fate::PassedOver } else { Fate::Out };
        let i = match self.find(key) {
            Ok(i) => {
                if self.flight[i].fate != Fate::Acknowledged {
                    self.flight[i] = Flight { at: key, end, fate };
                }
                i
            }
            Err(i) => {
                self.flight.insert(i, Flight { at: key, end, fate });
                i
            }
        };
        let done = self.flight[i].fate != Fate::Out;
        self.advance();
        done
    }

    /// A record was acknowledged; one that is not in flight is none of ours any more.
    pub(super) fn ack(&mut self, at: (u64, u64)) {
        if let Ok(i) = self.find(at) {
            let before = std::mem::replace(&mut self.flight[i].fate, Fate::Acknowledged);
            self.acked += u64::from(before != Fate::Acknowledged);
            self.join(i);
            self.advance();
        }
    }

    /// The entry that a record belongs to, or where its own would be.
    fn find(&self, at: (u64, u64)) -> Result<usize, usize> {
        let after = self.flight.partition_point(|f| f.at <= at);
        match after.checked_sub(1) {
            Some(i) if self.flight[i].covers(at) => Ok(i),
            _ => Err(after),
        }
    }

    /// Joins an entry that was acknowledged with those beside it: while the oldest record has no answer,
    /// the list would otherwise grow by each record behind it that has one.
    fn join(&mut self, i: usize) {
        for second in [i + 1, i] {
            let Some(first) = second.checked_sub(1) else { continue };
            let (Some(a), Some(b)) = (self.flight.get(first), self.flight.get(second)) else { continue };
            let both = a.fate == Fate::Acknowledged && b.fate == Fate::Acknowledged;
            if both && (a.end.segment, a.end.offset) == b.at {
                let end = b.end;
                self.flight[first].end = end;
                self.flight.remove(second);
            }
        }
    }

    fn advance(&mut self) {
        while let Some(first) = self.flight.front().filter(|f| f.fate != Fate::Out) {
            self.cursor = self.cursor.max(first.end);
            self.flight.pop_front();
        }
        while self.times.front().is_some_and(|(end, _)| *end <= self.cursor) {
            self.times.pop_front();
        }
    }

    /// Forgets the segments before `next`, acknowledged or not.
    pub(super) fn drop_before(&mut self, next: Place) {
        while let Some(segment) = self.segments.pop_front_if(|s| s.number < next.segment) {
            self.bytes = self.bytes.saturating_sub(segment.len);
        }
        self.cursor = self.cursor.max(next);
        self.handed = self.handed.max(next);
        self.flight.retain(|f| f.at >= (next.segment, next.offset));
        self.advance();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_acknowledged_behind_a_frame_without_an_answer_takes_no_memory_by_the_record() {
        let place = |index: u64| Place { segment: 1 + index / 500, offset: 16 + index % 500 * 8, index };
        let after = |index: u64| Place { offset: place(index).offset + 8, index: index + 1, ..place(index) };
        let at = |index: u64| (place(index).segment, place(index).offset);
        let mut queue = Queue::default();
        (0..1000).for_each(|n| assert!(!queue.pass(place(n), after(n), false)));
        for n in (1..1000).step_by(2).chain((2..1000).step_by(2)) {
            queue.ack(at(n));
            queue.ack(at(n));
        }
        assert_eq!(
            (queue.flight.len(), queue.acked),
            (3, 999),
            "the first, and what is done of two segments"
        );
        assert_eq!(queue.cursor.index, 0);
        assert!(!queue.pass(place(0), after(0), false));
        assert!((1..1000).all(|n| queue.pass(place(n), after(n), false)), "and none of them is sent again");
        queue.ack(at(0));
        assert_eq!((queue.flight.len(), queue.cursor.index), (0, 1000));
    }

    #[test]
    fn what_could_not_be_read_once_and_can_be_now_is_handed_out() {
        let place = |index: u64| Place { segment: 1, offset: 16 + index * 8, index };
        let mut queue = Queue::default();
        assert!(!queue.pass(place(0), place(1), false));
        assert!(queue.pass(place(1), place(10), true), "damage, for all that one can see");
        // After a new connection.
        assert!((0..10).all(|n| !queue.pass(place(n), place(n + 1), false)));
        queue.ack((1, place(0).offset));
        assert_eq!(queue.cursor.index, 1, "no record behind it was answered");
        (1..10).for_each(|n| queue.ack((1, place(n).offset)));
        assert_eq!((queue.cursor.index, queue.acked), (10, 10));
    }
}
