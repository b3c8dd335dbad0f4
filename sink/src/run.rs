//! The running sink: one thread reads Kafka and keeps the partitions' buffers; claims are written by
//! tasks on the Tokio runtime, one at a time for each partition.
//!
//! What the group says about ownership decides only who reads what. That nothing is lost or repeated
//! comes from the claims (see [`crate::claim`]), so a partition that moves away in the middle of a
//! write needs no care here.

use crate::buffer::Limits;
use crate::catalog::{Catalog, NoCatalog, Registrar};
use crate::columns::log::ColumnLog;
use crate::commit::{Context, PAUSES};
use crate::kafka::{Change, KafkaLog, Membership, consumer_config, known_end, record};
use crate::ledger::Shape;
use crate::log::Log;
use crate::monitor::Monitor;
use crate::partition::{Partition, Phase, Report, Said};
use crate::settings::Settings;
use crate::status::{Board, Status};
use crate::store::{Store, StoreError};
use milepost_ops::check::kafka::said;
use milepost_wire::version;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::{Offset, TopicPartitionList};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinSet;

/// How long the reading thread waits for a record before it looks at everything else.
const POLL: Duration = Duration::from_millis(20);
/// How often it does so while records keep coming.
const TICK: Duration = Duration::from_millis(20);
/// How often lag and the like are counted.
const COUNT: Duration = Duration::from_millis(250);
/// How often a partition that seems to have gone back is looked at.
const LOOK: Duration = Duration::from_secs(5);
/// How often topics are asked for their ids: one that was made again, and is just as long as what was
/// read of the old one, shows in no other way.
const ASK: Duration = Duration::from_secs(10);
/// How often it is seen which brokers are connected, ms.
const SEEN_EVERY_MS: &str = "2000";

/// Why a sink did not start or did not end well.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// Kafka refused the consumer's settings or cannot be reached at all.
    #[error("Kafka at {brokers}: {why}")]
    Kafka {
        /// The brokers.
        brokers: String,
        /// librdkafka's reason.
        why: String,
    },
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A part of the sink ended without being asked.
    #[error("The sink has ended by itself: {0}")]
    Ended(String),
}

const RUN: u8 = 0;
const STOP: u8 = 1;
const ABORT: u8 = 2;

/// A running sink. Dropping it ends it at once, as a crash would; [`Sink::stop`] writes first.
pub struct Sink {
    board: Board,
    order: Arc<AtomicU8>,
    ended: Option<oneshot::Receiver<Result<(), SinkError>>>,
}

impl Sink {
    /// Joins the consumer group and starts writing into the store. Must be called inside a Tokio
    /// runtime of several threads.
    pub fn start(settings: Settings, store: Arc<dyn Store>) -> Result<Self, SinkError> {
        Self::start_with(settings, store, Arc::new(NoCatalog))
    }

