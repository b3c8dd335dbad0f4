//! The uplink's end of the spool. It reads the segments through its own handles, a bounded piece at a
//! time, hands out only what is durable, and notices what is missing.

use super::disk::Disk;
use super::lane::{Lane, Place, RecordId};
use super::queue::Queues;
use super::record::{self, Scanner};
use super::segment::{self, Piece, SegmentHeader, Tracker};
use super::{Gap, Record};
use std::io;
use std::sync::Arc;
use tokio::sync::Notify;

/// How much may be found missing before the reader waits for the writer to declare it.
const MISSING_MAX: usize = 256;

/// Hands out what waits: the first lane first, in each lane the oldest first.
pub struct SpoolReader {
    disk: Arc<dyn Disk>,
    queues: Queues,
    lanes: [LaneReader; 3],
}

struct LaneReader {
    lane: Lane,
    at: Place,
    open: Option<(u64, Scanner)>,
    tracker: Tracker,
}

/// What a step in a lane came to.
enum Step {
    Record(Record),
    Again,
    Empty,
}

impl SpoolReader {
    pub(super) fn new(disk: Arc<dyn Disk>, queues: Queues) -> Self {
        let lanes = Lane::ALL.map(|lane| LaneReader {
            lane,
            at: queues.lock().lanes[lane as usize].cursor,
            open: None,
            tracker: Tracker::default(),
        });
        Self { disk, queues, lanes }
    }

    /// The next record that was not handed out since the last [`rewind`](Self::rewind), or `None`
    /// where there is none; then wait for [`notify`](Self::notify). Reads the disk.
    #[allow(clippy::should_implement_trait, reason = "it is no iterator: after None there may be more")]
    pub fn next(&mut self) -> Option<Record> {
        for lane in &mut self.lanes {
            loop {
                match lane.step(&*self.disk, &self.queues) {
                    Step::Record(record) => return Some(record),
                    Step::Again => {}
                    Step::Empty => break,
                }
            }
        }
        None
    }

    /// Starts again at the oldest record without an acknowledgement: after every reconnection.
    pub fn rewind(&mut self) {
        for lane in &mut self.lanes {
            lane.at = self.queues.lock().lanes[lane.lane as usize].cursor;
            lane.open = None;
        }
    }

    /// The broker has this record. Acknowledgements may come in any order, twice and late.
    pub fn ack(&mut self, id: RecordId) {
        self.queues.lock().lanes[id.lane as usize].ack((id.segment, id.offset));
    }

    /// Is notified when there may be more to read.
    pub fn notify(&self) -> Arc<Notify> {
        self.queues.notify.clone()
    }
}

impl LaneReader {
    fn step(&mut self, disk: &dyn Disk, queues: &Queues) -> Step {
        let Some((number, limit)) = self.find(queues) else { return Step::Empty };
        let mut scanner = match self.open.take() {
            Some((n, scanner)) if n == number && scanner.at() == self.at.offset => scanner,
            _ => match self.enter(disk, number) {
                Ok(scanner) => scanner,
                // Dropped between the look and the opening; the cursor has moved on.
                Err(e) if e.kind() == io::ErrorKind::NotFound && !self.stands(queues, number) => {
                    return Step::Again;
                }
                Err(error) => {
                    tracing::warn!(lane = self.lane.name(), number, %error, "a segment cannot be opened; tried again later");
                    return Step::Empty;
                }
            },
        };
        scanner.set_limit(limit);
        let Some((at, end, piece)) = segment::next_piece(&mut scanner) else { return Step::Empty };
        self.open = Some((number, scanner));
        let at = Place { segment: number, offset: at, index: self.at.index };
        let mut end = Place { segment: number, offset: end, index: self.at.index };
        let (mut missing, mut record) = (Vec::new(), None);
        match piece {
            Piece::Damage => {
                tracing::error!(
                    lane = self.lane.name(),
                    number,
                    at = at.offset,
                    end = end.offset,
                    "a part of the spool is damaged"
                );
            }
            Piece::Skip(skip) => self.tracker.skip(skip),
            Piece::Header(header) => {
                end.index = header.first_index;
                missing = self.tracker.header(header);
            }
            Piece::Frame(header, frame) => {
                end.index += 1;
                missing.extend(self.tracker.frame(&header));
                // What is declared lost is passed over.
                if !queues.lock().is_given_up(&header) {
                    let id = RecordId { lane: self.lane, segment: number, offset: at.offset };
                    record = Some(Record { lane: self.lane, id, stream: header.stream, frame });
                }
            }
        }
        self.pass(queues, at, end, missing, record)
    }

    /// The segment to read from, and its durable length; moves on where one is read to its end.
    fn find(&mut self, queues: &Queues) -> Option<(u64, u64)> {
        let mut state = queues.lock();
        if state.missing.len() >= MISSING_MAX {
            return None;
        }
        let queue = &mut state.lanes[self.lane as usize];
        if self.at < queue.cursor {
            // What we were reading was dropped, and its loss declared: the next header tells anew.
            (self.at, self.open, self.tracker) = (queue.cursor, None, Tracker::default());
        }
        let mut i = queue.segments.partition_point(|s| s.number < self.at.segment);
        while let Some(segment) = queue.segments.get(i) {
            if segment.number > self.at.segment {
                // The cursor follows when the header has been read: it may tell of a loss.
                self.at = Place { segment: segment.number, offset: 0, index: self.at.index };
            }
            if self.at.offset < segment.len {
                return Some((segment.number, segment.len));
            }
            i += 1;
        }
        let expected = std::mem::take(&mut queue.adopted);
        if !expected.is_empty() {
            let end = SegmentHeader { first_index: self.at.index, expected };
            let missing = self.tracker.header(end);
            state.missing.extend(missing);
        }
        None
    }

    fn stands(&self, queues: &Queues, number: u64) -> bool {
        let state = queues.lock();
        let queue = &state.lanes[self.lane as usize];
        queue.cursor <= self.at && queue.segments.iter().any(|s| s.number == number)
    }

    /// Opens a segment. Where reading begins inside it, what stands before says what comes next.
    fn enter(&mut self, disk: &dyn Disk, number: u64) -> io::Result<Scanner> {
        let name = segment::name(self.lane, number);
        let salt = record::salt(&name);
        let file = disk.open(&name)?;
        if self.at.offset > 0 && !self.tracker.is_complete() {
            let mut scanner = Scanner::new(file.clone(), salt, 0, self.at.offset);
            while let Some((_, _, piece)) = segment::next_piece(&mut scanner) {
                match piece {
                    Piece::Header(header) => drop(self.tracker.header(header)),
                    Piece::Frame(header, _) => drop(self.tracker.frame(&header)),
                    Piece::Skip(skip) => self.tracker.skip(skip),
                    Piece::Damage => {}
                }
            }
        }
        Ok(Scanner::new(file, salt, self.at.offset, self.at.offset))
    }

    fn pass(
        &mut self,
        queues: &Queues,
        at: Place,
        end: Place,
        missing: Vec<Gap>,
        record: Option<Record>,
    ) -> Step {
        let mut state = queues.lock();
        if self.at < state.lanes[self.lane as usize].cursor {
            return Step::Again;
        }
        state.missing.extend(missing);
        let done = state.lanes[self.lane as usize].pass(at, end, record.is_none());
        self.at = end;
        match record {
            Some(record) if !done => Step::Record(record),
            _ => Step::Again,
        }
    }
}
