//! The fuzz targets as ordinary tests, on bytes that are mostly almost right.

#[path = "../fuzz/bodies.rs"]
#[allow(unreachable_pub)]
mod bodies;

use proptest::prelude::*;

/// A binary message with a checksum that fits, of a payload that need not make sense.
fn message(payload: &[u8; 92]) -> Vec<u8> {
    let mut message = [&[0xb5, 0x62, 0x01, 0x07, 92, 0][..], payload].concat();
    let sums = message[2..].iter().fold((0u8, 0u8), |(a, b), byte| {
        let a = a.wrapping_add(*byte);
        (a, b.wrapping_add(a))
    });
    message.extend([sums.0, sums.1]);
    message
}

fn sentence(body: &str) -> Vec<u8> {
    let sum = body.bytes().fold(0, |sum, b| sum ^ b);
    format!("${body}*{sum:02X}\r\n").into_bytes()
}

fn part() -> impl Strategy<Value = Vec<u8>> {
    let sentence =
        "(GP|GN)(RMC|GGA|GLL|GNS|VTG|GSA|ZDA)(,[0-9.NSEWAVDM]{0,9}){8,18}".prop_map(|b| sentence(&b));
    let payload = (prop::array::uniform32(any::<u8>()), 1..6u8, any::<i32>(), any::<i32>());
    let binary = payload.prop_map(|(noise, kind, lat, lon)| {
        let mut payload = [0; 92];
        payload[..32].copy_from_slice(&noise);
        payload[20..22].copy_from_slice(&[kind, 1]);
        payload[24..28].copy_from_slice(&lon.to_le_bytes());
        payload[28..32].copy_from_slice(&(lat / 2).to_le_bytes());
        message(&payload)
    });
    prop_oneof![4 => sentence, 4 => binary, 1 => prop::collection::vec(any::<u8>(), 0..40)]
}

proptest! {
    #[test]
    fn gps(parts in prop::collection::vec(part(), 0..30), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..5)) {
        let mut bytes = parts.concat();
        // Some are torn.
        for cut in cuts {
            if bytes.len() > 1 {
                bytes.remove(cut.index(bytes.len()));
            }
        }
        bodies::gps(&bytes);
    }
}
