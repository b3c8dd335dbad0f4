//! Frames for this crate's tests.

use milepost_wire::reading::Gps;
use milepost_wire::{
    Batch, Body, BootId, Clock, ColumnSpec, Derived, Kind, Reading, Stream, StreamName, Value, VehicleId,
    frame,
};

/// A frame of `count` fixes of `vehicle`, numbered from `first_seq`.
pub(crate) fn gps_frame(vehicle: &str, first_seq: u64, count: u64) -> Vec<u8> {
    let vehicle = VehicleId::new(vehicle).unwrap();
    let columns = Stream::Gps.columns().unwrap();
    let mut batch = Batch::new(vehicle, BootId(7), Stream::Gps, columns, first_seq, Vec::new());
    for i in first_seq..first_seq + count {
        let gps = Gps {
            lat_e7: 515_000_000 + i as i32,
            lon_e7: -1_000_000,
            altitude_cm: None,
            speed_mm_s: Some(i as u32),
            heading_cdeg: None,
            fix: 1,
            satellites: Some(9),
            hdop_e2: None,
        };
        let ts = 1_772_000_000_000_000 + i as i64 * 1_000_000;
        batch.push(&Reading { ts, clock: Clock::Gps, body: Body::Gps(gps) }).unwrap();
    }
    frame::encode(&batch).unwrap()
}

/// A frame of one row of a derived stream.
pub(crate) fn derived_frame(vehicle: &str, stream: &str) -> Vec<u8> {
    let vehicle = VehicleId::new(vehicle).unwrap();
    let name = StreamName::new(stream).unwrap();
    let columns: std::sync::Arc<[ColumnSpec]> = [ColumnSpec::new("force", Kind::Int).unwrap()].into();
    let stream = Stream::Derived(name.clone());
    let mut batch = Batch::new(vehicle, BootId(7), stream, &columns, 0, Vec::new());
    let row = Derived { stream: name, columns, values: vec![Value::Int(3)] };
    batch.push(&Reading { ts: 1, clock: Clock::None, body: Body::Derived(row) }).unwrap();
    frame::encode(&batch).unwrap()
}
