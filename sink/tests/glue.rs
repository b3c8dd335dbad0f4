//! A real sink that registers what it writes in a Glue that fails on demand.
#![cfg(feature = "glue")]

mod support;

use milepost_sink::Sink;
use milepost_sink::catalog::{Catalog, News};
use milepost_sink::glue::{Glue, GlueSettings};
use milepost_sink::schema::{Column, Table as Description};
use milepost_wire::reading::Derived;
use milepost_wire::{Batch, Body, BootId, Clock, ColumnSpec, Kind, Reading, Stream, StreamName, Value};
use milepost_wire::{VehicleId, frame};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use support::glue::{FakeGlue, Fault, Table};
use support::{Bench, DAY_US, Lake};

const DAY: i64 = 86_400_000_000;

fn sink(bench: &Bench, glue: &FakeGlue) -> Sink {
    sink_that_waits(bench, glue, 30_000)
}

/// A sink that gives an attempt so many milliseconds.
fn sink_that_waits(bench: &Bench, glue: &FakeGlue, timeout_ms: u64) -> Sink {
    let settings = GlueSettings { timeout_ms, ..glue.settings() };
    let catalog = bench.block_on(Glue::open(&settings, &FakeGlue::credentials()));
    bench.sink_with(bench.store(), Arc::new(catalog), |_| {})
}

/// A frame of a derived stream, one row a day, the first on day `-from`.
fn days(vehicle: &str, stream: &str, columns: &[(&str, Value)], from: i64, rows: i64) -> Vec<u8> {
    let kind = |v: &Value| v.kind().unwrap_or(Kind::Int);
    let specs: Vec<_> = columns.iter().map(|(n, v)| ColumnSpec::new(*n, kind(v)).unwrap()).collect();
    let name = StreamName::new(stream).unwrap();
    let vehicle = VehicleId::new(vehicle).unwrap();
    let (stream, first) = (Stream::Derived(name.clone()), from as u64);
    let mut batch = Batch::new(vehicle, BootId(1), stream, &specs, first, Vec::new());
    let values: Vec<Value> = columns.iter().map(|(_, v)| v.clone()).collect();
    for n in from..from + rows {
        let body = Body::Derived(Derived {
            stream: name.clone(),
            columns: specs.clone().into(),
            values: values.clone(),
        });
        batch.push(&Reading { ts: DAY_US - n * DAY, clock: Clock::Gps, body }).unwrap();
    }
    frame::encode(&batch).unwrap()
}

/// Every partition that has a file is registered, at its place, and no other.
fn check(bench: &Bench, glue: &FakeGlue) {
    let mut there: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for key in Lake::read(bench.folder()).files.keys() {
        let (table, rest) = key.split_once("/dt=").unwrap();
        there.entry(table.into()).or_default().insert(rest.split('/').next().unwrap().into());
    }
    let tables = glue.tables();
    let registered: BTreeMap<String, BTreeSet<String>> =
        tables.iter().map(|(name, t)| (name.clone(), t.partitions.keys().cloned().collect())).collect();
    assert_eq!(registered, there);
    for (name, table) in &tables {
        let location = table.input["StorageDescriptor"]["Location"].as_str().unwrap().to_owned();
        assert_eq!(location, bench.store().uri(&format!("{name}/")));
        for (dt, partition) in &table.partitions {
            assert_eq!(partition["StorageDescriptor"]["Location"], json!(format!("{location}dt={dt}/")));
        }
    }
}

fn columns_of(table: &Table) -> Vec<(String, String)> {
    let text = |v: &serde_json::Value| v.as_str().unwrap_or_default().to_owned();
    let columns = table.input["StorageDescriptor"]["Columns"].as_array().unwrap();
    columns.iter().map(|c| (text(&c["Name"]), text(&c["Type"]))).collect()
}

#[test]
fn thousands_of_partitions_are_registered_once_each_in_calls_of_a_hundred() {
    let bench = Bench::new(&[("derived_data", 1)]);
    let glue = bench.block_on(FakeGlue::start());
    for n in 0..5 {
        bench.send("derived_data", "v", days("v", "trips", &[("x", Value::Int(1))], n * 500, 500));
    }
    bench.flush();
    let sink = sink(&bench, &glue);
    bench.wait_for_rows(&sink, 2500);
    bench.stop(sink);
    check(&bench, &glue);
    assert_eq!(glue.tables()["trips"].partitions.len(), 2500);
    let mut asked = Vec::new();
    let mut batches = 0;
    for call in glue.calls().iter().filter(|c| c.operation == "BatchCreatePartition") {
        batches += 1;
        let inputs = call.input["PartitionInputList"].as_array().unwrap().clone();
        asked.extend(inputs.iter().map(|p| p["Values"][0].as_str().unwrap().to_owned()));
    }
    let once: BTreeSet<_> = asked.iter().collect();
    assert_eq!((asked.len(), once.len()), (2500, 2500), "a partition was asked for twice");
    let claims = Lake::read(bench.folder()).manifests.len();
    assert!(batches <= 25 + claims, "{batches} calls for {claims} claims");
}

