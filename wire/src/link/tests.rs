use super::*;
use proptest::prelude::*;

const FIX: Fix = Fix {
    at_us: 61_000_123,
    utc_us: Some(1_790_000_000_000_000),
    lat_e7: 515_074_000,
    lon_e7: -1_278_000,
    altitude_cm: Some(2_400),
    speed_mm_s: Some(13_400),
    heading_cdeg: Some(31_000),
    fix: 1,
    satellites: Some(11),
    hdop_e2: Some(90),
};

fn hello(version: u8) -> Message<'static> {
    let lost = Lost { fixes: 1, images: 2, sentences: 3 };
    Message::Hello(Hello { version, board: "pico-arducam", firmware: "0.1.0", boot: 7, at_us: 1_000, lost })
}

fn line(encoder: &mut Encoder, message: &Message<'_>) -> Vec<u8> {
    let mut out = [0xaa; MAX_LINE];
    let n = encoder.encode(message, &mut out).unwrap();
    assert!(out[..n - 1].iter().all(|b| *b != 0) && out[n - 1] == 0, "the only zero is the end");
    out[..n].to_vec()
}

fn all() -> Vec<Message<'static>> {
    static BYTES: [u8; MAX_CHUNK] = [0; MAX_CHUNK];
    vec![
        hello(crate::version::LINK),
        Message::Gps(FIX),
        Message::Gps(Fix {
            utc_us: None,
            altitude_cm: None,
            speed_mm_s: None,
            heading_cdeg: None,
            satellites: None,
            hdop_e2: None,
            ..FIX
        }),
        Message::CameraStart(CameraStart {
            image: 5,
            camera: 0,
            at_us: 9,
            width: 320,
            height: 240,
            length: 4000,
        }),
        Message::CameraChunk { image: 5, offset: 1024, bytes: &BYTES },
        Message::CameraChunk { image: u32::MAX, offset: u32::MAX, bytes: &[] },
        Message::CameraEnd { image: 5, length: 4000, crc: 0xdead_beef },
        Message::Dropped { what: Dropped::Packets, count: 3 },
        Message::Ping { host_us: u64::MAX },
        Message::Pong { host_us: u64::MAX, board_us: u64::MAX },
        Message::Configure(Config {
            fix_every_ms: 100,
            image_every_ms: 0,
            width: 640,
            height: 480,
            quality: 80,
        }),
        Message::Identify,
    ]
}

#[test]
fn every_message_arrives_however_the_bytes_are_cut() {
    let mut encoder = Encoder::new();
    let bytes: Vec<u8> = all().iter().flat_map(|m| line(&mut encoder, m)).collect();
    for cut in [1, 2, 7, 100, bytes.len()] {
        let (mut decoder, mut seen) = (Decoder::new(), 0);
        for mut part in bytes.chunks(cut) {
            while let Some(got) = decoder.next(&mut part) {
                let got = got.unwrap();
                assert_eq!((got.sequence, got.missed, got.message), (seen, 0, all()[seen as usize]));
                seen += 1;
            }
        }
        assert_eq!(seen as usize, all().len());
    }
}

#[test]
fn after_garbage_the_next_packet_is_read_and_the_garbage_counted() {
    let mut encoder = Encoder::new();
    let first = line(&mut encoder, &hello(1));
    let second = line(&mut encoder, &Message::Gps(FIX));
    let third = line(&mut encoder, &Message::Identify);
    let mut bytes = b"U-Boot 2021.01 press any key\r\n\0".to_vec();
    bytes.extend(&first);
    bytes.extend(&second[5..]); // the start of a packet got lost
    bytes.extend(vec![0x55; 3 * MAX_LINE]); // another baud rate
    bytes.push(0);
    bytes.extend(&third);
    let (mut decoder, mut input, mut got) = (Decoder::new(), &bytes[..], Vec::new());
    while let Some(event) = decoder.next(&mut input) {
        got.push(event.map(|r| (r.sequence, r.missed)));
    }
    assert!(matches!(got[0], Err(LinkError::Framing | LinkError::Crc { .. })));
    assert_eq!(got[1], Ok((0, 0)));
    assert!(matches!(got[2], Err(LinkError::Framing | LinkError::Crc { .. })));
    assert_eq!(got[3], Err(LinkError::TooLong));
    assert_eq!(got[4], Ok((2, 1)));
    assert_eq!(decoder.counters(), Counters { messages: 2, refused: 3, missed: 1 });
}

#[test]
fn a_hello_starts_the_count_again() {
    let mut decoder = Decoder::new();
    for _ in 0..2 {
        let mut encoder = Encoder::new();
        for message in [hello(1), Message::Identify] {
            let bytes = line(&mut encoder, &message);
            assert_eq!(decoder.next(&mut &bytes[..]).unwrap().unwrap().missed, 0);
        }
    }
}

