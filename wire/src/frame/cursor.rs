//! Whole bytes: the clear part of a frame, in the encoding of postcard, read with the place of what is wrong.

use super::DecodeError;
use alloc::vec::Vec;

/// Appends a number as postcard does: 7 bits a byte, the lowest first.
pub(super) fn put_varint(out: &mut Vec<u8>, mut n: u64) {
    while n > 0x7f {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

/// Appends a text as postcard does: its length, its bytes.
pub(super) fn put_text(out: &mut Vec<u8>, text: &str) {
    put_varint(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

/// A place in a frame.
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    /// The next byte.
    pub(super) at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at }
    }

    pub(super) fn wrong<T>(&self, what: &'static str) -> Result<T, DecodeError> {
        Err(DecodeError::Malformed { what, at: self.at })
    }

    pub(super) fn take(&mut self, n: usize) -> Result<&'a [u8], DecodeError> {
        match self.bytes.get(self.at..).and_then(|rest| rest.get(..n)) {
            Some(taken) => {
                self.at += n;
                Ok(taken)
            }
            None => self.wrong("an early end"),
        }
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        Ok(self.take(N)?.try_into().unwrap_or([0; N]))
    }

    pub(super) fn byte(&mut self) -> Result<u8, DecodeError> {
        self.array::<1>().map(|[b]| b)
    }

    pub(super) fn varint(&mut self) -> Result<u64, DecodeError> {
        let mut n = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let part = u64::from(byte & 0x7f);
            if part << shift >> shift != part {
                return self.wrong("a number of more than 64 bits");
            }
            n |= part << shift;
            if byte < 0x80 {
                return Ok(n);
            }
        }
        self.wrong("a number of more than 64 bits")
    }

    /// A text of at most `most` bytes.
    pub(super) fn text(&mut self, most: usize) -> Result<&'a str, DecodeError> {
        let n = self.varint()?;
        if n > most as u64 {
            return self.wrong("a name that is too long");
        }
        let bytes = self.take(n as usize)?;
        match core::str::from_utf8(bytes) {
            Ok(text) => Ok(text),
            Err(_) => self.wrong("a name that is not UTF-8"),
        }
    }
}
