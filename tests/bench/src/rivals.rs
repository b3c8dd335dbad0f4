//! The same batch in other formats, with the libraries that people use for them.
//!
//! JSON repeats vehicle, boot and sequence number in every reading, with everyday names and units, as
//! such messages are usually sent. CBOR, Avro, protobuf and Parquet get an envelope that says those
//! once, and integers in fixed point. A compressor works on one batch at a time.

use arrow_array::{ArrayRef, BinaryArray, Float64Array, Int64Array, RecordBatch, StringArray};
use milepost_wire::{Batch, Kind, Value};
use serde_json::{Map, Value as Json, json};
use std::io::Write;
use std::sync::Arc;

/// The names of [`sizes`], in its order.
pub const NAMES: [&str; 8] =
    ["Milepost", "JSON", "JSON + gzip", "CBOR", "Avro", "protobuf", "protobuf + snappy", "Parquet (zstd)"];

/// The bytes of a batch in each format.
pub fn sizes(batch: &Batch) -> [usize; 8] {
    let frame = milepost_wire::frame::encode(batch).expect("a batch within the rules");
    let json = json(batch);
    let protobuf = protobuf(batch);
    let snappy = snap::raw::Encoder::new().compress_vec(&protobuf).expect("a small input");
    let sizes =
        [&frame, &json, &gzip(&json), &cbor(batch), &avro(batch), &protobuf, &snappy, &parquet(batch)];
    sizes.map(|bytes| bytes.len())
}

/// A column's everyday name, how many of its units make one, and the decimals that leaves.
fn everyday(name: &str) -> (&str, f64, i32) {
    match name {
        "lat_e7" => ("latitude", 1e7, 7),
        "lon_e7" => ("longitude", 1e7, 7),
        "altitude_cm" => ("altitude", 100.0, 2),
        "speed_mm_s" => ("speed", 1000.0, 3),
        "wind_speed_mm_s" => ("wind_speed", 1000.0, 3),
        "heading_cdeg" => ("heading", 100.0, 2),
        "hdop_e2" => ("hdop", 100.0, 2),
        "temperature_c_e2" => ("temperature", 100.0, 2),
        "precipitation_mm_h_e2" => ("precipitation", 100.0, 2),
        "humidity_pct_e2" => ("humidity", 100.0, 2),
        _ => (name, 1.0, 0),
    }
}

/// Every reading as an object of its own; nulls are left out.
pub fn json(batch: &Batch) -> Vec<u8> {
    let rows: Vec<Json> = (0..batch.len())
        .map(|i| {
            let mut row = Map::new();
            row.insert("vehicle_id".into(), json!(batch.vehicle.as_str()));
            row.insert("boot_id".into(), json!(batch.boot.to_string()));
            row.insert("seq".into(), json!(batch.first_seq + i as u64));
            row.insert("timestamp".into(), json!(rfc3339(batch.rows.ts[i])));
            for column in &batch.rows.columns {
                let (name, unit, decimals) = everyday(&column.spec.name);
                let value = match column.value(i) {
                    Value::Null => continue,
                    Value::Int(v) if unit == 1.0 => json!(v),
                    Value::Int(v) => {
                        let scale = 10f64.powi(decimals);
                        json!((v as f64 / unit * scale).round() / scale)
                    }
                    Value::Float(v) => json!(v),
                    Value::Bool(v) => json!(v),
                    Value::Text(v) => json!(v),
                    Value::Bytes(v) => json!(base64(&v)),
                };
                row.insert(name.into(), value);
            }
            Json::Object(row)
        })
        .collect();
    serde_json::to_vec(&rows).expect("JSON of JSON values")
}

