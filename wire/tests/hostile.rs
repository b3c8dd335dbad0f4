//! Whatever bytes come in, decoding says what is wrong, and takes no more memory than it states.

mod batches;

use batches::any_batch;
use milepost_wire::frame::{EXPANSION, MAX_FRAME, MAX_READINGS, check, decode, encode};
use milepost_wire::{
    Batch, BootId, Clock, ColumnSpec, DecodeError, EncodeError, Kind, Stream, Value, VehicleId,
};
use proptest::prelude::*;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// Counts what the current thread holds, and the most it held.
struct Counting;

thread_local! {
    static HELD: Cell<(usize, usize)> = const { Cell::new((0, 0)) };
}

fn note(more: usize, less: usize) {
    // Not there while a thread ends; nothing is measured then.
    let _ = HELD.try_with(|held| {
        let now = (held.get().0 + more).saturating_sub(less);
        held.set((now, held.get().1.max(now)));
    });
}

unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size(), 0);
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        note(0, layout.size());
        unsafe { System.dealloc(at, layout) }
    }
    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(size, 0);
        let moved = unsafe { System.realloc(at, layout, size) };
        note(0, layout.size());
        moved
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Does something, and says how many bytes that held at its peak beside what was held before.
fn measured<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = HELD.with(|held| {
        held.set((held.get().0, held.get().0));
        held.get().0
    });
    let result = work();
    let peak = HELD.with(|held| held.get().1);
    (result, peak.saturating_sub(before))
}

/// The stated bound: the rows, and as much again while it works; and what an empty batch takes.
fn bound(frame: &[u8]) -> usize {
    2 * EXPANSION as usize * frame.len() + 16 * 1024
}

fn assert_bounded(frame: &[u8]) {
    let (header, peak) = measured(|| check(frame));
    assert!(peak <= bound(frame), "{peak} bytes for the header of a frame of {}: {header:?}", frame.len());
    let (result, peak) = measured(|| decode(frame));
    assert!(peak <= bound(frame), "{peak} bytes for a frame of {}: {result:?}", frame.len());
}

/// Gives damaged bytes a checksum that fits, so that what lies behind it is tried.
fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    let crc = crc::Crc::<u32>::new(&crc::CRC_32_ISCSI).checksum(&bytes);
    bytes.extend(crc.to_le_bytes());
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_behind_a_header_are_read_or_refused_within_bounds(
        batch in any_batch(), body in prop::collection::vec(any::<u8>(), 0..400), keep in 0..200usize,
    ) {
        let frame = encode(&batch).unwrap();
        let mut bytes = frame[..keep.min(frame.len() - 4)].to_vec();
        bytes.extend(body);
        assert_bounded(&sealed(bytes));
    }

    #[test]
    fn changed_bytes_under_a_fitting_checksum_are_read_or_refused_within_bounds(
        batch in any_batch(), changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let frame = encode(&batch).unwrap();
        let mut bytes = frame[..frame.len() - 4].to_vec();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let frame = sealed(bytes);
        assert_bounded(&frame);
        // What was read can be sent on: the encoder takes every batch that a decoder made.
        if let Ok(batch) = decode(&frame) {
            batches::assert_round_trip(&batch);
        }
    }

    #[test]
    fn what_is_cut_or_longer_under_a_fitting_checksum_is_refused(batch in any_batch(), cut in any::<prop::sample::Index>(), more in 1..20usize) {
        let frame = encode(&batch).unwrap();
        let inside = &frame[..frame.len() - 4];
        prop_assert!(decode(&sealed(inside[..cut.index(inside.len())].to_vec())).is_err());
        for fill in [0u8, 0x5a] {
            let mut longer = inside.to_vec();
            longer.extend(std::iter::repeat_n(fill, more));
            prop_assert!(decode(&sealed(longer)).is_err(), "{more} × {fill}");
        }
    }

    #[test]
    fn honest_frames_stay_within_bounds(batch in any_batch()) {
        assert_bounded(&encode(&batch).unwrap());
    }
}

fn batch(stream: &str, columns: &[ColumnSpec], rows: usize, values: &[Value]) -> Batch {
    let stream: Stream = stream.parse().unwrap();
    let mut batch = Batch::new(VehicleId::new("v").unwrap(), BootId(1), stream, &[], 0, Vec::new());
    batch.rows.ts = (0..rows as i64).collect();
    batch.rows.clock = vec![Clock::Gps; rows];
    batch.rows.columns =
        columns.iter().zip(values).map(|(c, v)| batches::column(c, &vec![v.clone(); rows], None)).collect();
    batch
}

