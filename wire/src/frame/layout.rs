//! Which columns a body has, in which order they are written, and how much memory they take.

use super::cursor::{Cursor, put_text, put_varint};
use super::{DecodeError, MAX_COLUMNS};
use crate::columns::{Column, Columns, Validity, Values};
use crate::stream::{ColumnSpec, Kind, StreamName};
use alloc::vec::Vec;

/// Where the columns are that dead reckoning takes.
#[derive(Clone, Copy)]
pub(super) struct Moving {
    pub(super) latitude: usize,
    pub(super) longitude: usize,
    pub(super) speed: usize,
    pub(super) heading: usize,
}

impl Moving {
    /// The columns, where all four are there. They are written last, latitude before longitude.
    pub(super) fn find<'a>(specs: impl Iterator<Item = &'a ColumnSpec> + Clone) -> Option<Self> {
        let find = |name| specs.clone().position(|s| s.name == name && s.kind == Kind::Int);
        Some(Self {
            latitude: find("lat_e7")?,
            longitude: find("lon_e7")?,
            speed: find("speed_mm_s")?,
            heading: find("heading_cdeg")?,
        })
    }

    /// Whether column `i` is a position.
    pub(super) fn holds(&self, i: usize) -> bool {
        i == self.latitude || i == self.longitude
    }
}

/// The bytes that rows take in memory, as the limits count them: 8 for a time, an integer or a float, 1
/// for a clock or a bool, 4 and its bytes for a text, 1/8 for a null mask.
pub(super) fn footprint(rows: &Columns) -> u64 {
    let n = rows.ts.len();
    n as u64 * 9 + rows.columns.iter().map(|c| column_footprint(c, n)).sum::<u64>()
}

fn column_footprint(column: &Column, n: usize) -> u64 {
    let mask = if nulls(column).is_some() { mask_footprint(n) } else { 0 };
    let data = match &column.values {
        Values::Text(v) | Values::Bytes(v) => {
            (0..n).filter(|i| column.is_set(*i)).map(|i| v.get(i).map_or(0, <[u8]>::len) as u64).sum()
        }
        _ => 0,
    };
    cells_footprint(column.spec.kind, n) + mask + data
}

pub(super) fn cells_footprint(kind: Kind, n: usize) -> u64 {
    n as u64
        * match kind {
            Kind::Int | Kind::Float => 8,
            Kind::Bool => 1,
            Kind::Text | Kind::Bytes => 4,
        }
}

pub(super) fn mask_footprint(n: usize) -> u64 {
    n.div_ceil(8) as u64
}

/// The null mask, where there is a null.
pub(super) fn nulls(column: &Column) -> Option<&Validity> {
    column.validity.as_ref().filter(|v| v.count_set() < v.len())
}

/// Appends the names and kinds of a derived stream's columns.
pub(super) fn write_schema(out: &mut Vec<u8>, columns: &[Column]) {
    put_varint(out, columns.len() as u64);
    for column in columns {
        put_text(out, &column.spec.name);
        out.push(column.spec.kind as u8);
    }
}

/// Reads what [`write_schema`] wrote.
pub(super) fn read_schema(c: &mut Cursor<'_>) -> Result<Vec<ColumnSpec>, DecodeError> {
    let n = c.varint()?;
    if n > MAX_COLUMNS as u64 {
        return c.wrong("more than 64 columns");
    }
    let mut specs: Vec<ColumnSpec> = Vec::new();
    for _ in 0..n {
        let name = c.text(StreamName::MAX_LEN)?;
        let kind = match c.byte()? {
            0 => Kind::Int,
            1 => Kind::Float,
            2 => Kind::Bool,
            3 => Kind::Text,
            4 => Kind::Bytes,
            _ => return c.wrong("a column of an unknown kind"),
        };
        if specs.iter().any(|s| s.name == name) {
            return c.wrong("a column that is there twice");
        }
        match ColumnSpec::new(name, kind) {
            Ok(spec) => specs.push(spec),
            Err(_) => return c.wrong("a column name that cannot be one"),
        }
    }
    Ok(specs)
}
