//! Messages into bytes for the line, in the caller's buffer.

use super::{CRC, LinkError, MAX_PACKET, Message};
use crate::checksum::CRC32C;

/// Numbers messages and packs them.
#[derive(Clone, Debug, Default)]
pub struct Encoder {
    sequence: u16,
}

impl Encoder {
    /// Starts at number 0, as after a board's start.
    pub fn new() -> Self {
        Self::default()
    }

    /// Packs a message into `out` and returns how many of its bytes to send. `out` of
    /// [`super::MAX_LINE`] bytes always suffices; on an error no number is used up.
    pub fn encode(&mut self, message: &Message<'_>, out: &mut [u8]) -> Result<usize, LinkError> {
        // The packet is put so far behind that COBS, which adds a byte each 254, never overtakes it.
        let from = out.len() / 254 + 2;
        let room = out.get_mut(from..).ok_or(LinkError::TooLarge)?;
        let packed =
            postcard::to_slice(&(self.sequence, message), room).map_err(|_| LinkError::TooLarge)?.len();
        let crc = CRC32C.checksum(&room[..packed]);
        room.get_mut(packed..packed + CRC).ok_or(LinkError::TooLarge)?.copy_from_slice(&crc.to_le_bytes());
        if packed + CRC > MAX_PACKET {
            return Err(LinkError::TooLarge);
        }
        self.sequence = self.sequence.wrapping_add(1);
        Ok(stuff(out, from, packed + CRC))
    }
}

/// Consistent overhead byte stuffing of `out[from..from + n]` to the start of `out`, with the end.
fn stuff(out: &mut [u8], from: usize, n: usize) -> usize {
    let (mut code_at, mut at, mut code) = (0, 1, 1u8);
    for i in from..from + n {
        let byte = out[i];
        if byte != 0 {
            out[at] = byte;
            at += 1;
            code += 1;
        }
        if byte == 0 || code == u8::MAX {
            out[code_at] = code;
            (code_at, at, code) = (at, at + 1, 1);
        }
    }
    out[code_at] = code;
    out[at] = 0;
    at + 1
}
