//! Frame version 1.
//!
//! If a test here fails, do not change the test: bytes like these are in Kafka topics, in spools and on
//! their way. What changes them is a new version.
//!
//! Bits are written least significant first; below, each group of bits is given as a number. `Golomb k`
//! is: the length of (n >> k) + 1 less 1 in ones, a zero, its lower bits, the k lower bits of n. Signed
//! numbers are zigzag: 0, -1, 1, -2, 2 as 0, 1, 2, 3, 4.

use milepost_wire::reading::{Camera, Emergency, Gap, Gps, Health, Vehicle, Weather};
use milepost_wire::{
    Batch, Body, BootId, Clock, ColumnSpec, Derived, Digest, Kind, Reading, Stream, Value, VehicleId, frame,
};

/// Five fixes at 1 Hz on a bend, coded with dead reckoning.
#[rustfmt::skip]
const GPS: [u8; 66] = [
    0x01,                                                 //  0 version 1
    0x0a, b't', b'r', b'u', b'c', b'k', b'-', b'0', b'0', b'4', b'2', // 1 vehicle: 10 bytes, "truck-0042"
    0x8f, 0x3a, 0x61, 0xc2, 0xd9, 0x4e, 0x07, 0xb5,       // 12 boot 8f3a61c2d94e07b5
    0x19,                                                 // 20 tag: stream 1 (gps_data), unit 3 (s), no lineage, codec 0
    0xa0, 0xc6, 0x02,                                     // 21 first sequence number 41760
    0x05,                                                 // 24 5 rows
    0x80, 0xee, 0x89, 0xab, 0x0d,                         // 25 first time: 1790000000 s, zigzag
    0x04,                                                 // 30 last time: 4 s later
    0x18,                                                 // 31 0 times are even · 0 all clocks are the receiver's
                                                          //    altitude: 0 no nulls · 1 a grid · 1 the second: 10 cm
                                                          //    · Golomb 14 of 480 (240 · 10 cm) begins: 0
    0x78,                                                 // 32 … its 14 lower bits
    0x60,                                                 // 33 … · 0 not constant · 3 predicted by the last step · 0…
    0x02,                                                 // 34 first step, Golomb 6 of 2 (10 cm) · 0 level 0: no more misses
    0x58,                                                 // 35 … · speed: 0 no nulls · 1 a grid · 5: 10 mm/s · 0…
    0x78, 0x8a,                                           // 36 1340 as Golomb 14 of 2680 · 0 not constant · 3…
    0x29,                                                 // 38 by the last step · Golomb 9 of 10 (50 mm/s)
    0x00,                                                 // 39 … · level 0 · heading: 0 no nulls
    0xc3, 0xc1,                                           // 40 1 a grid · 1: 0.1° · 3100 as Golomb 15 of 6200
    0x98, 0x00,                                           // 42 … · 0 not constant · 3 by the last step · Golomb 8 of 2 (0.1°)
    0xa0,                                                 // 44 … level 0 · fix: 0 no nulls · Golomb 3 of 2 (1) · 1 constant
    0x6a,                                                 // 45 satellites: 0 no nulls · Golomb 3 of 22 (11) · 0 not constant
    0x05,                                                 // 46 1 by the last value · level 1 (Rice 0) · misses 0 and 0…
    0x13,                                                 // 47 2 (+1) and 0 · hdop: 1, 0 all null · latitude: 0 no nulls · 0 no grid
    0x01, 0x7d, 0x36, 0xeb,                               // 48 515074000 as Golomb 29
    0x2c,                                                 // 52 0 not constant · 6 dead reckoning and all of its last miss · level 2
    0x6d, 0xc4,                                           // 53 misses as Rice 1: 3, 3, 0, 1 · longitude: 0 no nulls · 0 no grid
    0x17, 0xc0, 0x09, 0xe0,                               // 55 -1278000 as Golomb 29
    0x51, 0xb3,                                           // 59 0 not constant · 6 · level 3 · misses as Rice 2: 2, 5, 1, 5
    0x01,                                                 // 61 … · 0 to the byte's end
    0x3d, 0xec, 0xf7, 0xed,                               // 62 CRC-32C of all before
];