#[test]
fn a_table_is_described_as_it_is() {
    let bench = Bench::new(&[("gps_data", 1)]);
    let glue = bench.block_on(FakeGlue::start());
    let sent = bench.send_drives("gps_data", 2, 3, 50, 0);
    let sink = sink(&bench, &glue);
    bench.wait_for_rows(&sink, sent.len() as u64);
    bench.stop(sink);
    check(&bench, &glue);
    let table = &glue.tables()["gps_data"];
    let columns = columns_of(table);
    for (name, kind) in
        [("vehicle_id", "string"), ("ts", "timestamp"), ("ts_us", "bigint"), ("lat", "double")]
    {
        assert!(columns.contains(&(name.into(), kind.into())), "{name} in {columns:?}");
    }
    let input = &table.input;
    assert_eq!(input["PartitionKeys"][0]["Name"], json!("dt"));
    assert_eq!(input["Parameters"]["classification"], json!("parquet"));
    assert_eq!(input["TableType"], json!("EXTERNAL_TABLE"));
    let rows: usize = input["Parameters"]["numRows"].as_str().unwrap().parse().unwrap();
    assert!((sent.len() * 9 / 10..=sent.len()).contains(&rows), "{rows} of {}", sent.len());
    let speed =
        input["StorageDescriptor"]["Columns"].as_array().unwrap().iter().find(|c| c["Name"] == "speed");
    assert_eq!(speed.unwrap()["Comment"], json!("Speed over ground [m/s]"));
}

#[test]
fn what_died_between_manifest_and_registration_is_registered_by_the_next_without_new_data() {
    let bench = Bench::new(&[("gps_data", 1)]);
    let glue = bench.block_on(FakeGlue::start());
    glue.plan("", Fault::Refuse, usize::MAX);
    let sent = bench.send_drives("gps_data", 1, 1, 20, 0);
    let first = sink(&bench, &glue);
    bench.wait_for_rows(&first, sent.len() as u64);
    bench.wait("the refusal is in the status", || !first.status().refused.is_empty());
    drop(first);
    assert!(glue.tables().is_empty());
    glue.heal();
    let second = sink(&bench, &glue);
    bench.wait("the partitions are registered", || {
        glue.tables().get("gps_data").is_some_and(|t| !t.partitions.is_empty())
    });
    bench.stop(second);
    check(&bench, &glue);
    Lake::read(bench.folder()).check(&sent);
}

/// While Glue does not do its part, a partition does not go past its newest claim; afterwards all
/// arrives without a hand.
fn held_up_and_released(fault: Fault) {
    let bench = Bench::new(&[("gps_data", 2)]);
    let glue = bench.block_on(FakeGlue::start());
    glue.plan("", fault, usize::MAX);
    let mut sent = bench.send_drives("gps_data", 4, 2, 20, 0);
    let timeout_ms = if fault == Fault::Freeze { 500 } else { 30_000 };
    let sink = sink_that_waits(&bench, &glue, timeout_ms);
    bench.wait("the refusal is in the status", || sink.status().refused.contains_key("gps_data"));
    sent.extend(bench.send_drives("gps_data", 4, 2, 20, 2));
    bench.wait("what comes next waits in the buffers", || sink.status().buffered_bytes > 0);
    let chains = |lake: &Lake| lake.chains().values().map(|c| c.len()).max();
    let calls = glue.calls().len();
    bench.wait("Glue was asked again", || {
        glue.calls().len() > calls + 3 || (fault == Fault::Freeze && sink.status().retries > 1)
    });
    let lake = Lake::read(bench.folder());
    assert!(lake.rows.len() < sent.len(), "{fault:?}: written past what is registered");
    glue.heal();
    bench.wait_for_rows(&sink, sent.len() as u64);
    bench.wait("nothing is refused any more", || sink.status().refused.is_empty());
    bench.stop(sink);
    check(&bench, &glue);
    let lake = Lake::read(bench.folder());
    lake.check(&sent);
    assert!(chains(&lake) >= Some(2));
}

