//! Reads of one Parquet file what the books need: whose rows it holds, with which numbers, and for
//! `gap_data`, `agent_health` and `camera_data` what they say. Nothing here is the sink's code.
//!
//! Only a few columns are decoded, vehicle and boot as dictionary keys, so that a row costs a few
//! comparisons; rows with consecutive numbers leave as one run.

use super::account::GapRow;
use super::balance::{HealthRow, Reports};
use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type, TimestampMillisecondType};
use arrow_array::{Array, DictionaryArray, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema};
use bytes::Bytes;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
};
use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::sync::Arc;

/// Consecutive rows of one vehicle and boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub vehicle: Arc<str>,
    pub boot: u64,
    pub seqs: Range<u64>,
}

/// What a file holds.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    pub rows: u64,
    pub runs: Vec<Run>,
    /// The columns of its schema, and their types as the lists of derived tables call them.
    pub columns: Vec<(String, &'static str)>,
    /// The UTC days of its rows' times, since 1970.
    pub days: BTreeSet<i64>,
    /// Of a file of `gap_data`.
    pub gaps: Vec<GapRow>,
    /// Of a file of `agent_health`: vehicle, boot, stream, its next number. Only the largest of each.
    pub reported: HashMap<(Arc<str>, u64, String), u64>,
    /// Of a file of `agent_health`: the last report of each boot in it.
    pub health: Reports,
    /// Of a file of `camera_data`.
    pub images: Vec<String>,
}

/// The columns that every table has.
pub(super) const COMMON: [&str; 7] = ["vehicle_id", "boot_id", "seq", "ts", "ts_us", "clock", "lineage"];

/// The columns that are read of each table's files.
fn wanted(table: &str) -> &'static [&'static str] {
    match table {
        "gap_data" => {
            &["vehicle_id", "boot_id", "seq", "ts", "stream", "gap_boot_id", "first_seq", "last_seq", "count"]
        }
        "agent_health" => &[
            "vehicle_id",
            "boot_id",
            "seq",
            "ts",
            "component",
            "name",
            "received",
            "emitted",
            "taken_out",
            "poison",
        ],
        "camera_data" => &["vehicle_id", "boot_id", "seq", "ts", "image"],
        _ => &["vehicle_id", "boot_id", "seq", "ts"],
    }
}

/// Reads a file of `table`. The error says what is wrong with the file.
pub(crate) fn read(table: &str, file: Bytes) -> Result<Contents, String> {
    // A damaged file must not end the audit: its library asserts here and there.
    std::panic::catch_unwind(|| read_checked(table, file))
        .unwrap_or_else(|_| Err("it is no readable Parquet file".into()))
}

fn read_checked(table: &str, file: Bytes) -> Result<Contents, String> {
    let unreadable = |e: parquet::errors::ParquetError| format!("it is no readable Parquet file: {e}");
    let plain = ArrowReaderMetadata::load(&file, ArrowReaderOptions::new()).map_err(unreadable)?;
    let options = ArrowReaderOptions::new().with_schema(with_dictionaries(plain.schema()));
    let metadata = ArrowReaderMetadata::load(&file, options).map_err(unreadable)?;
    let columns = wanted(table);
    let parquet = metadata.metadata().file_metadata().schema_descr();
    let mask = ProjectionMask::columns(parquet, columns.iter().copied());
    let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata)
        .with_projection(mask)
        .with_batch_size(65_536)
        .build()
        .map_err(unreadable)?;
    let kinds = plain.schema().fields().iter().map(|f| (f.name().clone(), kind_of(f.data_type())));
    let mut contents = Contents { columns: kinds.collect(), ..Contents::default() };
    let mut names = Names::default();
    for batch in reader {
        let batch = batch.map_err(|e| format!("it cannot be read to its end: {e}"))?;
        for name in columns {
            if batch.column_by_name(name).is_none() {
                return Err(format!("it has no column {name}"));
            }
        }
        contents.rows += batch.num_rows() as u64;
        let ids = Ids::of(&batch, &mut names)?;
        runs(&batch, &ids, &mut contents.runs)?;
        days(&batch, &mut contents.days)?;
        match table {
            "gap_data" => gaps(&batch, &ids, &mut contents.gaps)?,
            "agent_health" => reports(&batch, &ids, &mut contents)?,
            "camera_data" => {
                contents.images.extend(strings(&batch, "image")?.iter().flatten().map(str::to_owned))
            }
            _ => {}
        }
    }
    Ok(contents)
}

