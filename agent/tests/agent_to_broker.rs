//! Whole agents against a real Mosquitto.

mod support;

use milepost_agent::config::{SourceConfig, TransformConfig};
use milepost_agent::run::{Agent, AgentHandle, Seams};
use milepost_agent::source::{self, simulate};
use milepost_agent::units::Size;
use milepost_wire::{Reading, Stream};
use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use support::proxy::{Network, Proxy};
use support::*;

async fn start(dir: &Path, port: u16, readings: Vec<Reading>, pause: Duration) -> AgentHandle {
    let sources = vec![script(readings, pause)];
    Agent::start_with(config(dir, port), Seams::default(), sources).await.unwrap()
}

/// An agent that has nothing to read and only delivers what an earlier one left.
async fn start_idle(dir: &Path, port: u16) -> AgentHandle {
    Agent::start(config(dir, port), Seams::default()).await.unwrap()
}

/// Every number from 0 to `count` came, of one boot.
fn assert_complete(subscriber: &Subscriber, stream: &Stream, count: u64) {
    let numbers = subscriber.numbers(stream);
    let (_, seen) = numbers.first_key_value().expect("a boot");
    let missing: Vec<u64> = (0..count).filter(|n| !seen.contains_key(n)).collect();
    assert_eq!((seen.len() as u64, missing), (count, vec![]));
}

/// Frames that came twice are whole ones: the repeated ranges are ranges of frames.
fn repeated_frames(subscriber: &Subscriber, stream: &Stream) -> usize {
    let mut frames: Vec<_> = subscriber.frames().into_iter().filter(|b| b.stream == *stream).collect();
    frames.sort_by_key(|b| (b.boot, b.first_seq));
    let mut repeated = 0;
    for pair in frames.windows(2) {
        match pair[0] == pair[1] {
            true => repeated += 1,
            false if pair[0].boot == pair[1].boot => {
                assert_eq!(pair[0].first_seq + pair[0].len() as u64, pair[1].first_seq, "frames overlap");
            }
            false => {}
        }
    }
    repeated
}

