//! Columns of the wire → columns of the tables, gathered over many frames into Arrow batches.
//!
//! Which columns there are, [`crate::schema`] and [`crate::columns`] say. No struct is built for a
//! reading: a column of a frame is appended to a column of the table as a whole.

use crate::columns::{Columns, Want};
use crate::schema::{self, Own, Type};
use arrow_array::builder::{BooleanBufferBuilder, NullBufferBuilder};
use arrow_array::types::Int32Type;
use arrow_array::{
    ArrayRef, BinaryArray, BooleanArray, DictionaryArray, Float64Array, Int32Array, Int64Array, RecordBatch,
    StringArray, TimestampMillisecondArray,
};
use arrow_buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef};
use milepost_wire::reading::DATABLE_US;
use milepost_wire::{Batch, Clock, Column, Stream, Values};
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

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
    kind: Type,
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

/// How the frames' columns find the table's.
enum Places {
    /// A built-in stream's frames have its columns, in its order.
    BuiltIn(&'static [Own]),
    /// A derived stream's are looked for; `used` says which of the rows' columns is the table's.
    Derived { columns: Columns, used: HashMap<usize, usize> },
}

/// The rows of one table, until they are taken as an Arrow batch.
pub struct TableRows {
    places: Places,
    vehicle: Repeated,
    boot: Repeated,
    clock: Repeated,
    lineage: Repeated,
    seq: Vec<i64>,
    ts_us: Vec<i64>,
    columns: Vec<TableColumn>,
}

/// The name of the table that a stream's rows are in.
pub fn table_of(stream: &Stream) -> &str {
    stream.name()
}

/// Whether the frame is as frames should be: a built-in stream has exactly its own columns.
pub fn is_whole(batch: &Batch) -> bool {
    let own = match batch.stream.columns() {
        Some(columns) => columns.iter().eq(batch.rows.columns.iter().map(|c| &c.spec)),
        None => true,
    };
    let rows = batch.len();
    let whole = batch.rows.clock.len() == rows && batch.rows.columns.iter().all(|c| is_column_whole(c, rows));
    own && whole && batch.first_seq.checked_add(rows as u64).is_some_and(|end| end <= i64::MAX as u64)
}

/// Whether the table of a frame that is whole has a place for each of its columns.
pub fn has_places(batch: &Batch, columns: &Columns) -> bool {
    batch.stream.columns().is_some() || columns.places(&Want::of(&batch.rows.columns)).is_some()
}

/// Whether a column has its `rows` rows, and text where it says so.
fn is_column_whole(column: &Column, rows: usize) -> bool {
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
    /// No rows of a stream yet. A derived stream's table has `columns`.
    pub fn new(stream: &Stream, columns: &Columns) -> Self {
        let own = schema::own(stream).map(|(_, own)| own);
        let places = match own {
            Some(own) => Places::BuiltIn(own),
            None => Places::Derived { columns: columns.clone(), used: HashMap::new() },
        };
        let column = |o: &Own| TableColumn::new(o.name.to_owned(), o.kind);
        Self {
            places,
            vehicle: Repeated::default(),
            boot: Repeated::default(),
            clock: Repeated::default(),
            lineage: Repeated::default(),
            seq: Vec::new(),
            ts_us: Vec::new(),
            columns: own.unwrap_or_default().iter().map(column).collect(),
        }
    }

    /// Rows that wait to be taken.
    pub fn len(&self) -> usize {
        self.seq.len()
    }

    /// Whether no row waits.
    pub fn is_empty(&self) -> bool {
        self.seq.is_empty()
    }

    /// Appends some rows of a frame that is whole and has places. `image_uri` makes an image's URI of its
    /// row.
    pub fn append(&mut self, batch: &Batch, rows: Range<usize>, image_uri: &dyn Fn(usize) -> Option<String>) {
        let (before, count) = (self.len(), rows.len());
        // Before the rows are counted, since a new column begins with nulls for those that are there.
        let targets = self.targets(batch);
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
                // A column without a value may lie in one of another kind, and is padded.
                _ if column.validity.as_ref().is_some_and(|v| v.count_set() == 0) => {}
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
        // A reader that meets a time that it has no date for gives the whole file up. `ts_us` has it as it is.
        let date = |us: &i64| us.clamp(DATABLE_US.start(), DATABLE_US.end()).div_euclid(1000);
        let ms: Vec<i64> = ts_us.iter().map(date).collect();
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
        let repeated = || DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
        let common = schema::COMMON.into_iter().map(|c| match c.kind {
            Type::String => c.field().with_data_type(repeated()),
            _ => c.field(),
        });
        let own = self.columns.iter().map(|c| Field::new(&c.name, c.kind.arrow(), true));
        Arc::new(Schema::new(common.chain(own).collect::<Vec<_>>()))
    }

    /// The table's column for each of a frame's, made where no row has had it.
    fn targets(&mut self, batch: &Batch) -> Vec<Target> {
        let rows = self.seq.len();
        match &mut self.places {
            Places::BuiltIn(own) => {
                let names = batch.rows.columns.iter().map(|c| c.spec.name.as_ref());
                debug_assert!(own.iter().map(|o| o.wire).eq(names), "a frame that is not whole");
                own.iter().enumerate().map(|(column, o)| Target { column, divisor: o.divisor }).collect()
            }
            Places::Derived { columns, used } => {
                let places = columns.places(&Want::of(&batch.rows.columns)).unwrap_or_default();
                let mut target = |place: usize| {
                    let column = *used.entry(place).or_insert_with(|| {
                        let known = columns.get(place);
                        let mut fresh = TableColumn::new(known.name.clone(), known.kind);
                        fresh.pad(rows);
                        self.columns.push(fresh);
                        self.columns.len() - 1
                    });
                    Target { column, divisor: 1.0 }
                };
                places.into_iter().map(&mut target).collect()
            }
        }
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
    fn new(name: String, kind: Type) -> Self {
        let (offsets, data) = (vec![0], Vec::new());
        let cells = match kind {
            Type::Bigint | Type::Timestamp => Cells::Int(Vec::new()),
            Type::Double => Cells::Float(Vec::new()),
            Type::Boolean => Cells::Bool(BooleanBufferBuilder::new(0)),
            Type::String => Cells::Text { offsets, data },
            Type::Binary => Cells::Bytes { offsets, data },
        };
        Self { name, kind, cells, nulls: NullBufferBuilder::new(0) }
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
            // A place takes what its column holds; a frame's values have their spec's kind.
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
