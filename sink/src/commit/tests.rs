//! Real committers on a store that fails, loses answers and lets its caller die, and on a log whose
//! start moves. What is checked is the lake: each row once, and a ledger that accounts for it.

use super::*;
use crate::catalog::{Catalog, CatalogError, News, NoCatalog};
use async_trait::async_trait;
use milepost_wire::reading::Gps;
use milepost_wire::{Batch, Body, BootId, Clock, Reading, Stream, VehicleId, frame};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use crate::parquet_file::look_into;
use crate::store::Object;

mod columns;
mod pairs;
mod schedules;

const ROWS: u64 = 3;
const START_US: i64 = 1_795_392_000_000_000;

/// Numbers that follow from a seed.
struct Rng(AtomicU64);

impl Rng {
    fn below(&self, n: u64) -> u64 {
        let step =
            |x: u64| Some(x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407));
        let x = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, step).unwrap_or_default();
        (x >> 33) % n
    }
}

type Objects = Arc<Mutex<BTreeMap<String, Bytes>>>;

/// A store in memory for one owner: of `one_in` operations one goes wrong, in one of four ways.
struct Faulty {
    objects: Objects,
    rng: Arc<Rng>,
    one_in: u64,
    /// Whether a conditional put overwrites, as a store that does not know the condition would.
    careless: bool,
}

impl Faulty {
    /// Performs an operation, with a fault before or after it.
    async fn with<T>(
        &self,
        key: &str,
        operation: impl FnOnce(&mut BTreeMap<String, Bytes>) -> T,
    ) -> Result<T, StoreError> {
        for _ in 0..self.rng.below(4) {
            tokio::task::yield_now().await;
        }
        let failed = || StoreError::Transient { key: key.into(), what: "a test", why: "planned".into() };
        let fault = match self.rng.below(self.one_in) {
            0 => 1 + self.rng.below(4),
            _ => 0,
        };
        match fault {
            1 => return Err(failed()),
            // Dies before the effect: whoever waits is dropped by the test.
            2 => std::future::pending::<()>().await,
            _ => {}
        }
        let done = operation(&mut self.objects.lock().unwrap());
        match fault {
            3 => Err(failed()),
            4 => std::future::pending().await,
            _ => Ok(done),
        }
    }
}

#[async_trait]
impl Store for Faulty {
    async fn get(&self, key: &str) -> Result<Option<Bytes>, StoreError> {
        self.with(key, |objects| objects.get(key).cloned()).await
    }
    async fn get_range(&self, key: &str, range: std::ops::Range<u64>) -> Result<Option<Bytes>, StoreError> {
        self.with(key, |o| {
            o.get(key).map(|b| b.slice(range.start as usize..(range.end as usize).min(b.len())))
        })
        .await
    }
    async fn head(&self, key: &str) -> Result<Option<u64>, StoreError> {
        self.with(key, |objects| objects.get(key).map(|b| b.len() as u64)).await
    }
    async fn put(&self, key: &str, body: Bytes) -> Result<(), StoreError> {
        self.with(key, |objects| drop(objects.insert(key.into(), body))).await
    }
    async fn put_if_absent(&self, key: &str, body: Bytes) -> Result<Put, StoreError> {
        let put = |objects: &mut BTreeMap<String, Bytes>| match objects.contains_key(key) && !self.careless {
            true => Put::Exists,
            false => {
                objects.insert(key.into(), body);
                Put::Created
            }
        };
        self.with(key, put).await
    }
    async fn list(&self, prefix: &str, after: Option<&str>, max: usize) -> Result<Vec<Object>, StoreError> {
        let list = |objects: &mut BTreeMap<String, Bytes>| {
            let wanted = |k: &&String| k.starts_with(prefix) && after.is_none_or(|a| k.as_str() > a);
            let keys = objects.keys().filter(wanted).take(max);
            keys.map(|k| Object { key: k.clone(), size: objects[k].len() as u64 }).collect()
        };
        self.with(prefix, list).await
    }
    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.with(key, |objects| drop(objects.remove(key))).await
    }
    fn uri(&self, key: &str) -> String {
        format!("mem:{key}")
    }
}

/// A log whose start moves.
struct FakeLog {
    records: Vec<Record>,
    start: AtomicI64,
}

impl FakeLog {
    fn range(&self, range: Range) -> Vec<Record> {
        let first = range.first.max(self.start.load(Ordering::Relaxed));
        self.records.iter().filter(|r| (first..=range.last).contains(&r.offset)).cloned().collect()
    }
}

