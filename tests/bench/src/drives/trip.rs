//! The simulated trip of the agent, as a drive for each stream, with what an agent says of itself.

use super::Drive;
use milepost_agent::source::simulate::{Trip, TripSettings};
use milepost_wire::reading::{Gap, Health};
use milepost_wire::{Clock, Reading, Stream};

/// The whole trip of a seed, from start to destination, with the sensors' usual rates.
pub fn trip(seed: u64) -> Vec<Drive> {
    let mut readings: Vec<Reading> = Trip::new(seed, TripSettings::default()).collect();
    let times = readings.first().map_or(0, |r| r.ts)..readings.last().map_or(0, |r| r.ts);
    readings.extend(times.clone().step_by(10_000_000).enumerate().flat_map(|(i, ts)| health(i as i64, ts)));
    readings.extend(times.step_by(600_000_000).enumerate().map(|(i, ts)| gap(i as i64, ts)));
    Stream::BUILT_IN
        .iter()
        .map(|stream| Drive {
            name: stream.name().into(),
            readings: readings.iter().filter(|r| r.stream() == *stream).cloned().collect(),
        })
        .filter(|drive| !drive.readings.is_empty())
        .collect()
}

/// A report of an agent with two sources, a transform and the spool's three lanes.
fn health(i: i64, ts: i64) -> Vec<Reading> {
    // Numbers without a pattern, from the report's own.
    let noise = |n: i64, below: i64| {
        ((i * 9 + n) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) as i64 >> 33 & (below - 1)
    };
    let parts = [
        ("agent", "0.1.0"),
        ("source", "receiver"),
        ("source", "wheels"),
        ("transform", "downsample"),
        ("stream", "gps_data"),
        ("stream", "vehicle_data"),
        ("lane", "emergency"),
        ("lane", "live"),
        ("lane", "bulk"),
    ];
    let digest = "c7e62c5dd7eb5dbdd8ac9a1cd33bd1a34cbfa0c0d8b8a8a1f1e1d1c1b1a19181";
    let report = |(n, (component, name)): (i64, (&str, &str))| {
        let (source, transform) = (component == "source", component == "transform");
        let lane = component == "lane";
        let body = Health {
            component: component.into(),
            name: name.into(),
            received: (source || transform).then_some(i * 10),
            emitted: (transform || component == "stream").then_some(i * 9),
            taken_out: transform.then_some(i),
            poison: transform.then_some(0),
            errors: (source || transform).then_some(0),
            restarts: source.then_some(0),
            bytes: (lane || component == "agent").then(|| noise(n, 4096) * 4096),
            depth: lane.then(|| noise(n, 4)),
            age_ms: lane.then(|| noise(n, 1024)),
            version: (component == "agent").then(|| name.into()),
            digest: transform.then(|| digest.into()),
        };
        Reading { ts, clock: Clock::Ntp, body: body.into() }
    };
    (0..).zip(parts).map(report).collect()
}

fn gap(i: i64, ts: i64) -> Reading {
    let body = Gap {
        stream: Some("gps_data".into()),
        gap_boot_id: "8f3a61c2d94e07b5".into(),
        first_seq: Some(i * 600),
        last_seq: Some(i * 600 + 9),
        count: 10,
        exact: 1,
        reason: "source_overrun".into(),
        detail: Some("receiver".into()),
    };
    Reading { ts, clock: Clock::Ntp, body: body.into() }
}
