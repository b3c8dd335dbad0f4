use super::super::outlet::{Next, QueueLimits, channel};
use super::*;
use crate::clock::SystemClock;
use milepost_wire::Clock as Trust;
use milepost_wire::link::{Fix, Hello, Lost};
use std::sync::atomic::Ordering::Relaxed;
use tokio::net::{TcpListener, TcpStream};

fn settings(listener: &TcpListener) -> Settings {
    toml::from_str(&format!("port = \"tcp://{}\"", listener.local_addr().unwrap())).unwrap()
}

struct FakeBoard {
    socket: TcpStream,
    encoder: Encoder,
}

impl FakeBoard {
    async fn say(&mut self, message: Message<'_>) {
        let packet = self.pack(message);
        self.socket.write_all(&packet).await.unwrap();
    }

    fn pack(&mut self, message: Message<'_>) -> Vec<u8> {
        let mut packet = [0; MAX_LINE];
        let n = self.encoder.encode(&message, &mut packet).unwrap();
        packet[..n].to_vec()
    }
}

fn hello() -> Message<'static> {
    let version = milepost_wire::version::LINK;
    Message::Hello(Hello { version, board: "pico", firmware: "1", boot: 1, at_us: 5, lost: Lost::default() })
}

fn fix(utc_us: i64) -> Message<'static> {
    let (lat_e7, lon_e7, fix) = (1, 2, 1);
    let (altitude_cm, speed_mm_s, heading_cdeg, satellites, hdop_e2) = (None, None, None, None, None);
    let utc_us = Some(utc_us);
    Message::Gps(Fix {
        at_us: 9,
        utc_us,
        lat_e7,
        lon_e7,
        altitude_cm,
        speed_mm_s,
        heading_cdeg,
        fix,
        satellites,
        hdop_e2,
    })
}

#[tokio::test]
async fn a_board_is_asked_who_it_is_and_its_fixes_are_delivered() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (intake, mut deliveries) = channel(QueueLimits::default());
    let outlet = intake.outlet("board", Arc::default());
    drop(intake);
    let context = Context { clock: Arc::new(SystemClock::new()) };
    let mut source = build(&settings(&listener), &context);
    let board = async {
        let socket = listener.accept().await.unwrap().0;
        let mut board = FakeBoard { socket, encoder: Encoder::new() };
        let (mut decoder, mut buffer, mut asked) = (Decoder::new(), [0; 256], Vec::new());
        while asked.len() < 2 {
            let n = board.socket.read(&mut buffer).await.unwrap();
            let mut input = &buffer[..n];
            while let Some(Ok(received)) = decoder.next(&mut input) {
                asked.push(matches!(received.message, Message::Identify));
            }
        }
        assert_eq!(asked, [true, false], "who it is, and then its time");
        board.socket.write_all(b"bootloader 1.0\r\n\0").await.unwrap();
        board.say(hello()).await;
        board.say(fix(100)).await;
        board.pack(fix(200));
        let mut damaged = board.pack(fix(300));
        damaged[3] ^= 0x40;
        board.socket.write_all(&damaged).await.unwrap();
        board.say(fix(400)).await;
    };
    let stop = CancellationToken::new();
    let (ended, ()) = tokio::join!(source.run(&outlet, &stop), board);
    assert!(matches!(ended, Err(SourceError::Closed(_) | SourceError::Io { .. })), "{ended:?}");
    let details = outlet.counters().details();
    assert_eq!(details.get("link_missed"), Some(&2), "{details:?}");
    assert_eq!(outlet.counters().received.load(Relaxed), 4, "two fixes, and two that may have been some");
    drop(outlet);
    let (mut stamps, mut lost) = (Vec::new(), 0);
    while let Next::Delivery(d) = deliveries.next(Duration::from_secs(1)) {
        stamps.extend(d.readings.iter().map(|r| (r.ts, r.clock)));
        lost += d.overruns.iter().map(|o| o.count).sum::<u64>();
    }
    assert_eq!((stamps, lost), (vec![(100, Trust::Gps), (400, Trust::Gps)], 2));
}

