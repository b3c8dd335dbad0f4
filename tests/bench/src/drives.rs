//! Readings to measure with: recorded drives from a folder beside the repository, and always the
//! agent's simulated trip.

mod nmea;
mod trip;

use milepost_wire::reading::Gps;
use milepost_wire::{Batch, BootId, Clock, ColumnSpec, Kind, Reading, Stream, Value, VehicleId, reading};
use serde_json::Value as Json;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use trip::trip;

/// Readings of one stream of one vehicle, in order.
pub struct Drive {
    /// The file's name, or what it is.
    pub name: String,
    /// The readings.
    pub readings: Vec<Reading>,
}

impl Drive {
    /// The readings in batches of `n`, without a last one that is shorter, as vehicle `truck-0042` half
    /// a day after its agent's start.
    pub fn batches(&self, n: usize) -> Vec<Batch> {
        let n = n.min(self.readings.len()).max(1);
        (41_760..).step_by(n).zip(self.readings.chunks_exact(n)).map(|(seq, rows)| batch(seq, rows)).collect()
    }
}

fn batch(first_seq: u64, rows: &[Reading]) -> Batch {
    let vehicle = VehicleId::new("truck-0042").expect("a valid id");
    let stream = rows[0].stream();
    let own = match &rows[0].body {
        milepost_wire::Body::Derived(row) => row.columns.to_vec(),
        _ => stream.columns().unwrap_or_default().to_vec(),
    };
    let mut batch = Batch::new(vehicle, BootId(0x8f3a_61c2_d94e_07b5), stream, &own, first_seq, Vec::new());
    for row in rows {
        batch.push(row).expect("rows of one stream");
    }
    batch
}

/// The folder of recorded drives: `MILEPOST_SHARED_DATA`, or `../shared/data` beside the workspace.
pub fn folder() -> PathBuf {
    let beside = || {
        let here = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from).unwrap_or_default();
        here.join("../../../shared/data")
    };
    std::env::var_os("MILEPOST_SHARED_DATA").map_or_else(beside, PathBuf::from)
}

/// Every drive and log of positions in the folder; none where there is no folder.
pub fn recorded() -> Vec<Drive> {
    let read = |sub: &str, ending: &str, parse: &dyn Fn(&str) -> Vec<Reading>| -> Vec<Drive> {
        let Ok(entries) = std::fs::read_dir(folder().join(sub)) else { return Vec::new() };
        let mut paths: Vec<_> = entries.flatten().map(|e| e.path()).collect();
        paths.retain(|p| p.to_string_lossy().ends_with(ending));
        paths.sort();
        let name = |p: &Path| p.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let drive = |p: &PathBuf| Drive {
            name: name(p),
            readings: parse(&String::from_utf8_lossy(&std::fs::read(p).unwrap_or_default())),
        };
        paths.iter().map(drive).filter(|d| !d.readings.is_empty()).collect()
    };
    let mut drives = read("drives", ".ndjson", &ndjson);
    drives.extend(read("nmea", ".log", &nmea::parse));
    drives
}

/// Lines of JSON: `gps_data` where there are positions, else a derived stream of integers.
fn ndjson(text: &str) -> Vec<Reading> {
    let lines = text.lines().filter_map(|l| serde_json::from_str::<Json>(l).ok());
    let int = |row: &Json, name: &str| row.get(name).and_then(Json::as_i64);
    let mut columns: Arc<[ColumnSpec]> = Arc::new([]);
    lines
        .filter_map(|row| {
            let ts = int(&row, "ts")?;
            let body = match (int(&row, "lat_e7"), int(&row, "lon_e7")) {
                (Some(lat), Some(lon)) => reading::Body::Gps(Gps {
                    lat_e7: lat as i32,
                    lon_e7: lon as i32,
                    altitude_cm: int(&row, "altitude_cm").map(|v| v as i32),
                    speed_mm_s: int(&row, "speed_mm_s").map(|v| v as u32),
                    heading_cdeg: int(&row, "heading_cdeg").map(|v| v as u16),
                    fix: int(&row, "fix").unwrap_or(1) as u8,
                    satellites: int(&row, "satellites").map(|v| v as u8),
                    hdop_e2: int(&row, "hdop_e2").map(|v| v as u16),
                }),
                _ => {
                    let object = row.as_object()?;
                    if columns.is_empty() {
                        let names = object.keys().filter(|k| *k != "ts");
                        columns = names.filter_map(|k| ColumnSpec::new(k.as_str(), Kind::Int).ok()).collect();
                    }
                    let values = columns.iter().map(|c| int(&row, &c.name).map_or(Value::Null, Value::Int));
                    let Ok(Stream::Derived(stream)) = "imu_raw".parse() else { return None };
                    let values = values.collect();
                    reading::Body::Derived(reading::Derived { stream, columns: columns.clone(), values })
                }
            };
            Some(Reading { ts, clock: Clock::Gps, body })
        })
        .collect()
}
