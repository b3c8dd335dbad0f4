//! Columns of the wire → columns of the tables, gathered over many frames into Arrow batches.
//!
//! The only module that knows what table columns are called and which unit they are in. No struct is
//! built for a reading: a column of a frame is appended to a column of the table as a whole.

use arrow_array::builder::{BooleanBufferBuilder, NullBufferBuilder};
use arrow_array::types::Int32Type;
use arrow_array::{
    ArrayRef, BinaryArray, BooleanArray, DictionaryArray, Float64Array, Int32Array, Int64Array, RecordBatch,
    StringArray, TimestampMillisecondArray,
};
use arrow_buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef, TimeUnit};
use milepost_wire::{Batch, Clock, Column, ColumnSpec, Kind, Stream, Values};
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

/// The columns that every table has.
pub const COMMON: [&str; 7] = ["vehicle_id", "boot_id", "seq", "ts", "ts_us", "clock", "lineage"];

/// Fixed-point columns of the wire's built-in streams: name there, name in tables, and what to divide
/// by for the unit that tables have.
const FIXED_POINT: [(&str, &str, f64); 10] = [
    ("lat_e7", "lat", 1e7),
    ("lon_e7", "lon", 1e7),
    ("altitude_cm", "altitude", 1e2),
    ("speed_mm_s", "speed", 1e3),
    ("heading_cdeg", "heading", 1e2),
    ("hdop_e2", "hdop", 1e2),
    ("temperature_c_e2", "temperature", 1e2),
    ("precipitation_mm_h_e2", "precipitation", 1e2),
    ("wind_speed_mm_s", "wind_speed", 1e3),
    ("humidity_pct_e2", "humidity", 1e2),
];

/// Columns whose values hardly ever repeat, for which a dictionary is only work.
pub const NO_DICTIONARY: [&str; 5] = ["seq", "ts", "ts_us", "lat", "lon"];

/// Columns by whose least and greatest value nobody finds a row; comparing texts for it is much of the
/// work of writing a file.
pub const NO_STATISTICS: [&str; 2] = ["clock", "lineage"];

/// The values of one column of a table.
enum Cells {
    Int(Vec<i64>),
    Float(Vec<f64>),
    Bool(BooleanBufferBuilder),
    Text { offsets: Vec<i32>, data: Vec<u8> },
    Bytes { offsets: Vec<i32>, data: Vec<u8> },
}

struct TableColumn {
    name: String,
    kind: Kind,
    cells: Cells,
    nulls: NullBufferBuilder,
}

/// A text column of few values, each kept once.
#[derive(Default)]
struct Repeated {
    values: Vec<String>,
    known: HashMap<String, i32>,
    keys: Vec<i32>,
}

/// Where a frame's column goes.
#[derive(Clone, Copy)]
struct Target {
    column: usize,
    divisor: f64,
}

/// The rows of one table, until they are taken as an Arrow batch.
pub struct TableRows {
    built_in: bool,
    vehicle: Repeated,
    boot: Repeated,
    clock: Repeated,
    lineage: Repeated,
    seq: Vec<i64>,
    ts_us: Vec<i64>,
    columns: Vec<TableColumn>,
    targets: HashMap<ColumnSpec, Target>,
}

/// The name of the table that a stream's rows are in.
pub fn table_of(stream: &Stream) -> &str {
    stream.name()
}

/// Whether the frame's columns can be columns of its table: a built-in stream has exactly its own.
pub fn fits(batch: &Batch) -> bool {
    let own = match batch.stream.columns() {
        Some(columns) => columns.iter().eq(batch.rows.columns.iter().map(|c| &c.spec)),
        None => true,
    };
    let rows = batch.len();
    let whole = batch.rows.clock.len() == rows && batch.rows.columns.iter().all(|c| is_whole(c, rows));
    own && whole && batch.first_seq.checked_add(rows as u64).is_some_and(|end| end <= i64::MAX as u64)
}