#[tokio::test]
async fn what_a_board_lost_while_it_was_unplugged_is_declared_when_it_is_back() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (intake, mut deliveries) = channel(QueueLimits::default());
    let outlet = intake.outlet("board", Arc::default());
    drop(intake);
    let context = Context { clock: Arc::new(SystemClock::new()) };
    let mut source = build(&settings(&listener), &context);
    let stop = CancellationToken::new();
    let mut encoder = Encoder::new();
    let Message::Hello(said) = hello() else { panic!() };
    // Two fixes were let go by the board, and three packets left while nobody listened.
    let lost = Lost { fixes: 2, images: 0, sentences: 0 };
    let spoken = [(vec![hello(), fix(100)], 0), (vec![Message::Hello(Hello { lost, ..said }), fix(500)], 3)];
    for (messages, unheard) in spoken {
        let board = async {
            let socket = listener.accept().await.unwrap().0;
            let mut board = FakeBoard { socket, encoder: encoder.clone() };
            (0..unheard).for_each(|_| drop(board.pack(fix(300))));
            for message in messages {
                board.say(message).await;
            }
            // It hears out what it is asked, so that its end is no reset.
            let _ = board.socket.read(&mut [0; 256]).await;
            board.encoder
        };
        let (ended, said) = tokio::join!(source.run(&outlet, &stop), board);
        assert!(ended.is_err());
        encoder = said;
    }
    drop(outlet);
    let (mut stamps, mut lost) = (Vec::new(), 0);
    while let Next::Delivery(d) = deliveries.next(Duration::from_secs(1)) {
        stamps.extend(d.readings.iter().map(|r| r.ts));
        lost += d.overruns.iter().map(|o| o.count).sum::<u64>();
    }
    assert_eq!((stamps, lost), (vec![100, 500], 5));
}

#[tokio::test]
async fn a_board_of_another_version_is_refused() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (intake, _deliveries) = channel(QueueLimits::default());
    let outlet = intake.outlet("board", Arc::default());
    let context = Context { clock: Arc::new(SystemClock::new()) };
    let mut source = build(&settings(&listener), &context);
    let board = async {
        let socket = listener.accept().await.unwrap().0;
        let mut board = FakeBoard { socket, encoder: Encoder::new() };
        let Message::Hello(hello) = hello() else { panic!() };
        board.say(Message::Hello(Hello { version: 200, ..hello })).await;
        board
    };
    let stop = CancellationToken::new();
    let (ended, _board) = tokio::join!(source.run(&outlet, &stop), board);
    assert!(ended.unwrap_err().to_string().contains("version 200"));
}

#[tokio::test]
async fn a_board_that_falls_silent_is_given_up_after_the_time_that_is_set() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (intake, _deliveries) = channel(QueueLimits::default());
    let outlet = intake.outlet("board", Arc::default());
    let mut settings = settings(&listener);
    (settings.ping.0, settings.silence.0) = (Duration::from_secs(2), Duration::from_secs(4));
    let mut source = build(&settings, &Context { clock: Arc::new(SystemClock::new()) });
    let board = async {
        let socket = listener.accept().await.unwrap().0;
        let mut board = FakeBoard { socket, encoder: Encoder::new() };
        board.say(hello()).await;
        let (mut decoder, mut buffer, mut pings) = (Decoder::new(), [0; 256], 0);
        while let Ok(n @ 1..) = board.socket.read(&mut buffer).await {
            let mut input = &buffer[..n];
            while let Some(Ok(received)) = decoder.next(&mut input) {
                pings += u32::from(matches!(received.message, Message::Ping { .. }));
            }
        }
        pings
    };
    let stop = CancellationToken::new();
    let (ended, pings) = tokio::join!(source.run(&outlet, &stop), board);
    assert!(ended.unwrap_err().to_string().contains("said nothing for 4s"));
    // At the start, at its hello, after the first second, and two seconds later.
    assert!(pings <= 4, "{pings} pings");
}
