//! Kafka as the sink uses it: the settings of its consumers, topic ids, and ranges read again.
//!
//! Nothing here knows what a frame is, or decides what is written.

use crate::build::Record;
use crate::claim::Range;
use crate::log::{Log, LogError};
use crate::settings::Settings;
use crate::status::Board;
use async_trait::async_trait;
use bytes::Bytes;
use rdkafka::bindings as rd;
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::statistics::Statistics;
use rdkafka::{Offset, TopicPartitionList};
use std::collections::{HashMap, VecDeque};
use std::ffi::{CStr, CString};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a question to the brokers may take.
const ANSWER: Duration = Duration::from_secs(10);
/// How long a range that is read again may stand still.
const STILL: Duration = Duration::from_secs(30);

/// The settings of the consumer that reads, with a group.
pub(crate) fn consumer_config(settings: &Settings) -> ClientConfig {
    let mut config = milepost_ops::kafka::config();
    config.set("bootstrap.servers", &settings.brokers);
    config.set("group.id", &settings.group);
    config.set("client.id", "milepost-sink");
    // Offsets are only a hint; claims say where to go on.
    config.set("enable.auto.commit", "false");
    config.set("enable.auto.offset.store", "false");
    config.set("auto.offset.reset", "earliest");
    // Eager: each assignment is the whole one, so that a lost message about it cannot be missed.
    config.set("group.protocol", "classic");
    config.set("partition.assignment.strategy", "roundrobin");
    config.set("topic.metadata.refresh.interval.ms", "10000");
    // librdkafka's defaults for small records wait too much and hold too much.
    config.set("fetch.wait.max.ms", "100");
    config.set("fetch.queue.backoff.ms", "10");
    config.set("queued.min.messages", "20000");
    config.set("queued.max.messages.kbytes", "32768");
    config.set("fetch.message.max.bytes", "1048576");
    config.set("fetch.max.bytes", "16777216");
    config.set("receive.message.max.bytes", "67108864");
    config.set("reconnect.backoff.max.ms", "2000");
    config.set_log_level(RDKafkaLogLevel::Warning);
    for (key, value) in &settings.kafka {
        config.set(key, value);
    }
    config
}

/// What the group has decided.
#[derive(Debug)]
pub(crate) enum Change {
    /// These are ours, and no others.
    Assigned(Vec<(String, i32)>),
    /// None is ours any more.
    Revoked,
}

/// Hears what the group decides, and holds new partitions until it is known where they go on.
pub(crate) struct Membership {
    changes: Mutex<VecDeque<Change>>,
    board: Board,
}

impl Membership {
    pub(crate) fn new(board: Board) -> Self {
        Self { changes: Mutex::default(), board }
    }

    pub(crate) fn next(&self) -> Option<Change> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }
}

impl ClientContext for Membership {
    fn stats(&self, statistics: Statistics) {
        let up = statistics.brokers.values().filter(|broker| broker.state == "UP").count();
        self.board.edit().kafka_brokers = up;
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!("Kafka: {error}: {reason}");
    }
}

impl ConsumerContext for Membership {
    fn pre_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Revoke(_) = rebalance {
            self.changes.lock().unwrap_or_else(PoisonError::into_inner).push_back(Change::Revoked);
        }
    }

    fn post_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Assign(list) = rebalance {
            if let Err(e) = consumer.pause(list) {
                tracing::warn!("Pausing new partitions failed, their records will be read twice: {e}");
            }
            let ours = list.elements().iter().map(|e| (e.topic().to_owned(), e.partition())).collect();
            self.changes.lock().unwrap_or_else(PoisonError::into_inner).push_back(Change::Assigned(ours));
        }
    }
}

/// Copies a message out of librdkafka's memory.
pub(crate) fn record(message: &BorrowedMessage<'_>) -> Record {
    Record {
        offset: message.offset(),
        at_ms: message.timestamp().to_millis().unwrap_or(0),
        value: Bytes::copy_from_slice(message.payload().unwrap_or_default()),
    }
}

/// Per topic its id, or why there is none.
type TopicIds = HashMap<String, Result<String, String>>;

/// The log of a real Kafka.
pub(crate) struct KafkaLog {
    config: ClientConfig,
    /// Asks questions; reads nothing.
    asker: Arc<BaseConsumer>,
    topics: Vec<String>,
    /// When the newest answer was asked for, and what it was.
    ids: tokio::sync::Mutex<Option<(Instant, TopicIds)>>,
}