#[test]
fn a_hello_that_answers_a_question_does_not_hide_what_was_missed_before_it() {
    let missed = |boot: u32| {
        let (mut decoder, mut encoder) = (Decoder::new(), Encoder::new());
        let first = line(&mut encoder, &hello(1));
        (0..3).for_each(|_| drop(line(&mut encoder, &Message::Gps(FIX))));
        let Message::Hello(again) = hello(1) else { unreachable!() };
        let again = line(&mut encoder, &Message::Hello(Hello { boot, ..again }));
        assert_eq!(decoder.next(&mut &first[..]).unwrap().unwrap().missed, 0);
        decoder.next(&mut &again[..]).unwrap().unwrap().missed
    };
    assert_eq!((missed(7), missed(8)), (3, 0), "the same start, and a new one");
}

/// The numbers of the packets that arrive, and how many are then said to be missed.
fn missed(arrive: &[u16]) -> Vec<u16> {
    let mut decoder = Decoder::new();
    let mut say = |sequence: u16| {
        let mut encoder = Encoder::new();
        let mut out = [0; MAX_LINE];
        let mut n = 0;
        (0..=sequence).for_each(|_| n = encoder.encode(&Message::Identify, &mut out).unwrap());
        decoder.next(&mut &out[..n]).unwrap().unwrap().missed
    };
    arrive.iter().map(|sequence| say(*sequence)).collect()
}

#[test]
fn a_board_that_began_again_unheard_did_not_lose_what_it_never_sent() {
    assert_eq!(missed(&[500, 501, 2, 3]), [0, 0, 2, 0], "hello and one more are missed, not 65036");
    assert_eq!(missed(&[40_000, 1]), [0, 1]);
    assert_eq!(missed(&[10, 5_000]), [0, 4_989], "a long silence");
    assert_eq!(missed(&[65_530, 3]), [0, 8], "the numbers went round");
}

#[test]
fn a_hello_of_another_version_is_told_from_noise() {
    for version in [0, 2, 255] {
        let bytes = line(&mut Encoder::new(), &hello(version));
        assert_eq!(Decoder::new().next(&mut &bytes[..]), Some(Err(LinkError::Version(version))));
    }
}

#[test]
fn a_small_buffer_and_a_long_chunk_are_refused_without_using_a_number() {
    let mut encoder = Encoder::new();
    for size in 0..40 {
        assert_eq!(
            encoder.encode(&Message::Gps(FIX), &mut vec![0; size]),
            Err(LinkError::TooLarge),
            "{size}"
        );
    }
    let bytes = vec![1; MAX_PACKET];
    let long = Message::CameraChunk { image: 0, offset: 0, bytes: &bytes };
    assert_eq!(encoder.encode(&long, &mut [0; 2 * MAX_LINE]), Err(LinkError::TooLarge));
    let bytes = line(&mut encoder, &Message::Identify);
    assert_eq!(Decoder::new().next(&mut &bytes[..]).unwrap().unwrap().sequence, 0);
}

#[test]
fn the_crc_of_an_image_is_that_of_its_chunks_in_order() {
    let image: Vec<u8> = (0..5000u32).map(|i| (i * 7) as u8).collect();
    let whole = image_crc(None, &image);
    let parts = image.chunks(333).fold(None, |crc, chunk| Some(image_crc(crc, chunk)));
    assert_eq!(parts, Some(whole));
    assert_eq!(image_crc(None, b"123456789"), 0xe306_9283, "the check value of CRC-32C");
}

proptest! {
    #[test]
    fn any_chunk_fits_and_comes_back(bytes in prop::collection::vec(prop_oneof![Just(0u8), any::<u8>()], 0..=MAX_CHUNK), image: u32, offset: u32) {
        let message = Message::CameraChunk { image, offset, bytes: &bytes };
        let sent = line(&mut Encoder::new(), &message);
        prop_assert!(sent.len() <= MAX_LINE);
        let mut decoder = Decoder::new();
        prop_assert_eq!(decoder.next(&mut &sent[..]).unwrap().unwrap().message, message);
    }

    #[test]
    fn noise_never_panics_and_never_hides_the_packet_behind_it(noise in prop::collection::vec(any::<u8>(), 0..3000)) {
        let mut bytes = noise;
        bytes.push(0);
        bytes.extend(line(&mut Encoder::new(), &Message::Gps(FIX)));
        let (mut decoder, mut input, mut last) = (Decoder::new(), &bytes[..], None);
        while let Some(event) = decoder.next(&mut input) {
            last = event.ok().map(|r| matches!(r.message, Message::Gps(FIX)));
        }
        prop_assert_eq!(last, Some(true));
    }

    #[test]
    fn a_changed_byte_never_becomes_a_message(at in any::<prop::sample::Index>(), flip in 1..=255u8) {
        let mut bytes = line(&mut Encoder::new(), &hello(1));
        let at = at.index(bytes.len() - 1);
        bytes[at] ^= flip;
        let (mut decoder, mut input) = (Decoder::new(), &bytes[..]);
        while let Some(event) = decoder.next(&mut input) {
            prop_assert!(event.is_err());
        }
    }
}
