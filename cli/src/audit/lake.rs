//! Fetches the ledger and the tables, in any order and many at a time, and enters what they say.

use super::account::Account;
use super::intervals::Intervals;
use super::ledger::{self, ChainId, Claim, Manifest};
use super::report::{Fault, Report};
use super::table::{self, Contents, Run};
use crate::Failure;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use milepost_sink::store::Store;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

/// Small objects fetched at a time.
const FETCHES: usize = 32;
const PAGE: usize = 10_000;

/// What a listing of the whole lake shows.
#[derive(Default)]
struct Listing {
    /// Files of tables, by key: size, and whether a claim or a manifest has named it.
    files: BTreeMap<String, (u64, bool)>,
    /// By the hash of the key, so that millions of images fit.
    images: HashSet<u64>,
    claims: BTreeMap<ChainId, Vec<String>>,
    manifests: BTreeMap<ChainId, Vec<String>>,
    /// Sizes of the other objects of the ledger.
    other: HashMap<String, u64>,
}

/// Reads the whole lake.
pub(super) async fn read(
    store: Arc<dyn Store>,
    report: &mut Report,
    account: &mut Account,
) -> Result<(), Failure> {
    let mut lake =
        Lake { listing: list(&*store, report).await?, store, report, account, images: HashSet::new() };
    for chain in lake.chains() {
        lake.chain(&chain).await?;
    }
    lake.unnamed_files().await?;
    lake.report.ledger.images = lake.images.len() as u64;
    Ok(())
}

async fn list(store: &dyn Store, report: &mut Report) -> Result<Listing, Failure> {
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
        let Some((top, rest)) = key.split_once('/') else { return };
        let of_ledger = key.starts_with(ledger::CLAIMS) || key.starts_with(ledger::MANIFESTS);
        if top == "_images" {
            self.images.insert(hash(&key));
        } else if of_ledger {
            let map = if key.starts_with(ledger::CLAIMS) { &mut self.claims } else { &mut self.manifests };
            match ledger::parse_key(&key) {
                Some((chain, _)) => map.entry(chain).or_default().push(key),
                None => report.fault(Fault::new(key, "its key is none that the ledger's format knows")),
            }
        } else if top == "_milepost" {
            self.other.insert(key, size);
        } else if !top.starts_with(['_', '.']) && !name_of(rest).starts_with(['_', '.']) {
            // Readers of tables pass over names that begin with `_` or `.`, and so does the audit.
            self.files.insert(key, (size, false));
        }
    }
}

fn name_of(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Keys are compared by a hash: 64 bits of SHA-256, which nobody meets by accident.
fn hash(key: &str) -> u64 {
    let digest = Sha256::digest(key.as_bytes());
    u64::from_le_bytes(digest[..8].try_into().expect("a digest is longer"))
}

struct Lake<'a> {
    store: Arc<dyn Store>,
    listing: Listing,
    report: &'a mut Report,
    account: &'a mut Account,
    images: HashSet<u64>,
}

/// What a task brings of a manifest.
struct Fetched {
    key: String,
    manifest: Manifest,
    /// Of each file that could be read: its index in the manifest.
    contents: Vec<(usize, Contents)>,
    faults: Vec<(String, Fault)>,
}

