//! The fleet's folder: files appear whole, and what is secret is its owner's alone from the first byte.

use crate::Failure;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

/// A folder.
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.0.join(name).exists()
    }

    pub(super) fn read(&self, name: &str) -> Result<String, Failure> {
        let path = self.0.join(name);
        fs::read_to_string(&path).map_err(|e| format!("{} cannot be read: {e}", path.display()).into())
    }

    /// A new file for everyone.
    pub(super) fn public(&self, name: &str, text: &str) -> Result<(), Failure> {
        self.is_absent(name)?;
        self.write(name, text, 0o644)
    }

    /// A new file for its owner.
    pub(super) fn private(&self, name: &str, text: &str) -> Result<(), Failure> {
        self.is_absent(name)?;
        self.write(name, text, 0o600)
    }

    /// A file for everyone, in the place of the one that is there.
    pub(super) fn replace(&self, name: &str, text: &str) -> Result<(), Failure> {
        self.write(name, text, 0o644)
    }

    /// A file for its owner, in the place of the one that is there.
    pub(super) fn replace_private(&self, name: &str, text: &str) -> Result<(), Failure> {
        self.write(name, text, 0o600)
    }

    fn is_absent(&self, name: &str) -> Result<(), Failure> {
        match self.has(name) {
            true => Err(format!("{} is there already", self.0.join(name).display()).into()),
            false => Ok(()),
        }
    }

    fn write(&self, name: &str, text: &str, mode: u32) -> Result<(), Failure> {
        let path = self.0.join(name);
        let grown = path.with_extension("new");
        let write = || {
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent)?;
            }
            // One that was left by an end in the middle may have another's rights.
            match fs::remove_file(&grown) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
            let mut options = OpenOptions::new();
            options.write(true).create_new(true);
            #[cfg(unix)]
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
            #[cfg(not(unix))]
            let _ = mode;
            let mut file = options.open(&grown)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&grown, &path)
        };
        write().map_err(|e| format!("{} cannot be written: {e}", path.display()).into())
    }
}