/// A type as a list of columns calls it.
fn kind_of(of: &DataType) -> &'static str {
    match of {
        DataType::Int64 => "bigint",
        DataType::Float64 => "double",
        DataType::Boolean => "boolean",
        DataType::Utf8 => "string",
        DataType::Dictionary(_, values) => kind_of(values),
        DataType::Binary => "binary",
        _ => "another type",
    }
}

/// The file's schema, with vehicle and boot read as dictionaries.
fn with_dictionaries(schema: &Schema) -> Arc<Schema> {
    let field = |f: &Arc<Field>| match (f.name().as_str(), f.data_type()) {
        ("vehicle_id" | "boot_id", DataType::Utf8) => {
            let dictionary = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
            Arc::new(Field::new(f.name(), dictionary, f.is_nullable()))
        }
        _ => f.clone(),
    };
    Arc::new(Schema::new(schema.fields().iter().map(field).collect::<Vec<_>>()))
}

/// The same name of several batches is kept once.
#[derive(Default)]
struct Names(HashMap<String, Arc<str>>);

impl Names {
    fn get(&mut self, name: &str) -> Arc<str> {
        match self.0.get(name) {
            Some(known) => known.clone(),
            None => self.0.entry(name.to_owned()).or_insert_with(|| name.into()).clone(),
        }
    }
}

/// Vehicle and boot of each row of a batch.
struct Ids<'a> {
    vehicles: Vec<Arc<str>>,
    vehicle: &'a [i32],
    boots: Vec<u64>,
    boot: &'a [i32],
}

impl<'a> Ids<'a> {
    fn of(batch: &'a RecordBatch, names: &mut Names) -> Result<Self, String> {
        let vehicle = dictionary(batch, "vehicle_id")?;
        let boot = dictionary(batch, "boot_id")?;
        let texts = |d: &DictionaryArray<Int32Type>| -> Vec<String> {
            let values: &StringArray = d.values().as_string();
            values.iter().map(|v| v.unwrap_or_default().to_owned()).collect()
        };
        let boots = texts(boot).iter().map(|b| boot_id(b)).collect::<Result<_, _>>()?;
        Ok(Self {
            vehicles: texts(vehicle).iter().map(|v| names.get(v)).collect(),
            vehicle: vehicle.keys().values(),
            boots,
            boot: boot.keys().values(),
        })
    }

    fn vehicle(&self, row: usize) -> Arc<str> {
        self.vehicles[self.vehicle[row] as usize].clone()
    }

    fn boot(&self, row: usize) -> u64 {
        self.boots[self.boot[row] as usize]
    }
}

fn boot_id(text: &str) -> Result<u64, String> {
    match u64::from_str_radix(text, 16) {
        Ok(boot) if text.len() == 16 => Ok(boot),
        _ => Err(format!("{text:?} in it is no boot id: 16 hex digits are")),
    }
}

fn runs(batch: &RecordBatch, ids: &Ids, out: &mut Vec<Run>) -> Result<(), String> {
    let seq = ints(batch, "seq")?;
    if seq.null_count() > 0 {
        return Err("a row in it has no seq".into());
    }
    let seq = seq.values();
    let mut start = 0;
    for row in 1..=seq.len() {
        let goes_on = row < seq.len()
            && seq[row] == seq[row - 1].wrapping_add(1)
            && ids.vehicle[row] == ids.vehicle[row - 1]
            && ids.boot[row] == ids.boot[row - 1];
        if goes_on {
            continue;
        }
        let first = u64::try_from(seq[start]).map_err(|_| format!("seq {} in it is negative", seq[start]))?;
        let seqs = first..first + (row - start) as u64;
        let (vehicle, boot) = (ids.vehicle(start), ids.boot(start));
        match out.last_mut() {
            Some(last) if last.seqs.end == first && last.boot == boot && last.vehicle == vehicle => {
                last.seqs.end = seqs.end;
            }
            _ => out.push(Run { vehicle, boot, seqs }),
        }
        start = row;
    }
    Ok(())
}

fn days(batch: &RecordBatch, out: &mut BTreeSet<i64>) -> Result<(), String> {
    let column = batch.column_by_name("ts").and_then(|c| c.as_primitive_opt::<TimestampMillisecondType>());
    let column = column.ok_or("its column ts is no timestamp in ms")?;
    if column.null_count() > 0 {
        return Err("a row in it has no ts".into());
    }
    let mut last = None;
    for ms in column.values() {
        let day = Some(ms.div_euclid(86_400_000));
        if day != last {
            out.extend(day);
            last = day;
        }
    }
    Ok(())
}

