//! Readers that nobody here wrote read what the demo wrote: pyarrow and DuckDB agree with each other and
//! with what the vehicles made; GPS logs arrive as gpsd reads them.

use milepost_agent::source::simulate::{Trip, TripSettings};
use milepost_tests::process::program;
use milepost_tests::{python, script, shared_data, skip};
use milepost_wire::{Body, Reading};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

/// Runs the demo into `dir`; gives its summary.
fn demo(dir: &Path, arguments: &[&str]) -> Value {
    let out = Command::new(program("milepost", "milepost"))
        .args(["demo", "--json", "--no-transforms", "--no-outage", "--data-dir"])
        .arg(dir)
        .args(arguments)
        .output()
        .expect("the demo starts");
    let text = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success(), "{text}\n{}", String::from_utf8_lossy(&out.stderr));
    serde_json::from_str(text.lines().last().unwrap_or_default()).expect("the last line is the summary")
}

fn run_python(python: &Path, name: &str, arguments: &[&Path]) -> (bool, String) {
    let out = Command::new(python).arg(script(name)).args(arguments).output().expect("Python starts");
    let errors = String::from_utf8_lossy(&out.stderr);
    (out.status.success(), format!("{}{errors}", String::from_utf8_lossy(&out.stdout)))
}

/// What a table's sums must be: of the readings that the vehicles made.
#[derive(Default)]
struct Sums {
    rows: i64,
    ts_us: i128,
    lat_e7: i128,
    speed_mm_s: i128,
}

impl Sums {
    fn add(&mut self, reading: &Reading) {
        let (lat, speed) = match &reading.body {
            Body::Gps(r) => (Some(r.lat_e7), r.speed_mm_s),
            Body::Vehicle(r) => (r.lat_e7, r.speed_mm_s),
            Body::Camera(r) => (r.lat_e7, None),
            Body::Weather(r) => (r.lat_e7, None),
            Body::Emergency(r) => (r.lat_e7, None),
            _ => (None, None),
        };
        self.rows += 1;
        self.ts_us += i128::from(reading.ts);
        self.lat_e7 += i128::from(lat.unwrap_or(0));
        self.speed_mm_s += i128::from(speed.unwrap_or(0));
    }
}

#[test]
fn pyarrow_and_duckdb_read_every_table_as_the_vehicles_made_it() {
    let Some(python) = python() else {
        return skip("no Python with pyarrow and DuckDB");
    };
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (vehicles, minutes, seed) = (2, 12.0, 7);
    let summary = demo(dir.path(), &["--vehicles", "2", "--minutes", "12", "--seed", "7"]);
    let mut expected: BTreeMap<String, Sums> = BTreeMap::new();
    for vehicle in 0..vehicles {
        let settings = TripSettings { minutes: Some(minutes), ..TripSettings::default() };
        for reading in Trip::new(seed * 1_000_003 + vehicle, settings) {
            expected.entry(reading.stream().name().to_owned()).or_default().add(&reading);
        }
    }
    let (agree, text) = run_python(&python, "read_tables.py", &[&dir.path().join("lake")]);
    assert!(agree, "the readers differ: {text}");
    let read: Value = serde_json::from_str(text.lines().next().unwrap_or_default()).expect("JSON");
    let number = |table: &str, key: &str| -> i128 {
        let value = &read["tables"][table]["sums"][key];
        value.as_number().and_then(|n| n.to_string().parse().ok()).unwrap_or(0)
    };
    for (table, sums) in &expected {
        assert_eq!(
            summary["streams"][table]["accepted"].as_i64(),
            Some(sums.rows),
            "{table} accepted: {summary}"
        );
        assert_eq!(read["tables"][table]["rows"].as_i64(), Some(sums.rows), "{table}: {text}");
        assert_eq!(number(table, "ts_us"), sums.ts_us, "{table}: sum of ts_us");
        assert_eq!(number(table, "lat"), sums.lat_e7, "{table}: sum of lat");
        assert_eq!(number(table, "speed"), sums.speed_mm_s, "{table}: sum of speed");
    }
    // The agents' own tables are not the trip's: every number they gave is a row.
    let health = summary["streams"]["agent_health"]["accepted"].as_i64();
    assert_eq!(read["tables"]["agent_health"]["rows"].as_i64(), health, "{text}");
}

#[test]
fn the_sql_that_the_demo_prints_runs_whatever_its_folder_is_called() {
    let Some(python) = python() else {
        return skip("no Python with pyarrow and DuckDB");
    };
    let dir = tempfile::tempdir().expect("a temporary folder");
    let data = dir.path().join("it's [a] *new* lake?");
    let out = Command::new(program("milepost", "milepost"))
        .args(["demo", "--vehicles", "1", "--minutes", "2", "--no-outage", "--data-dir"])
        .arg(&data)
        .output()
        .expect("the demo starts");
    let said = String::from_utf8_lossy(&out.stdout);
    let (_, sql) = said.split_once("In DuckDB:\n").expect("SQL at the end");
    let sql_file = dir.path().join("demo.sql");
    std::fs::write(&sql_file, sql).expect("a file for it");
    let ran = Command::new(&python)
        .arg(script("run_sql.py"))
        .stdin(std::fs::File::open(&sql_file).expect("the file"))
        .output()
        .expect("Python starts");
    let (rows, errors) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    let rows: Vec<u64> = rows.lines().map(|line| line.parse().expect("a number")).collect();
    assert!(rows.len() >= 3 && rows.iter().all(|n| *n > 0), "{rows:?} rows of\n{sql}\n{errors}");
}

#[test]
fn gps_logs_arrive_in_the_table_as_gpsd_reads_them() {
    let (Some(python), Some(data)) = (python(), shared_data()) else {
        return eprintln!("skipped: no recorded logs (MILEPOST_SHARED_DATA)");
    };
    let mut logs: Vec<_> = std::fs::read_dir(data.join("nmea"))
        .expect("the folder of logs")
        .filter_map(|e| Some(e.ok()?.path()))
        .filter(|p| p.extension().is_some_and(|e| e == "log"))
        .collect();
    logs.sort();
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut arguments = vec!["--vehicles".to_owned(), "0".to_owned()];
    for log in &logs {
        arguments.extend(["--replay".to_owned(), log.display().to_string()]);
    }
    demo(dir.path(), &arguments.iter().map(String::as_str).collect::<Vec<_>>());
    for log in &logs {
        let vehicle = log.file_stem().expect("a name");
        let (agree, text) =
            run_python(&python, "gps_agreement.py", &[&dir.path().join("lake"), Path::new(vehicle), log]);
        println!("{}: {}", vehicle.display(), text.trim());
        assert!(agree, "{}: {text}", log.display());
    }
}
