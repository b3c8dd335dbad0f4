//! Keeps the readings that made a transform fail, as NDJSON lines in a file of the data folder, so that
//! the transform's author can try them. The file is bounded and is no part of what is delivered: that a
//! reading is lost to the tables is said by its gap row.

use milepost_wire::Reading;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

/// The file's name in the data folder.
pub const FILE: &str = "dead_letter.ndjson";
/// The most bytes that it may have.
const BYTES_MAX: u64 = 16 << 20;

/// The file; opened with the first reading.
pub struct DeadLetters {
    path: PathBuf,
    file: Option<(File, u64)>,
    /// It was said that no more are kept.
    gave_up: bool,
}

impl DeadLetters {
    /// Keeps readings in [`FILE`] of this folder.
    pub fn new(data_dir: &Path) -> Self {
        Self { path: data_dir.join(FILE), file: None, gave_up: false }
    }

    /// Appends a reading. When the file is full or cannot be written, that is logged once.
    pub fn keep(&mut self, reading: &Reading) {
        if self.gave_up {
            return;
        }
        if let Err(why) = self.append(reading) {
            let path = self.path.display();
            tracing::warn!(%path, %why, "Readings that make a transform fail are no longer kept");
            self.gave_up = true;
        }
    }

    fn append(&mut self, reading: &Reading) -> std::io::Result<()> {
        let (file, len) = match &mut self.file {
            Some(open) => open,
            none => {
                let file = File::options().create(true).append(true).open(&self.path)?;
                let len = file.metadata()?.len();
                none.insert((file, len))
            }
        };
        let mut line = crate::ndjson::write(reading);
        line.push('\n');
        *len += line.len() as u64;
        match *len > BYTES_MAX {
            true => Err(std::io::Error::other(format!("the file has its {BYTES_MAX} bytes; move it away"))),
            false => file.write_all(line.as_bytes()),
        }
    }
}
