//! Whether a Kafka cluster has the topics that a program needs, and lets it use them. Nothing is written and
//! no group is joined: what may be done is asked of the brokers, which know it (KIP-430).
#![allow(unsafe_code)]

use super::{Checks, PATIENCE, Wrong};
use rdkafka::bindings as rd;
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::metadata::Metadata;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CStr, CString};
use std::io::Write;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// What a program does with its topics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// It reads them.
    Read,
    /// It writes to them.
    Write,
}

impl Access {
    fn operation(self) -> rd::rd_kafka_AclOperation_t {
        match self {
            Self::Read => rd::rd_kafka_AclOperation_t::RD_KAFKA_ACL_OPERATION_READ,
            Self::Write => rd::rd_kafka_AclOperation_t::RD_KAFKA_ACL_OPERATION_WRITE,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Read => "READ",
            Self::Write => "WRITE",
        }
    }
}

/// A client that asks, and says nothing of its own.
pub type Client = BaseConsumer<Quiet>;

/// Keeps the first failure that librdkafka tells of, in place of the log.
#[derive(Default)]
pub struct Quiet(Mutex<Option<String>>);

impl ClientContext for Quiet {
    fn log(&self, _: RDKafkaLogLevel, _: &str, _: &str) {}

    fn error(&self, _: KafkaError, reason: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| reason.to_owned());
    }
}

impl ConsumerContext for Quiet {}

/// Makes a client of a program's own properties.
pub fn client(mut config: ClientConfig) -> Result<Client, Wrong> {
    config.set("statistics.interval.ms", "0").set_log_level(RDKafkaLogLevel::Emerg);
    let mend = "Correct that property, or leave it out";
    config
        .create_with_context(Quiet::default())
        .map_err(|why| Wrong::new(format!("librdkafka does not take the settings ({})", said(&why)), mend))
}

/// What librdkafka says, but for the value of a property, which may be a password.
pub fn said(error: &KafkaError) -> String {
    match error {
        KafkaError::ClientConfig(_, what, property, _) => format!("{what} ({property})"),
        other => other.to_string(),
    }
}

/// Looks at every topic in turn; gives whether the cluster answers at all. Blocks.
pub fn topics<W: Write>(checks: &mut Checks<W>, client: &Client, names: &[String], access: Access) -> bool {
    let metadata = client.fetch_metadata(None, PATIENCE);
    let metadata = match metadata {
        Ok(metadata) if !metadata.brokers().is_empty() => metadata,
        failed => {
            // What librdkafka has to tell is told while it is polled.
            let _ = client.poll(Duration::from_millis(100));
            let kept = client.context().0.lock().unwrap_or_else(PoisonError::into_inner).take();
            let said = failed.err().map_or("no broker in the answer".to_owned(), |why| why.to_string());
            checks.failed("Kafka", unreachable(&kept.unwrap_or(said)));
            return false;
        }
    };
    checks.found("Kafka", Ok(format!("{} brokers", metadata.brokers().len())));
    let broker = metadata.brokers()[0].id();
    let allowed = operations(client, broker, names).unwrap_or_default();
    for name in names {
        let found = topic(&metadata, name).and_then(|partitions| {
            let may = allowed.get(name).filter(|operations| !operations.is_empty());
            match may {
                Some(operations) if !operations.contains(&(access.operation() as i32)) => {
                    let mend = format!("Let this user {} the topic in Kafka's access list", access.name());
                    Err(Wrong::new(format!("{} is not allowed", access.name()), mend))
                }
                Some(_) => Ok(format!("{partitions} partitions, {} allowed", access.name())),
                None => Ok(format!("{partitions} partitions; the brokers do not say what is allowed")),
            }
        });
        checks.found(&format!("Kafka topic {name}"), found);
    }
    true
}

