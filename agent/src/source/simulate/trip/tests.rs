use super::super::road::metres_per_degree;
use super::*;
use milepost_wire::{Batch, BootId, Stream, VehicleId, frame};
use std::collections::BTreeMap;

fn gps(readings: &[Reading]) -> Vec<(i64, &Gps)> {
    readings.iter().filter_map(|r| if let Body::Gps(g) = &r.body { Some((r.ts, g)) } else { None }).collect()
}

fn metres(a: &Gps, b: &Gps) -> f64 {
    let (ky, kx) = metres_per_degree(f64::from(a.lat_e7) / 1e7);
    let (y, x) = (f64::from(a.lat_e7 - b.lat_e7) * 1e-7 * ky, f64::from(a.lon_e7 - b.lon_e7) * 1e-7 * kx);
    (x * x + y * y).sqrt()
}

#[test]
fn a_trip_goes_from_london_to_birmingham_and_ends_standing_there() {
    for seed in 0..8 {
        let trip = Trip::new(seed, TripSettings::default());
        assert_eq!((trip.from(), trip.destination()), ("London", "Birmingham"));
    }
    let trip = Trip::new(1, TripSettings::default());
    let readings: Vec<Reading> = trip.collect();
    assert_eq!(readings[0].ts, DEPARTURE);
    assert!(readings.windows(2).all(|w| w[0].ts <= w[1].ts), "not in time order");
    let hours = (readings.last().unwrap().ts - DEPARTURE) as f64 / 3.6e9;
    assert!((1.8..4.5).contains(&hours), "{hours} h");
    let fixes = gps(&readings);
    let (first, last) = (fixes[0].1, fixes.last().unwrap().1);
    assert!((first.lat_e7 - 515_077_000).abs() < 20_000 && (last.lat_e7 - 524_797_000).abs() < 20_000);
    let Body::Vehicle(v) = &readings.last().unwrap().body else { panic!("{:?}", readings.last()) };
    assert_eq!(v.speed_mm_s, Some(0));
}

#[test]
fn speed_heading_and_position_agree_as_a_receivers_do() {
    let readings: Vec<Reading> = Trip::new(2, TripSettings::default()).collect();
    let fixes = gps(&readings);
    let (mut worst, mut stops) = (0.0f64, 0);
    for w in fixes.windows(2) {
        let ((t0, a), (t1, b)) = (w[0], w[1]);
        assert_eq!(t1 - t0, 1_000_000);
        let by_speed = f64::from(a.speed_mm_s.unwrap() + b.speed_mm_s.unwrap()) / 2000.0;
        worst = worst.max((metres(a, b) - by_speed).abs());
        stops += usize::from(a.speed_mm_s > Some(1000) && b.speed_mm_s <= Some(1000));
        assert!(b.speed_mm_s < Some(34_000) && b.heading_cdeg < Some(36_000));
    }
    assert!(worst < 2.5, "{worst} m beside the speed");
    assert!(stops > 10, "{stops} stops");
}

#[test]
fn every_stream_comes_at_its_own_rate_and_incidents_run_their_course() {
    let mut count = BTreeMap::new();
    let mut states = BTreeMap::<String, Vec<String>>::new();
    let settings = TripSettings { emergency: Duration::from_secs(900), ..TripSettings::default() };
    let readings: Vec<Reading> = Trip::new(4, settings).collect();
    for r in &readings {
        *count.entry(r.stream().name().to_owned()).or_insert(0u32) += 1;
        if let Body::Emergency(e) = &r.body {
            states.entry(e.incident_id.clone()).or_default().push(e.status.clone());
        }
    }
    let seconds = (readings.last().unwrap().ts - readings[0].ts) / 1_000_000;
    for (stream, every) in [("gps_data", 1), ("vehicle_data", 1), ("camera_data", 60), ("weather_data", 60)] {
        let expected = (seconds / every) as u32;
        assert!(count[stream].abs_diff(expected) <= 2, "{stream}: {} instead of {expected}", count[stream]);
    }
    assert!(states.len() > 2);
    for steps in states.values().take(states.len() - 1) {
        assert_eq!(steps, &["open", "acknowledged", "resolved"]);
    }
}

