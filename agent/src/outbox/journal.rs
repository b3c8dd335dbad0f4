//! The journal: what keeps the readings of open batches, and the outbox's own state, through a power
//! cut.
//!
//! A generation is a file named `journal-<number>.log` of records (see [`record`](super::record)). It
//! begins with the whole state, twice, and appears by a rename, so that a generation that can be seen
//! is whole. Then come groups, each written and synced at once: the state again ([`Mark`]), and the
//! rows that open batches took since the last group, as frames of their own. Rows are dead once a
//! durable frame in a segment holds them; the mark of a later group says so, and a recovery that does
//! not find that mark finds the frame. A generation is unlinked when all its rows are dead.
//!
//! A group may also hold a *checkpoint*: what the transforms remember, and the rows that they gave since
//! the last one, which count only where the checkpoint does. So a crash finds the two in step. Every
//! generation begins with the newest checkpoint.

use super::OpenError;
use super::disk::{Disk, File};
use super::lane::Place;
use super::queue::GivenUp;
use super::record::{self, Item, Scanner};
use super::segment::{Key, encode};
use milepost_wire::{BootId, Stream, frame};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

/// The version of journals that this program writes, and the newest that it reads. Any change of
/// [`Mark`] is a new one, and any new kind of record. 1 had no checkpoints.
const VERSION: u8 = 2;
/// The kind of a mark's record; its payload is the version byte, then a [`Mark`], then, where there is
/// any, what is given up: an agent that does not know of that part ignores it.
const MARK: u8 = 1;
/// The kind of a rows record; its payload is a frame.
const ROWS: u8 = 2;
/// The kind of a rows record that counts with the checkpoint behind it; its payload is a frame.
const HELD: u8 = 3;
/// The kind of a [`Checkpoint`]'s record.
const CHECKPOINT: u8 = 4;
/// A generation that is being written.
const TEMPORARY: &str = "journal.tmp";

/// The state of the outbox.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Mark {
    /// The boot that writes.
    pub(super) boot: BootId,
    /// Whether it ended in order: nothing follows.
    pub(super) clean: bool,
    /// In the order of the lanes.
    pub(super) lanes: [LaneMark; 3],
    /// Every stream of this boot, and those of earlier boots that the journal has rows of.
    pub(super) streams: Vec<StreamMark>,
    /// What was declared lost and still stands in a segment.
    #[serde(skip)]
    pub(super) given_up: Vec<GivenUp>,
}

/// A lane's part of the state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct LaneMark {
    /// All before this is acknowledged.
    pub(super) cursor: Place,
    /// Nothing from here on was ever handed to the uplink.
    pub(super) handed: Place,
    /// All before this is durable; what follows is looked for at the next start.
    pub(super) end: Place,
}

/// A stream's part of the state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct StreamMark {
    /// Its boot, where that is an earlier one.
    pub(super) boot: Option<BootId>,
    pub(super) stream: Stream,
    /// All numbers below are in durable frames, or declared lost.
    pub(super) sealed: u64,
    /// The most readings that may be accepted and not be on disk.
    pub(super) promise: u32,
}

/// What the transforms remember, and how much is held for it.
#[derive(Serialize, Deserialize)]
struct Checkpoint<'a> {
    /// The rows records of its group.
    held: u32,
    #[serde(borrow)]
    state: &'a [u8],
}

/// What is written and synced at once.
pub(super) struct Group<'a> {
    pub(super) mark: &'a Mark,
    /// Frames of rows.
    pub(super) rows: &'a [Vec<u8>],
    /// What the transforms remember after these rows, where that is new.
    pub(super) state: Option<&'a Arc<[u8]>>,
}

impl Group<'_> {
    fn put(&self, out: &mut Vec<u8>, salt: u32) {
        put_mark(out, salt, self.mark);
        let kind = if self.state.is_some() { HELD } else { ROWS };
        self.rows.iter().for_each(|r| record::put(out, salt, kind, r));
        if let Some(state) = self.state {
            put_checkpoint(out, salt, self.rows.len(), state);
        }
    }
}

/// The writer.
pub(super) struct Journal {
    disk: Arc<dyn Disk>,
    current: Option<Current>,
    /// Generations with rows that may still be alive, oldest first.
    old: Vec<u64>,
    next: u64,
    written: u64,
    /// The newest checkpoint's state; empty where there is none.
    state: Arc<[u8]>,
}