#[test]
fn a_long_batch_in_which_nothing_changes_is_filled_up_and_comes_back() {
    let columns: Vec<ColumnSpec> =
        (0..64).map(|i| ColumnSpec::new(format!("c{i}"), Kind::Int).unwrap()).collect();
    let batch = batch("still", &columns, MAX_READINGS, &vec![Value::Int(7); 64]);
    let frame = encode(&batch).unwrap();
    assert_eq!(frame.len() as u64, (MAX_READINGS as u64 * (9 + 64 * 8)).div_ceil(EXPANSION));
    batches::assert_round_trip(&batch);
    assert_bounded(&frame);
}

#[test]
fn a_text_that_all_rows_share_is_filled_up_and_comes_back() {
    let columns = [ColumnSpec::new("note", Kind::Text).unwrap()];
    let text = Value::Text("x".repeat(5000));
    let shared = batch("still", &columns, MAX_READINGS, std::slice::from_ref(&text));
    let frame = encode(&shared).unwrap();
    assert!(frame.len() < 100_000 && frame.len() as u64 * EXPANSION >= 5000 * MAX_READINGS as u64);
    batches::assert_round_trip(&shared);
    assert_bounded(&frame);
    let longer = batch("still", &columns, MAX_READINGS, &[Value::Text("x".repeat(10_000))]);
    assert!(encode(&longer).unwrap_err().to_string().contains("64 MiB"));
}

#[test]
fn every_kind_of_damage_is_named_with_its_place() {
    let frame = encode(&batch("gps_data", &[], 1, &[])).unwrap_err();
    assert!(frame.to_string().contains("its columns are not those of the stream"), "{frame}");
    let good =
        encode(&batch("still", &[ColumnSpec::new("a", Kind::Int).unwrap()], 3, &[Value::Int(5)])).unwrap();
    let with = |at: usize, bits: usize, v: usize| {
        let mut bytes = good[..good.len() - 4].to_vec();
        for i in 0..bits {
            let (byte, bit) = ((at + i) / 8, (at + i) % 8);
            bytes[byte] = bytes[byte] & !(1 << bit) | ((v >> i & 1) as u8) << bit;
        }
        decode(&sealed(bytes)).unwrap_err().to_string()
    };
    // Bits: version 0, vehicle 8 (length 8, case 14, character 15), boot 21, stream 85, codec 88, lineage 89,
    // first seq 90, rows 105, unit of ticks 111, unit of the start 116, start 123, evenness 157, step 158, the
    // stream's name 179 (length 179, "sti" 185, "ll" 201), columns 212, "a" 215 (length 215, character 221,
    // kind 227), clocks 230, nulls 231, grid 232.
    for (at, bits, v, says) in [
        (15, 6, 63, "a name with a character that no name has"),
        (14, 9, 0b11 | usize::from(b'/') << 2, "a vehicle id with other characters"),
        (88, 1, 1, "codec"),
        (90, 50, (1 << 49) - 1, "sequence number"),
        (105, 10, 0x1ff, "number of rows"),
        (111, 7, 0b111, "unit of times"),
        (123, 64, usize::MAX, "more than 64 bits"),
        (123, 33, u32::MAX as usize, "within 64 bits of µs"),
        (185, 16, (26 * 39 + 19) * 39 + 8, "derived stream's name"),
        (212, 11, 0b1111_1111, "more than 64 columns"),
        (221, 6, 26, "column name"),
        (227, 3, 7, "unknown kind"),
        (230, 10, 0x3ff, "clock"),
    ] {
        let message = with(at, bits, v);
        assert!(message.contains(says) && message.contains("at byte"), "bit {at}: {message}");
    }
    assert!(matches!(decode(&[]), Err(DecodeError::Malformed { at: 0, .. })));
    assert!(matches!(decode(&vec![1; MAX_FRAME + 1]), Err(DecodeError::Malformed { .. })));
    assert!(matches!(check(&good[..good.len() - 1]), Err(DecodeError::Crc { .. })));
}

/// One text of a megabyte for 63 rows, said to be for 96: less than the bound by the frame's length, and
/// more than any encoder sends.
#[test]
fn what_no_encoder_sends_is_refused_for_its_size() {
    let columns = [ColumnSpec::new("note", Kind::Text).unwrap()];
    let good = batch("still", &columns, 63, &[Value::Text("x".repeat(1 << 20))]);
    let mut bytes = encode(&good).unwrap();
    bytes.truncate(bytes.len() - 4);
    // Bits 105 to 112: 62 as Golomb 5, and 95.
    let count = |v: u16| [v << 1 & 0xff, v >> 7].map(|b| b as u8);
    let (from, to) = (count(0b1111_0001), count(0b1111_1101));
    assert_eq!((bytes[13] & 0xfe, bytes[14] & 1), (from[0], from[1]));
    bytes[13] = bytes[13] & 1 | to[0];
    let frame = sealed(bytes);
    assert_eq!(check(&frame).unwrap().count, 96);
    assert!(
        decode(&frame).unwrap_err().to_string().contains("more rows than a frame of this length may hold")
    );
    assert_bounded(&frame);
}

