//! Keeps compiled code on disk, so that a start does not compile again.
//!
//! Compiled code is run as it is, outside of the sandbox: whoever could slip in a file of theirs would own
//! the agent. So each file begins with a MAC over the engine, the component's digest and the code, by a
//! key that only the agent's user can read. A file that does not carry it is not looked into, let alone
//! run; the component is compiled again. This keeps out what can write files but not read the key: a
//! disk that rots, a file from another vehicle, an archive that was unpacked in the wrong place. It does
//! not keep out who has become the agent's user: they need no compiled code.
#![allow(unsafe_code)]

use crate::compiler::CODE_MAX;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest as _, Sha256};
use std::fs::{self, File};
use std::hash::{Hash, Hasher};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use wasmtime::component::Component;

/// The key's file.
const KEY: &str = "key";
/// How compiled files end.
const SUFFIX: &str = ".compiled";
/// What the MAC says beside the code.
const PURPOSE: &[u8] = b"milepost compiled transform 1";
/// The bytes of a MAC.
const MAC: usize = 32;
/// The bytes of the key.
const KEY_BYTES: usize = 64;
/// The most files that are kept: as many transforms as an agent may have, and as many that were there before.
const FILES_MAX: usize = 64;

/// A component of code that this program or its compiler made for this engine, and no one else.
pub(crate) fn deserialize(wasm: &wasmtime::Engine, code: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: `code` comes from `precompile_component`, in this process, in the compiler's, which is the same
    // program, or in an earlier one, which the MAC says. It is in memory that nobody else writes.
    unsafe { Component::deserialize(wasm, code) }
}

/// A folder of compiled components, for one engine.
pub(crate) struct Cache {
    dir: PathBuf,
    key: [u8; KEY_BYTES],
    engine: [u8; 32],
}

impl Cache {
    /// Takes a folder, and makes it where there is none.
    pub(crate) fn open(dir: &Path, wasm: &wasmtime::Engine) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        let key = match read_key(dir)? {
            Some(key) => key,
            None => make_key(dir)?,
        };
        Ok(Self { dir: dir.into(), key, engine: fingerprint(wasm) })
    }

    /// The component, where this folder has it and it is ours, and the bytes of its code.
    pub(crate) fn load(&self, wasm: &wasmtime::Engine, digest: &[u8; 32]) -> Option<(Component, usize)> {
        let path = self.path(digest);
        let mut file = open(&path).ok()?;
        if file.metadata().ok()?.len() > CODE_MAX + MAC as u64 {
            return None;
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).ok()?;
        let parts = bytes.split_at_checked(MAC);
        let Some((_, code)) = parts.filter(|(mac, code)| self.is_ours(digest, mac, code)) else {
            let path = path.display();
            tracing::warn!(%path, "Compiled code that is not by this agent is not run; it is compiled again");
            return None;
        };
        let _ = file.set_modified(now());
        // The MAC says that it is what `store` was given for this engine and this component.
        deserialize(wasm, code).ok().map(|component| (component, code.len()))
    }

    /// Keeps a component's code. Failing is no harm: it is compiled again the next time.
    pub(crate) fn store(&self, digest: &[u8; 32], code: &[u8]) {
        if let Err(why) = self.write(digest, code) {
            tracing::warn!(folder = %self.dir.display(), %why, "Compiled code cannot be kept");
        }
        self.clear_out();
    }

    fn write(&self, digest: &[u8; 32], code: &[u8]) -> io::Result<()> {
        let path = self.path(digest);
        let unfinished = path.with_extension(format!("{}.tmp", std::process::id()));
        let _ = fs::remove_file(&unfinished);
        let mut file = File::options().write(true).create_new(true).mode(0o600).open(&unfinished)?;
        let mac = self.mac(digest, code).finalize().into_bytes();
        let written = file.write_all(&mac).and_then(|()| file.write_all(code));
        written.and_then(|()| fs::rename(&unfinished, &path)).inspect_err(|_| {
            let _ = fs::remove_file(&unfinished);
        })
    }

    /// Removes what other engines left and what was not written to its end, and the oldest of what is too many.
    fn clear_out(&self) {
        let Ok(entries) = fs::read_dir(&self.dir) else { return };
        let ours = self.ending();
        let mut files = Vec::new();
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.ends_with(&ours) {
                files.extend(entry.metadata().and_then(|m| m.modified()).map(|time| (time, entry.path())));
            } else if name.ends_with(SUFFIX) || name.ends_with(".tmp") {
                let _ = fs::remove_file(entry.path());
            }
        }
        files.sort_unstable();
        for (_, path) in &files[..files.len().saturating_sub(FILES_MAX)] {
            let _ = fs::remove_file(path);
        }
    }

    fn path(&self, digest: &[u8; 32]) -> PathBuf {
        self.dir.join(hex(digest) + &self.ending())
    }

    fn ending(&self) -> String {
        format!(".{}{SUFFIX}", hex(&self.engine[..8]))
    }

    fn mac(&self, digest: &[u8; 32], code: &[u8]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new(&self.key.into());
        for part in [PURPOSE, &self.engine, digest, code] {
            mac.update(part);
        }
        mac
    }

    fn is_ours(&self, digest: &[u8; 32], mac: &[u8], code: &[u8]) -> bool {
        self.mac(digest, code).verify_slice(mac).is_ok()
    }
}

