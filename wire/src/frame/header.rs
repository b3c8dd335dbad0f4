//! The header's bytes. They are what postcard makes of these fields, one after the other:
//!
//! | field | as | bytes |
//! |---|---|---|
//! | vehicle | text | 1 + length |
//! | boot | `[u8; 8]`, most significant first | 8 |
//! | tag | `u8`: bits 0–2 the stream's number (7: derived), 3–4 the unit of time (µs, ms, 0.1 s, s), 5 whether there is a lineage, 6–7 the codec | 1 |
//! | first sequence number | varint | 1–9 |
//! | number of rows | varint | 1–2 |
//! | first time, in the unit | zigzag varint | 1–10 |
//! | last time less the first, in the unit | varint | 1–10 |
//! | derived streams: name, fingerprint of the columns | text, `[u8; 4]` | 5 + length |
//! | with a lineage: the digests | varint, then `[u8; 8]` each | 1 + 8 each |

use super::bits::{unzigzag, zigzag};
use super::cursor::{Cursor, put_text, put_varint};
use super::{Codec, DecodeError, Header, MAX_LINEAGE, MAX_READINGS};
use crate::id::{BootId, Digest, VehicleId};
use crate::stream::{Stream, StreamName};
use alloc::vec::Vec;

const DERIVED: u8 = 7;
const LINEAGE: u8 = 1 << 5;
/// The units of time, µs.
const UNITS: [i64; 4] = [1, 1_000, 100_000, 1_000_000];

/// A header and what the body needs of it beside.
pub(super) struct Clear {
    pub(super) header: Header,
    /// The unit of the body's times, µs.
    pub(super) unit: i64,
    /// The last time less the first, in units.
    pub(super) span: u64,
    /// The first byte of the body.
    pub(super) end: usize,
}

/// The coarsest unit that gives back all times.
pub(super) fn unit_of(times: &[i64]) -> i64 {
    UNITS.into_iter().rev().find(|u| times.iter().all(|t| t % u == 0)).unwrap_or(1)
}

/// Appends the header.
pub(super) fn write(out: &mut Vec<u8>, header: &Header, unit: i64) {
    out.push(header.version);
    put_text(out, header.vehicle.as_str());
    out.extend(header.boot.0.to_be_bytes());
    let stream = Stream::BUILT_IN.iter().position(|s| *s == header.stream).map_or(DERIVED, |i| i as u8);
    let unit_code = UNITS.iter().position(|u| *u == unit).unwrap_or(0) as u8;
    let lineage = if header.lineage.is_empty() { 0 } else { LINEAGE };
    out.push(stream | unit_code << 3 | lineage | (header.codec as u8) << 6);
    put_varint(out, header.first_seq);
    put_varint(out, u64::from(header.count));
    put_varint(out, zigzag(header.ts_min / unit));
    put_varint(out, header.ts_max.wrapping_sub(header.ts_min) as u64 / unit as u64);
    if let Stream::Derived(name) = &header.stream {
        put_text(out, name.as_str());
        out.extend(header.schema.to_be_bytes());
    }
    if !header.lineage.is_empty() {
        put_varint(out, header.lineage.len() as u64);
        header.lineage.iter().for_each(|d| out.extend(d.0));
    }
}

/// Reads the header of a frame whose version is known.
pub(super) fn read(frame: &[u8]) -> Result<Clear, DecodeError> {
    let mut c = Cursor::new(frame, 0);
    let version = c.byte()?;
    let Ok(vehicle) = VehicleId::new(c.text(VehicleId::MAX_LEN)?) else {
        return c.wrong("a vehicle id with other characters than A-Z a-z 0-9 . _ -");
    };
    let boot = BootId(u64::from_be_bytes(c.array()?));
    let tag = c.byte()?;
    if tag >> 6 != Codec::Columnar as u8 {
        return c.wrong("a codec that this program does not know");
    }
    let unit = UNITS[usize::from(tag >> 3 & 3)];
    let first_seq = c.varint()?;
    let count = match c.varint()? {
        n if (1..=MAX_READINGS as u64).contains(&n) => n as u32,
        _ => return c.wrong("a number of rows that is not 1 to 8192"),
    };
    if first_seq > i64::MAX as u64 - u64::from(count) {
        return c.wrong("a sequence number above 2^63");
    }
    let start = unzigzag(c.varint()?);
    let span = c.varint()?;
    let times =
        (i128::from(start) * i128::from(unit), (i128::from(start) + i128::from(span)) * i128::from(unit));
    let (Ok(ts_min), Ok(ts_max)) = (i64::try_from(times.0), i64::try_from(times.1)) else {
        return c.wrong("a time that is not within 64 bits of µs");
    };
    let (stream, schema) = match tag & 7 {
        DERIVED => {
            let Ok(name) = StreamName::new(c.text(StreamName::MAX_LEN)?) else {
                return c.wrong("a derived stream's name that cannot be one");
            };
            (Stream::Derived(name), u32::from_be_bytes(c.array()?))
        }
        number => (Stream::BUILT_IN[usize::from(number)].clone(), 0),
    };
    let mut lineage = Vec::new();
    if tag & LINEAGE != 0 {
        let n = c.varint()?;
        if !(1..=MAX_LINEAGE as u64).contains(&n) {
            return c.wrong("a lineage that is not of 1 to 32 transforms");
        }
        let digests = c.take(n as usize * 8)?;
        lineage.extend(digests.chunks_exact(8).map(|d| Digest(d.try_into().unwrap_or_default())));
    }
    let header = Header {
        version,
        vehicle,
        boot,
        stream,
        first_seq,
        count,
        ts_min,
        ts_max,
        schema,
        codec: Codec::Columnar,
        lineage,
    };
    Ok(Clear { header, unit, span, end: c.at })
}
