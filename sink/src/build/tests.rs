use super::*;
use milepost_wire::reading::Gps;
use milepost_wire::{Body, BootId, Clock, Reading, VehicleId};

const RECORD_MS: i64 = 1_795_435_200_000; // 2026-11-23 12:00
const DAY_US: i64 = 86_400_000_000;

fn chain() -> Chain {
    Chain { topic: "gps_data".into(), topic_id: "cd".repeat(16), partition: 3 }
}

fn shape() -> Shape {
    Shape { frame_max: 1, row_group_rows: 100_000, zstd_level: 3, images: "s3://b/p/".into() }
}

fn gps(vehicle: &str, first_seq: u64, times: &[i64]) -> Vec<u8> {
    let vehicle = VehicleId::new(vehicle).unwrap();
    let columns = Stream::Gps.columns().unwrap();
    let mut batch = Batch::new(vehicle, BootId(1), Stream::Gps, columns, first_seq, Vec::new());
    for &ts in times {
        let body = Gps {
            lat_e7: ts as i32,
            lon_e7: 3,
            altitude_cm: None,
            speed_mm_s: Some(1),
            heading_cdeg: None,
            fix: 1,
            satellites: None,
            hdop_e2: None,
        };
        batch.push(&Reading { ts, clock: Clock::None, body: Body::Gps(body) }).unwrap();
    }
    frame::encode(&batch).unwrap()
}

fn records(frames: Vec<Vec<u8>>) -> Vec<Record> {
    let record =
        |(i, value): (usize, Vec<u8>)| Record { offset: i as i64, at_ms: RECORD_MS, value: value.into() };
    frames.into_iter().enumerate().map(record).collect()
}

fn make(records: &[Record]) -> Built {
    let range = Range { first: 0, last: records.last().map_or(0, |r| r.offset) };
    build(&chain(), range, &shape(), records, &Memory::default(), &TableColumns::new()).unwrap()
}

#[test]
fn rows_go_to_their_dates_and_impossible_times_to_the_records() {
    let noon = RECORD_MS * 1000;
    let built =
        make(&records(vec![gps("v", 0, &[noon - DAY_US, noon, i64::MIN, noon + 3 * DAY_US, noon - DAY_US])]));
    let files: Vec<_> =
        built.files.iter().map(|f| (f.dt.as_str(), f.rows, f.seen[0].ranges.clone())).collect();
    let yesterday = ("2026-11-22", 2, vec![(0, 0), (4, 4)]);
    assert_eq!(files, [yesterday, ("2026-11-23", 3, vec![(1, 3)])]);
    assert!(built.files[0].key.starts_with("gps_data/dt=2026-11-22/gps_data-3-cdcdcdcdcdcdcdcd-"));
}

#[test]
fn the_same_records_make_the_same_bytes() {
    let noon = RECORD_MS * 1000;
    let frames = (0..40).map(|i| gps(&format!("v{}", i % 3), i / 3 * 5, &[noon + i as i64; 5])).collect();
    let records = records(frames);
    let (one, two) = (make(&records), make(&records));
    assert_eq!(one.files.len(), 1);
    assert_eq!(one.files[0].body, two.files[0].body);
    assert_eq!((one.readings, one.duplicates, one.files[0].rows), (200, 0, 200));
}

#[test]
fn overlapping_frames_give_each_row_once() {
    let noon = RECORD_MS * 1000;
    let built =
        make(&records(vec![gps("v", 0, &[noon; 5]), gps("v", 3, &[noon; 5]), gps("v", 0, &[noon; 9])]));
    assert_eq!((built.readings, built.duplicates), (19, 10));
    let (rows, seen) = crate::parquet_file::look_into(built.files[0].body.clone(), "gps_data").unwrap();
    assert_eq!((rows, &seen), (9, &built.files[0].seen));
}

#[test]
fn a_body_that_cannot_be_read_is_kept_and_takes_no_numbers() {
    // A body that is fine to the checksum and to nothing else: cut the body, and write a checksum that
    // fits, as a sender with a fault would.
    let noon = RECORD_MS * 1000;
    let whole = gps("v", 0, &[noon; 5]);
    let mut found = None;
    for cut in 8..whole.len() - 4 {
        let mut bad = whole[..cut].to_vec();
        bad.extend_from_slice(&crc32c(&whole[..cut]).to_le_bytes());
        if frame::check(&bad).is_ok() && frame::decode(&bad).is_err() {
            found = Some(bad);
            break;
        }
    }
    let Some(bad) = found else {
        println!("skipped: the header's check covers the whole body");
        return;
    };
    let built = make(&records(vec![bad, gps("v", 0, &[noon; 5])]));
    assert_eq!((built.frames, built.duplicates, built.files[0].rows), (1, 0, 5));
    assert_eq!(built.unread.unwrap().0.reasons, BTreeMap::from([("damaged".to_owned(), 1)]));
}

fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, &b| {
        (0..8).fold(crc ^ u32::from(b), |c, _| if c & 1 == 1 { c >> 1 ^ 0x82f6_3b78 } else { c >> 1 })
    })
}

#[test]
fn offsets_without_a_record_are_lost() {
    let mut records = records(vec![gps("v", 0, &[RECORD_MS * 1000]); 6]);
    records.remove(4);
    records.drain(..2);
    let built = make(&records);
    assert_eq!(built.lost, [(0, 1), (4, 4)]);
    let range = Range { first: 5, last: 9 };
    let none = build(&chain(), range, &shape(), &[], &Memory::default(), &TableColumns::new()).unwrap();
    assert_eq!((none.lost, none.files.len()), (vec![(5, 9)], 0));
}
