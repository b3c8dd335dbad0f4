//! The matrix of schema evolution: a derived table gets files of one generation of a transform and then of
//! another, and every reader reads both together, each value where it belongs.

use milepost_sink::build::{Record, build};
use milepost_sink::claim::Range;
use milepost_sink::columns::log::{ColumnLog, wants};
use milepost_sink::dedupe::Memory;
use milepost_sink::ledger::{Chain, Shape};
use milepost_sink::store::{Folder, Store};
use milepost_tests::{python, script, skip};
use milepost_wire::reading::Derived;
use milepost_wire::{
    Batch, Body, BootId, Clock, ColumnSpec, Reading, Stream, StreamName, Value, VehicleId, frame,
};
use serde_json::{Value as Json, json};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

type Columns = Vec<(&'static str, Value)>;

/// What the first generation sends, what the second does, and the rows that come of it.
struct Cell {
    name: &'static str,
    sent: [Columns; 2],
    rows: Json,
    /// In DuckDB's words.
    types: Json,
}

fn cell(name: &'static str, v1: Columns, v2: Columns, rows: Json, types: Json) -> Cell {
    Cell { name, sent: [v1, v2], rows, types }
}

fn cells() -> Vec<Cell> {
    use Value::{Bool, Bytes, Float, Int, Text};
    let text = |t: &str| Text(t.into());
    let big = (1 << 53) + 1;
    vec![
        cell(
            "nothing changes",
            vec![("x", Int(1))],
            vec![("x", Int(2))],
            json!([{"x": 1}, {"x": 2}]),
            json!({"x": "BIGINT"}),
        ),
        cell(
            "a column is added",
            vec![("x", Int(1))],
            vec![("x", Int(2)), ("y", text("é"))],
            json!([{"x": 1, "y": null}, {"x": 2, "y": "é"}]),
            json!({"x": "BIGINT", "y": "VARCHAR"}),
        ),
        cell(
            "a column is left out",
            vec![("x", Int(1)), ("y", Bool(true))],
            vec![("x", Int(2))],
            json!([{"x": 1, "y": true}, {"x": 2, "y": null}]),
            json!({"x": "BIGINT", "y": "BOOLEAN"}),
        ),
        cell(
            "columns change places",
            vec![("x", Int(1)), ("y", Float(0.5))],
            vec![("y", Float(1.5)), ("x", Int(2))],
            json!([{"x": 1, "y": 0.5}, {"x": 2, "y": 1.5}]),
            json!({"x": "BIGINT", "y": "DOUBLE"}),
        ),
        cell(
            "a column is renamed",
            vec![("x", Int(1))],
            vec![("z", Int(2))],
            json!([{"x": 1, "z": null}, {"x": null, "z": 2}]),
            json!({"x": "BIGINT", "z": "BIGINT"}),
        ),
        cell(
            "double, then integers that are exact",
            vec![("x", Float(0.5))],
            vec![("x", Int(2))],
            json!([{"x": 0.5}, {"x": 2.0}]),
            json!({"x": "DOUBLE"}),
        ),
        cell(
            "double, then integers that are not",
            vec![("x", Float(0.5))],
            vec![("x", Int(big))],
            json!([{"x": 0.5, "x_2": null}, {"x": null, "x_2": big}]),
            json!({"x": "DOUBLE", "x_2": "BIGINT"}),
        ),
        cell(
            "bigint, then double",
            vec![("x", Int(1))],
            vec![("x", Float(0.5))],
            json!([{"x": 1, "x_2": null}, {"x": null, "x_2": 0.5}]),
            json!({"x": "BIGINT", "x_2": "DOUBLE"}),
        ),
        cell(
            "bigint, then text",
            vec![("x", Int(1))],
            vec![("x", text("a"))],
            json!([{"x": 1, "x_2": null}, {"x": null, "x_2": "a"}]),
            json!({"x": "BIGINT", "x_2": "VARCHAR"}),
        ),
        cell(
            "text, then bytes",
            vec![("x", text("a"))],
            vec![("x", Bytes(vec![0, 255]))],
            json!([{"x": "a", "x_2": null}, {"x": null, "x_2": "00ff"}]),
            json!({"x": "VARCHAR", "x_2": "BLOB"}),
        ),
        cell(
            "boolean, then integer",
            vec![("x", Bool(true))],
            vec![("x", Int(1))],
            json!([{"x": true, "x_2": null}, {"x": null, "x_2": 1}]),
            json!({"x": "BOOLEAN", "x_2": "BIGINT"}),
        ),
        cell(
            "a name that every table has",
            vec![("seq", Int(7))],
            vec![("seq", Int(8)), ("dt", text("a"))],
            json!([{"seq_value": 7, "dt_value": null}, {"seq_value": 8, "dt_value": "a"}]),
            json!({"seq_value": "BIGINT", "dt_value": "VARCHAR"}),
        ),
        cell(
            "the name of a second column is taken",
            vec![("x", Int(1)), ("x_2", Int(2))],
            vec![("x", Bool(true)), ("x_2", Int(3))],
            json!([{"x": 1, "x_2": 2, "x_3": null}, {"x": null, "x_2": 3, "x_3": true}]),
            json!({"x": "BIGINT", "x_2": "BIGINT", "x_3": "BOOLEAN"}),
        ),
    ]
}

/// A frame of one row.
fn frame_of(columns: &Columns, seq: u64) -> Vec<u8> {
    let specs: Vec<ColumnSpec> = columns
        .iter()
        .map(|(name, value)| ColumnSpec::new(*name, value.kind().expect("a value")).expect("a name"))
        .collect();
    let stream = StreamName::new("trips").expect("a name");
    let vehicle = VehicleId::new("v").expect("a name");
    let mut batch = Batch::new(vehicle, BootId(1), Stream::Derived(stream.clone()), &specs, seq, Vec::new());
    let values = columns.iter().map(|(_, value)| value.clone()).collect();
    let body = Body::Derived(Derived { stream, columns: specs.into(), values });
    batch.push(&Reading { ts: 1_795_392_000_000_000, clock: Clock::Gps, body }).expect("room");
    frame::encode(&batch).expect("a frame")
}

/// Writes each generation into a file of its own, by a sink that begins anew.
async fn write(lake: &Path, generations: &[Columns]) {
    let store: Arc<dyn Store> = Arc::new(Folder::open(lake).expect("a folder"));
    let chain = Chain { topic: "derived_data".into(), topic_id: "0".repeat(32), partition: 0 };
    let shape = Shape { frame_max: 1, row_group_rows: 1000, zstd_level: 1, images: String::new() };
    for (n, columns) in generations.iter().enumerate() {
        let value = frame_of(columns, n as u64).into();
        let records = [Record { offset: n as i64, at_ms: 1_795_392_000_000, value }];
        let log = ColumnLog::new(store.clone(), "a test".into(), || 0);
        let tables = log.agree(&wants(&records, shape.frame_max)).await.expect("columns");
        let range = Range { first: n as i64, last: n as i64 };
        let built = build(&chain, range, &shape, &records, &Memory::default(), &tables).expect("files");
        assert_eq!(built.files.len(), 1);
        for file in built.files {
            store.put_if_absent(&file.key, file.body).await.expect("it is put");
        }
    }
}

#[test]
fn every_reader_reads_old_and_new_files_together() {
    let Some(python) = python() else {
        return skip("no Python with pyarrow and DuckDB");
    };
    let dir = tempfile::tempdir().expect("a temporary folder");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    for cell in cells() {
        runtime.block_on(write(&dir.path().join(cell.name), &cell.sent));
    }
    let out = Command::new(&python).arg(script("read_evolved.py")).arg(dir.path()).output().expect("Python");
    let text = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success(), "{text}\n{}", String::from_utf8_lossy(&out.stderr));
    let read: Json = serde_json::from_str(&text).expect("JSON");
    for cell in cells() {
        for reader in ["pyarrow", "duckdb"] {
            assert_eq!(read[cell.name][reader]["rows"], cell.rows, "{}, {reader}", cell.name);
        }
        assert_eq!(read[cell.name]["duckdb"]["types"], cell.types, "{}", cell.name);
    }
}
