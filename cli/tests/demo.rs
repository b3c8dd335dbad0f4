//! The demo as people run it: the binary, its last line, its exit status, and what lies in the folder.

use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

fn milepost(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_milepost"));
    command.args(args).env_remove("RUST_LOG").stdin(Stdio::null());
    command
}

fn demo(data: &Path, args: &[&str]) -> Output {
    let data = data.to_str().unwrap();
    milepost(&[&["demo", "--json", "--data-dir", data], args].concat()).output().unwrap()
}

/// The summary on the last line of standard output, of a demo that ended well.
#[track_caller]
fn summary(output: &Output) -> Value {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{out}\n{err}", output.status);
    let summary: Value = serde_json::from_str(out.lines().last().unwrap()).unwrap();
    assert_eq!(summary["verdict"], "ok", "{err}");
    assert_eq!((&summary["lost"], &summary["duplicates"]), (&0.into(), &0.into()), "{err}");
    summary
}

fn rows(summary: &Value, table: &str) -> u64 {
    summary["tables"][table]["rows"].as_u64().unwrap_or(0)
}

fn parquet_files(folder: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    let count = |path: PathBuf| match path.is_dir() {
        true => parquet_files(&path),
        false => usize::from(path.extension().is_some_and(|e| e == "parquet")),
    };
    entries.map(|e| count(e.unwrap().path())).sum()
}

fn first_file(folder: &Path) -> PathBuf {
    let path = std::fs::read_dir(folder).unwrap().next().unwrap().unwrap().path();
    if path.is_dir() { first_file(&path) } else { path }
}

#[test]
fn a_short_demo_loses_nothing_and_a_second_one_goes_on_in_its_folder() {
    let folder = tempfile::tempdir().unwrap();
    let first = summary(&demo(folder.path(), &["--minutes", "3", "--vehicles", "2"]));
    for stream in ["gps_data", "vehicle_data", "weather_data", "camera_data", "agent_health"] {
        assert_eq!(first["streams"][stream]["accepted"].as_u64(), Some(rows(&first, stream)), "{stream}");
        assert!(rows(&first, stream) > 0, "{stream}");
        let sizes = &first["streams"][stream];
        assert!(sizes["json_bytes"].as_u64() > sizes["payload_bytes"].as_u64(), "{stream}: {sizes}");
        assert!(sizes["json_gzip_bytes"].as_u64() > Some(0), "{stream}");
        let lake = folder.path().join("lake").join(stream);
        assert_eq!(first["tables"][stream]["files"].as_u64(), Some(parquet_files(&lake) as u64), "{stream}");
    }
    let second = summary(&demo(folder.path(), &["--minutes", "3", "--vehicles", "2", "--no-outage"]));
    assert_eq!(rows(&second, "vehicle_data"), 2 * rows(&first, "vehicle_data"));

    let lake = folder.path().join("lake");
    let audit = || milepost(&["audit", lake.to_str().unwrap(), "--json"]).output().unwrap();
    assert!(audit().status.success());
    std::fs::remove_file(first_file(&lake.join("gps_data"))).unwrap();
    let report = audit();
    assert_eq!(report.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&report.stdout).unwrap();
    assert!(report["tables"]["gps_data"]["gaps_undeclared"].as_u64() > Some(0));
}

/// An NMEA sentence with its checksum.
fn sentence(body: &str) -> String {
    let sum = body.bytes().fold(0u8, |a, b| a ^ b);
    format!("${body}*{sum:02X}\r\n")
}

#[test]
fn a_replayed_log_reaches_its_table_row_by_row() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("Van 7 morning.nmea");
    let mut text = String::new();
    for i in 0..150 {
        let time = format!("08{:02}{:02}.00", i / 60, i % 60);
        let lat = format!("52{:07.4}", 10.0 + f64::from(i) / 100.0);
        text += &sentence(&format!("GPGGA,{time},{lat},N,00130.5000,W,1,08,0.9,100.0,M,47.0,M,,"));
        text += &sentence(&format!("GPRMC,{time},A,{lat},N,00130.5000,W,30.0,010.0,020326,,,A"));
    }
    std::fs::write(&log, text).unwrap();
    let args = ["--vehicles", "0", "--no-transforms", "--replay", log.to_str().unwrap()];
    let summary = summary(&demo(&folder.path().join("data"), &args));
    assert_eq!(rows(&summary, "gps_data"), 150);
    assert_eq!(summary["streams"]["gps_data"]["accepted"], 150);
    assert!(folder.path().join("data/vehicles/Van-7-morning").is_dir());
}

