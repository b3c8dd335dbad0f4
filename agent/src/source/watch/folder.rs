//! What is in a watched folder, and what becomes of a file whose image was delivered. Plain calls to
//! the file system that may block; the source runs them on a thread for such.

use super::After;
use super::jpeg::{Look, look};
use std::collections::BinaryHeap;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The most files that one look at a folder gives; the next look gives the next.
const MAX_FILES: usize = 64;
/// The most sub-folders that are looked at.
const MAX_FOLDERS: usize = 64;
/// Where files go that are no images, in the folder they were in.
const REFUSED: &str = "refused";
/// With [`After::Keep`]: the last file that was delivered, in the folder it is in.
const MARK: &str = ".milepost-watch";

/// A file's place in the order in which a folder's files are delivered: by the time of the last write,
/// then by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) written: Duration,
    pub(super) name: String,
}

impl Place {
    /// The time of the last write, µs since 1970.
    pub(super) fn ts(&self) -> i64 {
        i64::try_from(self.written.as_micros()).unwrap_or(i64::MAX)
    }
}

/// A file that may be an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) folder: PathBuf,
    pub(super) place: Place,
    pub(super) bytes: u64,
}

impl Found {
    pub(super) fn path(&self) -> PathBuf {
        self.folder.join(&self.place.name)
    }
}

/// The folder itself and its sub-folders, each of which is a camera.
pub(super) fn folders(root: &Path) -> io::Result<Vec<PathBuf>> {
    let mut folders = vec![root.to_path_buf()];
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        let name = entry.file_name();
        let hidden = name.to_string_lossy().starts_with('.') || name == REFUSED;
        if !hidden && folders.len() < MAX_FOLDERS && entry.file_type()?.is_dir() {
            folders.push(entry.path());
        }
    }
    folders[1..].sort();
    Ok(folders)
}

/// The oldest files of a folder behind `after`, oldest first.
pub(super) fn files(folder: &Path, after: Option<&Place>) -> io::Result<Vec<Found>> {
    let mut oldest: BinaryHeap<(Place, u64)> = BinaryHeap::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let lower = name.to_ascii_lowercase();
        if name.starts_with('.') || !(lower.ends_with(".jpg") || lower.ends_with(".jpeg")) {
            continue;
        }
        // A file that somebody took away meanwhile is not there any more, and that is all.
        let Ok(meta) = entry.metadata() else { continue };
        let place = Place { written: written(&meta), name };
        if meta.is_file() && after.is_none_or(|after| place > *after) {
            oldest.push((place, meta.len()));
            if oldest.len() > MAX_FILES {
                oldest.pop();
            }
        }
    }
    let files = oldest.into_sorted_vec().into_iter();
    Ok(files.map(|(place, bytes)| Found { folder: folder.into(), place, bytes }).collect())
}

/// The time of the last write since 1970.
fn written(meta: &fs::Metadata) -> Duration {
    let written = meta.modified().unwrap_or(SystemTime::UNIX_EPOCH).duration_since(UNIX_EPOCH);
    written.unwrap_or_default()
}

/// A file's bytes, if it has no more than `max`, and what they look like.
pub(super) fn read(found: &Found, max: u64) -> io::Result<(Vec<u8>, Look)> {
    let mut bytes = Vec::new();
    fs::File::open(found.path())?.take(max + 1).read_to_end(&mut bytes)?;
    let look = look(&bytes);
    Ok((bytes, look))
}

/// Does with a delivered file what the settings say.
pub(super) fn settle(found: &Found, after: &After) -> io::Result<()> {
    match after {
        _ if !is_there(found)? => Ok(()),
        After::Delete => fs::remove_file(found.path()),
        After::Move(folder) => move_into(found, folder),
        After::Keep => mark(found),
    }
}

/// Puts a file aside that is no image, or passes it over where files are kept as they are.
pub(super) fn set_aside(found: &Found, after: &After) -> io::Result<()> {
    match after {
        _ if !is_there(found)? => Ok(()),
        After::Keep => mark(found),
        _ => move_into(found, &found.folder.join(REFUSED)),
    }
}

/// Whether a file is still the one that was found: a camera may have put a new image in its place, or
/// somebody may have taken it away.
fn is_there(found: &Found) -> io::Result<bool> {
    match fs::metadata(found.path()) {
        Ok(meta) => Ok(meta.len() == found.bytes && written(&meta) == found.place.written),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e),
    }
}

/// Moves a file into a folder, which may be on another disk, and over no other file.
fn move_into(found: &Found, folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let to = free(folder, &found.place.name);
    match fs::rename(found.path(), &to) {
        Err(e) if e.kind() == io::ErrorKind::CrossesDevices => {
            // Under a name that says that it is not whole.
            let part = folder.join(format!(".{}.part", found.place.name));
            fs::copy(found.path(), &part)?;
            fs::rename(part, to)?;
            fs::remove_file(found.path())
        }
        moved => moved,
    }
}

/// The path of a file of this name in a folder, with a number behind the name where there is one.
fn free(folder: &Path, name: &str) -> PathBuf {
    let (stem, ending) = name.rsplit_once('.').unwrap_or((name, "jpg"));
    let names = (1..).map(|n| folder.join(format!("{stem}-{n}.{ending}")));
    let mut paths = std::iter::once(folder.join(name)).chain(names);
    paths.find(|path| !path.exists()).unwrap_or_else(|| folder.join(name))
}

/// The file that was delivered last in a folder whose files are kept.
pub(super) fn marked(folder: &Path) -> Option<Place> {
    let text = fs::read_to_string(folder.join(MARK)).ok()?;
    let (nanos, name) = text.trim_end().split_once(' ')?;
    Some(Place { written: Duration::from_nanos(nanos.parse().ok()?), name: name.into() })
}

fn mark(found: &Found) -> io::Result<()> {
    let (new, mark) = (found.folder.join(".milepost-watch.new"), found.folder.join(MARK));
    fs::write(&new, format!("{} {}\n", found.place.written.as_nanos(), found.place.name))?;
    fs::rename(new, mark)
}
