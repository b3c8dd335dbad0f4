//! A real disk that counts what is asked of it, for tests and benches.

use milepost_agent::outbox::disk::{Disk, File, RealDisk};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What was asked of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Syncs of files and of the folder.
    pub(crate) syncs: u64,
    /// Bytes read.
    pub(crate) read: u64,
    /// Files opened.
    pub(crate) opened: u64,
}

#[derive(Default)]
struct Counters {
    syncs: AtomicU64,
    read: AtomicU64,
    opened: AtomicU64,
}

/// The disk.
pub(crate) struct Counting {
    disk: RealDisk,
    counters: Arc<Counters>,
    /// Syncs are counted and not made: for what a test makes ready.
    lazy: bool,
}

struct CountingFile {
    file: Arc<dyn File>,
    counters: Arc<Counters>,
    lazy: bool,
}

impl Counting {
    /// Takes a folder.
    pub(crate) fn new(dir: &Path) -> io::Result<Self> {
        Ok(Self { disk: RealDisk::new(dir)?, counters: Arc::default(), lazy: false })
    }

    /// Takes a folder, and syncs nothing.
    pub(crate) fn lazy(dir: &Path) -> io::Result<Self> {
        Ok(Self { lazy: true, ..Self::new(dir)? })
    }

    /// What was asked of it until now.
    pub(crate) fn counts(&self) -> Counts {
        let Counters { syncs, read, opened } = &*self.counters;
        Counts { syncs: syncs.load(Relaxed), read: read.load(Relaxed), opened: opened.load(Relaxed) }
    }

    fn wrap(&self, file: Arc<dyn File>) -> Arc<dyn File> {
        Arc::new(CountingFile { file, counters: self.counters.clone(), lazy: self.lazy })
    }
}

impl Disk for Counting {
    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        Ok(self.wrap(self.disk.create(name)?))
    }
    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        self.counters.opened.fetch_add(1, Relaxed);
        Ok(self.wrap(self.disk.open(name)?))
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }
    fn unlink(&self, name: &str) -> io::Result<()> {
        self.disk.unlink(name)
    }
    fn sync_dir(&self) -> io::Result<()> {
        self.counters.syncs.fetch_add(1, Relaxed);
        if self.lazy { Ok(()) } else { self.disk.sync_dir() }
    }
    fn list(&self) -> io::Result<Vec<(String, u64)>> {
        self.disk.list()
    }
}

impl File for CountingFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_at(offset, bytes)
    }
    fn sync(&self) -> io::Result<()> {
        self.counters.syncs.fetch_add(1, Relaxed);
        if self.lazy { Ok(()) } else { self.file.sync() }
    }
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        self.counters.read.fetch_add(into.len() as u64, Relaxed);
        self.file.read_at(offset, into)
    }
    fn truncate(&self, len: u64) -> io::Result<()> {
        self.file.truncate(len)
    }
}