#[test]
fn two_columns_of_one_name_are_refused_on_both_sides() {
    let columns = [ColumnSpec::new("a", Kind::Bool).unwrap(), ColumnSpec::new("a", Kind::Bool).unwrap()];
    let twice = batch("still", &columns, 1, &[Value::Bool(true), Value::Bool(true)]);
    assert!(encode(&twice).unwrap_err().to_string().contains("same name"));
}

#[test]
fn sequence_numbers_end_before_they_overflow() {
    let columns = [ColumnSpec::new("a", Kind::Bool).unwrap()];
    let mut last = batch("still", &columns, 2, &[Value::Bool(true)]);
    last.first_seq = i64::MAX as u64 - 2;
    batches::assert_round_trip(&last);
    last.first_seq += 1;
    assert!(encode(&last).is_err());
}

/// A frame that holds one image is as long as the image and some: where exactly it becomes too long, the
/// encoder and the decoder agree.
#[test]
fn an_image_may_fill_the_largest_frame_and_not_one_byte_more() {
    let columns = [ColumnSpec::new("image", Kind::Bytes).unwrap()];
    let image = |n: usize| batch("still", &columns, 1, &[Value::Bytes(vec![0xd8; n])]);
    let beside = encode(&image(4 << 19)).unwrap().len() - (4 << 19);
    let largest = image(MAX_FRAME - beside);
    assert_eq!(encode(&largest).unwrap().len(), MAX_FRAME);
    batches::assert_round_trip(&largest);
    assert_bounded(&encode(&largest).unwrap());
    assert_eq!(encode(&image(MAX_FRAME - beside + 1)), Err(EncodeError::TooLarge(MAX_FRAME + 1)));
}

#[test]
fn more_readings_than_a_frame_takes_are_refused_with_a_way_out() {
    let columns = [ColumnSpec::new("a", Kind::Int).unwrap()];
    let error = encode(&batch("still", &columns, 65_536, &[Value::Int(1)])).unwrap_err().to_string();
    assert!(error.contains("more than 8192 readings"), "{error}");
}

/// The widest frame: as many columns as there may be, each with as many rows, all of them any number.
#[test]
fn every_number_in_every_column_of_the_widest_frame_comes_back() {
    let mut state = 7u64;
    let mut any = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state ^ state >> 29
    };
    let columns: Vec<ColumnSpec> =
        (0..48).map(|i| ColumnSpec::new(format!("c{i}"), Kind::Int).unwrap()).collect();
    let mut widest = batch("wide", &columns, MAX_READINGS, &vec![Value::Int(0); 48]);
    for column in &mut widest.rows.columns {
        let values = (0..MAX_READINGS).map(|_| any() as i64).collect();
        column.values = milepost_wire::Values::Int(values);
    }
    batches::assert_round_trip(&widest);
}

/// Every frame of one flipped bit, under a checksum that fits.
#[test]
fn any_bit_of_a_frame_may_flip() {
    let columns = [
        ColumnSpec::new("lat_e7", Kind::Int).unwrap(),
        ColumnSpec::new("lon_e7", Kind::Int).unwrap(),
        ColumnSpec::new("speed_mm_s", Kind::Int).unwrap(),
        ColumnSpec::new("heading_cdeg", Kind::Int).unwrap(),
        ColumnSpec::new("note", Kind::Text).unwrap(),
    ];
    let values = [515_074_000, -1_278_000, 13_400, 35_900].map(Value::Int);
    let mut frame = batch("flip", &columns, 40, &[&values[..], &[Value::Text("held".into())]].concat());
    for (c, column) in frame.rows.columns.iter_mut().enumerate().take(4) {
        if let milepost_wire::Values::Int(v) = &mut column.values {
            (0..)
                .zip(v)
                .for_each(|(i, v)| *v += (i * i * 37 + i * 11) % (23 + c as i64) * i64::from(i % 3 > 0));
        }
    }
    let frame = encode(&frame).unwrap();
    for bit in 8..(frame.len() - 4) * 8 {
        let mut bytes = frame[..frame.len() - 4].to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let frame = sealed(bytes);
        assert_bounded(&frame);
        if let Ok(batch) = decode(&frame) {
            batches::assert_round_trip(&batch);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn any_mqtt_topic_is_a_vehicle_s_or_nobody_s(
        topic in prop_oneof![any::<String>(), "milepost/v1/[A-Za-z0-9._/+#$ -]{0,80}(/[A-Za-z0-9_/]{0,60})?"],
    ) {
        if let Some((vehicle, stream)) = milepost_wire::topic::parse_mqtt(&topic) {
            prop_assert_eq!(milepost_wire::topic::mqtt(&vehicle, &stream), topic);
        }
    }
}
