use super::*;
use milepost_wire::{Batch, BootId, Clock, Reading, Stream, VehicleId};

/// A frame of `count` fixes, the first with number `first_seq`.
pub(crate) fn frame_of(first_seq: u64, count: u64) -> Vec<u8> {
    let vehicle = VehicleId::new("truck-1").unwrap();
    let mut batch =
        Batch::new(vehicle, BootId(7), Stream::Gps, Stream::Gps.columns().unwrap(), first_seq, Vec::new());
    for i in 0..count {
        batch.push(&fix(first_seq + i)).unwrap();
    }
    frame::encode(&batch).unwrap()
}

fn fix(seq: u64) -> Reading {
    let body = milepost_wire::reading::Gps {
        lat_e7: 515_000_000 + seq as i32,
        lon_e7: -1_000_000,
        altitude_cm: Some(1234),
        speed_mm_s: Some(13_900),
        heading_cdeg: None,
        fix: 1,
        satellites: Some(9),
        hdop_e2: Some(90),
    };
    Reading { ts: 1_700_000_000_000_000 + seq as i64 * 1_000_000, clock: Clock::Gps, body: body.into() }
}

fn decode(files: &[PathBuf]) -> (Vec<serde_json::Value>, Outcome) {
    let mut printer = Printer { out: Vec::new(), outcome: Outcome::Good };
    read_files(files, &mut printer).unwrap();
    let text = String::from_utf8(printer.out).unwrap();
    (text.lines().map(|l| serde_json::from_str(l).unwrap()).collect(), printer.outcome)
}

#[test]
fn every_reading_becomes_a_line_with_its_identity() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("one.frame");
    std::fs::write(&path, frame_of(5, 3)).unwrap();
    let (lines, outcome) = decode(&[path]);
    assert_eq!(outcome, Outcome::Good);
    assert_eq!(lines.len(), 3);
    for (i, line) in lines.iter().enumerate() {
        assert_eq!(line["stream"], "gps_data");
        assert_eq!(line["vehicle_id"], "truck-1");
        assert_eq!(line["boot_id"], "0000000000000007");
        assert_eq!(line["seq"], 5 + i);
    }
}

#[test]
fn lines_read_back_as_the_readings_they_were() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("one.frame");
    std::fs::write(&path, frame_of(0, 4)).unwrap();
    for (seq, line) in decode(&[path]).0.iter().enumerate() {
        let back = milepost_agent::ndjson::Parser::new(Default::default()).parse(&line.to_string(), None);
        assert_eq!(back.unwrap(), fix(seq as u64));
    }
}

#[test]
fn a_bad_frame_does_not_hide_the_next_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("some.frames");
    let mut bad = frame_of(0, 2);
    let last = bad.len() - 1;
    bad[last] ^= 0x55;
    bad.truncate(last);
    let bytes: Vec<u8> = [frame_of(0, 2), bad, frame_of(2, 2)]
        .iter()
        .flat_map(|f| [&(f.len() as u32).to_le_bytes()[..], f].concat())
        .collect();
    std::fs::write(&path, bytes).unwrap();
    let missing = folder.path().join("not-there");
    let (lines, outcome) = decode(&[missing, path]);
    assert_eq!(outcome, Outcome::Bad);
    assert_eq!(lines.iter().map(|l| l["seq"].as_u64().unwrap()).collect::<Vec<_>>(), [0, 1, 2, 3]);
}
