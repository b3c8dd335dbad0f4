//! A mock cluster, frames to put into it, and a reader of lakes that shares no code with the sink's
//! writing.

#![allow(dead_code)] // each test file uses its part

#[cfg(feature = "glue")]
pub(crate) mod glue;

use async_trait::async_trait;
use bytes::Bytes;
use milepost_fake_aws::{BUCKET, FakeAws};
use milepost_sink::catalog::{Catalog, NoCatalog};
use milepost_sink::ledger::Manifest;
use milepost_sink::store::{self, Folder, Object, Put, S3Settings, Store, StoreError};
use milepost_sink::{Settings, Sink, Status};
use milepost_wire::{Batch, Body, BootId, Clock, Reading, Stream, VehicleId, frame, reading};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::RowAccessor;
use rdkafka::ClientConfig;

use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// Table, vehicle, boot, seq.
pub(crate) type Row = (String, String, u64, u64);

/// 2026-11-23 in µs.
pub(crate) const DAY_US: i64 = 1_795_392_000_000_000;

pub(crate) struct Bench {
    runtime: Arc<Runtime>,
    pub(crate) cluster: MockCluster<'static, DefaultProducerContext>,
    producer: BaseProducer,
    dir: Arc<TempDir>,
}

impl Bench {
    pub(crate) fn new(topics: &[(&str, i32)]) -> Self {
        Self::build(topics, Arc::new(tempfile::tempdir().unwrap()))
    }

    /// Another cluster over the lake of `other`.
    pub(crate) fn over(other: &Bench, topics: &[(&str, i32)]) -> Self {
        Self::build(topics, other.dir.clone())
    }

    fn build(topics: &[(&str, i32)], dir: Arc<TempDir>) -> Self {
        let cluster = MockCluster::new(1).unwrap();
        for (topic, partitions) in topics {
            cluster.create_topic(topic, *partitions, 1).unwrap();
        }
        let producer: BaseProducer =
            ClientConfig::new().set("bootstrap.servers", cluster.bootstrap_servers()).create().unwrap();
        Self { runtime: Arc::new(Runtime::new().unwrap()), cluster, producer, dir }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn store(&self) -> Arc<dyn Store> {
        Arc::new(Folder::open(self.folder()).unwrap())
    }

    /// The real S3 store of the client that the server's log calls `who`.
    pub(crate) fn s3(&self, fake: &FakeAws, who: &str) -> Arc<dyn Store> {
        self.open(&format!("s3://{BUCKET}"), &s3_settings(fake, who))
    }

    pub(crate) fn open(&self, lake: &str, settings: &S3Settings) -> Arc<dyn Store> {
        self.runtime.block_on(store::open(lake, settings)).unwrap()
    }

    /// What a server holds, read as a lake.
    pub(crate) fn read_s3(&self, fake: &FakeAws) -> Lake {
        let dir = tempfile::tempdir().unwrap();
        fake.save(dir.path());
        Lake::read(dir.path())
    }

    pub(crate) fn settings(&self) -> Settings {
        Settings {
            brokers: self.cluster.bootstrap_servers(),
            topics: ["gps_data", "camera_data", "derived_data"].map(str::to_owned).to_vec(),
            kafka: BTreeMap::from([
                ("session.timeout.ms".into(), "6000".into()),
                ("heartbeat.interval.ms".into(), "300".into()),
                ("topic.metadata.refresh.interval.ms".into(), "1000".into()),
            ]),
            file_age_ms: 200,
            ..Settings::default()
        }
    }

    pub(crate) fn sink(&self, edit: impl FnOnce(&mut Settings)) -> Sink {
        self.sink_on(self.store(), edit)
    }

    pub(crate) fn sink_on(&self, store: Arc<dyn Store>, edit: impl FnOnce(&mut Settings)) -> Sink {
        self.sink_with(store, Arc::new(NoCatalog), edit)
    }

    pub(crate) fn sink_with(
        &self,
        store: Arc<dyn Store>,
        catalog: Arc<dyn Catalog>,
        edit: impl FnOnce(&mut Settings),
    ) -> Sink {
        let mut settings = self.settings();
        edit(&mut settings);
        let _inside = self.runtime.enter();
        Sink::start_with(settings, store, catalog).unwrap()
    }

    pub(crate) fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }

