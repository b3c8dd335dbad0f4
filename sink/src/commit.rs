//! Drives the commit protocol of one partition: performs what [`crate::claim::Machine`] asks for on a
//! store and a log, and tries again what fails.
//!
//! Every effect may be performed twice, so a retry after a lost answer is safe, and so is to drop a
//! [`Committer`] at any point: whoever comes next rolls the newest claim forward.

use crate::build::{Built, BuiltFile, Record, build, sha256};
use crate::catalog::Registrar;
use crate::claim::{Effect, Event, Machine, Range, Unexpected};
use crate::columns::log::{ColumnLog, Tables, wants};
use crate::columns::{Columns, Want};
use crate::dedupe::{Memory, merge};
use crate::ledger::{
    self, BadObject, Chain, Claim, Former, Images, Manifest, Planned, STATE_EVERY, Seen, Shape, Written,
};
use crate::log::{Log, LogError};
use crate::parquet_file::WriteError;
use crate::put::{empty_file, put_file};
use crate::recall;
use crate::schema::Table;
use crate::status::Board;
use crate::store::{Put, Store, StoreError};
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, TryFutureExt, stream};
use milepost_wire::Stream;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Objects of one claim that are put at a time.
const PUTS: usize = 8;
/// How often Kafka may fail to answer before a claim's records are given up, to be read again: their
/// topic may be gone for good.
const LOG_TRIES: u32 = 3;
/// Pauses between attempts: the first, doubled up to the last.
pub(crate) const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Why a step did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Kafka failed.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The ledger holds what this program cannot use.
    #[error(transparent)]
    Ledger(#[from] BadObject),
    /// A file was not made.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The protocol was broken.
    #[error(transparent)]
    Protocol(#[from] Unexpected),
    /// The topic was deleted and made again: what was read belongs to one that is no more.
    #[error("Topic {topic} is not the one that was read: it was {was} and is {is}")]
    TopicReplaced {
        /// The topic.
        topic: String,
        /// Its id when reading began.
        was: String,
        /// Its id now.
        is: String,
    },
}

/// How an attempt to write records ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// They are committed; go on from this offset.
    Committed(i64),
    /// Another owner has claimed these offsets, or the topic is another: begin again.
    StartOver,
}

/// What is the same for all partitions of a sink.
#[derive(Clone)]
pub struct Context {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) log: Arc<dyn Log>,
    /// The columns of derived tables.
    pub(crate) columns: Arc<ColumnLog>,
    pub(crate) registrar: Arc<Registrar>,
    pub(crate) board: Board,
    /// How many claims are written at a time.
    pub(crate) writers: Arc<Semaphore>,
    pub(crate) shape: Shape,
    /// Who this is, for people who read the ledger.
    pub(crate) by: String,
    /// The wall clock, ms since 1970, for people who read the ledger.
    pub(crate) now_ms: fn() -> i64,
    /// Pauses between attempts: the first, doubled up to the last.
    pub(crate) pauses: (Duration, Duration),
}

/// One partition's side of the protocol. See the module's documentation.
pub struct Committer {
    context: Context,
    chain: Chain,
    machine: Machine,
    /// Where the next claim begins.
    next: i64,
    memory: Arc<Memory>,
    /// The claim whose effect `memory` includes last; `None` while it is not loaded.
    memory_at: Option<Newest>,
    /// Whose rows the memory began with.
    inherits: Vec<Former>,
    /// The claim at hand, the digest of the object that it is in the store, what it makes, and what was
    /// put of it.
    claim: Option<Claim>,
    claim_sha256: Option<String>,
    built: Option<Built>,
    put: Vec<(Written, Vec<Seen>)>,
    /// The keys of its images and unread records that were put.
    aside: BTreeSet<String>,
    /// What the newest manifest brought that the catalogue may not know: rows by table and date.
    unregistered: BTreeMap<String, BTreeMap<String, u64>>,
}

/// The newest finished claim; none before the first.
type Newest = Option<Finished>;

/// A claim that has its manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finished {
    pub number: u64,
    pub first: i64,
    /// SHA-256 of the manifest, hex.
    pub sha256: String,
}

