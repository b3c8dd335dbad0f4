//! Readings into the interface's records and back.

use crate::bindings::milepost::transform::types as wit;
use crate::packed::{Batch, Fix};
use milepost_wire::reading as wire;
use milepost_wire::{Body, Clock, ColumnSpec, Derived, Kind, Reading, Stream, StreamName, Value};
use std::sync::Arc;

/// Lends readings of one stream to `call` as a batch. `None` where they are not all of that stream, or
/// derived rows of one stream with different columns.
pub(crate) fn with_batch<R>(
    stream: &Stream,
    readings: &[Reading],
    call: impl FnOnce(Batch<'_>) -> R,
) -> Option<R> {
    macro_rules! each {
        ($body:ident, $make:expr) => {
            readings.iter().map(|r| if let Body::$body(b) = &r.body { Some($make(r, b)) } else { None })
        };
    }
    Some(match stream {
        Stream::Gps => call(Batch::Gps(Fix::all(readings)?)),
        Stream::Vehicle => call(Batch::Vehicle(&each!(Vehicle, vehicle_in).collect::<Option<Vec<_>>>()?)),
        Stream::Camera => call(Batch::Camera(&each!(Camera, camera_in).collect::<Option<Vec<_>>>()?)),
        Stream::Weather => call(Batch::Weather(&each!(Weather, weather_in).collect::<Option<Vec<_>>>()?)),
        Stream::Emergency => {
            call(Batch::Emergency(&each!(Emergency, emergency_in).collect::<Option<Vec<_>>>()?))
        }
        Stream::Derived(name) => {
            let rows = each!(Derived, |r: &Reading, d| (clock_in(r.clock), r.ts, d));
            let rows: Vec<(wit::Clock, i64, &Derived)> = rows.collect::<Option<_>>()?;
            let columns = &rows.first()?.2.columns;
            if rows.iter().any(|(_, _, d)| d.stream != *name || d.columns != *columns) {
                return None;
            }
            let values: Vec<Vec<wit::ValueParam<'_>>> =
                rows.iter().map(|(_, _, d)| d.values.iter().map(value_in).collect()).collect();
            let rows: Vec<wit::RowParam<'_>> = rows
                .iter()
                .zip(&values)
                .map(|(&(clock, ts_us, _), values)| wit::RowParam { ts_us, clock, values })
                .collect();
            let columns: Vec<wit::ColumnParam<'_>> =
                columns.iter().map(|c| wit::ColumnParam { name: &c.name, kind: kind_in(c.kind) }).collect();
            call(Batch::Derived(wit::DerivedParam { stream: name.as_str(), columns: &columns, rows: &rows }))
        }
        Stream::Health | Stream::Gap => return None,
    })
}

/// Readings of `stream` from a batch that a transform returned.
pub(crate) fn from_batch(stream: &Stream, batch: wit::BatchResult) -> Result<Vec<Reading>, String> {
    macro_rules! each {
        ($rows:expr, $make:expr) => {
            $rows
                .into_iter()
                .map(|r| Reading { ts: r.ts_us, clock: clock_out(r.clock), body: $make(r).into() })
                .collect()
        };
    }
    let mut readings: Vec<Reading> = match (batch, stream) {
        (wit::BatchResult::Gps(rows), Stream::Gps) => each!(rows, gps_out),
        (wit::BatchResult::Vehicle(rows), Stream::Vehicle) => each!(rows, vehicle_out),
        (wit::BatchResult::Camera(rows), Stream::Camera) => each!(rows, camera_out),
        (wit::BatchResult::Weather(rows), Stream::Weather) => each!(rows, weather_out),
        (wit::BatchResult::Emergency(rows), Stream::Emergency) => each!(rows, emergency_out),
        (wit::BatchResult::Derived(derived), Stream::Derived(name)) if derived.stream == name.as_str() => {
            derived_out(derived)?
        }
        _ => return Err(format!("readings of another stream than {stream} in a batch of it")),
    };
    readings.iter_mut().try_for_each(|reading| on_the_globe(&mut reading.body))?;
    Ok(readings)
}

/// A position and a heading as there can be one, as the sources have them: maps and views rely on it.
fn on_the_globe(body: &mut Body) -> Result<(), String> {
    let (lat, lon, heading) = match body {
        Body::Gps(b) => (Some(b.lat_e7), Some(b.lon_e7), b.heading_cdeg.as_mut()),
        Body::Vehicle(b) => (b.lat_e7, b.lon_e7, b.heading_cdeg.as_mut()),
        Body::Camera(b) => (b.lat_e7, b.lon_e7, None),
        Body::Weather(b) => (b.lat_e7, b.lon_e7, None),
        Body::Emergency(b) => (b.lat_e7, b.lon_e7, None),
        Body::Derived(_) | Body::Health(_) | Body::Gap(_) => return Ok(()),
    };
    let beyond = |value: Option<i32>, most: u32| value.filter(|v| v.unsigned_abs() > most);
    if let Some(value) = beyond(lat, 900_000_000) {
        return Err(format!("a latitude of {value} times 1e-7 degrees"));
    }
    if let Some(value) = beyond(lon, 1_800_000_000) {
        return Err(format!("a longitude of {value} times 1e-7 degrees"));
    }
    match heading {
        Some(value) if *value > 36_000 => Err(format!("a heading of {value} hundredths of a degree")),
        // North has two names; the wire has one.
        Some(north) if *north == 36_000 => {
            *north = 0;
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Rows of a derived stream, every name and value checked.
pub(crate) fn derived_out(derived: wit::DerivedResult) -> Result<Vec<Reading>, String> {
    let stream = StreamName::new(derived.stream).map_err(|e| e.to_string())?;
    if derived.columns.is_empty() || derived.columns.len() > milepost_wire::frame::MAX_COLUMNS {
        let (n, max) = (derived.columns.len(), milepost_wire::frame::MAX_COLUMNS);
        return Err(format!("stream {} has {n} columns: take 1 to {max}", stream.as_str()));
    }
    let columns = derived.columns.into_iter().map(|c| ColumnSpec::new(c.name, kind_out(c.kind)));
    let columns: Arc<[ColumnSpec]> = columns.collect::<Result<_, _>>().map_err(|e| e.to_string())?;
    if let Some((_, twice)) =
        columns.iter().enumerate().find(|(i, c)| columns[..*i].iter().any(|o| o.name == c.name))
    {
        return Err(format!("stream {} has column {} twice", stream.as_str(), twice.name));
    }
    let row = |row: wit::RowResult| {
        let values: Vec<Value> = row.values.into_iter().map(value_out).collect();
        let fits = |(v, c): (&Value, &ColumnSpec)| v.kind().is_none_or(|k| k == c.kind);
        if values.len() != columns.len() || !values.iter().zip(&*columns).all(fits) {
            return Err(format!("a row of stream {} does not fit its columns", stream.as_str()));
        }
        let body = Body::Derived(Derived { stream: stream.clone(), columns: columns.clone(), values });
        Ok(Reading { ts: row.ts_us, clock: clock_out(row.clock), body })
    };
    derived.rows.into_iter().map(row).collect()
}

fn clock_in(clock: Clock) -> wit::Clock {
    match clock {
        Clock::Gps => wit::Clock::Gps,
        Clock::Ntp => wit::Clock::Ntp,
        Clock::None => wit::Clock::None,
    }
}

fn clock_out(clock: wit::Clock) -> Clock {
    match clock {
        wit::Clock::Gps => Clock::Gps,
        wit::Clock::Ntp => Clock::Ntp,
        wit::Clock::None => Clock::None,
    }
}

fn kind_in(kind: Kind) -> wit::Kind {
    match kind {
        Kind::Int => wit::Kind::Int,
        Kind::Float => wit::Kind::Float,
        Kind::Bool => wit::Kind::Boolean,
        Kind::Text => wit::Kind::Text,
        Kind::Bytes => wit::Kind::Bytes,
    }
}

fn kind_out(kind: wit::Kind) -> Kind {
    match kind {
        wit::Kind::Int => Kind::Int,
        wit::Kind::Float => Kind::Float,
        wit::Kind::Boolean => Kind::Bool,
        wit::Kind::Text => Kind::Text,
        wit::Kind::Bytes => Kind::Bytes,
    }
}

fn value_in(value: &Value) -> wit::ValueParam<'_> {
    match value {
        Value::Null => wit::ValueParam::Null,
        Value::Int(v) => wit::ValueParam::Int(*v),
        Value::Float(v) => wit::ValueParam::Float(*v),
        Value::Bool(v) => wit::ValueParam::Boolean(*v),
        Value::Text(v) => wit::ValueParam::Text(v),
        Value::Bytes(v) => wit::ValueParam::Bytes(v),
    }
}

fn value_out(value: wit::ValueResult) -> Value {
    match value {
        wit::ValueResult::Null => Value::Null,
        wit::ValueResult::Int(v) => Value::Int(v),
        wit::ValueResult::Float(v) => Value::Float(v),
        wit::ValueResult::Boolean(v) => Value::Bool(v),
        wit::ValueResult::Text(v) => Value::Text(v),
        wit::ValueResult::Bytes(v) => Value::Bytes(v),
    }
}

/// Makes the two directions of a stream from its fields: copied numbers, and texts or bytes that are
/// lent on the way in and owned on the way out.
macro_rules! record {
    ($name:ident, $in:ident, $out:ident, $param:ty, $result:ty,
     numbers: $($number:ident),*; texts: $($text:ident),*; options: $($option:ident),*) => {
        fn $in<'a>(reading: &'a Reading, b: &'a wire::$name) -> $param {
            type Made<'a> = $param;
            Made {
                ts_us: reading.ts,
                clock: clock_in(reading.clock),
                $($number: b.$number,)*
                $($text: &b.$text,)*
                $($option: b.$option.as_deref(),)*
            }
        }

        fn $out(r: $result) -> wire::$name {
            wire::$name { $($number: r.$number,)* $($text: r.$text,)* $($option: r.$option,)* }
        }
    };
}

fn gps_out(r: wit::Gps) -> wire::Gps {
    wire::Gps {
        lat_e7: r.lat_e7,
        lon_e7: r.lon_e7,
        altitude_cm: r.altitude_cm,
        speed_mm_s: r.speed_mm_s,
        heading_cdeg: r.heading_cdeg,
        fix: r.fix,
        satellites: r.satellites,
        hdop_e2: r.hdop_e2,
    }
}

record!(Vehicle, vehicle_in, vehicle_out, wit::VehicleParam<'a>, wit::VehicleResult,
    numbers: lat_e7, lon_e7, speed_mm_s, heading_cdeg, year;
    texts: ; options: make, model, fuel_type, vehicle_type);
record!(Camera, camera_in, camera_out, wit::CameraParam<'a>, wit::CameraResult,
    numbers: lat_e7, lon_e7, width, height; texts: camera_id, image; options: );
record!(Weather, weather_in, weather_out, wit::WeatherParam<'a>, wit::WeatherResult,
    numbers: lat_e7, lon_e7, temperature_c_e2, precipitation_mm_h_e2, wind_speed_mm_s, humidity_pct_e2,
             air_quality_index;
    texts: ; options: condition);
record!(Emergency, emergency_in, emergency_out, wit::EmergencyParam<'a>, wit::EmergencyResult,
    numbers: lat_e7, lon_e7; texts: incident_id, kind, status; options: description);