struct Current {
    number: u64,
    file: Arc<dyn File>,
    salt: u32,
    len: u64,
}

fn name(number: u64) -> String {
    format!("journal-{number:016x}.log")
}

fn parse_name(file: &str) -> Option<u64> {
    let number = u64::from_str_radix(file.strip_prefix("journal-")?.strip_suffix(".log")?, 16).ok()?;
    (name(number) == file).then_some(number)
}

fn put_mark(out: &mut Vec<u8>, salt: u32, mark: &Mark) {
    let mut payload = vec![VERSION];
    payload.extend(encode(mark));
    if !mark.given_up.is_empty() {
        payload.extend(encode(&mark.given_up));
    }
    record::put(out, salt, MARK, &payload);
}

fn put_checkpoint(out: &mut Vec<u8>, salt: u32, held: usize, state: &[u8]) {
    let held = u32::try_from(held).unwrap_or(u32::MAX);
    record::put(out, salt, CHECKPOINT, &encode(&Checkpoint { held, state }));
}

impl Journal {
    /// A journal that begins a new generation at its first write. `state` is what the transforms
    /// remembered by the generations that are there.
    pub(super) fn new(disk: Arc<dyn Disk>, generations: Vec<u64>, state: Arc<[u8]>) -> Self {
        let next = generations.last().map_or(1, |g| g + 1);
        Self { disk, current: None, old: generations, next, written: 0, state }
    }

    /// Writes and syncs a group. Returns the generation that it is in. After an error the group is
    /// not to be counted on, the file is not written again, and the next call makes a new one.
    pub(super) fn write(&mut self, group: &Group<'_>, bytes_max: u64) -> io::Result<u64> {
        let full = self.current.as_ref().is_none_or(|c| c.len >= bytes_max);
        let result = if full { self.begin(group) } else { self.append(group) };
        match result {
            Ok(()) => {
                if let Some(state) = group.state {
                    self.state = state.clone();
                }
                Ok(self.current.as_ref().map_or(0, |c| c.number))
            }
            Err(e) => {
                self.retire();
                Err(e)
            }
        }
    }

    fn append(&mut self, group: &Group<'_>) -> io::Result<()> {
        let Some(current) = &mut self.current else { return Ok(()) };
        let mut bytes = Vec::new();
        group.put(&mut bytes, current.salt);
        current.file.write_at(current.len, &bytes)?;
        current.file.sync()?;
        current.len += bytes.len() as u64;
        self.written += bytes.len() as u64;
        Ok(())
    }

    fn begin(&mut self, group: &Group<'_>) -> io::Result<()> {
        self.retire();
        // What an earlier attempt left; usually there is none.
        let _ = self.disk.unlink(TEMPORARY);
        let number = self.next;
        let salt = record::salt(&name(number));
        let mut bytes = Vec::new();
        put_mark(&mut bytes, salt, group.mark);
        if group.state.is_none() && !self.state.is_empty() {
            put_checkpoint(&mut bytes, salt, 0, &self.state);
        }
        group.put(&mut bytes, salt);
        let file = self.disk.create(TEMPORARY)?;
        file.write_at(0, &bytes)?;
        file.sync()?;
        // From here on the name may be taken, whatever the calls return.
        self.next += 1;
        let len = bytes.len() as u64;
        self.written += len;
        self.disk.rename(TEMPORARY, &name(number))?;
        self.current = Some(Current { number, file, salt, len });
        self.disk.sync_dir()
    }

    fn retire(&mut self) {
        self.old.extend(self.current.take().map(|c| c.number));
    }

    /// The oldest generation that stands.
    pub(super) fn oldest(&self) -> Option<u64> {
        self.old.first().copied()
    }

    /// Unlinks the generations before `oldest`: the first that has a living row. They are dead by a
    /// mark that is durable.
    pub(super) fn release(&mut self, oldest: Option<u64>) {
        let oldest = oldest.or(self.current.as_ref().map(|c| c.number)).unwrap_or(0);
        self.old.retain(|g| {
            *g >= oldest || self.disk.unlink(&name(*g)).is_err_and(|e| e.kind() != io::ErrorKind::NotFound)
        });
    }

    /// Bytes written since the start.
    pub(super) fn written(&self) -> u64 {
        self.written
    }
}

