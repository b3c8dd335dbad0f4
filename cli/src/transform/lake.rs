//! Rows of the lake's tables back to readings. A table's columns have the everyday names and units that
//! NDJSON has, so a row is turned into a line and parsed: nothing here knows a stream's columns.

use super::readings::{Located, Wanted, parser};
use crate::Failure;
use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type};
use arrow_array::{Array, RecordBatch};
use arrow_schema::DataType;
use milepost_agent::ndjson::Parser;
use milepost_wire::Reading;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use serde_json::{Map, Value as Json};
use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};

/// The most rows that are read.
const MAX_ROWS: usize = 1_000_000;
/// The most files and folders that are looked at to find the Parquet files among them.
const MAX_ENTRIES: usize = 20_000;
/// The columns of every table that are not the reading's own.
const NOT_OWN: [&str; 6] = ["vehicle_id", "boot_id", "seq", "ts", "ts_us", "lineage"];

/// A row, with what it is sorted by.
struct Row {
    vehicle: String,
    ts: i64,
    seq: i64,
    reading: Reading,
}

/// Reads a file of a table, or a table's folder: the rows of one vehicle, by time.
pub(super) fn read(path: &Path, vehicle: Option<&str>) -> Result<Vec<Located>, Failure> {
    let mut files = Vec::new();
    list(path, &mut files, &mut 0)?;
    files.sort();
    let mut rows = Vec::new();
    for file in &files {
        read_file(file, vehicle, &mut rows).map_err(|e| format!("{}: {e}", file.display()))?;
    }
    let vehicles: BTreeSet<&str> = rows.iter().map(|r| r.vehicle.as_str()).collect();
    if vehicles.len() > 1 {
        let (shown, some) = (path.display(), vehicles.iter().take(5).copied().collect::<Vec<_>>().join(", "));
        return Err(format!("{shown} has rows of {} vehicles ({some}): name one", vehicles.len()).into());
    }
    if rows.is_empty() {
        let whose = vehicle.map_or_else(String::new, |v| format!(" of vehicle {v}"));
        return Err(format!("{} has no rows{whose} in Parquet files", path.display()).into());
    }
    rows.sort_by_key(|r| (r.ts, r.seq));
    let located = |(i, row): (usize, Row)| Located { reading: row.reading, place: format!("row {}", i + 1) };
    Ok(rows.into_iter().enumerate().map(located).collect())
}

/// Adds the Parquet files below a folder. `seen` counts what was looked at: a folder that is no lake may hold
/// a whole disk.
fn list(path: &Path, files: &mut Vec<PathBuf>, seen: &mut usize) -> Result<(), Failure> {
    if path.is_file() {
        files.push(path.into());
        return Ok(());
    }
    let entries = std::fs::read_dir(path).map_err(|e| format!("{} cannot be read: {e}", path.display()))?;
    for entry in entries {
        let (path, link) = entry.and_then(|e| Ok((e.path(), e.file_type()?.is_symlink())))?;
        *seen += 1;
        if *seen > MAX_ENTRIES {
            let shown = path.display();
            return Err(format!(
                "more than {MAX_ENTRIES} files and folders up to {shown}: name a table's folder, or one below"
            )
            .into());
        }
        // A link to a folder may lead in a circle.
        if (path.is_dir() && !link) || path.extension().is_some_and(|e| e == "parquet") {
            list(&path, files, seen)?;
        }
    }
    Ok(())
}

fn read_file(path: &Path, vehicle: Option<&str>, rows: &mut Vec<Row>) -> Result<(), String> {
    let table = table_of(path)?;
    let file = File::open(path).map_err(|e| e.to_string())?;
    let unreadable = |e| format!("it is no readable Parquet file: {e}");
    // Plain types, whatever was written: no dictionaries.
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    let reader = ParquetRecordBatchReaderBuilder::try_new_with_options(file, options).map_err(unreadable)?;
    let reader = reader.build().map_err(unreadable)?;
    let mut parser = parser(&Wanted::default());
    for batch in reader {
        let batch = batch.map_err(|e| format!("it cannot be read to its end: {e}"))?;
        for i in 0..batch.num_rows() {
            let of = text(&batch, "vehicle_id", i)?;
            if vehicle.is_some_and(|wanted| wanted != of) {
                continue;
            }
            if rows.len() == MAX_ROWS {
                return Err(format!("with it there are more than {MAX_ROWS} rows: give fewer files"));
            }
            rows.push(row(&table, &batch, i, of, &mut parser).map_err(|e| format!("row {}: {e}", i + 1))?);
        }
    }
    Ok(())
}

/// The table that a file is of: the folder above `dt=…`.
fn table_of(path: &Path) -> Result<String, String> {
    let whole = std::fs::canonicalize(path).map_err(|e| e.to_string())?;
    let names = whole.ancestors().skip(1).filter_map(|a| a.file_name()?.to_str());
    let mut above = names.skip_while(|name| name.starts_with("dt="));
    let table = above.next().ok_or("it stands in no table's folder")?;
    Ok(table.to_owned())
}

fn row(
    table: &str,
    batch: &RecordBatch,
    i: usize,
    vehicle: String,
    parser: &mut Parser,
) -> Result<Row, String> {
    let mut line = Map::new();
    let (ts, seq) = (int(batch, "ts_us", i)?, int(batch, "seq", i)?);
    line.insert("stream".into(), table.into());
    line.insert("ts".into(), ts.into());
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        if !NOT_OWN.contains(&field.name().as_str()) {
            line.insert(field.name().clone(), json(column, i)?);
        }
    }
    if table == "camera_data" {
        return Err("the images are not in the table: record NDJSON instead".into());
    }
    let reading = parser.parse(&Json::Object(line).to_string(), None).map_err(|e| e.to_string())?;
    Ok(Row { vehicle, ts, seq, reading })
}

fn json(column: &dyn Array, i: usize) -> Result<Json, String> {
    if column.is_null(i) {
        return Ok(Json::Null);
    }
    Ok(match column.data_type() {
        DataType::Int64 => column.as_primitive::<Int64Type>().value(i).into(),
        DataType::Float64 => column.as_primitive::<Float64Type>().value(i).into(),
        DataType::Boolean => column.as_boolean().value(i).into(),
        DataType::Utf8 => column.as_string::<i32>().value(i).into(),
        other => return Err(format!("a column of {other} cannot be made a reading's")),
    })
}

fn text(batch: &RecordBatch, name: &str, i: usize) -> Result<String, String> {
    let column = batch.column_by_name(name).and_then(|c| c.as_string_opt::<i32>());
    Ok(column.ok_or_else(|| format!("it has no texts {name}"))?.value(i).to_owned())
}

fn int(batch: &RecordBatch, name: &str, i: usize) -> Result<i64, String> {
    let column = batch.column_by_name(name).and_then(|c| c.as_primitive_opt::<Int64Type>());
    Ok(column.ok_or_else(|| format!("it has no numbers {name}"))?.value(i))
}
