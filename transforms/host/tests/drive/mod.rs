//! Drives for tests and the bench: reproducible fixes with turns, stops and hard braking, as readings
//! of the wire and as the SDK's.

// Each of the tests and the bench uses a part of it.
#![allow(dead_code)]

use milepost_transform as sdk;
use milepost_wire::reading::Gps;
use milepost_wire::{Body, Clock, Reading};

/// Numbers below a bound, from a seed.
fn random(seed: u64) -> impl FnMut(u64) -> u64 {
    let mut bits = seed.max(1);
    move |below| {
        // Xorshift: any bits will do.
        bits ^= bits << 13;
        bits ^= bits >> 7;
        bits ^= bits << 17;
        bits % below
    }
}

/// A van in town: `n` fixes, a second apart, gentle but for one hard stop in three minutes.
pub(crate) fn calm(n: usize, seed: u64) -> Vec<Reading> {
    let mut next = random(seed);
    let (mut speed, mut heading) = (12_000i64, 9_000i64);
    let mut fixes = fixes(n, seed);
    for (i, fix) in fixes.iter_mut().enumerate() {
        let Body::Gps(gps) = &mut fix.body else { continue };
        let change = if i % 180 == 90 { -5_000 } else { next(2_001) as i64 - 1_000 + (12_000 - speed) / 16 };
        speed = (speed + change).clamp(0, 33_000);
        heading = (heading + next(401) as i64 - 200).rem_euclid(36_000);
        (gps.speed_mm_s, gps.heading_cdeg) = (Some(speed as u32), Some(heading as u16));
    }
    fixes
}

/// `n` fixes, a second apart, of somebody who does all of it all the time, and a receiver that leaves out
/// what it can.
pub(crate) fn fixes(n: usize, seed: u64) -> Vec<Reading> {
    let mut next = random(seed);
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
    let Body::Gps(gps) = &reading.body else { panic!("a fix: {reading:?}") };
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
