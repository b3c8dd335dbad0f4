//! Which columns a body has, in which order they are written, and how much memory they take.

use super::bits::{Reader, Writer};
use super::{MAX_COLUMNS, names};
use crate::checksum::CRC32C;
use crate::columns::{Column, Columns, Validity, Values};
use crate::stream::{ColumnSpec, Kind, Stream};
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

/// Golomb parameter of the number of columns.
const COLUMNS: u32 = 2;

/// Writes the names and kinds of a derived stream's columns.
pub(super) fn write_columns(w: &mut Writer, columns: &[Column]) {
    w.golomb(columns.len() as u64, COLUMNS);
    for column in columns {
        names::write(w, &column.spec.name);
        w.put(column.spec.kind as u64, 3);
    }
}

/// Reads what [`write_columns`] wrote.
pub(super) fn read_columns(r: &mut Reader<'_>) -> Result<Vec<ColumnSpec>, &'static str> {
    let n = r.golomb(COLUMNS)?;
    if n > MAX_COLUMNS as u64 {
        return Err("more than 64 columns");
    }
    let mut specs: Vec<ColumnSpec> = Vec::new();
    for _ in 0..n {
        let name = names::read(r)?;
        let kind = match r.get(3) {
            0 => Kind::Int,
            1 => Kind::Float,
            2 => Kind::Bool,
            3 => Kind::Text,
            4 => Kind::Bytes,
            _ => return Err("a column of an unknown kind"),
        };
        if specs.iter().any(|s| s.name == name) {
            return Err("a column that is there twice");
        }
        specs.push(ColumnSpec::new(name, kind).map_err(|_| "a column name that cannot be one")?);
    }
    Ok(specs)
}

/// The fingerprint of a derived stream's columns, CRC-32C of each one's name and kind; 0 for a built-in
/// stream.
pub(super) fn fingerprint<'a>(stream: &Stream, columns: impl Iterator<Item = &'a ColumnSpec>) -> u32 {
    if stream.columns().is_some() {
        return 0;
    }
    let mut crc = CRC32C.digest();
    for column in columns {
        crc.update(column.name.as_bytes());
        crc.update(&[column.kind as u8]);
    }
    crc.finalize()
}
