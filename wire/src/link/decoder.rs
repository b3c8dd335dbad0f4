//! Bytes from the line into messages, in a buffer of fixed size.

use super::{CRC, LinkError, MAX_LINE, Message};
use crate::checksum::CRC32C;

/// A gap between numbers up to which nothing else is thought of than that packets got lost.
const PLAUSIBLE: u16 = 1000;

/// A message that arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received<'a> {
    /// Its number.
    pub sequence: u16,
    /// How many packets before it did not arrive. The hello of a new start begins the count again; so do
    /// numbers that went back, because then the hello is among the missed.
    pub missed: u16,
    /// The message.
    pub message: Message<'a>,
}

/// What a decoder met since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Messages.
    pub messages: u64,
    /// Packets that were not readable: noise, damage, another version.
    pub refused: u64,
    /// Packets that did not arrive, by their numbers.
    pub missed: u64,
}

/// Finds packets in bytes as they come.
#[derive(Clone, Debug)]
pub struct Decoder {
    line: [u8; MAX_LINE],
    len: usize,
    too_long: bool,
    next: Option<u16>,
    /// The start that the last hello spoke of.
    boot: Option<u32>,
    counters: Counters,
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Decoder {
    /// Begins with nothing; what comes before the first end may be half a packet.
    pub const fn new() -> Self {
        let counters = Counters { messages: 0, refused: 0, missed: 0 };
        Self { line: [0; MAX_LINE], len: 0, too_long: false, next: None, boot: None, counters }
    }

    /// What it met so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Takes bytes from the front of `input` until they complete a message or something to complain of;
    /// `None` when all are taken and nothing is complete. After an error it goes on with the next packet.
    pub fn next<'d>(&'d mut self, input: &mut &[u8]) -> Option<Result<Received<'d>, LinkError>> {
        while let Some((&byte, rest)) = input.split_first() {
            *input = rest;
            if byte != 0 {
                match self.line.get_mut(self.len) {
                    Some(place) => {
                        *place = byte;
                        self.len += 1;
                    }
                    None => self.too_long = true,
                }
                continue;
            }
            let (len, too_long) = (core::mem::take(&mut self.len), core::mem::take(&mut self.too_long));
            if len > 0 {
                return Some(self.packet(len, too_long));
            }
        }
        None
    }

    fn packet(&mut self, len: usize, too_long: bool) -> Result<Received<'_>, LinkError> {
        let Self { line, next, boot, counters, .. } = self;
        let opened = if too_long { Err(LinkError::TooLong) } else { open(&mut line[..len]) };
        match opened {
            Ok((sequence, message)) => {
                let expected = match message {
                    Message::Hello(hello) if boot.replace(hello.boot) != Some(hello.boot) => None,
                    _ => *next,
                };
                let missed = expected.map_or(0, |expected| missed(expected, sequence));
                *next = Some(sequence.wrapping_add(1));
                counters.messages += 1;
                counters.missed += u64::from(missed);
                Ok(Received { sequence, missed, message })
            }
            Err(error) => {
                counters.refused += 1;
                Err(error)
            }
        }
    }
}

/// How many packets did not arrive, where this number was expected and that one came.
fn missed(expected: u16, sequence: u16) -> u16 {
    match sequence.wrapping_sub(expected) {
        ahead if ahead <= PLAUSIBLE => ahead,
        // Either as many as that, or the board began again at 0 and its hello was not readable.
        ahead => ahead.min(sequence),
    }
}

/// The message of a line without its end.
fn open(line: &mut [u8]) -> Result<(u16, Message<'_>), LinkError> {
    let n = unstuff(line).ok_or(LinkError::Framing)?;
    let (packet, crc) = line[..n].split_last_chunk::<CRC>().ok_or(LinkError::Framing)?;
    let (found, computed) = (u32::from_le_bytes(*crc), CRC32C.checksum(packet));
    if found != computed {
        return Err(LinkError::Crc { found, computed });
    }
    // A hello's variant is 0 and its first field the version, whatever else a later version says.
    if let Ok(((_, 0u8, version), _)) = postcard::take_from_bytes::<(u16, u8, u8)>(packet)
        && version != crate::version::LINK
    {
        return Err(LinkError::Version(version));
    }
    match postcard::take_from_bytes(packet) {
        Ok((message, [])) => Ok(message),
        _ => Err(LinkError::Unknown),
    }
}

/// Undoes byte stuffing in place; `None` where the bytes are not of that form.
fn unstuff(line: &mut [u8]) -> Option<usize> {
    let (mut from, mut to) = (0, 0);
    while let Some(&code) = line.get(from) {
        let run = usize::from(code).checked_sub(1)?;
        from += 1;
        if from + run > line.len() {
            return None;
        }
        line.copy_within(from..from + run, to);
        (from, to) = (from + run, to + run);
        if code < u8::MAX && from < line.len() {
            line[to] = 0;
            to += 1;
        }
    }
    Some(to)
}
