//! The idempotent producer: hands reports over to the bridge's task and says what an error means.

use crate::counters::Live;
use crate::flight::{Failure, Goal, Item, Seq};
use crate::settings;
use milepost_ops::check::kafka::said;
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer as _, ProducerContext, ThreadedProducer};
use rdkafka::statistics::Statistics;
use std::sync::{Arc, OnceLock};
use tokio::sync::mpsc::UnboundedSender;

// The delivery opaque is a pointer's width, and carries a `Seq`.
const _: () = assert!(usize::BITS >= 64, "the bridge needs a 64-bit machine");

/// Requests to a broker without an answer.
const IN_FLIGHT: &str = "max.in.flight.requests.per.connection";

/// What Kafka said of one record.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) seq: Seq,
    pub(crate) producer: u32,
    pub(crate) result: Result<(), Code>,
}

/// Receives librdkafka's callbacks on its polling thread.
struct Context {
    producer: u32,
    reports: UnboundedSender<Report>,
    live: Arc<Live>,
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match level {
            RDKafkaLogLevel::Emerg
            | RDKafkaLogLevel::Alert
            | RDKafkaLogLevel::Critical
            | RDKafkaLogLevel::Error
            | RDKafkaLogLevel::Warning => tracing::warn!("librdkafka: {facility} {message}"),
            _ => tracing::debug!("librdkafka: {facility} {message}"),
        }
    }

    fn stats(&self, statistics: Statistics) {
        let up = statistics.brokers.values().filter(|broker| broker.state == "UP").count();
        Live::set(&self.live.kafka_brokers, up as u64);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::warn!("Kafka: {error}: {reason}");
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, opaque: usize) {
        let result = match result {
            Ok(_) => Ok(()),
            Err((e, _)) => Err(e.rdkafka_error_code().unwrap_or(Code::Unknown)),
        };
        // A closed channel means that the bridge is gone: without acknowledgement nothing is lost.
        let _ = self.reports.send(Report { seq: opaque as Seq, producer: self.producer, result });
    }
}

/// Why a record was not taken.
#[derive(Debug)]
pub(crate) enum SendError {
    /// The queue is full: try again after some reports.
    Full,
    /// See [`failure`].
    Failed(Code),
}

/// The settings that a client of Kafka is made with.
pub(crate) fn client_config(settings: &settings::Settings) -> ClientConfig {
    let mut config = milepost_ops::kafka::config();
    for (name, value) in &settings.kafka.0 {
        config.set(name, value);
    }
    config
}

/// One generation of producers; a bridge has another one only after a fatal error.
pub(crate) struct Producer {
    /// Taken only when the producer is dropped.
    together: Option<ThreadedProducer<Context>>,
    /// For records that must share a batch with no other; made when there is one.
    alone: OnceLock<ThreadedProducer<Context>>,
    config: ClientConfig,
    number: u32,
    reports: UnboundedSender<Report>,
    live: Arc<Live>,
    dead_letter_topic: String,
}

impl Producer {
    /// Makes producer number `number`; does not wait for a connection.
    pub(crate) fn new(
        settings: &settings::Settings,
        number: u32,
        reports: UnboundedSender<Report>,
        live: Arc<Live>,
    ) -> Result<Self, KafkaError> {
        let mut config = client_config(settings);
        // The promise rests on these three, so they are no settings. With more than one request in flight
        // librdkafka takes one that failed for stored where a later one succeeded; a broker that knows
        // nothing of the producer yet takes the later one as the first.
        config.set("enable.idempotence", "true").set("acks", "all").set(IN_FLIGHT, "1");
        let context = Context { producer: number, reports: reports.clone(), live: live.clone() };
        let together = Some(ThreadedProducer::from_config_and_context(&config, context)?);
        let dead_letter_topic = settings.dead_letter_topic.clone();
        Ok(Self { together, alone: OnceLock::new(), config, number, reports, live, dead_letter_topic })
    }