impl Lake<'_> {
    fn chains(&self) -> Vec<ChainId> {
        let mut chains: Vec<_> =
            self.listing.claims.keys().chain(self.listing.manifests.keys()).cloned().collect();
        chains.sort();
        chains.dedup();
        chains
    }

    /// Follows one chain, and reads the files of its manifests.
    async fn chain(&mut self, chain: &ChainId) -> Result<(), Failure> {
        self.report.ledger.chains += 1;
        let claims = self.listing.claims.remove(chain).unwrap_or_default();
        let manifests = self.listing.manifests.remove(chain).unwrap_or_default();
        let mut claims: Vec<(String, Claim)> = self.objects(claims, |c: &Claim| &c.place).await?;
        claims.sort_by_key(|(_, c)| c.place.first);
        let manifests: Vec<(String, Manifest)> = self.objects(manifests, |m: &Manifest| &m.place).await?;
        let manifests: BTreeMap<u64, _> =
            manifests.into_iter().map(|(k, m)| (m.place.first, (k, m))).collect();
        let (faults, unfinished) = ledger::check_chain(&claims, &manifests);
        faults.into_iter().for_each(|f| self.report.fault(f));
        self.report.ledger.claims += claims.len() as u64;
        if let Some(claim) = unfinished {
            self.report.ledger.unfinished += 1;
            self.unfinished(claim).await?;
        }
        for (key, manifest) in manifests.values() {
            self.manifest(key, manifest).await?;
        }
        self.files_of(manifests.into_values().collect()).await
    }

    /// Fetches and parses objects of the ledger; what cannot be used is a fault.
    async fn objects<T: for<'de> serde::Deserialize<'de>>(
        &mut self,
        keys: Vec<String>,
        place: impl Fn(&T) -> &ledger::Place + Copy,
    ) -> Result<Vec<(String, T)>, Failure> {
        let store = &self.store;
        let get = |key: String| async move { store.get(&key).await.map(|body| (key, body)) };
        let mut bodies = stream::iter(keys).map(get).buffer_unordered(FETCHES);
        let mut objects = Vec::new();
        while let Some((key, body)) = bodies.try_next().await? {
            match ledger::parse(&key, &body.unwrap_or_default(), place) {
                Ok(object) => objects.push((key, object)),
                Err(fault) => self.report.fault(fault),
            }
        }
        Ok(objects)
    }

    /// Checks what a manifest says of itself and of objects that are no table's.
    async fn manifest(&mut self, key: &str, manifest: &Manifest) -> Result<(), Failure> {
        for fault in ledger::check_sums(key, manifest) {
            self.report.fault(fault);
        }
        let totals = &mut self.report.ledger;
        totals.records += manifest.records;
        totals.duplicates_dropped += manifest.duplicates;
        totals.lost_offsets += ledger::lost(manifest);
        if let Some(unread) = &manifest.unread {
            totals.unread += unread.records;
            let reasons: Vec<_> = unread.reasons.iter().map(|(why, n)| format!("{n} {why}")).collect();
            let what =
                format!("{} Kafka records are not in the tables ({})", unread.records, reasons.join(", "));
            self.report.fault(Fault::new(&unread.key, what));
            let body = self.store.get(&unread.key).await?.unwrap_or_default();
            if (body.len() as u64, ledger::count_unread(&body)) != (unread.bytes, Some(unread.records)) {
                self.report.fault(Fault::new(&unread.key, "it is missing, or not what its manifest says"));
            }
        }
        if let Some(state) = &manifest.state {
            let body = self.store.get(state).await?;
            let digest = body.map(|b| hex(&Sha256::digest(&b)));
            let named = state.strip_suffix(".json").and_then(|s| s.rsplit('-').next()).unwrap_or("");
            if !digest.is_some_and(|d| named.len() == 16 && d.starts_with(named)) {
                self.report.fault(Fault::new(state, "it is missing, or not what its key's digest says"));
            }
        }
        Ok(())
    }

    /// Reads the files of a chain's manifests, as many manifests at a time as there are cores.
    async fn files_of(&mut self, manifests: Vec<(String, Manifest)>) -> Result<(), Failure> {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        let store = self.store.clone();
        let mut done = stream::iter(manifests)
            .map(|(key, manifest)| tokio::spawn(fetch(store.clone(), key, manifest)))
            .buffer_unordered(cores + 1);
        while let Some(fetched) = done.try_next().await? {
            self.enter_manifest(fetched?);
        }
        Ok(())
    }

    fn enter_manifest(&mut self, fetched: Fetched) {
        let Fetched { key, manifest, contents, faults } = fetched;
        for (table, fault) in faults {
            self.report.table_fault(&table, fault);
        }
        for file in &manifest.files {
            match self.listing.files.get_mut(&file.key) {
                Some((_, true)) => self.report.fault(Fault::new(&file.key, "two manifests name it")),
                Some((_, named)) => *named = true,
                // Where it is missing, the task that wanted to read it says so.
                None => {}
            }
        }
        if contents.len() == manifest.files.len() {
            let rows =
                contents.iter().flat_map(|(i, c)| c.runs.iter().map(|r| (&*manifest.files[*i].table, r)));
            if let Some(what) = differs_from_seen(&manifest, rows) {
                self.report.fault(Fault::new(key, what));
            }
        }
        for (i, contents) in contents {
            let file = &manifest.files[i];
            self.enter(&file.table, &file.key, file.bytes, contents);
        }
    }

    /// Enters what a file of `table` holds.
    fn enter(&mut self, table: &str, key: &str, bytes: u64, contents: Contents) {
        let line = self.report.tables.entry(table.to_owned()).or_default();
        line.rows += contents.rows;
        line.files += 1;
        line.bytes += bytes;
        for run in contents.runs {
            self.account.rows(&(run.vehicle, run.boot), table, run.seqs);
        }
        for gap in &contents.gaps {
            self.account.gap(gap);
        }
        for ((vehicle, boot, stream), next) in contents.reported {
            self.account.reported(&(vehicle, boot), &stream, next);
        }
        for uri in contents.images {
            match uri.find("_images/").map(|at| hash(&uri[at..])) {
                Some(image) if self.listing.images.contains(&image) => {
                    self.images.insert(image);
                }
                _ => self.report.table_fault(
                    table,
                    Fault::new(key, format!("a row names the image {uri}, which is missing")),
                ),
            }
        }
    }

    /// Files of the newest claim of a chain, which has no manifest yet: they count, as readers see them.
    async fn unfinished(&mut self, claim: &Claim) -> Result<(), Failure> {
        for file in &claim.files {
            let Some((size, named)) = self.listing.files.get_mut(&file.key) else { continue };
            *named = true;
            let (size, table) = (*size, table_of(&file.key).to_owned());
            match self.contents(&table, &file.key).await? {
                Ok(contents) if contents.rows == file.rows => self.enter(&table, &file.key, size, contents),
                Ok(contents) => {
                    let what = format!("it has {} rows, and its claim says {}", contents.rows, file.rows);
                    self.report.table_fault(&table, Fault::new(&file.key, what));
                }
                Err(what) => self.report.table_fault(&table, Fault::new(&file.key, what)),
            }
        }
        Ok(())
    }

    /// Files in the tables that the ledger does not know. Their rows count, as readers see them.
    async fn unnamed_files(&mut self) -> Result<(), Failure> {
        let unnamed: Vec<_> =
            self.listing.files.iter().filter(|(_, f)| !f.1).map(|(k, f)| (k.clone(), f.0)).collect();
        for (key, size) in unnamed {
            let table = table_of(&key).to_owned();
            let what = "it is foreign: no claim and no manifest names it";
            self.report.table_fault(&table, Fault::new(&key, what));
            if key.ends_with(".parquet")
                && let Ok(contents) = self.contents(&table, &key).await?
            {
                self.enter(&table, &key, size, contents);
            }
        }
        Ok(())
    }

    async fn contents(&self, table: &str, key: &str) -> Result<Result<Contents, String>, Failure> {
        let Some(body) = self.store.get(key).await? else { return Ok(Err("it is missing".into())) };
        let table = table.to_owned();
        Ok(tokio::task::spawn_blocking(move || table::read(&table, body)).await?)
    }
}