/// Whether a column has its `rows` rows, and text where it says so.
fn is_whole(column: &Column, rows: usize) -> bool {
    let validity = column.validity.as_ref().is_none_or(|v| v.len() == rows);
    let values = match &column.values {
        Values::Text(v) | Values::Bytes(v) => {
            let end = v.offsets.last().is_some_and(|&end| end as usize <= v.data.len());
            v.offsets.first() == Some(&0) && end && v.offsets.is_sorted()
        }
        _ => true,
    };
    let text = match &column.values {
        Values::Text(v) => str::from_utf8(&v.data)
            .is_ok_and(|text| v.offsets.iter().all(|&at| text.is_char_boundary(at as usize))),
        _ => true,
    };
    validity && values && text && column.len() == rows
}

impl TableRows {
    /// No rows of a stream yet.
    pub fn new(stream: &Stream) -> Self {
        let mut rows = Self {
            built_in: stream.columns().is_some(),
            vehicle: Repeated::default(),
            boot: Repeated::default(),
            clock: Repeated::default(),
            lineage: Repeated::default(),
            seq: Vec::new(),
            ts_us: Vec::new(),
            columns: Vec::new(),
            targets: HashMap::new(),
        };
        for spec in stream.columns().unwrap_or_default() {
            rows.target(spec);
        }
        rows
    }

    /// Rows that wait to be taken.
    pub fn len(&self) -> usize {
        self.seq.len()
    }

    /// Whether no row waits.
    pub fn is_empty(&self) -> bool {
        self.seq.is_empty()
    }

    /// Appends some rows of a frame. `image_uri` makes an image's URI of its row.
    pub fn append(&mut self, batch: &Batch, rows: Range<usize>, image_uri: &dyn Fn(usize) -> Option<String>) {
        let (before, count) = (self.len(), rows.len());
        // Before the rows are counted, since a new column begins with nulls for those that are there.
        let targets: Vec<Target> = batch.rows.columns.iter().map(|c| self.target(&c.spec)).collect();
        self.vehicle.push(batch.vehicle.as_str(), count);
        self.boot.push(&batch.boot.to_string(), count);
        let lineage: Vec<String> = batch.lineage.iter().map(ToString::to_string).collect();
        self.lineage.push(&lineage.join(","), count);
        for run in batch.rows.clock[rows.clone()].chunk_by(|a: &Clock, b: &Clock| a == b) {
            self.clock.push(run[0].name(), run.len());
        }
        let first = batch.first_seq as i64;
        self.seq.extend(rows.clone().map(|i| first + i as i64));
        self.ts_us.extend_from_slice(&batch.rows.ts[rows.clone()]);
        for (column, target) in batch.rows.columns.iter().zip(targets) {
            let cells = &mut self.columns[target.column];
            match (&column.values, batch.stream == Stream::Camera) {
                (Values::Bytes(_), true) => cells.append_texts(rows.clone().map(image_uri)),
                _ => cells.append(column, rows.clone(), target.divisor),
            }
        }
        // Columns that other frames of this stream have, and this one has not.
        for column in &mut self.columns {
            column.pad(before + count);
        }
    }

    /// Takes the rows as an Arrow batch. The schema is that of all columns met so far.
    pub fn take(&mut self) -> Result<RecordBatch, ArrowError> {
        let ts_us = std::mem::take(&mut self.ts_us);
        let ms: Vec<i64> = ts_us.iter().map(|us| us.div_euclid(1000)).collect();
        let mut arrays: Vec<ArrayRef> = vec![
            self.vehicle.take()?,
            self.boot.take()?,
            Arc::new(Int64Array::from(std::mem::take(&mut self.seq))),
            Arc::new(TimestampMillisecondArray::from(ms).with_timezone("UTC")),
            Arc::new(Int64Array::from(ts_us)),
            self.clock.take()?,
            self.lineage.take()?,
        ];
        let schema = self.schema();
        for column in &mut self.columns {
            arrays.push(column.take()?);
        }
        RecordBatch::try_new(schema, arrays)
    }

