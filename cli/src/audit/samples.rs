//! Parquet files for tests, made with the column types that the lake's tables have.

use arrow_array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMillisecondArray};
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use std::ops::Range;
use std::sync::Arc;

/// The time of all rows: noon of 2026-01-01.
const TS_MS: i64 = 1_767_268_800_000;

/// Vehicle, boot, numbers.
pub(crate) type Rows<'a> = (&'a str, u64, Range<u64>);

/// A file of these rows, with the columns that every table has and the audit reads.
pub(crate) fn rows(rows: &[Rows]) -> Bytes {
    file(common(rows))
}

/// A file of a derived table with one column of numbers.
pub(crate) fn derived(rows: &[Rows], name: &'static str) -> Bytes {
    let mut columns = common(rows);
    let n = columns[0].1.len();
    columns.push((name, Arc::new(Float64Array::from(vec![0.5; n]))));
    file(columns)
}

/// A file of `camera_data`: every row has the same image.
pub(crate) fn camera(rows: &[Rows], image: &str) -> Bytes {
    let mut columns = common(rows);
    let n = columns[0].1.len();
    columns.push(("image", Arc::new(StringArray::from(vec![image; n]))));
    file(columns)
}

/// A file of `agent_health`: each row says of a stream its next number.
pub(crate) fn health(vehicle: &str, boot: u64, streams: &[(&str, u64)]) -> Bytes {
    let rows: Vec<_> = streams.iter().map(|(name, next)| ("stream", *name, [0, *next, 0, 0])).collect();
    report(vehicle, boot, &rows)
}

/// A file of `agent_health`: component, name; received, emitted, taken out, poison.
pub(crate) fn report(vehicle: &str, boot: u64, rows: &[(&str, &str, [u64; 4])]) -> Bytes {
    let mut columns = common(&[(vehicle, boot, 0..rows.len() as u64)]);
    columns.push(("component", Arc::new(StringArray::from(rows.iter().map(|r| r.0).collect::<Vec<_>>()))));
    columns.push(("name", Arc::new(StringArray::from(rows.iter().map(|r| r.1).collect::<Vec<_>>()))));
    for (i, name) in ["received", "emitted", "taken_out", "poison"].into_iter().enumerate() {
        let counts = rows.iter().map(|r| r.2[i] as i64);
        columns.push((name, Arc::new(Int64Array::from_iter_values(counts))));
    }
    file(columns)
}

/// A file of `gap_data`: one gap of `stream`.
pub(crate) fn gap(
    vehicle: &str,
    boot: u64,
    stream: &str,
    first: i64,
    last: Option<i64>,
    count: i64,
) -> Bytes {
    let mut columns = common(&[(vehicle, boot, 0..1)]);
    columns.push(("stream", Arc::new(StringArray::from(vec![stream]))));
    columns.push(("gap_boot_id", Arc::new(StringArray::from(vec![format!("{boot:016x}")]))));
    columns.push(("first_seq", Arc::new(Int64Array::from(vec![first]))));
    columns.push(("last_seq", Arc::new(Int64Array::from(vec![last]))));
    columns.push(("count", Arc::new(Int64Array::from(vec![count]))));
    file(columns)
}

/// A file of `gap_data`: `count` readings of `gps_data` are lost, without their numbers.
pub(crate) fn lost(vehicle: &str, boot: u64, seq: u64, count: i64) -> Bytes {
    let mut columns = common(&[(vehicle, boot, seq..seq + 1)]);
    let boots = StringArray::from(vec![format!("{boot:016x}")]);
    columns.push(("stream", Arc::new(StringArray::from(vec!["gps_data"]))));
    columns.push(("gap_boot_id", Arc::new(boots)));
    for name in ["first_seq", "last_seq"] {
        columns.push((name, Arc::new(Int64Array::from(vec![None]))));
    }
    columns.push(("count", Arc::new(Int64Array::from(vec![count]))));
    file(columns)
}

fn common(rows: &[Rows]) -> Vec<(&'static str, ArrayRef)> {
    let each =
        || rows.iter().flat_map(|(vehicle, boot, seqs)| seqs.clone().map(move |s| (*vehicle, *boot, s)));
    vec![
        ("vehicle_id", Arc::new(StringArray::from(each().map(|r| r.0).collect::<Vec<_>>()))),
        ("boot_id", Arc::new(StringArray::from(each().map(|r| format!("{:016x}", r.1)).collect::<Vec<_>>()))),
        ("seq", Arc::new(Int64Array::from(each().map(|r| r.2 as i64).collect::<Vec<_>>()))),
        ("ts", Arc::new(TimestampMillisecondArray::from(vec![TS_MS; each().count()]).with_timezone("UTC"))),
    ]
}

fn file(columns: Vec<(&'static str, ArrayRef)>) -> Bytes {
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap().into()
}