/// Three rows of a derived stream with every kind of column, a null, a lineage and two clocks.
#[rustfmt::skip]
const DERIVED: [u8; 129] = [
    0x01,                                                 //   0 version 1
    0x0a, b't', b'r', b'u', b'c', b'k', b'-', b'0', b'0', b'4', b'2', //   1 vehicle "truck-0042"
    0x8f, 0x3a, 0x61, 0xc2, 0xd9, 0x4e, 0x07, 0xb5,       //  12 boot
    0x2f,                                                 //  20 tag: stream 7 (derived), unit 1 (ms), a lineage, codec 0
    0x07,                                                 //  21 first sequence number 7
    0x03,                                                 //  22 3 rows
    0xf6, 0xb1, 0x83, 0xc5, 0x98, 0x68,                   //  23 first time: 1790000000123 ms, zigzag
    0xe8, 0x07,                                           //  29 last time: 1000 ms later
    0x0b, b'h', b'a', b'r', b's', b'h', b'_', b'e', b'v', b'e', b'n', b't', // 31 the stream's name
    0x96, 0x7c, 0xd0, 0x2f,                               //  43 fingerprint: CRC-32C of bytes 56 to 89
    0x01, 1, 2, 3, 4, 5, 6, 7, 8,                         //  47 lineage: 1 digest
    0x05,                                                 //  56 5 columns
    0x05, b'l', b'a', b'b', b'e', b'l', 3,                //  57 "label", text
    0x05, b'f', b'o', b'r', b'c', b'e', 1,                //  64 "force", float
    0x05, b'c', b'o', b'u', b'n', b't', 0,                //  71 "count", integer
    0x05, b'a', b'l', b'a', b'r', b'm', 2,                //  78 "alarm", bool
    0x03, b'r', b'a', b'w', 4,                            //  85 "raw", bytes
    0x01,                                                 //  90 times: 1 not even · first tick, Golomb 1 of 0 · 0 off the line · level 8…
    0x6f, 0x0e,                                           //  91 … as Rice 7: 499 (-250 from 500), 0
    0x70,                                                 //  93 … · clocks: 1, 1, 1 runs · 2 none…
    0x15,                                                 //  94 1 row · 1 network · 2 rows · label: 0 no nulls
    0xa4,                                                 //  95 0 a dictionary · Golomb 1 of 1: 2 texts · lengths: Golomb 4 of 10 (5)
    0x90,                                                 //  96 0 not constant · 0 off the first · level 2 · 2 (+1) as Rice 1
    0x00,                                                 //  97 places: Golomb 4 of 0 · 0 not constant
    0xc4,                                                 //  98 0 off the first · level 1 · 2 (+1)…
    0xac,                                                 //  99 … and 0 as Rice 0 · force: 1, 1, 0 a null mask · 1, 0 as bits · 1…
    0x12,                                                 // 100 0, 1 · 0 decimal · 2 hundredths · Golomb 12 of…
    0x51, 0x83,                                           // 101 849 (-425) · 0 not constant · 0 off the first · level 11…
    0xcd, 0x41,                                           // 103 … 1550 (+775) as Rice 10 · count: 0 no nulls
    0x60,                                                 // 105 0 no grid · Golomb 8 of 24 (12)
    0x48, 0x12,                                           // 106 0 not constant · 1 by the last value · level 2 · 2, 2 (+1, +1) as Rice 1
    0x55,                                                 // 108 alarm: … 0 no nulls · 1, 0 as bits · 1, 0, 1 · raw: 0 no nulls · 1 all as they are · 0…
    0x04,                                                 // 109 lengths: Golomb 4 of 4 (2) · 0 not constant · 0 off the first · level 2…
    0xa9,                                                 // 110 … 3 (-2), 1 (-1) as Rice 1
    0xca, 0xfe, 0x42,                                     // 111 the bytes of "raw": 2, 0 and 1
    b'b', b'r', b'a', b'k', b'e', b'c', b'o', b'r', b'n', b'e', b'r', // 114 the texts of "label"
    0xb4, 0x9f, 0x92, 0x72,                               // 125 CRC-32C of all before
];

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

#[test]
fn frames_of_version_1_are_read_to_what_was_sent() {
    assert_eq!(frame::decode(&GPS), Ok(gps()));
    assert_eq!(frame::decode(&DERIVED), Ok(derived()));
}

#[test]
fn the_header_of_version_1_says_what_was_sent() {
    let header = frame::check(&DERIVED).unwrap();
    assert_eq!((header.version, header.first_seq, header.last_seq(), header.count), (1, 7, 9, 3));
    assert_eq!((header.ts_min, header.ts_max), (1_790_000_000_123_000, 1_790_000_001_123_000));
    assert_eq!(header.schema, 0x967c_d02f);
    assert_eq!(header.lineage, [Digest([1, 2, 3, 4, 5, 6, 7, 8])]);
}

/// An encoder may learn to choose better within version 1. Then this test alone may take new bytes, and
/// the bytes above stay.
#[test]
fn the_encoder_chooses_as_it_did() {
    assert_eq!(frame::encode(&gps()).unwrap(), GPS);
    assert_eq!(frame::encode(&derived()).unwrap(), DERIVED);
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