/// What the journal of earlier boots says.
#[derive(Default)]
pub(super) struct Replayed {
    /// The last state; `None` where there is no journal.
    pub(super) mark: Option<Mark>,
    /// What each stream was last said to have sealed.
    pub(super) sealed: BTreeMap<Key, u64>,
    /// The last state's promises of its boot.
    pub(super) promises: BTreeMap<Stream, u32>,
    /// The frames of rows: by stream and first number, with the number after the last.
    pub(super) rows: BTreeMap<(Key, u64), (u64, Vec<u8>)>,
    /// The generations that were found, oldest first.
    pub(super) generations: Vec<u64>,
    /// Whether bytes that are no record follow the last state.
    pub(super) torn: bool,
    /// What the transforms remembered at the newest checkpoint; empty where there is none.
    pub(super) state: Vec<u8>,
    /// Frames of rows whose checkpoint was not met yet.
    held: Vec<Vec<u8>>,
}

/// Reads all generations.
pub(super) fn replay(disk: &Arc<dyn Disk>, files: &[(String, u64)]) -> Result<Replayed, OpenError> {
    let mut found: Vec<(u64, u64)> =
        files.iter().filter_map(|(f, len)| Some((parse_name(f)?, *len))).collect();
    found.sort_unstable();
    let mut out = Replayed { generations: found.iter().map(|f| f.0).collect(), ..Replayed::default() };
    for (number, len) in found {
        let file = name(number);
        let open =
            disk.open(&file).map_err(|source| OpenError::Io { what: format!("open {file}"), source })?;
        let mut scanner = Scanner::new(open, record::salt(&file), 0, len);
        for item in scanner.by_ref() {
            let Item::Record { kind, payload, .. } = item else {
                out.torn = true;
                continue;
            };
            match kind {
                MARK => out.mark(&file, &payload)?,
                ROWS => out.rows(payload),
                HELD => out.held.push(payload),
                CHECKPOINT => out.checkpoint(&payload),
                _ => {}
            }
        }
        scanner.failure().map_err(|source| OpenError::Io { what: format!("read {file}"), source })?;
    }
    let sealed = std::mem::take(&mut out.sealed);
    out.rows.retain(|(key, _), (next, _)| *next > sealed.get(key).copied().unwrap_or(0));
    out.sealed = sealed;
    Ok(out)
}

impl Replayed {
    fn mark(&mut self, file: &str, payload: &[u8]) -> Result<(), OpenError> {
        let Some((&version, rest)) = payload.split_first() else { return Ok(()) };
        if version > VERSION {
            return Err(OpenError::Version { file: file.to_owned(), version });
        }
        let Ok((mut mark, rest)) = postcard::take_from_bytes::<Mark>(rest) else { return Ok(()) };
        mark.given_up = postcard::from_bytes(rest).unwrap_or_default();
        match self.mark.as_ref().is_some_and(|last| last.boot == mark.boot) {
            // Its boot wrote on, so the group was whole and its checkpoint has rotted since.
            true => self.count_held(),
            // That boot ended within the group.
            false => self.held.clear(),
        }
        self.promises.clear();
        for stream in &mark.streams {
            let sealed =
                self.sealed.entry((stream.boot.unwrap_or(mark.boot), stream.stream.clone())).or_default();
            *sealed = stream.sealed.max(*sealed);
            if stream.boot.is_none() {
                self.promises.insert(stream.stream.clone(), stream.promise);
            }
        }
        (self.mark, self.torn) = (Some(mark), false);
        Ok(())
    }

    /// The state counts together with the rows that stand before it, or not at all.
    fn checkpoint(&mut self, payload: &[u8]) {
        let Ok(checkpoint) = postcard::from_bytes::<Checkpoint<'_>>(payload) else { return };
        if checkpoint.held as usize == self.held.len() {
            self.state = checkpoint.state.to_vec();
            self.count_held();
        }
    }

    fn count_held(&mut self) {
        for payload in std::mem::take(&mut self.held) {
            self.rows(payload);
        }
    }

    fn rows(&mut self, payload: Vec<u8>) {
        let Ok(header) = frame::check(&payload) else { return };
        let (key, next) = ((header.boot, header.stream.clone()), header.last_seq().saturating_add(1));
        let rows = self.rows.entry((key, header.first_seq)).or_default();
        if next > rows.0 {
            *rows = (next, payload);
        }
    }
}