fn table_of(key: &str) -> &str {
    key.split('/').next().unwrap_or(key)
}

/// Reads the files of one manifest and compares each with what the manifest says of it.
async fn fetch(store: Arc<dyn Store>, key: String, manifest: Manifest) -> Result<Fetched, Failure> {
    let mut fetched = Fetched { key, manifest, contents: Vec::new(), faults: Vec::new() };
    for (i, file) in fetched.manifest.files.iter().enumerate() {
        let mut fault = |what: String| fetched.faults.push((file.table.clone(), Fault::new(&file.key, what)));
        if !file.key.starts_with(&format!("{}/dt={}/", file.table, file.dt)) {
            fault(format!("its key is not one of table {} and day {}", file.table, file.dt));
        }
        let Some(body) = store.get(&file.key).await? else {
            fault("it is missing".into());
            continue;
        };
        let table = file.table.clone();
        let (digest, contents) = tokio::task::spawn_blocking(move || digest_and_read(&table, body)).await?;
        if digest != (file.bytes, file.sha256.to_ascii_lowercase()) {
            fault(format!(
                "its {} bytes have the digest {}, and the manifest says otherwise",
                digest.0, digest.1
            ));
        }
        match contents {
            Ok(contents) => {
                if contents.rows != file.rows {
                    fault(format!("it has {} rows, and the manifest says {}", contents.rows, file.rows));
                }
                fetched.contents.push((i, contents));
            }
            Err(what) => fault(what),
        }
    }
    Ok(fetched)
}

fn digest_and_read(table: &str, body: Bytes) -> ((u64, String), Result<Contents, String>) {
    ((body.len() as u64, hex(&Sha256::digest(&body))), table::read(table, body))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Compares the rows of a manifest's files with those it says it stands for.
fn differs_from_seen<'a>(
    manifest: &Manifest,
    rows: impl Iterator<Item = (&'a str, &'a Run)>,
) -> Option<String> {
    type Identity = (String, String, String);
    let mut found: BTreeMap<Identity, Intervals> = BTreeMap::new();
    for (table, run) in rows {
        let identity = (run.vehicle.to_string(), format!("{:016x}", run.boot), table.to_owned());
        found.entry(identity).or_default().insert(run.seqs.clone());
    }
    let mut said: BTreeMap<Identity, Intervals> = BTreeMap::new();
    for seen in &manifest.seen {
        let identity = (seen.vehicle.clone(), seen.boot.clone(), seen.stream.clone());
        let set = said.entry(identity).or_default();
        for &(first, last) in &seen.ranges {
            set.insert(first..last.saturating_add(1));
        }
    }
    let (vehicle, boot, stream) =
        found.keys().chain(said.keys()).find(|identity| found.get(*identity) != said.get(*identity))?;
    Some(format!("the rows of {stream} of vehicle {vehicle}, boot {boot} in its files are not those it says"))
}
