//! The file that a Pico takes when it shows itself as a drive: UF2, blocks of 512 bytes of which each says
//! where its 256 bytes belong ("USB Flashing Format", version of family ids).

use std::collections::BTreeMap;

const BLOCK: usize = 512;
const PAYLOAD: usize = 256;
const MAGIC: [u32; 2] = [0x0a32_4655, 0x9e5d_5157];
const MAGIC_END: u32 = 0x0ab1_6f30;
const FAMILY_PRESENT: u32 = 0x2000;
/// The family id of the RP2040.
pub(super) const RP2040: u32 = 0xe48b_ff56;

/// The file for bytes that belong to addresses. What nothing is said of in a page of 256 bytes is as flash
/// is when it is erased.
pub(super) fn file(stored: &[(u32, Vec<u8>)], family: u32) -> Vec<u8> {
    let mut pages: BTreeMap<u32, [u8; PAYLOAD]> = BTreeMap::new();
    for (start, bytes) in stored {
        for (at, byte) in (*start..).zip(bytes) {
            let page = pages.entry(at - at % PAYLOAD as u32).or_insert([0xff; PAYLOAD]);
            page[at as usize % PAYLOAD] = *byte;
        }
    }
    let count = pages.len() as u32;
    pages.iter().zip(0..).flat_map(|((at, page), number)| block(*at, page, number, count, family)).collect()
}

fn block(at: u32, page: &[u8; PAYLOAD], number: u32, count: u32, family: u32) -> [u8; BLOCK] {
    let head = [MAGIC[0], MAGIC[1], FAMILY_PRESENT, at, PAYLOAD as u32, number, count, family];
    let mut block = [0; BLOCK];
    for (place, word) in block.chunks_exact_mut(4).zip(head) {
        place.copy_from_slice(&word.to_le_bytes());
    }
    block[32..32 + PAYLOAD].copy_from_slice(page);
    block[BLOCK - 4..].copy_from_slice(&MAGIC_END.to_le_bytes());
    block
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a boot loader makes of a file: the bytes of each page.
    fn read(file: &[u8]) -> Vec<(u32, Vec<u8>)> {
        let word = |block: &[u8], i: usize| u32::from_le_bytes(block[i * 4..i * 4 + 4].try_into().unwrap());
        let count = (file.len() / BLOCK) as u32;
        let page = |(block, number): (&[u8], u32)| {
            let head: Vec<u32> = (0..8).map(|i| word(block, i)).collect();
            assert_eq!(head[..3], [0x0a32_4655, 0x9e5d_5157, 0x2000]);
            assert_eq!(head[4..], [256, number, count, RP2040]);
            assert_eq!(word(block, 127), 0x0ab1_6f30);
            (head[3], block[32..288].to_vec())
        };
        file.chunks(BLOCK).zip(0..).map(page).collect()
    }

    #[test]
    fn every_byte_is_where_it_belongs_and_gaps_are_as_erased() {
        // Two parts that share a page, and one that begins in the middle of another.
        let stored = [(0x1000_0000, vec![1; 300]), (0x1000_0140, vec![2; 8]), (0x1000_0480, vec![3; 256])];
        let pages = read(&file(&stored, RP2040));
        let at: Vec<u32> = pages.iter().map(|(at, _)| *at).collect();
        assert_eq!(at, [0x1000_0000, 0x1000_0100, 0x1000_0400, 0x1000_0500]);
        assert_eq!(pages[0].1, [1; 256]);
        let second = [&[1; 44][..], &[0xff; 20], &[2; 8], &[0xff; 184]].concat();
        assert_eq!(pages[1].1, second);
        assert_eq!(pages[2].1, [&[0xff; 128][..], &[3; 128]].concat());
        assert_eq!(pages[3].1, [&[3; 128][..], &[0xff; 128]].concat());
    }
}
