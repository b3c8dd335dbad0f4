//! Reads a Kafka topic from its first record to what is its last when the command starts, or for ever.
//!
//! Partitions are assigned, not subscribed, and no offset is committed: looking at a topic leaves no
//! trace in the cluster.

use super::Printer;
use crate::Failure;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};
use std::collections::BTreeMap;
use std::fmt;
use std::io::Write;
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(10);

/// Where a record stands.
struct Place<'a> {
    topic: &'a str,
    partition: i32,
    offset: i64,
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, partition {}, offset {}", self.topic, self.partition, self.offset)
    }
}

pub(super) fn read<W: Write>(
    brokers: &str,
    topic: &str,
    follow: bool,
    printer: &mut Printer<W>,
) -> Result<(), Failure> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "milepost-decode")
        .set("enable.auto.commit", "false")
        .create()?;
    let mut left = ranges(&consumer, brokers, topic)?;
    let mut from = TopicPartitionList::new();
    for (&partition, range) in &left {
        from.add_partition_offset(topic, partition, Offset::Offset(range.0))?;
    }
    consumer.assign(&from)?;
    if !follow {
        left.retain(|_, (first, end)| first < end);
    }
    while follow || !left.is_empty() {
        let Some(polled) = consumer.poll(Duration::from_millis(100)) else {
            // Compacted or aborted records may stand before a partition's end.
            let position = consumer.position()?;
            left.retain(|&p, (_, end)| {
                let at = position.find_partition(topic, p).map(|e| e.offset());
                !matches!(at, Some(Offset::Offset(at)) if at >= *end)
            });
            printer.out.flush()?;
            continue;
        };
        let record = polled.map_err(|e| format!("Topic {topic} at {brokers} cannot be read further: {e}"))?;
        let place = Place { topic, partition: record.partition(), offset: record.offset() };
        let past = left.get(&place.partition).is_none_or(|(_, end)| place.offset >= *end);
        if follow || !past {
            printer.frame(&place, record.payload().unwrap_or_default())?;
        }
        if left.get(&place.partition).is_some_and(|(_, end)| place.offset + 1 >= *end) {
            left.remove(&place.partition);
        }
    }
    Ok(())
}

/// The first offset of each partition and the one after its last.
fn ranges(consumer: &BaseConsumer, brokers: &str, topic: &str) -> Result<BTreeMap<i32, (i64, i64)>, Failure> {
    let metadata = consumer
        .fetch_metadata(Some(topic), TIMEOUT)
        .map_err(|e| format!("Kafka at {brokers} does not answer: {e}. Is the address right?"))?;
    let found = metadata.topics().iter().find(|t| t.name() == topic);
    let partitions = match found {
        Some(t) if t.error().is_none() && !t.partitions().is_empty() => t.partitions(),
        _ => return Err(format!("Kafka at {brokers} has no topic {topic}").into()),
    };
    partitions.iter().map(|p| Ok((p.id(), consumer.fetch_watermarks(topic, p.id(), TIMEOUT)?))).collect()
}
