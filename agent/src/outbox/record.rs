//! Records in a file: how the segments of the spool and the journal hold what must be found again,
//! whole or not at all, after a power cut and after bits have turned.
//!
//! A record is a head of 12 bytes and a body: `length of the body, CRC32C of the body, CRC32C of those
//! eight bytes xor the file's salt`, each 32 bits, little-endian. The body is a kind byte and a
//! payload. The head proves itself, so that a scan finds the next record behind any damage without a
//! mark that a payload could contain; the salt keeps a file that somebody put into a payload, or old
//! bytes of another file, from passing for records.

use super::disk::File;
use crc::{CRC_32_ISCSI, Crc, Table};
use milepost_wire::frame::MAX_FRAME;
use std::io;
use std::sync::Arc;

static CRC32C: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISCSI);

/// The bytes of a record's head.
pub(super) const HEAD: usize = 12;
/// The most bytes that a body has.
const BODY_MAX: usize = MAX_FRAME + (1 << 20);
/// What a scan reads at once, and so its bound on memory beside the one record it is at.
const CHUNK: usize = 64 << 10;
/// What is tried alone where a larger read fails.
const PAGE: usize = 4096;
/// How often it is tried: an error may pass.
const TRIES: usize = 3;

/// The salt of a file: of its name, which nothing else has.
pub(super) fn salt(file: &str) -> u32 {
    CRC32C.checksum(file.as_bytes())
}

/// Appends a record.
pub(super) fn put(out: &mut Vec<u8>, salt: u32, kind: u8, payload: &[u8]) {
    let mut crc = CRC32C.digest();
    crc.update(&[kind]);
    crc.update(payload);
    let start = out.len();
    out.extend_from_slice(&(payload.len() as u32 + 1).to_le_bytes());
    out.extend_from_slice(&crc.finalize().to_le_bytes());
    let check = CRC32C.checksum(&out[start..]) ^ salt;
    out.extend_from_slice(&check.to_le_bytes());
    out.push(kind);
    out.extend_from_slice(payload);
}

/// What a scan meets.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Item {
    /// A whole record.
    Record {
        /// The offset of its head.
        at: u64,
        /// The offset behind it.
        end: u64,
        /// Its kind.
        kind: u8,
        /// Its payload.
        payload: Vec<u8>,
    },
    /// Bytes that are no record, up to the next one or the end.
    Damage {
        /// The offset of the first.
        at: u64,
        /// The offset behind the last.
        end: u64,
    },
}

/// Walks over a file's records. Every step moves forward, so a scan ends.
pub(super) struct Scanner {
    file: Arc<dyn File>,
    salt: u32,
    at: u64,
    limit: u64,
    buffer: Vec<u8>,
    buffer_at: u64,
    failure: Option<io::Error>,
}

impl Scanner {
    /// Begins at `at`, where a record begins, and ends before `limit`.
    pub(super) fn new(file: Arc<dyn File>, salt: u32, at: u64, limit: u64) -> Self {
        Self { file, salt, at, limit, buffer: Vec::new(), buffer_at: 0, failure: None }
    }

    /// Where the next step begins.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    /// Why a part could not be read, where one could not: what it held is not known to be damaged.
    pub(super) fn failure(self) -> io::Result<()> {
        self.failure.map_or(Ok(()), Err)
    }

    /// Moves the end, which only grows: the file is being written.
    pub(super) fn set_limit(&mut self, limit: u64) {
        self.limit = limit;
    }

    fn head(&mut self, at: u64) -> Option<(u64, u32)> {
        let (salt, b) = (self.salt, self.bytes(at, HEAD));
        let word = |i: usize| u32::from_le_bytes([b[i], b[i + 1], b[i + 2], b[i + 3]]);
        let (len, crc, check) = (word(0), word(4), word(8));
        let plausible = len >= 1 && len as usize <= BODY_MAX;
        (plausible && CRC32C.checksum(&b[..8]) ^ salt == check).then_some((u64::from(len), crc))
    }

    /// `len` bytes at `at`, all before the limit. What cannot be read is zeros, which no CRC accepts.
    fn bytes(&mut self, at: u64, len: usize) -> &[u8] {
        let held = at >= self.buffer_at && at + len as u64 <= self.buffer_at + self.buffer.len() as u64;
        if !held {
            let want = (self.limit - at).min(len.max(CHUNK) as u64) as usize;
            if self.buffer.capacity() > 4 * CHUNK && want <= CHUNK {
                self.buffer = Vec::new();
            }
            self.buffer.clear();
            self.buffer.resize(want, 0);
            self.buffer_at = at;
            if self.file.read_at(at, &mut self.buffer).is_err() {
                for (i, page) in self.buffer.chunks_mut(PAGE).enumerate() {
                    let at = at + (i * PAGE) as u64;
                    let mut read = self.file.read_at(at, page);
                    for _ in 1..TRIES {
                        read = read.or_else(|_| self.file.read_at(at, page));
                    }
                    if let Err(e) = read {
                        page.fill(0);
                        self.failure = Some(e);
                    }
                }
            }
        }
        let from = (at - self.buffer_at) as usize;
        &self.buffer[from..from + len]
    }

    fn damage(&mut self, end: u64) -> Option<Item> {
        let at = std::mem::replace(&mut self.at, end);
        Some(Item::Damage { at, end })
    }
}

impl Iterator for Scanner {
    type Item = Item;

    fn next(&mut self) -> Option<Item> {
        let (at, limit) = (self.at, self.limit);
        if at >= limit {
            return None;
        }
        if limit - at < HEAD as u64 {
            return self.damage(limit);
        }
        let Some((len, crc)) = self.head(at) else {
            let last = limit - HEAD as u64;
            let next = (at + 1..=last).find(|p| self.head(*p).is_some());
            return self.damage(next.unwrap_or(limit));
        };
        let end = at + HEAD as u64 + len;
        if end > limit {
            return self.damage(limit);
        }
        let body = self.bytes(at + HEAD as u64, len as usize);
        if CRC32C.checksum(body) != crc {
            return self.damage(end);
        }
        let (kind, payload) = (body[0], body[1..].to_vec());
        self.at = end;
        Some(Item::Record { at, end, kind, payload })
    }
}
