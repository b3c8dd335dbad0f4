//! Which versions meet: a reader of this version, with bytes of every other.

use milepost_wire::frame::{check, decode};
use milepost_wire::version::{FRAME, FRAME_MIN};
use milepost_wire::{Batch, BootId, Clock, DecodeError, Reading, Stream, VehicleId, frame, reading};

fn some_frame() -> Vec<u8> {
    let vehicle = VehicleId::new("v").unwrap();
    let mut batch = Batch::new(vehicle, BootId(1), Stream::Gap, reading::Gap::COLUMNS, 0, vec![]);
    let body = reading::Gap {
        stream: None,
        gap_boot_id: "0000000000000001".into(),
        first_seq: None,
        last_seq: None,
        count: 1,
        exact: 1,
        reason: "corrupt".into(),
        detail: None,
    };
    batch.push(&Reading { ts: 0, clock: Clock::None, body: body.into() }).unwrap();
    frame::encode(&batch).unwrap()
}

/// The bytes with another version in front, and a checksum that fits.
fn of_version(version: u8) -> Vec<u8> {
    let mut bytes = some_frame();
    bytes.truncate(bytes.len() - 4);
    bytes[0] = version;
    let crc = crc::Crc::<u32>::new(&crc::CRC_32_ISCSI).checksum(&bytes);
    bytes.extend(crc.to_le_bytes());
    bytes
}

#[test]
fn every_version_that_was_shipped_is_read() {
    for version in FRAME_MIN..=FRAME {
        assert_eq!(check(&of_version(version)).map(|h| h.version), Ok(version));
        assert!(decode(&of_version(version)).is_ok());
    }
}

#[test]
fn a_newer_version_is_told_from_damage_whatever_follows() {
    for version in FRAME + 1..=u8::MAX {
        for bytes in [of_version(version), vec![version], vec![version; 300]] {
            assert_eq!(check(&bytes), Err(DecodeError::Version(version)));
            assert_eq!(decode(&bytes), Err(DecodeError::Version(version)));
        }
    }
}

#[test]
fn a_version_that_never_was_is_damage() {
    for version in 0..FRAME_MIN {
        assert!(matches!(check(&of_version(version)), Err(DecodeError::Malformed { at: 0, .. })));
    }
}

/// A later encoder of this version may not use what this decoder does not know: codecs, kinds, clocks
/// and predictors that are not given out are refused, never read as something else.
#[test]
fn a_codec_that_is_not_given_out_is_refused() {
    let mut bytes = some_frame();
    bytes.truncate(bytes.len() - 4);
    // Behind the version 13 bits of the vehicle, 64 of the boot, 3 of the stream.
    bytes[11] |= 1;
    let crc = crc::Crc::<u32>::new(&crc::CRC_32_ISCSI).checksum(&bytes);
    bytes.extend(crc.to_le_bytes());
    let error = check(&bytes).unwrap_err().to_string();
    assert!(error.contains("codec"), "{error}");
}
