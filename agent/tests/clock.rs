//! A Raspberry Pi has no battery clock: it starts in 1970 without a network, its receiver finds itself ten
//! minutes later, the network sets the host's date another while later, and sets it wrong once.

mod support;

use milepost_agent::clock::{Clock, FakeClock};
use milepost_agent::config::SourceConfig;
use milepost_agent::run::{Agent, Seams};
use milepost_wire::{Clock as Trust, Reading, Stream};
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;
use support::*;

/// 2026-11-28 12:00:00 UTC in µs: the receiver's first fix.
const FIRST_FIX: i64 = 1_795_867_200_000_000;
const SECOND: i64 = 1_000_000;

/// A receiver behind a TCP port, and the true time, which only it knows.
struct Receiver {
    line: TcpStream,
    clock: Arc<FakeClock>,
    seconds: i64,
}

impl Receiver {
    /// A second without a fix.
    async fn search(&mut self) {
        self.say("GPGGA,,,,,,0,00,99.99,,,,,,");
        self.say("GPRMC,,V,,,,,,,,,,N");
        self.pass().await;
    }

    /// A second with a fix, whose date is said or not.
    async fn fix(&mut self, dated: bool) {
        let (minute, second) = (self.seconds / 60, self.seconds % 60);
        let time = format!("12{minute:02}{second:02}.00");
        let place = "5130.0000,N,00006.0000,W";
        self.say(&format!("GPGGA,{time},{place},1,09,0.9,35.0,M,47.0,M,,"));
        if dated {
            self.say(&format!("GPRMC,{time},A,{place},10.0,90.0,281126,,,A"));
        }
        self.seconds += 1;
        self.pass().await;
    }

    fn say(&mut self, sentence: &str) {
        let checksum = sentence.bytes().fold(0, |sum, byte| sum ^ byte);
        self.line.write_all(format!("${sentence}*{checksum:02X}\r\n").as_bytes()).unwrap();
    }

    /// Time passes, and the agent has a moment for what came.
    async fn pass(&mut self) {
        self.clock.advance(Duration::from_secs(1));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pi_that_starts_in_1970_ends_with_rightly_dated_readings_however_its_clock_jumps() {
    let Some(broker) = Mosquitto::start("") else { return };
    let subscriber = Subscriber::start(broker.port).await;
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(FakeClock::at(5 * SECOND));
    clock.set_trust(Trust::None);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut config = config(dir.path(), broker.port);
    let port = format!("tcp://{}", listener.local_addr().unwrap());
    let source = format!("type = 'nmea'\nport = '{port}'\npause = '20ms'");
    config.source = vec![SourceConfig { name: "gps".into(), settings: toml::from_str(&source).unwrap() }];
    let agent = Agent::start(config, Seams { clock: clock.clone(), ..Seams::default() }).await.unwrap();
    let (line, _) = tokio::task::spawn_blocking(move || listener.accept().unwrap()).await.unwrap();
    let mut receiver = Receiver { line, clock: clock.clone(), seconds: 0 };

    for _ in 0..600 {
        receiver.search().await;
    }
    // The first positions come before the first date.
    for second in 0..20 {
        receiver.fix(second >= 3).await;
    }
    // The network is there, and the host's date jumps by decades; then somebody sets it back by an hour.
    for (wall, trust) in
        [(FIRST_FIX + 20 * SECOND, Trust::Ntp), (FIRST_FIX + 40 * SECOND - 3600 * SECOND, Trust::Ntp)]
    {
        clock.set_wall_us(wall);
        clock.set_trust(trust);
        for _ in 0..20 {
            receiver.fix(true).await;
        }
    }
    drop(receiver);
    until("every fix", || {
        clock.advance(Duration::from_secs(1));
        subscriber.readings(&Stream::Gps).len() >= 60
    })
    .await;
    let report = agent.stop(Duration::from_secs(20)).await;
    assert_eq!(report.undelivered, 0);

    let fixes = subscriber.readings(&Stream::Gps);
    let dates: Vec<(i64, Trust)> = fixes.iter().map(|fix| (fix.ts, fix.clock)).collect();
    let expected: Vec<_> = (0..60).map(|second| (FIRST_FIX + second * SECOND, Trust::Gps)).collect();
    assert_eq!(dates, expected, "a fix has the receiver's date, whatever the host's is");
    // What only the host could date says how far it is to be trusted.
    let reports: Vec<Reading> = subscriber.readings(&Stream::Health);
    let (before, after): (Vec<_>, Vec<_>) =
        reports.iter().partition(|row| row.ts < FIRST_FIX - 7200 * SECOND);
    assert!(!before.is_empty() && before.iter().all(|row| row.clock == Trust::None), "{before:?}");
    assert!(!after.is_empty() && after.iter().all(|row| row.clock == Trust::Ntp), "{after:?}");
    for stream in [Stream::Gps, Stream::Health] {
        let numbers = subscriber.numbers(&stream).into_values().next().unwrap();
        assert!(numbers.keys().copied().eq(0..numbers.len() as u64), "{stream}: {numbers:?}");
        assert!(numbers.values().all(|times| *times == 1), "{stream}: {numbers:?}");
    }
    assert_eq!(subscriber.gaps(), []);
    assert!(clock.wall_us() < FIRST_FIX, "the host's clock is wrong to the end");
}
