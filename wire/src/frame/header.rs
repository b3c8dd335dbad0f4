//! The header's bits: what the bridge needs, in clear behind the version.
//!
//! | field | bits |
//! |---|---|
//! | vehicle | see `names` |
//! | boot | 64 |
//! | stream's number (7: derived) | 3 |
//! | codec | 1 |
//! | whether there is a lineage | 1 |
//! | first sequence number | Golomb 14 |
//! | number of rows, less 1 | Golomb 5 |
//! | times | see `times` |
//! | with a lineage: number of transforms less 1, digests | 5, 64 each |
//! | derived streams: name, columns | see `names`, `layout` |

use super::bits::{Reader, Writer};
use super::times::Span;
use super::{Codec, DecodeError, Header, MAX_LINEAGE, MAX_READINGS, layout, names};
use crate::columns::Column;
use crate::id::{BootId, Digest, VehicleId};
use crate::stream::{ColumnSpec, Stream, StreamName};
use alloc::borrow::Cow;
use alloc::vec::Vec;

const DERIVED: u64 = 7;
const SEQUENCE: u32 = 14;
const COUNT: u32 = 5;

/// A header and what the body needs of it beside.
pub(super) struct Clear<'a> {
    pub(super) header: Header,
    pub(super) times: Span,
    /// The stream's columns.
    pub(super) columns: Cow<'static, [ColumnSpec]>,
    /// At the first bit of the body.
    pub(super) body: Reader<'a>,
}

/// Writes the header.
pub(super) fn write(w: &mut Writer, header: &Header, times: &Span, columns: &[Column]) {
    names::write_vehicle(w, header.vehicle.as_str());
    w.put(header.boot.0, 64);
    w.put(Stream::BUILT_IN.iter().position(|s| *s == header.stream).map_or(DERIVED, |i| i as u64), 3);
    w.put(header.codec as u64, 1);
    w.flag(!header.lineage.is_empty());
    w.golomb(header.first_seq, SEQUENCE);
    w.golomb(u64::from(header.count) - 1, COUNT);
    times.write(w, header.count);
    if let Some(more) = header.lineage.len().checked_sub(1) {
        w.put(more as u64, 5);
        header.lineage.iter().for_each(|d| w.put(u64::from_le_bytes(d.0), 64));
    }
    if let Stream::Derived(name) = &header.stream {
        names::write(w, name.as_str());
        layout::write_columns(w, columns);
    }
}

/// Reads the header of a frame (without its CRC) whose version is known.
pub(super) fn read(frame: &[u8]) -> Result<Clear<'_>, DecodeError> {
    let mut r = Reader::new(frame, 1);
    let read = read_fields(&mut r, frame[0]);
    // Behind the end there are zeros, which may be wrong in any way.
    let read = if r.overrun() { Err("an early end") } else { read };
    match read {
        Ok((header, times, columns)) => Ok(Clear { header, times, columns, body: r }),
        Err(what) => Err(DecodeError::Malformed { what, at: r.byte().min(frame.len()) }),
    }
}

fn read_fields(
    r: &mut Reader<'_>,
    version: u8,
) -> Result<(Header, Span, Cow<'static, [ColumnSpec]>), &'static str> {
    let vehicle = VehicleId::new(names::read_vehicle(r)?)
        .map_err(|_| "a vehicle id with other characters than A-Z a-z 0-9 . _ -")?;
    let boot = BootId(r.get(64));
    let number = r.get(3);
    if r.get(1) != Codec::Columnar as u64 {
        return Err("a codec that this program does not know");
    }
    let transforms = r.flag();
    let first_seq = r.golomb(SEQUENCE)?;
    let count = match r.golomb(COUNT)? {
        less if less < MAX_READINGS as u64 => less as u32 + 1,
        _ => return Err("a number of rows that is not 1 to 8192"),
    };
    if first_seq > i64::MAX as u64 - u64::from(count) {
        return Err("a sequence number above 2^63");
    }
    let times = Span::read(r, count)?;
    let mut lineage = Vec::new();
    if transforms {
        let n = r.get(5) as usize + 1;
        lineage.extend((0..n).map(|_| Digest(r.get(64).to_le_bytes())));
    }
    let (stream, columns) = match number {
        DERIVED => {
            let name =
                StreamName::new(names::read(r)?).map_err(|_| "a derived stream's name that cannot be one")?;
            (Stream::Derived(name), Cow::Owned(layout::read_columns(r)?))
        }
        number => {
            let stream = Stream::BUILT_IN[number as usize].clone();
            let columns = stream.columns().unwrap_or_default();
            (stream, Cow::Borrowed(columns))
        }
    };
    let header = Header {
        version,
        vehicle,
        boot,
        first_seq,
        count,
        ts_min: times.start,
        ts_max: times.end(),
        schema: layout::fingerprint(&stream, columns.iter()),
        stream,
        codec: Codec::Columnar,
        lineage,
    };
    Ok((header, times, columns))
}

// The number of transforms less 1 has 5 bits.
const _: () = assert!(MAX_LINEAGE == 32);
