//! `milepost-bridge redrive`: puts frames that became dead letters for no fault of their own into the topics of
//! their streams. It may be run at any time and again: the dead letters stay where they are, and the sink knows
//! the readings that have a row.

use crate::kafka::client_config;
use crate::route::{Route, route};
use crate::settings::Settings;
use bytes::Bytes;
use milepost_ops::check::kafka::said;
use rdkafka::client::ClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};
use rdkafka::{Offset, TopicPartitionList};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long Kafka may take for one answer.
const ANSWER: Duration = Duration::from_secs(30);
/// How long nothing may come though there is something.
const STILL: Duration = Duration::from_secs(60);
/// Bytes of frames that wait for their other parts.
const WAITING_MAX: usize = 64 << 20;

/// Why a frame became a dead letter though it is sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Reason {
    /// It was above its vehicle's rate.
    Rate,
    /// Kafka did not take it for its topic.
    Kafka,
}

impl Reason {
    fn code(self) -> &'static str {
        match self {
            Self::Rate => "rate",
            Self::Kafka => "kafka",
        }
    }
}

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// Dead letters that were looked at.
    pub read: u64,
    /// Frames that are in the topics of their streams again.
    pub sent: u64,
    /// Frames of these reasons that are not sound, or not whole.
    pub left: u64,
}

/// Why it ended before its time. What had been sent is no harm: run it again.
#[derive(Debug, thiserror::Error)]
pub enum RedriveError {
    /// Kafka did not answer, or refused.
    #[error("Kafka: {0}")]
    Kafka(String),
    /// A frame was not taken.
    #[error("{count} frames were not taken by their topics ({why}): mend that and run it again")]
    Refused {
        /// How many.
        count: u64,
        /// What was said of the first.
        why: String,
    },
    /// The dead letters cannot be read to their end.
    #[error(
        "Nothing came for {STILL:?}, and the topic has more: see whether Kafka is well, and run it again"
    )]
    Silent,
}

impl From<KafkaError> for RedriveError {
    fn from(error: KafkaError) -> Self {
        Self::Kafka(said(&error))
    }
}

/// Sends the dead letters that have one of `reasons` and stand in the topic now. Blocks.
pub fn redrive(settings: &Settings, reasons: &[Reason]) -> Result<Done, RedriveError> {
    let topic = settings.dead_letter_topic.as_str();
    let mut config = client_config(settings);
    config.set("client.id", "milepost-bridge-redrive");
    let mut reading = config.clone();
    // It is assigned its partitions, and commits nothing.
    reading.set("group.id", "milepost-bridge-redrive").set("enable.auto.commit", "false");
    let consumer: BaseConsumer = reading.create()?;
    config.set("enable.idempotence", "true").set("acks", "all");
    let producer: BaseProducer<Tally> = config.create_with_context(Tally::default())?;
    let mut left = ends(&consumer, topic)?;
    let mut redrive = Redrive { settings, reasons, producer, parts: Parts::default(), done: Done::default() };
    let mut since = Instant::now();
    while !left.is_empty() {
        match consumer.poll(Duration::from_millis(200)) {
            Some(message) => {
                let message = message?;
                since = Instant::now();
                if left.get(&message.partition()).is_some_and(|end| message.offset() + 1 >= *end) {
                    left.remove(&message.partition());
                }
                redrive.take(&message)?;
            }
            // The last records of a partition may be markers of transactions, which nobody is given.
            None => left.retain(|partition, end| !is_at(&consumer, topic, *partition, *end)),
        }
        if since.elapsed() > STILL {
            return Err(RedriveError::Silent);
        }
    }
    redrive.finish()
}

/// Has the consumer read what stands in the topic now; gives the end of each partition that has anything.
fn ends(consumer: &BaseConsumer, topic: &str) -> Result<HashMap<i32, i64>, RedriveError> {
    let metadata = consumer.fetch_metadata(Some(topic), ANSWER)?;
    let partitions = metadata.topics().iter().flat_map(|t| t.partitions()).map(|p| p.id());
    let (mut list, mut ends) = (TopicPartitionList::new(), HashMap::new());
    for partition in partitions {
        let (low, high) = consumer.fetch_watermarks(topic, partition, ANSWER)?;
        if low < high {
            list.add_partition_offset(topic, partition, Offset::Offset(low))?;
            ends.insert(partition, high);
        }
    }
    consumer.assign(&list)?;
    Ok(ends)
}

fn is_at(consumer: &BaseConsumer, topic: &str, partition: i32, end: i64) -> bool {
    let position = consumer.position().ok();
    let offset = position.as_ref().and_then(|list| list.find_partition(topic, partition)).map(|p| p.offset());
    matches!(offset, Some(Offset::Offset(next)) if next >= end)
}

struct Redrive<'a> {
    settings: &'a Settings,
    reasons: &'a [Reason],
    producer: BaseProducer<Tally>,
    parts: Parts,
    done: Done,
}

