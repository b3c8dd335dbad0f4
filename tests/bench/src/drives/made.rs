//! A made drive: two hours of a van, all built-in streams, from a seed.
//!
//! The receiver's noise is correlated (about 1.5 m over minutes) plus 0.1 m white, on the full 1e-7°;
//! nothing in it is chosen so that it codes well.

use super::Drive;
use milepost_wire::reading::{Emergency, Gap, Gps, Health, Vehicle, Weather};
use milepost_wire::{Clock, Reading};

/// The streams of a made drive.
pub struct Made {
    /// One drive for each stream.
    pub streams: Vec<Drive>,
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Nearly normal, of deviation 1.
    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.next()).sum::<f64>() - 6.0
    }

    /// One step of a wandering error of deviation `sigma` that forgets within `memory` steps.
    fn wander(&mut self, error: &mut f64, sigma: f64, memory: f64) -> f64 {
        let keep = (-1.0 / memory).exp();
        *error = *error * keep + self.normal() * sigma * (1.0 - keep * keep).sqrt();
        *error
    }
}

/// Two hours at 1 Hz.
pub fn made(seed: u64) -> Made {
    let mut random = Random(seed);
    let (mut lat, mut lon, mut heading, mut speed, mut climb) =
        (51.5074f64, -0.1278f64, 310.0f64, 0.0f64, 0.0f64);
    let (mut altitude, mut wanted, mut turn) = (24.0f64, 12.0f64, 0.0f64);
    let mut errors = [0.0; 5];
    let start = 1_790_000_000_000_000i64;
    let mut streams: Vec<Drive> =
        ["gps_data", "vehicle_data", "weather_data", "emergency_data", "agent_health", "gap_data"]
            .map(|name| Drive { name: format!("made {name}"), readings: Vec::new() })
            .into();
    let mut say = |stream: usize, ts: i64, clock: Clock, body: milepost_wire::Body| {
        streams[stream].readings.push(Reading { ts, clock, body });
    };
    for second in 0..7200i64 {
        if random.next() < 0.02 {
            wanted = [0.0, 8.0, 13.0, 22.0, 31.0][(random.next() * 5.0) as usize];
            turn = if random.next() < 0.4 { random.normal() * 6.0 } else { 0.0 };
        }
        speed = (speed + (wanted - speed).clamp(-2.5, 1.6) * 0.6 + random.normal() * 0.08).max(0.0);
        heading = (heading + turn * (speed / 13.0).min(1.0) + random.normal() * 0.15).rem_euclid(360.0);
        turn *= 0.9;
        climb = climb * 0.98 + random.normal() * 0.004;
        altitude += climb * speed;
        let (sin, cos) = heading.to_radians().sin_cos();
        lat += speed * cos / 111_200.0;
        lon += speed * sin / (111_320.0 * lat.to_radians().cos());
        let north = random.wander(&mut errors[0], 1.5, 120.0) + random.normal() * 0.1;
        let east = random.wander(&mut errors[1], 1.5, 120.0) + random.normal() * 0.1;
        let high = random.wander(&mut errors[2], 3.0, 120.0) + random.normal() * 0.15;
        let ts = start + second * 1_000_000;
        let lat_e7 = ((lat + north / 111_200.0) * 1e7).round() as i32;
        let lon_e7 = ((lon + east / 69_300.0) * 1e7).round() as i32;
        let said_speed = (speed + random.normal() * 0.05).max(0.0);
        let said_heading = (heading + random.normal() * 0.4).rem_euclid(360.0);
        let satellites = (11.0 + random.wander(&mut errors[3], 1.5, 60.0)).round() as u8;
        say(
            0,
            ts,
            Clock::Gps,
            Gps {
                lat_e7,
                lon_e7,
                altitude_cm: Some(((altitude + high) * 100.0).round() as i32),
                speed_mm_s: Some((said_speed * 1000.0).round() as u32),
                heading_cdeg: Some((said_heading * 100.0).round() as u16 % 36_000),
                fix: 1,
                satellites: Some(satellites),
                hdop_e2: Some(200 - 10 * u16::from(satellites.min(15))),
            }
            .into(),
        );
        if second % 5 == 0 {
            say(
                1,
                ts + 1_000 * (random.next() * 40.0) as i64,
                Clock::Ntp,
                Vehicle {
                    lat_e7: Some(lat_e7),
                    lon_e7: Some(lon_e7),
                    speed_mm_s: Some(((speed * 3.6).round() / 3.6 * 1000.0).round() as u32),
                    heading_cdeg: Some((heading * 100.0).round() as u16 % 36_000),
                    make: Some("Ford".into()),
                    model: Some("Transit".into()),
                    year: Some(2023),
                    fuel_type: Some("diesel".into()),
                    vehicle_type: Some("van".into()),
                }
                .into(),
            );
        }
        if second % 60 == 0 {
            let warm = random.wander(&mut errors[4], 1.0, 20.0);
            say(
                2,
                ts,
                Clock::Ntp,
                Weather {
                    lat_e7: Some(lat_e7),
                    lon_e7: Some(lon_e7),
                    temperature_c_e2: Some(((14.0 + warm) * 10.0).round() as i16 * 10),
                    condition: Some(if warm > 0.5 { "clear" } else { "light rain" }.into()),
                    precipitation_mm_h_e2: Some(if warm > 0.5 {
                        0
                    } else {
                        (random.next() * 12.0) as u32 * 10
                    }),
                    wind_speed_mm_s: Some((random.next() * 80.0) as u32 * 100),
                    humidity_pct_e2: Some((60.0 + random.normal() * 4.0).round() as u16 * 100),
                    air_quality_index: Some((42.0 + random.normal() * 3.0) as u16),
                }
                .into(),
            );
        }
        if second % 600 == 599 {
            let incident_id = format!("{:08x}", (random.next() * 4e9) as u32);
            for status in ["open", "acknowledged", "resolved"] {
                say(
                    3,
                    ts,
                    Clock::Ntp,
                    Emergency {
                        incident_id: incident_id.clone(),
                        kind: "breakdown".into(),
                        status: status.into(),
                        description: (status == "open").then(|| "Tyre pressure lost".into()),
                        lat_e7: Some(lat_e7),
                        lon_e7: Some(lon_e7),
                    }
                    .into(),
                );
            }
            say(
                5,
                ts,
                Clock::Ntp,
                Gap {
                    stream: Some("gps_data".into()),
                    gap_boot_id: "8f3a61c2d94e07b5".into(),
                    first_seq: Some(second),
                    last_seq: Some(second + 9),
                    count: 10,
                    exact: 1,
                    reason: "source_overrun".into(),
                    detail: Some("receiver".into()),
                }
                .into(),
            );
        }
        if second % 10 == 0 {
            for (component, name) in [
                ("agent", "0.1.0"),
                ("source", "receiver"),
                ("source", "wheels"),
                ("transform", "downsample"),
                ("stream", "gps_data"),
                ("stream", "vehicle_data"),
                ("lane", "emergency"),
                ("lane", "live"),
                ("lane", "bulk"),
            ] {
                let counts = matches!(component, "source" | "transform").then_some(second);
                say(
                    4,
                    ts,
                    Clock::Ntp,
                    Health {
                        component: component.into(),
                        name: name.into(),
                        received: counts,
                        emitted: (component == "stream" || component == "transform")
                            .then_some(second * 9 / 10),
                        taken_out: (component == "transform").then_some(second / 10),
                        poison: (component == "transform").then_some(0),
                        errors: counts.map(|_| 0),
                        restarts: (component == "source").then_some(0),
                        bytes: matches!(component, "agent" | "lane")
                            .then_some((random.next() * 4096.0) as i64 * 4096),
                        depth: (component == "lane").then_some((random.next() * 3.0) as i64),
                        age_ms: (component == "lane").then_some((random.next() * 1000.0) as i64),
                        version: (component == "agent").then(|| "0.1.0".into()),
                        digest: (component == "transform").then(|| {
                            "c7e62c5dd7eb5dbdd8ac9a1cd33bd1a34cbfa0c0d8b8a8a1f1e1d1c1b1a19181".into()
                        }),
                    }
                    .into(),
                );
            }
        }
    }
    Made { streams }
}
