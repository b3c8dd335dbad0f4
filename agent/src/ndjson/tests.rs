use super::*;
use milepost_wire::reading::{Camera, Emergency, Gap, Gps, Health, Vehicle, Weather};
use milepost_wire::{Body, Clock, Derived, Kind, Reading, Stream, Value};
use proptest::option::of;
use proptest::prelude::*;

fn parse(line: &str) -> Result<Reading, ParseError> {
    Parser::default().parse(line, None)
}

fn gps(line: &str) -> Gps {
    match Parser::default().parse(line, Some((0, Clock::Ntp))).unwrap().body {
        Body::Gps(gps) => gps,
        other => panic!("{other:?}"),
    }
}

#[test]
fn everyday_and_wire_names_mean_the_same() {
    let wire = gps(r#"{"stream":"gps_data","lat_e7":515074000,"lon_e7":-1278000,"altitude_cm":3542,
        "speed_mm_s":13400,"heading_cdeg":9050,"hdop_e2":90,"fix":2,"satellites":9}"#);
    let everyday = gps(r#"{"stream":"gps_data","lat":51.5074,"lon":-0.1278,"altitude":35.42,
        "speed":13.4,"heading":90.5,"hdop":0.9,"fix":2,"satellites":9}"#);
    assert_eq!(wire, everyday);
    let weather = parse(
        r#"{"stream":"weather_data","ts":0,"temperature":-3.5,"precipitation":0.2,
        "wind_speed":4.1,"humidity":81.5,"condition":"sleet"}"#,
    );
    let Ok(Reading { body: Body::Weather(w), .. }) = weather else { panic!("{weather:?}") };
    assert_eq!((w.temperature_c_e2, w.precipitation_mm_h_e2), (Some(-350), Some(20)));
    assert_eq!((w.wind_speed_mm_s, w.humidity_pct_e2), (Some(4100), Some(8150)));
}

