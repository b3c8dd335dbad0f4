//! A full spool: which segment goes, and what is said about it.

use super::Outbox;
use crate::outbox::Now;
use crate::outbox::gap::{Gap, Reason};
use crate::outbox::lane::{Lane, Place};
use crate::outbox::queue::Segment;
use crate::outbox::record::{self, Scanner};
use crate::outbox::segment::{self, Key, Piece, SegmentHeader, Tracker};
use milepost_wire::Stream;
use std::collections::BTreeMap;
use std::io;

impl Outbox {
    /// Drops the oldest segments of the lowest lanes while the spool is too large: first the gap rows
    /// that say so, then a mark that no longer knows them, then the files.
    pub(super) fn make_room(&mut self, now: Now) {
        let most: usize = self.queues.lock().lanes.iter().map(|q| q.segments.len()).sum();
        for _ in 0..most {
            let Some(lane) = self.too_large().filter(|_| self.trouble.is_none()) else { return };
            if let Err(error) = self.drop_oldest(lane, now) {
                tracing::error!(%error, "the spool is full and its oldest segment cannot be dropped");
                return;
            }
        }
    }

    /// The lane whose oldest segment must go.
    fn too_large(&self) -> Option<Lane> {
        let state = self.queues.lock();
        let bytes = |lane: Lane| state.lanes[lane as usize].bytes;
        let has = |lane: Lane| !state.lanes[lane as usize].segments.is_empty();
        let part = |share: f64| (self.settings.bytes_max as f64 * share.clamp(0.0, 1.0)) as u64;
        let over = |lane: Lane, share: f64| (has(lane) && bytes(lane) > part(share)).then_some(lane);
        let total: u64 = Lane::ALL.into_iter().map(bytes).sum();
        let lowest = || Lane::ALL.into_iter().rev().find(|l| has(*l));
        over(Lane::Bulk, self.settings.bulk_share)
            .or_else(|| over(Lane::Live, self.settings.live_share))
            .or_else(|| if total > self.settings.bytes_max { lowest() } else { None })
    }

    fn drop_oldest(&mut self, lane: Lane, now: Now) -> Result<(), String> {
        let (oldest, cursor, handed) = {
            let state = self.queues.lock();
            let queue = &state.lanes[lane as usize];
            let Some(oldest) = queue.segments.front().copied() else { return Ok(()) };
            (oldest, queue.cursor, queue.handed)
        };
        if self.lanes[lane as usize].current() == Some(oldest.number) {
            self.lanes[lane as usize].leave();
        }
        let (gaps, index) = self.lost_with(lane, oldest, cursor, handed).map_err(|e| e.to_string())?;
        self.dropped[lane as usize] += index.saturating_sub(cursor.index);
        tracing::warn!(
            lane = lane.name(),
            number = oldest.number,
            "the spool is full; its oldest segment goes"
        );
        gaps.into_iter().for_each(|gap| self.declare(gap));
        self.commit(now)?;
        let next = Place { segment: oldest.number + 1, offset: 0, index };
        self.queues.lock().lanes[lane as usize].drop_before(next);
        let mut marks = self.with_ends(self.marked);
        marks[lane as usize].cursor = marks[lane as usize].cursor.max(next);
        marks[lane as usize].handed = marks[lane as usize].handed.max(next);
        self.write_journal(&marks, Vec::new(), now).map_err(|e| e.to_string())?;
        self.unlink(lane, oldest.number);
        Ok(())
    }

    /// What a segment has behind the cursor, as gaps: a range for each run of numbers.
    fn lost_with(
        &self,
        lane: Lane,
        oldest: Segment,
        cursor: Place,
        handed: Place,
    ) -> io::Result<(Vec<Gap>, u64)> {
        let name = segment::name(lane, oldest.number);
        let mut index = cursor.index;
        let mut runs: BTreeMap<Key, Vec<Gap>> = BTreeMap::new();
        let mut gaps = Vec::new();
        let mut tracker = Tracker::default();
        let file = match self.disk.open(&name) {
            Ok(file) => file,
            // Somebody else took it; the next header tells what is missing.
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok((gaps, index)),
            Err(e) => return Err(e),
        };
        let mut scanner = Scanner::new(file, record::salt(&name), 0, oldest.len);
        while let Some((at, _, piece)) = segment::next_piece(&mut scanner) {
            let here = (oldest.number, at);
            match piece {
                Piece::Damage => {}
                Piece::Skip(skip) => tracker.skip(skip),
                Piece::Header(header) => drop(tracker.header(header)),
                Piece::Frame(header, frame) => {
                    let missing = tracker.frame(&header);
                    if here < (cursor.segment, cursor.offset) {
                        continue;
                    }
                    gaps.extend(missing);
                    index += 1;
                    if self.queues.lock().is_given_up(&header) {
                        continue;
                    }
                    if header.stream == Stream::Gap {
                        // What these rows declare stays declared.
                        gaps.extend(Gap::of_frame(&frame));
                    }
                    // What was handed out may have arrived.
                    let exact = here >= (handed.segment, handed.offset);
                    let (first, last) = (header.first_seq, header.last_seq());
                    let range =
                        Gap::range(header.stream.clone(), header.boot, first, last, Reason::SpoolFull);
                    let gap = Gap { exact, ..range };
                    let runs = runs.entry((header.boot, header.stream)).or_default();
                    if !runs.last_mut().is_some_and(|run| run.absorb(&gap)) {
                        runs.push(gap);
                    }
                }
            }
        }
        if let Some(header) = self.header_behind(lane, oldest.number) {
            gaps.extend(tracker.header(header));
        }
        gaps.extend(runs.into_values().flatten());
        Ok((gaps, index))
    }

    /// The header of the segment after `number`.
    fn header_behind(&self, lane: Lane, number: u64) -> Option<SegmentHeader> {
        let next =
            self.queues.lock().lanes[lane as usize].segments.get(1).filter(|s| s.number > number).copied()?;
        let name = segment::name(lane, next.number);
        let mut scanner = Scanner::new(self.disk.open(&name).ok()?, record::salt(&name), 0, next.len);
        match segment::next_piece(&mut scanner)?.2 {
            Piece::Header(header) => Some(header),
            _ => None,
        }
    }
}