    /// Hands a frame to librdkafka, which copies it.
    pub(crate) fn send(&self, seq: Seq, item: &Item) -> Result<(), SendError> {
        let opaque = seq as usize;
        let (topic, headers) = match &item.goal {
            Goal::Stream(topic) => (*topic, None),
            Goal::Dead { .. } => (self.dead_letter_topic.as_str(), Some(headers(item))),
        };
        let record = BaseRecord {
            topic,
            partition: None,
            payload: Some(item.value()),
            key: item.vehicle.as_ref().map(|v| v.as_str()),
            timestamp: None,
            headers,
            delivery_opaque: opaque,
        };
        match self.producer_for(item)?.send(record) {
            Ok(()) => Ok(()),
            Err((KafkaError::MessageProduction(Code::QueueFull), _)) => Err(SendError::Full),
            Err((e, _)) => Err(SendError::Failed(e.rdkafka_error_code().unwrap_or(Code::Unknown))),
        }
    }

    fn producer_for(&self, item: &Item) -> Result<&ThreadedProducer<Context>, SendError> {
        if !item.alone {
            return self.together.as_ref().ok_or(SendError::Full);
        }
        if let Some(alone) = self.alone.get() {
            return Ok(alone);
        }
        let mut config = self.config.clone();
        config.set("batch.num.messages", "1").set("statistics.interval.ms", "0");
        let context =
            Context { producer: self.number, reports: self.reports.clone(), live: self.live.clone() };
        let made = ThreadedProducer::from_config_and_context(&config, context).map_err(|e| {
            tracing::error!("Kafka's producer for single records cannot be made: {}", said(&e));
            SendError::Full
        })?;
        Ok(self.alone.get_or_init(|| made))
    }

    /// What broke this producer for good.
    pub(crate) fn fatal(&self) -> Option<String> {
        let mut both = self.together.iter().chain(self.alone.get());
        both.find_map(|p| p.client().fatal_error()).map(|(code, why)| format!("{code:?}: {why}"))
    }
}

impl Drop for Producer {
    /// librdkafka's end may take half a second: it gets a thread of its own, for this one is an
    /// executor's.
    fn drop(&mut self) {
        let both = (self.together.take(), self.alone.take());
        std::thread::spawn(move || drop(both));
    }
}

/// What a dead letter says of itself. A header of a part is `part` as `index/count`.
fn headers(item: &Item) -> OwnedHeaders {
    let Goal::Dead { reason, part, parts } = &item.goal else { return OwnedHeaders::new() };
    let text = |key, value| Header { key, value: Some(value) };
    let mut headers = OwnedHeaders::new()
        .insert(text("reason", reason.code.as_bytes()))
        .insert(text("detail", reason.detail.as_bytes()))
        .insert(text("mqtt_topic", item.mqtt_topic.as_ref()));
    if let Some(vehicle) = &item.vehicle {
        headers = headers.insert(text("vehicle", vehicle.as_str().as_bytes()));
    }
    if *parts > 1 {
        headers = headers.insert(text("part", format!("{part}/{parts}").as_bytes()));
    }
    headers
}

/// What a code means for the record. Codes that are not named may pass: an unknown one must never
/// lead to an acknowledgement.
pub(crate) fn failure(code: Code) -> Failure {
    match code {
        Code::MessageSizeTooLarge | Code::InvalidMessageSize | Code::MessageBatchTooLarge => {
            Failure::TooLarge(code.to_string())
        }
        Code::UnknownTopic
        | Code::UnknownTopicOrPartition
        | Code::UnknownPartition
        | Code::InvalidTopic
        | Code::TopicAuthorizationFailed
        | Code::InvalidRecord
        | Code::InvalidTimestamp
        | Code::PolicyViolation => Failure::Refused(code.to_string()),
        _ => Failure::Passing,
    }
}
