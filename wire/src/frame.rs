//! The frame: one batch of one stream, unchanged from vehicle to sink.

use crate::columns::{Batch, Columns};
use crate::id::{BootId, Digest, VehicleId};
use crate::stream::Stream;
use alloc::string::String;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// The most bytes a frame has. What is larger (an image) is refused where it enters.
pub const MAX_FRAME: usize = 4 << 20;
/// The most readings in a frame.
pub const MAX_READINGS: usize = 8192;
/// The most columns of a stream, beside the common ones.
pub const MAX_COLUMNS: usize = 64;

/// How a frame's body is coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[repr(u8)]
pub enum Codec {
    /// Columns, each coded by itself.
    Columnar = 0,
}

/// What a frame says in clear: all that the bridge needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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

#[derive(Serialize, Deserialize)]
struct Interim {
    header: Header,
    rows: Columns,
}

/// Reads the header and checks the CRC; leaves the body alone.
pub fn check(frame: &[u8]) -> Result<Header, DecodeError> {
    parse(frame).map(|f| f.header)
}

/// Turns a batch into a frame.
pub fn encode(batch: &Batch) -> Result<Vec<u8>, EncodeError> {
    let (Some(&ts_min), Some(&ts_max)) = (batch.rows.ts.iter().min(), batch.rows.ts.iter().max()) else {
        return Err(EncodeError::Empty);
    };
    let header = Header {
        version: crate::version::FRAME,
        vehicle: batch.vehicle.clone(),
        boot: batch.boot,
        stream: batch.stream.clone(),
        first_seq: batch.first_seq,
        count: batch.len() as u32,
        ts_min,
        ts_max,
        schema: 0,
        codec: Codec::Columnar,
        lineage: batch.lineage.clone(),
    };
    let mut out = alloc::vec![crate::version::FRAME];
    out.extend(
        postcard::to_allocvec(&Interim { header, rows: batch.rows.clone() }).expect("no unbounded types"),
    );
    match out.len() {
        n if n > MAX_FRAME => Err(EncodeError::TooLarge(n)),
        _ => Ok(out),
    }
}

/// Turns a frame back into its batch.
pub fn decode(frame: &[u8]) -> Result<Batch, DecodeError> {
    let Interim { header: h, rows } = parse(frame)?;
    Ok(Batch {
        vehicle: h.vehicle,
        boot: h.boot,
        stream: h.stream,
        first_seq: h.first_seq,
        lineage: h.lineage,
        rows,
    })
}

fn parse(frame: &[u8]) -> Result<Interim, DecodeError> {
    let (&version, rest) = frame.split_first().ok_or(DecodeError::Malformed { what: "no version", at: 0 })?;
    if version != crate::version::FRAME {
        return Err(DecodeError::Version(version));
    }
    postcard::from_bytes(rest)
        .map_err(|_| DecodeError::Malformed { what: "a body that ends early or does not fit", at: 1 })
}
