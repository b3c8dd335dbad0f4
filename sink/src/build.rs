//! Records of Kafka → the objects of one claim. A pure function of the records, the claim's shape, what
//! the chain wrote before and the columns of derived tables, whose growth changes nothing (see
//! [`crate::columns`]), so that whoever builds a claim again builds the same bytes.

use crate::columns::Columns;
use crate::columns::log::Tables as TableColumns;
use crate::dedupe::{Delta, Memory, Ranges};
use crate::ledger::{self, Chain, Seen, Shape, Unread};
use crate::parquet_file::{ParquetFile, WriteError};
use crate::table::{self, TableRows};
use crate::{claim::Range, date};
use bytes::Bytes;
use milepost_wire::{Batch, Column, DecodeError, Header, Stream, Values, frame};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// One record of Kafka.
#[derive(Clone, Debug)]
pub struct Record {
    /// Its offset.
    pub offset: i64,
    /// Its timestamp, ms since 1970; 0 where it has none.
    pub at_ms: i64,
    /// A frame, or what should be one.
    pub value: Bytes,
}

/// A Parquet file, ready to be put.
#[derive(Debug)]
pub struct BuiltFile {
    /// Its key.
    pub key: String,
    /// Its table.
    pub table: String,
    /// Its date.
    pub dt: String,
    /// Its rows.
    pub rows: u64,
    /// Its bytes.
    pub body: Bytes,
    /// The rows in it.
    pub seen: Vec<Seen>,
}

/// All that a claim's records make.
#[derive(Debug, Default)]
pub struct Built {
    /// The records read.
    pub records: u64,
    /// Offsets of the range without a record.
    pub lost: Vec<(i64, i64)>,
    /// Records that were readable frames.
    pub frames: u64,
    /// Readings in them.
    pub readings: u64,
    /// Readings that were written before.
    pub duplicates: u64,
    /// Smallest and largest timestamp of the records, ms.
    pub record_ms: Option<(i64, i64)>,
    /// The files, by key.
    pub files: Vec<BuiltFile>,
    /// The images, by key.
    pub images: BTreeMap<String, Bytes>,
    /// The records that could not be read, and the object that keeps them.
    pub unread: Option<(Unread, Bytes)>,
}

/// A frame whose readings are not all known yet.
struct Fresh<'a> {
    header: Header,
    record: &'a Record,
    /// The numbers that are not written yet.
    ranges: Vec<(u64, u64)>,
}

/// Builds the objects of a claim over `range`. `records` are in the order of their offsets; `columns`
/// are those of the derived tables that their frames belong to.
pub fn build(
    chain: &Chain,
    range: Range,
    shape: &Shape,
    records: &[Record],
    before: &Memory,
    columns: &TableColumns,
) -> Result<Built, WriteError> {
    let work = Work { chain, range, shape, columns };
    let attempt = |bad: &BTreeMap<i64, &'static str>| attempt(&work, records, before, bad);
    match attempt(&BTreeMap::new()) {
        // A header that is fine over a body that is not: rare enough to look at all bodies only then.
        Err(Fault::Body) => match attempt(&bad_bodies(records, columns)) {
            Err(Fault::Body) => Err(WriteError("a frame's body was readable, and then was not".into())),
            Err(Fault::Write(e)) => Err(e),
            Ok(built) => Ok(built),
        },
        Err(Fault::Write(e)) => Err(e),
        Ok(built) => Ok(built),
    }
}

/// What decides a claim's files, beside the records.
struct Work<'a> {
    chain: &'a Chain,
    range: Range,
    shape: &'a Shape,
    columns: &'a TableColumns,
}

/// A table without columns of its own: a built-in stream's, or one that nothing was put into.
static NO_COLUMNS: Columns = Columns::none();

fn columns_of<'a>(columns: &'a TableColumns, stream: &Stream) -> &'a Columns {
    columns.get(table::table_of(stream)).unwrap_or(&NO_COLUMNS)
}

/// Why an attempt did not end.
enum Fault {
    /// A frame's body cannot be read or put into its table.
    Body,
    Write(WriteError),
}

impl From<WriteError> for Fault {
    fn from(e: WriteError) -> Self {
        Self::Write(e)
    }
}