#[test]
fn what_a_log_has_that_is_no_reading_is_said_at_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let (rows, log) = (folder.path().join("rows.ndjson"), folder.path().join("damaged.nmea"));
    let bad = "{\"stream\":\"gps_data\",\"ts\":2,\"lat\":52.1,\"lon\":-1.5,\"sped\":3}\n";
    std::fs::write(&rows, "{\"ts\":1,\"lat\":52.1,\"lon\":-1.5}\n".to_owned() + &bad.repeat(40)).unwrap();
    let rmc = sentence("GPRMC,080000.00,A,5210.0000,N,00130.5000,W,30.0,010.0,020326,,,A");
    std::fs::write(&log, rmc.replace("5210", "5211") + &rmc).unwrap();
    let args = [
        "--vehicles",
        "0",
        "--no-outage",
        "--replay",
        rows.to_str().unwrap(),
        "--replay",
        log.to_str().unwrap(),
    ];
    let output = demo(&folder.path().join("data"), &args);
    let summary = summary(&output);
    assert_eq!(summary["refused"], serde_json::json!({"damaged": 1, "rows": 40}));
    let said = String::from_utf8_lossy(&output.stderr);
    for expected in [
        "damaged: 1 times its source met what is no reading, and went on (bad_checksum 1)\n",
        "rows: 40 times its source met what is no reading, and went on (refused_line 40). The first:\n",
        "    line 2: gps_data has no column \"sped\"\n",
    ] {
        assert!(said.contains(expected), "{expected:?} is not in {said}");
    }
    assert_eq!(said.matches("has no column").count(), 3, "{said}");
}

/// Starts a long demo and waits until readings are in Kafka.
fn started(data: &Path) -> Child {
    let mut child = milepost(&["demo", "--vehicles", "2", "--data-dir", data.to_str().unwrap()])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains(" readings in Kafka") || line.contains(" 0 readings in Kafka") {
        line.clear();
        assert!(lines.read_line(&mut line).unwrap() > 0, "the demo ended before anything was in Kafka");
    }
    // What it still says must go somewhere, or it would wait for a reader.
    std::thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
    child
}

#[test]
fn whoever_is_told_to_stop_while_it_starts_or_stops_ends_well() {
    let folder = tempfile::tempdir().unwrap();
    for (signal, stage) in [("-INT", "frames wait"), ("-TERM", "Stopping"), ("-HUP", "frames wait")] {
        let data = folder.path().to_str().unwrap();
        let args = ["demo", "--vehicles", "1", "--minutes", "2", "--no-outage", "--data-dir", data];
        let mut child = milepost(&args).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains(stage) {
            line.clear();
            assert!(lines.read_line(&mut line).unwrap() > 0, "the demo ended before {stage:?}");
        }
        std::thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
        // Twice, as `timeout` does it: to the process, and to its group.
        for _ in 0..2 {
            let sent = Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
            assert!(sent.success());
        }
        assert!(child.wait().unwrap().success(), "{signal} at {stage:?}");
    }
}

/// A pipe that nobody reads any more, as behind `| head` when it has read enough.
fn closed() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

#[test]
fn a_demo_that_nobody_looks_at_ends_as_well_as_any() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().to_str().unwrap();
    let args = ["demo", "--vehicles", "1", "--minutes", "1", "--no-outage", "--data-dir", data];
    let status = milepost(&args).stdout(closed()).stderr(closed()).status().unwrap();
    assert!(status.success(), "{status}");
    let lake = folder.path().join("lake");
    let audit = milepost(&["audit", lake.to_str().unwrap()]).stdout(closed()).output().unwrap();
    assert!(audit.status.success() && audit.stderr.is_empty(), "{audit:?}");
}

#[test]
fn a_demo_that_cannot_start_says_why_in_a_line_and_leaves_no_mark() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a file");
    std::fs::write(&file, "").unwrap();
    let lake_is_a_file = folder.path().join("lake is a file");
    std::fs::create_dir(&lake_is_a_file).unwrap();
    std::fs::write(lake_is_a_file.join("lake"), "").unwrap();
    let spool_is_a_file = folder.path().join("spool is a file");
    std::fs::create_dir_all(spool_is_a_file.join("vehicles/van-01")).unwrap();
    std::fs::write(spool_is_a_file.join("vehicles/van-01/spool"), "").unwrap();
    for (data, said) in [(file, "a file"), (lake_is_a_file, "lake"), (spool_is_a_file, "Vehicle van-01")] {
        let refused = demo(&data, &["--minutes", "1", "--vehicles", "1"]);
        let err = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(1), "{err}");
        assert!(err.contains(said) && err.trim_end().lines().count() == 1, "{err}");
        assert!(!data.join("demo-is-running").exists(), "{err}");
    }
}

