//! A drive for tests and the bench: reproducible fixes with turns, stops and hard braking, as readings
//! of the wire and as the SDK's.

// Each of the tests and the bench uses a part of it.
#![allow(dead_code)]

use milepost_transform as sdk;
use milepost_wire::reading::Gps;
use milepost_wire::{Clock, Reading};

/// `n` fixes, a second apart, from a seed.
pub(crate) fn fixes(n: usize, seed: u64) -> Vec<Reading> {
    let mut random = seed.max(1);
    let mut next = |below: u64| {
        // Xorshift: any bits will do.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % below
    };
    let (mut lat, mut lon, mut speed, mut heading) = (520_000_000i32, -15_000_000i32, 10_000i64, 9_000i64);
    (0..n)
        .map(|i| {
            speed = (speed + next(6_001) as i64 - 3_000).clamp(0, 33_000);
            heading = (heading + next(6_001) as i64 - 3_000).rem_euclid(36_000);
            lat += next(2_001) as i32 - 900;
            lon += next(2_001) as i32 - 900;
            let gps = Gps {
                lat_e7: lat,
                lon_e7: lon,
                altitude_cm: (next(10) > 0).then(|| next(10_000) as i32),
                speed_mm_s: (next(20) > 0).then_some(speed as u32),
                heading_cdeg: (next(20) > 0).then_some(heading as u16),
                fix: 1,
                satellites: Some(next(12) as u8),
                hdop_e2: Some(90),
            };
            Reading { ts: 1_700_000_000_000_000 + i as i64 * 1_000_000, clock: Clock::Gps, body: gps.into() }
        })
        .collect()
}

/// A fix as the SDK has it.
pub(crate) fn to_sdk(reading: &Reading) -> sdk::Gps {
    let milepost_wire::Body::Gps(gps) = &reading.body else { panic!("a fix: {reading:?}") };
    sdk::Gps {
        ts_us: reading.ts,
        clock: sdk::Clock::Gps,
        lat_e7: gps.lat_e7,
        lon_e7: gps.lon_e7,
        altitude_cm: gps.altitude_cm,
        speed_mm_s: gps.speed_mm_s,
        heading_cdeg: gps.heading_cdeg,
        fix: gps.fix,
        satellites: gps.satellites,
        hdop_e2: gps.hdop_e2,
    }
}

/// A fix as the wire has it.
pub(crate) fn to_wire(fix: &sdk::Gps) -> Reading {
    let gps = Gps {
        lat_e7: fix.lat_e7,
        lon_e7: fix.lon_e7,
        altitude_cm: fix.altitude_cm,
        speed_mm_s: fix.speed_mm_s,
        heading_cdeg: fix.heading_cdeg,
        fix: fix.fix,
        satellites: fix.satellites,
        hdop_e2: fix.hdop_e2,
    };
    Reading { ts: fix.ts_us, clock: Clock::Gps, body: gps.into() }
}
