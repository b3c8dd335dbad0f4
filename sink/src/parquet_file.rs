//! One Parquet file: written row group by row group in memory, and looked into where another writer
//! was first.

use crate::columns::Columns;
use crate::dedupe::merge;
use crate::ledger::{Seen, Shape};
use crate::table::{NO_DICTIONARY, NO_STATISTICS, TableRows};
use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_schema::{ArrowError, SchemaRef};
use bytes::Bytes;
use milepost_wire::{Batch, Stream};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::arrow::arrow_writer::{ArrowWriter, ArrowWriterOptions};
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;
use std::ops::Range;

/// Rows that are gathered before they are handed to the Parquet writer.
const GATHER: usize = 16_384;

/// Why rows did not become a file, or a file not rows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("A Parquet file was not written or not read: {0}")]
pub struct WriteError(pub String);

impl From<ArrowError> for WriteError {
    fn from(e: ArrowError) -> Self {
        Self(e.to_string())
    }
}

impl From<ParquetError> for WriteError {
    fn from(e: ParquetError) -> Self {
        Self(e.to_string())
    }
}

/// A file of one table that grows.
pub struct ParquetFile {
    gathered: TableRows,
    /// Whether all columns are known before the last row.
    fixed_columns: bool,
    properties: WriterProperties,
    writer: Option<ArrowWriter<Vec<u8>>>,
    rows: u64,
}

impl ParquetFile {
    /// A file without rows. Where the columns are not fixed, all rows are gathered before the first is
    /// written, since a later frame may bring a column.
    pub fn new(gathered: TableRows, fixed_columns: bool, shape: &Shape) -> Self {
        Self { gathered, fixed_columns, properties: properties(shape), writer: None, rows: 0 }
    }

    /// Appends some rows of a frame.
    pub fn append(
        &mut self,
        batch: &Batch,
        rows: Range<usize>,
        image_uri: &dyn Fn(usize) -> Option<String>,
    ) -> Result<(), WriteError> {
        self.rows += rows.len() as u64;
        self.gathered.append(batch, rows, image_uri);
        match self.fixed_columns && self.gathered.len() >= GATHER {
            true => self.write(),
            false => Ok(()),
        }
    }

    /// The number of rows and the file's bytes.
    pub fn finish(mut self) -> Result<(u64, Vec<u8>), WriteError> {
        self.write()?;
        match self.writer {
            Some(writer) => Ok((self.rows, writer.into_inner()?)),
            None => Err(WriteError("no rows".into())),
        }
    }

    fn write(&mut self) -> Result<(), WriteError> {
        let batch = self.gathered.take()?;
        let writer = match &mut self.writer {
            Some(writer) => writer,
            None => self.writer.insert(open(batch.schema(), self.properties.clone())?),
        };
        Ok(writer.write(&batch)?)
    }
}

fn open(schema: SchemaRef, properties: WriterProperties) -> Result<ArrowWriter<Vec<u8>>, WriteError> {
    // Arrow's own copy of the schema would say that texts are dictionaries, which is nobody's business.
    let options = ArrowWriterOptions::new().with_properties(properties).with_skip_arrow_metadata(true);
    Ok(ArrowWriter::try_new_with_options(Vec::new(), schema, options)?)
}

fn properties(shape: &Shape) -> WriterProperties {
    let compression = match ZstdLevel::try_new(shape.zstd_level) {
        Ok(level) => Compression::ZSTD(level),
        Err(_) => Compression::SNAPPY,
    };
    let mut builder = WriterProperties::builder()
        .set_created_by("milepost-sink version 1".into())
        .set_compression(compression)
        .set_max_row_group_row_count(Some(shape.row_group_rows.max(1)))
        .set_statistics_enabled(EnabledStatistics::Chunk);
    for name in NO_DICTIONARY {
        builder = builder.set_column_dictionary_enabled(ColumnPath::from(name), false);
    }
    for name in NO_STATISTICS {
        builder = builder.set_column_statistics_enabled(ColumnPath::from(name), EnabledStatistics::None);
    }
    builder.build()
}

/// A file of a stream's table without rows.
pub fn empty(stream: &Stream, shape: &Shape) -> Result<Vec<u8>, WriteError> {
    let file = ParquetFile::new(TableRows::new(stream, &Columns::none()), stream.columns().is_some(), shape);
    Ok(file.finish()?.1)
}

/// The rows of a file, and which they are, as the file itself tells. `stream` is its table's.
pub fn look_into(body: Bytes, stream: &str) -> Result<(u64, Vec<Seen>), WriteError> {
    // As Parquet has them: without the dictionaries that the writer had in memory.
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    let builder = ParquetRecordBatchReaderBuilder::try_new_with_options(body, options)?;
    let columns = ["vehicle_id", "boot_id", "seq"];
    let mask = ProjectionMask::columns(builder.parquet_schema(), columns);
    let (mut rows, mut seen) = (0, Vec::new());
    for batch in builder.with_projection(mask).build()? {
        let batch = batch?;
        rows += batch.num_rows() as u64;
        rows_of(&batch, stream, &mut seen)?;
        seen = merge(&seen);
    }
    Ok((rows, seen))
}

fn rows_of(batch: &RecordBatch, stream: &str, seen: &mut Vec<Seen>) -> Result<(), WriteError> {
    let column = |name: &str| {
        batch.column_by_name(name).ok_or_else(|| WriteError(format!("there is no column {name}")))
    };
    let text = |name: &str| {
        let found = column(name)?.as_string_opt::<i32>();
        found.ok_or_else(|| WriteError(format!("its column {name} is no text")))
    };
    let (vehicles, boots) = (text("vehicle_id")?, text("boot_id")?);
    let numbers = column("seq")?.as_primitive_opt::<Int64Type>();
    let numbers = numbers.ok_or_else(|| WriteError("its column seq is no bigint".into()))?;
    for i in 0..numbers.len() {
        let (vehicle, boot, seq) = (vehicles.value(i), boots.value(i), numbers.value(i).max(0) as u64);
        match seen.last_mut() {
            Some(s) if s.vehicle == vehicle && s.boot == boot && s.ranges[0].1 + 1 == seq => {
                s.ranges[0].1 = seq;
            }
            _ => seen.push(Seen {
                vehicle: vehicle.into(),
                boot: boot.into(),
                stream: stream.into(),
                ranges: vec![(seq, seq)],
                touched: None,
            }),
        }
    }
    Ok(())
}