#[test]
fn what_cannot_be_replayed_is_refused_in_a_line_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let log = path("van-01.nmea");
    std::fs::write(&log, "").unwrap();
    let (other, long) = (path("other/van-01.log"), path(&"x".repeat(300)));
    std::fs::create_dir(folder.path().join("other")).unwrap();
    std::fs::write(&other, "").unwrap();
    for (args, said) in [
        (vec!["--replay", "/no/such/log"], "/no/such/log cannot be read"),
        (vec!["--replay", &long], "cannot be read"),
        (vec!["--replay", folder.path().to_str().unwrap()], "is a folder"),
        (vec!["--replay", "/dev/zero"], "is a pipe or a device"),
        (vec!["--replay", &log, "--replay", &log, "--vehicles", "0"], "would be called van-01"),
        (vec!["--replay", &log, "--replay", &other, "--vehicles", "0"], "would be called van-01"),
        (vec!["--replay", &log, "--vehicles", "1"], "would be called van-01"),
    ] {
        let data = folder.path().join("data");
        let refused = demo(&data, &args);
        let err = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(1), "{args:?}: {err}");
        assert!(err.contains(said) && err.trim_end().lines().count() == 1, "{args:?}: {err}");
        assert!(!data.join("demo-is-running").exists(), "{args:?}");
    }
}

#[test]
fn ctrl_c_leaves_a_state_in_which_the_next_demo_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = started(folder.path());
    let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
    assert!(child.wait().unwrap().success());
    summary(&demo(folder.path(), &["--minutes", "2", "--vehicles", "2"]));
}

#[test]
fn after_a_kill_the_next_demo_says_how_to_start_over() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = started(folder.path());
    child.kill().unwrap();
    child.wait().unwrap();
    let refused = demo(folder.path(), &["--minutes", "2"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("rm -r"));
}

/// Start, size 16 × 16 and the beginning of the picture, in base64.
const JPEG_START: &str = "/9j/wAALCAAQABABAREA/9oAAgAA";
/// Its end.
const JPEG_END: &str = "AP/Z";

#[test]
fn it_stops_before_kafka_could_drop_and_what_is_left_comes_with_the_next_demo() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("cameras.ndjson");
    let picture = |n: u64| {
        // The markers of a JPEG image, in base64, around bytes that do not compress, as base64's own letters.
        let mut x = n + 1;
        let mut letter = || {
            x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"[(x >> 58) as usize]
        };
        let noise = String::from_utf8((0..64_000).map(|_| letter()).collect()).unwrap();
        format!("{JPEG_START}{noise}{JPEG_END}")
    };
    let line = |n: u64| {
        let ts = 1_772_438_400_000_000 + n * 1_000_000;
        format!(
            "{{\"stream\":\"camera_data\",\"ts\":{ts},\"camera_id\":\"front\",\"image\":\"{}\"}}\n",
            picture(n)
        )
    };
    std::fs::write(&log, (0..200).map(line).collect::<String>()).unwrap();
    let data = folder.path().join("data");
    let args = ["--vehicles", "0", "--no-transforms", "--no-outage", "--replay", log.to_str().unwrap()];
    let full = demo(&data, &args);
    let said = String::from_utf8_lossy(&full.stderr).into_owned();
    assert_eq!(full.status.code(), Some(1), "{said}");
    assert!(said.contains("keeps 5242880 bytes a partition"), "{said}");
    assert!(said.contains(" wait: run the demo again to deliver them"), "{said}");
    let out = String::from_utf8_lossy(&full.stdout);
    let full: Value = serde_json::from_str(out.lines().last().unwrap()).unwrap();
    assert_eq!((&full["lost"], &full["verdict"]), (&0.into(), &"bad".into()), "{said}");
    let (waiting, streams) = (full["waiting"].as_u64().unwrap(), full["streams"].as_object().unwrap());
    let accepted: u64 = streams.values().map(|s| s["accepted"].as_u64().unwrap()).sum();
    let in_tables: u64 = streams.keys().map(|stream| rows(&full, stream)).sum();
    assert_eq!(accepted, in_tables + waiting, "{said}");
    // Fewer at a time: the rest in as many demos as it takes.
    for _ in 0..5 {
        let next = demo(&data, &["--vehicles", "0"]);
        if next.status.success() {
            assert!(rows(&summary(&next), "camera_data") > 85);
            return;
        }
    }
    panic!("the rest does not come");
}
