//! Just enough NMEA for a size: RMC and GGA of one time make a fix. The agent's own reader is better.

use milepost_wire::reading::{Body, Gps};
use milepost_wire::{Clock, Reading};

#[derive(Default)]
struct Fix {
    time: String,
    day: Option<i64>,
    position: Option<(i64, i64)>,
    speed: Option<u32>,
    heading: Option<u16>,
    altitude: Option<i32>,
    fix: Option<u8>,
    satellites: Option<u8>,
    hdop: Option<u16>,
}

pub(super) fn parse(text: &str) -> Vec<Reading> {
    let (mut readings, mut fix, mut day) = (Vec::new(), Fix::default(), None);
    for line in text.lines() {
        let Some((body, sum)) = line.split_once('$').and_then(|(_, l)| l.split_once('*')) else { continue };
        let sum = sum.get(..2).and_then(|s| u8::from_str_radix(s, 16).ok());
        if sum != Some(body.bytes().fold(0, |a, b| a ^ b)) {
            continue;
        }
        let f: Vec<&str> = body.split(',').collect();
        let (rmc, gga) = (f[0].ends_with("RMC") && f.len() > 9, f[0].ends_with("GGA") && f.len() > 9);
        if !(rmc || gga) || f[1].len() < 6 {
            continue;
        }
        if fix.time != f[1] {
            readings.extend(done(&fix));
            fix = Fix { time: f[1].into(), day, ..Fix::default() };
        }
        let number = |s: &str, k: f64| s.parse::<f64>().ok().map(|v| (v * k).round());
        if rmc {
            day = days(f[9]).or(day);
            fix.day = day;
            if f[2] == "A" {
                fix.position = coordinate(f[3], f[4]).zip(coordinate(f[5], f[6]));
                fix.speed = number(f[7], 1852.0 / 3.6).map(|v| v as u32);
                fix.heading = number(f[8], 100.0).map(|v| v as u16 % 36_000);
            }
        } else if !matches!(f[6], "" | "0") {
            fix.fix = f[6].parse().ok();
            fix.satellites = f[7].parse().ok();
            fix.hdop = number(f[8], 100.0).map(|v| v as u16);
            fix.altitude = number(f[9], 100.0).map(|v| v as i32);
        }
    }
    readings.extend(done(&fix));
    readings.sort_by_key(|r: &Reading| r.ts);
    readings.dedup_by_key(|r| r.ts);
    readings
}

fn done(fix: &Fix) -> Option<Reading> {
    let (lat, lon) = fix.position?;
    let part = |range: std::ops::Range<usize>| fix.time.get(range).and_then(|s| s.parse::<i64>().ok());
    let seconds = fix.time.get(4..)?.parse::<f64>().ok()?;
    let ts = fix.day? * 86_400_000_000 + (part(0..2)? * 3600 + part(2..4)? * 60) * 1_000_000;
    let body = Body::Gps(Gps {
        lat_e7: lat as i32,
        lon_e7: lon as i32,
        altitude_cm: fix.altitude,
        speed_mm_s: fix.speed,
        heading_cdeg: fix.heading,
        fix: fix.fix.unwrap_or(1),
        satellites: fix.satellites,
        hdop_e2: fix.hdop,
    });
    Some(Reading { ts: ts + (seconds * 1e6).round() as i64, clock: Clock::Gps, body })
}

/// `ddmm.mmmm` and a hemisphere in 1e-7°.
fn coordinate(text: &str, side: &str) -> Option<i64> {
    let whole = text.find('.').unwrap_or(text.len()).checked_sub(2)?;
    let degrees: f64 = text.get(..whole)?.parse().ok()?;
    let minutes: f64 = text.get(whole..)?.parse().ok()?;
    let e7 = ((degrees * 60.0 + minutes) / 60.0 * 1e7).round() as i64;
    Some(if matches!(side, "S" | "W") { -e7 } else { e7 })
}

/// `ddmmyy` as days since 1970.
fn days(text: &str) -> Option<i64> {
    let part = |range: std::ops::Range<usize>| text.get(range).and_then(|s| s.parse::<i64>().ok());
    let (day, month, year) = (part(0..2)?, part(2..4)?, 2000 + part(4..6)?);
    let shifted = (month + 9) % 12;
    let year = if month <= 2 { year - 1 } else { year };
    Some(365 * year + year / 4 - year / 100 + year / 400 + (153 * shifted + 2) / 5 + day - 1 - 719_468)
}
