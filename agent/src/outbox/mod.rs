//! "Nothing lost" in the vehicle: readings are numbered, batched and kept on disk until the broker
//! has them.
//!
//! The outbox is owned by the one pipeline thread and does no waiting of its own: time is an argument
//! ([`Now`]), and every touch of the disk goes through the [`Disk`] seam. The [`SpoolReader`] is the
//! uplink's end.

pub mod disk;
mod gap;
mod lane;
mod settings;

pub use disk::{Disk, RealDisk};
pub use gap::{Gap, Reason};
pub use lane::{Lane, RecordId};
pub use settings::Settings;

use milepost_wire::{Batch, BootId, Clock, Digest, Reading, Stream, VehicleId, frame};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// What time it is: the outbox reads no clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Since some moment before the agent's start; never goes back. All ages and deadlines are of it.
    pub mono: Duration,
    /// µs since 1970 UTC: only for the `ts` of the gap rows that the outbox writes itself.
    pub wall_us: i64,
    /// Where `wall_us` comes from.
    pub trust: Clock,
}

/// Why a reading was not taken. It has no number and can be offered again.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The disk takes nothing, and all that may be in danger already is. Offer it again later: the
    /// outbox tries the disk again about once a second.
    #[error(
        "The spool cannot write ({0}), so no more readings are taken until it can: free space or check the disk"
    )]
    Disk(String),
    /// [`Outbox::close`] was called.
    #[error("The outbox is closed")]
    Closed,
}

/// Why there is no outbox.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The disk failed.
    #[error("The spool cannot {what}: {source}. Check that its folder exists, is writable and has space")]
    Io {
        /// What was tried.
        what: String,
        /// What the system said.
        source: io::Error,
    },
    /// A newer agent wrote this spool.
    #[error(
        "The spool's file {file} has version {version}, which this agent does not know: upgrade the agent, or empty the spool with the newer one first"
    )]
    Version {
        /// The file.
        file: String,
        /// Its version.
        version: u8,
    },
}

/// A stream's numbers, for `agent_health`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamStatus {
    /// The stream.
    pub stream: Stream,
    /// The number that its next reading gets: all below were given.
    pub next_seq: u64,
}

/// A lane's state, for `agent_health`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneStatus {
    /// The lane.
    pub lane: Lane,
    /// Records that wait for their acknowledgement.
    pub depth: u64,
    /// Bytes of its segments on disk.
    pub bytes: u64,
    /// How long the oldest record has waited, counted from this start of the agent at the earliest.
    pub age: Duration,
    /// Records written since the start.
    pub sealed: u64,
    /// Records acknowledged since the start.
    pub acked: u64,
    /// Records dropped since the start because the spool was full.
    pub dropped: u64,
}

/// The outbox's state, for `agent_health`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Every stream that had a reading in this boot.
    pub streams: Vec<StreamStatus>,
    /// The lanes, in their order.
    pub lanes: [LaneStatus; 3],
    /// What is wrong with the disk, while it is.
    pub trouble: Option<String>,
    /// Failed writes and syncs since the start.
    pub errors: u64,
}

/// One frame that waits for its delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its lane.
    pub lane: Lane,
    /// Names it for [`SpoolReader::ack`].
    pub id: RecordId,
    /// The stream, for the topic.
    pub stream: Stream,
    /// The frame: what is published.
    pub frame: Vec<u8>,
}

#[derive(Default)]
struct Shared {
    records: [VecDeque<(u64, Stream, Vec<u8>)>; 3],
    acked: [BTreeSet<u64>; 3],
    next: [u64; 3],
    counts: [(u64, u64); 3],
}

/// The pipeline's end: takes readings, keeps them.
pub struct Outbox {
    settings: Settings,
    vehicle: VehicleId,
    boot: BootId,
    open: BTreeMap<Stream, (Batch, Duration)>,
    next_seq: BTreeMap<Stream, u64>,
    shared: Arc<Mutex<Shared>>,
    notify: Arc<Notify>,
    closed: bool,
}

