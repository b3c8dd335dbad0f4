//! The frame: one batch of one stream, unchanged from vehicle to sink.
//!
//! ```text
//! version (1 byte) · bits: header, body in columns · bytes of texts and images · CRC-32C of all before it
//! (4 bytes, lowest first)
//! ```
//!
//! What is in the header stands in `header`, the body in `body`, how a column of integers becomes small
//! in `int`. Whatever bytes come in, decoding does not panic and takes at most [`EXPANSION`] bytes for
//! the rows, and as much again while it works, for each byte of the frame; that is checked before
//! memory is taken. So that a long batch in which nothing changes keeps to it, the encoder fills its
//! short frame up with zeros.

mod bits;
mod body;
mod header;
mod hints;
mod int;
mod kinds;
mod layout;
mod motion;
mod names;
mod rice;
mod times;

use crate::checksum::CRC32C;
use crate::columns::{Batch, Column, Values};
use crate::id::{BootId, Digest, VehicleId};
use crate::stream::{Stream, check_name};
use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// The most bytes a frame has. What is larger (an image) is refused where it enters.
pub const MAX_FRAME: usize = 4 << 20;
/// The most readings in a frame.
pub const MAX_READINGS: usize = 8192;
/// The most columns of a stream, beside the common ones.
pub const MAX_COLUMNS: usize = 64;
/// The most transforms in a lineage.
pub const MAX_LINEAGE: usize = 32;
/// The most bytes of rows for each byte of a frame.
pub const EXPANSION: u64 = 512;
/// The most bytes of rows that a frame may hold, however long it is.
pub const MAX_DECODED: u64 = 64 << 20;

/// The bytes of the checksum.
const CRC: usize = 4;

/// How a frame's body is coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Codec {
    /// Columns, each coded by itself.
    Columnar = 0,
}

/// What a frame says in clear: all that the bridge needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The frame's version: see [`crate::version`].
    pub version: u8,
    /// Who read it.
    pub vehicle: VehicleId,
    /// In which run of its agent.
    pub boot: BootId,
    /// The stream.
    pub stream: Stream,
    /// The first row's number.
    pub first_seq: u64,
    /// The number of rows, at least 1.
    pub count: u32,
    /// The smallest event time, µs since 1970 UTC.
    pub ts_min: i64,
    /// The largest event time.
    pub ts_max: i64,
    /// Fingerprint of a derived stream's columns; 0 for a built-in stream.
    pub schema: u32,
    /// How the body is coded.
    pub codec: Codec,
    /// The transforms that these readings passed, in order.
    pub lineage: Vec<Digest>,
}

impl Header {
    /// The last row's number.
    pub fn last_seq(&self) -> u64 {
        self.first_seq + u64::from(self.count) - 1
    }
}

/// Why a batch has no frame. The encoder never makes a frame that the decoder refuses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// There are no rows.
    #[error("The batch has no readings, so there is nothing to send")]
    Empty,
    /// The frame would be larger than [`MAX_FRAME`].
    #[error(
        "The frame would have {0} bytes, and at most {MAX_FRAME} are allowed: put fewer readings into a batch"
    )]
    TooLarge(usize),
    /// The batch breaks a rule of its stream.
    #[error("The batch of {stream} cannot be sent: {why}")]
    Invalid {
        /// The stream's name.
        stream: String,
        /// The rule.
        why: &'static str,
    },
}

/// Why bytes are not a frame.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The version is one that this program does not know.
    #[error("Frame version {0} is newer than this program, which reads up to {max}: upgrade it", max = crate::version::FRAME)]
    Version(u8),
    /// The checksum does not fit.
    #[error("The frame is damaged: CRC {found:08x}, computed {computed:08x}")]
    Crc {
        /// What the frame says.
        found: u32,
        /// What its bytes give.
        computed: u32,
    },
    /// Something in it is wrong.
    #[error("The frame is not readable: {what} at byte {at}")]
    Malformed {
        /// What is wrong.
        what: &'static str,
        /// Where.
        at: usize,
    },
}

/// Reads the header and checks the CRC; leaves the body alone.
pub fn check(frame: &[u8]) -> Result<Header, DecodeError> {
    open(frame).map(|clear| clear.header)
}

