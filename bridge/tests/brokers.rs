//! The bridge between a real Mosquitto and librdkafka's mock cluster.

mod support;

use milepost_wire::topic;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::{AsyncClient, Event, Incoming, MqttOptions};
use std::collections::HashSet;
use std::time::Duration;
use support::*;

fn truck(n: u64) -> (String, Vec<u8>) {
    let vehicle = format!("truck-{}", n % 5);
    (format!("milepost/v1/{vehicle}/gps_data"), gps_frame(&vehicle, n))
}

/// Whether every frame is among the records.
fn has_all(records: &[Record], frames: &[(String, Vec<u8>)]) -> bool {
    let got: HashSet<&[u8]> = records.iter().map(|r| r.value.as_slice()).collect();
    frames.iter().all(|(_, f)| got.contains(f.as_slice()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_arrive_unchanged_in_order_under_their_vehicle() {
    let Some(broker) = Mosquitto::start("") else { return };
    let cluster = kafka();
    let bridge = start(settings(&broker, &cluster.bootstrap_servers())).await;
    let frames: Vec<_> = (0..500).map(truck).collect();
    publish(broker.port, frames.clone()).await;
    until("acknowledgements", || bridge.counters().acked == 500).await;
    let records = read(&cluster.bootstrap_servers(), "gps_data", |r| r.len() == 500);
    for (record, (topic, frame)) in records.iter().zip(&frames) {
        assert_eq!(&record.value, frame);
        assert_eq!(record.key.as_deref(), topic.split('/').nth(2));
    }
    assert_eq!(bridge.counters().delivered, 500);
    assert_eq!(bridge.stop().await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forged_and_damaged_frames_become_dead_letters_and_hold_nothing_up() {
    let Some(broker) = Mosquitto::start("") else { return };
    let cluster = kafka();
    let bridge = start(settings(&broker, &cluster.bootstrap_servers())).await;
    let good = truck(1);
    let forged = ("milepost/v1/truck-9/gps_data".to_owned(), gps_frame("truck-1", 2));
    let mut damaged = truck(3);
    let middle = damaged.1.len() / 2;
    damaged.1[middle] ^= 0x10;
    publish(broker.port, vec![forged.clone(), good.clone(), damaged.clone()]).await;
    let dead = read(&cluster.bootstrap_servers(), topic::KAFKA_DEAD_LETTER, |r| r.len() == 2);
    assert_eq!((&dead[0].value, dead[0].headers["reason"].as_str()), (&forged.1, "identity"));
    assert_eq!(dead[0].headers["mqtt_topic"], forged.0);
    assert_eq!(dead[0].headers["vehicle"], "truck-9");
    assert_eq!(&dead[1].value, &damaged.1);
    assert_eq!(dead[1].headers["reason"], "crc");
    assert_eq!(read(&cluster.bootstrap_servers(), "gps_data", |r| !r.is_empty())[0].value, good.1);
    until("acknowledgements", || bridge.counters().acked == 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_kafka_nothing_is_acknowledged_and_all_is_delivered_when_it_returns() {
    let Some(broker) = Mosquitto::start("") else { return };
    let cluster = kafka();
    let bridge = start(settings(&broker, &cluster.bootstrap_servers())).await;
    publish(broker.port, vec![truck(0)]).await;
    until("the first frame", || bridge.counters().acked == 1).await;
    cluster.broker_down(-1).unwrap();
    let frames: Vec<_> = (1..300).map(truck).collect();
    publish(broker.port, frames.clone()).await;
    until("frames in flight", || bridge.counters().in_flight == 299).await;
    assert_eq!(bridge.counters().acked, 1);
    cluster.broker_up(-1).unwrap();
    until("acknowledgements", || bridge.counters().acked == 300).await;
    read(&cluster.bootstrap_servers(), "gps_data", |r| has_all(r, &frames));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_request_that_fails_is_not_taken_for_delivered_because_a_later_one_is() {
    let Some(broker) = Mosquitto::start("") else { return };
    let cluster = kafka();
    let bridge = start(settings(&broker, &cluster.bootstrap_servers())).await;
    publish(broker.port, vec![truck(0)]).await;
    until("the first frame, and with it the topic's metadata", || bridge.counters().acked == 1).await;
    // The mock takes every sequence number, as a broker does that knows nothing of a producer yet.
    cluster.broker_round_trip_time(-1, Duration::from_millis(500)).unwrap();
    let timed_out = RDKafkaRespErr::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT;
    cluster.request_errors(RDKafkaApiKey::Produce, &[timed_out]);
    // The second follows before Kafka has answered the first.
    let frames: Vec<_> = (1..3).map(truck).collect();
    publish(broker.port, frames[..1].to_vec()).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    publish(broker.port, frames[1..].to_vec()).await;
    until("acknowledgements", || bridge.counters().acked == 3).await;
    cluster.broker_round_trip_time(-1, Duration::ZERO).unwrap();
    read(&cluster.bootstrap_servers(), "gps_data", |r| has_all(r, &frames));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bridge_that_dies_in_mid_flight_loses_nothing() {
    let Some(broker) = Mosquitto::start("") else { return };
    let cluster = kafka();
    let frames: Vec<_> = (0..2000).map(truck).collect();
    let bridge = start(settings(&broker, &cluster.bootstrap_servers())).await;
    let publisher = tokio::spawn(publish(broker.port, frames.clone()));
    until("some frames", || bridge.counters().acked > 100).await;
    drop(bridge);
    let bridge = start(settings(&broker, &cluster.bootstrap_servers())).await;
    publisher.await.unwrap();
    read(&cluster.bootstrap_servers(), "gps_data", |r| has_all(r, &frames));
    until("an empty bridge", || bridge.counters().in_flight == 0).await;
    assert_eq!(bridge.counters().dead_lettered, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_published_while_the_bridge_is_away_waits_for_it() {
    let Some(broker) = Mosquitto::start("") else { return };
    let cluster = kafka();
    let bridge = start(settings(&broker, &cluster.bootstrap_servers())).await;
    assert_eq!(bridge.stop().await, 0);
    let frames: Vec<_> = (0..300).map(truck).collect();
    publish(broker.port, frames.clone()).await;
    let bridge = start(settings(&broker, &cluster.bootstrap_servers())).await;
    until("acknowledgements", || bridge.counters().acked == 300).await;
    read(&cluster.bootstrap_servers(), "gps_data", |r| has_all(r, &frames));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_restarts_is_connected_to_again_and_loses_nothing() {
    let Some(mut broker) = Mosquitto::start("") else { return };
    let cluster = kafka();
    let bridge = start(settings(&broker, &cluster.bootstrap_servers())).await;
    cluster.broker_down(-1).unwrap();
    let frames: Vec<_> = (0..200).map(truck).collect();
    publish(broker.port, frames.clone()).await;
    until("frames in flight", || bridge.counters().in_flight == 200).await;
    broker.restart(true);
    until("a new connection", || bridge.counters().connections >= 2).await;
    assert_eq!(bridge.counters().acked, 0);
    cluster.broker_up(-1).unwrap();
    read(&cluster.bootstrap_servers(), "gps_data", |r| has_all(r, &frames));
    // What was in flight over the old connection came again over the new one, and is acknowledged there.
    until("acknowledgements", || bridge.counters().acked == 200).await;
    assert!(bridge.counters().delivered >= 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_forgets_everything_loses_nothing_that_was_in_flight() {
    let Some(mut broker) = Mosquitto::start("") else { return };
    let cluster = kafka();
    let bridge = start(settings(&broker, &cluster.bootstrap_servers())).await;
    cluster.broker_down(-1).unwrap();
    let frames: Vec<_> = (0..200).map(truck).collect();
    publish(broker.port, frames.clone()).await;
    until("frames in flight", || bridge.counters().in_flight == 200).await;
    broker.restart(false);
    until("a new subscription", || bridge.counters().connections >= 2 && bridge.counters().connected).await;
    cluster.broker_up(-1).unwrap();
    until("deliveries", || bridge.counters().delivered == 200).await;
    // The new session has seen none of them: an acknowledgement would be of another packet.
    assert_eq!(bridge.counters().acked, 0);
    let more: Vec<_> = (200..300).map(truck).collect();
    publish(broker.port, more).await;
    until("acknowledgements", || bridge.counters().acked == 100).await;
    read(&cluster.bootstrap_servers(), "gps_data", |r| has_all(r, &frames));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_topic_makes_dead_letters() {
    let Some(broker) = Mosquitto::start("") else { return };
    let cluster = kafka();
    cluster
        .topic_error("gps_data", rdkafka::types::RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART)
        .unwrap();
    let bridge = start(settings(&broker, &cluster.bootstrap_servers())).await;
    publish(broker.port, vec![truck(1)]).await;
    let dead = read(&cluster.bootstrap_servers(), topic::KAFKA_DEAD_LETTER, |r| r.len() == 1);
    assert_eq!((&dead[0].value, dead[0].headers["reason"].as_str()), (&truck(1).1, "kafka"));
    until("the acknowledgement", || bridge.counters().acked == 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn receive_maximum_one_still_moves() {
    let Some(broker) = Mosquitto::start("") else { return };
    let cluster = kafka();
    let mut settings = settings(&broker, &cluster.bootstrap_servers());
    settings.mqtt.receive_maximum = 1;
    let bridge = start(settings).await;
    publish(broker.port, (0..50).map(truck).collect()).await;
    until("acknowledgements", || bridge.counters().acked == 50).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_bridges_of_a_group_share_the_frames() {
    let Some(broker) = Mosquitto::start("") else { return };
    let cluster = kafka();
    let one = start(settings(&broker, &cluster.bootstrap_servers())).await;
    let mut other = settings(&broker, &cluster.bootstrap_servers());
    other.mqtt.client_id = "milepost-bridge-2".to_owned();
    let two = start(other).await;
    publish(broker.port, (0..400).map(truck).collect()).await;
    until("acknowledgements", || one.counters().acked + two.counters().acked == 400).await;
    assert!(one.counters().acked > 0 && two.counters().acked > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_a_mount_point_no_vehicle_can_take_frames_away_from_the_bridge() {
    let vehicles = free_port();
    let Some(broker) = Mosquitto::start(&format!("listener {vehicles} 127.0.0.1\nmount_point vehicles/"))
    else {
        return;
    };
    let cluster = kafka();
    let mut settings = settings(&broker, &cluster.bootstrap_servers());
    settings.mqtt.topic_prefix = "vehicles/".to_owned();
    let group = settings.mqtt.group.clone();
    let bridge = start(settings).await;
    let (client, mut events) = AsyncClient::new(MqttOptions::new("thief", "127.0.0.1", vehicles), 10);
    client.subscribe(format!("$share/{group}/{}", topic::MQTT_FILTER), QoS::AtLeastOnce).await.unwrap();
    client.subscribe(format!("$share/{group}/#"), QoS::AtLeastOnce).await.unwrap();
    let mut subscribed = 0;
    while subscribed < 2 {
        subscribed += u32::from(matches!(events.poll().await.unwrap(), Event::Incoming(Incoming::SubAck(_))));
    }
    let thief = tokio::spawn(async move {
        while !matches!(events.poll().await, Ok(Event::Incoming(Incoming::Publish(_))) | Err(_)) {}
    });
    let frames: Vec<_> = (0..200).map(truck).collect();
    publish(vehicles, frames.clone()).await;
    until("acknowledgements", || bridge.counters().acked == 200).await;
    read(&cluster.bootstrap_servers(), "gps_data", |r| has_all(r, &frames));
    assert!(!thief.is_finished(), "the thief has got a frame");
    assert_eq!(bridge.counters().dead_lettered, 0);
    thief.abort();
    drop(client);
}