/// The uplink's end: hands out what waits, oldest first, the first lane first. It has its own file
/// handles and never blocks the pipeline for longer than a lock on a few numbers.
pub struct SpoolReader {
    shared: Arc<Mutex<Shared>>,
    notify: Arc<Notify>,
    at: [u64; 3],
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Outbox {
    /// Opens the spool and recovers what an earlier boot left: its open batches become frames under
    /// their own numbers, and after an unclean stop gap rows say what can be missing.
    pub fn open(
        disk: Arc<dyn Disk>,
        settings: Settings,
        vehicle: VehicleId,
        boot: BootId,
        _now: Now,
    ) -> Result<(Outbox, SpoolReader), OpenError> {
        let _ = disk;
        let (shared, notify) = (Arc::<Mutex<Shared>>::default(), Arc::new(Notify::new()));
        let reader = SpoolReader { shared: shared.clone(), notify: notify.clone(), at: [0; 3] };
        let (open, next_seq) = (BTreeMap::new(), BTreeMap::new());
        Ok((Outbox { settings, vehicle, boot, open, next_seq, shared, notify, closed: false }, reader))
    }

    /// Numbers a reading and keeps it. `lineage` names the transforms that it passed.
    ///
    /// On `Ok` it is on disk within the loss window; a reading of the emergency lane is before this
    /// returns. A reading that no frame can carry is `Ok` too: its number is declared in a gap row.
    pub fn accept(&mut self, reading: &Reading, lineage: &[Digest], now: Now) -> Result<(), Refused> {
        if self.closed {
            return Err(Refused::Closed);
        }
        let stream = reading.stream();
        for _ in 0..2 {
            let seq = *self.next_seq.entry(stream.clone()).or_default();
            let columns = match &reading.body {
                milepost_wire::Body::Derived(row) => &row.columns[..],
                _ => stream.columns().unwrap_or_default(),
            };
            let (batch, _) = self.open.entry(stream.clone()).or_insert_with(|| {
                let (vehicle, boot) = (self.vehicle.clone(), self.boot);
                (Batch::new(vehicle, boot, stream.clone(), columns, seq, lineage.to_vec()), now.mono)
            });
            if batch.lineage == lineage && batch.push(reading).is_ok() {
                *self.next_seq.entry(stream.clone()).or_default() += 1;
                let full = batch.len() >= self.settings.batch_count_max as usize;
                if full || Lane::of(&stream) != Lane::Live {
                    self.seal(&stream);
                }
                return Ok(());
            }
            self.seal(&stream);
        }
        Ok(())
    }

    /// Declares a loss that somebody else knows of: it becomes a row of `gap_data`.
    pub fn gap(&mut self, gap: Gap, now: Now) {
        let row = gap.reading(self.boot, now);
        if let Err(why) = self.accept(&row, &[], now) {
            tracing::error!(%why, "a gap row was refused");
        }
    }

    /// Does what is due: syncs, seals aged batches, writes the cursor, frees what was acknowledged.
    /// Returns when to call again at the latest, on the clock of [`Now::mono`].
    pub fn tick(&mut self, now: Now) -> Duration {
        let age_max = self.settings.batch_age_max;
        let aged = |(s, (_, opened)): (&Stream, &(Batch, Duration))| {
            (now.mono.saturating_sub(*opened) >= age_max).then(|| s.clone())
        };
        for stream in self.open.iter().filter_map(aged).collect::<Vec<_>>() {
            self.seal(&stream);
        }
        now.mono + self.settings.loss_window
    }

    /// Seals every open batch and syncs.
    pub fn flush(&mut self, now: Now) {
        for stream in self.open.keys().cloned().collect::<Vec<_>>() {
            self.seal(&stream);
        }
        self.tick(now);
    }

    /// [`flush`](Self::flush), then the mark of a clean end: the next boot declares no loss.
    pub fn close(&mut self, now: Now) {
        self.flush(now);
        self.closed = true;
    }

    /// The state, for `agent_health`.
    pub fn status(&self, _now: Now) -> Status {
        let shared = lock(&self.shared);
        let lane = |lane: Lane| LaneStatus {
            lane,
            depth: shared.records[lane as usize].len() as u64,
            bytes: shared.records[lane as usize].iter().map(|r| r.2.len() as u64).sum(),
            age: Duration::ZERO,
            sealed: shared.counts[lane as usize].0,
            acked: shared.counts[lane as usize].1,
            dropped: 0,
        };
        let streams = self.next_seq.iter().map(|(s, n)| StreamStatus { stream: s.clone(), next_seq: *n });
        Status { streams: streams.collect(), lanes: Lane::ALL.map(lane), trouble: None, errors: 0 }
    }

    fn seal(&mut self, stream: &Stream) {
        let Some((batch, _)) = self.open.remove(stream) else { return };
        if let Ok(frame) = frame::encode(&batch) {
            let (mut shared, lane) = (lock(&self.shared), Lane::of(stream) as usize);
            let n = shared.next[lane];
            shared.next[lane] += 1;
            shared.counts[lane].0 += 1;
            shared.records[lane].push_back((n, stream.clone(), frame));
            self.notify.notify_one();
        }
    }
}

impl SpoolReader {
    /// The next record that was not handed out since the last [`rewind`](Self::rewind), or `None`
    /// where there is none; then wait for [`notify`](Self::notify).
    pub fn next(&mut self) -> Option<Record> {
        let shared = lock(&self.shared);
        for lane in Lane::ALL {
            let (records, at) = (&shared.records[lane as usize], &mut self.at[lane as usize]);
            if let Some((n, stream, frame)) = records.iter().find(|r| r.0 >= *at) {
                *at = n + 1;
                let id = RecordId { lane, segment: 1, offset: *n };
                return Some(Record { lane, id, stream: stream.clone(), frame: frame.clone() });
            }
        }
        None
    }

    /// Starts again at the oldest record without an acknowledgement: after every reconnection.
    pub fn rewind(&mut self) {
        self.at = [0; 3];
    }

    /// The broker has this record. Acknowledgements may come in any order, twice and late.
    pub fn ack(&mut self, id: RecordId) {
        let (mut shared, lane) = (lock(&self.shared), id.lane as usize);
        shared.acked[lane].insert(id.offset);
        while let Some(n) =
            shared.records[lane].front().map(|r| r.0).filter(|n| shared.acked[lane].contains(n))
        {
            shared.records[lane].pop_front();
            shared.acked[lane].remove(&n);
            shared.counts[lane].1 += 1;
        }
    }

    /// Is notified when there may be more to read.
    pub fn notify(&self) -> Arc<Notify> {
        self.notify.clone()
    }
}