/// A time as RFC 3339, with as many decimals as it needs of 3 or 6.
fn rfc3339(us: i64) -> String {
    let (days, rest) = (us.div_euclid(86_400_000_000), us.rem_euclid(86_400_000_000));
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day = shifted.rem_euclid(146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let (d, m) = (of_year - (153 * month + 2) / 5 + 1, if month < 10 { month + 3 } else { month - 9 });
    let y = year + era * 400 + i64::from(m <= 2);
    let (s, us) = (rest / 1_000_000, rest % 1_000_000);
    let part = if us % 1000 == 0 { format!("{:03}", us / 1000) } else { format!("{us:06}") };
    format!("{y:04}-{m:02}-{d:02}T{:02}:{:02}:{:02}.{part}Z", s / 3600, s / 60 % 60, s % 60)
}

/// gzip at level 6, its usual one.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
    encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("writing to memory")
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let group = |three: &[u8]| {
        let bits = three.iter().fold(0u32, |bits, b| bits << 8 | u32::from(*b)) << (8 * (3 - three.len()));
        let digit = move |i: usize| {
            if i > three.len() { '=' } else { DIGITS[(bits >> (18 - 6 * i)) as usize & 63].into() }
        };
        [digit(0), digit(1), digit(2), digit(3)]
    };
    bytes.chunks(3).flat_map(group).collect()
}

/// An envelope with an array for each reading, the names of columns left out.
fn cbor(batch: &Batch) -> Vec<u8> {
    use ciborium::Value as Cbor;
    let row = |i: usize| {
        let own = batch.rows.columns.iter().map(|c| match c.value(i) {
            Value::Null => Cbor::Null,
            Value::Int(v) => v.into(),
            Value::Float(v) => v.into(),
            Value::Bool(v) => v.into(),
            Value::Text(v) => v.into(),
            Value::Bytes(v) => v.into(),
        });
        Cbor::Array(std::iter::once(batch.rows.ts[i].into()).chain(own).collect())
    };
    let field = |name: &str, value: Cbor| (name.into(), value);
    let envelope = Cbor::Map(vec![
        field("vehicle_id", batch.vehicle.as_str().into()),
        field("boot_id", batch.boot.0.into()),
        field("stream", batch.stream.name().into()),
        field("first_seq", batch.first_seq.into()),
        field("readings", Cbor::Array((0..batch.len()).map(row).collect())),
    ]);
    let mut out = Vec::new();
    ciborium::into_writer(&envelope, &mut out).expect("writing to memory");
    out
}

/// A record with an array of records; the schema is not in it, as with a registry.
fn avro(batch: &Batch) -> Vec<u8> {
    use apache_avro::types::Value as Avro;
    let kind = |k: Kind| match k {
        Kind::Int => "long",
        Kind::Float => "double",
        Kind::Bool => "boolean",
        Kind::Text => "string",
        Kind::Bytes => "bytes",
    };
    let own = batch
        .rows
        .columns
        .iter()
        .map(|c| json!({ "name": c.spec.name, "type": ["null", kind(c.spec.kind)] }));
    let fields: Vec<Json> = std::iter::once(json!({ "name": "ts", "type": "long" })).chain(own).collect();
    let schema = json!({ "type": "record", "name": "Batch", "fields": [
        { "name": "vehicle_id", "type": "string" },
        { "name": "boot_id", "type": { "type": "fixed", "size": 8, "name": "Boot" } },
        { "name": "stream", "type": "string" },
        { "name": "first_seq", "type": "long" },
        { "name": "readings", "type": { "type": "array", "items":
            { "type": "record", "name": "Reading", "fields": fields } } },
    ] });
    let schema = apache_avro::Schema::parse(&schema).expect("a schema");
    let row = |i: usize| {
        let mut row = vec![("ts".to_owned(), Avro::Long(batch.rows.ts[i]))];
        row.extend(batch.rows.columns.iter().map(|c| {
            let (place, value) = match c.value(i) {
                Value::Null => (0, Avro::Null),
                Value::Int(v) => (1, Avro::Long(v)),
                Value::Float(v) => (1, Avro::Double(v)),
                Value::Bool(v) => (1, Avro::Boolean(v)),
                Value::Text(v) => (1, Avro::String(v)),
                Value::Bytes(v) => (1, Avro::Bytes(v)),
            };
            (c.spec.name.clone().into_owned(), Avro::Union(place, Box::new(value)))
        }));
        Avro::Record(row)
    };
    let record = Avro::Record(vec![
        ("vehicle_id".into(), Avro::String(batch.vehicle.to_string())),
        ("boot_id".into(), Avro::Fixed(8, batch.boot.0.to_be_bytes().to_vec())),
        ("stream".into(), Avro::String(batch.stream.to_string())),
        ("first_seq".into(), Avro::Long(batch.first_seq as i64)),
        ("readings".into(), Avro::Array((0..batch.len()).map(row).collect())),
    ]);
    apache_avro::to_avro_datum(&schema, record).expect("a record of the schema")
}

