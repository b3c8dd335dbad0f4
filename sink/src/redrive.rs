//! Drives records through again that an older sink had to keep as they came: a frame of a vehicle that
//! was upgraded before its sink.
//!
//! They are sent to their topic once more, with their key and their time, and go the way of every other
//! record: a reading that has a row already is dropped by its number, so that a second run, or one that
//! was killed, repeats nothing. A mark in the ledger says what was sent, for runs long after.
//!
//! Records that cannot be read by this program either stay where they are.

use crate::build::{Record, readable};
use crate::ledger::{self, BadObject, FORMAT};
use crate::settings::Settings;
use crate::store::{Object, Store, StoreError};
use crate::table;
use milepost_ops::check::kafka::said;
use milepost_wire::{Header, frame, version};
use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::util::Timeout;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// Keys of a listing's page.
const PAGE: usize = 1000;
/// How long Kafka may take to accept a record.
const PATIENCE: Duration = Duration::from_secs(60);

/// Why records were not driven through. To run it again is safe.
#[derive(Debug, thiserror::Error)]
pub enum RedriveError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The ledger holds what this program cannot use.
    #[error(transparent)]
    Ledger(#[from] BadObject),
    /// Kafka did not take a record.
    #[error("Topic {topic} did not take a record of {key}: {}. Run it again once Kafka does", said(.why))]
    Kafka {
        /// The topic.
        topic: String,
        /// The object that keeps the record.
        key: String,
        /// librdkafka's reason.
        why: KafkaError,
    },
}

/// What a run has done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Redriven {
    /// Records sent to their topics.
    pub sent: u64,
    /// Records that an earlier run has sent.
    pub sent_before: u64,
    /// Records that this program cannot read either, by reason.
    pub unread: BTreeMap<String, u64>,
}

/// The mark that the readable records of an object were sent.
#[derive(Debug, Serialize, Deserialize)]
struct Mark {
    format: u32,
    unread: String,
    frame_max: u8,
    records: u64,
}

/// Sends every record of the lake that was kept unread, and that this program can read, to its topic.
pub async fn redrive(settings: &Settings, store: &dyn Store) -> Result<Redriven, RedriveError> {
    let (mut done, mut producer) = (Redriven::default(), None);
    let mut after: Option<String> = None;
    loop {
        let page = store.list(ledger::UNREAD, after.as_deref(), PAGE).await?;
        let more = page.len() == PAGE;
        after = page.last().map(|o| o.key.clone());
        for Object { key, .. } in page {
            object(settings, store, &key, &mut producer, &mut done).await?;
        }
        if !more {
            return Ok(done);
        }
    }
}

/// Sends what is readable of one object, and marks it.
async fn object(
    settings: &Settings,
    store: &dyn Store,
    key: &str,
    producer: &mut Option<FutureProducer>,
    done: &mut Redriven,
) -> Result<(), RedriveError> {
    let bad = |why: &str| BadObject { key: key.into(), why: why.into() };
    let rest = key.strip_prefix(ledger::UNREAD).unwrap_or_default();
    let (topic, _) = rest.split_once('/').ok_or_else(|| bad("its key names no topic"))?;
    let body = store.get(key).await?.unwrap_or_default();
    let records = ledger::unread_records(&body).ok_or_else(|| bad("it does not end where a record ends"))?;
    let before = newest_mark(store, rest).await?;
    let mut due = Vec::new();
    for record in records {
        match header(&record) {
            Ok(_) if before.is_some_and(|v| record.value[0] <= v) => done.sent_before += 1,
            Ok(header) => due.push((record, header)),
            Err(reason) => *done.unread.entry(reason).or_default() += 1,
        }
    }
    if due.is_empty() {
        return Ok(());
    }
    let failed = |why| RedriveError::Kafka { topic: topic.into(), key: key.into(), why };
    if producer.is_none() {
        *producer = Some(producer_config(settings).create().map_err(failed)?);
    }
    let Some(producer) = producer else { return Ok(()) };
    // Handed over in order, and then waited for.
    let sends: Vec<_> = due.iter().map(|(record, header)| send(producer, topic, record, header)).collect();
    for sent in futures::future::join_all(sends).await {
        sent.map_err(failed)?;
        done.sent += 1;
    }
    let mark =
        Mark { format: FORMAT, unread: key.into(), frame_max: version::FRAME, records: due.len() as u64 };
    store.put_if_absent(&mark_key(rest, version::FRAME), ledger::write(&mark).into()).await?;
    Ok(())
}

async fn send(
    producer: &FutureProducer,
    topic: &str,
    record: &Record,
    header: &Header,
) -> Result<(), KafkaError> {
    let key = header.vehicle.as_str();
    let message = FutureRecord::to(topic).key(key).payload(&record.value[..]).timestamp(record.at_ms);
    match producer.send(message, Timeout::After(PATIENCE)).await {
        Ok(_) => Ok(()),
        Err((why, _)) => Err(why),
    }
}

/// The header of a record that can be put into its table.
fn header(record: &Record) -> Result<Header, String> {
    let header = readable(&record.value, version::FRAME)?;
    match frame::decode(&record.value) {
        Ok(batch) if table::is_whole(&batch) => Ok(header),
        Ok(_) => Err("rule".into()),
        Err(_) => Err("damaged".into()),
    }
}

/// The newest frame version whose records of an object were sent.
async fn newest_mark(store: &dyn Store, rest: &str) -> Result<Option<u8>, RedriveError> {
    let below = mark_key(rest, 0);
    let below = below.trim_end_matches("000.json");
    let marks = store.list(below, None, PAGE).await?;
    let version = |o: &Object| o.key.strip_prefix(below)?.strip_suffix(".json")?.parse().ok();
    Ok(marks.iter().filter_map(version).max())
}

fn mark_key(rest: &str, version: u8) -> String {
    format!("{}{}-{version:03}.json", ledger::REDRIVEN, rest.trim_end_matches(".frames"))
}

fn producer_config(settings: &Settings) -> ClientConfig {
    let mut config = milepost_ops::kafka::config();
    config.set("bootstrap.servers", &settings.brokers);
    config.set("client.id", "milepost-sink-redrive");
    config.set("enable.idempotence", "true");
    config.set("message.max.bytes", "67108864");
    for (key, value) in &settings.kafka {
        config.set(key, value);
    }
    config
}
