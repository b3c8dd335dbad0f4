//! The checksum of frames and of packets on the serial link: CRC-32C (Castagnoli).

#[cfg(feature = "std")]
pub(crate) static CRC32C: crc::Crc<u32, crc::Table<16>> =
    crc::Crc::<u32, crc::Table<16>>::new(&crc::CRC_32_ISCSI);
/// A board has no room for 16 KiB of tables; this one takes 1.
#[cfg(not(feature = "std"))]
pub(crate) static CRC32C: crc::Crc<u32, crc::Table<1>> =
    crc::Crc::<u32, crc::Table<1>>::new(&crc::CRC_32_ISCSI);
