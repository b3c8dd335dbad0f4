use super::super::outlet::{Next, QueueLimits, SourceCounters, channel};
use super::*;
use crate::clock::FakeClock;
use crate::source::{jpeg, oracle};
use milepost_wire::{Body, reading::Camera};
use std::collections::BTreeMap;
use std::io::Write;

fn settings(path: &std::path::Path, more: &str) -> Settings {
    toml::from_str(&format!("path = {path:?}\n{more}")).unwrap()
}

/// Runs a replay to its end and gives what it delivered.
async fn replay(settings: &Settings) -> (Vec<Reading>, Arc<SourceCounters>) {
    let (intake, mut deliveries) = channel(QueueLimits::default());
    let counters = Arc::new(SourceCounters::default());
    let outlet = intake.outlet("log", Arc::clone(&counters));
    drop(intake);
    let context = Context { clock: Arc::new(FakeClock::at(1_700_000_000_000_000)) };
    let taken = tokio::task::spawn_blocking(move || {
        let mut taken = Vec::new();
        while let Next::Delivery(d) = deliveries.next(Duration::from_secs(60)) {
            taken.extend(d.readings);
        }
        taken
    });
    build(settings, &context).run(&outlet, &CancellationToken::new()).await.unwrap();
    drop(outlet);
    (taken.await.unwrap(), counters)
}

fn file(content: &[u8]) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(content).unwrap();
    file
}

/// A sentence with its checksum and line end.
fn sentence(body: &str) -> String {
    let sum = body.bytes().fold(0, |sum, b| sum ^ b);
    format!("${body}*{sum:02X}\r\n")
}

#[tokio::test]
async fn what_gpsd_passes_on_is_nmea_although_gpsd_speaks_first() {
    let log = b"{\"class\":\"VERSION\",\"release\":\"3.22\"}\n{\"class\":\"WATCH\",\"nmea\":true}\n\
        $GPRMC,120000,A,4807.0380,N,01131.0000,E,10.0,084.4,010124,003.1,W,A*35\r\n";
    let (readings, _) = replay(&settings(file(log).path(), "")).await;
    assert_eq!(readings.len(), 1);
}

#[tokio::test]
async fn recorded_logs_give_what_gpsd_reads_in_them() {
    for log in oracle::logs().unwrap_or_default() {
        let check = std::fs::read(log.with_extension("log.chk")).unwrap();
        let said = oracle::epochs(&String::from_utf8_lossy(&check));
        let (readings, counters) = replay(&settings(&log, "")).await;
        let name = log.file_name().unwrap().display();
        if !counters.details().contains_key("sentences") {
            assert!(readings.is_empty(), "{name} is binary, yet gave {readings:?}");
            println!("{name}: binary, no reading");
            continue;
        }
        let result = oracle::compare(&said, &readings);
        println!(
            "{name}: {} epochs, {} readings, {} without speed",
            result.epochs, result.readings, result.no_speed
        );
        assert_eq!(result.missing, [""; 0], "{name}: an epoch is missing");
        assert_eq!(result.invented, [""; 0], "{name}: a fix that gpsd does not have");
        assert_eq!(result.wrong, [""; 0], "{name}: another position or speed");
    }
}

#[tokio::test]
async fn the_content_says_what_a_file_is() {
    let ndjson = file(
        b"\n {\"ts\":1,\"lat\":1.5,\"lon\":2}\nnonsense\n{\"ts\":2,\"stream\":\"axle\",\"load\":7}\n{\"ts\":3,\"lat\":1,\"lon\":\"x\"}",
    );
    let (readings, counters) = replay(&settings(ndjson.path(), "default_stream = \"gps_data\"")).await;
    assert_eq!(readings.iter().map(|r| r.ts).collect::<Vec<_>>(), [1, 2]);
    assert!(matches!((&readings[0].body, &readings[1].body), (Body::Gps(_), Body::Derived(_))));
    assert_eq!(counters.details().get("refused_line"), Some(&2));

    let nmea = file(b"# a log\n$GPGLL,5130.0000,N,00007.0000,W,120000,A*3B\n");
    let (readings, counters) = replay(&settings(nmea.path(), "")).await;
    assert_eq!(readings.len(), 1);
    assert_eq!(readings[0].clock, Trust::None, "dated by the host, which knows nothing of a recording");
    assert_eq!(counters.details().get("dated_by_host"), Some(&1));

    let (readings, _) = replay(&settings(file(b" \n").path(), "")).await;
    assert_eq!(readings.len(), 0);

    let windows = b"\xef\xbb\xbf{\"ts\":1,\"lat\":1.5,\"lon\":2}\r\n{\"ts\":2,\"lat\":1.5,\"lon\":2}\r\n";
    let (readings, counters) = replay(&settings(file(windows).path(), "default_stream = \"gps_data\"")).await;
    assert_eq!((readings.len(), counters.details().get("refused_line")), (2, None));
}