    /// The same, with a catalogue that is told of tables and partitions.
    pub fn start_with(
        settings: Settings,
        store: Arc<dyn Store>,
        catalog: Arc<dyn Catalog>,
    ) -> Result<Self, SinkError> {
        let refused = |e: KafkaError| SinkError::Kafka { brokers: settings.brokers.clone(), why: said(&e) };
        let (board, order) = (Board::default(), Arc::new(AtomicU8::new(RUN)));
        let consumer: BaseConsumer<Membership> = consumer_config(&settings)
            .set("statistics.interval.ms", SEEN_EVERY_MS)
            .create_with_context(Membership::new(board.clone()))
            .map_err(refused)?;
        let topics: Vec<&str> = settings.topics.iter().map(String::as_str).collect();
        consumer.subscribe(&topics).map_err(refused)?;
        let log = Arc::new(KafkaLog::new(&settings).map_err(refused)?);
        let by = name();
        let context = Context {
            log: log.clone(),
            columns: Arc::new(ColumnLog::new(store.clone(), by.clone(), wall_ms)),
            registrar: Arc::new(Registrar::new(catalog, board.clone(), PAUSES)),
            board: board.clone(),
            writers: Arc::new(Semaphore::new(settings.writers.max(1))),
            shape: Shape {
                frame_max: version::FRAME,
                row_group_rows: settings.row_group_rows,
                zstd_level: settings.zstd_level,
                images: store.uri(""),
            },
            by,
            now_ms: wall_ms,
            pauses: PAUSES,
            store,
        };
        let (said, heard) = channel();
        let driver = Driver {
            consumer,
            log,
            context,
            limits: Limits {
                bytes: settings.claim_bytes,
                records: settings.claim_records,
                age: settings.file_age(),
            },
            buffer_bytes: settings.buffer_bytes,
            stop_timeout: Duration::from_millis(settings.stop_timeout_ms),
            partitions: HashMap::new(),
            held: 0,
            full: false,
            said,
            heard,
            runtime: Handle::current(),
            tasks: JoinSet::new(),
            began: Instant::now(),
            order: order.clone(),
        };
        let (end, ended) = oneshot::channel();
        let thread = std::thread::Builder::new().name("milepost-sink".into());
        let run = move || {
            let _ = end.send(driver.run());
        };
        thread.spawn(run).map_err(|e| SinkError::Ended(e.to_string()))?;
        Ok(Self { board, order, ended: Some(ended) })
    }

    /// What has been done so far.
    pub fn status(&self) -> Status {
        self.board.read()
    }

    /// Watches it from outside, also after it has ended.
    pub fn monitor(&self) -> Monitor {
        Monitor::new(self.board.clone())
    }

    /// Resolves when the sink ends without being asked, with the reason.
    pub async fn ended(&mut self) -> SinkError {
        match &mut self.ended {
            Some(ended) => match ended.await {
                Ok(Err(e)) => e,
                Ok(Ok(())) => SinkError::Ended("it was asked to".into()),
                Err(_) => SinkError::Ended("its thread has panicked".into()),
            },
            None => std::future::pending().await,
        }
    }

    /// Writes what is buffered, commits, leaves the group. What cannot be written within the settings'
    /// stop timeout is read from Kafka again by whoever comes next.
    pub async fn stop(mut self) -> Result<Status, SinkError> {
        self.order.store(STOP, Ordering::Release);
        let ended = self.ended.take();
        let outcome = match ended {
            Some(ended) => {
                ended.await.unwrap_or_else(|_| Err(SinkError::Ended("its thread has panicked".into())))
            }
            None => Ok(()),
        };
        outcome.map(|()| self.board.read())
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.order.store(ABORT, Ordering::Release);
    }
}

/// The wall clock, for the people who read the ledger: nothing is decided by it.
#[expect(clippy::disallowed_methods, reason = "this is where the sink's clock enters")]
fn wall_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64)
}

/// Says which sink wrote an object of the ledger, one start from the next.
fn name() -> String {
    static STARTS: AtomicU64 = AtomicU64::new(0);
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let start = STARTS.fetch_add(1, Ordering::Relaxed);
    format!("{}-{}-{}-{start}", host.trim(), std::process::id(), wall_ms())
}

/// The thread that reads.
struct Driver {
    consumer: BaseConsumer<Membership>,
    log: Arc<KafkaLog>,
    context: Context,
    limits: Limits,
    buffer_bytes: u64,
    stop_timeout: Duration,
    partitions: HashMap<String, BTreeMap<i32, Partition>>,
    /// Bytes of the records that wait or are being written.
    held: u64,
    /// Whether reading is paused because the buffers are full.
    full: bool,
    said: Sender<Report>,
    heard: Receiver<Report>,
    runtime: Handle,
    tasks: JoinSet<()>,
    began: Instant,
    order: Arc<AtomicU8>,
}

