//! Many readings of one stream as columns: what a frame's body holds, laid out so that Arrow arrays
//! can take the buffers as they are.

use crate::frame::{MAX_COLUMNS, MAX_READINGS};
use crate::id::{BootId, Digest, VehicleId};
use crate::reading::{Body, Clock, Reading, Value};
use crate::stream::{ColumnSpec, Kind, Stream};
use alloc::sync::Arc;
use alloc::vec::Vec;

/// A bitmap, least significant bit first, as Arrow has it: bit `i` is set where row `i` has a value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Validity {
    bits: Vec<u8>,
    len: usize,
}

impl Validity {
    /// `len` set bits.
    pub fn all_set(len: usize) -> Self {
        let mut bits = alloc::vec![0xff; len.div_ceil(8)];
        if let (Some(last), r @ 1..) = (bits.last_mut(), len % 8) {
            *last = (1 << r) - 1;
        }
        Self { bits, len }
    }

    /// `len` unset bits.
    pub fn none_set(len: usize) -> Self {
        Self { bits: alloc::vec![0; len.div_ceil(8)], len }
    }

    /// Appends a bit.
    pub fn push(&mut self, set: bool) {
        if self.len.is_multiple_of(8) {
            self.bits.push(0);
        }
        if set {
            self.bits[self.len / 8] |= 1 << (self.len % 8);
        }
        self.len += 1;
    }

    /// Whether row `i` has a value.
    pub fn is_set(&self, i: usize) -> bool {
        i < self.len && self.bits[i / 8] >> (i % 8) & 1 == 1
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The number of rows that have a value.
    pub fn count_set(&self) -> usize {
        self.bits.iter().map(|b| b.count_ones() as usize).sum()
    }

    /// The bytes, for an Arrow buffer.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bits
    }
}

/// Values of varying length: `offsets` has one entry more than there are rows and starts with 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VarBytes {
    /// Where each row's bytes start in `data`, and behind the last where they end.
    pub offsets: Vec<i32>,
    /// The bytes of all rows.
    pub data: Vec<u8>,
}

impl Default for VarBytes {
    fn default() -> Self {
        Self { offsets: alloc::vec![0], data: Vec::new() }
    }
}

impl VarBytes {
    /// Appends a row. A batch is cut long before 2 GiB (see [`crate::frame::MAX_FRAME`]).
    pub fn push(&mut self, bytes: &[u8]) {
        self.data.extend_from_slice(bytes);
        self.offsets.push(i32::try_from(self.data.len()).unwrap_or(i32::MAX));
    }

    /// Row `i`'s bytes.
    pub fn get(&self, i: usize) -> Option<&[u8]> {
        let (from, to) = (*self.offsets.get(i)?, *self.offsets.get(i + 1)?);
        self.data.get(from as usize..to as usize)
    }
}

/// A column's values; a null row holds 0, false or no bytes.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// See [`Kind::Int`].
    Int(Vec<i64>),
    /// See [`Kind::Float`].
    Float(Vec<f64>),
    /// See [`Kind::Bool`].
    Bool(Vec<bool>),
    /// See [`Kind::Text`]; each row is valid UTF-8.
    Text(VarBytes),
    /// See [`Kind::Bytes`].
    Bytes(VarBytes),
}

/// One column of a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    /// Name and kind.
    pub spec: ColumnSpec,
    /// The values, of the kind that `spec` says.
    pub values: Values,
    /// Which rows have a value; `None` where all have.
    pub validity: Option<Validity>,
}

