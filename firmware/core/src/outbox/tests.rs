use super::*;
use milepost_wire::link::Decoder;
use std::vec::Vec;

const IDENTITY: Identity = Identity { board: "pico", firmware: "1", boot: 7 };

fn fix(at_us: u64) -> Fix {
    Fix {
        at_us,
        utc_us: Some(at_us as i64),
        lat_e7: 1,
        lon_e7: 2,
        altitude_cm: None,
        speed_mm_s: None,
        heading_cdeg: None,
        fix: 1,
        satellites: None,
        hdop_e2: None,
    }
}

fn bytes(image: u32, offset: u32) -> Part<'static> {
    Part::Bytes { image, offset, bytes: &[9; CHUNK] }
}

/// All that leaves at a moment, in words.
fn sent(outbox: &mut Outbox, now_us: u64) -> Vec<String> {
    let (mut decoder, mut line, mut all) = (Decoder::new(), [0; LINE], Vec::new());
    while let Some(n) = outbox.next(now_us, &mut line) {
        let received = decoder.next(&mut &line[..n]).unwrap().unwrap();
        assert_eq!(received.missed, 0);
        all.push(match received.message {
            Message::Hello(hello) => format!("hello {} {:?}", hello.boot, hello.lost),
            Message::Gps(fix) => format!("fix {}", fix.at_us),
            Message::Pong { host_us, board_us } => format!("pong {host_us} {board_us}"),
            Message::Dropped { what, count } => format!("{what:?} {count}"),
            Message::CameraChunk { offset, bytes, .. } => format!("{} bytes at {offset}", bytes.len()),
            other => format!("{other:?}"),
        });
    }
    all
}

#[test]
fn a_hello_goes_first_then_answers_then_fixes_then_images() {
    let mut outbox = Outbox::new(IDENTITY);
    assert!(outbox.part(bytes(0, 256)));
    outbox.fix(fix(1));
    outbox.pong(5);
    let hello = format!("hello 7 {:?}", Lost::default());
    assert_eq!(sent(&mut outbox, 10), [&hello, "pong 5 10", "fix 1", "256 bytes at 256"]);
    outbox.hello();
    assert_eq!(sent(&mut outbox, 11), [hello]);
}

#[test]
fn the_oldest_fixes_go_where_there_is_no_room_and_are_declared() {
    let mut outbox = Outbox::new(IDENTITY);
    sent(&mut outbox, 0);
    (0..FIXES as u64 + 10).for_each(|i| outbox.fix(fix(i)));
    let all = sent(&mut outbox, 0);
    assert_eq!((all.len(), &all[0][..], &all[1][..]), (FIXES + 1, "Fixes 10", "fix 10"));
    assert_eq!(sent(&mut outbox, 9_000_000), Vec::<String>::new(), "said once");
}

#[test]
fn losses_are_said_once_a_second_and_in_every_hello() {
    let mut outbox = Outbox::new(IDENTITY);
    sent(&mut outbox, 0);
    outbox.lost_images(2);
    outbox.unreadable_sentences(3);
    assert_eq!(sent(&mut outbox, 5), ["Images 2"]);
    assert_eq!(sent(&mut outbox, 999_999), Vec::<String>::new());
    assert_eq!(sent(&mut outbox, 1_000_005), ["Sentences 3"]);
    outbox.lost_images(1);
    outbox.unreadable_packets(4);
    outbox.hello();
    let lost = Lost { fixes: 0, images: 3, sentences: 3 };
    assert_eq!(sent(&mut outbox, 3_000_000), [format!("hello 7 {lost:?}"), "Packets 4".into()]);
}

#[test]
fn one_part_of_an_image_waits_at_a_time() {
    let mut outbox = Outbox::new(IDENTITY);
    assert!(outbox.has_room());
    assert!(outbox.part(bytes(0, 0)));
    assert!(!outbox.has_room());
    assert!(!outbox.part(bytes(0, 256)));
}

#[test]
fn the_longest_of_each_message_fits() {
    let long = "abcdefghijklmnopqrstuvwx";
    let identity = Identity { board: long, firmware: &long[..16], boot: u32::MAX };
    let mut outbox = Outbox::new(identity);
    outbox.fix(Fix {
        utc_us: Some(i64::MIN),
        lat_e7: i32::MIN,
        lon_e7: i32::MIN,
        altitude_cm: Some(i32::MIN),
        speed_mm_s: Some(u32::MAX),
        heading_cdeg: Some(u16::MAX),
        fix: 255,
        satellites: Some(255),
        hdop_e2: Some(u16::MAX),
        ..fix(u64::MAX)
    });
    outbox.pong(u64::MAX);
    outbox.lost_images(u32::MAX);
    assert!(outbox.part(Part::Bytes { image: u32::MAX, offset: u32::MAX, bytes: &[1; CHUNK] }));
    assert_eq!(sent(&mut outbox, u64::MAX / 2).len(), 4);
    let (camera, width, height) = (255, u16::MAX, u16::MAX);
    let start = CameraStart { image: u32::MAX, camera, at_us: u64::MAX, width, height, length: u32::MAX };
    assert!(outbox.part(Part::Start(start)));
    assert_eq!(sent(&mut outbox, 0).len(), 1);
    assert!(outbox.part(Part::End { image: u32::MAX, length: u32::MAX, crc: u32::MAX }));
    assert_eq!(sent(&mut outbox, 0).len(), 1);
}
