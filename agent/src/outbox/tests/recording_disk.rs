//! A disk in memory that records what is done to it, rebuilds what a power cut may leave, and fails
//! when it is told to.

use super::Random;
use crate::outbox::disk::{Disk, File};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

/// The smallest piece that is written whole: smaller than a real disk's, so that a short group has
/// several.
const SECTOR: usize = 64;

#[derive(Clone, Debug)]
pub(super) enum Op {
    Create { inode: usize, name: String },
    Write { inode: usize, offset: u64, bytes: Vec<u8> },
    Truncate { inode: usize, len: u64 },
    Sync { inode: usize },
    Rename { from: String, to: String },
    Unlink { name: String },
    SyncDir,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) enum Fault {
    #[default]
    None,
    /// Writes end half way, and nothing new can be made.
    Full,
    /// Nothing can be changed.
    ReadOnly,
    /// Writes work and syncs do not.
    Sync,
    /// Every change fails.
    Io,
}

#[derive(Default)]
struct State {
    ops: Vec<Op>,
    files: BTreeMap<usize, Vec<u8>>,
    names: BTreeMap<String, usize>,
    inodes: usize,
    fault: Fault,
    /// The most bytes that all files may have together.
    space: Option<usize>,
    read: usize,
    /// Where reading fails: a file, and from which byte to which.
    unreadable: Option<(usize, u64, u64)>,
    /// How many reads pass before others fail, and how many fail then.
    unread: (u64, u64),
}

#[derive(Clone, Default)]
pub(super) struct RecordingDisk(Arc<Mutex<State>>);

struct Handle {
    disk: RecordingDisk,
    inode: usize,
}

fn apply(file: &mut Vec<u8>, offset: u64, bytes: &[u8]) {
    let (from, to) = (offset as usize, offset as usize + bytes.len());
    if file.len() < to {
        file.resize(to, 0);
    }
    file[from..to].copy_from_slice(bytes);
}