impl Column {
    /// An empty column.
    pub fn new(spec: ColumnSpec) -> Self {
        let values = match spec.kind {
            Kind::Int => Values::Int(Vec::new()),
            Kind::Float => Values::Float(Vec::new()),
            Kind::Bool => Values::Bool(Vec::new()),
            Kind::Text => Values::Text(VarBytes::default()),
            Kind::Bytes => Values::Bytes(VarBytes::default()),
        };
        Self { spec, values, validity: None }
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        match &self.values {
            Values::Int(v) => v.len(),
            Values::Float(v) => v.len(),
            Values::Bool(v) => v.len(),
            Values::Text(v) | Values::Bytes(v) => v.offsets.len() - 1,
        }
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether row `i` has a value.
    pub fn is_set(&self, i: usize) -> bool {
        i < self.len() && self.validity.as_ref().is_none_or(|v| v.is_set(i))
    }

    /// Row `i` of an integer column.
    pub fn int(&self, i: usize) -> Option<i64> {
        match &self.values {
            Values::Int(v) if self.is_set(i) => Some(v[i]),
            _ => None,
        }
    }

    /// Row `i` of a text column.
    pub fn text(&self, i: usize) -> Option<&str> {
        match &self.values {
            Values::Text(v) if self.is_set(i) => core::str::from_utf8(v.get(i)?).ok(),
            _ => None,
        }
    }

    /// Row `i` of a bytes column.
    pub fn bytes(&self, i: usize) -> Option<&[u8]> {
        match &self.values {
            Values::Bytes(v) if self.is_set(i) => v.get(i),
            _ => None,
        }
    }

    /// Row `i`, whatever the kind.
    pub fn value(&self, i: usize) -> Value {
        if !self.is_set(i) {
            return Value::Null;
        }
        match &self.values {
            Values::Int(v) => Value::Int(v[i]),
            Values::Float(v) => Value::Float(v[i]),
            Values::Bool(v) => Value::Bool(v[i]),
            Values::Text(_) => self.text(i).map_or(Value::Null, |t| Value::Text(t.into())),
            Values::Bytes(v) => v.get(i).map_or(Value::Null, |b| Value::Bytes(b.into())),
        }
    }

    /// Appends to an integer column.
    pub(crate) fn push_int(&mut self, value: Option<i64>) {
        self.note(value.is_some());
        if let Values::Int(v) = &mut self.values {
            v.push(value.unwrap_or(0));
        }
    }

    /// Appends to a text column.
    pub(crate) fn push_text(&mut self, value: Option<&str>) {
        self.note(value.is_some());
        if let Values::Text(v) = &mut self.values {
            v.push(value.unwrap_or_default().as_bytes());
        }
    }

    /// Appends to a bytes column.
    pub(crate) fn push_bytes(&mut self, value: Option<&[u8]>) {
        self.note(value.is_some());
        if let Values::Bytes(v) = &mut self.values {
            v.push(value.unwrap_or_default());
        }
    }

    /// Appends a value of the column's kind, or null.
    pub(crate) fn push(&mut self, value: &Value) {
        self.note(!matches!(value, Value::Null));
        match (&mut self.values, value) {
            (Values::Int(v), Value::Int(x)) => v.push(*x),
            (Values::Int(v), _) => v.push(0),
            (Values::Float(v), Value::Float(x)) => v.push(*x),
            (Values::Float(v), _) => v.push(0.0),
            (Values::Bool(v), Value::Bool(x)) => v.push(*x),
            (Values::Bool(v), _) => v.push(false),
            (Values::Text(v), Value::Text(x)) => v.push(x.as_bytes()),
            (Values::Bytes(v), Value::Bytes(x)) => v.push(x),
            (Values::Text(v) | Values::Bytes(v), _) => v.push(&[]),
        }
    }

    fn note(&mut self, set: bool) {
        if self.validity.is_none() && !set {
            self.validity = Some(Validity::all_set(self.len()));
        }
        if let Some(validity) = &mut self.validity {
            validity.push(set);
        }
    }
}

/// The columns of a batch: the times, and one column for each of the stream's.
#[derive(Clone, Debug, PartialEq)]
pub struct Columns {
    /// Event times, µs since 1970 UTC, in the order of the sequence (not always of time).
    pub ts: Vec<i64>,
    /// Where each time comes from.
    pub clock: Vec<Clock>,
    /// The stream's columns, in its order.
    pub columns: Vec<Column>,
}

/// A batch of one stream: what one frame carries. Row `i` has the sequence number `first_seq + i`.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// Who read it.
    pub vehicle: VehicleId,
    /// In which run of its agent.
    pub boot: BootId,
    /// The stream.
    pub stream: Stream,
    /// Row 0's number.
    pub first_seq: u64,
    /// The transforms that these readings passed, in order.
    pub lineage: Vec<Digest>,
    /// The rows.
    pub rows: Columns,
}

