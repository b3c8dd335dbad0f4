//! The pipeline's end of the outbox: takes readings and decides when to write.

mod commit;
mod recover;
mod room;
mod together;

use super::batches::{self, Open, StreamState, Streams};
use super::disk::Disk;
use super::gap::{Gap, Reason};
use super::journal::{self, Group, Journal, LaneMark, StreamMark};
use super::lane::{Lane, RecordId};
use super::lane_log::{Entry, LaneLog};
use super::queue::{GivenUp, Queues};
use super::reader::SpoolReader;
use super::recovery;
use super::reserve::Reserve;
use super::segment::Skip;
use super::settings::Settings;
use super::{LaneStatus, Now, OpenError, Refused, Status, StreamStatus};
use milepost_wire::{BootId, Digest, Reading, VehicleId};
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

pub use together::Piece;

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
    told_of_streams: bool,
    /// When the oldest reading that is not on disk came.
    unsynced_since: Option<Duration>,
    /// The lanes' part of the last durable mark.
    marked: [LaneMark; 3],
    mark_next: Duration,
    /// Marks of earlier boots, while their journals stand.
    former: Vec<StreamMark>,
    dropped: [u64; 3],
    /// Whether something was given up that no durable mark knows of.
    gave_up: bool,
    /// What the last durable mark says is given up.
    marked_given_up: Vec<GivenUp>,
    reserve: Reserve,
    /// What the transforms remember after the last row that was taken, and whether that is on disk.
    state: Arc<[u8]>,
    state_is_new: bool,
    /// Nothing is written while rows are taken that belong together.
    holding: bool,
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
        queues.lock().given_up = plan.given_up;
        let lanes = plan.lanes.each_ref().map(|found| recover::adopt(&disk, found, &queues, now));
        let reserve = Reserve::new(disk.clone(), &files, settings.journal_bytes);
        let former = replayed.sealed.iter().map(|(key, sealed)| StreamMark {
            boot: Some(key.0),
            stream: key.1.clone(),
            sealed: *sealed,
            promise: 0,
        });
        let state = Arc::<[u8]>::from(replayed.state.as_slice());
        let mut outbox = Outbox {
            settings,
            vehicle,
            boot,
            streams: Streams::default(),
            lanes,
            journal: Journal::new(disk.clone(), replayed.generations.clone(), state.clone()),
            queues,
            gaps: plan.gaps,
            gaps_since: None,
            gaps_next: now.mono,
            told_of_streams: false,
            unsynced_since: None,
            marked: Default::default(),
            mark_next: now.mono + MARK_EVERY,
            former: former.collect(),
            dropped: [0; 3],
            gave_up: false,
            marked_given_up: Vec::new(),
            reserve,
            state,
            state_is_new: false,
            holding: false,
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
            self.refuse_stream(reading, now);
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

    /// A row of one derived stream too many: it is lost, and declared.
    fn refuse_stream(&mut self, reading: &Reading, now: Now) {
        let most = batches::STREAMS_MAX;
        if !std::mem::replace(&mut self.told_of_streams, true) {
            let stream = reading.stream();
            tracing::error!(%stream, "More than {most} streams: rows of further ones are lost, and declared as gaps");
        }
        self.gap(Gap::unnumbered(None, 1, Reason::Undeliverable, format!("more than {most} streams")), now);
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
        if self.gaps.len() >= GAPS_MAX && !self.holding {
            let _ = self.commit(now);
        }
    }

    /// Declares that a record's frame will never be delivered. At once, or as soon as the disk works, the
    /// gap row is on disk; whenever the power goes, the frame is either declared or handed out again after
    /// the next start, and never both. The record is to be acknowledged when
    /// [`status`](Self::status) shows no trouble.
    pub fn give_up(&mut self, id: RecordId, gap: Gap, now: Now) {
        let given_up = GivenUp::of(&gap, (id.segment, id.offset + 1));
        self.gave_up |= given_up.is_some();
        self.queues.lock().given_up.extend(given_up);
        self.declare(gap);
        self.gaps_since.get_or_insert(now.mono);
        let _ = self.commit(now);
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
            let group = Group { mark: &mark, rows: &[], state: None };
            match self.journal.write(&group, self.settings.journal_bytes) {
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
}