impl RecordingDisk {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("the test's disk")
    }

    pub(super) fn ops(&self) -> usize {
        self.lock().ops.len()
    }

    /// The bytes that operation `i` writes.
    pub(super) fn write_len(&self, i: usize) -> usize {
        match &self.lock().ops[i] {
            Op::Write { bytes, .. } => bytes.len(),
            _ => 0,
        }
    }

    /// Lets the files become no larger together than they are.
    pub(super) fn limit_to_present(&self) {
        let mut state = self.lock();
        state.space = Some(state.used());
    }

    pub(super) fn bytes_read(&self) -> usize {
        self.lock().read
    }

    pub(super) fn inodes_written(&self) -> BTreeSet<usize> {
        self.inodes_written_from(0)
    }

    pub(super) fn inodes_written_from(&self, from: usize) -> BTreeSet<usize> {
        let inode = |op: &Op| match op {
            Op::Write { inode, .. } => Some(*inode),
            _ => None,
        };
        self.lock().ops[from..].iter().filter_map(inode).collect()
    }

    pub(super) fn count(&self, which: impl Fn(&Op) -> bool) -> usize {
        self.lock().ops.iter().filter(|op| which(op)).count()
    }

    pub(super) fn fail(&self, fault: Fault) {
        self.lock().fault = fault;
    }

    pub(super) fn files(&self) -> Vec<(String, u64)> {
        self.list().expect("the test's disk lists")
    }

    pub(super) fn damage(&self, name: &str, at: u64, with: u8) {
        let mut state = self.lock();
        let inode = state.names[name];
        let file = state.files.get_mut(&inode).expect("the file");
        file[at as usize] ^= with;
    }

    pub(super) fn unreadable(&self, name: &str, from: u64, to: u64) {
        let mut state = self.lock();
        state.unreadable = Some((state.names[name], from, to));
    }

    /// After `passed` more reads, `failed` fail; those after them do not.
    pub(super) fn fail_reads(&self, passed: u64, failed: u64) {
        self.lock().unread = (passed, failed);
    }

    pub(super) fn remove(&self, name: &str) {
        self.lock().names.remove(name);
    }

    /// A disk with this one's present content and no history.
    pub(super) fn copy(&self) -> Self {
        let n = self.ops();
        self.after(n, &mut |_| Fate::Whole)
    }

    /// The operations of the first `n` whose effect is not sure at that point.
    pub(super) fn unsure(&self, n: usize) -> Vec<usize> {
        let state = self.lock();
        let mut unsure: Vec<usize> = Vec::new();
        for (i, op) in state.ops[..n].iter().enumerate() {
            match op {
                Op::Sync { inode } => unsure.retain(|u| match &state.ops[*u] {
                    Op::Write { inode: i, .. } | Op::Truncate { inode: i, .. } => i != inode,
                    _ => true,
                }),
                Op::SyncDir => {
                    unsure.retain(|u| matches!(state.ops[*u], Op::Write { .. } | Op::Truncate { .. }))
                }
                _ => unsure.push(i),
            }
        }
        unsure
    }

    /// The disk as a power cut after `n` operations leaves it, where `fate` says what becomes of each
    /// operation that was not made sure.
    pub(super) fn after(&self, n: usize, fate: &mut dyn FnMut(usize) -> Fate) -> Self {
        let unsure = self.unsure(n);
        let state = self.lock();
        let mut new = State { inodes: state.inodes, ..State::default() };
        // What was there before the recording began.
        if state.ops.is_empty() {
            (new.files, new.names) = (state.files.clone(), state.names.clone());
        }
        for (i, op) in state.ops[..n].iter().enumerate() {
            let fate = if unsure.binary_search(&i).is_ok() { fate(i) } else { Fate::Whole };
            if fate == Fate::Nothing && !matches!(op, Op::Create { .. }) {
                continue;
            }
            match op {
                Op::Create { inode, name } => {
                    // The file itself may be synced though its name is not.
                    new.files.insert(*inode, Vec::new());
                    if fate != Fate::Nothing {
                        new.names.insert(name.clone(), *inode);
                    }
                }
                Op::Write { inode, offset, bytes } => {
                    let Some(file) = new.files.get_mut(inode) else { continue };
                    match fate {
                        Fate::Torn(at) => apply(file, *offset, &bytes[..at.min(bytes.len())]),
                        Fate::Zeros => apply(file, *offset, &vec![0; bytes.len()]),
                        Fate::Sectors(seed) => {
                            let mut random = Random(seed);
                            for (j, piece) in bytes.chunks(SECTOR).enumerate() {
                                if random.below(2) == 0 {
                                    apply(file, *offset + (j * SECTOR) as u64, piece);
                                }
                            }
                        }
                        _ => apply(file, *offset, bytes),
                    }
                }
                Op::Truncate { inode, len } => {
                    if let Some(file) = new.files.get_mut(inode) {
                        file.resize(*len as usize, 0);
                    }
                }
                Op::Rename { from, to } => {
                    if let Some(inode) = new.names.remove(from) {
                        new.names.insert(to.clone(), inode);
                    }
                }
                Op::Unlink { name } => drop(new.names.remove(name)),
                Op::Sync { .. } | Op::SyncDir => {}
            }
        }
        // The history of the rebuilt disk begins with its content, all of it sure.
        let mut ops = Vec::new();
        for (name, inode) in &new.names {
            ops.push(Op::Create { inode: *inode, name: name.clone() });
            ops.push(Op::Write { inode: *inode, offset: 0, bytes: new.files[inode].clone() });
            ops.push(Op::Sync { inode: *inode });
        }
        ops.push(Op::SyncDir);
        new.ops = ops;
        Self(Arc::new(Mutex::new(new)))
    }
}

/// What becomes of an operation that was not made sure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Fate {
    Whole,
    Nothing,
    /// Only the first bytes.
    Torn(usize),
    /// Only some sectors.
    Sectors(u64),
    /// Only the length.
    Zeros,
}

fn error(kind: io::ErrorKind) -> io::Error {
    io::Error::new(kind, "the test says so")
}

impl State {
    fn used(&self) -> usize {
        self.names.values().map(|i| self.files[i].len()).sum()
    }

