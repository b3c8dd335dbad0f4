//! What a killed agent had on its disk, read by nothing of the agent's: every record of the spool and the
//! journal is looked for by its head (`agent/src/outbox/record.rs` says what one is), and every frame in one
//! names numbers that the agent had accepted.

use crc::{CRC_32_ISCSI, Crc, Table};
use milepost_wire::frame;
use std::collections::BTreeMap;
use std::path::Path;

static CRC32C: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISCSI);

/// Boot and stream: one more than the last number.
pub type Accepted = BTreeMap<(u64, String), u64>;

/// Enters what the files of a folder and of those in it hold.
pub fn accepted(folder: &Path, into: &mut Accepted) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok) {
        let path = entry.path();
        if path.is_dir() {
            accepted(&path, into);
        } else if let (Some(name), Ok(bytes)) = (entry.file_name().to_str(), std::fs::read(&path)) {
            frames(name, &bytes, into);
        }
    }
}

fn frames(name: &str, bytes: &[u8], into: &mut Accepted) {
    let salt = CRC32C.checksum(name.as_bytes());
    let word = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let mut at = 0;
    while let (Some(length), Some(crc), Some(check)) = (word(at), word(at + 4), word(at + 8)) {
        let body = bytes.get(at + 12..).and_then(|rest| rest.get(..length as usize));
        match body.filter(|b| !b.is_empty() && CRC32C.checksum(&bytes[at..at + 8]) ^ salt == check) {
            Some(body) if CRC32C.checksum(body) == crc => {
                if let Ok(header) = frame::check(&body[1..]) {
                    let key = (header.boot.0, header.stream.name().to_owned());
                    let next: &mut u64 = into.entry(key).or_default();
                    *next = header.last_seq().saturating_add(1).max(*next);
                }
                at += 12 + body.len();
            }
            _ => at += 1,
        }
    }
}