#[test]
fn what_a_line_leaves_out_comes_from_the_defaults() {
    let defaults = Defaults { stream: Some(Stream::Gps), clock: Some(Clock::Gps) };
    let mut parser = Parser::new(defaults);
    let dated = parser.parse(r#"{"ts":"2024-02-29T00:00:00Z","lat":1.0,"lon":2}"#, None).unwrap();
    assert_eq!((dated.ts, dated.clock), (1_709_164_800_000_000, Clock::Gps));
    let now = parser.parse(r#"{"lat":1.0,"lon":2}"#, Some((77, Clock::Ntp))).unwrap();
    assert_eq!((now.ts, now.clock), (77, Clock::Ntp));
    assert_eq!(parser.parse(r#"{"lat":1.0,"lon":2}"#, None), Err(ParseError::NoTime));
    assert_eq!(parse(r#"{"ts":1,"lat":1.0}"#), Err(ParseError::NoStream));
}

#[test]
fn north_is_0() {
    for degrees in ["0", "360", "359.999"] {
        let line = format!(r#"{{"stream":"gps_data","ts":1,"lat":1,"lon":2,"heading":{degrees}}}"#);
        assert_eq!(gps(&line).heading_cdeg, Some(0), "{degrees}");
    }
}

#[test]
fn refusals_name_the_key() {
    let value = |key: &str| ParseError::Value { key: key.into() };
    for (line, error) in [
        (r#"{"stream":"gps_data","ts":1,"lon":2}"#, value("lat_e7")),
        (r#"{"stream":"gps_data","ts":1,"lat":"x","lon":2}"#, value("lat")),
        (r#"{"stream":"gps_data","ts":1,"lat":1,"lon":2,"fix":300}"#, value("fix")),
        (r#"{"stream":"gps_data","ts":1,"lat_e7":1.5,"lon":2}"#, value("lat_e7")),
        (r#"{"stream":"gps_data","ts":1,"lat":1e300,"lon":2}"#, value("lat")),
        (r#"{"stream":"gps_data","ts":1,"lat":1,"lon":2,"heading":400}"#, value("heading")),
        (r#"{"stream":"gps_data","ts":1,"lat":1,"lon":2,"heading":-1}"#, value("heading")),
        (r#"{"stream":"gps_data","ts":1.5,"lat":1,"lon":2}"#, value("ts")),
        (r#"{"stream":"gps_data","ts":1,"clock":"sun","lat":1,"lon":2}"#, value("clock")),
        (r#"{"stream":"camera_data","ts":1,"camera_id":"a","image":"%%"}"#, value("image")),
        (r#"{"stream":"my_rows","ts":1,"list":[1]}"#, value("list")),
    ] {
        assert_eq!(parse(line), Err(error), "{line}");
    }
    let misspelt = parse(r#"{"stream":"gps_data","ts":1,"lat":1,"lon":2,"sped":3}"#);
    assert!(matches!(misspelt, Err(ParseError::UnknownKey { key, .. }) if key == "sped"));
    assert!(matches!(parse(r#"{"stream":"No","ts":1}"#), Err(ParseError::Name(_))));
    assert!(matches!(parse(r#"{"stream":"ok","ts":1,"Bad Key":1}"#), Err(ParseError::Name(_))));
    assert!(matches!(parse("[1]"), Err(ParseError::Json(_))));
}

#[test]
fn a_derived_streams_columns_keep_their_kinds() {
    let mut parser = Parser::default();
    let mut row = |line: &str| match parser.parse(line, None).unwrap().body {
        Body::Derived(row) => row,
        other => panic!("{other:?}"),
    };
    let first = row(r#"{"stream":"axle","ts":1,"load":1.5,"ok":true,"raw":{"base64":"Zm8="},"n":3}"#);
    let kinds: Vec<Kind> = first.columns.iter().map(|c| c.kind).collect();
    assert_eq!(kinds, [Kind::Float, Kind::Int, Kind::Bool, Kind::Bytes]);
    let second = row(r#"{"stream":"axle","ts":2,"load":2,"ok":null,"raw":null,"n":4}"#);
    assert_eq!(second.columns, first.columns);
    assert_eq!(second.values, [Value::Float(2.0), Value::Int(4), Value::Null, Value::Null]);
}

#[test]
fn a_time_without_a_date_is_refused() {
    for (ts, good) in [
        (i64::MIN, false),
        (i64::MAX, false),
        (-62_135_596_800_000_001, false),
        (-62_135_596_800_000_000, true),
        (253_402_300_799_999_999, true),
        (253_402_300_800_000_000, false),
    ] {
        let line = format!("{{\"stream\":\"gps_data\",\"ts\":{ts},\"lat_e7\":1,\"lon_e7\":1}}");
        let parsed = parse(&line);
        assert_eq!(parsed.is_ok(), good, "{ts}: {parsed:?}");
    }
}

#[test]
fn a_position_off_the_globe_is_refused() {
    let line = |lat: f64, lon: f64| format!(r#"{{"stream":"gps_data","ts":1,"lat":{lat},"lon":{lon}}}"#);
    let parse = |line: String| Parser::new(Defaults::default()).parse(&line, None);
    assert!(parse(line(90.0, -180.0)).is_ok());
    for (lat, lon) in [(91.5, 0.0), (0.0, 180.1)] {
        assert!(matches!(parse(line(lat, lon)), Err(ParseError::Value { .. })), "{lat} {lon}");
    }
}

#[test]
fn recorded_drives_parse() {
    let data = std::env::var_os("MILEPOST_SHARED_DATA")
        .map_or_else(|| "../../shared/data".into(), std::path::PathBuf::from);
    for (file, stream, rows) in [
        ("comma2k19-ublox-1hz.ndjson", "gps_data", 59),
        ("comma2k19-ublox-10hz.ndjson", "gps_data", 579),
        ("comma2k19-imu-100hz.ndjson", "imu_raw", 6256),
    ] {
        let Ok(text) = std::fs::read_to_string(data.join("drives").join(file)) else {
            println!("SKIPPED: {file} is not in {}; set MILEPOST_SHARED_DATA", data.display());
            continue;
        };
        let defaults = Defaults { stream: Some(stream.parse().unwrap()), clock: Some(Clock::Gps) };
        let mut parser = Parser::new(defaults);
        let read = text.lines().map(|line| parser.parse(line, None).unwrap()).count();
        assert_eq!(read, rows, "{file}");
    }
}

fn text() -> impl Strategy<Value = String> {
    any::<String>()
}

/// Readings of every built-in stream.
fn bodies() -> impl Strategy<Value = Body> {
    let at = || (of(any::<i32>()), of(any::<i32>()));
    let gps = (
        any::<(i32, i32, u8)>(),
        of(any::<i32>()),
        of(any::<u32>()),
        of(any::<u16>()),
        of(any::<u8>()),
        of(any::<u16>()),
    )
        .prop_map(
            |((lat_e7, lon_e7, fix), altitude_cm, speed_mm_s, heading_cdeg, satellites, hdop_e2)| {
                Gps { lat_e7, lon_e7, altitude_cm, speed_mm_s, heading_cdeg, fix, satellites, hdop_e2 }.into()
            },
        );
    let vehicle = (
        at(),
        of(any::<u32>()),
        of(any::<u16>()),
        of(text()),
        of(text()),
        of(any::<u16>()),
        of(text()),
        of(text()),
    )
        .prop_map(
            |((lat_e7, lon_e7), speed_mm_s, heading_cdeg, make, model, year, fuel_type, vehicle_type)| {
                Vehicle {
                    lat_e7,
                    lon_e7,
                    speed_mm_s,
                    heading_cdeg,
                    make,
                    model,
                    year,
                    fuel_type,
                    vehicle_type,
                }
                .into()
            },
        );
    let camera = (at(), text(), any::<Vec<u8>>(), of(any::<u16>()), of(any::<u16>())).prop_map(
        |((lat_e7, lon_e7), camera_id, image, width, height)| {
            Camera { camera_id, lat_e7, lon_e7, image, width, height }.into()
        },
    );
    let weather = (
        at(),
        of(any::<i16>()),
        of(text()),
        of(any::<u32>()),
        of(any::<u32>()),
        of(any::<u16>()),
        of(any::<u16>()),
    )
        .prop_map(
            |(
                (lat_e7, lon_e7),
                temperature_c_e2,
                condition,
                rain,
                wind,
                humidity_pct_e2,
                air_quality_index,
            )| {
                let (precipitation_mm_h_e2, wind_speed_mm_s) = (rain, wind);
                Weather {
                    lat_e7,
                    lon_e7,
                    temperature_c_e2,
                    condition,
                    precipitation_mm_h_e2,
                    wind_speed_mm_s,
                    humidity_pct_e2,
                    air_quality_index,
                }
                .into()
            },
        );
    let emergency = (at(), text(), text(), text(), of(text())).prop_map(
        |((lat_e7, lon_e7), incident_id, kind, status, description)| {
            Emergency { incident_id, kind, status, description, lat_e7, lon_e7 }.into()
        },
    );
    let health = (text(), text(), of(any::<i64>()), of(any::<i64>()), of(text())).prop_map(
        |(component, name, received, depth, version)| {
            Health {
                component,
                name,
                received,
                emitted: None,
                taken_out: received,
                poison: None,
                errors: depth,
                restarts: None,
                bytes: received,
                depth,
                age_ms: None,
                version: version.clone(),
                digest: version,
            }
            .into()
        },
    );
    let gap = (of(text()), text(), of(any::<i64>()), any::<i64>(), any::<u8>(), text()).prop_map(
        |(stream, gap_boot_id, first_seq, count, exact, reason)| {
            Gap {
                detail: stream.clone(),
                stream,
                gap_boot_id,
                first_seq,
                last_seq: first_seq,
                count,
                exact,
                reason,
            }
            .into()
        },
    );
    prop_oneof![gps, vehicle, camera, weather, emergency, health, gap]
}

proptest! {
    #[test]
    fn what_is_written_reads_back(body in bodies(), ts in milepost_wire::reading::DATABLE_US, clock in 0u8..3) {
        let reading = Reading { ts, clock: Clock::from_u8(clock).unwrap(), body };
        let line = write(&reading);
        prop_assert!(!line.contains('\n'));
        prop_assert_eq!(parse(&line).unwrap(), reading);
    }

    #[test]
    fn derived_rows_read_back(n in any::<i64>(), f in any::<i32>(), b in any::<bool>(), t in text(), raw in any::<Vec<u8>>()) {
        let columns: Vec<_> = [("a", Kind::Int), ("b", Kind::Float), ("c", Kind::Bool), ("d", Kind::Text), ("seq", Kind::Bytes)]
            .map(|(name, kind)| milepost_wire::ColumnSpec::new(name, kind).unwrap()).into();
        let values = vec![Value::Int(n), Value::Float(f64::from(f) / 8.0), Value::Bool(b), Value::Text(t), Value::Bytes(raw)];
        let stream = milepost_wire::StreamName::new("mine").unwrap();
        let body = Body::Derived(Derived { stream, columns: columns.into(), values });
        let reading = Reading { ts: 1, clock: Clock::Ntp, body };
        prop_assert_eq!(parse(&write(&reading)).unwrap(), reading);
    }

    #[test]
    fn no_line_makes_it_panic(line in "\\PC*", keys in "[{}\":,a-z0-9_.\\-]{0,80}") {
        let _ = parse(&line);
        let _ = parse(&keys);
        let _ = parse(&format!(r#"{{"stream":"gps_data","ts":1,{keys}}}"#));
    }
}

/// Lines near those that are meant: keys and values of all kinds, in any mixture.
fn near_a_line() -> impl Strategy<Value = String> {
    let key = prop_oneof![
        Just("stream".to_owned()),
        Just("ts".to_owned()),
        Just("lat".to_owned()),
        Just("lat_e7".to_owned()),
        Just("image".to_owned()),
        Just("speed".to_owned()),
        "[a-z_0-9]{0,12}",
    ];
    let value = prop_oneof![
        "\"[a-z_]{0,20}\"",
        "-?[0-9]{1,30}(\\.[0-9]{1,30})?([eE][-+]?[0-9]{1,4})?",
        "\"[0-9TZ:.+-]{0,40}\"",
        "\\[{0,200}",
        "[\\[{\"tfn]{0,30}",
        Just("\"gps_data\"".to_owned()),
        Just("null".to_owned()),
    ];
    let pairs = prop::collection::vec((key, value), 0..8);
    pairs.prop_map(|pairs| {
        let pairs: Vec<String> = pairs.iter().map(|(key, value)| format!("{key:?}:{value}")).collect();
        format!("{{{}}}", pairs.join(","))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn any_line_is_a_reading_or_an_error(line in prop_oneof![any::<String>(), near_a_line()], dated: bool) {
        let defaults = Defaults { stream: dated.then_some(Stream::Gps), clock: None };
        let said = Parser::new(defaults).parse(&line, dated.then_some((0, Clock::Ntp)));
        if let Err(why) = said {
            prop_assert!(why.to_string().len() < 1000 + line.len(), "{why}");
        }
    }
}

#[test]
fn a_line_that_is_nested_without_end_is_an_error() {
    for open in ["[", "{\"a\":"] {
        assert!(parse(&format!("{{\"lat\":{}", open.repeat(100_000))).is_err());
    }
}