    pub(crate) fn stop(&self, sink: Sink) -> Status {
        self.runtime.block_on(sink.stop()).unwrap()
    }

    pub(crate) fn wait_for_rows(&self, sink: &Sink, rows: u64) {
        let mut last = Instant::now();
        self.wait(&format!("{rows} rows are written"), || {
            if last.elapsed() > Duration::from_secs(10) {
                println!("{:?}", sink.status());
                last = Instant::now();
            }
            sink.status().rows() >= rows
        });
    }

    pub(crate) fn wait(&self, what: &str, mut done: impl FnMut() -> bool) {
        let began = Instant::now();
        while !done() {
            assert!(began.elapsed() < Duration::from_secs(120), "Not within two minutes: {what}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn send(&self, topic: &str, key: &str, value: Vec<u8>) {
        loop {
            let record = BaseRecord::to(topic).key(key).payload(&value);
            match self.producer.send(record) {
                Ok(()) => break,
                Err(_) => self.producer.poll(Duration::from_millis(10)),
            }
        }
        self.producer.poll(Duration::ZERO);
    }

    /// The same, to a partition.
    pub(crate) fn send_to(&self, topic: &str, partition: i32, key: &str, value: Vec<u8>) {
        let record = || BaseRecord::to(topic).partition(partition).key(key).payload(&value);
        while self.producer.send(record()).is_err() {
            self.producer.poll(Duration::from_millis(10));
        }
        self.producer.poll(Duration::ZERO);
    }

    pub(crate) fn flush(&self) {
        self.producer.flush(Duration::from_secs(30)).unwrap();
    }

    /// Frames of `rows` fixes each from each vehicle, beginning with frame number `from`.
    pub(crate) fn send_drives(
        &self,
        topic: &str,
        vehicles: u64,
        frames: u64,
        rows: u64,
        from: u64,
    ) -> BTreeSet<Row> {
        let mut sent = BTreeSet::new();
        for n in from..from + frames {
            for v in 0..vehicles {
                let vehicle = format!("v{v}");
                self.send(topic, &vehicle, gps_frame(&vehicle, 1, n * rows, rows));
                sent.extend((n * rows..(n + 1) * rows).map(|s| (topic.to_owned(), vehicle.clone(), 1, s)));
            }
        }
        self.flush();
        sent
    }

    /// Rows with images, four different ones.
    pub(crate) fn send_images(&self, rows: u64) -> BTreeSet<Row> {
        let mut sent = BTreeSet::new();
        for seq in 0..rows {
            let mut batch = batch("cam", 1, Stream::Camera, seq);
            let image = Reading { ts: DAY_US + seq as i64, ..camera_reading(2000, seq % 4) };
            batch.push(&image).unwrap();
            self.send("camera_data", "cam", frame::encode(&batch).unwrap());
            sent.insert(("camera_data".into(), "cam".into(), 1, seq));
        }
        self.flush();
        sent
    }
}

pub(crate) fn s3_settings(fake: &FakeAws, who: &str) -> S3Settings {
    let keys = fake.keys(who);
    S3Settings {
        endpoint: Some(fake.endpoint()),
        region: Some("us-east-1".into()),
        access_key: Some(keys.access),
        secret_key: Some(keys.secret),
        ..S3Settings::default()
    }
}

pub(crate) fn batch(vehicle: &str, boot: u64, stream: Stream, first_seq: u64) -> Batch {
    let columns = stream.columns().unwrap_or_default();
    Batch::new(VehicleId::new(vehicle).unwrap(), BootId(boot), stream.clone(), columns, first_seq, Vec::new())
}

/// A reading with an image of so many bytes, which follow from `seed`.
pub(crate) fn camera_reading(bytes: usize, seed: u64) -> Reading {
    let mut image = vec![0xff, 0xd8, 0xff];
    image.extend_from_slice(&seed.to_le_bytes());
    let mut state = seed;
    image.resize_with(bytes, || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    });
    let body = Body::Camera(reading::Camera {
        camera_id: "front".into(),
        lat_e7: None,
        lon_e7: None,
        image,
        width: Some(64),
        height: Some(48),
    });
    Reading { ts: DAY_US, clock: Clock::Ntp, body }
}

/// A frame of fixes, one a second, whose values follow from their numbers.
pub(crate) fn gps_frame(vehicle: &str, boot: u64, first_seq: u64, rows: u64) -> Vec<u8> {
    let mut batch = batch(vehicle, boot, Stream::Gps, first_seq);
    for seq in first_seq..first_seq + rows {
        let body = Body::Gps(reading::Gps {
            lat_e7: 515_000_000 + seq as i32 * 100,
            lon_e7: -1_270_000 - seq as i32 * 150,
            altitude_cm: (!seq.is_multiple_of(7)).then_some(3500),
            speed_mm_s: Some(13_900),
            heading_cdeg: Some(9_000),
            fix: 1,
            satellites: Some(9),
            hdop_e2: Some(90),
        });
        let ts = DAY_US + seq as i64 * 1_000_000;
        batch.push(&Reading { ts, clock: Clock::Gps, body }).unwrap();
    }
    frame::encode(&batch).unwrap()
}

/// What a lake holds, read from its files.
#[derive(Default)]
pub(crate) struct Lake {
    pub(crate) rows: Vec<Row>,
    /// Files of tables, with their rows.
    pub(crate) files: BTreeMap<String, u64>,
    pub(crate) manifests: Vec<Manifest>,
    /// URIs in the image column.
    pub(crate) images: Vec<String>,
}

impl Lake {
    pub(crate) fn read(root: &Path) -> Self {
        let mut lake = Lake::default();
        let mut folders = vec![root.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                let path = entry.path();
                match entry.file_type().is_ok_and(|t| t.is_dir()) {
                    true => folders.push(path),
                    false => lake.take(root, &path),
                }
            }
        }
        lake.manifests.sort_by_key(|m| (m.chain.clone(), m.first));
        lake
    }

