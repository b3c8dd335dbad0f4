use super::*;
use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type, Int64Type, TimestampMillisecondType};
use arrow_array::{Array, StringArray};
use milepost_wire::reading::{Derived, Gps};
use milepost_wire::{Body, BootId, ColumnSpec, Digest, Kind, Reading, StreamName, Value, VehicleId};

fn batch(stream: Stream, columns: &[ColumnSpec], first_seq: u64) -> Batch {
    let lineage = vec![Digest([1; 8]), Digest([0xab; 8])];
    Batch::new(VehicleId::new("v").unwrap(), BootId(0xff), stream, columns, first_seq, lineage)
}

fn gps(lat_e7: i32, heading_cdeg: Option<u16>) -> Body {
    Body::Gps(Gps {
        lat_e7,
        lon_e7: -1,
        altitude_cm: Some(-150),
        speed_mm_s: Some(13_890),
        heading_cdeg,
        fix: 4,
        satellites: None,
        hdop_e2: Some(85),
    })
}

fn derived(columns: &[(&str, Value)]) -> Batch {
    let kind = |v: &Value| v.kind().unwrap_or(Kind::Int);
    let specs: Vec<_> = columns.iter().map(|(n, v)| ColumnSpec::new(*n, kind(v)).unwrap()).collect();
    let stream = StreamName::new("harsh_event").unwrap();
    let mut batch = batch(Stream::Derived(stream.clone()), &specs, 0);
    let values = columns.iter().map(|(_, v)| v.clone()).collect();
    let body = Body::Derived(Derived { stream, columns: specs.into(), values });
    batch.push(&Reading { ts: 5, clock: Clock::Ntp, body }).unwrap();
    batch
}

/// The rows of some frames under the columns that they lead to.
fn table_of_frames(frames: &[Batch]) -> RecordBatch {
    let add = |columns: Columns, frame: &Batch| columns.with(&Want::of(&frame.rows.columns));
    let columns = frames.iter().fold(Columns::none(), add);
    let mut rows = TableRows::new(&frames[0].stream, &columns);
    for frame in frames {
        assert!(is_whole(frame) && has_places(frame, &columns));
        rows.append(frame, 0..frame.len(), &|_| None);
    }
    rows.take().unwrap()
}

fn column<'a>(batch: &'a RecordBatch, name: &str) -> &'a ArrayRef {
    batch.column_by_name(name).unwrap_or_else(|| panic!("no column {name} in {:?}", batch.schema()))
}

#[test]
fn fixed_point_becomes_everyday_units_and_nulls_stay_nulls() {
    let mut from = batch(Stream::Gps, Stream::Gps.columns().unwrap(), 40);
    for (i, heading) in [Some(35_999), None, Some(0)].into_iter().enumerate() {
        let ts = 1_795_392_000_123_456 - i as i64;
        from.push(&Reading { ts, clock: Clock::Gps, body: gps(515_074_123, heading) }).unwrap();
    }
    assert!(is_whole(&from));
    let mut rows = TableRows::new(&Stream::Gps, &Columns::none());
    rows.append(&from, 1..3, &|_| None);
    rows.append(&from, 0..1, &|_| None);
    let table = rows.take().unwrap();
    let names: Vec<_> = table.schema().fields().iter().map(|f| f.name().clone()).collect();
    let own = ["lat", "lon", "altitude", "speed", "heading", "fix", "satellites", "hdop"];
    let common: Vec<_> = schema::COMMON.iter().map(|c| c.name.to_string()).collect();
    assert_eq!(names[..common.len()], common);
    assert_eq!(names[common.len()..], own);
    let float = |name: &str| column(&table, name).as_primitive::<Float64Type>().clone();
    assert_eq!(float("lat").values(), &[51.507_412_3; 3]);
    assert_eq!(float("altitude").value(0), -1.5);
    assert_eq!(float("speed").value(0), 13.89);
    assert_eq!(float("heading").iter().collect::<Vec<_>>(), [None, Some(0.0), Some(359.99)]);
    assert_eq!(column(&table, "satellites").null_count(), 3);
    assert_eq!(column(&table, "seq").as_primitive::<Int64Type>().values(), &[41, 42, 40]);
    let ms = column(&table, "ts").as_primitive::<TimestampMillisecondType>();
    assert_eq!(ms.value(2), 1_795_392_000_123);
    let text = |name: &str, row: usize| {
        let texts = column(&table, name).as_dictionary::<Int32Type>().downcast_dict::<StringArray>().unwrap();
        texts.into_iter().nth(row).unwrap().unwrap().to_owned()
    };
    assert_eq!(text("boot_id", 0), "00000000000000ff");
    assert_eq!(text("lineage", 0), "0101010101010101,abababababababab");
    assert_eq!(text("clock", 1), "gps");
    assert_eq!(rows.len(), 0);
}

