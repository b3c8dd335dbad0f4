//! Reads along in Kafka while the demo runs: how full each partition is, which readings have arrived,
//! and what the same batches would weigh as JSON.
//!
//! It is a consumer of its own with nothing in common with the sink. One thread keeps up with the
//! topics and reads headers; a second one decodes, writes JSON and compresses, and may lag behind.

use super::gate::Seen;
use crate::Failure;
use crate::audit::intervals::Intervals;
use flate2::{Compression, write::GzEncoder};
use milepost_agent::ndjson::Line;
use milepost_wire::{Header, frame, topic};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

/// What Kafka adds to a record at most: a batch header and the record's own fields.
const OVERHEAD: u64 = 100;
/// What MQTT adds to topic and payload of a publish at least: fixed header 2, topic length 2, packet id
/// 2, no properties 1.
const PUBLISH: u64 = 7;

/// Sizes of the frames of one stream, each counted once however often it was sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Sizes {
    /// Readings in them.
    pub readings: u64,
    /// The frames.
    pub payload_bytes: u64,
    /// The same readings as JSON, a line each.
    pub json_bytes: u64,
    /// That JSON, compressed with gzip batch by batch.
    pub json_gzip_bytes: u64,
}

/// What has arrived.
#[derive(Debug, Default)]
struct Arrived {
    partitions: HashMap<(String, i32), u64>,
    records: u64,
    /// Bytes of all frames with what MQTT adds to each.
    mqtt_bytes: u64,
    readings: u64,
    rows: HashMap<(String, u64), HashMap<String, Intervals>>,
}

/// The running tap.
pub(crate) struct Tap {
    stop: Arc<AtomicBool>,
    arrived: Arc<Mutex<Arrived>>,
    poll: JoinHandle<()>,
    measure: JoinHandle<BTreeMap<String, Sizes>>,
}

impl Tap {
    /// Starts reading all topics of frames, from their beginning.
    pub(crate) fn start(brokers: &str, partitions: i32) -> Result<Self, Failure> {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", brokers)
            .set("group.id", "milepost-demo-tap")
            .set("enable.auto.commit", "false")
            .set("fetch.wait.max.ms", "50")
            .create()?;
        let mut all = TopicPartitionList::new();
        for name in topic::kafka_all().chain([topic::KAFKA_DEAD_LETTER]) {
            for partition in 0..partitions {
                all.add_partition_offset(name, partition, Offset::Beginning)?;
            }
        }
        consumer.assign(&all)?;
        let (stop, arrived) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Arrived::default())));
        let (send, frames) = mpsc::channel();
        let poll = std::thread::Builder::new().name("tap".into()).spawn({
            let (stop, arrived) = (stop.clone(), arrived.clone());
            move || poll(&consumer, &stop, &arrived, &send)
        })?;
        let measure = std::thread::Builder::new().name("tap-measure".into()).spawn(move || {
            let mut sizes = BTreeMap::new();
            frames.iter().for_each(|frame| measure(&frame, &mut sizes));
            sizes
        })?;
        Ok(Self { stop, arrived, poll, measure })
    }

    /// What the gate needs to know.
    pub(crate) fn seen(&self) -> Seen {
        let arrived = lock(&self.arrived);
        let fullest = arrived.partitions.iter().max_by_key(|(_, bytes)| **bytes);
        let fullest = fullest.map(|((topic, partition), bytes)| (topic.clone(), *partition, *bytes));
        Seen { mqtt_bytes: arrived.mqtt_bytes, fullest: fullest.unwrap_or_default() }
    }

    /// Whether all readings of a stream of a boot below `next` have arrived.
    pub(crate) fn has(&self, vehicle: &str, boot: u64, stream: &str, next: u64) -> bool {
        let arrived = lock(&self.arrived);
        let rows = arrived.rows.get(&(vehicle.to_owned(), boot)).and_then(|streams| streams.get(stream));
        next == 0 || rows.is_some_and(|rows| rows.missing_below(next).is_empty())
    }

    /// Kafka records and different readings so far.
    pub(crate) fn counts(&self) -> (u64, u64) {
        let arrived = lock(&self.arrived);
        (arrived.records, arrived.readings)
    }

    /// Ends it and returns the sizes, by stream, once all that arrived is measured.
    pub(crate) fn finish(self) -> BTreeMap<String, Sizes> {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.poll.join();
        self.measure.join().unwrap_or_default()
    }
}

fn lock(arrived: &Mutex<Arrived>) -> MutexGuard<'_, Arrived> {
    arrived.lock().unwrap_or_else(PoisonError::into_inner)
}

