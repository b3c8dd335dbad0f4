//! The bridge between a real Mosquitto and a real Kafka: what Kafka has is held against what was sent, and
//! the order of the acknowledgements against the order of delivery. One Kafka serves all tests, one at a
//! time; each has a Mosquitto, vehicles and mostly a stream of its own.

use milepost_bridge::{Bridge, Counters, Settings};
use milepost_tests::kafka::{Access, Kafka, Record, SECOND};
use milepost_tests::mqtt::{Tap, publish};
use milepost_tests::process::{Mosquitto, wait_for};
use milepost_tests::proxy::{Network, Proxy};
use milepost_tests::skip;
use milepost_wire::reading::{Camera, Emergency, Gps, Vehicle, Weather};
use milepost_wire::{Batch, Body, BootId, Clock, Reading, Stream, VehicleId, frame, topic};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use tempfile::TempDir;
use tokio::runtime::Runtime;

const PATIENCE: Duration = Duration::from_secs(240);

struct Cluster {
    kafka: Kafka,
    _dir: TempDir,
}

/// The Kafka that the tests share; it ends with the last test that holds it. `None` where there is none.
fn cluster() -> Option<Arc<Mutex<Cluster>>> {
    static SHARED: Mutex<Weak<Mutex<Cluster>>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(cluster) = shared.upgrade() {
        return Some(cluster);
    }
    let dir = tempfile::tempdir().expect("a temporary folder");
    let kafka = Kafka::start_with(dir.path(), 3, Access::PROPERTIES)?;
    let cluster = Arc::new(Mutex::new(Cluster { kafka, _dir: dir }));
    *shared = Arc::downgrade(&cluster);
    Some(cluster)
}

/// A Mosquitto and a bridge of a test's own, with a tap between the two.
struct Rig<'a> {
    bridge: Option<Bridge>,
    /// Between the bridge and the tap.
    network: Proxy,
    tap: Tap,
    mosquitto: Mosquitto,
    cluster: MutexGuard<'a, Cluster>,
    settings: Settings,
    runtime: Runtime,
    _dir: TempDir,
}

