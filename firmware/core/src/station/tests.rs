use super::*;
use milepost_wire::link::{Encoder, MAX_LINE, Received};
use std::vec::Vec;

const IDENTITY: Identity = Identity { board: "pico", firmware: "1", boot: 7 };
const CONFIG: Config =
    Config { fix_every_ms: 100, image_every_ms: 2_000, width: 640, height: 480, quality: 50 };

/// An agent on one line.
struct Agent(Encoder, Decoder);

impl Agent {
    fn new() -> Self {
        Self(Encoder::new(), Decoder::new())
    }

    fn says(&mut self, message: &Message<'_>) -> Vec<u8> {
        let mut line = [0; MAX_LINE];
        let n = self.0.encode(message, &mut line).unwrap();
        line[..n].to_vec()
    }

    /// Takes all that a board has to send, and gives what `of` makes of it.
    fn hears<T>(
        &mut self,
        station: &mut Station,
        now_us: u64,
        of: impl Fn(Received<'_>) -> Option<T>,
    ) -> Vec<T> {
        let (mut buffer, mut all) = ([0; LINE], Vec::new());
        while let Some((_, n)) = station.next(now_us, &mut buffer) {
            all.extend(of(self.1.next(&mut &buffer[..n]).unwrap().unwrap()));
        }
        all
    }
}

fn fixes(received: Received<'_>) -> Option<(u64, Option<i64>)> {
    match received.message {
        Message::Gps(fix) => Some((fix.at_us, fix.utc_us)),
        _ => None,
    }
}

fn lost(received: Received<'_>) -> Option<(milepost_wire::link::Dropped, u32)> {
    match received.message {
        Message::Dropped { what, count } => Some((what, count)),
        _ => None,
    }
}

fn fix(came_us: u64) -> gps::Fix {
    gps::Fix { came_us, ..gps::Fix::default() }
}

#[test]
fn an_agent_is_answered_where_it_speaks() {
    let (mut station, mut agent, mut buffer) = (Station::new(IDENTITY), Agent::new(), [0; LINE]);
    assert_eq!(station.next(0, &mut buffer).map(|(line, _)| line), Some(Line::Uart), "the first hello");
    assert!(!station.is_heard(0));
    let ping = agent.says(&Message::Ping { host_us: 99 });
    assert!(station.heard(Line::Usb, &ping, 1_000));
    assert!(station.is_heard(2_000) && !station.is_heard(HEARD_US + 1_000));
    let mut said = Vec::new();
    while let Some((line, n)) = station.next(1_234, &mut buffer) {
        assert_eq!(line, Line::Usb);
        said.push(match agent.1.next(&mut &buffer[..n]).unwrap().unwrap().message {
            Message::Hello(hello) => (u64::from(hello.boot), hello.at_us),
            Message::Pong { host_us, board_us } => (host_us, board_us),
            other => panic!("{other:?}"),
        });
    }
    assert_eq!(said, [(7, 1_234), (99, 1_234)], "on a new line it introduces itself first");
}

#[test]
fn noise_on_a_line_is_counted_and_changes_nothing() {
    let (mut station, mut agent) = (Station::new(IDENTITY), Agent::new());
    let mut damaged = agent.says(&Message::Configure(CONFIG));
    damaged[4] ^= 1;
    assert!(!station.heard(Line::Usb, &[&damaged[..], b"login: \0"].concat(), 5));
    assert_eq!((station.line, station.config()), (Line::Uart, &DEFAULTS));
    assert_eq!(agent.hears(&mut station, 5, lost), [(milepost_wire::link::Dropped::Packets, 2)]);
}

#[test]
fn fixes_come_as_often_as_they_are_wanted() {
    let (mut station, mut agent) = (Station::new(IDENTITY), Agent::new());
    let of = |every: u32, step_ms: u64, station: &mut Station, agent: &mut Agent| {
        let config = agent.says(&Message::Configure(Config { fix_every_ms: every, ..CONFIG }));
        station.heard(Line::Uart, &config, 0);
        (1..=100).for_each(|i| station.fix(&fix(i * step_ms * 1_000 + i % 3 * 4_000)));
        agent.hears(station, 0, fixes).len()
    };
    assert_eq!(of(1, 100, &mut station, &mut agent), 100, "each");
    assert_eq!(of(100, 100, &mut station, &mut agent), 100, "as fast as they come, however unevenly");
    let of_ten = of(1_000, 100, &mut station, &mut agent);
    assert!((10..=11).contains(&of_ten), "{of_ten} of 10 s");
    assert_eq!(of(0, 100, &mut station, &mut agent), 0, "none");
}

#[test]
fn a_fix_is_dated_by_the_receiver_if_it_knows_the_date() {
    let (mut station, mut agent) = (Station::new(IDENTITY), Agent::new());
    let noon = Some(43_200_000_000_000);
    let today = calendar::days(2026, 11, 28);
    let said = [(today, noon), (today.map(|d| d - 7_168), noon), (None, noon), (today, None)];
    for ((day, time_of_day), second) in said.into_iter().zip(1..) {
        station.fix(&gps::Fix { day, time_of_day, ..fix(second * 1_000_000) });
    }
    let utc = today.map(|day| (day * 86_400 + 43_200) * 1_000_000);
    let dates: Vec<_> = agent.hears(&mut station, 0, fixes).into_iter().map(|(_, utc)| utc).collect();
    assert_eq!(dates, [utc, utc, None, None]);
}

/// Puts an image into a station as a camera would, and takes it out as an agent would.
fn pass(
    station: &mut Station,
    agent: &mut Agent,
    chunks: &[&[u8]],
    whole: bool,
) -> (Vec<u8>, Option<(u32, u32)>) {
    let (mut got, mut end) = (Vec::new(), None);
    let mut take = |station: &mut Station| {
        let mut buffer = [0; LINE];
        while let Some((_, n)) = station.next(0, &mut buffer) {
            match agent.1.next(&mut &buffer[..n]).unwrap().unwrap().message {
                Message::CameraChunk { offset, bytes, .. } => {
                    assert_eq!(offset as usize, got.len());
                    got.extend_from_slice(bytes);
                }
                Message::CameraEnd { length, crc, .. } => end = Some((length, crc)),
                _ => {}
            }
        }
    };
    station.image_begins(camera::Image { at_us: 3, width: 320, height: 240, length: 999 });
    take(station);
    for chunk in chunks {
        assert!(station.has_room());
        station.image_bytes(chunk);
        take(station);
    }
    if whole {
        station.image_ends()
    } else {
        station.image_fails(true)
    }
    take(station);
    (got, end)
}

#[test]
fn an_image_goes_out_whole_or_is_said_not_to() {
    let (mut station, mut agent) = (Station::new(IDENTITY), Agent::new());
    let (got, end) = pass(&mut station, &mut agent, &[&[1; 256], &[2; 40]], true);
    assert_eq!(got, [&[1u8; 256][..], &[2; 40]].concat());
    assert_eq!(end, Some((296, image_crc(None, &got))));
    let (_, end) = pass(&mut station, &mut agent, &[&[1; 256]], false);
    assert_eq!(end, Some((0, 0)));
    assert_eq!(agent.hears(&mut station, 0, lost), [], "the agent counts what had begun");
}

#[test]
fn images_that_cannot_be_taken_are_lost_once_there_was_a_camera() {
    let (mut station, mut agent) = (Station::new(IDENTITY), Agent::new());
    assert!(station.image_is_due(0) && !station.image_is_due(999_999) && station.image_is_due(1_000_000));
    station.images_are_missed(9_000_000);
    assert_eq!(agent.hears(&mut station, 0, lost), [], "there never was one");
    pass(&mut station, &mut agent, &[&[1]], true);
    station.images_are_missed(9_999_999);
    station.images_are_missed(10_000_000);
    assert!(station.image_is_due(14_500_000), "late: those of 11, 12 and 13 s were not taken");
    station.image_fails(true);
    assert_eq!(agent.hears(&mut station, 0, lost), [(milepost_wire::link::Dropped::Images, 5)]);
}
