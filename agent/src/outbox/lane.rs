//! The three queues that a record can wait in, and the order in which the uplink takes from them.

use milepost_wire::Stream;

/// A queue of the spool: the uplink empties a lower one before it looks at the next, and a full spool
/// drops from the highest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Lane {
    /// `emergency_data` and `gap_data`: on disk before [`accept`](super::Outbox::accept) returns.
    Emergency = 0,
    /// Everything else.
    Live = 1,
    /// `camera_data`: large, and the first to go when the disk is full.
    Bulk = 2,
}

impl Lane {
    /// All lanes, in the order in which the uplink takes from them.
    pub const ALL: [Lane; 3] = [Lane::Emergency, Lane::Live, Lane::Bulk];

    /// The lane of a stream.
    pub fn of(stream: &Stream) -> Self {
        match stream {
            Stream::Emergency | Stream::Gap => Lane::Emergency,
            Stream::Camera => Lane::Bulk,
            _ => Lane::Live,
        }
    }

    /// The name in file names, in `agent_health` and in logs.
    pub fn name(self) -> &'static str {
        match self {
            Lane::Emergency => "emergency",
            Lane::Live => "live",
            Lane::Bulk => "bulk",
        }
    }
}

/// A place in a lane's log: an offset in one of its segments, and how many records of the lane stand
/// before it. Places of one lane are ordered as their records were written.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
pub(super) struct Place {
    /// The segment's number; the first is 1, and 0 is before all of them.
    pub(super) segment: u64,
    /// The offset in its file.
    pub(super) offset: u64,
    /// The records of the lane before this place, since the spool was made.
    pub(super) index: u64,
}

/// Names a record that the reader handed out, for its acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordId {
    /// The lane it waits in.
    pub lane: Lane,
    /// The segment's number.
    pub(super) segment: u64,
    /// The offset in its file.
    pub(super) offset: u64,
}
