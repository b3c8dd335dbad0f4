use super::super::outlet::{Next, QueueLimits, SourceCounters, channel};
use super::reports::Reports;
use super::*;
use crate::clock::FakeClock;
use crate::source::oracle;
use milepost_wire::{Body, Clock as Trust, Reading};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use tokio::net::TcpListener;

/// The host's date, µs since 1970.
const HOST: i64 = 1_000_000;

fn at(second: u64) -> Now {
    Now { wall_us: HOST + second as i64 * 1_000_000, trust: Trust::Ntp, mono: Duration::from_secs(second) }
}

fn read(lines: &[&str]) -> Vec<Reading> {
    let (mut reports, mut readings) = (Reports::new(None, None), Vec::new());
    lines.iter().for_each(|line| reports.take(line.as_bytes(), at(0), &mut readings));
    reports.finish(at(0), &mut readings);
    readings
}

fn tpv(time: &str, rest: &str) -> String {
    format!(
        r#"{{"class":"TPV","device":"/dev/a","mode":3,"time":"2024-02-29T12:00:{time}Z","lat":51.5,"lon":-0.1{rest}}}"#
    )
}

#[test]
fn an_epochs_last_report_counts_and_the_sky_goes_with_it() {
    let sky = r#"{"class":"SKY","hdop":0.9,"satellites":[{"PRN":1,"used":true},{"PRN":2,"used":false}]}"#;
    let readings = read(&[
        r#"{"class":"VERSION","release":"3.22"}"#,
        r#"{"class":"DEVICE","path":"/dev/a"}"#,
        &tpv("01.000", r#","speed":9.0"#),
        sky,
        &tpv("01.000", r#","speed":1.5,"track":359.999,"altMSL":12.34,"alt":1,"status":2"#),
        &tpv("02.000", ""),
    ]);
    assert_eq!(readings.len(), 2);
    let Body::Gps(gps) = &readings[0].body else { panic!() };
    assert_eq!((readings[0].ts, readings[0].clock), (1_709_208_001_000_000, Trust::Gps));
    assert_eq!((gps.lat_e7, gps.lon_e7, gps.altitude_cm), (515_000_000, -1_000_000, Some(1234)));
    assert_eq!((gps.speed_mm_s, gps.heading_cdeg, gps.fix), (Some(1500), Some(0), 2));
    assert_eq!((gps.satellites, gps.hdop_e2), (Some(1), Some(90)));
    let Body::Gps(gps) = &readings[1].body else { panic!() };
    assert_eq!((gps.speed_mm_s, gps.satellites, gps.fix), (None, None, 1), "nothing is carried over");
}

#[test]
fn what_is_no_fix_gives_no_reading() {
    for line in [
        r#"{"class":"TPV","mode":1,"lat":51.5,"lon":0}"#,
        r#"{"class":"TPV","mode":0,"time":"2024-02-29T12:00:00Z"}"#,
        r#"{"class":"TPV","mode":3,"time":"2024-02-29T12:00:00Z"}"#,
        r#"{"class":"TPV","lat":51.5,"lon":0}"#,
        r#"{"class":"TPV","mode":3,"lat":91,"lon":0}"#,
        r#"{"class":"TPV","mode":3,"lat":1e400,"lon":0}"#,
        r#"{"class":"TPV","mode":"x"}"#,
        "not json",
        "",
    ] {
        assert_eq!(read(&[line]), [], "{line}");
    }
    let lost = r#"{"class":"TPV","mode":1,"time":"2024-02-29T12:00:01.000Z"}"#;
    assert_eq!(read(&[&tpv("01.000", ""), lost]), [], "the last word of the epoch is that there is none");
}

#[test]
fn repeated_and_foreign_reports_give_nothing() {
    let mut reports = Reports::new(Some("/dev/a".into()), Some(1_709_208_001_000_000));
    let mut ready = Vec::new();
    reports.take(tpv("01.000", "").as_bytes(), at(0), &mut ready);
    reports.pause(at(1), &mut ready);
    assert_eq!(ready, [], "sent before the reconnect");
    let foreign = tpv("05.000", "").replace("/dev/a", "/dev/b");
    reports.take(foreign.as_bytes(), at(1), &mut ready);
    reports.finish(at(2), &mut ready);
    assert_eq!(ready, []);
}

/// A report before gpsd knows the time, of a place of its own.
fn timeless(lat: f64) -> String {
    format!(r#"{{"class":"TPV","device":"/dev/a","mode":3,"lat":{lat},"lon":-0.1}}"#)
}

#[test]
fn fixes_before_the_first_time_wait_for_it_and_are_dated_back() {
    let (mut reports, mut ready) = (Reports::new(None, None), Vec::new());
    for second in 0..3 {
        reports.take(timeless(51.0 + second as f64).as_bytes(), at(second), &mut ready);
        reports.pause(at(second), &mut ready);
    }
    assert_eq!(ready, [], "gpsd may still say when");
    reports.take(tpv("10.500", "").as_bytes(), at(3), &mut ready);
    reports.pause(at(3), &mut ready);
    let stamps: Vec<_> = ready.iter().map(|r| (r.ts - 1_709_208_000_000_000, r.clock)).collect();
    let gps = |us| (us, Trust::Gps);
    assert_eq!(stamps, [gps(7_500_000), gps(8_500_000), gps(9_500_000), gps(10_500_000)]);
}

#[test]
fn where_no_time_comes_the_hosts_must_do() {
    let (mut reports, mut ready) = (Reports::new(None, None), Vec::new());
    reports.take(timeless(51.0).as_bytes(), at(0), &mut ready);
    reports.pause(at(29), &mut ready);
    assert_eq!(ready, []);
    reports.pause(at(30), &mut ready);
    // Not waited for a second time.
    reports.take(timeless(52.0).as_bytes(), at(31), &mut ready);
    reports.pause(at(32), &mut ready);
    let stamps: Vec<_> = ready.iter().map(|r| (r.ts, r.clock)).collect();
    assert_eq!(stamps, [(HOST, Trust::Ntp), (HOST + 31_000_000, Trust::Ntp)]);
    // What still waits when gpsd goes away is not lost.
    let mut reports = Reports::new(None, None);
    reports.take(timeless(53.0).as_bytes(), at(40), &mut ready);
    reports.finish(at(40), &mut ready);
    assert_eq!(ready.len(), 3);
}

fn settings(address: &str) -> Settings {
    toml::from_str(&format!("address = {address:?}\npause = \"20s\"")).unwrap()
}

/// Runs the source against an address until gpsd closes the connection.
async fn watch(address: &str) -> Vec<Reading> {
    let (intake, mut deliveries) = channel(QueueLimits::default());
    let outlet = intake.outlet("gpsd", Arc::<SourceCounters>::default());
    drop(intake);
    let context = Context { clock: Arc::new(FakeClock::at(HOST)) };
    let error =
        build(&settings(address), &context).run(&outlet, &CancellationToken::new()).await.unwrap_err();
    assert!(matches!(error, SourceError::Closed(_) | SourceError::Io { .. }), "{error}");
    drop(outlet);
    let mut readings = Vec::new();
    while let Next::Delivery(d) = deliveries.next(Duration::from_secs(1)) {
        readings.extend(d.readings);
    }
    readings
}

#[tokio::test]
async fn it_asks_to_watch_and_reads_until_gpsd_goes_away() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let gpsd = async {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut asked = vec![0; WATCH.len()];
        socket.read_exact(&mut asked).await.unwrap();
        assert_eq!(asked, WATCH);
        socket
            .write_all(format!("{}\r\n{}\r\n", tpv("01.000", ""), tpv("02.000", "")).as_bytes())
            .await
            .unwrap();
    };
    let (readings, ()) = tokio::join!(watch(&address), gpsd);
    assert_eq!(readings.len(), 2);
}

/// Whether gpsd and gpsfake are installed; in CI they must be.
fn gpsfake_is_there() -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let there = |name: &str| {
        let found = std::env::split_paths(&path).any(|dir| dir.join(name).is_file());
        found || Path::new("/usr/sbin").join(name).is_file()
    };
    let installed = there("gpsd") && there("gpsfake");
    assert!(
        installed || std::env::var_os("CI").is_none(),
        "gpsd and gpsfake are not installed: apt-get install gpsd gpsd-clients"
    );
    if !installed {
        println!("SKIPPED: gpsd and gpsfake are not installed");
    }
    installed
}

/// gpsfake, ended with what it started.
struct Gpsfake(Child);

impl Gpsfake {
    fn start(log: &Path, port: u16) -> Self {
        use std::os::unix::process::CommandExt;
        let path = format!("/usr/sbin:{}", std::env::var("PATH").unwrap_or_default());
        let mut command = Command::new("gpsfake");
        // The log once, by TCP: gpsd empties a serial line that it opens, and with it the first epochs.
        command.args(["-1", "-q", "-t", "-c", "0.005", "-P", &port.to_string()]).arg(log);
        command
            .env("PATH", path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0);
        Self(command.spawn().unwrap())
    }
}

impl Drop for Gpsfake {
    fn drop(&mut self) {
        crate::kernel::kill_group(self.0.id());
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn real_gpsd_gives_what_gpsd_read() {
    let logs = oracle::logs().unwrap_or_default();
    if logs.is_empty() || !gpsfake_is_there() {
        return;
    }
    let log = logs.iter().find(|p| p.ends_with("ublox-neo-m9n-nmea.log")).expect("the log of a u-blox 9");
    let mut said =
        oracle::epochs(&String::from_utf8_lossy(&std::fs::read(log.with_extension("log.chk")).unwrap()));
    // A port that nobody holds, and so close to free as one can ask for.
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let gpsfake = Gpsfake::start(log, port);
    // gpsfake feeds its log to gpsd once a client has come, so the first to connect must be the source:
    // it tries until gpsd is there, as under a supervisor.
    let (intake, mut deliveries) = channel(QueueLimits::default());
    let outlet = intake.outlet("gpsd", Arc::<SourceCounters>::default());
    let expected = said.len();
    let collect = tokio::task::spawn_blocking(move || {
        let mut readings = Vec::new();
        while readings.len() < expected {
            match deliveries.next(Duration::from_secs(60)) {
                Next::Delivery(d) => readings.extend(d.readings),
                _ => break,
            }
        }
        readings
    });
    let settings: Settings =
        toml::from_str(&format!("address = \"127.0.0.1:{port}\"\npause = \"3s\"")).unwrap();
    let mut source = build(&settings, &Context { clock: Arc::new(FakeClock::at(HOST)) });
    let stop = CancellationToken::new();
    let keep_trying = async {
        loop {
            let ended = source.run(&outlet, &stop).await;
            println!("{}", ended.unwrap_err());
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    let readings = tokio::select! {
        () = keep_trying => unreachable!("it tries for ever"),
        readings = collect => readings.unwrap(),
    };
    drop(gpsfake);
    // When it is slow to start, gpsd's only report of the first epoch may come before it knows date and
    // speed; the reading is then dated back by the clock, which stands still here, from the next one, and
    // its position is compared.
    if let ([first, ..], [reading, next, ..]) = (said.as_mut_slice(), readings.as_slice())
        && reading.ts == next.ts
    {
        println!("gpsd had no date for the first epoch");
        (first.time_of_day, first.speed) = (None, None);
    }
    let result = oracle::compare(&said, &readings);
    println!(
        "gpsd: {} epochs, {} readings, {} without speed",
        result.epochs, result.readings, result.no_speed
    );
    assert_eq!(result, oracle::Agreement { epochs: expected, readings: expected, ..Default::default() });
}

mod hostile {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

        /// Whoever listens where gpsd should may say anything, also what is nearly a report.
        #[test]
        fn any_lines_are_taken_or_refused(
            lines in prop::collection::vec(
                prop_oneof![
                    prop::collection::vec(any::<u8>(), 0..200),
                    (
                        prop_oneof![Just("TPV"), Just("SKY"), Just("DEVICE"), Just("ERROR"), Just("PPS")],
                        "(,\"(time|lat|lon|mode|speed|track|alt|hdop|satellites|device)\":\
                         (-?[0-9]{1,25}(\\.[0-9]{1,9})?|\"[-0-9T:.Z]{0,30}\"|null|\\[\\]|\\{\\}|1e999)){0,8}",
                    )
                        .prop_map(|(class, rest)| format!("{{\"class\":\"{class}\"{rest}}}").into_bytes()),
                ],
                0..8,
            ),
        ) {
            let (mut reports, mut readings) = (Reports::new(None, None), Vec::new());
            lines.iter().for_each(|line| reports.take(line, at(0), &mut readings));
            reports.pause(at(1), &mut readings);
            reports.finish(at(2), &mut readings);
            prop_assert!(readings.len() <= lines.len());
        }
    }
}
