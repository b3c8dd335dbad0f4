//! A lane's log: appends what is sealed to the lane's segments, a group at a time.
//!
//! A group is written and synced in one go and stays in memory until that has worked. After a failure
//! the segment is left as it was at its last good sync and the group goes to a new one: what a failed
//! sync has done to a file, nobody knows.

use super::disk::{Disk, File};
use super::lane::{Lane, Place};
use super::queue::Queues;
use super::record;
use super::segment::{self, Key, SegmentHeader, Skip};
use milepost_wire::{BootId, Stream};
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// What waits to be appended.
pub(super) enum Entry {
    /// A frame, and the number after its last.
    Frame { key: Key, next: u64, bytes: Vec<u8> },
    /// Numbers that no frame has.
    Skip(Skip),
}

/// The writer of one lane.
pub(super) struct LaneLog {
    lane: Lane,
    disk: Arc<dyn Disk>,
    current: Option<Current>,
    next_number: u64,
    /// All before this is durable.
    end: Place,
    /// The next number of each stream that this lane has a frame of.
    expected: BTreeMap<Key, u64>,
    pending: Vec<Entry>,
    pending_bytes: usize,
    /// Frames made durable since the start.
    pub(super) sealed: u64,
    /// Bytes written since the start.
    pub(super) written: u64,
}

struct Current {
    number: u64,
    file: Arc<dyn File>,
    salt: u32,
    len: u64,
}

impl LaneLog {
    /// A writer that begins a new segment, `next_number` or later, at its first group.
    pub(super) fn new(
        lane: Lane,
        disk: Arc<dyn Disk>,
        next_number: u64,
        end: Place,
        expected: BTreeMap<Key, u64>,
    ) -> Self {
        let (pending, pending_bytes, sealed, written) = (Vec::new(), 0, 0, 0);
        Self {
            lane,
            disk,
            current: None,
            next_number,
            end,
            expected,
            pending,
            pending_bytes,
            sealed,
            written,
        }
    }

    /// Appends to the group.
    pub(super) fn push(&mut self, entry: Entry) {
        if let Entry::Frame { bytes, .. } = &entry {
            self.pending_bytes += bytes.len();
        }
        self.pending.push(entry);
    }

    /// The bytes of the group.
    pub(super) fn pending_bytes(&self) -> usize {
        self.pending_bytes
    }

    /// The frames of a stream that wait to be appended.
    pub(super) fn pending_frames(&self, stream: &Stream) -> impl Iterator<Item = &[u8]> {
        self.pending.iter().filter_map(move |entry| match entry {
            Entry::Frame { key, bytes, .. } if key.1 == *stream => Some(bytes.as_slice()),
            _ => None,
        })
    }

    /// All before this is durable.
    pub(super) fn end(&self) -> Place {
        self.end
    }

    /// The segment that is being written.
    pub(super) fn current(&self) -> Option<u64> {
        self.current.as_ref().map(|c| c.number)
    }

    /// Leaves the segment: the next group begins a new one.
    pub(super) fn leave(&mut self) {
        self.current = None;
    }

    /// Makes the group durable and lets the reader see it. Nothing changes on an error.
    pub(super) fn commit(
        &mut self,
        boot: BootId,
        segment_bytes: u64,
        queues: &Queues,
        mono: Duration,
    ) -> io::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        if self.current.as_ref().is_some_and(|c| c.len >= segment_bytes) {
            self.leave();
        }
        let fresh = self.current.is_none();
        let wrote = if fresh { self.begin() } else { self.append() };
        if let Err(e) = wrote {
            self.leave();
            return Err(e);
        }
        if fresh {
            // The header has told where earlier boots ended; nothing follows of them but what a
            // recovery writes now.
            self.expected.retain(|key, _| key.0 == boot);
        }
        for entry in self.pending.drain(..) {
            let (key, next) = match entry {
                Entry::Frame { key, next, .. } => {
                    self.end.index += 1;
                    self.sealed += 1;
                    (key, next)
                }
                Entry::Skip(skip) => ((skip.boot, skip.stream), skip.next),
            };
            let expected = self.expected.entry(key).or_default();
            *expected = next.max(*expected);
        }
        self.pending_bytes = 0;
        if let Some(current) = &self.current {
            (self.end.segment, self.end.offset) = (current.number, current.len);
        }
        queues.lock().lanes[self.lane as usize].extend(self.end, mono);
        Ok(())
    }

    fn group(&self, out: &mut Vec<u8>, salt: u32) {
        for entry in &self.pending {
            match entry {
                Entry::Frame { bytes, .. } => record::put(out, salt, segment::FRAME, bytes),
                Entry::Skip(skip) => record::put(out, salt, segment::SKIP, &segment::encode(skip)),
            }
        }
    }

    fn append(&mut self) -> io::Result<()> {
        let Some(current) = &self.current else { return Ok(()) };
        let mut bytes = Vec::with_capacity(self.pending_bytes + 64 * self.pending.len());
        self.group(&mut bytes, current.salt);
        let (len, file) = (current.len, current.file.clone());
        if let Err(e) = file.write_at(len, &bytes).and_then(|()| file.sync()) {
            // Best effort: what stays behind is found and cut, or read twice, at the next start.
            let _ = file.truncate(len);
            return Err(e);
        }
        self.written += bytes.len() as u64;
        if let Some(current) = &mut self.current {
            current.len += bytes.len() as u64;
        }
        Ok(())
    }

    fn begin(&mut self) -> io::Result<()> {
        let number = self.next_number;
        // Whatever happens, no later segment gets this name.
        self.next_number += 1;
        let name = segment::name(self.lane, number);
        let salt = record::salt(&name);
        let expected =
            self.expected.iter().map(|(key, next)| Skip { boot: key.0, stream: key.1.clone(), next: *next });
        let header = SegmentHeader { first_index: self.end.index, expected: expected.collect() };
        let mut bytes = segment::begin(salt, &header);
        self.group(&mut bytes, salt);
        let file = self.disk.create(&name)?;
        let wrote = file.write_at(0, &bytes).and_then(|()| file.sync()).and_then(|()| self.disk.sync_dir());
        if let Err(e) = wrote {
            let _ = self.disk.unlink(&name);
            return Err(e);
        }
        self.written += bytes.len() as u64;
        self.current = Some(Current { number, file, salt, len: bytes.len() as u64 });
        Ok(())
    }
}