/// The offsets of the records whose body cannot be read or put into its table, and why.
fn bad_bodies(records: &[Record], columns: &TableColumns) -> BTreeMap<i64, &'static str> {
    let why = |r: &Record| match frame::decode(&r.value) {
        Err(_) => Some("damaged"),
        Ok(batch) if !table::is_whole(&batch) => Some("rule"),
        Ok(batch) if !table::has_places(&batch, columns_of(columns, &batch.stream)) => Some("columns"),
        Ok(_) => None,
    };
    records.iter().filter_map(|r| Some((r.offset, why(r)?))).collect()
}

fn attempt(
    work: &Work<'_>,
    records: &[Record],
    before: &Memory,
    bad: &BTreeMap<i64, &'static str>,
) -> Result<Built, Fault> {
    let Work { chain, range, shape, .. } = *work;
    let mut built = Built { records: records.len() as u64, lost: holes(range, records), ..Built::default() };
    let mut unread = UnreadRecords::default();
    let mut fresh = Vec::new();
    let mut delta = Delta::new(before);
    for record in records {
        let (min, max) = built.record_ms.unwrap_or((record.at_ms, record.at_ms));
        built.record_ms = Some((min.min(record.at_ms), max.max(record.at_ms)));
        let header = readable(&record.value, shape.frame_max);
        match header.and_then(|h| bad.get(&record.offset).map_or(Ok(h), |&why| Err(why.into()))) {
            Err(reason) => unread.keep(record, reason),
            Ok(header) => {
                built.frames += 1;
                built.readings += u64::from(header.count);
                let (vehicle, stream) = (header.vehicle.as_str(), header.stream.name());
                let ranges = delta.take(vehicle, header.boot.0, stream, header.first_seq, header.last_seq());
                let new: u64 = ranges.iter().map(|(a, b)| b - a + 1).sum();
                built.duplicates += u64::from(header.count) - new;
                if new > 0 {
                    fresh.push(Fresh { header, record, ranges });
                }
            }
        }
    }
    built.unread = unread.finish(chain, range);
    // By vehicle, boot and number: it compresses, and a row group holds few vehicles.
    fresh.sort_by(|a, b| key(&a.header).cmp(&key(&b.header)));
    let mut tables = Tables { work, open: HashMap::new(), images: BTreeMap::new() };
    for one in &fresh {
        tables.add(one)?;
    }
    built.files = tables.finish(&mut built.images)?;
    Ok(built)
}

fn key(h: &Header) -> (&str, &str, u64, u64) {
    (h.stream.name(), h.vehicle.as_str(), h.boot.0, h.first_seq)
}

/// The offsets of a range that no record has.
fn holes(range: Range, records: &[Record]) -> Vec<(i64, i64)> {
    let mut seen = Ranges::default();
    for record in records {
        seen.insert(record.offset.max(0) as u64, record.offset.max(0) as u64);
    }
    let missing = seen.missing(range.first as u64, range.last as u64);
    missing.into_iter().map(|(a, b)| (a as i64, b as i64)).collect()
}

/// The header of a frame whose body can be read and put into its table, or why it cannot.
pub(crate) fn readable(value: &[u8], frame_max: u8) -> Result<Header, String> {
    match value.first() {
        Some(&version) if version > frame_max => return Err(format!("version {version}")),
        _ => {}
    }
    let header = frame::check(value).map_err(|e| reason(&e))?;
    let end = header.first_seq.checked_add(u64::from(header.count));
    match header.count > 0 && end.is_some_and(|end| end <= i64::MAX as u64) {
        true => Ok(header),
        false => Err("rule".into()),
    }
}

fn reason(e: &DecodeError) -> String {
    match e {
        DecodeError::Version(version) => format!("version {version}"),
        _ => "damaged".into(),
    }
}

/// Records to keep as they came.
#[derive(Default)]
struct UnreadRecords {
    body: Vec<u8>,
    records: u64,
    bytes: u64,
    reasons: BTreeMap<String, u64>,
}

impl UnreadRecords {
    fn keep(&mut self, record: &Record, reason: String) {
        self.body.extend_from_slice(&(record.offset as u64).to_le_bytes());
        self.body.extend_from_slice(&record.at_ms.to_le_bytes());
        self.body.extend_from_slice(&(record.value.len() as u32).to_le_bytes());
        self.body.extend_from_slice(&record.value);
        self.records += 1;
        self.bytes += record.value.len() as u64;
        *self.reasons.entry(reason).or_default() += 1;
    }

    fn finish(self, chain: &Chain, range: Range) -> Option<(Unread, Bytes)> {
        let Self { body, records, bytes, reasons } = self;
        let unread = Unread { key: chain.unread(range.first), records, bytes, reasons };
        (records > 0).then(|| (unread, body.into()))
    }
}