impl KafkaLog {
    pub(crate) fn new(settings: &Settings) -> Result<Self, KafkaError> {
        let mut config = consumer_config(settings);
        config.set("group.id", format!("{}-reader", settings.group));
        config.set("enable.partition.eof", "true");
        let asker = Arc::new(config.create()?);
        Ok(Self { config, asker, topics: settings.topics.clone(), ids: tokio::sync::Mutex::new(None) })
    }

    /// The offsets that a partition's log begins and ends at.
    pub(crate) fn bounds(&self, topic: &str, partition: i32) -> Result<(i64, i64), KafkaError> {
        self.asker.fetch_watermarks(topic, partition, ANSWER)
    }
}

#[async_trait]
impl Log for KafkaLog {
    async fn topic_id(&self, topic: &str) -> Result<String, LogError> {
        let failed = |why: String| LogError { topic: topic.into(), why };
        let called = Instant::now();
        let mut ids = self.ids.lock().await;
        // An answer that was asked for after this call came in serves it too.
        let fresh = ids.as_ref().is_some_and(|(asked, ids)| *asked >= called && ids.contains_key(topic));
        if !fresh {
            let (asker, mut topics) = (self.asker.clone(), self.topics.clone());
            if !topics.iter().any(|t| t == topic) {
                topics.push(topic.to_owned());
            }
            let asked = Instant::now();
            let answer = tokio::task::spawn_blocking(move || describe(&asker, &topics)).await;
            let answer = answer.map_err(|e| failed(e.to_string()))?.map_err(failed)?;
            *ids = Some((asked, answer));
        }
        match ids.as_ref().and_then(|(_, ids)| ids.get(topic)) {
            Some(Ok(id)) => Ok(id.clone()),
            Some(Err(why)) => Err(failed(why.clone())),
            None => Err(failed("the brokers did not answer for it".into())),
        }
    }

    async fn read(&self, topic: &str, partition: i32, range: Range) -> Result<Vec<Record>, LogError> {
        let (config, name) = (self.config.clone(), topic.to_owned());
        let failed = |why: String| LogError { topic: topic.into(), why };
        let work = move || read_range(&config, &name, partition, range);
        tokio::task::spawn_blocking(work).await.map_err(|e| failed(e.to_string()))?.map_err(failed)
    }
}

/// Reads what the log still has of a range, with a consumer of its own.
fn read_range(
    config: &ClientConfig,
    topic: &str,
    partition: i32,
    range: Range,
) -> Result<Vec<Record>, String> {
    let said = |e: KafkaError| e.to_string();
    let consumer: BaseConsumer = config.create().map_err(said)?;
    let (low, high) = consumer.fetch_watermarks(topic, partition, ANSWER).map_err(said)?;
    if high <= range.last {
        // A leader that is new may not know its end yet; a log that lost its end stays like this.
        return Err(format!(
            "partition {partition} ends at {high}, before the end of a claimed range ({}): was the log cut?",
            range.last
        ));
    }
    let mut records = Vec::new();
    if low > range.last {
        return Ok(records);
    }
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, partition, Offset::Offset(range.first.max(low))).map_err(said)?;
    consumer.assign(&list).map_err(said)?;
    let mut moved = Instant::now();
    while moved.elapsed() < STILL {
        match consumer.poll(Duration::from_millis(200)) {
            None => continue,
            Some(Err(KafkaError::PartitionEOF(_))) => return Ok(records),
            Some(Err(e)) => tracing::debug!("Reading {topic} {partition} again: {e}"),
            Some(Ok(message)) => {
                moved = Instant::now();
                let offset = message.offset();
                if offset >= range.first && offset <= range.last {
                    records.push(record(&message));
                }
                if offset >= range.last {
                    return Ok(records);
                }
            }
        }
    }
    Err(format!("partition {partition} did not give offset {} within {STILL:?}", range.last))
}

/// The newest end of a partition that the consumer has heard of; asks nobody.
pub(crate) fn known_end<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    topic: &str,
    partition: i32,
) -> Option<i64> {
    let name = CString::new(topic).ok()?;
    let (mut low, mut high) = (-1, -1);
    // SAFETY: the client lives as long as the borrow of the consumer; the name is a C string and the
    // two numbers are ours for the time of the call.
    let answer = unsafe {
        let client = consumer.client().native_ptr();
        rd::rd_kafka_get_watermark_offsets(client, name.as_ptr(), partition, &mut low, &mut high)
    };
    (answer == rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR && high >= 0).then_some(high)
}