impl Committer {
    /// The id of the topic whose records these are.
    pub(crate) fn topic_id(&self) -> &str {
        &self.chain.topic_id
    }

    /// A partition that nothing is known of.
    pub fn new(context: Context, chain: Chain) -> Self {
        Self {
            context,
            chain,
            machine: Machine::default(),
            next: 0,
            memory: Arc::default(),
            memory_at: None,
            inherits: Vec::new(),
            claim: None,
            claim_sha256: None,
            built: None,
            put: Vec::new(),
            aside: BTreeSet::new(),
            unregistered: BTreeMap::new(),
        }
    }

    /// Finds where the partition stands, finishes the newest claim where it is unfinished, and says
    /// which offset comes next. Tries until it succeeds, or finds the topic to be another: `None`.
    pub async fn recover(&mut self) -> Option<i64> {
        loop {
            match self.drive(Event::Start).await {
                Ok(next) => {
                    self.register().await;
                    return Some(next);
                }
                Err(e @ CommitError::TopicReplaced { .. }) => {
                    self.context.board.failed(&format!("{}: {e}", self.name()));
                    return None;
                }
                Err(e) => {
                    self.context.board.failed(&format!("{}: {e}", self.name()));
                    tokio::time::sleep(self.context.pauses.1).await;
                }
            }
        }
    }

    /// Writes and commits the records up to the offset `last`, which begin where the newest claim
    /// ends. Tries until it succeeds or is overtaken.
    pub async fn write(&mut self, last: i64, records: Vec<Record>) -> Outcome {
        let Ok(permit) = self.context.writers.clone().acquire_owned().await else {
            return Outcome::StartOver;
        };
        let wrote = self.try_write(last, records).await;
        // A catalogue that refuses one table must not keep others from being written.
        drop(permit);
        match wrote {
            Ok(next) if next == last + 1 => {
                self.register().await;
                Outcome::Committed(next)
            }
            Ok(_) => {
                self.context.board.edit().races_lost += 1;
                Outcome::StartOver
            }
            Err(e) => {
                self.context.board.failed(&format!("{}: {e}", self.name()));
                Outcome::StartOver
            }
        }
    }

    async fn try_write(&mut self, last: i64, records: Vec<Record>) -> Result<i64, CommitError> {
        let (number, previous, previous_sha256) = self.position();
        let (first, shape) = (self.next, self.context.shape.clone());
        let range = Range { first, last };
        let built = self.build(range, shape.clone(), records).await?;
        let planned = |f: &BuiltFile| Planned { key: f.key.clone(), rows: f.rows };
        self.claim = Some(Claim {
            format: ledger::FORMAT,
            chain: self.chain.clone(),
            number,
            first,
            last,
            previous,
            previous_sha256,
            shape,
            files: built.files.iter().map(planned).collect(),
            inherits: if number == 0 { self.inherits.clone() } else { Vec::new() },
            by: self.context.by.clone(),
            at_ms: (self.context.now_ms)(),
        });
        self.take_up(built);
        self.drive(Event::Cut(last)).await
    }

    /// Tells the catalogue of what the newest claim wrote. Tries until it succeeds: nothing more is
    /// claimed before.
    async fn register(&mut self) {
        for (name, dates) in std::mem::take(&mut self.unregistered) {
            let table = Table::of(&name, &self.columns_of(&name).await);
            let location = self.context.store.uri(&format!("{name}/"));
            self.context.registrar.register(table, location, &dates).await;
        }
    }

    /// Keeps in mind what a manifest brought. Only who wrote it counts its rows.
    fn remember_news(&mut self, manifest: &Manifest) {
        let ours = manifest.by == self.context.by;
        self.unregistered.clear();
        for file in &manifest.files {
            let dates = self.unregistered.entry(file.table.clone()).or_default();
            *dates.entry(file.dt.clone()).or_default() += if ours { file.rows } else { 0 };
        }
    }

