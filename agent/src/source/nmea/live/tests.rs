use super::*;
use crate::clock::FakeClock;
use crate::source::outlet::{Deliveries, Next, QueueLimits, channel};
use crate::source::supervise::{Backoff, supervise};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

const EPOCH: &str = "$GPGGA,120000.00,5130.0000,N,00007.0000,W,1,08,0.9,35.0,M,46.9,M,,*41\r\n\
    $GPRMC,120000.00,A,5130.0000,N,00007.0000,W,10.0,90.0,290224,,,A*48\r\n";

fn settings(port: &str) -> Settings {
    toml::from_str(&format!("port = {port:?}\npause = \"20ms\"\nsilence = \"60ms\"")).unwrap()
}

async fn next(mut deliveries: Deliveries) -> (Deliveries, Vec<Reading>) {
    let wait = move || match deliveries.next(Duration::from_secs(20)) {
        Next::Delivery(d) => (deliveries, d.readings),
        other => panic!("{other:?}"),
    };
    tokio::task::spawn_blocking(wait).await.unwrap()
}

#[test]
fn settings_have_defaults_and_refuse_what_they_do_not_know() {
    let settings: Settings = toml::from_str("port = \"/dev/ttyACM0\"").unwrap();
    assert_eq!((settings.baud, settings.pause.to_string().as_str()), (9600, "300ms"));
    assert_eq!(settings.not_before, Day::new(2026, 1, 1));
    let error = toml::from_str::<Settings>("port = \"x\"\nbuad = 4800").unwrap_err().to_string();
    assert!(error.contains("buad"), "{error}");
    let error = toml::from_str::<Settings>("port = \"x\"\nnot_before = \"2026-02-30\"").unwrap_err();
    assert!(error.to_string().contains("2026-02-30"), "{error}");
}

#[tokio::test]
async fn a_receiver_behind_tcp_is_read_and_a_pause_ends_its_epoch() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let settings = settings(&format!("tcp://{}", listener.local_addr().unwrap()));
    let context = Context { clock: Arc::new(FakeClock::at(0)) };
    let (intake, deliveries) = channel(QueueLimits::default());
    let outlet = intake.outlet("gps", Arc::default());
    let mut source = build(&settings, &context);
    let stop = CancellationToken::new();
    let receiver = async {
        let (mut socket, _) = listener.accept().await.unwrap();
        socket.write_all(EPOCH.as_bytes()).await.unwrap();
        let (_, readings) = next(deliveries).await;
        assert_eq!(readings.len(), 1);
        // 29 February 2024 moved on by one roll-over: no live fix is older than the program.
        assert_eq!(readings[0].ts, (1_709_208_000 + 7168 * 86_400) * 1_000_000);
        drop(socket);
    };
    let (ended, ()) = tokio::join!(source.run(&outlet, &stop), receiver);
    assert!(matches!(ended, Err(SourceError::Closed(_))), "{ended:?}");
    assert_eq!(outlet.counters().details().get("week_rollover"), Some(&1));
}

#[tokio::test]
async fn a_receiver_that_falls_silent_is_opened_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let settings = settings(&format!("tcp://{}", listener.local_addr().unwrap()));
    let context = Context { clock: Arc::new(FakeClock::at(0)) };
    let (intake, _deliveries) = channel(QueueLimits::default());
    let outlet = intake.outlet("gps", Arc::default());
    let stop = CancellationToken::new();
    let error = build(&settings, &context).run(&outlet, &stop).await.unwrap_err().to_string();
    assert!(error.contains("said nothing for 60ms"), "{error}");
}

/// A receiver that has said a position, and not yet on which day.
const UNDATED: &str = "$GPGGA,115959.00,5130.0000,N,00007.0000,W,1,08,0.9,35.0,M,46.9,M,,*42\r\n";

#[tokio::test]
async fn an_epoch_without_a_date_waits_for_the_receivers_own() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = format!("tcp://{}", listener.local_addr().unwrap());
    let settings = Settings { silence: Span(Duration::from_secs(60)), ..settings(&port) };
    let context = Context { clock: Arc::new(FakeClock::at(0)) };
    let (intake, mut deliveries) = channel(QueueLimits::default());
    let outlet = intake.outlet("gps", Arc::default());
    let mut source = build(&settings, &context);
    let stop = CancellationToken::new();
    let receiver = async {
        let (mut socket, _) = listener.accept().await.unwrap();
        socket.write_all(UNDATED.as_bytes()).await.unwrap();
        // Some pauses long: the epoch has ended, and is not dated by the host.
        tokio::time::sleep(Duration::from_millis(200)).await;
        socket.write_all(EPOCH.as_bytes()).await.unwrap();
    };
    let (ended, ()) = tokio::join!(source.run(&outlet, &stop), receiver);
    assert!(matches!(ended, Err(SourceError::Closed(_))), "{ended:?}");
    let mut readings = Vec::new();
    while let Next::Delivery(d) = deliveries.next(Duration::from_millis(100)) {
        readings.extend(d.readings);
    }
    let noon = (1_709_208_000 + 7168 * 86_400) * 1_000_000;
    assert_eq!(readings.iter().map(|r| r.ts).collect::<Vec<_>>(), [noon - 1_000_000, noon]);
    assert_eq!(outlet.counters().details().get("dated_by_host"), None);
}

#[tokio::test]
async fn what_waits_when_the_agent_stops_is_handed_over() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = format!("tcp://{}", listener.local_addr().unwrap());
    let settings = Settings { silence: Span(Duration::from_secs(60)), ..settings(&port) };
    let clock = FakeClock::at(1_709_208_000_000_000);
    let context = Context { clock: Arc::new(FakeClock::at(1_709_208_000_000_000)) };
    let (intake, deliveries) = channel(QueueLimits::default());
    let outlet = intake.outlet("gps", Arc::default());
    let mut source = build(&settings, &context);
    let stop = CancellationToken::new();
    let run = supervise(&mut *source, "gps", &outlet, &stop, Backoff::default(), &clock, || 7);
    let receiver = async {
        let (mut socket, _) = listener.accept().await.unwrap();
        socket.write_all(UNDATED.as_bytes()).await.unwrap();
        while !outlet.counters().details().contains_key("sentences") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        stop.cancel();
    };
    tokio::join!(run, receiver);
    let (_, readings) = next(deliveries).await;
    assert_eq!((readings[0].ts, readings[0].clock), (1_709_207_999_000_000, milepost_wire::Clock::Ntp));
}
