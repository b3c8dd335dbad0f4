//! Remembers in the data folder whether the last demo ended well.
//!
//! The demo's broker and Kafka live in memory. A demo that is killed takes with it what they held, and
//! nothing could bring that back: the next one must say so and not pretend. After a clean end nothing
//! was in memory, and a new demo goes on where the last one stopped.

use super::{LAKE, VEHICLES};
use crate::Failure;
use std::fs::{self, File, OpenOptions};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

const NAME: &str = "demo-is-running";

/// A mark that is there while a demo runs.
#[derive(Debug)]
pub(crate) struct Marker {
    path: PathBuf,
    _lock: File,
}

impl Marker {
    /// Sets the mark in `folder`, which is made where it is missing.
    pub(crate) fn set(folder: &Path) -> Result<Self, Failure> {
        fs::create_dir_all(folder)
            .map_err(|e| format!("The folder {} cannot be made: {e}", folder.display()))?;
        let path = folder.join(NAME);
        let there = path.exists();
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(|e| format!("Nothing can be written into {}: {e}", folder.display()))?;
        if lock.try_lock().is_err() {
            let other =
                "Another demo is running in this folder: wait for its end, or take another --data-dir";
            return Err(format!("{}: {other}", folder.display()).into());
        }
        match there {
            true => Err(format!(
                "The last demo in {} did not come to its end. Its broker and its Kafka lived in memory, and what \
                 they held is gone; the tables have what came before. Start over with `rm -r{}`, or take another \
                 --data-dir",
                folder.display(),
                of_a_demo(folder).map(|path| format!(" {}", quoted(&path))).collect::<String>(),
            )
            .into()),
            false => Ok(Self { path, _lock: lock }),
        }
    }

    /// Takes the mark away: nothing is left in memory.
    pub(crate) fn clear(self) -> Result<(), Failure> {
        match fs::remove_file(&self.path) {
            Err(e) if e.kind() != ErrorKind::NotFound => Err(e.into()),
            _ => Ok(()),
        }
    }
}

/// What a demo has made in a folder, in which there may be anything else.
fn of_a_demo(folder: &Path) -> impl Iterator<Item = PathBuf> {
    [LAKE, VEHICLES, NAME].into_iter().map(|name| folder.join(name)).filter(|path| path.exists())
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    let path = path.display().to_string();
    match path.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c)) {
        true => path,
        false => format!("'{}'", path.replace('\'', "'\\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clean_end_leaves_nothing_and_a_kill_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        Marker::set(&data).unwrap().clear().unwrap();
        let killed = Marker::set(&data).unwrap();
        assert!(Marker::set(&data).unwrap_err().to_string().contains("Another demo"));
        drop(killed); // as a kill does: without taking the mark away
        assert!(Marker::set(&data).unwrap_err().to_string().contains("rm -r"));
    }

    #[test]
    fn starting_over_takes_away_what_a_demo_has_made_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path();
        for made in ["lake", "vehicles", "photos"] {
            fs::create_dir(data.join(made)).unwrap();
        }
        drop(Marker::set(data).unwrap());
        let told = Marker::set(data).unwrap_err().to_string();
        let (_, command) = told.split_once('`').unwrap();
        let command = command.split_once('`').unwrap().0;
        let status = std::process::Command::new("sh").args(["-c", command]).status().unwrap();
        assert!(status.success(), "{command}");
        let left: Vec<_> = fs::read_dir(data).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left, ["photos"], "{command}");
        Marker::set(data).unwrap();
    }

    #[test]
    fn the_command_to_start_over_can_be_pasted() {
        assert_eq!(quoted(Path::new("milepost-data")), "milepost-data");
        assert_eq!(quoted(Path::new("/tmp/my data; it's")), "'/tmp/my data; it'\\''s'");
    }
}