    fn schema(&self) -> SchemaRef {
        let text = || DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
        let common = COMMON.iter().map(|&name| match name {
            "seq" | "ts_us" => Field::new(name, DataType::Int64, false),
            "ts" => Field::new(name, DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())), false),
            _ => Field::new(name, text(), false),
        });
        let own = self.columns.iter().map(|c| Field::new(&c.name, c.arrow_type(), true));
        Arc::new(Schema::new(common.chain(own).collect::<Vec<_>>()))
    }

    /// The table's column for a frame's, made where it is new.
    fn target(&mut self, spec: &ColumnSpec) -> Target {
        if let Some(target) = self.targets.get(spec) {
            return *target;
        }
        let fixed = FIXED_POINT.iter().find(|f| self.built_in && f.0 == spec.name && spec.kind == Kind::Int);
        let (name, kind, divisor) = match fixed {
            Some(&(_, name, divisor)) => (name.to_owned(), Kind::Float, divisor),
            // Only cameras have bytes among the built-in streams, and they become URIs.
            None if self.built_in && spec.kind == Kind::Bytes => (spec.name.to_string(), Kind::Text, 1.0),
            None => (self.free_name(spec), spec.kind, 1.0),
        };
        self.columns.push(TableColumn::new(name, kind));
        let column = self.columns.len() - 1;
        self.columns[column].pad(self.seq.len());
        self.targets.insert(spec.clone(), Target { column, divisor });
        Target { column, divisor }
    }

    /// What a derived stream's column is called: as on the wire, unless the table has that name.
    fn free_name(&self, spec: &ColumnSpec) -> String {
        let mut name = spec.name.to_string();
        if COMMON.contains(&name.as_str()) || name == "dt" {
            name += "_value";
        }
        let taken = |name: &str| COMMON.contains(&name) || self.columns.iter().any(|c| c.name == name);
        while taken(&name) {
            name += match spec.kind {
                Kind::Int => "_int",
                Kind::Float => "_float",
                Kind::Bool => "_bool",
                Kind::Text => "_text",
                Kind::Bytes => "_bytes",
            };
        }
        name
    }
}

impl Repeated {
    fn push(&mut self, value: &str, count: usize) {
        let key = match self.known.get(value) {
            Some(&key) => key,
            None => {
                let key = self.values.len() as i32;
                self.values.push(value.to_owned());
                self.known.insert(value.to_owned(), key);
                key
            }
        };
        self.keys.resize(self.keys.len() + count, key);
    }

    fn take(&mut self) -> Result<ArrayRef, ArrowError> {
        let Self { mut values, keys, .. } = std::mem::take(self);
        // A value that no row has, so that the bytes of an array of nothing but empty texts are somewhere:
        // comparing at an address that is not mapped, even no bytes, costs an AVX-512 memcmp 100 ns.
        values.push("-".into());
        let values = StringArray::from(values);
        Ok(Arc::new(DictionaryArray::<Int32Type>::try_new(Int32Array::from(keys), Arc::new(values))?))
    }
}

impl TableColumn {
    fn new(name: String, kind: Kind) -> Self {
        let (offsets, data) = (vec![0], Vec::new());
        let cells = match kind {
            Kind::Int => Cells::Int(Vec::new()),
            Kind::Float => Cells::Float(Vec::new()),
            Kind::Bool => Cells::Bool(BooleanBufferBuilder::new(0)),
            Kind::Text => Cells::Text { offsets, data },
            Kind::Bytes => Cells::Bytes { offsets, data },
        };
        Self { name, kind, cells, nulls: NullBufferBuilder::new(0) }
    }

