//! The pipeline's end of the outbox: takes readings, decides when what is written, and in which order.

use super::batches::{self, Open, StreamState, Streams};
use super::disk::Disk;
use super::gap::{Gap, Reason};
use super::journal::{self, Journal, LaneMark, Mark, StreamMark};
use super::lane::{Lane, Place};
use super::lane_log::{Entry, LaneLog};
use super::queue::{Queues, Segment};
use super::reader::SpoolReader;
use super::record::{self, Scanner};
use super::recovery::{self, FoundLane, Rescue};
use super::reserve::Reserve;
use super::segment::{self, Key, Piece, SegmentHeader, Skip, Tracker};
use super::settings::Settings;
use super::{LaneStatus, Now, OpenError, Refused, Status, StreamStatus};
use milepost_wire::{Body, BootId, Digest, Reading, Stream, VehicleId};
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// How often the state is written when nothing else asks for it: the cursor, mostly. What a crash
/// makes of an older one is sent again, and dropped where it arrives.
const MARK_EVERY: Duration = Duration::from_secs(10);
/// How long a failing disk is left alone.
const RETRY_EVERY: Duration = Duration::from_secs(1);
/// At most so often are gap rows written by themselves.
const GAPS_EVERY: Duration = Duration::from_millis(100);
/// The longest that a caller of [`Outbox::tick`] is told to wait.
const TICK_MAX: Duration = Duration::from_secs(1);
/// Sealed bytes in memory that are written at once.
const PENDING_MAX: usize = 4 << 20;
/// An open batch with more unjournalled bytes is sealed instead of journalled.
const JOURNAL_ROWS_MAX: usize = 64 << 10;
/// Gaps in memory that are written at once.
const GAPS_MAX: usize = 256;

/// Takes readings and keeps them: numbers, open batches, the journal and the spool.
pub struct Outbox {
    settings: Settings,
    vehicle: VehicleId,
    boot: BootId,
    disk: Arc<dyn Disk>,
    streams: Streams,
    lanes: [LaneLog; 3],
    journal: Journal,
    queues: Queues,
    /// Losses that are no rows yet.
    gaps: Vec<Gap>,
    gaps_since: Option<Duration>,
    gaps_next: Duration,
    /// When the oldest reading that is not on disk came.
    unsynced_since: Option<Duration>,
    /// The lanes' part of the last durable mark.
    marked: [LaneMark; 3],
    mark_next: Duration,
    /// Marks of earlier boots, while their journals stand.
    former: Vec<StreamMark>,
    dropped: [u64; 3],
    reserve: Reserve,
    trouble: Option<String>,
    retry_at: Duration,
    errors: u64,
    closed: bool,
}

impl Outbox {
    /// Opens the spool and recovers what an earlier boot left: its open batches become frames under
    /// their own numbers, and after an unclean stop gap rows say what can be missing.
    pub fn open(
        disk: Arc<dyn Disk>,
        settings: Settings,
        vehicle: VehicleId,
        boot: BootId,
        now: Now,
    ) -> Result<(Outbox, SpoolReader), OpenError> {
        let io = |what: &str| {
            let what = what.to_owned();
            move |source| OpenError::Io { what, source }
        };
        let files = disk.list().map_err(io("list its folder"))?;
        let replayed = journal::replay(&disk, &files)?;
        let plan = recovery::plan(&disk, &files, &replayed, settings.unsynced_max)?;
        let queues = Queues::default();
        let lanes = plan.lanes.each_ref().map(|found| adopt(&disk, found, &queues, now));
        let reserve = Reserve::new(disk.clone(), &files, settings.journal_bytes);
        let former = replayed.sealed.iter().map(|(key, sealed)| StreamMark {
            boot: Some(key.0),
            stream: key.1.clone(),
            sealed: *sealed,
            promise: 0,
        });
        let mut outbox = Outbox {
            settings,
            vehicle,
            boot,
            streams: Streams::default(),
            lanes,
            journal: Journal::new(disk.clone(), replayed.generations.clone()),
            queues,
            gaps: plan.gaps,
            gaps_since: None,
            gaps_next: now.mono,
            unsynced_since: None,
            marked: Default::default(),
            mark_next: now.mono + MARK_EVERY,
            former: former.collect(),
            dropped: [0; 3],
            reserve,
            trouble: None,
            retry_at: now.mono,
            errors: 0,
            closed: false,
            disk: disk.clone(),
        };
        let before = outbox.journal.oldest();
        outbox.recover(plan.rescues, &plan.lanes, before, now).map_err(io("write what it recovered"))?;
        outbox.reserve.hold();
        let reader = SpoolReader::new(disk, outbox.queues.clone());
        Ok((outbox, reader))
    }

