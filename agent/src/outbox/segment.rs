//! Segments: the files of a lane's log, and what their bytes mean.
//!
//! A segment is named `<lane>-<number>.seg` and holds records (see [`record`](super::record)): its
//! header twice, so that one damaged place never takes both, then frames and skips in the order in
//! which they were sealed. The header says which number of each stream comes next in this lane, and a
//! skip says which numbers never come: so whatever is missing from a lane shows as a jump, to whoever
//! reads it, with no index beside it.

use super::lane::Lane;
use super::record::{self, Item, Scanner};
use super::{Gap, Reason};
use milepost_wire::{BootId, Header, Stream};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The version of segments that this program writes, and the newest that it reads. Any change of
/// [`SegmentHeader`] or [`Skip`] is a new one.
pub(super) const VERSION: u8 = 1;

/// The kind of a header's record; its payload is the version byte, then a [`SegmentHeader`].
pub(super) const HEADER: u8 = 1;
/// The kind of a frame's record; its payload is the frame.
pub(super) const FRAME: u8 = 2;
/// The kind of a [`Skip`]'s record.
pub(super) const SKIP: u8 = 3;

/// A stream of a boot: what sequence numbers belong to.
pub(super) type Key = (BootId, Stream);

/// What stands first in a segment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct SegmentHeader {
    /// The records of the lane in all segments before.
    pub(super) first_index: u64,
    /// For each stream, the number after its last one in the segments before.
    pub(super) expected: Vec<Skip>,
}

/// "The next frame of this stream begins at `next`, and that is right so."
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Skip {
    pub(super) boot: BootId,
    pub(super) stream: Stream,
    pub(super) next: u64,
}

/// A segment's file name.
pub(super) fn name(lane: Lane, number: u64) -> String {
    format!("{}-{number:016x}.seg", lane.name())
}

/// Reads a segment's file name.
pub(super) fn parse_name(file: &str) -> Option<(Lane, u64)> {
    let (lane, number) = file.strip_suffix(".seg")?.split_once('-')?;
    let lane = Lane::ALL.into_iter().find(|l| l.name() == lane)?;
    let number = u64::from_str_radix(number, 16).ok()?;
    (name(lane, number) == file).then_some((lane, number))
}

/// The bytes that a new segment begins with.
pub(super) fn begin(salt: u32, header: &SegmentHeader) -> Vec<u8> {
    let mut payload = vec![VERSION];
    payload.extend(encode(header));
    let mut out = Vec::new();
    record::put(&mut out, salt, HEADER, &payload);
    record::put(&mut out, salt, HEADER, &payload);
    out
}

/// What comes next of each stream, as a header says it.
pub(super) fn skips(expected: &BTreeMap<Key, u64>) -> Vec<Skip> {
    let skip = |(key, next): (&Key, &u64)| Skip { boot: key.0, stream: key.1.clone(), next: *next };
    expected.iter().map(skip).collect()
}

/// Postcard bytes of one of our own small types, which cannot fail.
pub(super) fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    postcard::to_allocvec(value).unwrap_or_default()
}

/// A header record's content, or the version that this program does not know.
pub(super) fn parse_header(payload: &[u8]) -> Result<Option<SegmentHeader>, u8> {
    match payload.split_first() {
        Some((&VERSION, rest)) => Ok(postcard::from_bytes(rest).ok()),
        Some((&version, _)) => Err(version),
        None => Ok(None),
    }
}

/// Finds what is missing from a lane: compares each frame with what should come next.
#[derive(Clone, Debug, Default)]
pub(super) struct Tracker {
    expected: BTreeMap<Key, u64>,
    /// Whether a stream that is not in `expected` is known to begin at 0: a header was read.
    complete: bool,
}

impl Tracker {
    /// A frame comes by; returns the readings that are missing before it.
    pub(super) fn frame(&mut self, header: &Header) -> Option<Gap> {
        let key = (header.boot, header.stream.clone());
        let missing = self.missing(&key, header.first_seq);
        let next = self.expected.entry(key).or_default();
        *next = (*next).max(header.last_seq().saturating_add(1));
        missing
    }

    /// A skip comes by: what it jumps over is declared elsewhere.
    pub(super) fn skip(&mut self, skip: Skip) {
        let next = self.expected.entry((skip.boot, skip.stream)).or_default();
        *next = (*next).max(skip.next);
    }

    /// The header of the following segment comes by; returns what is missing before it.
    pub(super) fn header(&mut self, header: SegmentHeader) -> Vec<Gap> {
        let mut gaps = Vec::new();
        let mut expected = BTreeMap::new();
        for skip in header.expected {
            let key = (skip.boot, skip.stream);
            gaps.extend(self.missing(&key, skip.next));
            let seen = self.expected.get(&key).copied().unwrap_or(0);
            expected.insert(key, skip.next.max(seen));
        }
        *self = Self { expected, complete: true };
        gaps
    }

    /// Whether a header was read, so that all is known that comes next.
    pub(super) fn is_complete(&self) -> bool {
        self.complete
    }

    fn missing(&self, key: &Key, found: u64) -> Option<Gap> {
        let expected = match self.expected.get(key) {
            Some(next) => *next,
            None if self.complete => 0,
            None => return None,
        };
        let range = || Gap::range(key.1.clone(), key.0, expected, found - 1, Reason::Corrupt);
        (found > expected).then(range)
    }
}

/// What a segment's scan yields, understood.
pub(super) enum Piece {
    Header(SegmentHeader),
    Frame(Header, Vec<u8>),
    Skip(Skip),
    /// Bytes that are no record, or a record that this program cannot use.
    Damage,
}

/// The next piece of a segment, with where it begins and ends.
pub(super) fn next_piece(scanner: &mut Scanner) -> Option<(u64, u64, Piece)> {
    Some(match scanner.next()? {
        Item::Damage { at, end } => (at, end, Piece::Damage),
        Item::Record { at, end, kind, payload } => {
            let piece = match kind {
                HEADER => parse_header(&payload).ok().flatten().map(Piece::Header),
                SKIP => postcard::from_bytes(&payload).ok().map(Piece::Skip),
                FRAME => milepost_wire::frame::check(&payload).ok().map(|h| Piece::Frame(h, payload)),
                _ => None,
            };
            (at, end, piece.unwrap_or(Piece::Damage))
        }
    })
}
