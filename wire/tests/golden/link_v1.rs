//! Link version 1.
//!
//! If a test here fails, do not change the test: boards with this firmware are in vehicles. What changes
//! these bytes is a new version, and the agent goes on reading this one.

use milepost_wire::link::{
    CameraStart, Config, Decoder, Dropped, Encoder, Fix, Hello, Lost, MAX_LINE, Message,
};

const HELLO: Message<'_> = Message::Hello(Hello {
    version: 1,
    board: "pico",
    firmware: "0.1.0",
    boot: 0x0102_0304,
    at_us: 1_000,
    lost: Lost { fixes: 1, images: 2, sentences: 300 },
});

const FIX: Message<'_> = Message::Gps(Fix {
    at_us: 61_000_123,
    utc_us: Some(1_790_000_000_000_000),
    lat_e7: 515_074_000,
    lon_e7: -1_278_000,
    altitude_cm: Some(2_400),
    speed_mm_s: Some(13_400),
    heading_cdeg: Some(31_000),
    fix: 1,
    satellites: Some(11),
    hdop_e2: None,
});

/// Each message as the one of its number from a board's start, as it is on the line.
#[rustfmt::skip]
const GOLDEN: [(Message<'_>, &[u8]); 10] = [
    (HELLO, &[
        0x01,                                             // COBS: a zero follows at once: it is
        0x01,                                             // the number 0; the next byte is a zero again:
        0x1b,                                             // the variant 0; 26 bytes without a zero follow
        0x01,                                             // version 1
        0x04, b'p', b'i', b'c', b'o',                     // board
        0x05, b'0', b'.', b'1', b'.', b'0',               // firmware
        0x84, 0x86, 0x88, 0x08,                           // boot 0x01020304
        0xe8, 0x07,                                       // 1000 µs
        0x01, 0x02, 0xac, 0x02,                           // lost: 1 fix, 2 images, 300 sentences
        0x9f, 0xe6, 0x52, 0x41,                           // CRC-32C
        0x00,                                             // the end
    ]),
    (FIX, &[
        0x26, 0x01, 0x01,                                 // COBS · number 1 · variant 1
        0xbb, 0x93, 0x8b, 0x1d,                           // 61000123 µs
        0x01, 0x80, 0x80, 0xaf, 0xa2, 0xdb, 0xff, 0xad, 0x06, // UTC, zigzag
        0xa0, 0x9f, 0x9b, 0xeb, 0x03,                     // latitude, zigzag
        0xdf, 0x80, 0x9c, 0x01,                           // longitude, zigzag
        0x01, 0xc0, 0x25,                                 // altitude, zigzag
        0x01, 0xd8, 0x68,                                 // speed
        0x01, 0x98, 0xf2, 0x01,                           // heading
        0x01,                                             // fix
        0x01, 0x0b,                                       // satellites
                                                          // no dilution: a zero, which COBS made
        0x05,                                             // this; 4 bytes follow
        0x72, 0x27, 0x47, 0xbd,                           // CRC-32C
        0x00,                                             // the end
    ]),
    (Message::CameraStart(CameraStart { image: 5, camera: 0, at_us: 9_000_000, width: 320, height: 240, length: 4000 }), &[
        0x04, 0x02, 0x02, 0x05,                           // COBS · number 2 · variant 2 · image 5
        0x0f,                                             // camera 0, as COBS has it
        0xc0, 0xa8, 0xa5, 0x04,                           // 9000000 µs
        0xc0, 0x02, 0xf0, 0x01, 0xa0, 0x1f,               // 320, 240, 4000 bytes
        0x90, 0xde, 0x86, 0xc6, 0x00,                     // CRC-32C · the end
    ]),
    (Message::CameraChunk { image: 5, offset: 512, bytes: &[0xff, 0xd8, 0x00, 0x00, 0x11] }, &[
        0x09, 0x03, 0x03, 0x05, 0x80, 0x04,               // COBS · number 3 · variant 3 · image 5 · offset 512
        0x05, 0xff, 0xd8, 0x01, 0x06, 0x11,               // 5 bytes, their two zeros as COBS has them
        0x38, 0x57, 0x17, 0x0c, 0x00,                     // CRC-32C · the end
    ]),
    (Message::CameraEnd { image: 5, length: 4000, crc: 0xe306_9283 }, &[
        0x0f, 0x04, 0x04, 0x05, 0xa0, 0x1f,               // COBS · number 4 · variant 4 · image 5 · 4000 bytes
        0x83, 0xa5, 0x9a, 0x98, 0x0e,                     // the image's CRC
        0xe1, 0xd3, 0x8a, 0xe4, 0x00,                     // CRC-32C · the end
    ]),
    (Message::Dropped { what: Dropped::Sentences, count: 3 }, &[
        0x09, 0x05, 0x05, 0x02, 0x03,                     // COBS · number 5 · variant 5 · sentences · 3
        0xf2, 0x25, 0x8a, 0xe1, 0x00,                     // CRC-32C · the end
    ]),
    (Message::Ping { host_us: 1_000_000 }, &[
        0x0a, 0x06, 0x06, 0xc0, 0x84, 0x3d,               // COBS · number 6 · variant 6 · 1000000 µs
        0x72, 0x6c, 0x90, 0x67, 0x00,                     // CRC-32C · the end
    ]),
    (Message::Pong { host_us: 1_000_000, board_us: 500 }, &[
        0x0c, 0x07, 0x07, 0xc0, 0x84, 0x3d, 0xf4, 0x03,   // COBS · number 7 · variant 7 · 1000000 µs · 500 µs
        0x1e, 0x53, 0x8b, 0xdb, 0x00,                     // CRC-32C · the end
    ]),
    (Message::Configure(Config { fix_every_ms: 100, image_every_ms: 60_000, width: 640, height: 480, quality: 80 }), &[
        0x10, 0x08, 0x08, 0x64, 0xe0, 0xd4, 0x03,         // COBS · number 8 · variant 8 · 100 ms · 60000 ms
        0x80, 0x05, 0xe0, 0x03, 0x50,                     // 640, 480, quality 80
        0x05, 0x11, 0xf1, 0x04, 0x00,                     // CRC-32C · the end
    ]),
    (Message::Identify, &[
        0x07, 0x09, 0x09,                                 // COBS · number 9 · variant 9
        0xd1, 0xf7, 0x65, 0x07, 0x00,                     // CRC-32C · the end
    ]),
];

#[test]
fn messages_of_version_1_are_read_and_written_as_ever() {
    let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new());
    for (i, (message, bytes)) in GOLDEN.into_iter().enumerate() {
        let got = decoder.next(&mut &bytes[..]).unwrap().unwrap();
        assert_eq!((got.sequence as usize, got.missed, got.message), (i, 0, message));
        let mut out = [0; MAX_LINE];
        let n = encoder.encode(&message, &mut out).unwrap();
        assert_eq!(&out[..n], bytes, "{message:?}");
    }
}