/// Asks for the ids of topics, through librdkafka's C interface, since the Rust one does not have it.
/// The inner error is of one topic. Where a broker is too old to have ids, they are all zeros.
fn describe(asker: &BaseConsumer, topics: &[String]) -> Result<TopicIds, String> {
    // Any broker can answer; librdkafka would wait for the controller, which it may not be connected to
    // and which its mock cluster does not have.
    let metadata = asker.fetch_metadata(topics.first().map(String::as_str), ANSWER);
    let metadata = metadata.map_err(|e| e.to_string())?;
    let broker = metadata.brokers().first().ok_or("there is no broker")?.id();
    let names: Vec<CString> = topics.iter().filter_map(|t| CString::new(t.as_str()).ok()).collect();
    let mut pointers: Vec<_> = names.iter().map(|n| n.as_ptr()).collect();
    let mut ids = HashMap::new();
    // SAFETY: the client lives as long as `asker` is borrowed. Each object that is made here is
    // destroyed here, once, after its last use; the collection copies the names. The result and the
    // descriptions belong to the event and are read before it is destroyed. Null is checked where the
    // interface may give it.
    unsafe {
        let client = asker.client().native_ptr();
        let collection = rd::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len());
        let options =
            rd::rd_kafka_AdminOptions_new(client, rd::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS);
        let timeout = ANSWER.as_millis() as i32;
        rd::rd_kafka_AdminOptions_set_request_timeout(options, timeout, std::ptr::null_mut(), 0);
        rd::rd_kafka_AdminOptions_set_broker(options, broker, std::ptr::null_mut(), 0);
        let queue = rd::rd_kafka_queue_new(client);
        rd::rd_kafka_DescribeTopics(client, collection, options, queue);
        let event = rd::rd_kafka_queue_poll(queue, timeout + 1000);
        let answer = read_answer(event, &mut ids);
        if !event.is_null() {
            rd::rd_kafka_event_destroy(event);
        }
        rd::rd_kafka_queue_destroy(queue);
        rd::rd_kafka_AdminOptions_destroy(options);
        rd::rd_kafka_TopicCollection_destroy(collection);
        answer.map(|()| ids)
    }
}

/// Reads the event that answers a DescribeTopics request.
///
/// # Safety
/// `event` is null or a live event of librdkafka.
unsafe fn read_answer(event: *mut rd::rd_kafka_event_t, ids: &mut TopicIds) -> Result<(), String> {
    // SAFETY: as promised by the caller; all pointers below belong to the event.
    unsafe {
        if event.is_null() {
            return Err(format!("the brokers did not describe it within {ANSWER:?}"));
        }
        let error = rd::rd_kafka_event_error(event);
        if error != rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Err(RDKafkaErrorCode::from(error).to_string());
        }
        let result = rd::rd_kafka_event_DescribeTopics_result(event);
        if result.is_null() {
            return Err("the brokers answered something else".into());
        }
        let mut count = 0;
        let topics = rd::rd_kafka_DescribeTopics_result_topics(result, &mut count);
        for i in 0..count {
            let topic = *topics.add(i);
            let name = CStr::from_ptr(rd::rd_kafka_TopicDescription_name(topic)).to_string_lossy();
            let error = rd::rd_kafka_error_code(rd::rd_kafka_TopicDescription_error(topic));
            let id = match error == rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
                false => Err(RDKafkaErrorCode::from(error).to_string()),
                true => {
                    let id = rd::rd_kafka_TopicDescription_topic_id(topic);
                    let half = |v: i64| format!("{:016x}", v as u64);
                    let high = rd::rd_kafka_Uuid_most_significant_bits(id);
                    Ok(half(high) + &half(rd::rd_kafka_Uuid_least_significant_bits(id)))
                }
            };
            ids.insert(name.into_owned(), id);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rdkafka::mocking::MockCluster;
    use rdkafka::producer::DefaultProducerContext;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_topic_has_an_id_and_another_incarnation_has_another() {
        let ask = |brokers: String| {
            let settings = Settings { brokers, topics: vec!["gps_data".into()], ..Settings::default() };
            KafkaLog::new(&settings).unwrap()
        };
        let mut ids = Vec::new();
        for _ in 0..2 {
            let cluster: MockCluster<'_, DefaultProducerContext> = MockCluster::new(1).unwrap();
            cluster.create_topic("gps_data", 1, 1).unwrap();
            let log = ask(cluster.bootstrap_servers());
            let id = log.topic_id("gps_data").await.unwrap();
            assert_eq!(id, log.topic_id("gps_data").await.unwrap());
            assert_eq!(id.len(), 32);
            ids.push(id);
        }
        assert_ne!(ids[0], ids[1]);
    }
}
