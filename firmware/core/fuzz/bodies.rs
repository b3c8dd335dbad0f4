//! What the fuzz targets check, so that it can also run as an ordinary test (`tests/fuzz_bodies.rs`).

use milepost_firmware_core::gps::{Counts, Fix, Reader};

/// Whatever comes in, the reader does not panic, says the same however the bytes are cut, and gives only
/// positions on the globe.
pub fn gps(bytes: &[u8]) {
    let whole = read(bytes, bytes.len().max(1));
    let cut = usize::from(bytes.first().copied().unwrap_or(0) % 31) + 1;
    assert_eq!(read(bytes, cut), whole, "in pieces of {cut}");
    for fix in &whole.0 {
        assert!(
            fix.lat_e7.unsigned_abs() <= 900_000_000 && fix.lon_e7.unsigned_abs() <= 1_800_000_000,
            "{fix:?}"
        );
        assert!(fix.heading_cdeg.is_none_or(|heading| heading < 36_000), "{fix:?}");
    }
    assert_eq!(whole.1.fixes, whole.0.len() as u64);
}

fn read(bytes: &[u8], cut: usize) -> (Vec<Fix>, Counts) {
    let (mut reader, mut fixes) = (Reader::new(), Vec::new());
    bytes.chunks(cut).for_each(|piece| reader.push(piece, |fix| fixes.push(fix)));
    reader.end(|fix| fixes.push(fix));
    (fixes, reader.counts())
}