#[async_trait]
impl Log for FakeLog {
    async fn topic_id(&self, _: &str) -> Result<String, LogError> {
        Ok("ab".repeat(16))
    }
    async fn read(&self, _: &str, _: i32, range: Range) -> Result<Vec<Record>, LogError> {
        Ok(self.range(range))
    }
}

fn chain() -> Chain {
    Chain { topic: "gps_data".into(), topic_id: "ab".repeat(16), partition: 0 }
}

/// The frame of `ROWS` fixes that begins with this number; the days change now and then.
fn gps(first_seq: u64) -> Bytes {
    let columns = Stream::Gps.columns().unwrap();
    let vehicle = VehicleId::new("v").unwrap();
    let mut batch = Batch::new(vehicle, BootId(7), Stream::Gps, columns, first_seq, Vec::new());
    for seq in first_seq..first_seq + ROWS {
        let body = Gps {
            lat_e7: seq as i32,
            lon_e7: 0,
            altitude_cm: None,
            speed_mm_s: None,
            heading_cdeg: None,
            fix: 1,
            satellites: None,
            hdop_e2: None,
        };
        let ts = START_US + (seq as i64 / 10) * 86_400_000_000;
        batch.push(&Reading { ts, clock: Clock::Gps, body: Body::Gps(body) }).unwrap();
    }
    frame::encode(&batch).unwrap().into()
}

/// A log of frames, some of which come again.
fn log(rng: &Rng, length: i64) -> FakeLog {
    let mut next = 0;
    let mut record = |offset| {
        let again = next > 0 && rng.below(4) == 0;
        let first = if again { rng.below(next) } else { next };
        next += if again { 0 } else { ROWS };
        Record { offset, at_ms: START_US / 1000 + 86_400_000 * 60, value: gps(first.min(next - ROWS)) }
    };
    FakeLog { records: (0..length).map(&mut record).collect(), start: AtomicI64::new(0) }
}

struct Setup {
    objects: Objects,
    log: Arc<FakeLog>,
    rng: Arc<Rng>,
    one_in: u64,
    careless: bool,
    catalog: Arc<dyn Catalog>,
}

impl Setup {
    fn new(seed: u64, length: i64, one_in: u64) -> Self {
        let rng = Arc::new(Rng(AtomicU64::new(seed)));
        let log = Arc::new(log(&rng, length));
        Self { objects: Objects::default(), log, rng, one_in, careless: false, catalog: Arc::new(NoCatalog) }
    }

    fn store(&self) -> Faulty {
        let (objects, rng) = (self.objects.clone(), self.rng.clone());
        Faulty { objects, rng, one_in: self.one_in, careless: self.careless }
    }

    fn context(&self, by: &str) -> Context {
        let (board, pauses) = (Board::default(), (Duration::from_micros(10), Duration::from_micros(50)));
        let store = Arc::new(self.store());
        Context {
            columns: Arc::new(ColumnLog::new(store.clone(), by.into(), || 0)),
            registrar: Arc::new(Registrar::new(self.catalog.clone(), board.clone(), pauses)),
            store,
            log: self.log.clone(),
            board,
            writers: Arc::new(Semaphore::new(2)),
            shape: Shape { frame_max: 1, row_group_rows: 1000, zstd_level: 1, images: "mem:".into() },
            by: by.into(),
            now_ms: || 0,
            pauses,
        }
    }

    /// One owner from start to the end of the log.
    async fn own(&self, context: Context, retention: bool) {
        let end = self.log.records.len() as i64;
        let mut committer = Committer::new(context.clone(), chain());
        let mut next = committer.recover().await.unwrap();
        while next < end {
            let last = next + self.rng.below((end - next).min(5) as u64) as i64;
            let records = self.log.range(Range { first: next, last });
            if retention && self.rng.below(3) == 0 {
                let start = (next + self.rng.below(4) as i64).min(end - 1);
                self.log.start.fetch_max(start, Ordering::Relaxed);
            }
            next = match committer.write(last, records).await {
                Outcome::Committed(next) => next,
                Outcome::StartOver => {
                    committer = Committer::new(context.clone(), chain());
                    committer.recover().await.unwrap()
                }
            };
        }
    }

    /// An owner that dies and comes back until it reaches the end.
    async fn keep_owning(&self, by: &str, retention: bool) {
        let patience = Duration::from_millis(60);
        while tokio::time::timeout(patience, self.own(self.context(by), retention)).await.is_err() {}
    }

    fn manifests(&self) -> Vec<Manifest> {
        let objects = self.objects.lock().unwrap();
        let of =
            |(k, b): (&String, &Bytes)| k.contains("/manifests/").then(|| serde_json::from_slice(b).unwrap());
        let mut manifests: Vec<Manifest> = objects.iter().filter_map(of).collect();
        manifests.sort_by_key(|m| m.first);
        manifests
    }