#[test]
fn frames_with_other_columns_share_a_table_and_miss_what_they_do_not_have() {
    let table = table_of_frames(&[
        derived(&[("force", Value::Float(0.5)), ("seen", Value::Bool(true))]),
        derived(&[("note", Value::Text("é".into())), ("raw", Value::Bytes(vec![0, 1]))]),
        derived(&[("force", Value::Float(1.5))]),
    ]);
    let force = column(&table, "force").as_primitive::<Float64Type>();
    assert_eq!(force.iter().collect::<Vec<_>>(), [Some(0.5), None, Some(1.5)]);
    let seen = column(&table, "seen").as_boolean();
    assert_eq!(seen.iter().collect::<Vec<_>>(), [Some(true), None, None]);
    let note = column(&table, "note").as_string::<i32>();
    assert_eq!(note.iter().collect::<Vec<_>>(), [None, Some("é"), None]);
    let raw = column(&table, "raw").as_binary::<i32>();
    assert_eq!(raw.iter().collect::<Vec<_>>(), [None, Some(&[0, 1][..]), None]);
}

#[test]
fn columns_that_disagree_lie_beside_each_other_and_integers_in_doubles() {
    let table = table_of_frames(&[
        derived(&[("seq", Value::Int(9)), ("x", Value::Float(0.5))]),
        derived(&[("x", Value::Int(2)), ("seq", Value::Int(8))]),
        derived(&[("x", Value::Int(i64::MAX))]),
        derived(&[("x", Value::Text("a".into())), ("dt", Value::Text("b".into()))]),
    ]);
    let floats = column(&table, "x").as_primitive::<Float64Type>();
    assert_eq!(floats.iter().collect::<Vec<_>>(), [Some(0.5), Some(2.0), None, None]);
    let ints = column(&table, "x_2").as_primitive::<Int64Type>();
    assert_eq!(ints.iter().collect::<Vec<_>>(), [None, None, Some(i64::MAX), None]);
    assert_eq!(column(&table, "x_3").as_string::<i32>().value(3), "a");
    assert_eq!(column(&table, "dt_value").as_string::<i32>().value(3), "b");
    let seq = column(&table, "seq_value").as_primitive::<Int64Type>();
    assert_eq!(seq.iter().collect::<Vec<_>>(), [Some(9), Some(8), None, None]);
    let names: std::collections::HashSet<_> =
        table.schema().fields().iter().map(|f| f.name().clone()).collect();
    assert_eq!(names.len(), table.num_columns());
}

#[test]
fn batches_that_are_not_whole_are_seen() {
    let whole = derived(&[("note", Value::Text("é".into()))]);
    assert!(is_whole(&whole));
    let broken = |change: fn(&mut Batch)| {
        let mut batch = whole.clone();
        change(&mut batch);
        is_whole(&batch)
    };
    assert!(!broken(|b| b.rows.clock.clear()));
    assert!(!broken(|b| b.rows.ts.push(1)));
    assert!(!broken(|b| b.first_seq = i64::MAX as u64));
    assert!(!broken(|b| b.rows.columns[0].values = Values::Int(vec![])));
    for (offsets, data) in
        [(vec![0, 3], vec![0xc3, 0xa9]), (vec![0, -1], vec![]), (vec![1, 2], vec![b'a'; 2])]
    {
        let mut batch = whole.clone();
        batch.rows.columns[0].values = Values::Text(milepost_wire::VarBytes { offsets, data });
        assert!(!is_whole(&batch));
    }
    let mut other = batch(Stream::Gps, &[ColumnSpec::fixed("lat_e7", Kind::Int)], 0);
    other.rows.columns.clear();
    assert!(!is_whole(&other), "a built-in stream has its own columns");
}

#[test]
fn a_time_without_a_date_spoils_no_file() {
    let mut frame = batch(Stream::Gps, Stream::Gps.columns().unwrap(), 0);
    for ts in [i64::MIN, 1_772_438_400_123_456, i64::MAX] {
        frame.push(&Reading { ts, clock: Clock::None, body: gps(1, None) }).unwrap();
    }
    let table = table_of_frames(&[frame]);
    let ms = table["ts"].as_primitive::<TimestampMillisecondType>().values().to_vec();
    assert_eq!(ms, [-62_135_596_800_000, 1_772_438_400_123, 253_402_300_799_999]);
    let us = table["ts_us"].as_primitive::<Int64Type>().values().to_vec();
    assert_eq!(us, [i64::MIN, 1_772_438_400_123_456, i64::MAX]);
}
