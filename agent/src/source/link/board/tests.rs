use super::*;
use milepost_wire::Body;
use milepost_wire::link::Hello;

const NOW: Now = Now { mono_us: 1_000_000, wall_us: 1_700_000_000_000_000, trust: Clock::Ntp };

fn board() -> Board {
    Board::new("cam".into(), None, 5000)
}

fn take(board: &mut Board, missed: u16, message: Message<'_>) -> Vec<Effect> {
    board.take(&Received { sequence: 0, missed, message }, NOW)
}

fn hello(boot: u32, lost: Lost) -> Message<'static> {
    let version = milepost_wire::version::LINK;
    Message::Hello(Hello { version, board: "pico", firmware: "1", boot, at_us: 5, lost })
}

fn fix(utc_us: Option<i64>) -> Message<'static> {
    Message::Gps(Fix {
        at_us: 900,
        utc_us,
        lat_e7: 1,
        lon_e7: 2,
        altitude_cm: None,
        speed_mm_s: Some(3),
        heading_cdeg: None,
        fix: 1,
        satellites: None,
        hdop_e2: None,
    })
}

fn image(board: &mut Board, number: u32, bytes: &[u8], skip: Option<usize>) -> Vec<Effect> {
    let length = bytes.len() as u32;
    let start = CameraStart { image: number, camera: 1, at_us: 900, width: 64, height: 0, length };
    let mut effects = take(board, 0, Message::CameraStart(start));
    for (i, chunk) in bytes.chunks(100).enumerate().filter(|(i, _)| Some(*i) != skip) {
        let missed = u16::from(skip.is_some_and(|s| s + 1 == i));
        let offset = (i * 100) as u32;
        effects.extend(take(board, missed, Message::CameraChunk { image: number, offset, bytes: chunk }));
    }
    effects.extend(take(board, 0, Message::CameraEnd { image: number, length, crc: image_crc(None, bytes) }));
    effects
}

fn lost_images(effects: &[Effect]) -> usize {
    effects.iter().filter(|e| **e == Effect::Lost(Stream::Camera, 1)).count()
}

#[test]
fn fixes_take_the_receivers_time_or_the_hosts() {
    let mut board = board();
    let utc = take(&mut board, 0, fix(Some(77)));
    assert!(matches!(&utc[..], [Effect::Reading(r)] if (r.ts, r.clock) == (77, Clock::Gps)));
    let none = take(&mut board, 0, fix(None));
    assert!(matches!(&none[..], [Effect::Reading(r)] if (r.ts, r.clock) == (NOW.wall_us, Clock::Ntp)));
}

#[test]
fn an_image_is_put_together_from_its_chunks() {
    let bytes: Vec<u8> = (0..=255).cycle().take(1234).collect();
    let mut board = board();
    take(&mut board, 0, Message::Pong { host_us: 999_000, board_us: 1_000 });
    let effects = image(&mut board, 7, &bytes, None);
    let [Effect::Reading(reading)] = &effects[..] else { panic!("{effects:?}") };
    let Body::Camera(camera) = &reading.body else { panic!("{reading:?}") };
    assert_eq!((camera.camera_id.as_str(), camera.width, camera.height), ("cam1", Some(64), None));
    assert_eq!(camera.image, bytes);
    // Its clock read 900 when the host's read 999,400: 600 µs ago.
    assert_eq!(reading.ts, NOW.wall_us - 600);
}

#[test]
fn an_image_with_a_hole_is_one_lost_image() {
    let mut board = board();
    let bytes = vec![7; 1000];
    assert_eq!(lost_images(&image(&mut board, 1, &bytes, Some(3))), 1);
    assert_eq!(image(&mut board, 2, &bytes, None).len(), 1, "the next one is whole");
    assert_eq!(lost_images(&image(&mut board, 3, &vec![7; 6000], None)), 1, "too large");
    // A beginning, an end, or a checksum that did not arrive as it should.
    assert_eq!(lost_images(&take(&mut board, 0, Message::CameraEnd { image: 4, length: 1, crc: 0 })), 1);
    take(&mut board, 0, Message::CameraChunk { image: 5, offset: 100, bytes: &[1] });
    assert_eq!(lost_images(&image(&mut board, 6, &bytes, None)), 1);
    let start = CameraStart { image: 8, camera: 0, at_us: 0, width: 1, height: 1, length: 1 };
    take(&mut board, 0, Message::CameraStart(start));
    take(&mut board, 0, Message::CameraChunk { image: 8, offset: 0, bytes: &[1] });
    assert_eq!(lost_images(&take(&mut board, 0, Message::CameraEnd { image: 8, length: 1, crc: 1 })), 1);
}

#[test]
fn packets_that_did_not_arrive_may_have_been_fixes() {
    let effects = take(&mut board(), 3, fix(Some(1)));
    assert_eq!(effects[..2], [Effect::Count("link_missed", 3, true), Effect::Lost(Stream::Gps, 3)]);
}

#[test]
fn what_a_board_lets_go_is_counted_once() {
    let mut board = board();
    let lost = |fixes| Lost { fixes, images: 0, sentences: 0 };
    let count = |effects: &[Effect]| -> u64 {
        effects.iter().map(|e| if let Effect::Lost(Stream::Gps, n) = e { *n } else { 0 }).sum()
    };
    assert_eq!(count(&take(&mut board, 0, hello(1, lost(2)))), 2);
    assert_eq!(count(&take(&mut board, 0, Message::Dropped { what: Dropped::Fixes, count: 3 })), 3);
    assert_eq!(count(&take(&mut board, 0, hello(1, lost(5)))), 0, "said before");
    assert_eq!(count(&take(&mut board, 0, hello(1, lost(9)))), 4, "a message about it got lost");
    assert_eq!(count(&take(&mut board, 0, hello(2, lost(1)))), 1, "a new start counts afresh");
}

#[test]
fn a_restart_is_noticed_and_the_board_is_configured_again() {
    let config = Config { fix_every_ms: 100, image_every_ms: 0, width: 1, height: 1, quality: 50 };
    let mut board = Board::new("cam".into(), Some(config), 5000);
    assert!(!board.is_known());
    let says = |effects: &[Effect]| effects.iter().filter(|e| matches!(e, Effect::Say(_))).count();
    let first = take(&mut board, 0, hello(1, Lost::default()));
    assert_eq!(says(&first), 2, "a ping and the configuration");
    assert!(board.is_known() && !first.contains(&Effect::Count("board_restart", 1, false)));
    assert_eq!(says(&take(&mut board, 0, hello(1, Lost::default()))), 0);
    let again = take(&mut board, 0, hello(2, Lost::default()));
    assert!(again.contains(&Effect::Count("board_restart", 1, false)) && says(&again) == 2);
}
