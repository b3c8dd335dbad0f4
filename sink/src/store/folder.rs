//! A lake in a folder: for the demo, for tests, and for whoever has a disk and no S3.
//!
//! An object is written to a temporary file beside the tree, synced, and then renamed or hard-linked
//! to its name, so that it appears whole; a hard link is refused where the name exists, which makes
//! [`Store::put_if_absent`] safe between processes too.

use super::{Object, Put, Store, StoreError};
use async_trait::async_trait;
use bytes::Bytes;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Where objects grow before they have their name; no listing shows it.
const TEMPORARY: &str = ".tmp";

/// See the module's documentation.
#[derive(Clone, Debug)]
pub struct Folder {
    root: PathBuf,
}

impl Folder {
    /// Opens the folder, and makes it where it is missing.
    pub fn open(root: impl AsRef<Path>) -> Result<Self, StoreError> {
        let root = root.as_ref();
        let failed = |e| fault(&root.to_string_lossy(), "opening the folder", &e);
        fs::create_dir_all(root).map_err(failed)?;
        Ok(Self { root: fs::canonicalize(root).map_err(failed)? })
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn path(&self, key: &str) -> Result<PathBuf, StoreError> {
        let fine = key.split('/').all(|part| !matches!(part, "" | "." | ".."))
            && key.split('/').next() != Some(TEMPORARY)
            && !key.contains(['\\', '\0'])
            && key.len() <= 1024;
        match fine {
            true => Ok(self.root.join(key)),
            false => Err(StoreError::Refused {
                key: key.into(),
                what: "the key",
                why: "a key's parts are names, and the first is not the store's own".into(),
            }),
        }
    }

    async fn run<T: Send + 'static>(
        &self,
        key: &str,
        what: &'static str,
        work: impl FnOnce(&Folder, PathBuf) -> io::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let path = self.path(key)?;
        let folder = self.clone();
        match tokio::task::spawn_blocking(move || work(&folder, path)).await {
            Ok(done) => done.map_err(|e| fault(key, what, &e)),
            Err(e) => Err(StoreError::Transient { key: key.into(), what, why: e.to_string() }),
        }
    }

    /// Writes and syncs a temporary file, and hands it to `name`, which gives it its name.
    fn write(&self, path: &Path, body: &[u8], name: fn(&Path, &Path) -> io::Result<Put>) -> io::Result<Put> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let temporary = self.root.join(TEMPORARY).join(format!("{}-{count}", std::process::id()));
        // Made with the first write, so that a lake that is only read may be read-only.
        fs::create_dir_all(self.root.join(TEMPORARY))?;
        let mut file = File::create(&temporary)?;
        let written = file.write_all(body).and_then(|()| file.sync_all());
        let parent = path.parent().unwrap_or(&self.root);
        let named = written.and_then(|()| fs::create_dir_all(parent)).and_then(|()| name(&temporary, path));
        let _ = fs::remove_file(&temporary); // gone already where it was renamed
        if matches!(named, Ok(Put::Created)) {
            File::open(parent)?.sync_all()?;
        }
        named
    }
}