/// The files of a claim while they grow.
struct Tables<'a> {
    work: &'a Work<'a>,
    open: HashMap<(Stream, i64), OpenFile>,
    images: BTreeMap<String, Bytes>,
}

struct OpenFile {
    file: ParquetFile,
    seen: BTreeMap<(String, u64), Ranges>,
}

impl Tables<'_> {
    fn add(&mut self, fresh: &Fresh<'_>) -> Result<(), Fault> {
        let batch = match frame::decode(&fresh.record.value) {
            Ok(batch) if table::is_whole(&batch) && batch.len() == fresh.header.count as usize => batch,
            _ => return Err(Fault::Body),
        };
        if !table::has_places(&batch, columns_of(self.work.columns, &batch.stream)) {
            return Err(Fault::Body);
        }
        let uris = self.take_images(&batch, fresh);
        for &(first, last) in &fresh.ranges {
            let rows = (first - batch.first_seq) as usize..(last - batch.first_seq) as usize + 1;
            let day = |i: usize| date::day(batch.rows.ts[i], fresh.record.at_ms);
            let mut start = rows.start;
            while start < rows.end {
                let today = day(start);
                let end = (start..rows.end).find(|&i| day(i) != today).unwrap_or(rows.end);
                self.append(&batch, today, start..end, &uris)?;
                start = end;
            }
        }
        Ok(())
    }

    fn append(
        &mut self,
        batch: &Batch,
        day: i64,
        rows: std::ops::Range<usize>,
        uris: &HashMap<usize, String>,
    ) -> Result<(), WriteError> {
        let Work { shape, columns, .. } = *self.work;
        let open = self.open.entry((batch.stream.clone(), day)).or_insert_with(|| OpenFile {
            file: ParquetFile::new(
                TableRows::new(&batch.stream, columns_of(columns, &batch.stream)),
                batch.stream.columns().is_some(),
                shape,
            ),
            seen: BTreeMap::new(),
        });
        let seen = open.seen.entry((batch.vehicle.as_str().to_owned(), batch.boot.0)).or_default();
        seen.insert(batch.first_seq + rows.start as u64, batch.first_seq + rows.end as u64 - 1);
        open.file.append(batch, rows, &|i| uris.get(&i).cloned())
    }

    /// Sets the frame's images aside, and gives the URI of each row's.
    fn take_images(&mut self, batch: &Batch, fresh: &Fresh<'_>) -> HashMap<usize, String> {
        let mut uris = HashMap::new();
        if batch.stream != Stream::Camera {
            return uris;
        }
        let is_image = |c: &&Column| matches!(c.values, Values::Bytes(_));
        let Some(column) = batch.rows.columns.iter().find(is_image) else { return uris };
        let rows = fresh.ranges.iter().flat_map(|&(a, b)| a..=b).map(|n| (n - batch.first_seq) as usize);
        for i in rows {
            if let Some(image) = column.bytes(i) {
                let key = ledger::image(&hex(&Sha256::digest(image)));
                uris.insert(i, format!("{}{key}", self.work.shape.images));
                self.images.entry(key).or_insert_with(|| Bytes::copy_from_slice(image));
            }
        }
        uris
    }

    fn finish(self, images: &mut BTreeMap<String, Bytes>) -> Result<Vec<BuiltFile>, WriteError> {
        *images = self.images;
        let mut files = Vec::new();
        for ((stream, day), OpenFile { file, seen }) in self.open {
            let (table, dt) = (table::table_of(&stream).to_owned(), date::name(day));
            let (rows, body) = file.finish()?;
            let seen = seen.into_iter().map(|((vehicle, boot), ranges)| Seen {
                vehicle,
                boot: format!("{boot:016x}"),
                stream: stream.name().to_owned(),
                ranges: ranges.as_slice().to_vec(),
                touched: None,
            });
            files.push(BuiltFile {
                key: self.work.chain.file(&table, &dt, self.work.range.first, self.work.range.last),
                table,
                dt,
                rows,
                body: body.into(),
                seen: seen.collect(),
            });
        }
        files.sort_by(|a, b| a.key.cmp(&b.key));
        debug_assert_eq!(files.iter().map(|f| &f.key).collect::<BTreeSet<_>>().len(), files.len());
        Ok(files)
    }
}

/// Lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// SHA-256 in hex.
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

#[cfg(test)]
mod tests;
