//! What a listing of the whole lake shows, sorted by what the objects are.

use super::ledger::{self, ChainId};
use super::report::{Fault, Report};
use crate::Failure;
use milepost_sink::store::Store;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::Path;

pub(super) const PAGE: usize = 10_000;
/// What the keys of images begin with.
pub(super) const IMAGES: &str = "_images/";

/// What a listing of the whole lake shows.
#[derive(Default)]
pub(super) struct Listing {
    /// Files of tables, by key: size, and whether a claim or a manifest has named it.
    pub(super) files: BTreeMap<String, (u64, bool)>,
    /// By the hash of the key, so that millions of images fit.
    pub(super) images: HashSet<u64>,
    pub(super) claims: BTreeMap<ChainId, Vec<String>>,
    pub(super) manifests: BTreeMap<ChainId, Vec<String>>,
    /// The numbers of the additions to each derived table's columns.
    pub(super) columns: BTreeMap<String, BTreeSet<u64>>,
}

pub(super) async fn list(store: &dyn Store, report: &mut Report) -> Result<Listing, Failure> {
    let mut listing = Listing::default();
    let mut after: Option<String> = None;
    loop {
        let page = store.list("", after.as_deref(), PAGE).await?;
        after = page.last().map(|o| o.key.clone());
        let more = page.len() == PAGE;
        for object in page {
            listing.add(object.key, object.size, report);
        }
        if !more {
            return Ok(listing);
        }
    }
}

impl Listing {
    fn add(&mut self, key: String, size: u64, report: &mut Report) {
        let top = key.split('/').next().unwrap_or_default();
        let of_ledger = key.starts_with(ledger::CLAIMS) || key.starts_with(ledger::MANIFESTS);
        if is_image(&key) {
            self.images.insert(hash(&key));
        } else if let Some((table, number)) = columns_of(&key) {
            self.columns.entry(table).or_default().insert(number);
        } else if top == "_images" || (top == "_milepost" && !of_ledger && !ledger::is_beside(&key)) {
            report.fault(Fault::new(key, "it is foreign: neither images nor the ledger have such a key"));
        } else if of_ledger {
            let map = if key.starts_with(ledger::CLAIMS) { &mut self.claims } else { &mut self.manifests };
            match ledger::parse_key(&key) {
                Some((chain, _)) => map.entry(chain).or_default().push(key),
                None => report.fault(Fault::new(key, "its key is none that the ledger's format knows")),
            }
        } else if top != "_milepost" && (may_be_read(&key) || !is_hidden(&key)) {
            self.files.insert(key, (size, false));
        }
    }
}

/// Table and number of a key `_milepost/columns/<table>/<six digits>.json`.
fn columns_of(key: &str) -> Option<(String, u64)> {
    let (table, file) = key.strip_prefix("_milepost/columns/")?.split_once('/')?;
    let number =
        file.strip_suffix(".json").filter(|n| n.len() == 6 && n.bytes().all(|b| b.is_ascii_digit()))?;
    Some((table.to_owned(), number.parse().ok()?))
}

/// Whether a key is `_images/<first 2 hex of sha256>/<sha256>.jpg`.
fn is_image(key: &str) -> bool {
    let named = key.strip_prefix(IMAGES).and_then(|rest| rest.strip_suffix(".jpg")?.split_once('/'));
    named.is_some_and(|(two, digest)| {
        digest.len() == 64 && digest.bytes().all(|b| b.is_ascii_hexdigit()) && digest.get(..2) == Some(two)
    })
}

/// What a listing of a folder cannot show: links, which some readers follow, what is neither file nor folder,
/// names that are no text; and the folder in which objects grow.
pub(super) fn odd_entries(folder: &Path, report: &mut Report) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let (path, kind) = (entry.path(), entry.file_type()?);
        let what = if entry.file_name().to_str().is_none() {
            "its name is no UTF-8, which no object's is"
        } else if kind.is_symlink() {
            "it is a link, which no object is: readers may find the rows behind it a second time"
        } else if kind.is_dir() {
            odd_entries(&path, report)?;
            continue;
        } else if !kind.is_file() {
            "it is neither a file nor a folder: a reader may wait for it for ever"
        } else if path.iter().any(|part| part == ".tmp") && may_be_read(&path.to_string_lossy()) {
            "it is foreign: what grows here has no such name"
        } else {
            continue;
        };
        report.fault(Fault::new(path.to_string_lossy(), what));
    }
    Ok(())
}

/// Whether some reader of tables reads an object by what its name ends with, wherever it lies: not all
/// pass over names that begin with `_` or `.`.
pub(super) fn may_be_read(key: &str) -> bool {
    key.to_ascii_lowercase().ends_with(".parquet")
}

/// Whether an object lies in no table, or readers pass over its name.
fn is_hidden(key: &str) -> bool {
    key.split_once('/')
        .is_none_or(|(top, rest)| top.starts_with(['_', '.']) || name_of(rest).starts_with(['_', '.']))
}

pub(super) fn name_of(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Keys are compared by a hash: 64 bits of SHA-256, which nobody meets by accident.
pub(super) fn hash(key: &str) -> u64 {
    let digest = Sha256::digest(key.as_bytes());
    u64::from_le_bytes(digest[..8].try_into().expect("a digest is longer"))
}