#[async_trait]
impl Store for Folder {
    async fn get(&self, key: &str) -> Result<Option<Bytes>, StoreError> {
        self.run(key, "reading", |_, path| absent_is_none(fs::read(path).map(Bytes::from))).await
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Option<Bytes>, StoreError> {
        let read = move |_: &Folder, path: PathBuf| {
            let mut out = Vec::new();
            let mut file = File::open(path)?;
            file.seek(SeekFrom::Start(range.start))?;
            file.take(range.end.saturating_sub(range.start)).read_to_end(&mut out)?;
            Ok(Bytes::from(out))
        };
        self.run(key, "reading a part", move |folder, path| absent_is_none(read(folder, path))).await
    }

    async fn head(&self, key: &str) -> Result<Option<u64>, StoreError> {
        self.run(key, "looking", |_, path| absent_is_none(fs::metadata(path).map(|m| m.len()))).await
    }

    async fn put(&self, key: &str, body: Bytes) -> Result<(), StoreError> {
        let replace = |from: &Path, to: &Path| fs::rename(from, to).map(|()| Put::Created);
        self.run(key, "writing", move |folder, path| folder.write(&path, &body, replace)).await.map(drop)
    }

    async fn put_if_absent(&self, key: &str, body: Bytes) -> Result<Put, StoreError> {
        let link = |from: &Path, to: &Path| match fs::hard_link(from, to) {
            Ok(()) => Ok(Put::Created),
            Err(e) if e.kind() == ErrorKind::AlreadyExists => Ok(Put::Exists),
            Err(e) => Err(e),
        };
        let work = move |folder: &Folder, path: PathBuf| match path.exists() {
            true => Ok(Put::Exists),
            false => folder.write(&path, &body, link),
        };
        self.run(key, "writing", work).await
    }

    async fn list(&self, prefix: &str, after: Option<&str>, max: usize) -> Result<Vec<Object>, StoreError> {
        let (folder, wanted, after) = (self.clone(), prefix.to_owned(), after.map(str::to_owned));
        let walk = move || {
            let mut found = Vec::new();
            walk(&folder.root, "", &wanted, after.as_deref().unwrap_or(""), max, &mut found)?;
            Ok(found)
        };
        match tokio::task::spawn_blocking(walk).await {
            Ok(done) => done.map_err(|e: io::Error| fault(prefix, "listing", &e)),
            Err(e) => Err(StoreError::Transient { key: prefix.into(), what: "listing", why: e.to_string() }),
        }
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.run(key, "deleting", |_, path| absent_is_none(fs::remove_file(path)).map(drop)).await
    }

    fn uri(&self, key: &str) -> String {
        self.root.join(key).to_string_lossy().into_owned()
    }
}

/// Adds what lies below `folder` (whose key is `base`) in byte order of the keys, and leaves out the
/// branches that cannot hold a key that is wanted.
fn walk(
    folder: &Path,
    base: &str,
    prefix: &str,
    after: &str,
    max: usize,
    found: &mut Vec<Object>,
) -> io::Result<()> {
    let mut entries = Vec::new();
    for entry in match fs::read_dir(folder) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        other => other?,
    } {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        if base.is_empty() && name == TEMPORARY {
            continue;
        }
        let is_folder = entry.file_type()?.is_dir();
        let key = format!("{base}{name}{}", if is_folder { "/" } else { "" });
        let wanted = match is_folder {
            true => (key.starts_with(prefix) || prefix.starts_with(&key)) && may_follow(&key, after),
            false => key.starts_with(prefix) && key.as_str() > after,
        };
        if wanted {
            entries.push((key, is_folder, entry.path()));
        }
    }
    entries.sort_unstable();
    for (key, is_folder, path) in entries {
        if found.len() >= max {
            break;
        }
        match is_folder {
            true => walk(&path, &key, prefix, after, max, found)?,
            false => {
                // What is neither file nor folder is no object, and would be waited for when it is read.
                if let Ok(meta) = fs::metadata(&path)
                    && meta.is_file()
                {
                    found.push(Object { key, size: meta.len() });
                }
            }
        }
    }
    Ok(())
}

/// Whether a key that begins with `folder` can be greater than `after`.
fn may_follow(folder: &str, after: &str) -> bool {
    after.starts_with(folder) || folder > after
}

fn absent_is_none<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        Err(e) => Err(e),
    }
}

fn fault(key: &str, what: &'static str, e: &io::Error) -> StoreError {
    let (key, why) = (key.to_owned(), e.to_string());
    match e.kind() {
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem | ErrorKind::NotADirectory => {
            StoreError::Refused { key, what, why }
        }
        _ => StoreError::Transient { key, what, why },
    }
}