impl Driver {
    fn run(mut self) -> Result<(), SinkError> {
        let [mut ticked, mut counted, mut asked] = [Instant::now(); 3];
        loop {
            match self.order.load(Ordering::Acquire) {
                RUN => {}
                STOP => return self.drain(),
                _ => return Ok(()),
            }
            let consumer = &self.consumer;
            // The message borrows the consumer alone, the rest of the driver is free.
            let polled = consumer.poll(POLL);
            let idle = polled.is_none();
            match polled {
                None => {}
                Some(Ok(message)) => {
                    let now = self.began.elapsed();
                    self.held += take(&mut self.partitions, &self.log, &message, now);
                }
                Some(Err(e)) => self.polling_failed(e)?,
            }
            let over = !self.full && self.held > self.buffer_bytes;
            if idle || over || ticked.elapsed() >= TICK {
                self.tick();
                ticked = Instant::now();
            }
            if counted.elapsed() >= COUNT {
                self.count();
                counted = Instant::now();
            }
            if asked.elapsed() >= ASK {
                self.ask_for_topics();
                asked = Instant::now();
            }
        }
    }

    fn polling_failed(&self, error: KafkaError) -> Result<(), SinkError> {
        match error {
            KafkaError::MessageConsumptionFatal(_) => Err(SinkError::Ended(error.to_string())),
            // A topic that nobody has written to yet does not exist yet.
            KafkaError::MessageConsumption(
                RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic,
            ) => Ok(()),
            other => {
                self.context.board.failed(&format!("Reading from Kafka: {other}"));
                Ok(())
            }
        }
    }

    /// Everything but reading.
    fn tick(&mut self) {
        let now = self.began.elapsed();
        self.context.board.turn();
        while let Some(change) = self.consumer.context().next() {
            self.change(change);
        }
        while let Ok(report) = self.heard.try_recv() {
            self.hear(report, now);
        }
        while self.tasks.try_join_next().is_some() {}
        self.balance();
        let mut due = Vec::new();
        for (topic, partitions) in &mut self.partitions {
            for (&number, partition) in partitions.iter_mut() {
                match partition.phase {
                    Phase::Lost { until } if now >= until => due.push((topic.clone(), number)),
                    Phase::Reading if partition.is_due(&self.limits, now) => {
                        due.push((topic.clone(), number))
                    }
                    _ => {}
                }
            }
        }
        for (topic, number) in due {
            self.begin(&topic, number);
        }
        self.steer(now);
    }

    /// Takes in what the group has decided. A partition that is taken and given back keeps what it has.
    fn change(&mut self, change: Change) {
        self.context.board.edit().assigned = matches!(change, Change::Assigned(_));
        let all = self.partitions.values_mut().flat_map(BTreeMap::values_mut);
        match change {
            Change::Revoked => all.for_each(|p| p.owned = false),
            Change::Assigned(ours) => {
                all.for_each(|p| p.owned = false);
                for (topic, number) in ours {
                    let partition = self.partitions.entry(topic).or_default().entry(number).or_default();
                    partition.owned = true;
                    partition.paused = true;
                    if partition.phase == Phase::Reading {
                        partition.phase = Phase::Placing;
                    }
                }
                for partitions in self.partitions.values_mut() {
                    partitions.retain(|_, p| p.owned);
                }
            }
        }
    }

    /// Asks for the ids of the topics that are read; the answers are heard as reports.
    fn ask_for_topics(&mut self) {
        let topics: Vec<String> =
            self.partitions.iter().filter(|(_, p)| !p.is_empty()).map(|(topic, _)| topic.clone()).collect();
        for topic in topics {
            let (log, said) = (self.log.clone(), self.said.clone());
            let ask = async move {
                // Where there is no answer now, there will be one the next time.
                if let Ok(id) = log.topic_id(&topic).await {
                    let _ = said.send(Report { topic, number: -1, token: 0, said: Said::TopicIs(id) });
                }
            };
            self.tasks.spawn_on(ask, &self.runtime);
        }
    }