    fn arrow_type(&self) -> DataType {
        match self.kind {
            Kind::Int => DataType::Int64,
            Kind::Float => DataType::Float64,
            Kind::Bool => DataType::Boolean,
            Kind::Text => DataType::Utf8,
            Kind::Bytes => DataType::Binary,
        }
    }

    fn append(&mut self, column: &Column, rows: Range<usize>, divisor: f64) {
        match &column.validity {
            None => self.nulls.append_n_non_nulls(rows.len()),
            Some(validity) => rows.clone().for_each(|i| self.nulls.append(validity.is_set(i))),
        }
        match (&mut self.cells, &column.values) {
            (Cells::Int(to), Values::Int(from)) => to.extend_from_slice(&from[rows]),
            (Cells::Float(to), Values::Int(from)) => {
                to.extend(from[rows].iter().map(|&v| v as f64 / divisor));
            }
            (Cells::Float(to), Values::Float(from)) => to.extend_from_slice(&from[rows]),
            (Cells::Bool(to), Values::Bool(from)) => to.append_slice(&from[rows]),
            (Cells::Text { offsets, data }, Values::Text(from))
            | (Cells::Bytes { offsets, data }, Values::Bytes(from)) => {
                let start = from.offsets[rows.start];
                let moved = data.len() as i32 - start;
                data.extend_from_slice(&from.data[start as usize..from.offsets[rows.end] as usize]);
                offsets.extend(from.offsets[rows.start + 1..=rows.end].iter().map(|o| o + moved));
            }
            // A target has its column's kind; a frame's values have their spec's.
            _ => {}
        }
    }

    fn append_texts(&mut self, texts: impl Iterator<Item = Option<String>>) {
        if let Cells::Text { offsets, data } = &mut self.cells {
            for text in texts {
                self.nulls.append(text.is_some());
                data.extend_from_slice(text.unwrap_or_default().as_bytes());
                offsets.push(data.len() as i32);
            }
        }
    }

    /// Nulls up to `rows` rows.
    fn pad(&mut self, rows: usize) {
        let missing = rows.saturating_sub(self.nulls.len());
        if missing == 0 {
            return;
        }
        self.nulls.append_n_nulls(missing);
        match &mut self.cells {
            Cells::Int(v) => v.resize(rows, 0),
            Cells::Float(v) => v.resize(rows, 0.0),
            Cells::Bool(v) => v.append_n(missing, false),
            Cells::Text { offsets, data } | Cells::Bytes { offsets, data } => {
                offsets.resize(rows + 1, data.len() as i32);
            }
        }
    }

    fn take(&mut self) -> Result<ArrayRef, ArrowError> {
        let nulls: Option<NullBuffer> = self.nulls.finish();
        let fresh = TableColumn::new(String::new(), self.kind).cells;
        Ok(match std::mem::replace(&mut self.cells, fresh) {
            Cells::Int(v) => Arc::new(Int64Array::try_new(v.into(), nulls)?),
            Cells::Float(v) => Arc::new(Float64Array::try_new(v.into(), nulls)?),
            Cells::Bool(mut v) => Arc::new(BooleanArray::new(v.finish(), nulls)),
            Cells::Text { offsets, data } => {
                Arc::new(StringArray::try_new(checked(offsets)?, Buffer::from_vec(data), nulls)?)
            }
            Cells::Bytes { offsets, data } => {
                Arc::new(BinaryArray::try_new(checked(offsets)?, Buffer::from_vec(data), nulls)?)
            }
        })
    }
}

/// Offsets as Arrow wants them, with an error where its constructor would panic.
fn checked(offsets: Vec<i32>) -> Result<OffsetBuffer<i32>, ArrowError> {
    match offsets.first() == Some(&0) && offsets.is_sorted() {
        true => Ok(OffsetBuffer::new(ScalarBuffer::from(offsets))),
        false => Err(ArrowError::InvalidArgumentError("offsets that do not ascend from 0".into())),
    }
}

#[cfg(test)]
mod tests;
