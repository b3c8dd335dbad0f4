//! Fetches the ledger and the tables, in any order and many at a time, and enters what they say.

use super::account::{Account, Boot};
use super::intervals::Intervals;
use super::ledger::{self, ChainId, Claim, Manifest, Object, hex};
use super::listing::{IMAGES, Listing, PAGE, hash, list, may_be_read, name_of};
use super::report::{Fault, Report};
use super::table::{self, Contents, Run};
use crate::Failure;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use milepost_sink::store::Store;
use milepost_wire::{Stream, frame};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ops::Range;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

/// Small objects fetched at a time.
const FETCHES: usize = 32;
/// How often, a second apart, a claim without a manifest is looked at again: a sink may be at it.
const LOOKS: u32 = 5;

/// Reads the whole lake; with the images' contents where `images` says so.
pub(super) async fn read(
    store: Arc<dyn Store>,
    report: &mut Report,
    account: &mut Account,
    images: bool,
) -> Result<(), Failure> {
    let listing = list(&*store, report).await?;
    let mut lake = Lake {
        store,
        listing,
        report,
        account,
        images: HashSet::new(),
        unread: Vec::new(),
        waiting: Vec::new(),
        inherited: BTreeSet::new(),
        derived: BTreeMap::new(),
    };
    for chain in lake.chains() {
        lake.chain(&chain).await?;
    }
    lake.waiting().await?;
    lake.judge_columns().await?;
    lake.unnamed_files().await?;
    lake.judge_unread();
    lake.report.ledger.images = lake.images.len() as u64;
    match images {
        true => lake.read_images().await,
        false => Ok(()),
    }
}

struct Lake<'a> {
    store: Arc<dyn Store>,
    listing: Listing,
    report: &'a mut Report,
    account: &'a mut Account,
    /// Images that rows name, by the hash of the key.
    images: HashSet<u64>,
    unread: Vec<Unread>,
    /// Newest claims without a manifest.
    waiting: Vec<(ChainId, Object<Claim>)>,
    /// Chains whose topic was made again since.
    inherited: BTreeSet<ChainId>,
    /// Columns of the files of derived tables: table; name and type; a file that has it.
    derived: BTreeMap<String, BTreeMap<(String, &'static str), String>>,
}

