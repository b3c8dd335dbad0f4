//! Agents against a real Mosquitto that forgets, returns, keeps old sessions or is answered for by
//! somebody else.

mod support;

use milepost_agent::run::{Agent, AgentHandle, Seams};
use milepost_agent::units::Span;
use milepost_wire::{Reading, Stream};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::{AsyncClient, Event, Incoming, MqttOptions};
use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use support::proxy::{Network, Proxy};
use support::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const PERSISTENT: &str = "persistence true\nautosave_interval 1\n";

/// An agent that reads a drive of so many fixes, a fix each millisecond, and goes on delivering.
async fn start(dir: &Path, port: u16, fixes: i64) -> AgentHandle {
    let readings: Vec<Reading> = (0..fixes).map(gps).collect();
    let sources = vec![script(readings, Duration::from_millis(1))];
    Agent::start_with(config(dir, port), Seams::default(), sources).await.unwrap()
}

/// Every fix came, under the numbers 0 to `fixes`.
async fn all_arrive(subscriber: &Subscriber, fixes: u64) {
    let seen = || subscriber.numbers(&Stream::Gps).pop_first().map_or(0, |(_, seen)| seen.len() as u64);
    until("all fixes", || seen() >= fixes).await;
    let (_, seen) = subscriber.numbers(&Stream::Gps).pop_first().unwrap();
    assert!(seen.into_keys().eq(0..fixes));
    assert!(subscriber.gaps().is_empty(), "{:?}", subscriber.gaps());
}

