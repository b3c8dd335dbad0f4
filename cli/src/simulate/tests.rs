use super::*;
use crate::demo::cloud::Cloud;
use milepost_sink::store::Folder;
use std::net::SocketAddr;
use tokio::io::AsyncWriteExt;

#[test]
fn the_slower_of_speed_and_rate_sets_the_pace() {
    let pace = |speed, rate| Pace { speed, rate };
    assert_eq!(pace(Some(2.0), None).due(7, 10_000_000), Duration::from_secs(5));
    assert_eq!(pace(None, Some(10.0)).due(50, 0), Duration::from_secs(5));
    assert_eq!(pace(Some(2.0), Some(1.0)).due(7, 10_000_000), Duration::from_secs(7));
    assert_eq!(pace(None, None).due(1_000_000, i64::MAX), Duration::ZERO);
}

#[test]
fn trouble_is_said_once_until_it_is_another() {
    let counters = Counters::default();
    let meets = |what: &str| {
        counters.meets(what.into());
        counters.trouble().news()
    };
    assert_eq!(meets("refused").as_deref(), Some("refused"));
    assert_eq!(meets("refused"), None);
    assert_eq!(counters.trouble().news(), None);
    assert_eq!(meets("reset").as_deref(), Some("reset"));
    assert_eq!(meets("refused").as_deref(), Some("refused"));
}

/// A broker that lets everybody in and answers nothing after that.
async fn silent_broker() -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                // CONNACK: no session, success, no properties.
                socket.write_all(&[0x20, 3, 0, 0, 0]).await.unwrap();
                tokio::io::copy(&mut socket, &mut tokio::io::sink()).await
            });
        }
    });
    address
}

#[tokio::test]
async fn a_vehicle_whose_broker_answers_nothing_ends_when_it_is_told_to() {
    let id = VehicleId::new("sim-1").unwrap();
    let (counters, stop) = (Arc::<Counters>::default(), CancellationToken::new());
    let driver = Driver {
        address: address(&id, &format!("mqtt://{}", silent_broker().await)).unwrap(),
        pace: Pace { speed: None, rate: None },
        counters: counters.clone(),
        stop: stop.clone(),
        goodbye: Duration::from_millis(100),
        since: Instant::now(),
    };
    let vehicle = tokio::spawn(driver.drive(Van::new(id, BootId(1), Trip::new(1, TripSettings::default()))));
    while counters.connected.load(Relaxed) == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    stop.cancel();
    vehicle.await.unwrap();
    assert_eq!(counters.connected.load(Relaxed), 0);
    assert_eq!(counters.arrived.load(Relaxed), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_flat_out_fleet_sends_is_in_the_lake_once() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = Cloud::start(folder.path(), 100, 8, 1).await.unwrap();
    let options = Options {
        broker: format!("mqtt://{}", cloud.broker()),
        vehicles: 30,
        minutes: Some(5.0),
        speed: 1.0,
        flat_out: true,
        rate: None,
        seed: 1,
        name: "sim".into(),
    };
    assert_eq!(simulate(&options).await.unwrap(), Outcome::Good);
    // The broker has all; the bridge may still be at it.
    let trip = || TripSettings { minutes: options.minutes, ..TripSettings::default() };
    let sent: u64 = (0..30).map(|n| Trip::new(1_000_003 + n, trip()).count() as u64).sum();
    let mut before = 0;
    for _ in 0..120 {
        let now = cloud.progress().in_kafka;
        if now > sent && now == before {
            break;
        }
        before = now;
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    cloud.stop(&[], |_| ()).await.unwrap();
    let lake = Arc::new(Folder::open(folder.path()).unwrap());
    let report = crate::audit::audit(lake, &[]).await.unwrap();
    assert_eq!(report.verdict, crate::audit::Verdict::Ok, "{report}");
    assert_eq!(report.tables["gps_data"].vehicles, 30);
    assert!(report.tables["gps_data"].rows >= 30 * 300, "{report}");
}