    fn read_fails(&mut self) -> bool {
        match &mut self.unread {
            (_, 0) => false,
            (0, failed) => {
                *failed -= 1;
                true
            }
            (passed, _) => {
                *passed -= 1;
                false
            }
        }
    }

    fn may_change(&self) -> io::Result<()> {
        match self.fault {
            Fault::None | Fault::Sync => Ok(()),
            Fault::Full => Err(error(io::ErrorKind::StorageFull)),
            Fault::ReadOnly => Err(error(io::ErrorKind::ReadOnlyFilesystem)),
            Fault::Io => Err(error(io::ErrorKind::Other)),
        }
    }
}

impl Disk for RecordingDisk {
    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let mut state = self.lock();
        state.may_change()?;
        if state.names.contains_key(name) {
            return Err(error(io::ErrorKind::AlreadyExists));
        }
        let inode = state.inodes;
        state.inodes += 1;
        state.files.insert(inode, Vec::new());
        state.names.insert(name.to_owned(), inode);
        state.ops.push(Op::Create { inode, name: name.to_owned() });
        Ok(Arc::new(Handle { disk: self.clone(), inode }))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let inode = *self.lock().names.get(name).ok_or_else(|| error(io::ErrorKind::NotFound))?;
        Ok(Arc::new(Handle { disk: self.clone(), inode }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.lock();
        state.may_change()?;
        let inode = state.names.remove(from).ok_or_else(|| error(io::ErrorKind::NotFound))?;
        state.names.insert(to.to_owned(), inode);
        state.ops.push(Op::Rename { from: from.to_owned(), to: to.to_owned() });
        Ok(())
    }

    fn unlink(&self, name: &str) -> io::Result<()> {
        let mut state = self.lock();
        // A full disk can be emptied.
        if state.fault != Fault::Full {
            state.may_change()?;
        }
        state.names.remove(name).ok_or_else(|| error(io::ErrorKind::NotFound))?;
        state.ops.push(Op::Unlink { name: name.to_owned() });
        Ok(())
    }

    fn sync_dir(&self) -> io::Result<()> {
        let mut state = self.lock();
        if matches!(state.fault, Fault::Sync | Fault::Io) {
            return Err(error(io::ErrorKind::Other));
        }
        state.ops.push(Op::SyncDir);
        Ok(())
    }

    fn list(&self) -> io::Result<Vec<(String, u64)>> {
        let state = self.lock();
        Ok(state.names.iter().map(|(n, i)| (n.clone(), state.files[i].len() as u64)).collect())
    }
}

impl File for Handle {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.disk.lock();
        let more = (offset as usize + bytes.len()).saturating_sub(state.files[&self.inode].len());
        if state.space.is_some_and(|space| state.used() + more > space) {
            return Err(error(io::ErrorKind::StorageFull));
        }
        let allowed = state.may_change();
        let written = match state.fault {
            Fault::Full => &bytes[..bytes.len() / 2],
            _ if allowed.is_err() => &[],
            _ => bytes,
        };
        if !written.is_empty() {
            apply(state.files.get_mut(&self.inode).expect("the file"), offset, written);
            state.ops.push(Op::Write { inode: self.inode, offset, bytes: written.to_vec() });
        }
        allowed
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.lock();
        if matches!(state.fault, Fault::Sync | Fault::Io) {
            return Err(error(io::ErrorKind::Other));
        }
        state.ops.push(Op::Sync { inode: self.inode });
        Ok(())
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let mut state = self.disk.lock();
        state.read += into.len();
        let touches = |(inode, from, to): (usize, u64, u64)| {
            inode == self.inode && offset < to && offset + into.len() as u64 > from
        };
        if state.unreadable.is_some_and(touches) || state.read_fails() {
            return Err(error(io::ErrorKind::Other));
        }
        let file = &state.files[&self.inode];
        let from = (offset as usize).min(file.len());
        let n = into.len().min(file.len() - from);
        into[..n].copy_from_slice(&file[from..from + n]);
        Ok(n)
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        let mut state = self.disk.lock();
        state.may_change()?;
        state.files.get_mut(&self.inode).expect("the file").resize(len as usize, 0);
        state.ops.push(Op::Truncate { inode: self.inode, len });
        Ok(())
    }
}