    /// Carries the plan out, so that a crash in the middle is recovered to the same end: first a
    /// generation of the journal with all rows that are rescued and the gap rows, which makes the
    /// recovery a fact; then the segments; then a mark that says so; then the old files go.
    fn recover(
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
        let generation = match self.journal.write(&mark, &rows, bytes_max) {
            // The agent must come up on a full disk, or nothing would ever empty it.
            Err(e) if self.reserve.give(&e) => self.journal.write(&mark, &rows, bytes_max)?,
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
        self.journal.write(&self.mark(&marks, false), &[], self.settings.journal_bytes)?;
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

    /// Numbers a reading and keeps it. `lineage` names the transforms that it passed.
    ///
    /// On `Ok` it is on disk within the loss window; a reading of the emergency lane is before this
    /// returns, or, while the disk fails, as soon as it can be, before anything else. A reading that
    /// no frame can carry is `Ok` too: its number is declared in a gap row.
    pub fn accept(&mut self, reading: &Reading, lineage: &[Digest], now: Now) -> Result<(), Refused> {
        if self.closed {
            return Err(Refused::Closed);
        }
        let Some(i) = self.streams.slot(&reading.body) else {
            let why = format!("more than {} streams", batches::STREAMS_MAX);
            self.gap(Gap::unnumbered(None, 1, Reason::Undeliverable, why), now);
            return Ok(());
        };
        let emergency = self.streams.list[i].lane == Lane::Emergency;
        if self.unsynced_since.is_some_and(|t| now.mono >= t + self.settings.loss_window) {
            // The promise below decides whether the reading can be taken where this fails.
            let _ = self.commit(now);
        }
        if emergency && self.trouble.is_some() {
            self.commit(now).map_err(Refused::Disk)?;
        }
        let stream = &mut self.streams.list[i];
        if !emergency && stream.unsynced() >= u64::from(stream.promise) {
            let most = recovery::promise_max(self.settings.unsynced_max);
            stream.wanted = recovery::raised(stream.promise).min(most).max(stream.promise);
            self.commit(now).map_err(Refused::Disk)?;
        }
        self.put(i, reading, lineage, now);
        if emergency || self.lanes.iter().map(LaneLog::pending_bytes).sum::<usize>() >= PENDING_MAX {
            let _ = self.commit(now);
        }
        Ok(())
    }

    /// Puts a reading into its stream's open batch, under the next number.
    fn put(&mut self, i: usize, reading: &Reading, lineage: &[Digest], now: Now) {
        self.unsynced_since.get_or_insert(now.mono);
        let weight = batches::weight(&reading.body);
        if batches::is_oversize(weight) {
            return self.skip(i, Reason::Oversize, format!("about {weight} bytes"), now);
        }
        let bytes_max = self.settings.batch_bytes_max as usize;
        let stream = &self.streams.list[i];
        if stream.open.as_ref().is_some_and(|o| o.batch.lineage != lineage || o.bytes + weight > bytes_max) {
            self.seal(i);
        }
        for _ in 0..2 {
            let stream = &mut self.streams.list[i];
            let fresh = stream.open.is_none();
            let open = stream.open.get_or_insert_with(|| Open {
                batch: batches::begin(
                    &self.vehicle,
                    self.boot,
                    &stream.stream,
                    reading,
                    stream.next,
                    lineage,
                ),
                since: now.mono,
                bytes: 0,
                unjournalled: 0,
                generation: None,
            });
            match open.batch.push(reading) {
                Ok(()) => {
                    stream.next += 1;
                    open.bytes += weight;
                    open.unjournalled += weight;
                    let full = open.batch.len() >= batches::count_max(self.settings.batch_count_max);
                    if full || open.bytes >= bytes_max {
                        self.seal(i);
                    }
                    return;
                }
                Err(why) if fresh => {
                    stream.open = None;
                    return self.skip(i, Reason::Undeliverable, why.to_string(), now);
                }
                Err(_) => self.seal(i),
            }
        }
    }

    /// Gives a number to a reading that goes nowhere, and declares it.
    fn skip(&mut self, i: usize, reason: Reason, detail: String, now: Now) {
        self.seal(i);
        let stream = &mut self.streams.list[i];
        let seq = stream.next;
        stream.next += 1;
        stream.framed = stream.next;
        let skip = Skip { boot: self.boot, stream: stream.stream.clone(), next: stream.next };
        let mut gap = Gap::range(stream.stream.clone(), self.boot, seq, seq, reason);
        gap.detail = Some(detail);
        self.lanes[stream.lane as usize].push(Entry::Skip(skip));
        self.gap(gap, now);
    }

    /// Declares a loss that somebody else knows of: it becomes a row of `gap_data`, durable at the
    /// next [`tick`](Self::tick). Losses that one row can say are added up.
    pub fn gap(&mut self, gap: Gap, now: Now) {
        self.declare(gap);
        self.gaps_since.get_or_insert(now.mono);
        if self.gaps.len() >= GAPS_MAX {
            let _ = self.commit(now);
        }
    }

    fn declare(&mut self, gap: Gap) {
        if !self.gaps.iter_mut().any(|known| known.absorb(&gap)) {
            self.gaps.push(gap);
        }
    }

    /// Does what is due: syncs, seals aged batches, writes the cursor, frees what was acknowledged.
    /// Returns when to call again at the latest, on the clock of [`Now::mono`].
    pub fn tick(&mut self, now: Now) -> Duration {
        let age_max = self.settings.batch_age_max;
        let mut due = self.sync_due().is_some_and(|t| now.mono >= t);
        for i in 0..self.streams.list.len() {
            let open = self.streams.list[i].open.as_ref();
            if open.is_some_and(|o| now.mono >= o.since + age_max) {
                self.seal(i);
                due = true;
            }
        }
        due |= self.gaps_due().is_some_and(|t| now.mono >= t);
        due |= !self.queues.lock().missing.is_empty() || self.trouble.is_some();
        let marks = self.lane_marks();
        due |= marks != self.marked && now.mono >= self.mark_next;
        due |= self.can_free(&marks);
        if due {
            let _ = self.commit(now);
        }
        self.make_room(now);
        let aged = self.streams.list.iter().filter_map(|s| s.open.as_ref()).map(|o| o.since + age_max);
        let next = aged.chain(self.sync_due()).chain(self.gaps_due()).min();
        let next = next.unwrap_or(Duration::MAX).min(now.mono + TICK_MAX);
        if self.trouble.is_some() { next.max(self.retry_at) } else { next }
    }

    /// When what is not on disk must be: early enough that the sync itself fits into the window.
    fn sync_due(&self) -> Option<Duration> {
        let window = self.settings.loss_window;
        let margin = (window / 4).min(Duration::from_millis(250));
        self.unsynced_since.map(|t| t + (window - margin))
    }

    fn gaps_due(&self) -> Option<Duration> {
        self.gaps_since.map(|t| t.max(self.gaps_next))
    }

    /// Seals every open batch and syncs.
    pub fn flush(&mut self, now: Now) {
        (0..self.streams.list.len()).for_each(|i| self.seal(i));
        self.retry_at = now.mono;
        let _ = self.commit(now);
    }

    /// [`flush`](Self::flush), then the mark of a clean end: the next boot declares no loss. Where the
    /// disk fails there is no mark, and the next boot declares what can be missing.
    pub fn close(&mut self, now: Now) {
        if self.closed {
            return;
        }
        let marks = self.lane_marks();
        self.flush(now);
        self.closed = true;
        if self.trouble.is_none() {
            let mark = self.mark(&self.with_ends(marks), true);
            match self.journal.write(&mark, &[], self.settings.journal_bytes) {
                Ok(_) => self.journal.release(None),
                Err(error) => tracing::warn!(%error, "the spool's clean end could not be written"),
            }
        }
    }

    /// The state, for `agent_health`.
    pub fn status(&self, now: Now) -> Status {
        let state = self.queues.lock();
        let lane = |lane: Lane| {
            let queue = &state.lanes[lane as usize];
            LaneStatus {
                lane,
                depth: queue.depth(),
                bytes: queue.bytes,
                age: queue.age(now.mono),
                sealed: self.lanes[lane as usize].sealed,
                acked: queue.acked,
                dropped: self.dropped[lane as usize],
            }
        };
        let stream = |s: &StreamState| StreamStatus { stream: s.stream.clone(), next_seq: s.next };
        Status {
            streams: self.streams.list.iter().map(stream).collect(),
            lanes: Lane::ALL.map(lane),
            trouble: self.trouble.clone(),
            errors: self.errors,
            written: self.journal.written() + self.lanes.iter().map(|l| l.written).sum::<u64>(),
        }
    }

    /// Whether all that was accepted is on disk.
    #[cfg(test)]
    pub(super) fn is_synced(&self) -> bool {
        self.unsynced_since.is_none()
    }

    /// Seals a stream's open batch: it waits for the next commit.
    fn seal(&mut self, i: usize) {
        let stream = &mut self.streams.list[i];
        let Some(open) = stream.open.take() else { return };
        let mut entries = Vec::new();
        let gaps = self.gaps.len();
        batches::seal(&open.batch, &mut entries, &mut self.gaps);
        if self.gaps.len() > gaps {
            self.gaps_since.get_or_insert(open.since);
        }
        stream.framed = stream.next;
        entries.into_iter().for_each(|e| self.lanes[stream.lane as usize].push(e));
    }

    /// Makes everything durable that was accepted. The error is what [`Status::trouble`] says.
    fn commit(&mut self, now: Now) -> Result<(), String> {
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

    /// The order is the point: losses before what follows them, frames before the mark that lets go
    /// of their journal rows, the mark before the files that it makes superfluous.
    fn try_commit(&mut self, now: Now) -> io::Result<()> {
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
        let rows = self.journal_rows();
        let mut entries = Vec::new();
        self.gap_rows(now, &mut entries);
        entries.into_iter().for_each(|e| self.lanes[Lane::Emergency as usize].push(e));
        self.commit_lanes(now)?;
        let marks = self.with_ends(marks);
        let raised = self.streams.list.iter().any(|s| s.wanted != s.promise);
        let marked = marks != self.marked && now.mono >= self.mark_next;
        if !rows.is_empty() || raised || marked || self.can_free(&marks) {
            self.write_journal(&marks, rows, now)?;
        }
        self.unsynced_since = None;
        let durable = self.marked;
        self.free(&durable);
        self.queues.notify.notify_one();
        Ok(())
    }

    fn write_journal(
        &mut self,
        marks: &[LaneMark; 3],
        rows: Vec<(usize, Vec<u8>)>,
        now: Now,
    ) -> io::Result<()> {
        let mark = self.mark(marks, false);
        let (slots, rows): (Vec<usize>, Vec<Vec<u8>>) = rows.into_iter().unzip();
        let generation = self.journal.write(&mark, &rows, self.settings.journal_bytes)?;
        for i in slots {
            let stream = &mut self.streams.list[i];
            stream.journalled = stream.next;
            if let Some(open) = &mut stream.open {
                open.unjournalled = 0;
                open.generation.get_or_insert(generation);
            }
        }
        self.streams.list.iter_mut().for_each(|s| s.promise = s.wanted);
        self.marked = *marks;
        self.mark_next = now.mono + MARK_EVERY;
        let living = self.streams.list.iter().filter_map(|s| s.open.as_ref()?.generation).min();
        self.journal.release(living);
        Ok(())
    }

    /// The rows of open batches that the journal does not have, a small frame for each stream.
    fn journal_rows(&mut self) -> Vec<(usize, Vec<u8>)> {
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
    fn gap_rows(&mut self, now: Now, entries: &mut Vec<Entry>) {
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

    fn commit_lanes(&mut self, now: Now) -> io::Result<()> {
        for lane in Lane::ALL {
            let log = &mut self.lanes[lane as usize];
            log.commit(self.boot, self.settings.segment_bytes, &self.queues, now.mono)?;
            let streams = self.streams.list.iter_mut().filter(|s| s.lane == lane);
            streams.for_each(|s| s.sealed = s.framed);
        }
        Ok(())
    }

    fn lane_marks(&self) -> [LaneMark; 3] {
        let state = self.queues.lock();
        let mark = |lane: Lane| {
            let queue = &state.lanes[lane as usize];
            let end = self.lanes[lane as usize].end();
            LaneMark { cursor: queue.cursor, handed: queue.handed, end }
        };
        Lane::ALL.map(mark)
    }

    fn with_ends(&self, mut marks: [LaneMark; 3]) -> [LaneMark; 3] {
        Lane::ALL.iter().for_each(|l| marks[*l as usize].end = self.lanes[*l as usize].end());
        marks
    }

    fn mark(&self, lanes: &[LaneMark; 3], clean: bool) -> Mark {
        let stream = |s: &StreamState| StreamMark {
            boot: None,
            stream: s.stream.clone(),
            sealed: s.sealed,
            promise: s.wanted,
        };
        let streams = self.former.iter().cloned().chain(self.streams.list.iter().map(stream));
        Mark { boot: self.boot, clean, lanes: *lanes, streams: streams.collect() }
    }

    /// Whether a mark with these cursors would free a segment.
    fn can_free(&self, marks: &[LaneMark; 3]) -> bool {
        let state = self.queues.lock();
        let oldest = |lane: Lane| state.lanes[lane as usize].segments.front().map(|s| s.number);
        Lane::ALL.into_iter().any(|l| oldest(l).is_some_and(|n| n < marks[l as usize].cursor.segment))
    }

    /// Unlinks the segments before the cursors.
    fn free(&mut self, marks: &[LaneMark; 3]) {
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

    fn unlink(&mut self, lane: Lane, number: u64) -> bool {
        match self.disk.unlink(&segment::name(lane, number)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                self.errors += 1;
                tracing::warn!(%error, lane = lane.name(), number, "a segment cannot be unlinked; tried again later");
                false
            }
            _ => true,
        }
    }

    /// Drops the oldest segments of the lowest lanes while the spool is too large: first the gap rows
    /// that say so, then a mark that no longer knows them, then the files.
    fn make_room(&mut self, now: Now) {
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
                    if header.stream == Stream::Gap {
                        // What these rows declare stays declared.
                        gaps.extend(declared(&frame));
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

/// What a frame of gap rows declares.
fn declared(frame: &[u8]) -> Vec<Gap> {
    let Ok(batch) = milepost_wire::frame::decode(frame) else { return Vec::new() };
    let row = |i| match batch.reading(i).ok()?.body {
        Body::Gap(row) => Gap::of_row(row),
        _ => None,
    };
    (0..batch.len()).filter_map(row).collect()
}

/// Makes the writer of a lane as it was found, and shows its segments to the reader.
fn adopt(disk: &Arc<dyn Disk>, found: &FoundLane, queues: &Queues, now: Now) -> LaneLog {
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
