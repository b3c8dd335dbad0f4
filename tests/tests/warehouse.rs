//! What people see of a lake in SQL: the DDL of every engine is parsed in its dialect, DuckDB's runs over
//! a lake of the demo, and `milepost query` and `shell` answer.

use milepost_tests::process::program;
use milepost_tests::{python, script, skip};
use serde_json::Value;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// What a program prints; it must succeed.
fn printed(out: Output) -> String {
    let errors = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{}\n{errors}", String::from_utf8_lossy(&out.stdout));
    String::from_utf8(out.stdout).expect("it prints UTF-8")
}

fn ddl(engine: &str, lake: &Path) -> String {
    let mut command = Command::new(program("milepost-sink", "milepost-sink"));
    command.args(["ddl", "--for", engine, "--lake"]).arg(lake);
    printed(command.output().expect("the sink starts"))
}

fn query(lake: &Path, sql: &str) -> Value {
    let mut command = Command::new(program("milepost", "milepost"));
    command.args(["query", sql, "--format", "json", "--lake"]).arg(lake);
    serde_json::from_str(&printed(command.output().expect("it starts"))).expect("JSON")
}

fn number(value: &Value) -> f64 {
    // DuckDB prints sums of integers as texts.
    value.as_f64().or_else(|| value.as_str()?.parse().ok()).unwrap_or_else(|| panic!("{value} is no number"))
}

/// A lake of a short drive with the example transforms, so with a derived table.
fn demo(dir: &Path) -> (PathBuf, Value) {
    let mut command = Command::new(program("milepost", "milepost"));
    command.args(["demo", "--json", "--vehicles", "2", "--minutes", "12", "--seed", "7", "--no-outage"]);
    let text = printed(command.arg("--data-dir").arg(dir).output().expect("the demo starts"));
    let summary = serde_json::from_str(text.lines().last().unwrap_or_default()).expect("JSON");
    (dir.join("lake"), summary)
}

#[test]
fn every_engine_s_statements_parse_and_duckdb_s_answer() {
    let Some(python) = python() else {
        return skip("no Python with DuckDB and sqlglot");
    };
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (lake, summary) = demo(dir.path());
    for engine in ["athena", "redshift", "spark", "trino", "duckdb"] {
        let text = ddl(engine, &lake);
        let mut parse = Command::new(&python);
        parse.arg(script("parse_sql.py")).arg(engine).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut parse = parse.stderr(Stdio::piped()).spawn().expect("Python starts");
        parse.stdin.take().expect("a pipe").write_all(text.as_bytes()).expect("it is read");
        let said = printed(parse.wait_with_output().expect("it ends"));
        let said: Value = serde_json::from_str(&said).expect("JSON");
        assert!(said["statements"].as_u64() > Some(6), "{engine}: {said}");
        // What is opaque to the parser is checked word by word where it is written.
        let allowed = ["CREATE EXTERNAL SCHEMA", "GRANT SELECT ON", "MSCK REPAIR TABLE", "CALL"];
        for opaque in said["opaque"].as_array().expect("a list") {
            let opaque = opaque.as_str().unwrap_or_default();
            assert!(allowed.iter().any(|a| opaque.starts_with(a)), "{engine}: {opaque}");
        }
    }

    let rows = |table: &str| number(&query(&lake, &format!("SELECT count(*) AS n FROM {table}"))[0]["n"]);
    for table in ["gps_data", "vehicle_data", "weather_data", "harsh_event"] {
        assert_eq!(Some(rows(table)), summary["streams"][table]["accepted"].as_f64(), "{table}: {summary}");
    }
    assert_eq!(rows("latest_position"), 2.0);
    let newest = "SELECT count(*) AS n FROM latest_position l JOIN (SELECT vehicle_id, max(ts_us) AS ts_us \
                  FROM gps_data GROUP BY 1) g ON g.vehicle_id = l.vehicle_id AND epoch_us(l.ts) = g.ts_us // 1000 * 1000";
    assert_eq!(number(&query(&lake, newest)[0]["n"]), 2.0);
    // A trip's metres are about what its speeds add up to, each for as long as it lasted: a thinned track
    // has few fixes where the vehicle stands.
    let by_speed = "SELECT t.metres, s.by_speed FROM trip_summary t JOIN (SELECT vehicle_id, \
                    sum((speed + before) / 2 * (ts_us - since) / 1e6) AS by_speed FROM (SELECT vehicle_id, speed, \
                    ts_us, lag(speed) OVER w AS before, lag(ts_us) OVER w AS since FROM gps_data \
                    WINDOW w AS (PARTITION BY vehicle_id ORDER BY ts_us)) GROUP BY 1) s USING (vehicle_id)";
    let trips = query(&lake, by_speed);
    assert_eq!(trips.as_array().map(Vec::len), Some(2));
    for trip in trips.as_array().into_iter().flatten() {
        let (metres, by_speed) = (number(&trip["metres"]), number(&trip["by_speed"]));
        assert!((metres / by_speed - 1.0).abs() < 0.25, "{trip}");
    }
    let fixes = query(&lake, "SELECT sum(fixes) AS n, count(*) AS minutes FROM position_by_minute");
    assert_eq!(number(&fixes[0]["n"]), rows("gps_data"));
    assert!(number(&fixes[0]["minutes"]) >= 20.0, "{fixes}");
    let harsh = query(
        &lake,
        "SELECT sum(events) AS n, max(events_per_hour) AS most FROM harsh_events_by_driver_hour",
    );
    assert_eq!(number(&harsh[0]["n"]), rows("harsh_event"));
    assert_eq!(rows("gaps"), rows("gap_data"));

    the_shell_and_the_formats(&lake, &python);
}

fn the_shell_and_the_formats(lake: &Path, python: &Path) {
    let milepost = || Command::new(program("milepost", "milepost"));
    let mut csv = milepost();
    csv.args(["query", "SELECT DISTINCT vehicle_id FROM gps_data ORDER BY 1", "--format", "csv", "--lake"]);
    let text = printed(csv.arg(lake).output().expect("it starts"));
    assert_eq!(text.lines().next(), Some("vehicle_id"));
    assert_eq!(text.lines().count(), 3);
    // A Python that has the module stands in where there is no program.
    let mut shell = milepost();
    shell
        .args(["shell", "--lake"])
        .arg(lake)
        .env("MILEPOST_DUCKDB", "/nowhere")
        .env("MILEPOST_PYTHON", python);
    let mut shell = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it starts");
    let typed = b"SELECT count(*)\n AS here FROM trip_summary;\nSELECT nonsense;\nSELECT 42 AS answer;\n";
    shell.stdin.take().expect("a pipe").write_all(typed).expect("it is read");
    let text = printed(shell.wait_with_output().expect("it ends"));
    assert!(text.contains("here") && text.contains("42"), "{text}");

    let mut wrong = milepost();
    let out = wrong.args(["query", "SELECT * FROM no_such", "--lake"]).arg(lake).output().expect("it starts");
    assert!(!out.status.success());
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(said.contains("no_such"), "{said}");
    let out = milepost().args(["query", "SELECT 1", "--lake", "/nowhere"]).output().expect("it starts");
    assert_eq!(out.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&out.stderr).contains("There is no folder /nowhere"));
}

#[test]
fn the_cloudformation_template_has_nothing_to_lint() {
    let Some(python) = python() else {
        return skip("no Python with cfn-lint");
    };
    let template = script("../../sink/aws/milepost.yaml");
    let out = Command::new(python)
        .args(["-c", "from cfnlint.runner import main; main()"])
        .arg(template)
        .output()
        .expect("Python starts");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stdout));
}
