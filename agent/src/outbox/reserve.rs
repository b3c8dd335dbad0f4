//! A file that does nothing but hold room: when the disk is full it goes, so that the state can still
//! be written, and what the broker has can still make way.

use super::disk::Disk;
use std::io;
use std::sync::Arc;

const NAME: &str = "reserve";

/// Room kept for a full disk.
pub(super) struct Reserve {
    disk: Arc<dyn Disk>,
    bytes: usize,
    held: bool,
}

impl Reserve {
    /// Finds or makes the file; without space there is none until [`hold`](Self::hold) works.
    pub(super) fn new(disk: Arc<dyn Disk>, files: &[(String, u64)], bytes: u64) -> Self {
        let bytes = bytes.min(16 << 20) as usize;
        let held = files.iter().any(|(name, len)| name == NAME && *len == bytes as u64);
        Self { disk, bytes, held }
    }

    /// Makes the file where there is none; failing is no harm.
    pub(super) fn hold(&mut self) {
        if self.held {
            return;
        }
        // One that is cut short, or of another size.
        let _ = self.disk.unlink(NAME);
        let made = self.disk.create(NAME).and_then(|file| {
            file.write_at(0, &vec![0; self.bytes])?;
            file.sync()
        });
        self.held = made.is_ok();
        if !self.held {
            let _ = self.disk.unlink(NAME);
        }
    }

    /// Gives the room away where that is what the error is about. Returns whether it did.
    pub(super) fn give(&mut self, error: &io::Error) -> bool {
        let full = matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
        full && std::mem::take(&mut self.held) && self.disk.unlink(NAME).is_ok()
    }
}