fn poll(
    consumer: &BaseConsumer,
    stop: &AtomicBool,
    arrived: &Mutex<Arrived>,
    frames: &mpsc::Sender<Vec<u8>>,
) {
    while !stop.load(Ordering::Relaxed) {
        let Some(Ok(record)) = consumer.poll(Duration::from_millis(50)) else { continue };
        let value = record.payload().unwrap_or_default();
        let weight = (value.len() + record.key().map_or(0, <[u8]>::len)) as u64 + OVERHEAD;
        let mut arrived = lock(arrived);
        *arrived.partitions.entry((record.topic().to_owned(), record.partition())).or_default() += weight;
        arrived.records += 1;
        let Ok(header) = frame::check(value) else { continue };
        arrived.mqtt_bytes +=
            (value.len() + topic::mqtt(&header.vehicle, &header.stream).len()) as u64 + PUBLISH;
        if arrived.is_new(&header) {
            let _ = frames.send(value.to_vec());
        }
    }
}

impl Arrived {
    /// Enters a frame's readings, and says whether they are all here for the first time.
    fn is_new(&mut self, header: &Header) -> bool {
        let streams = self.rows.entry((header.vehicle.to_string(), header.boot.0)).or_default();
        let rows = streams.entry(header.stream.to_string()).or_default();
        let twice = rows.insert(header.first_seq..header.last_seq() + 1);
        self.readings += u64::from(header.count) - twice;
        twice == 0
    }
}

fn measure(bytes: &[u8], sizes: &mut BTreeMap<String, Sizes>) {
    let Ok(batch) = frame::decode(bytes) else { return };
    let mut json = String::new();
    for row in 0..batch.len() {
        Line { batch: &batch, row, origin: true }.write(&mut json);
        json.push('\n');
    }
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    // Writing to memory does not fail.
    let gzipped = gzip.write_all(json.as_bytes()).and_then(|()| gzip.finish()).unwrap_or_default();
    let entry = sizes.entry(batch.stream.to_string()).or_default();
    entry.readings += batch.len() as u64;
    entry.payload_bytes += bytes.len() as u64;
    entry.json_bytes += json.len() as u64;
    entry.json_gzip_bytes += gzipped.len() as u64;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::tests::frame_of;
    use crate::demo::kafka::Kafka;
    use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

    fn produce(kafka: &Kafka, values: &[Vec<u8>]) {
        let producer: BaseProducer = ClientConfig::new()
            .set("bootstrap.servers", kafka.brokers())
            .set("message.max.bytes", "4300000")
            .create()
            .unwrap();
        for value in values {
            producer.send(BaseRecord::to("gps_data").key("truck-1").payload(value)).unwrap();
        }
        producer.flush(Duration::from_secs(20)).unwrap();
    }

    fn wait_for(tap: &Tap, records: u64) {
        while tap.counts().0 < records {
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    #[test]
    fn it_sees_what_arrived_and_measures_each_frame_once() {
        let kafka = Kafka::start(4).unwrap();
        let frames = [frame_of(0, 60), frame_of(60, 60), frame_of(0, 60)];
        produce(&kafka, &frames);
        let tap = Tap::start(kafka.brokers(), 4).unwrap();
        wait_for(&tap, 3);
        assert!(tap.has("truck-1", 7, "gps_data", 120));
        assert!(!tap.has("truck-1", 7, "gps_data", 121));
        assert!(!tap.has("truck-1", 8, "gps_data", 1));
        let sizes = tap.finish();
        let gps = &sizes["gps_data"];
        assert_eq!((gps.readings, gps.payload_bytes), (120, (frames[0].len() + frames[1].len()) as u64));
        assert!(gps.json_bytes > gps.json_gzip_bytes && gps.json_gzip_bytes > gps.payload_bytes, "{gps:?}");
    }

    #[test]
    fn it_knows_the_fullest_partition_and_what_mqtt_carried() {
        let kafka = Kafka::start(4).unwrap();
        let tap = Tap::start(kafka.brokers(), 4).unwrap();
        produce(&kafka, &[frame_of(0, 60), frame_of(60, 60)]);
        wait_for(&tap, 2);
        let frames = (frame_of(0, 60).len() + frame_of(60, 60).len()) as u64;
        let seen = tap.seen();
        assert_eq!(seen.fullest.0, "gps_data");
        assert_eq!(seen.fullest.2, frames + 2 * (7 + OVERHEAD));
        assert_eq!(seen.mqtt_bytes, frames + 2 * ("milepost/v1/truck-1/gps_data".len() as u64 + PUBLISH));
        tap.finish();
    }
}