impl Redrive<'_> {
    fn take(&mut self, message: &BorrowedMessage<'_>) -> Result<(), RedriveError> {
        self.done.read += 1;
        let header = |name: &str| {
            let headers = message.headers()?;
            headers.iter().find(|header| header.key == name)?.value
        };
        let (Some(reason), Some(mqtt_topic)) = (header("reason"), header("mqtt_topic")) else {
            return Ok(());
        };
        if !self.reasons.iter().any(|r| r.code().as_bytes() == reason) {
            return Ok(());
        }
        let payload = message.payload().unwrap_or_default();
        let Some(part) = header("part") else { return self.send(mqtt_topic, payload) };
        let Some(place) = numbers(part) else {
            self.done.left += 1;
            return Ok(());
        };
        match self.parts.take((message.partition(), mqtt_topic.to_vec()), place, payload) {
            Some(frame) => self.send(mqtt_topic, &frame),
            None => Ok(()),
        }
    }

    fn send(&mut self, mqtt_topic: &[u8], frame: &[u8]) -> Result<(), RedriveError> {
        let mqtt_topic = Bytes::copy_from_slice(mqtt_topic);
        let Route::Stream { topic, vehicle } = route(&self.settings.mqtt.topic_prefix, &mqtt_topic, frame)
        else {
            self.done.left += 1;
            return Ok(());
        };
        let mut record = BaseRecord::to(topic).key(vehicle.as_str()).payload(frame);
        while let Err((why, back)) = self.producer.send(record) {
            if why.rdkafka_error_code() != Some(Code::QueueFull) {
                return Err(why.into());
            }
            self.producer.poll(Duration::from_millis(100));
            record = back;
        }
        self.done.sent += 1;
        self.producer.poll(Duration::ZERO);
        Ok(())
    }

    fn finish(mut self) -> Result<Done, RedriveError> {
        self.done.left += self.parts.lost + self.parts.begun.len() as u64;
        self.producer.flush(timeout(self.settings))?;
        let failed = self.producer.context().0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match failed {
            Some((count, why)) => Err(RedriveError::Refused { count, why }),
            None => Ok(self.done),
        }
    }
}

/// Frames that did not fit into one record, until their last part comes.
#[derive(Default)]
struct Parts {
    /// By partition and MQTT topic.
    begun: HashMap<(i32, Vec<u8>), Vec<u8>>,
    bytes: usize,
    /// Frames that cannot be made whole.
    lost: u64,
}

impl Parts {
    /// Takes part `part` of `parts`; gives the frame with the last one.
    fn take(&mut self, key: (i32, Vec<u8>), (part, parts): (u32, u32), payload: &[u8]) -> Option<Vec<u8>> {
        let mut begun = self.begun.remove(&key);
        self.bytes -= begun.as_ref().map_or(0, |frame| key.1.len() + frame.len());
        if part == 1 {
            // Of one before it the rest did not come.
            self.lost += u64::from(begun.is_some());
            begun = Some(Vec::new());
        }
        let wanted = |frame: &Vec<u8>| self.bytes + key.1.len() + frame.len() + payload.len();
        let Some(mut frame) = begun.filter(|frame| wanted(frame) <= WAITING_MAX) else {
            // Its beginning is not there any more, or there was no room for it: told with its last part.
            self.lost += u64::from(part == parts);
            return None;
        };
        frame.extend_from_slice(payload);
        if part == parts {
            return Some(frame);
        }
        self.bytes += key.1.len() + frame.len();
        self.begun.insert(key, frame);
        None
    }
}

/// `2/3` of a header.
fn numbers(part: &[u8]) -> Option<(u32, u32)> {
    let (part, parts) = std::str::from_utf8(part).ok()?.split_once('/')?;
    let (part, parts) = (part.parse().ok()?, parts.parse().ok()?);
    (1..=parts).contains(&part).then_some((part, parts))
}

/// How many records were not taken, and why the first was not.
#[derive(Default)]
struct Tally(Mutex<Option<(u64, String)>>);

/// As long as a record may take by the settings, and the answer.
fn timeout(settings: &Settings) -> Duration {
    let ms = settings.kafka.0.get("delivery.timeout.ms").and_then(|ms| ms.parse().ok());
    Duration::from_millis(ms.unwrap_or(120_000)) + ANSWER
}

impl ClientContext for Tally {}

impl ProducerContext for Tally {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((why, _)) = result {
            let mut failed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            failed.get_or_insert((0, said(why))).0 += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_whole_or_counted_once_and_what_waits_is_bounded() {
        let key = |n: i32| (n, b"milepost/v1/van-1/gps_data".to_vec());
        let mut parts = Parts::default();
        assert_eq!(parts.take(key(0), (1, 3), b"a"), None);
        assert_eq!(parts.take(key(1), (1, 2), b"x"), None);
        assert_eq!(parts.take(key(0), (2, 3), b"b"), None);
        assert_eq!(parts.take(key(0), (3, 3), b"c"), Some(b"abc".to_vec()));
        assert_eq!((parts.take(key(1), (1, 2), b"y"), parts.lost), (None, 1), "the rest of x did not come");
        assert_eq!((parts.take(key(2), (2, 3), b"z"), parts.take(key(2), (3, 3), b"z")), (None, None));
        assert_eq!((parts.lost, parts.begun.len()), (2, 1), "z has no beginning");
        let large = vec![0; WAITING_MAX / 2];
        assert_eq!(parts.take(key(3), (1, 4), &large), None);
        for part in 2..=4 {
            assert_eq!(parts.take(key(3), (part, 4), &large), None, "there is no room");
        }
        assert_eq!((parts.lost, parts.take(key(1), (2, 2), b"y")), (3, Some(b"yy".to_vec())));
        assert_eq!((parts.bytes, parts.begun.len()), (0, 0));
    }

    #[test]
    fn parts_are_numbered_from_one() {
        assert_eq!((numbers(b"1/3"), numbers(b"3/3")), (Some((1, 3)), Some((3, 3))));
        for bad in ["", "1", "0/3", "4/3", "a/b", "1/3/3", "-1/3"] {
            assert_eq!(numbers(bad.as_bytes()), None, "{bad}");
        }
    }
}