fn delivered(agent: &AgentHandle) -> u64 {
    agent.counters().uplink.delivered.load(Relaxed)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_restarts_without_its_state_is_sent_again_what_it_had_not_answered() {
    let Some(mut broker) = Mosquitto::start("") else { return };
    let subscriber = Subscriber::start(broker.port).await;
    let proxy = Proxy::start(broker.port);
    let dir = tempfile::tempdir().unwrap();
    let agent = start(dir.path(), proxy.port, 3000).await;
    until("some deliveries", || delivered(&agent) > 5).await;
    proxy.set(Network::Unanswered);
    let frames = subscriber.frames().len();
    until("frames without an answer", || subscriber.frames().len() > frames + 3).await;
    // The broker has them, its session has them, and then nobody has.
    broker.kill();
    proxy.set(Network::Cut);
    broker.restart("");
    proxy.set(Network::Up);
    all_arrive(&subscriber, 3000).await;
    assert_eq!(agent.stop(PATIENCE).await.undelivered, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_restarts_with_its_state_is_sent_nothing_twice_that_it_had_answered() {
    let Some(mut broker) = Mosquitto::start("") else { return };
    let settings = format!("{PERSISTENT}persistence_location {}/", broker.dir.path().display());
    broker.restart(&settings);
    let subscriber = Subscriber::start(broker.port).await;
    // Its session is kept while it is away.
    drop(subscriber);
    let dir = tempfile::tempdir().unwrap();
    let agent = start(dir.path(), broker.port, 500).await;
    agent.sources_ended().await;
    until("an empty spool", || agent.report().undelivered == 0 && delivered(&agent) > 8).await;
    let published = agent.counters().uplink.published.load(Relaxed);
    broker.stop();
    broker.restart(&settings);
    let subscriber = Subscriber::start(broker.port).await;
    all_arrive(&subscriber, 500).await;
    until("a new connection", || agent.counters().uplink.connections.load(Relaxed) == 2).await;
    let repeated =
        subscriber.numbers(&Stream::Gps).pop_first().unwrap().1.values().filter(|n| **n > 1).count();
    assert_eq!(repeated, 0, "{published} frames were published before");
    agent.stop(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_goes_and_returns_is_found_without_a_hand() {
    let port = free_port();
    let dir = tempfile::tempdir().unwrap();
    let agent = start(dir.path(), port, 4000).await;
    until("attempts", || agent.counters().uplink.losses.load(Relaxed) > 2).await;
    let Some(mut broker) = Mosquitto::start_on(port, "") else { return };
    let subscriber = Subscriber::start(port).await;
    until("some deliveries", || delivered(&agent) > 5).await;
    let proven = subscriber.frames().len();
    broker.stop();
    let losses = agent.counters().uplink.losses.load(Relaxed);
    until("attempts", || agent.counters().uplink.losses.load(Relaxed) > losses + 2).await;
    broker.restart("");
    until("more frames", || subscriber.frames().len() > proven).await;
    agent.sources_ended().await;
    assert_eq!(agent.stop(PATIENCE).await.undelivered, 0);
    all_arrive(&subscriber, 4000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_the_broker_kept_under_the_vehicle_s_name_is_left_behind() {
    let Some(broker) = Mosquitto::start("") else { return };
    let subscriber = Subscriber::start(broker.port).await;
    // An earlier program of this name had subscribed to everything, and messages wait for it.
    let mut options = MqttOptions::new("truck-1", "127.0.0.1", broker.port);
    options.set_clean_start(false).set_session_expiry_interval(Some(3600));
    let (client, mut events) = AsyncClient::new(options, 10);
    client.subscribe("#", QoS::AtLeastOnce).await.unwrap();
    while !matches!(events.poll().await.unwrap(), Event::Incoming(Incoming::SubAck(_))) {}
    drop((client, events));

    let dir = tempfile::tempdir().unwrap();
    let agent = start(dir.path(), broker.port, 500).await;
    agent.sources_ended().await;
    let report = agent.stop(PATIENCE).await;
    assert_eq!((report.undelivered, report.figures.uplink.connections.load(Relaxed)), (0, 1));
    all_arrive(&subscriber, 500).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_that_nobody_has_subscribed_to_is_kept_until_somebody_has() {
    let Some(broker) = Mosquitto::start("") else { return };
    let dir = tempfile::tempdir().unwrap();
    let agent = start(dir.path(), broker.port, 200).await;
    agent.sources_ended().await;
    until("refusals", || agent.counters().uplink.refusals.load(Relaxed) > 3).await;
    assert_eq!(delivered(&agent), 0, "the broker took them and threw them away");
    let subscriber = Subscriber::start(broker.port).await;
    all_arrive(&subscriber, 200).await;
    assert_eq!(agent.stop(PATIENCE).await.undelivered, 0);
}

/// Says to the agent, after each of the broker's first few answers, that packet 60,000 has arrived.
async fn stale_answers(port: u16) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let own = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let mut left = 5;
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
                (client.into_split(), server.into_split());
            tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_server).await });
            let stale = left > 0;
            left -= i32::from(stale);
            tokio::spawn(async move {
                let (mut buffer, mut heard) = (vec![0; 64 << 10], 0);
                while let Ok(n @ 1..) = from_server.read(&mut buffer).await {
                    heard += 1;
                    if to_client.write_all(&buffer[..n]).await.is_err() {
                        return;
                    }
                    if stale && heard == 2 {
                        let _ = to_client.write_all(&[0x40, 2, 0xea, 0x60]).await;
                    }
                }
            });
        }
    });
    own
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_puback_stands_for_no_frame_and_loses_none() {
    let Some(broker) = Mosquitto::start("") else { return };
    let subscriber = Subscriber::start(broker.port).await;
    let dir = tempfile::tempdir().unwrap();
    let agent = start(dir.path(), stale_answers(broker.port).await, 2000).await;
    agent.sources_ended().await;
    until("an empty spool", || agent.report().undelivered == 0 && delivered(&agent) > 30).await;
    all_arrive(&subscriber, 2000).await;
    let report = agent.stop(PATIENCE).await;
    let frames = subscriber.numbers(&Stream::Gps).pop_first().unwrap().1.len();
    assert_eq!((report.undelivered, frames), (0, 2000));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_half_open_connection_is_left_after_the_keep_alive_and_nothing_is_lost() {
    let Some(broker) = Mosquitto::start("") else { return };
    let subscriber = Subscriber::start(broker.port).await;
    let proxy = Proxy::start(broker.port);
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path(), proxy.port);
    config.uplink.keep_alive = Span(milepost_agent::mqtt::KEEP_ALIVE_MIN);
    let sources = vec![script((0..3000).map(gps).collect(), Duration::from_millis(1))];
    let agent = Agent::start_with(config, Seams::default(), sources).await.unwrap();
    until("some deliveries", || delivered(&agent) > 5).await;
    proxy.abandon();
    until("a second connection", || agent.counters().uplink.connections.load(Relaxed) == 2).await;
    all_arrive(&subscriber, 3000).await;
    assert_eq!(agent.stop(PATIENCE).await.undelivered, 0);
}