/// Turns a batch into a frame.
pub fn encode(batch: &Batch) -> Result<Vec<u8>, EncodeError> {
    let rows = &batch.rows;
    let (Some(&ts_min), Some(&ts_max)) = (rows.ts.iter().min(), rows.ts.iter().max()) else {
        return Err(EncodeError::Empty);
    };
    keeps_the_rules(batch).map_err(|why| EncodeError::Invalid { stream: batch.stream.to_string(), why })?;
    let header = Header {
        version: crate::version::FRAME,
        vehicle: batch.vehicle.clone(),
        boot: batch.boot,
        stream: batch.stream.clone(),
        first_seq: batch.first_seq,
        count: batch.len() as u32,
        ts_min,
        ts_max,
        schema: layout::fingerprint(&batch.stream, rows.columns.iter().map(|c| &c.spec)),
        codec: Codec::Columnar,
        lineage: batch.lineage.clone(),
    };
    let times = times::Span::of(&rows.ts, ts_min, ts_max);
    let mut out = Vec::with_capacity(64 + batch.len() * 8);
    out.push(header.version);
    let mut w = bits::Writer::behind(out);
    header::write(&mut w, &header, &times, &rows.columns);
    let mut out = body::write(w, rows, &times);
    out.extend(CRC32C.checksum(&out).to_le_bytes());
    match out.len() {
        n if n > MAX_FRAME => Err(EncodeError::TooLarge(n)),
        _ => Ok(out),
    }
}

/// Turns a frame back into its batch.
pub fn decode(frame: &[u8]) -> Result<Batch, DecodeError> {
    let clear = open(frame)?;
    let header::Clear { header, times, columns, body } = clear;
    let rows =
        body::read(&frame[..frame.len() - CRC], header.count as usize, &times, columns.into_owned(), body)?;
    let Header { vehicle, boot, stream, first_seq, lineage, .. } = header;
    Ok(Batch { vehicle, boot, stream, first_seq, lineage, rows })
}

fn open(frame: &[u8]) -> Result<header::Clear<'_>, DecodeError> {
    let malformed = |what, at| Err(DecodeError::Malformed { what, at });
    match frame.first() {
        None => return malformed("no version", 0),
        Some(&version) if version > crate::version::FRAME => return Err(DecodeError::Version(version)),
        Some(&version) if version < crate::version::FRAME_MIN => {
            return malformed("a version that never was", 0);
        }
        Some(_) => {}
    }
    if frame.len() > MAX_FRAME {
        return malformed("more bytes than a frame may have", MAX_FRAME);
    }
    let Some((inside, crc)) = frame.split_last_chunk::<CRC>() else {
        return malformed("an early end", frame.len());
    };
    let (found, computed) = (u32::from_le_bytes(*crc), CRC32C.checksum(inside));
    if found != computed {
        return Err(DecodeError::Crc { found, computed });
    }
    header::read(inside)
}

/// Whether the decoder would take the batch; the error names the rule.
fn keeps_the_rules(batch: &Batch) -> Result<(), &'static str> {
    let rows = &batch.rows;
    let n = batch.len();
    let rules = [
        (n <= MAX_READINGS, "it has more than 8192 readings"),
        (rows.clock.len() == n, "it has not as many clocks as times"),
        (rows.columns.len() <= MAX_COLUMNS, "it has more than 64 columns"),
        (batch.lineage.len() <= MAX_LINEAGE, "its lineage has more than 32 transforms"),
        (batch.first_seq <= i64::MAX as u64 - n as u64, "its sequence numbers pass 2^63"),
    ];
    if let Some((_, why)) = rules.iter().find(|(kept, _)| !kept) {
        return Err(why);
    }
    match batch.stream.columns() {
        Some(columns) if !rows.columns.iter().map(|c| &c.spec).eq(columns) => {
            return Err("its columns are not those of the stream");
        }
        Some(_) => {}
        None => {
            for (i, column) in rows.columns.iter().enumerate() {
                if check_name(column.spec.name.to_string()).is_err() {
                    return Err("a column name is not a lower-case letter and up to 47 of a-z 0-9 _");
                }
                if rows.columns[..i].iter().any(|c| c.spec.name == column.spec.name) {
                    return Err("two columns have the same name");
                }
            }
        }
    }
    rows.columns.iter().try_for_each(|c| column_keeps_the_rules(c, n))?;
    match layout::footprint(rows) <= MAX_DECODED {
        true => Ok(()),
        false => Err("its texts take more than 64 MiB: put fewer readings into a batch"),
    }
}

fn column_keeps_the_rules(column: &Column, n: usize) -> Result<(), &'static str> {
    use crate::stream::Kind;
    let fits = match (&column.values, column.spec.kind) {
        (Values::Int(v), Kind::Int) => v.len() == n,
        (Values::Float(v), Kind::Float) => v.len() == n,
        (Values::Bool(v), Kind::Bool) => v.len() == n,
        (Values::Text(v), Kind::Text) | (Values::Bytes(v), Kind::Bytes) => v.offsets.len() == n + 1,
        _ => return Err("a column holds values of another kind than it says"),
    };
    if !fits || column.validity.as_ref().is_some_and(|v| v.len() != n) {
        return Err("a column has not as many rows as there are times");
    }
    let readable = match &column.values {
        Values::Text(v) => (0..n).all(|i| v.get(i).is_some_and(|b| core::str::from_utf8(b).is_ok())),
        Values::Bytes(v) => (0..n).all(|i| v.get(i).is_some()),
        _ => true,
    };
    if readable { Ok(()) } else { Err("a text is not UTF-8, or its place is not in the column") }
}
