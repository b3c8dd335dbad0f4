//! The serial link between a board and the agent.
//!
//! ```text
//! packet   sequence (varint u16) · message (postcard) · CRC-32C of both (4 bytes, lowest first)
//! line     COBS(packet) · 0x00
//! ```
//!
//! A zero byte on the line is always an end, so a receiver that comes late, or meets noise, is in step
//! again at the next one. Sequence numbers say how many packets got lost between two that arrived;
//! nothing is acknowledged and nothing is sent again: a board has no memory for that. Empty packets
//! (`0x00 0x00`) mean nothing, so a board may begin with a zero to end what a bootloader printed.
//!
//! A board says [`Hello`] after each start and whenever it is asked ([`Message::Identify`]), before
//! anything else. Its times are those of its own monotonic clock; [`Message::Ping`] and
//! [`Message::Pong`] tell the agent how that clock stands to its own.
//!
//! Nothing here allocates, so that firmware without a heap can use it.

mod decoder;
mod encoder;

pub use decoder::{Counters, Decoder, Received};
pub use encoder::Encoder;

use serde::{Deserialize, Serialize};

/// The most bytes of an image in one [`Message::CameraChunk`].
pub const MAX_CHUNK: usize = 1024;
/// The most bytes of a packet before COBS.
pub const MAX_PACKET: usize = MAX_CHUNK + 64;
/// The most bytes of a packet on the line, with its end: a buffer of this size always suffices.
pub const MAX_LINE: usize = MAX_PACKET + MAX_PACKET / 254 + 2;

/// The bytes of the checksum.
const CRC: usize = 4;

/// What board and agent say to each other. The order of the variants and of their fields is frozen for
/// link version 1 (see [`crate::version`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message<'a> {
    /// Board: who it is.
    Hello(#[serde(borrow)] Hello<'a>),
    /// Board: the receiver's fix.
    Gps(Fix),
    /// Board: an image begins.
    CameraStart(CameraStart),
    /// Board: a part of it.
    CameraChunk {
        /// The image's number.
        image: u32,
        /// Where in the image these bytes belong.
        offset: u32,
        /// At most [`MAX_CHUNK`] bytes.
        bytes: &'a [u8],
    },
    /// Board: an image is complete, if all of its bytes have come.
    CameraEnd {
        /// The image's number.
        image: u32,
        /// Its length, bytes.
        length: u32,
        /// CRC-32C of all of it: see [`image_crc`].
        crc: u32,
    },
    /// Board: it had to let something go since it last said so.
    Dropped {
        /// What.
        what: Dropped,
        /// How many.
        count: u32,
    },
    /// Agent: what time is it? The board answers at once.
    Ping {
        /// The agent's monotonic clock, µs.
        host_us: u64,
    },
    /// Board: the answer.
    Pong {
        /// As the ping had it.
        host_us: u64,
        /// The board's monotonic clock when it answered, µs.
        board_us: u64,
    },
    /// Agent: how to work from now on.
    Configure(Config),
    /// Agent: say hello.
    Identify,
}

/// Who a board is. The version stands first for ever, so that it can be read when the rest cannot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello<'a> {
    /// The link's version: [`crate::version::LINK`].
    pub version: u8,
    /// The board, such as `pico-arducam`; at most 24 bytes.
    pub board: &'a str,
    /// The firmware's version; at most 16 bytes.
    pub firmware: &'a str,
    /// Drawn at each start: a new one says that counters and numbers began again.
    pub boot: u32,
    /// The board's monotonic clock, µs.
    pub at_us: u64,
    /// What it had to let go since its start.
    pub lost: Lost,
}

/// What a board had to let go since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lost {
    /// Fixes.
    pub fixes: u32,
    /// Images.
    pub images: u32,
    /// Sentences of the receiver that were not readable.
    pub sentences: u32,
}

/// One fix of the receiver; units as in [`crate::reading::Gps`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fix {
    /// The board's monotonic clock when the fix's first byte came, µs.
    pub at_us: u64,
    /// The receiver's UTC, µs since 1970, where it knows time and date.
    pub utc_us: Option<i64>,
    /// Latitude, 1e-7°.
    pub lat_e7: i32,
    /// Longitude, 1e-7°.
    pub lon_e7: i32,
    /// Altitude above mean sea level, cm.
    pub altitude_cm: Option<i32>,
    /// Speed over ground, mm/s.
    pub speed_mm_s: Option<u32>,
    /// Course over ground, 0.01°, below 36000.
    pub heading_cdeg: Option<u16>,
    /// Quality as NMEA's GGA counts it.
    pub fix: u8,
    /// Satellites used.
    pub satellites: Option<u8>,
    /// Horizontal dilution of precision, 0.01.
    pub hdop_e2: Option<u16>,
}

/// An image begins; its bytes follow in [`Message::CameraChunk`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CameraStart {
    /// The image's number, counted from 0 at the board's start.
    pub image: u32,
    /// Which camera of the board.
    pub camera: u8,
    /// The board's monotonic clock when it was taken, µs.
    pub at_us: u64,
    /// Width, pixels.
    pub width: u16,
    /// Height, pixels.
    pub height: u16,
    /// Its length, bytes, as the camera says it; the end's counts.
    pub length: u32,
}

/// What a board let go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Dropped {
    /// Fixes: the line was busy.
    Fixes,
    /// Images: the line was busy, or the camera failed.
    Images,
    /// Sentences of the receiver with a wrong checksum or too long.
    Sentences,
    /// Packets from the agent that were not readable.
    Packets,
}

/// How a board is to work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// Time between fixes, ms; 0 for none.
    pub fix_every_ms: u32,
    /// Time between images, ms; 0 for none.
    pub image_every_ms: u32,
    /// Width of an image, pixels; the camera takes the next one it can.
    pub width: u16,
    /// Height of an image, pixels.
    pub height: u16,
    /// JPEG quality, 1 to 100.
    pub quality: u8,
}

/// Why a packet could not be sent or read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// Sending: the message is larger than a packet, or the buffer smaller than [`MAX_LINE`].
    #[error("The message does not fit: take a buffer of {MAX_LINE} bytes and chunks of at most {MAX_CHUNK}")]
    TooLarge,
    /// Reading: no end came within [`MAX_LINE`] bytes. What follows up to the next end is skipped.
    #[error("No packet ended within {MAX_LINE} bytes: is it another device, or another baud rate?")]
    TooLong,
    /// Reading: the bytes between two ends are not COBS, or fewer than a packet has.
    #[error("The bytes between two ends are no packet: noise, or the link was joined in its middle")]
    Framing,
    /// Reading: the checksum does not fit.
    #[error("A packet is damaged: CRC {found:08x}, computed {computed:08x}")]
    Crc {
        /// What the packet says.
        found: u32,
        /// What its bytes give.
        computed: u32,
    },
    /// Reading: an intact hello of another version.
    #[error("The board speaks link version {0} and this program {ours}: flash the firmware that belongs to this agent", ours = crate::version::LINK)]
    Version(u8),
    /// Reading: an intact packet that holds no known message.
    #[error("An intact packet holds no message that this program knows: firmware and agent differ")]
    Unknown,
}

/// The checksum of an image, over its chunks in order: start with `None`, then pass on what came out.
pub fn image_crc(before: Option<u32>, chunk: &[u8]) -> u32 {
    // A CRC is continued by starting from its bits turned round and flipped.
    let start = before.map_or(u32::MAX, |crc| !crc);
    let mut digest = crate::checksum::CRC32C.digest_with_initial(start.reverse_bits());
    digest.update(chunk);
    digest.finalize()
}

#[cfg(test)]
mod tests;