#[test]
fn a_glue_that_refuses_holds_the_table_up_and_loses_nothing() {
    held_up_and_released(Fault::Refuse);
}

#[test]
fn a_glue_that_throttles_holds_the_table_up_and_loses_nothing() {
    held_up_and_released(Fault::Throttle);
}

#[test]
fn a_frozen_glue_holds_the_table_up_and_loses_nothing() {
    held_up_and_released(Fault::Freeze);
}

#[test]
fn lost_answers_and_races_leave_what_one_clean_run_leaves() {
    let run = |faulty: bool| {
        let bench = Bench::new(&[("derived_data", 1)]);
        let glue = bench.block_on(FakeGlue::start());
        if faulty {
            for call in ["CreateDatabase", "CreateTable", "UpdateTable", "BatchCreatePartition"] {
                glue.plan(call, Fault::LoseAnswer, 1);
            }
            glue.plan("UpdateTable", Fault::Race, 3);
            glue.plan("BatchCreatePartition", Fault::Throttle, 2);
        }
        let one = sink(&bench, &glue);
        bench.send("derived_data", "v", days("v", "trips", &[("x", Value::Int(1))], 0, 3));
        bench.flush();
        bench.wait("the first partitions are there", || {
            glue.tables().get("trips").is_some_and(|t| t.partitions.len() == 3)
        });
        let later = [("x", Value::Float(0.5)), ("y", Value::Text("a".into()))];
        bench.send("derived_data", "v", days("v", "trips", &later, 3, 3));
        bench.flush();
        bench.wait("all partitions are there", || glue.tables()["trips"].partitions.len() == 6);
        bench.stop(one);
        check(&bench, &glue);
        columns_of(&glue.tables()["trips"])
    };
    let clean = run(false);
    let own: Vec<_> = clean.iter().skip(7).map(|(n, t)| (n.as_str(), t.as_str())).collect();
    assert_eq!(own, [("x", "bigint"), ("x_2", "double"), ("y", "string")]);
    assert_eq!(run(true), clean);
}

#[test]
fn two_sinks_register_one_table_whose_columns_grow() {
    let bench = Bench::new(&[("derived_data", 6)]);
    let glue = bench.block_on(FakeGlue::start());
    let (one, two) = (sink(&bench, &glue), sink(&bench, &glue));
    bench.wait("both have partitions", || one.status().partitions > 0 && two.status().partitions > 0);
    let mut rows: u64 = 0;
    for round in 0..6 {
        for v in 0..12 {
            let name = format!("c{}", (v + round) % 9);
            let value = if v % 2 == 0 { Value::Int(v) } else { Value::Bool(true) };
            let vehicle = format!("v{v}");
            bench.send(
                "derived_data",
                &vehicle,
                days(&vehicle, "trips", &[(name.as_str(), value)], round * 4, 4),
            );
            rows += 4;
        }
        bench.flush();
        let (a, b) = (one.status().rows(), two.status().rows());
        bench.wait("something was written", || one.status().rows() + two.status().rows() > a + b);
    }
    bench.wait("all rows are written", || one.status().rows() + two.status().rows() >= rows);
    bench.stop(one);
    bench.stop(two);
    // Who stopped before it had registered leaves that to the next.
    let last = sink(&bench, &glue);
    bench.wait("it knows where all partitions stand", || last.status().lag == Some(0));
    bench.stop(last);
    check(&bench, &glue);
    assert_eq!(Lake::read(bench.folder()).rows.len() as u64, rows);
    let columns = columns_of(&glue.tables()["trips"]);
    let names: BTreeSet<_> = columns.iter().map(|(n, _)| n).collect();
    assert_eq!(names.len(), columns.len());
    // Nine names, each as bigint and as boolean, behind the seven of all tables.
    assert_eq!(columns.len(), 7 + 18, "{columns:?}");
}

#[test]
fn a_table_of_another_lake_is_left_alone_and_said() {
    let bench = Bench::new(&[("gps_data", 1)]);
    let glue = bench.block_on(FakeGlue::start());
    let foreign = json!({"Name": "gps_data", "StorageDescriptor": {"Location": "s3://elsewhere/gps_data/"}});
    glue.put_table("gps_data", Table { input: foreign.clone(), ..Table::default() });
    bench.send_drives("gps_data", 1, 1, 5, 0);
    let sink = sink(&bench, &glue);
    bench.wait("it is said", || {
        sink.status().refused.get("gps_data").is_some_and(|why| why.contains("s3://elsewhere"))
    });
    drop(sink);
    assert_eq!(glue.tables()["gps_data"].input, foreign);
}

