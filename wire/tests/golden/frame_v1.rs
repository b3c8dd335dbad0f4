//! Frame version 1.
//!
//! If a test here fails, do not change the test: bytes like these are in Kafka topics, in spools and on
//! their way. What changes them is a new version.
//!
//! Beside the bytes stands what they say, field by field; a test makes the bytes of that again, with a
//! writer of its own. Bits are written least significant first. `Golomb(n, k)` is: the length of
//! (n >> k) + 1 less 1 in ones, a zero, its lower bits, the k lower bits of n. `Rice(n, k)` is: n >> k in
//! ones, a zero, the k lower bits. Signed numbers are zigzag: 0, -1, 1, -2, 2 as 0, 1, 2, 3, 4.

use Field::{Bits, Bytes, Golomb, Rice};
use milepost_wire::reading::{Camera, Emergency, Gap, Gps, Health, Vehicle, Weather};
use milepost_wire::{
    Batch, Body, BootId, Clock, ColumnSpec, Derived, Digest, Kind, Reading, Stream, Value, VehicleId, frame,
};

#[derive(Clone, Copy)]
enum Field {
    /// A number in so many bits.
    Bits(u64, u32),
    Golomb(u64, u32),
    Rice(u64, u32),
    /// At a byte's start.
    Bytes(&'static [u8]),
}

/// Five fixes at 1 Hz on a bend, coded with dead reckoning.
const GPS: [u8; 57] = [
    0x01, 0x09, 0xc7, 0x39, 0xc6, 0x06, 0x47, 0x4f, 0xae, 0xf6, 0xc0, 0x29, 0x5b, 0x38, 0x4c, 0xe7, 0x31,
    0x14, 0x64, 0x44, 0x00, 0xc0, 0x96, 0x67, 0xa8, 0x81, 0xc7, 0x04, 0x36, 0x78, 0x32, 0x05, 0x1c, 0x1c,
    0x34, 0x01, 0xa8, 0x5a, 0xc1, 0x44, 0x40, 0x9f, 0xcd, 0x3a, 0x4b, 0x1b, 0xf1, 0x05, 0x70, 0x02, 0x78,
    0xd4, 0x6c, 0xa5, 0x0b, 0xdd, 0x2a,
];

#[rustfmt::skip]
const GPS_FIELDS: &[Field] = &[
    Bytes(&[1]),                                          // version 1
    Bits(9, 6), Bits(0, 1),                               // vehicle: 10 characters, of the lower case:
    Bits((19 * 39 + 17) * 39 + 20, 16),                   // "tru" (a is 0, z 25, the digits 26 to 35,
    Bits((2 * 39 + 10) * 39 + 36, 16),                    // "ck-"  - is 36, . 37, _ 38)
    Bits((26 * 39 + 26) * 39 + 30, 16),                   // "004"
    Bits(28, 6),                                          // "2"
    Bits(0x8f3a_61c2_d94e_07b5, 64),                      // boot
    Bits(1, 3), Bits(0, 1), Bits(0, 1),                   // stream 1 (gps_data), codec 0, no lineage
    Golomb(41_760, 14), Golomb(4, 5),                     // first sequence number, 5 rows
    Golomb(0, 0), Golomb(0, 0),                           // a tick is a second, the first time is in the same unit
    Golomb(2 * (1_790_000_000 - 1_735_689_600), 29),      // first time: 1790000000 s, from 2025 on, zigzag
    Bits(0, 1), Golomb(1, 1),                             // times are even: a second each
    Bits(0, 1),                                           // all clocks are the receiver's
    Bits(1, 1),                                           // some column has nulls
    Bits(0, 1), Bits(1, 1), Bits(1, 1),                   // altitude: no nulls; a grid, the second: 10 cm
    Golomb(2 * 240, 11),                                  //   240 · 10 cm (14 bits on no grid, 3 less on this)
    Bits(0, 1), Bits(3, 2), Golomb(2, 3), Bits(0, 4),     //   not constant; by the last step; the first one is 1 · 10 cm; no more misses
    Bits(0, 1), Bits(1, 1), Bits(5, 3),                   // speed: no nulls; a grid, 5: 10 mm/s
    Golomb(2 * 1_340, 11),                                //   1340 · 10 mm/s
    Bits(0, 1), Bits(3, 2), Golomb(10, 6), Bits(0, 4),    //   not constant; by the last step; 5 · 10 mm/s; no more misses
    Bits(0, 1), Bits(1, 1), Bits(1, 1),                   // heading: no nulls; a grid, the second: 0.1°
    Golomb(2 * 3_100, 12),                                //   3100 · 0.1°
    Bits(0, 1), Bits(3, 2), Golomb(2, 5), Bits(0, 4),     //   not constant; by the last step; 1 · 0.1°; no more misses
    Bits(0, 1), Golomb(2, 3), Bits(1, 1),                 // fix: no nulls; 1; constant
    Bits(0, 1), Golomb(22, 3),                            // satellites: no nulls; 11
    Bits(0, 1), Bits(1, 2), Bits(1, 4),                   //   not constant; by the last value; level 1: Rice 0
    Rice(0, 0), Rice(0, 0), Rice(2, 0), Rice(0, 0),       //   0, 0, +1, 0
    Bits(1, 2),                                           // hdop: 1, 0 all null
    Bits(0, 1), Bits(0, 1), Golomb(2 * 515_074_000, 29),  // latitude: no nulls; no grid; 51.5074°
    Bits(0, 1), Bits(6, 3), Bits(2, 4),                   //   not constant; dead reckoning and all of its last miss; level 2: Rice 1
    Rice(3, 1), Rice(3, 1), Rice(2, 1), Rice(1, 1),       //   -2, -2, +1, -1
    Bits(0, 1), Bits(0, 1), Golomb(2 * 1_278_000 - 1, 29), // longitude: no nulls; no grid; -0.1278°
    Bits(0, 1), Bits(6, 3), Bits(3, 4),                   //   not constant; the same; level 3: Rice 2
    Rice(1, 2), Rice(7, 2), Rice(2, 2), Rice(7, 2),       //   -1, -4, +1, -4
    Bytes(&[0xa5, 0x0b, 0xdd, 0x2a]),                     // CRC-32C of all before
];

/// Three rows of a derived stream with every kind of column, a null, a lineage and two clocks.
const DERIVED: [u8; 105] = [
    0x01, 0x09, 0xc7, 0x39, 0xc6, 0x06, 0x47, 0x4f, 0xae, 0xf6, 0xc0, 0x29, 0x5b, 0x38, 0x4c, 0xe7, 0xf1,
    0x3a, 0x00, 0x88, 0x96, 0x3d, 0x78, 0x93, 0x52, 0x26, 0x32, 0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06,
    0x07, 0x08, 0x0a, 0x6a, 0x4a, 0x0a, 0xdb, 0xbe, 0x86, 0x83, 0x12, 0xc1, 0x15, 0x74, 0x8a, 0x11, 0xe8,
    0x1f, 0x52, 0x08, 0x81, 0xe1, 0xe0, 0x20, 0x10, 0xad, 0x01, 0xa3, 0x92, 0x70, 0x51, 0x46, 0xa8, 0x0b,
    0x70, 0x95, 0x48, 0x21, 0x01, 0x88, 0x59, 0x25, 0xa2, 0x06, 0x9b, 0x83, 0xc0, 0x90, 0x24, 0xaa, 0x08,
    0x52, 0x01, 0xca, 0xfe, 0x42, 0x62, 0x72, 0x61, 0x6b, 0x65, 0x63, 0x6f, 0x72, 0x6e, 0x65, 0x72, 0x81,
    0x28, 0x8d, 0xd2,
];

#[rustfmt::skip]
const DERIVED_FIELDS: &[Field] = &[
    Bytes(&[1]),                                          // version 1
    Bits(9, 6), Bits(0, 1),                               // vehicle: "truck-0042", as above
    Bits(29_582, 16), Bits(3_468, 16), Bits(40_590, 16), Bits(28, 6),
    Bits(0x8f3a_61c2_d94e_07b5, 64),                      // boot
    Bits(7, 3), Bits(0, 1), Bits(1, 1),                   // stream 7 (derived), codec 0, a lineage
    Golomb(7, 14), Golomb(2, 5),                          // first sequence number, 3 rows
    Golomb(2, 0), Golomb(2, 0),                           // a tick is 10 ms, the first time is in ms: the next unit
    Golomb(2 * (1_790_000_000_123 - 1_735_689_600_000), 39), // first time: 1790000000123 ms, from 2025 on, zigzag
    Bits(1, 1), Golomb(100, 12),                          // times are not even; 100 ticks in all
    Bits(0, 5), Bits(0x0807_0605_0403_0201, 64),          // lineage: 1 digest
    Bits(10, 6),                                          // the stream's name, 11 characters: "har", "sh_", "eve", "nt"
    Bits((7 * 39) * 39 + 17, 16), Bits((18 * 39 + 7) * 39 + 38, 16), Bits((4 * 39 + 21) * 39 + 4, 16), Bits(13 * 39 + 19, 11),
    Golomb(5, 2),                                         // 5 columns
    Bits(4, 6), Bits((11 * 39) * 39 + 1, 16), Bits(4 * 39 + 11, 11), Bits(3, 3), // "lab", "el", text
    Bits(4, 6), Bits((5 * 39 + 14) * 39 + 17, 16), Bits(2 * 39 + 4, 11), Bits(1, 3), // "for", "ce", float
    Bits(4, 6), Bits((2 * 39 + 14) * 39 + 20, 16), Bits(13 * 39 + 19, 11), Bits(0, 3), // "cou", "nt", integer
    Bits(4, 6), Bits(11 * 39, 16), Bits(17 * 39 + 12, 11), Bits(2, 3), // "ala", "rm", bool
    Bits(2, 6), Bits(17 * 39 * 39 + 22, 16), Bits(4, 3),  // "raw", bytes
    Golomb(0, 1), Bits(0, 2), Bits(5, 4),                 // ticks: the first is 0; off the line; level 5: Rice 4
    Rice(49, 4), Rice(0, 4),                              //   -25 from 50, 0 from 100
    Bits(7, 3),                                           // clocks: 1, 1, 1 runs
    Bits(2, 2), Golomb(0, 0), Bits(1, 2), Golomb(1, 0),   //   none, 1 row; network, 2 rows
    Bits(1, 1),                                           // some column has nulls
    Bits(0, 1), Bits(0, 1), Golomb(1, 1),                 // label: no nulls; a dictionary of 2 texts
    Golomb(10, 4), Bits(0, 1), Bits(0, 2), Bits(2, 4), Rice(2, 1), // lengths: 5; not constant; off a level; level 2: Rice 1; +1
    Golomb(0, 4), Bits(0, 1), Bits(0, 2), Bits(1, 4), Rice(2, 0), Rice(0, 0), // places: 0; not constant; off a level; level 1: Rice 0; +1, 0
    Bits(3, 3), Bits(1, 2), Bits(1, 1), Bits(0, 1), Bits(1, 1), // force: 1, 1, 0 a null mask; 1, 0 as bits; 1, 0, 1
    Bits(0, 1), Bits(2, 4), Golomb(849, 12),              //   decimal, hundredths; -425
    Bits(0, 1), Bits(0, 2), Bits(11, 4), Rice(1_550, 10), //   not constant; off a level; level 11: Rice 10; +775
    Bits(0, 1), Bits(0, 1), Golomb(24, 8),                // count: no nulls; no grid; 12
    Bits(0, 1), Bits(1, 2), Bits(2, 4), Rice(2, 1), Rice(2, 1), // not constant; by the last value; level 2: Rice 1; +1, +1
    Bits(0, 1), Bits(1, 2), Bits(1, 1), Bits(0, 1), Bits(1, 1), // alarm: no nulls; 1, 0 as bits; 1, 0, 1
    Bits(0, 1), Bits(1, 1),                               // raw: no nulls; all as they are
    Golomb(4, 4), Bits(0, 1), Bits(0, 2), Bits(2, 4), Rice(3, 1), Rice(1, 1), // lengths: 2; not constant; off a level; level 2: Rice 1; -2, -1
    Bytes(&[0xca, 0xfe, 0x42]),                           // the bytes of "raw": 2, 0 and 1
    Bytes(b"brakecorner"),                                // the texts of "label"
    Bytes(&[0x81, 0x28, 0x8d, 0xd2]),                     // CRC-32C of all before
];

/// Twenty rows of a value that holds but for one, with zeros counted, and of noise that grows, in blocks.
const HELD: [u8; 65] = [
    0x01, 0x44, 0xd2, 0x7c, 0x9d, 0x0d, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x38, 0x00, 0x00, 0x73,
    0x1d, 0x00, 0xb0, 0xe5, 0x19, 0x02, 0x00, 0x60, 0x80, 0x87, 0x53, 0x48, 0x30, 0x08, 0x9d, 0x02, 0x84,
    0x1c, 0x85, 0x35, 0x10, 0x0c, 0xe4, 0xed, 0xdc, 0xc3, 0x61, 0x0e, 0xb7, 0x01, 0xd0, 0x58, 0x6b, 0xad,
    0xb5, 0xd6, 0x7a, 0xfb, 0xe4, 0x09, 0xe9, 0x43, 0xfa, 0x00, 0xa2, 0xdc, 0xa4, 0x66,
];

#[rustfmt::skip]
const HELD_FIELDS: &[Field] = &[
    Bytes(&[1]),                                          // version 1
    Bits(4, 6), Bits(1, 2),                               // vehicle: 5 characters, of the upper case: "VAN-7"
    Bits(21 * 39 * 39 + 13, 16), Bits(36 * 39 + 33, 11),
    Bits(1, 64),                                          // boot
    Bits(7, 3), Bits(0, 1), Bits(0, 1),                   // stream 7 (derived), codec 0, no lineage
    Golomb(0, 14), Golomb(19, 5),                         // first sequence number, 20 rows
    Golomb(4, 0), Golomb(7, 0),                           // a tick is a µs, the first time is in s: 4 units before
    Golomb(2 * (1_790_000_000 - 1_735_689_600), 29),      // first time, from 2025 on, zigzag
    Bits(0, 1), Golomb(1, 20),                            // times are even: a tick each
    Bits(3, 6), Bits(19 * 39 * 39 + 13, 16), Bits(10, 6), // the stream's name: "tan", "k"
    Golomb(2, 2),                                         // 2 columns
    Bits(4, 6), Bits((11 * 39 + 4) * 39 + 21, 16), Bits(4 * 39 + 11, 11), Bits(0, 3), // "lev", "el", integer
    Bits(4, 6), Bits((3 * 39 + 17) * 39 + 8, 16), Bits(5 * 39 + 19, 11), Bits(0, 3), // "dri", "ft", integer
    Bits(1, 2),                                           // clocks: 1, 0 all the network's
    Bits(0, 1),                                           // no column has a null
    Bits(0, 1), Golomb(6, 8), Bits(0, 1), Bits(1, 2),     // level: no grid; 3; not constant; by the last value
    Bits(0, 1), Bits(15, 4), Bits(2, 2), Bits(13, 4),     //   no blocks; zeros are counted, as Rice 2; level 13: Rice 12
    Rice(6, 2), Rice(9_999, 12),                          //   6 zeros, then 10000 less 1 (+5000)
    Rice(0, 2), Rice(9_998, 12),                          //   none, then 9999 less 1 (-5000)
    Rice(11, 2),                                          //   11 zeros, the end
    Bits(0, 1), Golomb(0, 8), Bits(0, 1), Bits(1, 2),     // drift: no grid; 0; not constant; by the last value
    Bits(1, 1), Bits(1, 4),                               //   blocks; level 1: Rice 0
    Rice(2, 0), Rice(1, 0), Rice(2, 0), Rice(1, 0), Rice(2, 0), Rice(1, 0), Rice(2, 0), Rice(1, 0), // +1, -1 …
    Rice(2, 0), Rice(1, 0), Rice(2, 0), Rice(1, 0), Rice(2, 0), Rice(1, 0), Rice(2, 0), Rice(1, 0),
    Golomb(26, 0),                                        //   13 levels more: Rice 13
    Rice(34_034, 13), Rice(2_002, 13), Rice(2_002, 13),   //   +17017, +1001, +1001
    Bytes(&[0xa2, 0xdc, 0xa4, 0x66]),                     // CRC-32C of all before
];

/// The bytes of fields, by the words at the top of this file.
fn bytes_of(fields: &[Field]) -> Vec<u8> {
    let mut bits: Vec<bool> = Vec::new();
    for field in fields {
        let mut put = |v: u64, n: u32| bits.extend((0..n).map(|i| v >> i & 1 == 1));
        match *field {
            Bits(v, n) => put(v, n),
            Golomb(v, k) => {
                let upper = (v >> k) + 1;
                let below = upper.ilog2();
                (0..below).for_each(|_| put(1, 1));
                put(0, 1);
                put(upper, below);
                put(v, k);
            }
            Rice(v, k) => {
                (0..v >> k).for_each(|_| put(1, 1));
                put(0, 1);
                put(v, k);
            }
            Bytes(bytes) => {
                bits.resize(bits.len().next_multiple_of(8), false);
                bytes.iter().for_each(|b| bits.extend((0..8).map(|i| b >> i & 1 == 1)));
            }
        }
    }
    bits.chunks(8).map(|byte| (0..).zip(byte).map(|(i, b)| u8::from(*b) << i).sum()).collect()
}

fn gps() -> Batch {
    let vehicle = VehicleId::new("truck-0042").unwrap();
    let boot = BootId(0x8f3a_61c2_d94e_07b5);
    let mut batch = Batch::new(vehicle, boot, Stream::Gps, Gps::COLUMNS, 41_760, vec![]);
    for (i, (lat_e7, lon_e7, satellites)) in [
        (515_074_000, -1_278_000, 11),
        (515_074_774, -1_279_481, 11),
        (515_075_551, -1_280_969, 11),
        (515_076_333, -1_282_460, 12),
        (515_077_119, -1_283_958, 12),
    ]
    .into_iter()
    .enumerate()
    {
        let body = Gps {
            lat_e7,
            lon_e7,
            altitude_cm: Some(2_400 + 10 * i as i32),
            speed_mm_s: Some(13_400 + 50 * i as u32),
            heading_cdeg: Some(31_000 + 10 * i as u16),
            fix: 1,
            satellites: Some(satellites),
            hdop_e2: None,
        };
        let ts = 1_790_000_000_000_000 + i as i64 * 1_000_000;
        batch.push(&Reading { ts, clock: Clock::Gps, body: body.into() }).unwrap();
    }
    batch
}

fn derived() -> Batch {
    let columns = [
        ("label", Kind::Text),
        ("force", Kind::Float),
        ("count", Kind::Int),
        ("alarm", Kind::Bool),
        ("raw", Kind::Bytes),
    ]
    .map(|(name, kind)| ColumnSpec::new(name, kind).unwrap());
    let Stream::Derived(stream) = "harsh_event".parse().unwrap() else { unreachable!() };
    let vehicle = VehicleId::new("truck-0042").unwrap();
    let boot = BootId(0x8f3a_61c2_d94e_07b5);
    let lineage = vec![Digest([1, 2, 3, 4, 5, 6, 7, 8])];
    let mut batch = Batch::new(vehicle, boot, Stream::Derived(stream.clone()), &columns, 7, lineage);
    for (ms, clock, label, force, count, alarm, raw) in [
        (123, Clock::None, "brake", Value::Float(-4.25), 12, true, vec![0xca, 0xfe]),
        (373, Clock::Ntp, "corner", Value::Null, 13, false, vec![]),
        (1_123, Clock::Ntp, "brake", Value::Float(3.5), 14, true, vec![0x42]),
    ] {
        let values =
            vec![Value::Text(label.into()), force, Value::Int(count), Value::Bool(alarm), Value::Bytes(raw)];
        let body =
            Body::Derived(Derived { stream: stream.clone(), columns: columns.to_vec().into(), values });
        batch.push(&Reading { ts: 1_790_000_000_000_000 + ms * 1000, clock, body }).unwrap();
    }
    batch
}

fn held() -> Batch {
    let columns = ["level", "drift"].map(|name| ColumnSpec::new(name, Kind::Int).unwrap());
    let Stream::Derived(stream) = "tank".parse().unwrap() else { unreachable!() };
    let vehicle = VehicleId::new("VAN-7").unwrap();
    let mut batch = Batch::new(vehicle, BootId(1), Stream::Derived(stream.clone()), &columns, 0, Vec::new());
    for i in 0..20 {
        // Held, with one jump and back; and noise that grows from one block of 16 to the next.
        let level = if i == 7 { 5_003 } else { 3 };
        let drift = if i < 17 { i % 2 } else { i * 1_001 };
        let values = vec![Value::Int(level), Value::Int(drift)];
        let body =
            Body::Derived(Derived { stream: stream.clone(), columns: columns.to_vec().into(), values });
        batch.push(&Reading { ts: 1_790_000_000_000_000 + i, clock: Clock::Ntp, body }).unwrap();
    }
    batch
}

#[test]
fn frames_of_version_1_are_read_to_what_was_sent() {
    assert_eq!(frame::decode(&GPS), Ok(gps()));
    assert_eq!(frame::decode(&DERIVED), Ok(derived()));
    assert_eq!(frame::decode(&HELD), Ok(held()));
}

#[test]
fn every_bit_of_them_is_explained() {
    assert_eq!(bytes_of(GPS_FIELDS), GPS);
    assert_eq!(bytes_of(DERIVED_FIELDS), DERIVED);
    assert_eq!(bytes_of(HELD_FIELDS), HELD);
}

#[test]
fn the_header_of_version_1_says_what_was_sent() {
    let header = frame::check(&DERIVED).unwrap();
    assert_eq!((header.version, header.first_seq, header.last_seq(), header.count), (1, 7, 9, 3));
    assert_eq!((header.ts_min, header.ts_max), (1_790_000_000_123_000, 1_790_000_001_123_000));
    assert_eq!(header.schema, 0xfe0b_83cf);
    assert_eq!(header.lineage, [Digest([1, 2, 3, 4, 5, 6, 7, 8])]);
}

/// An encoder may learn to choose better within version 1. Then this test alone may take new bytes, and
/// the bytes above stay.
#[test]
fn the_encoder_chooses_as_it_did() {
    assert_eq!(frame::encode(&gps()).unwrap(), GPS);
    assert_eq!(frame::encode(&derived()).unwrap(), DERIVED);
    assert_eq!(frame::encode(&held()).unwrap(), HELD);
}

/// A frame of a built-in stream does not name its columns: the version does.
#[test]
fn the_columns_of_version_1_are_these() {
    let says = |columns: &[ColumnSpec]| {
        let letter = |k| match k {
            Kind::Int => 'i',
            Kind::Float => 'f',
            Kind::Bool => 'b',
            Kind::Text => 't',
            Kind::Bytes => 'y',
        };
        let each: Vec<_> = columns.iter().map(|c| format!("{}:{}", c.name, letter(c.kind))).collect();
        each.join(" ")
    };
    let is = |columns, text: &str| {
        assert_eq!(says(columns), text.split_whitespace().collect::<Vec<_>>().join(" "))
    };
    is(
        Vehicle::COLUMNS,
        "lat_e7:i lon_e7:i speed_mm_s:i heading_cdeg:i make:t model:t year:i fuel_type:t vehicle_type:t",
    );
    is(
        Gps::COLUMNS,
        "lat_e7:i lon_e7:i altitude_cm:i speed_mm_s:i heading_cdeg:i fix:i satellites:i hdop_e2:i",
    );
    is(Camera::COLUMNS, "camera_id:t lat_e7:i lon_e7:i image:y width:i height:i");
    is(
        Weather::COLUMNS,
        "lat_e7:i lon_e7:i temperature_c_e2:i condition:t precipitation_mm_h_e2:i wind_speed_mm_s:i
         humidity_pct_e2:i air_quality_index:i",
    );
    is(Emergency::COLUMNS, "incident_id:t kind:t status:t description:t lat_e7:i lon_e7:i");
    is(
        Health::COLUMNS,
        "component:t name:t received:i emitted:i taken_out:i poison:i errors:i restarts:i bytes:i depth:i
         age_ms:i version:t digest:t",
    );
    is(Gap::COLUMNS, "stream:t gap_boot_id:t first_seq:i last_seq:i count:i exact:i reason:t detail:t");
}