#[test]
fn seeds_reproduce_and_differ() {
    let head = |seed| Trip::new(seed, TripSettings::default()).take(3000).collect::<Vec<_>>();
    assert_eq!(head(7), head(7));
    for other in [8, 15, 23] {
        assert_ne!(gps(&head(7))[1000].1.lat_e7, gps(&head(other))[1000].1.lat_e7, "{other}");
    }
}

#[test]
fn switching_a_sensor_off_does_not_move_the_others() {
    let quiet = TripSettings { camera: Duration::ZERO, weather: Duration::ZERO, ..TripSettings::default() };
    let all: Vec<_> = Trip::new(3, TripSettings::default()).take(2000).collect();
    let some: Vec<_> = Trip::new(3, quiet).take(1900).collect();
    assert!(gps(&all).iter().zip(&gps(&some)).all(|(a, b)| a == b));
}

#[test]
fn the_last_minutes_are_those_before_the_destination() {
    for seed in 0..16 {
        let trip = Trip::new(seed, TripSettings { minutes: Some(5.0), ..TripSettings::default() });
        let readings: Vec<_> = trip.collect();
        let seconds = (readings.last().unwrap().ts - readings[0].ts) as f64 / 1e6;
        assert!((290.0..312.0).contains(&seconds), "seed {seed}: {seconds} s");
        assert!(matches!(&readings.last().unwrap().body, Body::Vehicle(v) if v.speed_mm_s == Some(0)));
    }
}

#[test]
fn pictures_are_small_valid_jpegs() {
    let camera = |r: Reading| if let Body::Camera(c) = r.body { Some(c.image) } else { None };
    let pictures: Vec<_> = Trip::new(1, TripSettings::default()).filter_map(camera).collect();
    for image in &pictures {
        assert!(image.len() <= 3 * 1024, "{} bytes", image.len());
        assert_eq!((&image[..2], &image[image.len() - 2..]), (&[0xff, 0xd8][..], &[0xff, 0xd9][..]));
    }
    if let Some(dir) = std::env::var_os("MILEPOST_PICTURES") {
        let dir = std::path::PathBuf::from(dir);
        for (i, image) in pictures.iter().enumerate().step_by(10) {
            std::fs::write(dir.join(format!("{i:03}.jpg")), image).unwrap();
        }
    }
}

#[test]
fn gps_readings_in_batches_of_sixty_stay_below_seven_bytes() {
    let mut line = String::new();
    for seed in 0..4 {
        let readings: Vec<Reading> = Trip::new(seed, TripSettings::default()).collect();
        for stream in [Stream::Gps, Stream::Vehicle, Stream::Weather] {
            let rows: Vec<&Reading> = readings.iter().filter(|r| r.stream() == stream).collect();
            let (mut bytes, mut seq) = (0, 0);
            for chunk in rows.chunks(60) {
                let vehicle = VehicleId::new("truck-0042").unwrap();
                let columns = stream.columns().unwrap();
                let boot = BootId(0x8f3a_61c2_d94e_07b5);
                let mut batch = Batch::new(vehicle, boot, stream.clone(), columns, seq, Vec::new());
                chunk.iter().for_each(|r| batch.push(r).unwrap());
                bytes += frame::encode(&batch).unwrap().len();
                seq += chunk.len() as u64;
            }
            let each = bytes as f64 / rows.len() as f64;
            line += &format!("seed {seed} {stream}: {} readings, {each:.2} B each\n", rows.len());
            assert!(stream != Stream::Gps || each <= 7.0, "{line}");
        }
    }
    println!("{line}");
}
