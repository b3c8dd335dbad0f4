//! The fuzz targets as an ordinary test: random bytes, and bytes near those of real frames.

#[path = "../fuzz/bodies.rs"]
mod bodies;

use milepost_wire::{Batch, BootId, Clock, Reading, Stream, VehicleId, frame, reading};
use proptest::prelude::*;

fn real_frame() -> Vec<u8> {
    let vehicle = VehicleId::new("v").unwrap();
    let mut batch = Batch::new(vehicle, BootId(1), Stream::Gps, reading::Gps::COLUMNS, 0, vec![]);
    for i in 0..20 {
        let body = reading::Gps {
            lat_e7: 515_000_000 + i * 700,
            lon_e7: -1_000_000 - i * i,
            altitude_cm: (i % 3 == 0).then_some(2_000 + i),
            speed_mm_s: Some(13_000),
            heading_cdeg: Some((i * 9) as u16),
            fix: 1,
            satellites: None,
            hdop_e2: Some(90),
        };
        batch.push(&Reading { ts: i64::from(i) * 1_000_000, clock: Clock::Gps, body: body.into() }).unwrap();
    }
    let mut frame = frame::encode(&batch).unwrap();
    frame.truncate(frame.len() - 4);
    frame
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn decode(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        bodies::decode(&bytes);
    }

    #[test]
    fn decode_near_a_real_frame(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..5)) {
        let mut bytes = real_frame();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bodies::decode(&bytes);
    }

    #[test]
    fn round_trip(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        bodies::round_trip(&bytes);
    }

    #[test]
    fn link(bytes in prop::collection::vec(prop_oneof![Just(0u8), any::<u8>()], 0..600)) {
        bodies::link(&bytes);
    }
}