impl Batch {
    /// An empty batch of a stream. `columns` are the stream's own for a built-in stream.
    pub fn new(
        vehicle: VehicleId,
        boot: BootId,
        stream: Stream,
        columns: &[ColumnSpec],
        first_seq: u64,
        lineage: Vec<Digest>,
    ) -> Self {
        let columns = columns.iter().cloned().map(Column::new).collect();
        let rows = Columns { ts: Vec::new(), clock: Vec::new(), columns };
        Self { vehicle, boot, stream, first_seq, lineage, rows }
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        self.rows.ts.len()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.rows.ts.is_empty()
    }

    /// Appends a reading. Refused, and nothing changed, where the reading is of another stream, has
    /// other columns, or the batch is full.
    pub fn push(&mut self, reading: &Reading) -> Result<(), PushError> {
        if self.len() >= MAX_READINGS {
            return Err(PushError::Full);
        }
        match (&reading.body, &self.stream) {
            (Body::Derived(row), Stream::Derived(name)) => {
                let columns = &self.rows.columns;
                let fits = row.stream == *name
                    && row.columns.len() == columns.len()
                    && row.columns.len() == row.values.len()
                    && row.columns.len() <= MAX_COLUMNS
                    && row.columns.iter().zip(columns).all(|(a, b)| *a == b.spec)
                    && row.values.iter().zip(columns).all(|(v, c)| v.kind().is_none_or(|k| k == c.spec.kind));
                if !fits {
                    return Err(PushError::OtherColumns);
                }
            }
            (body, stream) if body.stream() != *stream => return Err(PushError::OtherStream),
            _ => {}
        }
        self.rows.ts.push(reading.ts);
        self.rows.clock.push(reading.clock);
        reading.body.put(&mut self.rows.columns);
        Ok(())
    }

    /// All rows as readings; rows of a derived stream share their columns. The error names the column
    /// whose value does not fit its type.
    pub fn readings(&self) -> impl Iterator<Item = Result<Reading, &'static str>> + '_ {
        let own: Arc<[ColumnSpec]> = self.rows.columns.iter().map(|c| c.spec.clone()).collect();
        (0..self.len()).map(move |i| self.row(i, &own))
    }

    /// Row `i` as a reading; the error names the column whose value does not fit its type.
    pub fn reading(&self, i: usize) -> Result<Reading, &'static str> {
        let own = match self.stream {
            Stream::Derived(_) => self.rows.columns.iter().map(|c| c.spec.clone()).collect(),
            _ => Arc::default(),
        };
        self.row(i, &own)
    }

    fn row(&self, i: usize, own: &Arc<[ColumnSpec]>) -> Result<Reading, &'static str> {
        let (Some(&ts), Some(&clock)) = (self.rows.ts.get(i), self.rows.clock.get(i)) else {
            return Err("ts");
        };
        Ok(Reading { ts, clock, body: Body::get(&self.stream, own, &self.rows.columns, i)? })
    }
}

/// Why a reading did not go into a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PushError {
    /// The batch has as many readings as a frame can carry.
    #[error("The batch is full: a frame carries at most {MAX_READINGS} readings")]
    Full,
    /// The reading belongs to another stream.
    #[error("The reading is of another stream than the batch")]
    OtherStream,
    /// The reading's columns are not the batch's.
    #[error("The reading's columns or values are not those of the batch")]
    OtherColumns,
}