/// When a file is used: the oldest are removed, those that were not used for longest.
#[expect(clippy::disallowed_methods, reason = "it orders files beside the times that the system gave them")]
fn now() -> SystemTime {
    SystemTime::now()
}

/// Opens a file to read. To open a pipe would wait for somebody who writes into it.
fn open(path: &Path) -> io::Result<File> {
    match fs::metadata(path)?.is_file() {
        true => File::open(path),
        false => Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no file")),
    }
}

/// The key, where there is one that nobody else can have read or put there.
fn read_key(dir: &Path) -> io::Result<Option<[u8; KEY_BYTES]>> {
    let path = dir.join(KEY);
    let mut file = match open(&path) {
        Ok(file) => file,
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(why) if why.kind() == io::ErrorKind::InvalidInput => {
            fs::remove_file(&path)?;
            return Ok(None);
        }
        Err(why) => return Err(why),
    };
    let (key, folder) = (file.metadata()?, fs::metadata(dir)?);
    let private = key.is_file() && key.mode() & 0o077 == 0 && key.uid() == folder.uid();
    let mut bytes = [0; KEY_BYTES];
    if private && key.len() == KEY_BYTES as u64 && file.read_exact(&mut bytes).is_ok() {
        return Ok(Some(bytes));
    }
    tracing::warn!(path = %path.display(), "The key of compiled code is not private: a new one is made");
    fs::remove_file(&path)?;
    Ok(None)
}

fn make_key(dir: &Path) -> io::Result<[u8; KEY_BYTES]> {
    let mut key = [0; KEY_BYTES];
    File::open("/dev/urandom")?.read_exact(&mut key)?;
    let unfinished = dir.join(format!("{KEY}.{}.tmp", std::process::id()));
    let _ = fs::remove_file(&unfinished);
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(&unfinished)?;
    file.write_all(&key)?;
    file.sync_all()?;
    fs::rename(&unfinished, dir.join(KEY))?;
    Ok(key)
}

/// Says which engine: its version to the patch, its target, its flags and the processor's features.
fn fingerprint(wasm: &wasmtime::Engine) -> [u8; 32] {
    struct Sha(Sha256);
    impl Hasher for Sha {
        fn write(&mut self, bytes: &[u8]) {
            self.0.update(bytes);
        }
        fn finish(&self) -> u64 {
            0
        }
    }
    let mut sha = Sha(Sha256::new());
    sha.write(env!("WASMTIME_VERSION").as_bytes());
    wasm.precompile_compatibility_hash().hash(&mut sha);
    sha.0.finalize().into()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