fn gaps(batch: &RecordBatch, ids: &Ids, out: &mut Vec<GapRow>) -> Result<(), String> {
    let (stream, boot) = (strings(batch, "stream")?, strings(batch, "gap_boot_id")?);
    let (first, last) = (ints(batch, "first_seq")?, ints(batch, "last_seq")?);
    let count = ints(batch, "count")?;
    let number = |column: &arrow_array::Int64Array, row| {
        column.is_valid(row).then(|| column.value(row)).and_then(|n| u64::try_from(n).ok())
    };
    for row in 0..batch.num_rows() {
        out.push(GapRow {
            vehicle: ids.vehicle(row),
            boot: boot_id(boot.value(row))?,
            stream: stream.is_valid(row).then(|| stream.value(row).to_owned()),
            first_seq: number(first, row),
            last_seq: number(last, row),
            count: number(count, row).unwrap_or(0),
        });
    }
    Ok(())
}

fn reports(batch: &RecordBatch, ids: &Ids, contents: &mut Contents) -> Result<(), String> {
    let (component, name) = (strings(batch, "component")?, strings(batch, "name")?);
    let seq = ints(batch, "seq")?;
    let [received, emitted, taken_out, poison] =
        ["received", "emitted", "taken_out", "poison"].map(|name| ints(batch, name));
    let (received, emitted, taken_out, poison) = (received?, emitted?, taken_out?, poison?);
    for row in 0..batch.num_rows() {
        let count = |column: &arrow_array::Int64Array| match column.is_valid(row) {
            true => u64::try_from(column.value(row)).unwrap_or(0),
            false => 0,
        };
        let health = HealthRow {
            component: component.value(row).to_owned(),
            name: name.value(row).to_owned(),
            received: count(received),
            emitted: count(emitted),
            taken_out: count(taken_out),
            poison: count(poison),
        };
        if health.component == "stream" && emitted.is_valid(row) {
            let key = (ids.vehicle(row), ids.boot(row), health.name.clone());
            let largest = contents.reported.entry(key).or_default();
            *largest = health.emitted.max(*largest);
        }
        contents.health.add(&(ids.vehicle(row), ids.boot(row)), count(seq), health);
    }
    Ok(())
}

fn dictionary<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a DictionaryArray<Int32Type>, String> {
    let column = batch.column_by_name(name).and_then(|c| c.as_dictionary_opt::<Int32Type>());
    match column {
        Some(d) if d.null_count() == 0 && d.values().as_string_opt::<i32>().is_some() => Ok(d),
        _ => Err(format!("its column {name} is no text, or has nulls")),
    }
}

fn ints<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a arrow_array::Int64Array, String> {
    let column = batch.column_by_name(name).and_then(|c| c.as_primitive_opt::<Int64Type>());
    column.ok_or_else(|| format!("its column {name} is no bigint"))
}

fn strings<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a StringArray, String> {
    let column = batch.column_by_name(name).and_then(|c| c.as_string_opt::<i32>());
    column.ok_or_else(|| format!("its column {name} is no text"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::samples;

    #[test]
    fn rows_with_consecutive_numbers_are_one_run() {
        let file = samples::rows(&[
            ("a", 1, 0..100_000),
            ("b", 1, 0..10),
            ("a", 1, 100_000..100_005),
            ("a", 2, 0..3),
        ]);
        let contents = read("gps_data", file).unwrap();
        assert_eq!(contents.rows, 100_018);
        let run = |v: &str, boot, seqs| Run { vehicle: v.into(), boot, seqs };
        let expected =
            [run("a", 1, 0..100_000), run("b", 1, 0..10), run("a", 1, 100_000..100_005), run("a", 2, 0..3)];
        assert_eq!(contents.runs, expected);
    }

    #[test]
    fn a_run_goes_on_over_batches_of_the_reader() {
        let contents = read("gps_data", samples::rows(&[("a", 1, 0..300_000)])).unwrap();
        assert_eq!(contents.runs.len(), 1);
    }

    #[test]
    fn damaged_files_are_named_and_do_not_panic() {
        let whole = samples::rows(&[("a", 1, 0..2000)]);
        assert!(read("gps_data", Bytes::from_static(b"PAR1")).is_err());
        assert!(read("gap_data", whole.clone()).unwrap_err().contains("no column stream"));
        for at in (0..whole.len()).step_by(7) {
            let mut damaged = whole.to_vec();
            damaged[at] ^= 0xff;
            let _ = read("gps_data", damaged.into());
        }
    }
}