    fn hear(&mut self, report: Report, now: Duration) {
        let Report { topic, number, token, said } = report;
        if let Said::TopicIs(id) = &said {
            let partitions = self.partitions.get_mut(&topic).into_iter().flat_map(BTreeMap::values_mut);
            return partitions.for_each(|p| p.check_topic(id, now));
        }
        let found = self.partitions.get_mut(&topic).and_then(|p| p.get_mut(&number));
        let Some(partition) = found.filter(|p| p.token == token) else { return };
        match partition.hear(said, now) {
            Some(committed) if partition.owned => self.hint(&topic, number, committed),
            _ => {}
        }
    }

    /// Commits the consumer offset, which is a hint for whoever comes next and for lag monitors.
    fn hint(&self, topic: &str, number: i32, next: i64) {
        let mut list = TopicPartitionList::new();
        let added = list.add_partition_offset(topic, number, Offset::Offset(next));
        if let Err(e) = added.and_then(|()| self.consumer.commit(&list, CommitMode::Async)) {
            tracing::debug!("Committing the offset of {topic} {number}: {e}");
        }
    }

    /// Starts what a partition needs: to be found, or to be written.
    fn begin(&mut self, topic: &str, number: i32) {
        let Some(partition) = self.partitions.get_mut(topic).and_then(|p| p.get_mut(&number)) else { return };
        let (topic, said) = (topic.to_owned(), self.said.clone());
        let token = partition.next_token();
        let work = match partition.phase {
            Phase::Lost { .. } => partition.find(self.context.clone(), topic.clone(), number),
            _ => match partition.write(&self.limits) {
                Some(work) => work,
                None => return,
            },
        };
        let task = async move {
            let said_so: Said = work.await;
            let _ = said.send(Report { topic, number, token, said: said_so });
        };
        self.tasks.spawn_on(task, &self.runtime);
    }

    /// Looks after memory: when the buffers are full, the largest are written early.
    fn balance(&mut self) {
        let (mut total, mut writing) = (0, 0);
        for partition in self.partitions.values().flat_map(BTreeMap::values) {
            total += partition.buffer.bytes() + partition.writing;
            writing += partition.writing;
        }
        self.held = total;
        self.full = total > self.buffer_bytes || (self.full && total > self.buffer_bytes / 4 * 3);
        {
            let mut status = self.context.board.edit();
            status.buffered_bytes = total;
            status.paused = self.full;
        }
        if !self.full {
            return;
        }
        let mut idle: Vec<(u64, String, i32)> = Vec::new();
        for (topic, partitions) in &self.partitions {
            let waiting = partitions.iter().filter(|(_, p)| p.can_write());
            idle.extend(waiting.map(|(&number, p)| (p.buffer.bytes(), topic.clone(), number)));
        }
        idle.sort_unstable_by(|a, b| b.cmp(a));
        for (bytes, topic, number) in idle {
            if writing >= self.buffer_bytes / 2 {
                break;
            }
            writing += bytes;
            self.begin(&topic, number);
        }
    }

    /// Pauses, resumes and places partitions in Kafka's log.
    fn steer(&mut self, now: Duration) {
        for (topic, partitions) in &mut self.partitions {
            for (&number, p) in partitions.iter_mut().filter(|(_, p)| p.owned) {
                let hold = self.full
                    || p.is_crowded(&self.limits)
                    || matches!(p.phase, Phase::Lost { .. } | Phase::Finding);
                let mut list = TopicPartitionList::new();
                list.add_partition(topic, number);
                if hold && !p.paused {
                    p.paused = self.consumer.pause(&list).is_ok();
                } else if !hold && p.paused {
                    p.paused = self.consumer.resume(&list).is_err();
                }
                if p.phase == Phase::Placing && !hold && !p.paused && now >= p.try_at {
                    let to = Offset::Offset(p.next);
                    match self.consumer.seek(topic, number, to, Duration::from_secs(1)) {
                        Ok(()) => p.phase = Phase::Reading,
                        // Not fetched from yet: librdkafka cannot seek before it is.
                        Err(e) => {
                            tracing::debug!("Placing {topic} {number} at {}: {e}", p.next);
                            p.try_at = now + Duration::from_millis(50);
                        }
                    }
                }
            }
        }
    }