    /// The columns of a derived table. Tries until it succeeds.
    async fn columns_of(&self, table: &str) -> Columns {
        if table.parse().is_ok_and(|s: Stream| s.columns().is_some()) {
            return Columns::none();
        }
        let mut pause = self.context.pauses.0;
        loop {
            match self.context.columns.known(table).await {
                Ok(columns) => return columns,
                Err(e) => self.context.board.failed(&format!("{}: {e}", self.name())),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(self.context.pauses.1);
        }
    }

    /// Steps the machine until it waits for records, or, with a claim of its own at hand, until it finds
    /// that it was overtaken (-1).
    async fn drive(&mut self, event: Event) -> Result<i64, CommitError> {
        let (shortest, longest) = self.context.pauses;
        let mut pause = shortest;
        let mut permit: Option<OwnedSemaphorePermit> = None;
        let mut patience = LOG_TRIES;
        let cutting = matches!(event, Event::Cut(_));
        let mut effect = self.machine.step(event)?;
        loop {
            match effect {
                Effect::Collect(next) => {
                    self.next = next;
                    return Ok(next);
                }
                // Overtaken: the caller begins again, with what is there.
                Effect::List if cutting => return Ok(-1),
                Effect::Rebuild(_) if permit.is_none() && !cutting => {
                    permit = self.context.writers.clone().acquire_owned().await.ok();
                }
                _ => {}
            }
            match self.perform(effect).await {
                Ok(event) => {
                    pause = shortest;
                    effect = self.machine.step(event)?;
                }
                Err(e @ (CommitError::TopicReplaced { .. } | CommitError::Protocol(_))) => return Err(e),
                // What was cut is still in Kafka; here it would keep others from writing.
                Err(e @ CommitError::Log(_)) if cutting && patience == 0 => return Err(e),
                Err(e) => {
                    if matches!(e, CommitError::Log(_)) {
                        patience = patience.saturating_sub(1);
                    }
                    self.context.board.failed(&format!("{}: {e}", self.name()));
                    permit = None;
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(longest);
                }
            }
        }
    }

    async fn perform(&mut self, effect: Effect) -> Result<Event, CommitError> {
        Ok(match effect {
            Effect::List => Event::Newest(self.newest().await?),
            Effect::ReadClaim(first) => Event::ClaimRead(self.read_claim(first).await?),
            Effect::ReadManifest(range) => Event::ManifestRead(self.read_manifest(range).await?),
            Effect::PutClaim(_) => Event::ClaimPut(self.put_claim().await?),
            Effect::CompareClaim(range) => Event::ClaimCompared(self.compare_claim(range).await?),
            Effect::Rebuild(range) => {
                self.rebuild(range).await?;
                Event::Rebuilt
            }
            Effect::PutFiles(range) => {
                self.put_files(range).await?;
                Event::FilesPut
            }
            Effect::PutManifest(range) => Event::ManifestPut(self.put_manifest(range).await?),
            Effect::Collect(next) => Event::Cut(next), // never asked of the store
        })
    }

    async fn newest(&mut self) -> Result<Option<i64>, CommitError> {
        let prefix = self.chain.claims();
        let found = self.context.store.list(&prefix, None, 1).await?;
        let Some(object) = found.first() else {
            let formers = recall::formers(&*self.context.store, &self.chain).await?;
            self.load_inherited(formers).await?;
            return Ok(None);
        };
        match ledger::first_of(&object.key) {
            Some(first) => Ok(Some(first)),
            None => Err(BadObject { key: object.key.clone(), why: "a name that no claim has".into() }.into()),
        }
    }

    async fn read_claim(&mut self, first: i64) -> Result<Range, CommitError> {
        let key = self.chain.claim(first);
        let bytes = self.must_get(&key).await?;
        let claim: Claim = ledger::parse(&key, &bytes)?;
        if claim.chain != self.chain || claim.first != first || claim.last < first {
            return Err(BadObject { key, why: "it speaks of other offsets than its name".into() }.into());
        }
        let range = Range { first, last: claim.last };
        self.claim = Some(claim);
        self.claim_sha256 = Some(sha256(&bytes));
        Ok(range)
    }

    /// Looks for a manifest, and brings the memory to where it stands after it, or before it where
    /// there is none.
    async fn read_manifest(&mut self, range: Range) -> Result<bool, CommitError> {
        let key = self.chain.manifest(range.first);
        let found = self.context.store.get(&key).await?;
        let previous = self.claim.as_ref().and_then(|c| c.previous);
        let Some(bytes) = found else {
            match previous {
                Some(first) if self.stands_after(first) => {}
                Some(first) => self.load_memory(first).await?,
                None => {
                    let inherits = self.claim.as_ref().map(|c| c.inherits.clone()).unwrap_or_default();
                    self.load_inherited(inherits).await?;
                }
            }
            return Ok(false);
        };
        let manifest: Manifest = ledger::parse(&key, &bytes)?;
        let mine = manifest.by == self.context.by;
        self.remember_news(&manifest);
        if self.stands_after(range.first) {
        } else if previous.is_some_and(|first| self.stands_after(first)) {
            self.take_in(&manifest, sha256(&bytes), mine);
        } else {
            let began = self.memory_at == Some(None);
            self.load_memory(range.first).await?;
            if mine && began && previous.is_none() {
                self.context.board.committed(&manifest);
            }
        }
        Ok(true)
    }

    /// Whether the memory includes the claim that begins at `first`, and none after it.
    fn stands_after(&self, first: i64) -> bool {
        matches!(&self.memory_at, Some(Some(at)) if at.first == first)
    }

    async fn load_memory(&mut self, newest: i64) -> Result<(), CommitError> {
        let (memory, finished) = recall::chain(&*self.context.store, &self.chain, newest).await?;
        self.memory = Arc::new(memory);
        self.memory_at = Some(Some(finished));
        Ok(())
    }

    /// Brings the memory to where it stands before the first claim.
    async fn load_inherited(&mut self, inherits: Vec<Former>) -> Result<(), CommitError> {
        self.memory = Arc::new(recall::inherited(&*self.context.store, &self.chain, &inherits).await?);
        self.memory_at = Some(None);
        self.inherits = inherits;
        Ok(())
    }

    fn take_in(&mut self, manifest: &Manifest, sha256: String, mine: bool) {
        Arc::make_mut(&mut self.memory).apply(&manifest.seen, manifest.last);
        self.memory_at = Some(Some(Finished { number: manifest.number, first: manifest.first, sha256 }));
        if mine {
            self.context.board.committed(manifest);
        }
    }

    async fn put_claim(&mut self) -> Result<Put, CommitError> {
        self.check_topic().await?;
        let Some(claim) = &self.claim else { return Err(self.nothing_at_hand()) };
        let (key, body) = (self.chain.claim(claim.first), ledger::write(claim));
        self.claim_sha256 = Some(sha256(&body));
        Ok(self.context.store.put_if_absent(&key, body.into()).await?)
    }

    /// Asked after the last record was read: what has this id now had it then.
    async fn check_topic(&self) -> Result<(), CommitError> {
        let is = self.context.log.topic_id(&self.chain.topic).await?;
        if is == self.chain.topic_id {
            return Ok(());
        }
        let (topic, was) = (self.chain.topic.clone(), self.chain.topic_id.clone());
        Err(CommitError::TopicReplaced { topic, was, is })
    }

    async fn compare_claim(&mut self, range: Range) -> Result<bool, CommitError> {
        let key = self.chain.claim(range.first);
        let bytes = self.must_get(&key).await?;
        let theirs: Claim = ledger::parse(&key, &bytes)?;
        self.claim_sha256 = Some(sha256(&bytes));
        Ok(self.claim.as_ref().is_some_and(|mine| mine.same_work(&theirs)))
    }

    async fn rebuild(&mut self, range: Range) -> Result<(), CommitError> {
        let Some(claim) = &self.claim else { return Err(self.nothing_at_hand()) };
        let shape = claim.shape.clone();
        let records = self.context.log.read(&self.chain.topic, self.chain.partition, range).await?;
        self.check_topic().await?;
        let built = self.build(range, shape, records).await?;
        self.take_up(built);
        Ok(())
    }

    /// Begins with the objects of a claim, of which nothing is put yet.
    fn take_up(&mut self, built: Built) {
        self.built = Some(built);
        self.put.clear();
        self.aside.clear();
    }

    /// Builds a claim's objects, when the columns that its frames need are in the lake.
    async fn build(&self, range: Range, shape: Shape, records: Vec<Record>) -> Result<Built, CommitError> {
        let (chain, memory) = (self.chain.clone(), self.memory.clone());
        let records: Arc<[Record]> = records.into();
        let (looked_at, frame_max) = (records.clone(), shape.frame_max);
        let wants = blocking(move || wants(&looked_at, frame_max)).await?;
        let columns = self.agree(&wants).await;
        Ok(blocking(move || build(&chain, range, &shape, &records, &memory, &columns)).await??)
    }

    /// Brings columns that frames need into the lake. Tries until it succeeds.
    async fn agree(&self, wants: &BTreeMap<String, Vec<Vec<Want>>>) -> Tables {
        let (mut pause, longest) = self.context.pauses;
        loop {
            match self.context.columns.agree(wants).await {
                Ok(tables) => return tables,
                Err(e) => self.context.board.failed(&format!("{}: {e}", self.name())),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(longest);
        }
    }

    /// Puts the objects of a claim. Where somebody else's file is there already and has other rows, Kafka had
    /// deleted records when it was made: what is lost is asked of Kafka once more, so that the manifest says
    /// so and not what was at hand here.
    async fn put_files(&mut self, range: Range) -> Result<(), CommitError> {
        self.put_all().await?;
        if self.found_other_rows() {
            self.rebuild(range).await?;
            self.put_all().await?;
        }
        Ok(())
    }

    /// Whether a file that is put has other rows than were built for it.
    fn found_other_rows(&self) -> bool {
        let built = self.built.iter().flat_map(|built| &built.files);
        let other =
            |file: &BuiltFile| self.put.iter().any(|(w, seen)| w.key == file.key && *seen != file.seen);
        built.into_iter().any(other)
    }

    /// Puts images and unread records first, then the files that name them. What is put stays put when
    /// something else fails: the next attempt goes on from there, however many objects there are.
    async fn put_all(&mut self) -> Result<(), CommitError> {
        let (Some(claim), Some(built)) = (&self.claim, &self.built) else {
            return Err(self.nothing_at_hand());
        };
        let store = &*self.context.store;
        // Boxed, since the compiler cannot see that borrowing futures of a stream may change threads.
        let mut aside: Vec<BoxFuture<'_, Result<String, StoreError>>> = Vec::new();
        let unread = built.unread.as_ref().map(|(unread, body)| (&unread.key, body));
        for (key, body) in built.images.iter().chain(unread).filter(|(key, _)| !self.aside.contains(*key)) {
            aside.push(store.put_if_absent(key, body.clone()).map_ok(|_| key.clone()).boxed());
        }
        let done: Vec<_> = stream::iter(aside).buffer_unordered(PUTS).collect().await;
        let failed = keep(done, &mut self.aside);
        failed?;
        // Records that Kafka has deleted since the claim was made may be in files already, or be on
        // their way: a file without rows takes their place, and whoever was first is right.
        let mut empty = Vec::new();
        for planned in &claim.files {
            if !built.files.iter().any(|f| f.key == planned.key) {
                empty.push(empty_file(&planned.key, &claim.shape)?);
            }
        }
        let mut files: Vec<BoxFuture<'_, Result<_, CommitError>>> = Vec::new();
        let is_put = |file: &BuiltFile| self.put.iter().any(|(written, _)| written.key == file.key);
        for file in built.files.iter().chain(&empty).filter(|file| !is_put(file)) {
            files.push(put_file(store, file).boxed());
        }
        let done: Vec<_> = stream::iter(files).buffered(PUTS).collect().await;
        let failed = keep(done, &mut self.put);
        self.put.sort_by(|a, b| a.0.key.cmp(&b.0.key));
        failed
    }

    async fn put_manifest(&mut self, range: Range) -> Result<Put, CommitError> {
        let (Some(claim), Some(built)) = (&self.claim, &self.built) else {
            return Err(self.nothing_at_hand());
        };
        let seen = merge(self.put.iter().flat_map(|(_, seen)| seen));
        let mut after = (*self.memory).clone();
        after.apply(&seen, claim.last);
        // What was inherited stands nowhere else in this chain.
        let whole = claim.number % STATE_EVERY == STATE_EVERY - 1 || !claim.inherits.is_empty();
        let state = match whole {
            true => Some(self.put_state(range, &after).await?),
            false => None,
        };
        let images = Images {
            objects: built.images.len() as u64,
            bytes: built.images.values().map(|i| i.len() as u64).sum(),
        };
        let manifest = Manifest {
            format: ledger::FORMAT,
            chain: self.chain.clone(),
            number: claim.number,
            first: claim.first,
            last: claim.last,
            previous: claim.previous,
            claim_sha256: self.claim_sha256.clone(),
            records: built.records,
            lost: built.lost.clone(),
            frames: built.frames,
            readings: built.readings,
            rows: self.put.iter().map(|(w, _)| w.rows).sum(),
            duplicates: built.duplicates,
            unread: built.unread.as_ref().map(|(u, _)| u.clone()),
            files: self.put.iter().map(|(w, _)| w.clone()).collect(),
            images,
            record_ms: built.record_ms,
            seen,
            state,
            by: self.context.by.clone(),
            at_ms: (self.context.now_ms)(),
        };
        let (key, body) = (self.chain.manifest(range.first), ledger::write(&manifest));
        let sha256 = sha256(&body);
        let put = self.context.store.put_if_absent(&key, body.into()).await?;
        if put == Put::Created {
            self.memory = Arc::new(after);
            self.memory_at = Some(Some(Finished { number: manifest.number, first: manifest.first, sha256 }));
            self.context.board.committed(&manifest);
            self.remember_news(&manifest);
        }
        self.release();
        Ok(put)
    }

    async fn put_state(&self, range: Range, after: &Memory) -> Result<String, CommitError> {
        let body = ledger::write(&after.to_state());
        let key = self.chain.state(range.first, &sha256(&body));
        self.context.store.put_if_absent(&key, body.into()).await?;
        Ok(key)
    }

    /// Gives back the memory of a claim that is put; a retry of its manifest finds it there.
    fn release(&mut self) {
        if let Some(built) = &mut self.built {
            built.files.iter_mut().for_each(|f| f.body = Bytes::new());
            built.images.values_mut().for_each(|i| *i = Bytes::new());
        }
    }

    async fn must_get(&self, key: &str) -> Result<Bytes, CommitError> {
        recall::must_get(&*self.context.store, key).await
    }

    /// The next claim's number; of the one before it the first offset, and the manifest's digest.
    fn position(&self) -> (u64, Option<i64>, Option<String>) {
        match self.memory_at.as_ref().and_then(Option::as_ref) {
            Some(at) => (at.number + 1, Some(at.first), Some(at.sha256.clone())),
            None => (0, None, None),
        }
    }

    fn nothing_at_hand(&self) -> CommitError {
        BadObject { key: self.name(), why: "no claim is at hand".into() }.into()
    }

    fn name(&self) -> String {
        format!("{} partition {}", self.chain.topic, self.chain.partition)
    }
}

/// Keeps what succeeded, and gives the first failure.
fn keep<T, E>(done: Vec<Result<T, E>>, into: &mut impl Extend<T>) -> Result<(), E> {
    let mut failed = Ok(());
    for one in done {
        match one {
            Ok(one) => into.extend([one]),
            Err(e) if failed.is_ok() => failed = Err(e),
            Err(_) => {}
        }
    }
    failed
}

/// Does work that takes long without holding up other tasks.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, WriteError> {
    tokio::task::spawn_blocking(work).await.map_err(|e| WriteError(e.to_string()))
}

#[cfg(test)]
mod tests;