/// Runs a test on the shared Kafka, with the bridge's settings as it wants them.
fn with_brokers(adjust: impl FnOnce(&mut Settings), test: impl FnOnce(&mut Rig<'_>)) {
    let Some(shared) = cluster() else { return skip("Kafka is missing") };
    let cluster = shared.lock().unwrap_or_else(PoisonError::into_inner);
    let dir = tempfile::tempdir().expect("a temporary folder");
    let Some(mosquitto) = Mosquitto::start(dir.path()) else { return skip("Mosquitto is missing") };
    let tap = Tap::start(mosquitto.port);
    let network = Proxy::start(tap.port);
    let mut settings = Settings::default();
    settings.mqtt.url = format!("mqtt://127.0.0.1:{}", network.port);
    settings.mqtt.reconnect_min = Duration::from_millis(20);
    settings.mqtt.reconnect_max = Duration::from_millis(200);
    settings.retry_after = Duration::from_millis(200);
    settings.kafka.set("bootstrap.servers", cluster.kafka.bootstrap_servers());
    settings.kafka.set("topic.metadata.propagation.max.ms", "1000");
    settings.kafka.set("reconnect.backoff.max.ms", "500");
    adjust(&mut settings);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let mut rig = Rig { bridge: None, network, tap, mosquitto, cluster, settings, runtime, _dir: dir };
    rig.start_bridge();
    test(&mut rig);
}

fn as_they_are(_: &mut Settings) {}

impl Rig<'_> {
    fn start_bridge(&mut self) {
        self.launch();
        let bridge = self.bridge.as_ref().expect("it was just started");
        let subscribed = async { tokio::time::timeout(PATIENCE, bridge.subscribed()).await };
        self.runtime.block_on(subscribed).expect("the broker confirms the subscription");
    }

    /// As [`Rig::start_bridge`], without waiting for the subscription.
    fn launch(&mut self) {
        let _inside = self.runtime.enter();
        self.bridge = Some(Bridge::start(self.settings.clone()).expect("the bridge starts"));
    }

    /// Ends the bridge as if its process had died.
    fn kill_bridge(&mut self) {
        self.bridge = None;
    }

    fn kafka(&mut self) -> &mut Kafka {
        &mut self.cluster.kafka
    }

    fn counters(&self) -> Counters {
        self.bridge.as_ref().expect("a bridge runs").counters()
    }

    fn publish(&self, frames: &[(String, Vec<u8>)]) {
        publish(self.mosquitto.port, frames.to_vec());
    }

    fn wait(&self, what: &str, mut done: impl FnMut(&Self) -> bool) {
        wait_for(what, PATIENCE, || done(self));
    }

    fn wait_for_acknowledgements(&self, count: usize) {
        let acknowledged = || self.tap.acknowledged().len();
        wait_for(&format!("{count} acknowledgements"), PATIENCE, || acknowledged() >= count);
    }

    /// Waits until each of these frames was acknowledged, over whichever connection.
    fn wait_for_each(&self, frames: &[(String, Vec<u8>)]) {
        self.wait("the acknowledgement of each frame", |rig| {
            let acknowledged = rig.tap.acknowledged();
            let acknowledged: BTreeSet<&[u8]> = acknowledged.iter().map(|frame| frame.as_ref()).collect();
            frames.iter().all(|(_, frame)| acknowledged.contains(frame.as_slice()))
        });
    }

    /// The records of a topic that are of these frames, by their vehicle.
    fn records(&self, topic: &str, frames: &[(String, Vec<u8>)]) -> Vec<Record> {
        let vehicles: BTreeSet<&str> = frames.iter().filter_map(|(t, _)| t.split('/').nth(2)).collect();
        let mut records = self.cluster.kafka.records(topic);
        records.retain(|r| r.key.as_deref().is_some_and(|key| vehicles.contains(key)));
        records
    }

    /// Kafka has every frame, unchanged; each vehicle's in order where none was produced again. Gives how
    /// often one is there more than once.
    fn assert_complete(&self, topic: &str, frames: &[(String, Vec<u8>)]) -> usize {
        let records = self.records(topic, frames);
        let there: BTreeSet<&[u8]> = records.iter().map(|r| r.value.as_slice()).collect();
        let sent: BTreeSet<&[u8]> = frames.iter().map(|(_, frame)| frame.as_slice()).collect();
        assert_eq!(there.len(), sent.len(), "frames of {topic} in Kafka, and sent");
        assert!(there == sent, "{topic} has other frames than were sent");
        records.len() - sent.len()
    }

    /// The vehicles' frames stand in Kafka once and in the order in which they were published.
    fn assert_once_and_in_order(&self, topic: &str, frames: &[(String, Vec<u8>)]) {
        let by_vehicle = |all: Vec<(String, Vec<u8>)>| {
            let mut order: BTreeMap<String, Vec<Vec<u8>>> = BTreeMap::new();
            all.into_iter().for_each(|(vehicle, frame)| order.entry(vehicle).or_default().push(frame));
            order
        };
        let vehicle = |topic: &str| topic.split('/').nth(2).unwrap_or_default().to_owned();
        let sent = by_vehicle(frames.iter().map(|(t, f)| (vehicle(t), f.clone())).collect());
        let records = self.records(topic, frames);
        let there = by_vehicle(records.into_iter().map(|r| (r.key.unwrap_or_default(), r.value)).collect());
        assert!(there == sent, "{topic} has not each vehicle's frames once and in order");
    }
}