fn unreachable(why: &str) -> Wrong {
    Wrong::new(
        format!("No broker answers within {PATIENCE:?} ({why})"),
        "Start Kafka, or correct its addresses; where it wants TLS or a login, set `security.protocol` and what \
         belongs to it",
    )
}

/// How many partitions a topic has.
fn topic(metadata: &Metadata, name: &str) -> Result<usize, Wrong> {
    let make = format!("Make it: kafka-topics.sh --create --topic {name} --partitions N");
    let Some(topic) = metadata.topics().iter().find(|topic| topic.name() == name) else {
        return Err(Wrong::new("It is not there, or not to be seen by this user", make));
    };
    match topic.error() {
        Some(error) => Err(Wrong::new(rdkafka::types::RDKafkaErrorCode::from(error), make)),
        None => Ok(topic.partitions().len()),
    }
}

/// What this user may do with each topic, as the numbers of Kafka's operations; empty where the brokers do
/// not say. Through librdkafka's C interface, since the Rust one does not have it.
fn operations(
    client: &Client,
    broker: i32,
    topics: &[String],
) -> Result<BTreeMap<String, BTreeSet<i32>>, std::ffi::NulError> {
    let names: Vec<CString> = topics.iter().map(|t| CString::new(t.as_str())).collect::<Result<_, _>>()?;
    let mut pointers: Vec<_> = names.iter().map(|name| name.as_ptr()).collect();
    let mut found = BTreeMap::new();
    let timeout = PATIENCE.as_millis() as i32;
    // SAFETY: the client lives as long as it is borrowed. Each object that is made here is destroyed here,
    // once, after its last use; the collection copies the names; setting an option gives an error object or
    // null. What the event holds is read before it is destroyed.
    unsafe {
        let handle = client.client().native_ptr();
        let collection = rd::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len());
        let options =
            rd::rd_kafka_AdminOptions_new(handle, rd::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS);
        rd::rd_kafka_AdminOptions_set_request_timeout(options, timeout, std::ptr::null_mut(), 0);
        rd::rd_kafka_AdminOptions_set_broker(options, broker, std::ptr::null_mut(), 0);
        let refused = rd::rd_kafka_AdminOptions_set_include_authorized_operations(options, 1);
        if !refused.is_null() {
            rd::rd_kafka_error_destroy(refused);
        }
        let queue = rd::rd_kafka_queue_new(handle);
        rd::rd_kafka_DescribeTopics(handle, collection, options, queue);
        let event = rd::rd_kafka_queue_poll(queue, timeout + 1000);
        if !event.is_null() {
            read_operations(event, &mut found);
            rd::rd_kafka_event_destroy(event);
        }
        rd::rd_kafka_queue_destroy(queue);
        rd::rd_kafka_AdminOptions_destroy(options);
        rd::rd_kafka_TopicCollection_destroy(collection);
    }
    Ok(found)
}

/// Reads the event that answers a DescribeTopics request.
///
/// # Safety
/// `event` is a live event of librdkafka.
unsafe fn read_operations(event: *mut rd::rd_kafka_event_t, found: &mut BTreeMap<String, BTreeSet<i32>>) {
    // SAFETY: as promised by the caller; all pointers below belong to the event, and the arrays are as long
    // as the counts that come with them.
    unsafe {
        let result = rd::rd_kafka_event_DescribeTopics_result(event);
        if result.is_null() {
            return;
        }
        let mut count = 0;
        let topics = rd::rd_kafka_DescribeTopics_result_topics(result, &mut count);
        for i in 0..count {
            let topic = *topics.add(i);
            let name = CStr::from_ptr(rd::rd_kafka_TopicDescription_name(topic)).to_string_lossy();
            let mut allowed = 0;
            let operations = rd::rd_kafka_TopicDescription_authorized_operations(topic, &mut allowed);
            let operations = (0..allowed).map(|n| *operations.add(n) as i32).collect();
            found.insert(name.into_owned(), operations);
        }
    }
}