    fn count(&self) {
        let (mut lag, mut known, mut owned) = (0, true, 0);
        for (topic, partitions) in &self.partitions {
            for (&number, p) in partitions.iter().filter(|(_, p)| p.owned) {
                owned += 1;
                match (known_end(&self.consumer, topic, number), p.committed) {
                    (Some(end), Some(committed)) => lag += (end - committed).max(0) as u64,
                    _ => known = false,
                }
            }
        }
        let mut status = self.context.board.edit();
        status.partitions = owned;
        status.lag = (known && owned > 0).then_some(lag);
    }

    /// Writes what is buffered, for as long as a stop may take.
    fn drain(mut self) -> Result<(), SinkError> {
        let deadline = Instant::now() + self.stop_timeout;
        self.limits.age = Duration::ZERO;
        self.full = true; // nothing is resumed any more
        while Instant::now() < deadline && self.order.load(Ordering::Acquire) == STOP {
            let now = self.began.elapsed();
            while let Ok(report) = self.heard.try_recv() {
                self.hear(report, now);
            }
            let mut due = Vec::new();
            let mut busy = false;
            for (topic, partitions) in &self.partitions {
                for (&number, p) in partitions {
                    busy |= p.writing > 0 || (p.phase != Phase::Finding && !p.buffer.is_empty());
                    if p.can_write() {
                        due.push((topic.clone(), number));
                    }
                }
            }
            due.into_iter().for_each(|(topic, number)| self.begin(&topic, number));
            if !busy {
                break;
            }
            // Keeps the group's session alive; what comes is read again by whoever comes next.
            self.steer(now);
            drop(self.consumer.poll(POLL));
        }
        let mut list = TopicPartitionList::new();
        for (topic, partitions) in &self.partitions {
            for (&number, p) in partitions.iter().filter(|(_, p)| p.owned) {
                if let Some(next) = p.committed.filter(|&n| n > 0) {
                    let _ = list.add_partition_offset(topic, number, Offset::Offset(next));
                }
            }
        }
        if list.count() > 0
            && let Err(e) = self.consumer.commit(&list, CommitMode::Sync)
        {
            tracing::debug!("Committing the last offsets: {e}");
        }
        self.context.board.edit().buffered_bytes = 0;
        Ok(())
    }
}

/// Takes in a record, where it is the one that its partition waits for; the bytes it costs.
fn take(
    partitions: &mut HashMap<String, BTreeMap<i32, Partition>>,
    log: &KafkaLog,
    message: &BorrowedMessage<'_>,
    now: Duration,
) -> u64 {
    let (topic, number, offset) = (message.topic(), message.partition(), message.offset());
    let Some(p) = partitions.get_mut(topic).and_then(|p| p.get_mut(&number)) else { return 0 };
    if p.phase != Phase::Reading || !p.owned {
        return 0;
    }
    if offset == p.next {
        return p.push(record(message), now);
    }
    if now < p.look_at && offset < p.next {
        return 0; // read before
    }
    p.look_at = now + LOOK;
    match log.bounds(topic, number) {
        // The log is shorter than what was read: the topic was made again, or lost its end.
        Ok((_, end)) if end < p.next => p.leave_topic(now),
        Ok(_) if offset < p.next => {}
        // Retention has passed where we are; or, where a second look shows the same, this offset has no
        // record and never will.
        Ok((begin, _)) if begin == offset || p.hole == Some(p.next) => return p.push(record(message), now),
        Ok(_) => {
            p.hole = Some(p.next);
            p.phase = Phase::Placing;
        }
        Err(e) => {
            tracing::warn!("Looking at the ends of {topic} {number}: {e}");
            p.phase = Phase::Placing;
        }
    }
    0
}