#[tokio::test]
async fn what_an_agent_says_of_itself_no_log_says() {
    let health = r#"{"stream":"agent_health","ts":1,"component":"stream","name":"gps_data","emitted":1000}"#;
    let gap = r#"{"stream":"gap_data","ts":1,"lost_stream":"gps_data","lost_boot_id":"0000000000000001"}"#;
    let log = format!("{health}\n{gap}\n{{\"stream\":\"gps_data\",\"ts\":2,\"lat\":1,\"lon\":2}}\n");
    let (readings, counters) = replay(&settings(file(log.as_bytes()).path(), "")).await;
    assert_eq!(readings.iter().map(|r| r.ts).collect::<Vec<_>>(), [2]);
    assert_eq!(counters.details().get("refused_line"), Some(&2));
}

#[tokio::test]
async fn an_image_that_is_no_jpeg_is_refused_as_a_cameras_folder_refuses_it() {
    let image = |bytes: &[u8]| {
        let camera = Camera {
            camera_id: "front".into(),
            lat_e7: None,
            lon_e7: None,
            image: bytes.to_vec(),
            width: None,
            height: None,
        };
        let reading = Reading { ts: 1, clock: Trust::Gps, body: camera.into() };
        crate::ndjson::write(&reading) + "\n"
    };
    let whole = jpeg::markers(640, 480, 10);
    let cut = &whole[..whole.len() - 2];
    let log = image(&whole) + &image(b"GIF89a") + &image(cut) + &image(b"");
    let (readings, counters) = replay(&settings(file(log.as_bytes()).path(), "")).await;
    assert_eq!(readings.len(), 1);
    assert_eq!(counters.errors_by_kind(), BTreeMap::from([("refused_line", 3)]));
    let missing = "\"image\" is a JPEG image whose size or end is missing";
    let expected = [
        "line 2: \"image\" is no JPEG image".into(),
        format!("line 3: {missing}"),
        format!("line 4: {missing}"),
    ];
    assert_eq!(counters.first_refusals(), expected);
}

#[tokio::test]
async fn the_first_refusals_are_kept_in_words_and_all_are_counted() {
    let log = "{\"stream\":\"gps_data\",\"ts\":1,\"lat\":1,\"lon\":2,\"kkk\":3}\n".repeat(50);
    let (readings, counters) = replay(&settings(file(log.as_bytes()).path(), "")).await;
    assert_eq!((readings, counters.errors_by_kind()), (vec![], BTreeMap::from([("refused_line", 50)])));
    let first = counters.first_refusals();
    assert_eq!(first.len(), 3);
    assert!(first[0].starts_with("line 1: gps_data has no column \"kkk"), "{first:?}");
}

#[tokio::test]
async fn a_logs_fixes_before_its_first_date_are_dated_from_it() {
    let gga =
        |time: &str| sentence(&format!("GPGGA,{time},4807.0380,N,01131.0000,E,1,08,0.9,545.4,M,46.9,M,,"));
    let rmc = sentence("GPRMC,000001,A,4807.0380,N,01131.0000,E,10.0,084.4,010324,,,A");
    let log = gga("235959") + &gga("000000") + &rmc + &gga("000002");
    let (readings, counters) = replay(&settings(file(log.as_bytes()).path(), "")).await;
    let midnight = 1_709_251_200;
    let expected = [midnight - 1, midnight, midnight + 1, midnight + 2];
    assert_eq!(readings.iter().map(|r| r.ts / 1_000_000).collect::<Vec<_>>(), expected);
    assert!(readings.iter().all(|r| r.clock == Trust::Gps), "{readings:?}");
    assert_eq!(counters.details().get("dated_by_host"), None);
}

#[test]
fn a_pace_spreads_readings_as_recorded() {
    let mut paced = Paced { pace: "10x".parse().unwrap(), anchor: None };
    let start = Instant::now();
    let mut now = start;
    let mut after = Vec::new();
    // A second later, the same, one back, hours of silence, and a second after that.
    for s in [100, 101, 101, 99, 50_000, 50_001] {
        now += paced.wait(s * 1_000_000, now);
        after.push(now.duration_since(start).as_millis());
    }
    assert_eq!(after, [0, 100, 100, 100, 100, 200]);
}

#[tokio::test]
async fn what_is_due_is_not_held_back() {
    let due_at_once = |paced: &mut Paced, s: i64| {
        let held = std::pin::pin!(paced.hold(s * 1_000_000));
        held.poll(&mut std::task::Context::from_waker(std::task::Waker::noop())).is_ready()
    };
    let mut flat_out = Paced { pace: Pace::FlatOut, anchor: None };
    assert!((0..100).all(|s| due_at_once(&mut flat_out, s)));
    let mut recorded = Paced { pace: Pace::Times(1.0), anchor: None };
    let due = [100, 100, 99, 1_000, 99].map(|s| due_at_once(&mut recorded, s));
    assert_eq!(due, [true, true, true, false, true]);
}

#[test]
fn paces_are_text() {
    assert_eq!(settings(std::path::Path::new("a"), "").pace, Pace::FlatOut);
    assert_eq!("recorded".parse(), Ok(Pace::Times(1.0)));
    for bad in ["", "x", "0x", "-1x", "infx", "nanx", "fast"] {
        assert!(bad.parse::<Pace>().is_err(), "{bad}");
    }
}