#[test]
fn what_others_have_added_to_a_table_stays() {
    let bench = Bench::new(&[("gps_data", 1)]);
    let glue = bench.block_on(FakeGlue::start());
    let input = json!({
        "Name": "gps_data", "Owner": "fleet",
        "Parameters": {"UPDATED_BY_CRAWLER": "lake", "numRows": "7"},
        "PartitionKeys": [{"Name": "dt", "Type": "string"}],
        "StorageDescriptor": {
            "Location": bench.store().uri("gps_data/"),
            "Columns": [{"Name": "vehicle_id", "Type": "string"}, {"Name": "later", "Type": "bigint"}],
        },
    });
    glue.put_table("gps_data", Table { input, ..Table::default() });
    let sent = bench.send_drives("gps_data", 1, 1, 5, 0);
    let sink = sink(&bench, &glue);
    bench.wait("the partition is there", || glue.tables()["gps_data"].partitions.len() == 1);
    bench.stop(sink);
    let table = &glue.tables()["gps_data"];
    assert_eq!(table.input["Parameters"]["UPDATED_BY_CRAWLER"], json!("lake"));
    assert_eq!(table.input["Parameters"]["numRows"], json!((7 + sent.len()).to_string()));
    assert_eq!(table.input["Owner"], json!("fleet"));
    let columns = columns_of(table);
    assert_eq!(columns.first().unwrap().0, "vehicle_id");
    assert_eq!(columns.last().unwrap().0, "later");
    assert!(columns.iter().any(|(n, t)| n == "hdop" && t == "double"));
}

/// A server that is stopped with the value.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Another Glue that nobody here wrote, asked by AWS's own client for Python.
#[test]
fn moto_s_glue_keeps_tables_and_partitions_as_described() {
    let Some(python) = std::env::var_os("MILEPOST_PYTHON") else {
        assert!(std::env::var("CI").is_err(), "In CI nothing may be missing: no Python with moto");
        return eprintln!("skipped: no Python with moto (`cargo xtask test` brings it)");
    };
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
    let serve = format!("from moto.server import main; main(['-H', '127.0.0.1', '-p', '{port}'])");
    let mut moto = Command::new(&python);
    moto.args(["-c", &serve]).stdout(Stdio::null()).stderr(Stdio::null());
    let _moto = Server(moto.spawn().unwrap());
    let endpoint = format!("http://127.0.0.1:{port}");
    let settings = GlueSettings {
        database: "fleet".into(),
        endpoint: Some(endpoint.clone()),
        ..GlueSettings::default()
    };
    let dates = |n: i32| (0..n).map(|i| format!("{:04}-{:02}-01", 2000 + i / 12, i % 12 + 1)).collect();
    let mut table = Description::built_in(&Stream::Gps).unwrap();
    let news = |table: &Description, n, rows| News {
        table: table.clone(),
        location: "s3://lake/p/gps_data/".into(),
        dates: dates(n),
        rows,
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let glue = Glue::open(&settings, &FakeGlue::credentials()).await;
        let began = Instant::now();
        while let Err(e) = glue.register(&news(&table, 150, 10)).await {
            assert!(began.elapsed() < Duration::from_secs(120), "{e}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        // What is there already is well, and a column more changes the table alone.
        glue.register(&news(&table, 150, 0)).await.unwrap();
        let later = Column { name: "later".into(), required: false, ..table.columns[2].clone() };
        table.columns.push(later);
        glue.register(&news(&table, 250, 5)).await.unwrap();
    });
    let out =
        Command::new(&python).args(["../tests/python/glue_tables.py", &endpoint, "fleet"]).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let seen: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    let seen = &seen["gps_data"];
    let columns: Vec<_> =
        seen["columns"].as_array().unwrap().iter().map(|c| c[0].as_str().unwrap()).collect();
    let described: Vec<_> = table.columns.iter().map(|c| c.name.as_ref()).collect();
    assert_eq!(columns, described);
    assert_eq!(seen["columns"][3], json!(["ts", "timestamp", "Event time, UTC, cut to milliseconds"]));
    assert_eq!(seen["keys"], json!([["dt", "string"]]));
    assert_eq!(seen["location"], json!("s3://lake/p/gps_data/"));
    assert_eq!(seen["parameters"]["classification"], json!("parquet"));
    assert_eq!(seen["parameters"]["numRows"], json!("15"));
    let partitions = seen["partitions"].as_object().unwrap();
    assert_eq!(partitions.len(), 250);
    assert_eq!(partitions["2000-02-01"], json!("s3://lake/p/gps_data/dt=2000-02-01/"));
}