fn body(stream: &Stream, n: u64, bytes: usize) -> Body {
    let noise = |i: usize| ((i as u64 + n).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8;
    match stream {
        Stream::Weather => Body::Weather(Weather {
            lat_e7: None,
            lon_e7: None,
            temperature_c_e2: Some(n as i16),
            condition: None,
            precipitation_mm_h_e2: None,
            wind_speed_mm_s: None,
            humidity_pct_e2: None,
            air_quality_index: None,
        }),
        Stream::Vehicle => Body::Vehicle(Vehicle {
            lat_e7: Some(515_000_000 + n as i32),
            lon_e7: Some(-1_000_000),
            speed_mm_s: Some(13_000),
            heading_cdeg: None,
            make: None,
            model: None,
            year: None,
            fuel_type: None,
            vehicle_type: None,
        }),
        Stream::Emergency => Body::Emergency(Emergency {
            incident_id: n.to_string(),
            kind: "collision".into(),
            status: "open".into(),
            description: None,
            lat_e7: None,
            lon_e7: None,
        }),
        Stream::Camera => Body::Camera(Camera {
            camera_id: "front".into(),
            lat_e7: None,
            lon_e7: None,
            image: (0..bytes).map(noise).collect(),
            width: None,
            height: None,
        }),
        _ => Body::Gps(Gps {
            lat_e7: 515_000_000 + n as i32,
            lon_e7: -1_000_000,
            altitude_cm: None,
            speed_mm_s: Some(13_000),
            heading_cdeg: None,
            fix: 1,
            satellites: Some(9),
            hdop_e2: None,
        }),
    }
}

/// Frame `n` of a vehicle with its topic, of one reading; a picture has so many bytes.
fn framed(vehicle: &str, stream: &Stream, n: u64, bytes: usize) -> (String, Vec<u8>) {
    let vehicle = VehicleId::new(vehicle).expect("a good name");
    let columns = stream.columns().expect("a built-in stream");
    let mut batch = Batch::new(vehicle.clone(), BootId(7), stream.clone(), columns, n, Vec::new());
    let ts = 1_772_000_000_000_000 + n as i64 * 1_000_000;
    batch.push(&Reading { ts, clock: Clock::Gps, body: body(stream, n, bytes) }).expect("it fits");
    (topic::mqtt(&vehicle, stream), frame::encode(&batch).expect("it has a frame"))
}

/// Fixes of five vehicles that are named after a test.
fn drive(test: &str, numbers: std::ops::Range<u64>) -> Vec<(String, Vec<u8>)> {
    numbers.map(|n| framed(&format!("{test}-{}", n % 5), &Stream::Gps, n, 0)).collect()
}

#[test]
fn acknowledgements_follow_the_reports_in_the_order_of_receipt() {
    with_brokers(as_they_are, |rig| {
        let frames = drive("order", 0..3000);
        let (port, sent) = (rig.mosquitto.port, frames.clone());
        let publisher = std::thread::spawn(move || publish(port, sent));
        // At any moment Kafka has at least what was acknowledged before.
        while rig.tap.acknowledged().len() < frames.len() {
            let acknowledged = rig.tap.acknowledged();
            let there: BTreeSet<Vec<u8>> =
                rig.records("gps_data", &frames).into_iter().map(|r| r.value).collect();
            assert!(acknowledged.iter().all(|frame| there.contains(frame.as_ref())));
        }
        publisher.join().expect("the publisher ends");
        rig.assert_once_and_in_order("gps_data", &frames);
        assert_eq!((rig.counters().delivered, rig.counters().dead_lettered), (3000, 0));
    });
}

#[test]
fn a_kafka_that_is_killed_and_started_again_gets_every_frame_without_a_hand() {
    with_brokers(as_they_are, |rig| {
        let frames = drive("killed", 0..8000);
        rig.publish(&frames[..500]);
        rig.wait_for_acknowledgements(500);
        let (port, sent) = (rig.mosquitto.port, frames[500..].to_vec());
        let publisher = std::thread::spawn(move || publish(port, sent));
        rig.wait("more on its way", |rig| rig.tap.delivered() > 600);
        rig.kafka().kill();
        publisher.join().expect("the publisher ends");
        // What was reported in the last moment is acknowledged; then nothing is.
        rig.wait("frames without a report", |rig| rig.counters().in_flight > 0);
        std::thread::sleep(Duration::from_millis(500));
        let acknowledged = rig.tap.acknowledged().len();
        std::thread::sleep(Duration::from_secs(1));
        assert_eq!(rig.tap.acknowledged().len(), acknowledged, "without Kafka nothing is acknowledged");
        assert!(acknowledged < frames.len());
        rig.kafka().restart();
        rig.wait_for_acknowledgements(frames.len());
        let repeated = rig.assert_complete("gps_data", &frames);
        println!("{acknowledged} acknowledged before, {repeated} records more than frames");
    });
}

#[test]
fn what_was_acknowledged_is_in_kafka_when_bridge_and_kafka_are_killed_together() {
    with_brokers(as_they_are, |rig| {
        let frames = drive("both", 0..20_000);
        let (port, sent) = (rig.mosquitto.port, frames.clone());
        let publisher = std::thread::spawn(move || publish(port, sent));
        rig.wait_for_acknowledgements(300);
        rig.kafka().kill();
        rig.kill_bridge();
        let acknowledged = rig.tap.acknowledged();
        assert!(acknowledged.len() < frames.len(), "the kill was in mid-flight");
        publisher.join().expect("the publisher ends");
        rig.kafka().restart();
        let there: BTreeSet<Vec<u8>> =
            rig.records("gps_data", &frames).into_iter().map(|r| r.value).collect();
        let lost = acknowledged.iter().filter(|frame| !there.contains(frame.as_ref())).count();
        assert_eq!(lost, 0, "of {} acknowledged frames", acknowledged.len());
        rig.start_bridge();
        rig.wait_for_each(&frames);
        let repeated = rig.assert_complete("gps_data", &frames);
        println!("{} acknowledged before, {repeated} records more than frames", acknowledged.len());
    });
}

#[test]
fn a_leader_that_is_gone_is_followed_to_the_next_one() {
    with_brokers(as_they_are, |rig| {
        rig.kafka().add_broker();
        rig.kafka().delete_topic("vehicle_data");
        rig.kafka().create_topic("vehicle_data", &[SECOND, 1]);
        rig.wait("the second broker to lead", |rig| rig.cluster.kafka.leader("vehicle_data") == Some(SECOND));
        let frames: Vec<_> = (0..8000).map(|n| framed("leader", &Stream::Vehicle, n, 0)).collect();
        rig.publish(&frames[..500]);
        rig.wait_for_acknowledgements(500);
        let (port, sent) = (rig.mosquitto.port, frames[500..].to_vec());
        let publisher = std::thread::spawn(move || publish(port, sent));
        rig.wait("more on its way", |rig| rig.tap.delivered() > 600);
        rig.kafka().kill_second();
        publisher.join().expect("the publisher ends");
        rig.wait_for_acknowledgements(frames.len());
        assert_eq!(rig.cluster.kafka.leader("vehicle_data"), Some(1));
        let repeated = rig.assert_complete("vehicle_data", &frames);
        println!("{repeated} records more than frames");
        assert_eq!(rig.counters().dead_lettered, 0);
    });
}

#[test]
fn deliveries_that_time_out_are_made_again_and_acknowledged_only_then() {
    let hasty = |settings: &mut Settings| {
        settings.kafka.set("delivery.timeout.ms", "1500");
        settings.kafka.set("request.timeout.ms", "1000");
    };
    with_brokers(hasty, |rig| {
        let frames = drive("timeout", 0..600);
        rig.publish(&frames[..100]);
        rig.wait_for_acknowledgements(100);
        rig.kafka().network.set(Network::BlackHole);
        rig.publish(&frames[100..]);
        rig.wait("deliveries that timed out", |rig| rig.counters().retried >= 500);
        assert_eq!(rig.tap.acknowledged().len(), 100);
        rig.kafka().network.set(Network::Up);
        rig.wait_for_acknowledgements(frames.len());
        let repeated = rig.assert_complete("gps_data", &frames);
        println!("{} times produced again, {repeated} records more than frames", rig.counters().retried);

        // Connections to Kafka that are half open are left for new ones.
        rig.kafka().network.abandon();
        let more = drive("timeout-more", 0..100);
        rig.publish(&more);
        rig.wait_for_acknowledgements(frames.len() + more.len());
        rig.assert_complete("gps_data", &more);
        assert_eq!(rig.counters().dead_lettered, 0);
    });
}

#[test]
fn a_frame_too_large_for_its_topic_is_a_dead_letter_and_its_neighbours_are_not() {
    // A long linger, so that frames share batches, which Kafka judges by their size as well.
    with_brokers(
        |settings| settings.kafka.set("linger.ms", "200"),
        |rig| {
            rig.kafka().set("camera_data", "max.message.bytes", "20000");
            let mut frames: Vec<_> = (0..60).map(|n| framed("large", &Stream::Camera, n, 1_500)).collect();
            frames[30] = framed("large", &Stream::Camera, 30, 50_000);
            rig.publish(&frames);
            rig.wait_for_acknowledgements(frames.len());
            rig.kafka().set("camera_data", "max.message.bytes", "5000000");
            let large = frames.remove(30);
            assert_eq!(rig.assert_complete("camera_data", &frames), 0);
            let dead = rig.records(topic::KAFKA_DEAD_LETTER, &frames);
            assert_eq!(dead.len(), 1);
            assert!(dead[0].value == large.1, "unchanged");
            assert_eq!(dead[0].headers["reason"], "kafka");
            assert!(dead[0].headers["detail"].contains("camera_data"), "{:?}", dead[0].headers);
            assert_eq!((rig.counters().delivered, rig.counters().dead_lettered), (59, 1));
        },
    );
}

#[test]
fn frames_of_a_missing_topic_are_dead_letters_until_the_topic_is_there() {
    with_brokers(as_they_are, |rig| {
        rig.kafka().delete_topic("weather_data");
        let weather = |n| framed("missing", &Stream::Weather, n, 0);
        let lost: Vec<_> = (0..20).map(weather).collect();
        let gps = drive("missing-gps", 0..20);
        rig.publish(&[lost.clone(), gps.clone()].concat());
        rig.wait_for_acknowledgements(40);
        let dead = rig.records(topic::KAFKA_DEAD_LETTER, &lost);
        assert_eq!(dead.len(), 20);
        assert!(dead.iter().all(|d| d.headers["reason"] == "kafka"), "{dead:?}");
        rig.assert_once_and_in_order(topic::KAFKA_DEAD_LETTER, &lost);
        rig.assert_once_and_in_order("gps_data", &gps);

        rig.kafka().create_topic("weather_data", &[1]);
        // The producer asks again for a topic that it did not find.
        let mut sent = Vec::new();
        wait_for("a frame in the new topic", PATIENCE, || {
            sent.push(weather(100 + sent.len() as u64));
            rig.publish(&sent[sent.len() - 1..]);
            rig.wait_for_acknowledgements(40 + sent.len());
            !rig.records("weather_data", &sent).is_empty()
        });
        let there =
            rig.records("weather_data", &sent).len() + rig.records(topic::KAFKA_DEAD_LETTER, &sent).len();
        assert_eq!(there, 20 + sent.len(), "every frame is in one of the two");
    });
}

#[test]
fn frames_that_kafka_does_not_authorise_are_dead_letters_until_it_does() {
    with_brokers(as_they_are, |rig| {
        rig.kafka().allow("emergency_data", Access::Nobody);
        let frames: Vec<_> = (0..40).map(|n| framed("denied", &Stream::Emergency, n, 0)).collect();
        let (denied, allowed) = frames.split_at(20);
        rig.publish(denied);
        rig.wait_for_acknowledgements(20);
        let dead = rig.records(topic::KAFKA_DEAD_LETTER, denied);
        assert_eq!((dead.len(), dead[0].headers["reason"].as_str()), (20, "kafka"));
        assert!(rig.records("emergency_data", denied).is_empty());
        rig.kafka().allow("emergency_data", Access::Everybody);
        rig.publish(allowed);
        rig.wait_for_acknowledgements(40);
        rig.assert_once_and_in_order("emergency_data", allowed);
    });
}

#[test]
fn when_no_topic_takes_a_frame_it_is_never_acknowledged_and_delivered_once_it_may_be() {
    with_brokers(as_they_are, |rig| {
        for name in ["emergency_data", topic::KAFKA_DEAD_LETTER] {
            rig.kafka().allow(name, Access::Nobody);
        }
        let frames: Vec<_> = (0..20).map(|n| framed("nowhere", &Stream::Emergency, n, 0)).collect();
        rig.publish(&frames);
        rig.wait("some attempts", |rig| rig.counters().retried > 60);
        assert_eq!(rig.tap.acknowledged().len(), 0);
        for name in ["emergency_data", topic::KAFKA_DEAD_LETTER] {
            rig.kafka().allow(name, Access::Everybody);
        }
        rig.wait_for_acknowledgements(20);
        assert_eq!(rig.assert_complete(topic::KAFKA_DEAD_LETTER, &frames), 0);
    });
}

#[test]
fn a_full_producer_queue_stops_the_reading_and_drops_nothing() {
    let short = |settings: &mut Settings| settings.kafka.set("queue.buffering.max.messages", "50");
    with_brokers(short, |rig| {
        let frames = drive("full", 0..3000);
        rig.publish(&frames[..10]);
        rig.wait_for_acknowledgements(10);
        rig.kafka().network.set(Network::BlackHole);
        let (port, sent) = (rig.mosquitto.port, frames[10..].to_vec());
        let publisher = std::thread::spawn(move || publish(port, sent));
        rig.wait("a full queue", |rig| rig.counters().in_flight > 50);
        publisher.join().expect("the publisher ends");
        assert_eq!(rig.tap.acknowledged().len(), 10);
        // What one read brings may be over; the rest waits in the broker.
        assert!(rig.counters().in_flight < 2000, "{:?}", rig.counters());
        rig.kafka().network.set(Network::Up);
        rig.wait_for_acknowledgements(frames.len());
        rig.assert_once_and_in_order("gps_data", &frames);
    });
}

#[test]
fn what_a_resumed_session_brings_before_the_subscription_is_answered_is_delivered() {
    with_brokers(as_they_are, |rig| {
        let frames = drive("resumed", 0..400);
        rig.publish(&frames[..100]);
        rig.wait_for_acknowledgements(100);
        rig.kill_bridge();
        rig.publish(&frames[100..]);
        rig.tap.hold_subscriptions(true);
        rig.launch();
        rig.wait("the session's frames in Kafka", |rig| rig.counters().delivered >= 300);
        assert!(!rig.counters().connected, "the subscription has no answer yet");
        assert_eq!(rig.tap.acknowledged().len(), 100);
        rig.tap.hold_subscriptions(false);
        rig.wait_for_acknowledgements(400);
        rig.assert_complete("gps_data", &frames);
        rig.publish(&drive("resumed-more", 0..10));
        rig.wait_for_acknowledgements(410);
    });
}

#[test]
fn brokers_that_return_in_either_order_are_found_without_a_hand() {
    with_brokers(as_they_are, |rig| {
        let frames = drive("return", 0..400);
        rig.publish(&frames[..200]);
        rig.kafka().network.set(Network::Cut);
        rig.mosquitto.restart();
        rig.wait("the bridge's return", |rig| rig.counters().connections == 2 && rig.counters().connected);
        rig.publish(&frames[200..300]);
        rig.kafka().network.set(Network::Up);
        rig.wait_for_each(&frames[..300]);
        rig.kafka().network.set(Network::Reset);
        rig.publish(&frames[300..]);
        rig.wait("frames in flight", |rig| rig.counters().in_flight > 0);
        rig.kafka().network.set(Network::Up);
        rig.mosquitto.restart();
        rig.wait_for_each(&frames);
        rig.assert_complete("gps_data", &frames);
    });
}

#[test]
fn a_connection_to_mosquitto_that_is_half_open_is_replaced_and_loses_nothing() {
    with_brokers(
        |settings| settings.mqtt.keep_alive = Duration::from_secs(3),
        |rig| {
            let frames = drive("half-open", 0..400);
            rig.publish(&frames[..100]);
            rig.wait_for_acknowledgements(100);
            rig.network.abandon();
            rig.publish(&frames[100..]);
            rig.wait_for_each(&frames);
            assert!(rig.counters().connections >= 2);
            rig.assert_complete("gps_data", &frames);
        },
    );
}