#[tokio::test(flavor = "multi_thread")]
async fn every_reading_arrives_once_and_the_health_report_adds_up() {
    let Some(broker) = Mosquitto::start("") else { return };
    let subscriber = Subscriber::start(broker.port).await;
    let dir = tempfile::tempdir().unwrap();
    let mut readings: Vec<Reading> = (0..5000).map(gps).collect();
    readings.extend((0..3).map(|n| camera(n, 20_000)));
    let agent = start(dir.path(), broker.port, readings.clone(), Duration::ZERO).await;
    agent.sources_ended().await;
    let report = agent.stop(PATIENCE).await;
    assert_eq!(report.undelivered, 0);

    until("all frames", || subscriber.readings(&Stream::Gps).len() >= 5000).await;
    assert_eq!(subscriber.readings(&Stream::Gps), readings[..5000], "in order, unchanged");
    until("the pictures", || subscriber.readings(&Stream::Camera).len() >= 3).await;
    assert_eq!(subscriber.readings(&Stream::Camera), readings[5000..]);
    assert_complete(&subscriber, &Stream::Gps, 5000);

    until("a report", || subscriber.health().iter().any(|h| h.component == "lane")).await;
    let health = subscriber.health();
    let row = |component: &str, name: &str| {
        health.iter().rfind(|h| h.component == component && h.name == name).expect("a row").clone()
    };
    assert_eq!(row("source", "script").received, Some(5003));
    assert_eq!(row("stream", "gps_data").emitted, Some(5000));
    assert_eq!(row("stream", "camera_data").emitted, Some(3));
    let agent = health.iter().rfind(|h| h.component == "agent").unwrap();
    assert_eq!((agent.received, agent.emitted), (Some(5003), Some(5003)));
    assert!(agent.bytes.unwrap() > 1 << 20 && agent.version.is_some());
    assert!(subscriber.gaps().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_broker_was_not_there_for_is_delivered_after_the_next_start() {
    let port = free_port();
    let dir = tempfile::tempdir().unwrap();
    let agent = start(dir.path(), port, (0..500).map(gps).collect(), Duration::ZERO).await;
    agent.sources_ended().await;
    let report = agent.stop(Duration::from_millis(200)).await;
    assert!(report.undelivered >= 9, "{}", report.undelivered);

    let Some(broker) = Mosquitto::start("") else { return };
    let subscriber = Subscriber::start(broker.port).await;
    let agent = start_idle(dir.path(), broker.port).await;
    until("the backlog", || subscriber.readings(&Stream::Gps).len() >= 500).await;
    let report = agent.stop(PATIENCE).await;
    assert_eq!(report.undelivered, 0);
    assert_complete(&subscriber, &Stream::Gps, 500);
    assert_eq!(repeated_frames(&subscriber, &Stream::Gps), 0);
    assert!(subscriber.gaps().is_empty(), "{:?}", subscriber.gaps());

    let agent = start_idle(dir.path(), broker.port).await;
    let report = agent.stop(PATIENCE).await;
    assert_eq!((report.undelivered, repeated_frames(&subscriber, &Stream::Gps)), (0, 0), "acks are kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn cut_reset_and_silent_connections_lose_nothing_and_repeat_only_whole_frames() {
    let Some(broker) = Mosquitto::start("") else { return };
    let proxy = Proxy::start(broker.port);
    let subscriber = Subscriber::start(broker.port).await;
    let dir = tempfile::tempdir().unwrap();
    let agent =
        start(dir.path(), proxy.port, (0..20_000).map(gps).collect(), Duration::from_micros(50)).await;
    let kinds = [Network::Cut, Network::Reset, Network::BlackHole, Network::Unanswered, Network::Slow];
    for network in kinds.into_iter().cycle().take(15) {
        tokio::time::sleep(Duration::from_millis(80)).await;
        proxy.set(network);
        tokio::time::sleep(Duration::from_millis(20)).await;
        proxy.set(Network::Up);
    }
    agent.sources_ended().await;
    let report = agent.stop(PATIENCE).await;
    assert_eq!(report.undelivered, 0);
    assert!(report.figures.uplink.connections.load(Relaxed) > 1, "it was cut");
    until("all", || subscriber.numbers(&Stream::Gps).values().all(|n| n.len() >= 20_000)).await;
    assert_complete(&subscriber, &Stream::Gps, 20_000);
    println!("{} frames came twice", repeated_frames(&subscriber, &Stream::Gps));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_aborted_agent_loses_at_most_the_open_window_and_says_so() {
    let Some(broker) = Mosquitto::start("") else { return };
    let subscriber = Subscriber::start(broker.port).await;
    let dir = tempfile::tempdir().unwrap();
    let agent =
        start(dir.path(), broker.port, (0..100_000).map(gps).collect(), Duration::from_micros(300)).await;
    let boot = agent.boot();
    tokio::time::sleep(Duration::from_secs(2)).await;
    agent.abort().await;

    let agent = start_idle(dir.path(), broker.port).await;
    let report = agent.stop(PATIENCE).await;
    assert_eq!(report.undelivered, 0);
    let seen = subscriber.numbers(&Stream::Gps).remove(&boot).expect("rows of the aborted boot");
    let last = *seen.keys().next_back().unwrap();
    assert_eq!(seen.len() as u64, last + 1, "without holes");
    repeated_frames(&subscriber, &Stream::Gps);
    until("the gap row", || !subscriber.gaps().is_empty()).await;
    let gaps = subscriber.gaps();
    let gap = gaps.iter().find(|g| g.stream.as_deref() == Some("gps_data")).expect("a gap row");
    assert_eq!((gap.reason.as_str(), gap.gap_boot_id.as_str()), ("crash_tail", boot.to_string().as_str()));
    assert_eq!(gap.first_seq, Some(last as i64 + 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_above_the_broker_s_packet_size_becomes_a_gap_row() {
    for limit in ["max_packet_size 50000", "message_size_limit 50000"] {
        let Some(broker) = Mosquitto::start(limit) else { return };
        let subscriber = Subscriber::start(broker.port).await;
        let dir = tempfile::tempdir().unwrap();
        let readings = vec![camera(0, 1000), camera(1, 100_000), camera(2, 1000), gps(0)];
        let mut config = config(dir.path(), broker.port);
        config.batch.bytes_max = Size(32 << 10);
        let sources = vec![script(readings, Duration::ZERO)];
        let agent = Agent::start_with(config, Seams::default(), sources).await.unwrap();
        agent.sources_ended().await;
        until("the gap row", || !subscriber.gaps().is_empty()).await;
        until("the others", || subscriber.readings(&Stream::Camera).len() >= 2).await;
        let report = agent.stop(PATIENCE).await;
        assert_eq!(report.undelivered, 0, "{limit}");
        let gaps = subscriber.gaps();
        assert_eq!(gaps.len(), 1, "{limit}: {gaps:?}");
        let gap = &gaps[0];
        assert_eq!((gap.reason.as_str(), gap.count, gap.exact), ("undeliverable", 1, 1), "{limit}");
        assert_eq!((gap.stream.as_deref(), gap.first_seq), (Some("camera_data"), Some(1)), "{limit}");
        assert_eq!(subscriber.numbers(&Stream::Camera).pop_first().unwrap().1.len(), 2, "{limit}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_not_authorised_waits_and_holds_up_no_other() {
    let Some(mut broker) = Mosquitto::start("") else { return };
    let acl = broker.dir.path().join("acl");
    std::fs::write(
        &acl,
        "topic read #\ntopic write milepost/v1/+/gps_data\ntopic write milepost/v1/+/agent_health\n",
    )
    .unwrap();
    broker.restart(&format!("acl_file {}", acl.display()));
    let subscriber = Subscriber::start(broker.port).await;
    let dir = tempfile::tempdir().unwrap();
    let mut readings = vec![camera(0, 1000)];
    readings.extend((0..300).map(gps));
    let agent = start(dir.path(), broker.port, readings, Duration::ZERO).await;
    until("the others", || subscriber.readings(&Stream::Gps).len() >= 300).await;
    until("a second try", || agent.counters().uplink.refusals.load(Relaxed) >= 2).await;
    assert!(subscriber.readings(&Stream::Camera).is_empty());
    drop(subscriber);

    broker.restart("");
    let subscriber = Subscriber::start(broker.port).await;
    until("the picture", || subscriber.readings(&Stream::Camera).len() == 1).await;
    let report = agent.stop(PATIENCE).await;
    assert_eq!(report.undelivered, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receive_maximum_of_one_is_kept() {
    let Some(broker) = Mosquitto::start("max_inflight_messages 1") else { return };
    let subscriber = Subscriber::start(broker.port).await;
    let dir = tempfile::tempdir().unwrap();
    let agent = start(dir.path(), broker.port, (0..3000).map(gps).collect(), Duration::ZERO).await;
    agent.sources_ended().await;
    let report = agent.stop(PATIENCE).await;
    assert_eq!(report.undelivered, 0);
    assert_eq!(report.figures.uplink.connections.load(Relaxed), 1);
    until("all", || subscriber.readings(&Stream::Gps).len() >= 3000).await;
    assert_complete(&subscriber, &Stream::Gps, 3000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vehicle_with_a_certificate_is_let_in_over_tls_and_one_without_is_not() {
    let Some(mut broker) = Mosquitto::start("") else { return };
    let certs = broker.dir.path().to_owned();
    let Some(()) = certificates(&certs, "truck-1") else { return };
    let (tls, file) = (free_port(), |name: &str| certs.join(name).display().to_string());
    broker.restart(&format!(
        "listener {tls} 127.0.0.1\ncafile {}\ncertfile {}\nkeyfile {}\n\
         require_certificate true\nuse_identity_as_username true\nallow_anonymous true",
        file("ca.pem"),
        file("server.pem"),
        file("server.key")
    ));
    let subscriber = Subscriber::start(broker.port).await;
    let dir = tempfile::tempdir().unwrap();
    let mut with = config(dir.path(), tls);
    with.uplink.url = format!("mqtts://127.0.0.1:{tls}");
    with.uplink.ca = certs.join("ca.pem");
    let without = with.clone();
    with.uplink.cert = certs.join("client.pem");
    with.uplink.key = certs.join("client.key");

    let sources = vec![script((0..100).map(gps).collect(), Duration::ZERO)];
    let agent = Agent::start_with(without, Seams::default(), sources).await.unwrap();
    until("some refusals", || agent.counters().uplink.losses.load(Relaxed) >= 3).await;
    let report = agent.stop(Duration::from_millis(100)).await;
    assert!(report.undelivered > 0);

    let mut other_authority = with.clone();
    other_authority.data_dir = dir.path().join("other");
    other_authority.uplink.ca = certs.join("client.pem");
    let agent = Agent::start(other_authority, Seams::default()).await.unwrap();
    until("some refusals", || agent.counters().uplink.losses.load(Relaxed) >= 3).await;
    assert_eq!(agent.stop(Duration::from_millis(100)).await.figures.uplink.connections.load(Relaxed), 0);

    let sources = vec![script((100..200).map(gps).collect(), Duration::ZERO)];
    let agent = Agent::start_with(with, Seams::default(), sources).await.unwrap();
    agent.sources_ended().await;
    assert_eq!(agent.stop(PATIENCE).await.undelivered, 0);
    until("all", || subscriber.readings(&Stream::Gps).len() >= 100).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_the_configuration_is_said_before_anything_runs() {
    let dir = tempfile::tempdir().unwrap();
    let mut missing = config(dir.path(), 1);
    let mut transform = milepost_agent::config::TransformConfig::embedded("t", *b"not a component");
    missing.transform.push(transform.clone());
    let refused = Agent::start(missing.clone(), Seams::default()).await.err().expect("refused").to_string();
    assert!(refused.contains("Transform t") && refused.contains("component"), "{refused}");
    transform.component = None;
    transform.path = "/nonexistent.wasm".into();
    missing.transform = vec![transform];
    let refused = Agent::start(missing, Seams::default()).await.err().expect("refused").to_string();
    assert!(refused.contains("/nonexistent.wasm"), "{refused}");

    let mut tls = config(dir.path(), 1);
    tls.uplink.url = "mqtts://127.0.0.1:1".into();
    tls.uplink.ca = "/nonexistent.pem".into();
    let refused = Agent::start(tls, Seams::default()).await.err().expect("refused").to_string();
    assert!(refused.contains("/nonexistent.pem"), "{refused}");

    let first = Agent::start(config(dir.path(), 1), Seams::default()).await.unwrap();
    let refused = Agent::start(config(dir.path(), 1), Seams::default()).await.err().expect("refused");
    assert!(refused.to_string().contains("in use"), "{refused}");
    first.stop(Duration::ZERO).await;
}

/// The binary with a log that it replays in real time, 1,000 readings a second.
fn process(dir: &Path, port: u16, replay: bool) -> std::process::Child {
    let mut text = format!(
        "vehicle = 'truck-1'\ndata_dir = '{}'\n[uplink]\nurl = 'mqtt://127.0.0.1:{port}'\n[batch]\nage_max = '300ms'\n",
        dir.join("data").display()
    );
    if replay {
        let log: Vec<String> = (0..60_000)
            .map(|n| {
                milepost_agent::ndjson::write(&Reading { ts: 1_700_000_000_000_000 + n * 1000, ..gps(n) })
            })
            .collect();
        std::fs::write(dir.join("log.ndjson"), log.join("\n")).unwrap();
        let path = dir.join("log.ndjson");
        text += &format!(
            "[[source]]\nname = 'log'\ntype = 'replay'\npath = '{}'\npace = 'recorded'\n",
            path.display()
        );
    }
    let file = dir.join("agent.toml");
    std::fs::write(&file, text).unwrap();
    std::process::Command::new(env!("CARGO_BIN_EXE_milepost-agent"))
        .arg("--config")
        .arg(file)
        .env("RUST_LOG", "off")
        .spawn()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_killed_again_and_again_leaves_no_hole_that_no_gap_row_declares() {
    let Some(broker) = Mosquitto::start("") else { return };
    let subscriber = Subscriber::start(broker.port).await;
    let dir = tempfile::tempdir().unwrap();
    let seed = std::env::var("MILEPOST_SEED").ok().and_then(|s| s.parse().ok());
    let mut random = seed.unwrap_or_else(milepost_agent::clock::entropy);
    println!("MILEPOST_SEED={random}");
    for round in 1..=4 {
        let mut agent = process(dir.path(), broker.port, true);
        until("rows of this boot", || subscriber.numbers(&Stream::Gps).len() == round).await;
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        tokio::time::sleep(Duration::from_millis(random >> 54)).await;
        agent.kill().unwrap();
        agent.wait().unwrap();
    }
    let mut last = process(dir.path(), broker.port, false);
    until("the last gap row", || {
        let lost = |g: &&milepost_wire::reading::Gap| g.stream.as_deref() == Some("gps_data");
        subscriber
            .gaps()
            .iter()
            .filter(lost)
            .map(|g| g.gap_boot_id.clone())
            .collect::<std::collections::BTreeSet<_>>()
            .len()
            == 4
    })
    .await;
    assert!(std::process::Command::new("kill").arg(last.id().to_string()).status().unwrap().success());
    assert!(last.wait().unwrap().success());

    repeated_frames(&subscriber, &Stream::Gps);
    for (boot, seen) in subscriber.numbers(&Stream::Gps) {
        let next = seen.keys().next_back().unwrap() + 1;
        assert_eq!(seen.len() as u64, next, "boot {boot} has a hole");
        let gaps = subscriber.gaps();
        let gap = gaps
            .iter()
            .find(|g| g.gap_boot_id == boot.to_string() && g.stream.as_deref() == Some("gps_data"));
        let gap = gap.expect("a gap row");
        assert_eq!((gap.reason.as_str(), gap.first_seq, gap.exact), ("crash_tail", Some(next as i64), 0));
        // Readings of one loss window, and what may come while the disk is written.
        assert!(gap.count <= 20_000, "boot {boot}: {}", gap.count);
    }
}

fn prebuilt(name: &str) -> TransformConfig {
    let path = format!("../transforms/prebuilt/{name}.wasm").into();
    TransformConfig { path, component: None, ..TransformConfig::embedded(name, []) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_simulated_trip_through_three_transforms_adds_up_from_what_was_delivered_alone() {
    let Some(broker) = Mosquitto::start("") else { return };
    let subscriber = Subscriber::start(broker.port).await;
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path(), broker.port);
    let trip = simulate::Settings { speed: 0.0, minutes: Some(30.0), ..simulate::Settings::default() };
    config.source.push(SourceConfig { name: "trip".into(), settings: source::Settings::Simulate(trip) });
    for name in ["privacy_zones", "harsh_driving", "downsample"] {
        config.transform.push(prebuilt(name));
    }
    let agent = Agent::start(config, Seams::default()).await.unwrap();
    agent.sources_ended().await;
    let report = agent.stop(PATIENCE).await;
    assert_eq!(report.undelivered, 0);
    let last_report = || subscriber.health().iter().rposition(|h| h.component == "agent");
    until("the last report", || {
        let streams = report.status.as_ref().map(|s| s.streams.clone()).unwrap_or_default();
        let health = streams.iter().find(|s| s.stream == Stream::Health).map_or(0, |s| s.next_seq);
        health > 0 && subscriber.health().len() as u64 == health
    })
    .await;

    let health = subscriber.health();
    let last = &health[last_report().unwrap()..];
    let of = |component: &'static str| last.iter().filter(move |h| h.component == component);
    let received: i64 = of("source").filter_map(|h| h.received).sum();
    let (mut extra, mut gone) = (0, 0);
    for h in of("transform") {
        let out = h.taken_out.unwrap() + h.poison.unwrap();
        extra += h.emitted.unwrap() + out - h.received.unwrap();
        gone += out;
        assert_eq!(h.digest.as_ref().map(String::len), Some(64));
    }
    let mut rows = 0;
    for batch in subscriber.frames() {
        if !matches!(batch.stream, Stream::Health | Stream::Gap) {
            rows += batch.len() as i64;
        }
        if batch.stream == Stream::Gps {
            assert_eq!(batch.lineage.len(), 3);
        }
    }
    assert!(received > 1000 && gone > 100, "{received} {gone}");
    assert_eq!(received + extra, rows + gone);
    let numbered = of("stream").filter(|h| h.name != "agent_health" && h.name != "gap_data");
    assert_eq!(numbered.filter_map(|h| h.emitted).sum::<i64>(), rows);
    println!("{received} readings, {extra} derived, {gone} taken out, {rows} rows");
}