    fn take(&mut self, root: &Path, path: &PathBuf) {
        let key = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
        if key.starts_with("_milepost/manifests/") {
            self.manifests.push(serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap());
        } else if key.ends_with(".parquet") && !key.starts_with(['.', '_']) {
            let table = key.split('/').next().unwrap().to_owned();
            let before = self.rows.len();
            let reader = SerializedFileReader::new(std::fs::File::open(path).unwrap()).unwrap();
            let names: Vec<String> = reader
                .metadata()
                .file_metadata()
                .schema_descr()
                .columns()
                .iter()
                .map(|c| c.name().to_owned())
                .collect();
            let at = |name: &str| names.iter().position(|n| n == name);
            for row in reader.get_row_iter(None).unwrap() {
                let row = row.unwrap();
                let boot = row.get_string(at("boot_id").unwrap()).unwrap();
                let boot = u64::from_str_radix(boot, 16).unwrap();
                let vehicle = row.get_string(at("vehicle_id").unwrap()).unwrap().clone();
                let seq = row.get_long(at("seq").unwrap()).unwrap() as u64;
                self.rows.push((table.clone(), vehicle, boot, seq));
                if let Some(i) = at("image") {
                    self.images.push(row.get_string(i).unwrap().clone());
                }
                if table == "gps_data" {
                    let lat = row.get_double(at("lat").unwrap()).unwrap();
                    assert_eq!(lat, (515_000_000 + seq as i64 * 100) as f64 / 1e7);
                    let us = row.get_long(at("ts_us").unwrap()).unwrap();
                    assert_eq!(us, DAY_US + seq as i64 * 1_000_000);
                    assert_eq!(row.get_timestamp_millis(at("ts").unwrap()).unwrap(), us / 1000);
                }
            }
            self.files.insert(key, (self.rows.len() - before) as u64);
        }
    }