/// Records that a claim kept as they came.
struct Unread {
    key: String,
    reasons: String,
    /// Whose rows they would be; `None` where this program cannot read the record either.
    readings: Vec<Option<(Boot, String, Range<u64>)>>,
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
        let mut claims = self.objects(claims, |c: &Claim| &c.place).await?;
        claims.sort_by_key(|c| c.value.place.first);
        let manifests = self.objects(manifests, |m: &Manifest| &m.place).await?;
        let manifests: BTreeMap<u64, _> = manifests.into_iter().map(|m| (m.value.place.first, m)).collect();
        let (faults, unfinished) = ledger::check_chain(&claims, &manifests);
        faults.into_iter().for_each(|f| self.report.fault(f));
        self.report.ledger.claims += claims.len() as u64;
        for claim in &claims {
            let former = |f: &ledger::Former| ChainId { topic_id: f.topic_id.clone(), ..chain.clone() };
            self.inherited.extend(claim.value.inherits.iter().map(former));
        }
        self.waiting.extend(unfinished.map(|claim| (chain.clone(), claim.clone())));
        for manifest in manifests.values() {
            self.manifest(&manifest.key, &manifest.value).await?;
        }
        self.files_of(manifests.into_values().collect()).await
    }

    /// Fetches and parses objects of the ledger; what cannot be used is a fault.
    async fn objects<T: for<'de> serde::Deserialize<'de>>(
        &mut self,
        keys: Vec<String>,
        place: impl Fn(&T) -> &ledger::Place + Copy,
    ) -> Result<Vec<Object<T>>, Failure> {
        let store = &self.store;
        let get = |key: String| async move { store.get(&key).await.map(|body| (key, body)) };
        let mut bodies = stream::iter(keys).map(get).buffer_unordered(FETCHES);
        let mut objects = Vec::new();
        while let Some((key, body)) = bodies.try_next().await? {
            match ledger::parse(key, &body.unwrap_or_default(), place) {
                Ok(object) => objects.push(object),
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
        totals.records = totals.records.saturating_add(manifest.records);
        totals.duplicates_dropped = totals.duplicates_dropped.saturating_add(manifest.duplicates);
        totals.lost_offsets = totals.lost_offsets.saturating_add(ledger::lost(manifest));
        if ledger::lost(manifest) > 0 {
            let what = format!("Kafka had deleted {} records before they were read", ledger::lost(manifest));
            self.report.fault(Fault::new(key, what));
        }
        if let Some(unread) = &manifest.unread {
            self.unread(manifest, unread).await?;
        }
        if let Some(state) = &manifest.state {
            let named = state.strip_prefix(&ledger::beside("state", &manifest.place));
            let named = named.and_then(|s| s.strip_prefix('-')?.strip_suffix(".json"));
            let Some(named) = named.filter(|d| d.len() == 16 && !d.contains(['/', '.'])) else {
                self.report.fault(Fault::new(key, format!("its state {state} is not one of its claim")));
                return Ok(());
            };
            let digest = self.store.get(state).await?.map(|b| hex(&Sha256::digest(&b)));
            if !digest.is_some_and(|d| d.starts_with(named)) {
                self.report.fault(Fault::new(state, "it is missing, or not what its key's digest says"));
            }
        }
        Ok(())
    }

    /// Looks into records that were kept as they came: an upgraded sink may have driven them through.
    async fn unread(&mut self, manifest: &Manifest, unread: &ledger::Unread) -> Result<(), Failure> {
        let key = ledger::beside("unread", &manifest.place) + ".frames";
        let body = match unread.key == key {
            true => self.store.get(&key).await?.unwrap_or_default(),
            false => Bytes::new(),
        };
        let values = ledger::unread_values(&body).unwrap_or_default();
        let bytes: usize = values.iter().map(|v| v.len()).sum();
        if (bytes as u64, values.len() as u64) != (unread.bytes, unread.records) {
            self.report.fault(Fault::new(&unread.key, "it is missing, or not what its manifest says"));
        }
        let reasons: Vec<_> = unread.reasons.iter().map(|(why, n)| format!("{n} {why}")).collect();
        let mut readings: Vec<_> = values.iter().map(|value| readings_of(value)).collect();
        readings.resize(unread.records.min(1 << 20) as usize, None);
        self.unread.push(Unread { key: unread.key.clone(), reasons: reasons.join(", "), readings });
        Ok(())
    }

    /// Once all rows are entered: which unread records have none.
    fn judge_unread(&mut self) {
        for Unread { key, reasons, readings } in std::mem::take(&mut self.unread) {
            let in_tables = |r: &&Option<(Boot, String, Range<u64>)>| {
                r.as_ref().is_some_and(|(boot, stream, seqs)| self.account.has(boot, stream, seqs))
            };
            let done = readings.iter().filter(in_tables).count() as u64;
            let left = readings.len() as u64 - done;
            self.report.ledger.redriven += done;
            self.report.ledger.unread += left;
            if left > 0 {
                let what = format!("{left} Kafka records are not in the tables ({reasons})");
                self.report.fault(Fault::new(key, what));
            }
        }
    }

    /// Looks after claims that had no manifest when their chain was read.
    async fn waiting(&mut self) -> Result<(), Failure> {
        for look in 0..=LOOKS {
            let waiting = std::mem::take(&mut self.waiting);
            // Nobody finishes a claim whose topic was made again.
            if waiting.iter().all(|(chain, _)| self.inherited.contains(chain)) {
                self.waiting = waiting;
                break;
            }
            if look > 0 {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            for (chain, claim) in waiting {
                let key = ledger::beside("manifests", &claim.value.place) + ".json";
                let Some(body) = self.store.get(&key).await? else {
                    self.waiting.push((chain, claim));
                    continue;
                };
                match ledger::parse(key, &body, |m: &Manifest| &m.place) {
                    Ok(manifest) => {
                        let mut faults = Vec::new();
                        ledger::compare(&claim, &manifest, &mut faults);
                        faults.into_iter().for_each(|f| self.report.fault(f));
                        self.manifest(&manifest.key, &manifest.value).await?;
                        self.files_of(vec![manifest]).await?;
                    }
                    Err(fault) => self.report.fault(fault),
                }
            }
        }
        for (chain, claim) in std::mem::take(&mut self.waiting) {
            self.report.ledger.unfinished += 1;
            self.unfinished(&chain, &claim).await?;
        }
        Ok(())
    }

    /// Files of the newest claim of a chain, which has no manifest: they count, as readers see them.
    async fn unfinished(&mut self, chain: &ChainId, claim: &Object<Claim>) -> Result<(), Failure> {
        let mut missing = 0u64;
        for file in &claim.value.files {
            let Some((size, named)) = self.listing.files.get_mut(&file.key) else {
                missing = missing.saturating_add(file.rows);
                continue;
            };
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
        let what = match self.inherited.contains(chain) {
            false => format!(
                "it has no manifest, and {missing} of the rows it announces are not written: start a sink, which \
                 finishes it, and audit again"
            ),
            true if missing > 0 => {
                format!("its topic was made again before {missing} of the rows it announces were written")
            }
            true => return Ok(()),
        };
        self.report.fault(Fault::new(&claim.key, what));
        Ok(())
    }

    /// Holds the columns of derived tables' files against the lists that the sinks keep of them.
    async fn judge_columns(&mut self) -> Result<(), Failure> {
        for (table, found) in std::mem::take(&mut self.derived) {
            let numbers = self.listing.columns.get(&table).cloned().unwrap_or_default();
            let mut listed = BTreeSet::new();
            for number in 0..numbers.last().map_or(0, |last| last + 1) {
                let key = format!("_milepost/columns/{table}/{number:06}.json");
                let body = self.store.get(&key).await?.unwrap_or_default();
                match ledger::parse_columns(&key, &body, &table, number) {
                    Ok(columns) => listed.extend(columns),
                    Err(fault) => {
                        self.report.fault(fault);
                        break;
                    }
                }
            }
            let own = |(name, kind): &(String, &str)| {
                table::COMMON.contains(&name.as_str()) || listed.contains(&(name.clone(), (*kind).to_owned()))
            };
            for ((name, kind), file) in found.into_iter().filter(|(column, _)| !own(column)) {
                let what = format!(
                    "it has the column {name} of type {kind}, which the list of {table}'s columns does not have"
                );
                self.report.table_fault(&table, Fault::new(file, what));
            }
        }
        Ok(())
    }

    /// Reads every image that a row names, and compares it with its name.
    async fn read_images(&mut self) -> Result<(), Failure> {
        let mut after: Option<String> = None;
        loop {
            let page = self.store.list(IMAGES, after.as_deref(), PAGE).await?;
            let more = page.len() == PAGE;
            after = page.last().map(|o| o.key.clone());
            let named = page.into_iter().map(|o| o.key).filter(|key| self.images.contains(&hash(key)));
            let store = &self.store;
            let get = |key: String| async move { store.get(&key).await.map(|body| (key, body)) };
            let mut bodies = stream::iter(named.collect::<Vec<_>>()).map(get).buffer_unordered(FETCHES);
            while let Some((key, body)) = bodies.try_next().await? {
                let digest = hex(&Sha256::digest(body.unwrap_or_default()));
                if name_of(&key).split('.').next() != Some(&digest) {
                    let what = format!("its bytes have the digest {digest}, and its name says otherwise");
                    self.report.table_fault("camera_data", Fault::new(&key, what));
                }
            }
            if !more {
                return Ok(());
            }
        }
    }

    /// Reads the files of a chain's manifests, as many manifests at a time as there are cores.
    async fn files_of(&mut self, manifests: Vec<Object<Manifest>>) -> Result<(), Failure> {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        let store = self.store.clone();
        let mut done = stream::iter(manifests)
            .map(|manifest| tokio::spawn(fetch(store.clone(), manifest.key, manifest.value)))
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
        line.bytes = line.bytes.saturating_add(bytes);
        match line.files {
            1 => line.columns = contents.columns.iter().cloned().collect(),
            _ => {
                line.columns.retain(|name, kind| contents.columns.iter().any(|(n, k)| n == name && k == kind))
            }
        }
        if Stream::from_str(table).is_ok_and(|stream| stream.columns().is_none()) {
            let columns = self.derived.entry(table.to_owned()).or_default();
            for column in contents.columns {
                columns.entry(column).or_insert_with(|| key.to_owned());
            }
        }
        for run in contents.runs {
            self.account.rows(&(run.vehicle, run.boot), table, run.seqs);
        }
        for gap in &contents.gaps {
            self.account.gap(gap);
        }
        self.account.health(contents.health);
        for ((vehicle, boot, stream), next) in contents.reported {
            self.account.reported(&(vehicle, boot), &stream, next);
        }
        for uri in contents.images {
            match uri.rfind("_images/").map(|at| hash(&uri[at..])) {
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

    /// Files in the tables that the ledger does not know. Their rows count, as readers see them.
    async fn unnamed_files(&mut self) -> Result<(), Failure> {
        let unnamed: Vec<_> =
            self.listing.files.iter().filter(|(_, f)| !f.1).map(|(k, f)| (k.clone(), f.0)).collect();
        for (key, size) in unnamed {
            let table = table_of(&key).to_owned();
            let what = "it is foreign: no claim and no manifest names it";
            self.report.table_fault(&table, Fault::new(&key, what));
            if may_be_read(&key)
                && !table.starts_with(['_', '.'])
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

/// Whose rows a record holds, where it is a frame that this program can read.
fn readings_of(value: &[u8]) -> Option<(Boot, String, Range<u64>)> {
    let header = frame::check(value).ok()?;
    let end = header.first_seq.checked_add(u64::from(header.count))?;
    let boot = (header.vehicle.as_str().into(), header.boot.0);
    Some((boot, header.stream.name().to_owned(), header.first_seq..end))
}

fn table_of(key: &str) -> &str {
    key.split('/').next().unwrap_or(key)
}

/// Reads the files of one manifest and compares each with what the manifest says of it.
async fn fetch(store: Arc<dyn Store>, key: String, manifest: Manifest) -> Result<Fetched, Failure> {
    let mut fetched = Fetched { key, manifest, contents: Vec::new(), faults: Vec::new() };
    for (i, file) in fetched.manifest.files.iter().enumerate() {
        let mut fault = |what: String| fetched.faults.push((file.table.clone(), Fault::new(&file.key, what)));
        // What is not the claim's own file is not read: a key could lead anywhere.
        let key = ledger::file_key(&fetched.manifest.place, &file.table, &file.dt);
        if file.key != key || !ledger::is_table_and_date(&file.table, &file.dt) {
            fault(format!("its key is not one of table {}, day {} and this claim", file.table, file.dt));
            continue;
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
                if let Some(what) = misplaced(&file.dt, &contents.days, fetched.manifest.record_ms) {
                    fault(what);
                }
                fetched.contents.push((i, contents));
            }
            Err(what) => fault(what),
        }
    }
    Ok(fetched)
}

/// What is wrong with the date of a file: a row lies on the day of its time, or of its Kafka record where
/// its time is before 2015 or more than a day after the record's.
pub(super) fn misplaced(dt: &str, days: &BTreeSet<i64>, record_ms: Option<(i64, i64)>) -> Option<String> {
    const DAY_MS: i64 = 86_400_000;
    const YEAR_2015: i64 = 16_436;
    let day = ledger::day_of(dt)?;
    let of_records = record_ms.map(|(from, to)| from.div_euclid(DAY_MS)..=to.div_euclid(DAY_MS));
    let may_be_elsewhere = |other: i64| {
        of_records.as_ref().is_some_and(|r| r.contains(&day) && (other < YEAR_2015 || other > *r.start()))
    };
    let odd = days.iter().copied().find(|&other| other != day && !may_be_elsewhere(other))?;
    Some(format!("a row in it is of another day: day {odd} since 1970, and not {day}"))
}

fn digest_and_read(table: &str, body: Bytes) -> ((u64, String), Result<Contents, String>) {
    ((body.len() as u64, hex(&Sha256::digest(&body))), table::read(table, body))
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