/// A message with a repeated message for the readings: positions as `sfixed32`, other integers as
/// `sint64`, by prost's own encoders.
fn protobuf(batch: &Batch) -> Vec<u8> {
    use prost::encoding as pb;
    let mut out = Vec::new();
    pb::string::encode(1, &batch.vehicle.to_string(), &mut out);
    pb::string::encode(2, &batch.stream.to_string(), &mut out);
    pb::fixed64::encode(3, &batch.boot.0, &mut out);
    pb::uint64::encode(4, &batch.first_seq, &mut out);
    for i in 0..batch.len() {
        let mut row = Vec::new();
        pb::uint64::encode(1, &(batch.rows.ts[i] as u64), &mut row);
        for (tag, column) in (2..).zip(&batch.rows.columns) {
            match column.value(i) {
                Value::Null => {}
                Value::Int(v) if matches!(&*column.spec.name, "lat_e7" | "lon_e7") => {
                    pb::sfixed32::encode(tag, &(v as i32), &mut row);
                }
                Value::Int(v) => pb::sint64::encode(tag, &v, &mut row),
                Value::Float(v) => pb::double::encode(tag, &v, &mut row),
                Value::Bool(v) => pb::bool::encode(tag, &v, &mut row),
                Value::Text(v) => pb::string::encode(tag, &v, &mut row),
                Value::Bytes(v) => pb::bytes::encode(tag, &v, &mut row),
            }
        }
        pb::bytes::encode(5, &row, &mut out);
    }
    out
}

fn parquet(batch: &Batch) -> Vec<u8> {
    use parquet::arrow::ArrowWriter;
    let n = batch.len();
    let own = batch.rows.columns.iter().map(|c| {
        let array: ArrayRef = match c.spec.kind {
            Kind::Int => Arc::new(Int64Array::from_iter((0..n).map(|i| c.int(i)))),
            Kind::Float => Arc::new(Float64Array::from_iter((0..n).map(|i| match c.value(i) {
                Value::Float(v) => Some(v),
                _ => None,
            }))),
            Kind::Bool => Arc::new(Int64Array::from_iter((0..n).map(|i| match c.value(i) {
                Value::Bool(v) => Some(i64::from(v)),
                _ => None,
            }))),
            Kind::Text => Arc::new(StringArray::from_iter((0..n).map(|i| c.text(i)))),
            Kind::Bytes => Arc::new(BinaryArray::from_iter((0..n).map(|i| c.bytes(i)))),
        };
        (c.spec.name.clone().into_owned(), array)
    });
    let ts: ArrayRef = Arc::new(Int64Array::from(batch.rows.ts.clone()));
    let batch = RecordBatch::try_from_iter(std::iter::once(("ts".to_owned(), ts)).chain(own))
        .expect("columns of a length");
    let properties = parquet::file::properties::WriterProperties::builder()
        .set_compression(parquet::basic::Compression::ZSTD(Default::default()))
        .build();
    let mut out = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut out, batch.schema(), Some(properties)).expect("a schema");
    writer.write(&batch).and_then(|()| writer.close().map(drop)).expect("writing to memory");
    out
}