    /// Each row that was sent is here once, and the ledger accounts for every file and offset.
    pub(crate) fn check(&self, sent: &BTreeSet<Row>) {
        let here: BTreeSet<Row> = self.rows.iter().cloned().collect();
        assert_eq!(here.len(), self.rows.len(), "rows repeated: {}", self.rows.len() - here.len());
        assert!(
            here == *sent,
            "{} lost, {} invented",
            sent.difference(&here).count(),
            here.difference(sent).count()
        );
        let mut files = BTreeMap::new();
        for (chain, manifests) in self.chains() {
            let mut next = 0;
            for (number, m) in manifests.iter().enumerate() {
                assert_eq!((m.first, m.number), (next, number as u64), "{chain}");
                assert_eq!(m.records + m.lost_count(), (m.last - m.first + 1) as u64, "{chain}");
                assert_eq!(m.rows + m.duplicates, m.readings, "{chain}");
                assert_eq!(m.rows, m.files.iter().map(|f| f.rows).sum::<u64>());
                let seen: u64 = m.seen.iter().flat_map(|s| &s.ranges).map(|(a, b)| b - a + 1).sum();
                assert_eq!(m.rows, seen, "{chain}");
                files.extend(m.files.iter().map(|f| (f.key.clone(), f.rows)));
                next = m.last + 1;
            }
        }
        assert_eq!(files, self.files);
    }

    /// The manifests of each chain, in order.
    pub(crate) fn chains(&self) -> BTreeMap<String, Vec<&Manifest>> {
        let mut chains: BTreeMap<String, Vec<&Manifest>> = BTreeMap::new();
        for m in &self.manifests {
            let name = format!("{} {} {}", m.chain.topic, m.chain.topic_id, m.chain.partition);
            chains.entry(name).or_default().push(m);
        }
        chains
    }
}

/// A store that can stand still.
pub(crate) struct Gate {
    inner: Arc<dyn Store>,
    pub(crate) frozen: AtomicBool,
}

impl Gate {
    pub(crate) fn new(inner: Arc<dyn Store>) -> Arc<Self> {
        Arc::new(Self { inner, frozen: AtomicBool::new(false) })
    }

    async fn pass(&self) -> &dyn Store {
        while self.frozen.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        &*self.inner
    }
}

#[async_trait]
impl Store for Gate {
    async fn get(&self, key: &str) -> Result<Option<Bytes>, StoreError> {
        self.pass().await.get(key).await
    }
    async fn get_range(&self, key: &str, range: std::ops::Range<u64>) -> Result<Option<Bytes>, StoreError> {
        self.pass().await.get_range(key, range).await
    }
    async fn head(&self, key: &str) -> Result<Option<u64>, StoreError> {
        self.pass().await.head(key).await
    }
    async fn put(&self, key: &str, body: Bytes) -> Result<(), StoreError> {
        self.pass().await.put(key, body).await
    }
    async fn put_if_absent(&self, key: &str, body: Bytes) -> Result<Put, StoreError> {
        self.pass().await.put_if_absent(key, body).await
    }
    async fn list(&self, prefix: &str, after: Option<&str>, max: usize) -> Result<Vec<Object>, StoreError> {
        self.pass().await.list(prefix, after, max).await
    }
    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.pass().await.delete(key).await
    }
    fn uri(&self, key: &str) -> String {
        self.inner.uri(key)
    }
}
