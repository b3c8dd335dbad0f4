//! "Nothing lost" in the vehicle: readings are numbered, batched and kept on disk until the broker
//! has them.
//!
//! # What stands on disk
//! - **Segments** hold sealed batches as frames, a log for each [`Lane`]: `segment`, `lane_log`.
//! - **The journal** holds the readings of open batches, and the outbox's own state: `journal`.
//!
//! Both are made of the same self-proving records: `record`. A reading is first in an open batch in
//! memory; within the loss window it is either sealed into a frame in a segment, or written to the
//! journal as a small frame of its own, so that the window does not depend on the batch's size. What
//! is sealed before it would be journalled never touches the journal: at a high rate nothing is
//! written twice. A frame is durable before any mark says that its journal rows are dead, so no
//! reading is ever in neither. Rows that came with something that a transform remembers are the
//! exception: they and it go to the journal first, in one group, so that a crash finds them in step.
//!
//! # What a power cut takes
//! For each stream the last durable mark states a *promise*: the most readings that may be accepted
//! and not be on disk. The promise is kept by syncing before one more is taken, and raised, at most by
//! a quarter and a few, only by a mark that is durable first. So the gap row after a power cut states a
//! true upper bound, and after a clean [`close`](Outbox::close) there is none.
//!
//! # What does not happen here
//! The outbox is owned by the one pipeline thread and waits for nothing but the disk: time is an
//! argument ([`Now`]), and every touch of the disk goes through the [`Disk`] seam. It does not talk to
//! a broker, and drops no duplicates: those behind it do. The [`SpoolReader`] is the uplink's end.

pub mod disk;

mod gap;
mod lane;
mod settings;

mod record;
mod segment;

mod batches;
mod journal;
mod lane_log;
mod queue;
mod reader;
mod reserve;

mod recovery;
mod writer;

#[cfg(test)]
mod tests;

/// The outbox reads no clock: it is told what time it is.
pub use crate::clock::Now;
pub(crate) use batches::{STREAMS_MAX, weight};
pub use disk::{Disk, RealDisk};
pub use gap::{Gap, Reason};
pub use lane::{Lane, RecordId};
pub use reader::SpoolReader;
pub use settings::Settings;
pub use writer::{Outbox, Piece};

use milepost_wire::Stream;
use std::io;
use std::time::Duration;

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
    #[error(
        "The spool cannot {what}: {source}. Check that its folder exists, is writable and has space, and that its disk is sound"
    )]
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
    /// Bytes written to disk since the start.
    pub written: u64,
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