    /// Each row once; those that are not there were in lost offsets; the ledger knows every file.
    fn check(&self, what: &str) {
        let mut rows: Vec<u64> = Vec::new();
        let mut files = BTreeSet::new();
        for (key, body) in self.objects.lock().unwrap().iter().filter(|(k, _)| k.ends_with(".parquet")) {
            let (_, seen) = look_into(body.clone(), "gps_data").unwrap();
            rows.extend(seen.iter().flat_map(|s| &s.ranges).flat_map(|&(a, b)| a..=b));
            files.insert(key.clone());
        }
        let here: BTreeSet<u64> = rows.iter().copied().collect();
        assert_eq!(here.len(), rows.len(), "{what}: a row twice");
        let mut next = 0;
        let mut lost = BTreeSet::new();
        let mut previous = None;
        for (number, m) in self.manifests().iter().enumerate() {
            assert_eq!((m.first, m.number), (next, number as u64), "{what}");
            let object = |key: String| self.objects.lock().unwrap()[&key].clone();
            let claim = object(m.chain.claim(m.first));
            assert_eq!(m.claim_sha256, Some(sha256(&claim)), "{what}: claim {number} is not the manifest's");
            let claim: Claim = serde_json::from_slice(&claim).unwrap();
            assert_eq!(claim.previous_sha256, previous, "{what}: claim {number} follows another manifest");
            previous = Some(sha256(&object(m.chain.manifest(m.first))));
            assert_eq!(m.records + m.lost_count(), (m.last - m.first + 1) as u64, "{what}");
            lost.extend(m.lost.iter().flat_map(|&(a, b)| a..=b));
            for file in &m.files {
                assert!(files.remove(&file.key), "{what}: {} is missing or twice in the ledger", file.key);
                let body = self.objects.lock().unwrap()[&file.key].clone();
                assert_eq!((sha256(&body), body.len() as u64), (file.sha256.clone(), file.bytes), "{what}");
                assert_eq!(look_into(body, "gps_data").unwrap().0, file.rows, "{what}");
            }
            next = m.last + 1;
        }
        assert_eq!(next, self.log.records.len() as i64, "{what}: not all committed");
        assert!(files.is_empty(), "{what}: the ledger does not know {files:?}");
        for record in self.log.records.iter().filter(|r| !lost.contains(&r.offset)) {
            let header = frame::check(&record.value).unwrap();
            for seq in header.first_seq..=header.last_seq() {
                assert!(here.contains(&seq), "{what}: row {seq} of offset {} is lost", record.offset);
            }
        }
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn run(seed: u64, retention: bool, careless: bool) {
    let setup = Setup { careless, ..Setup::new(seed, 14, 25) };
    runtime().block_on(async {
        tokio::join!(setup.keep_owning("a", retention), setup.keep_owning("b", retention));
    });
    setup.check(&format!("seed {seed}"));
}

#[test]
fn the_checker_sees_a_store_that_does_not_honour_the_condition() {
    let failed = |seed| std::panic::catch_unwind(|| run(seed, false, true)).is_err();
    assert!((0..40).any(failed), "40 runs on a careless store, and nothing was noticed");
}

#[tokio::test]
async fn the_memory_of_written_rows_comes_back_from_the_ledger_with_bounded_reading() {
    let mut setup = Setup::new(1, 0, u64::MAX);
    let records = (0..80).map(|o| Record { offset: o, at_ms: START_US / 1000, value: gps(o as u64 * ROWS) });
    // Behind them, frames from long ago come again.
    let again =
        (80..90).map(|o| Record { offset: o, at_ms: START_US / 1000, value: gps((o as u64 - 80) * ROWS) });
    setup.log = Arc::new(FakeLog { records: records.chain(again).collect(), start: AtomicI64::new(0) });
    let mut committer = Committer::new(setup.context("a"), chain());
    committer.recover().await;
    for offset in 0..80 {
        let records = setup.log.range(Range { first: offset, last: offset });
        assert_eq!(committer.write(offset, records).await, Outcome::Committed(offset + 1));
    }
    assert_eq!(setup.manifests().iter().filter(|m| m.state.is_some()).count(), 2);
    // Manifests behind the newest state are not needed any more.
    let key = chain().manifest(10);
    setup.objects.lock().unwrap().remove(&key).unwrap();
    let mut committer = Committer::new(setup.context("b"), chain());
    assert_eq!(committer.recover().await, Some(80));
    let records = setup.log.range(Range { first: 80, last: 89 });
    assert_eq!(committer.write(89, records).await, Outcome::Committed(90));
    let last = setup.manifests().pop().unwrap();
    assert_eq!((last.rows, last.duplicates, last.files.len()), (0, 10 * ROWS, 0));
}

#[tokio::test]
async fn what_a_file_of_somebody_else_lacks_is_declared_lost() {
    let mut setup = Setup::new(1, 0, u64::MAX);
    let records = (0..3).map(|o| Record { offset: o, at_ms: START_US / 1000, value: gps(o as u64 * ROWS) });
    setup.log = Arc::new(FakeLog { records: records.collect(), start: AtomicI64::new(0) });
    let mut slow = Committer::new(setup.context("slow"), chain());
    slow.recover().await;
    let range = Range { first: 0, last: 2 };
    let at_hand = setup.log.range(range);
    // Kafka deletes the first record, and another owner of the claim puts the file that is left of it.
    setup.log.start.store(1, Ordering::Relaxed);
    let other = Committer::new(setup.context("other"), chain());
    let built = other.build(range, setup.context("other").shape, setup.log.range(range)).await.unwrap();
    let [file] = &built.files[..] else { panic!("{:?}", built.files) };
    setup.objects.lock().unwrap().insert(file.key.clone(), file.body.clone());
    assert_eq!(slow.write(2, at_hand).await, Outcome::Committed(3));
    let manifest = setup.manifests().pop().unwrap();
    assert_eq!((manifest.lost.clone(), manifest.records, manifest.rows), (vec![(0, 0)], 2, 2 * ROWS));
    assert_eq!(manifest.readings, manifest.rows + manifest.duplicates);
    setup.check("a slow owner");
}

#[tokio::test]
async fn a_claim_of_an_older_sink_is_redone_as_that_sink_would_have() {
    let mut setup = Setup::new(1, 0, u64::MAX);
    let records = (0..3).map(|o| Record { offset: o, at_ms: START_US / 1000, value: gps(o as u64 * ROWS) });
    setup.log = Arc::new(FakeLog { records: records.collect(), start: AtomicI64::new(0) });
    let claim = Claim {
        format: ledger::FORMAT,
        chain: chain(),
        number: 0,
        first: 0,
        last: 2,
        previous: None,
        previous_sha256: None,
        shape: Shape { frame_max: 0, row_group_rows: 10, zstd_level: 1, images: String::new() },
        files: Vec::new(),
        inherits: Vec::new(),
        by: "old".into(),
        at_ms: 0,
    };
    setup.objects.lock().unwrap().insert(chain().claim(0), ledger::write(&claim).into());
    let mut committer = Committer::new(setup.context("new"), chain());
    assert_eq!(committer.recover().await, Some(3));
    let manifest = setup.manifests().pop().unwrap();
    assert_eq!(manifest.rows, 0);
    assert_eq!(manifest.unread.unwrap().reasons, BTreeMap::from([("version 1".to_owned(), 3)]));
}

/// A catalogue that refuses now and then, or is told by a sink that dies.
#[derive(Default)]
struct Partitions {
    rng: Option<Arc<Rng>>,
    told: Mutex<BTreeSet<(String, String)>>,
}

#[async_trait]
impl Catalog for Partitions {
    async fn register(&self, news: &News) -> Result<(), CatalogError> {
        let draw = self.rng.as_ref().map_or(0, |rng| rng.below(6));
        if draw == 1 {
            std::future::pending::<()>().await;
        }
        if draw != 2 {
            let of = |dt: &String| (news.table.name.clone(), dt.clone());
            self.told.lock().unwrap().extend(news.dates.iter().map(of));
        }
        match draw {
            2 | 3 => Err(CatalogError { table: news.table.name.clone(), why: "planned".into() }),
            _ => Ok(()),
        }
    }
}

/// At every manifest, all that the chain wrote before its newest claim is registered.
#[test]
fn no_claim_is_made_before_what_the_last_one_wrote_is_in_the_catalogue() {
    for seed in 0..40 {
        let mut setup = Setup::new(seed, 14, 25);
        let catalog = Arc::new(Partitions { rng: Some(setup.rng.clone()), ..Partitions::default() });
        setup.catalog = catalog.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            tokio::join!(setup.keep_owning("a", false), setup.keep_owning("b", false));
        });
        setup.check(&format!("seed {seed}"));
        let told = catalog.told.lock().unwrap().clone();
        let written: BTreeSet<_> = setup
            .manifests()
            .iter()
            .flat_map(|m| &m.files)
            .map(|f| (f.table.clone(), f.dt.clone()))
            .collect();
        assert_eq!(told, written, "seed {seed}");
    }
}
