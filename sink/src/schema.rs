//! The one description of the tables: name, comment, columns with type, unit and comment, partition key.
//!
//! Files, the Glue catalogue, the DDL of every engine and the views are made from it; nothing else in
//! the sink says what a column is called, holds or means. The columns of a derived table come from its
//! frames and are remembered by [`crate::columns`]; here they get a description like all others.
//!
//! The rules of evolution: a column keeps its name and its type for ever, and is never taken away; a
//! table only gets columns at its end. So every file that was ever written can be read under the newest
//! description, where a column that it lacks is null.

mod built_in;

use crate::columns::Columns;
use arrow_schema::{DataType, Field, TimeUnit};
use milepost_wire::{Kind, Stream};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

pub(crate) use built_in::{Own, own};

/// What a column holds: the types that Parquet, Glue, Athena, Redshift, Spark, Trino and DuckDB share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Type {
    /// A 64-bit signed integer; there is no shorter one, so none has to be widened.
    Bigint,
    /// A 64-bit float.
    Double,
    /// True or false.
    Boolean,
    /// UTF-8.
    String,
    /// Bytes.
    Binary,
    /// Milliseconds UTC.
    Timestamp,
}

impl Type {
    /// The type of a derived stream's column.
    pub fn of(kind: Kind) -> Self {
        match kind {
            Kind::Int => Self::Bigint,
            Kind::Float => Self::Double,
            Kind::Bool => Self::Boolean,
            Kind::Text => Self::String,
            Kind::Bytes => Self::Binary,
        }
    }

    /// The type in a file.
    pub(crate) fn arrow(self) -> DataType {
        match self {
            Self::Bigint => DataType::Int64,
            Self::Double => DataType::Float64,
            Self::Boolean => DataType::Boolean,
            Self::String => DataType::Utf8,
            Self::Binary => DataType::Binary,
            Self::Timestamp => DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())),
        }
    }
}

/// A column of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name: lower case, digits and `_`.
    pub name: Cow<'static, str>,
    /// What it holds.
    pub kind: Type,
    /// The unit, such as `m/s`; empty where there is none.
    pub unit: &'static str,
    /// What it means.
    pub comment: Cow<'static, str>,
    /// Whether every row has a value.
    pub required: bool,
}

impl Column {
    const fn common(name: &'static str, kind: Type, unit: &'static str, comment: &'static str) -> Self {
        Self { name: Cow::Borrowed(name), kind, unit, comment: Cow::Borrowed(comment), required: true }
    }

    /// The comment with the unit: what a catalogue shows.
    pub fn remark(&self) -> String {
        match self.unit {
            "" => self.comment.to_string(),
            unit => format!("{} [{unit}]", self.comment),
        }
    }

    pub(crate) fn field(&self) -> Field {
        Field::new(self.name.as_ref(), self.kind.arrow(), !self.required)
    }
}

/// The columns that every table begins with.
pub const COMMON: [Column; 7] = [
    Column::common("vehicle_id", Type::String, "", "The vehicle"),
    Column::common("boot_id", Type::String, "", "The run of the vehicle's agent, 16 hex digits"),
    Column::common(
        "seq",
        Type::Bigint,
        "",
        "Number of the row in its vehicle, boot and table, from 0 without a gap",
    ),
    Column::common("ts", Type::Timestamp, "", "Event time, UTC, cut to milliseconds"),
    Column::common("ts_us", Type::Bigint, "µs since 1970", "Event time, UTC, exact"),
    Column::common("clock", Type::String, "", "Where the event time comes from: gps, ntp or none"),
    Column::common(
        "lineage",
        Type::String,
        "",
        "Digests of the transforms that the row has passed, comma-joined",
    ),
];

/// The column that is in the keys alone.
pub const PARTITION: Column = Column::common("dt", Type::String, "YYYY-MM-DD", "Event date, UTC");

/// Whether a table has a column of this name whatever its stream.
pub(crate) fn is_common(name: &str) -> bool {
    name == PARTITION.name || COMMON.iter().any(|c| c.name == name)
}

/// A table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Its name: the stream's, and the first part of its files' keys.
    pub name: String,
    /// What its rows are.
    pub comment: Cow<'static, str>,
    /// Its columns, as they lie in files: the partition's is not among them.
    pub columns: Vec<Column>,
}

impl Table {
    /// The table of a built-in stream; `None` for a derived one.
    pub fn built_in(stream: &Stream) -> Option<Self> {
        let (comment, own) = own(stream)?;
        let columns = COMMON.into_iter().chain(own.iter().map(Own::column)).collect();
        Some(Self { name: stream.name().to_owned(), comment: comment.into(), columns })
    }

    /// The table of a derived stream that has these columns.
    pub fn derived(name: &str, columns: &Columns) -> Self {
        let own = columns.iter().map(|c| Column {
            name: c.name.clone().into(),
            kind: c.kind,
            unit: "",
            comment: match c.name == c.of {
                true => "From the derived stream".into(),
                false => format!("The derived stream's {}, of this type", c.of).into(),
            },
            required: false,
        });
        let comment = "Rows that transforms and other programs in the vehicle derived".into();
        Self { name: name.to_owned(), comment, columns: COMMON.into_iter().chain(own).collect() }
    }

    /// The table of a name.
    pub fn of(name: &str, columns: &Columns) -> Self {
        let stream: Option<Stream> = name.parse().ok();
        stream.and_then(|s| Self::built_in(&s)).unwrap_or_else(|| Self::derived(name, columns))
    }

    /// The tables of all built-in streams.
    pub fn all_built_in() -> Vec<Self> {
        Stream::BUILT_IN.iter().filter_map(Self::built_in).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_column_of_every_built_in_stream_is_described_in_its_order() {
        for stream in &Stream::BUILT_IN {
            let (comment, own) = own(stream).unwrap();
            assert!(!comment.is_empty());
            let wire: Vec<_> = stream.columns().unwrap().iter().map(|c| c.name.as_ref()).collect();
            assert_eq!(own.iter().map(|o| o.wire).collect::<Vec<_>>(), wire, "{stream}");
            for (own, spec) in own.iter().zip(stream.columns().unwrap()) {
                let fits = match spec.kind {
                    Kind::Int if own.divisor != 1.0 => own.kind == Type::Double,
                    Kind::Bytes => own.kind == Type::String, // an image is a URI in the table
                    kind => own.kind == Type::of(kind),
                };
                assert!(fits, "{stream}.{}", own.wire);
                assert!(!own.comment.is_empty(), "{stream}.{}", own.wire);
                // Who has a unit in the name on the wire has it in words in the table.
                let unit = ["_e7", "_mm_s", "_cdeg", "_cm", "_c_e2", "_pct_e2", "_h_e2", "_ms"];
                let named = unit.iter().any(|u| own.wire.ends_with(u));
                assert!(!named || !own.unit.is_empty(), "{stream}.{}", own.wire);
            }
            let table = Table::built_in(stream).unwrap();
            let names: HashSet<_> = table.columns.iter().map(|c| &c.name).collect();
            assert_eq!(names.len(), table.columns.len(), "{stream}");
            assert!(!names.contains(&PARTITION.name));
        }
    }
}
