use super::*;
use core::cell::Cell;
use core::convert::Infallible;
use core::future::poll_fn;
use core::task::Poll;
use embassy_futures::block_on;
use embassy_futures::join::join;
use embassy_futures::select::select4;
use embedded_io_async::ErrorType;
use milepost_wire::link::{Decoder, Encoder, MAX_LINE, Message};
use std::rc::Rc;
use std::vec::Vec;

/// A clock that a test moves.
#[derive(Clone, Default)]
struct Now(Rc<Cell<u64>>);

impl Now {
    /// Lets time go by, a millisecond at a time, so that every loop is polled at each.
    async fn until(&self, us: u64) {
        poll_fn(|_| {
            self.0.set(self.0.get() + 1_000);
            if self.0.get() >= us { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}

impl Time for Now {
    fn now_us(&self) -> u64 {
        self.0.get()
    }

    async fn wait_us(&self, us: u64) {
        let until = self.0.get() + us;
        poll_fn(|_| if self.0.get() >= until { Poll::Ready(()) } else { Poll::Pending }).await;
    }
}

/// When some bytes come, and which.
type Piece = (u64, Vec<u8>);

/// The chip's end of a line: what comes in at which time, and what went out.
#[derive(Clone, Default)]
struct Wire {
    now: Now,
    comes: Rc<RefCell<Vec<Piece>>>,
    out: Rc<RefCell<Vec<u8>>>,
    /// Bytes that fit before nobody takes them any more.
    room: Rc<Cell<usize>>,
    baud: Rc<Cell<u32>>,
    speaks: u32,
}

impl Wire {
    fn new(now: &Now) -> Self {
        let wire = Self { now: now.clone(), ..Self::default() };
        wire.room.set(usize::MAX);
        wire
    }

    fn comes(self, at_us: u64, bytes: &[u8]) -> Self {
        // Buffers of a board are small.
        self.comes.borrow_mut().extend(bytes.chunks(20).map(|part| (at_us, part.to_vec())));
        self
    }

    fn messages<T>(&self, of: impl Fn(Message<'_>) -> Option<T>) -> Vec<T> {
        let (mut decoder, out, mut all) = (Decoder::new(), self.out.borrow(), Vec::new());
        let mut bytes = &out[..];
        while let Some(received) = decoder.next(&mut bytes) {
            let received = received.expect("what a board sends can be read");
            assert_eq!(received.missed, 0);
            all.extend(of(received.message));
        }
        all
    }
}

impl ErrorType for Wire {
    type Error = Infallible;
}

impl Read for Wire {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Infallible> {
        poll_fn(|_| {
            let mut comes = self.comes.borrow_mut();
            if comes.first().is_none_or(|(at, _)| *at > self.now.0.get()) {
                return Poll::Pending;
            }
            let (_, mut bytes) = comes.remove(0);
            if self.baud.get() != self.speaks {
                bytes.iter_mut().for_each(|byte| *byte = byte.wrapping_mul(37) | 0x80);
            }
            buffer[..bytes.len()].copy_from_slice(&bytes);
            Poll::Ready(Ok(bytes.len()))
        })
        .await
    }
}

impl Write for Wire {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        poll_fn(|_| if self.room.get() > 0 { Poll::Ready(()) } else { Poll::Pending }).await;
        self.room.set(self.room.get().saturating_sub(bytes.len()));
        self.out.borrow_mut().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    async fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

impl GpsPort for Wire {
    fn set_baud(&mut self, baud: u32) {
        self.baud.set(baud);
    }
}

const IDENTITY: Identity = Identity { board: "pico", firmware: "1", boot: 7 };

fn epoch(second: u32) -> Vec<u8> {
    let body = format!("GPRMC,1200{second:02},A,4807.0380,N,01131.0000,E,10.0,084.4,281126,003.1,W,A");
    let sum = body.bytes().fold(0, |sum, b| sum ^ b);
    format!("${body}*{sum:02X}\r\n").into_bytes()
}

fn times(message: Message<'_>) -> Option<u64> {
    match message {
        Message::Gps(fix) => Some(fix.at_us),
        _ => None,
    }
}

#[test]
fn a_receivers_fixes_leave_by_the_serial_line_with_the_time_at_which_they_came() {
    let now = Now::default();
    let board = Board::new(now.clone(), IDENTITY);
    let (gps, uart) = (Wire { speaks: 9_600, ..Wire::new(&now) }, Wire::new(&now));
    let gps = (1..4).fold(gps, |gps, second| gps.comes(u64::from(second) * 1_000_000, &epoch(second)));
    block_on(select4(
        board.read_gps(gps),
        board.send(uart.clone(), Wire::new(&now)),
        now.until(5_000_000),
        core::future::pending::<()>(),
    ));
    let came = uart.messages(times);
    assert_eq!(came.len(), 3, "the last one after a pause");
    for (came, second) in came.iter().zip(1..) {
        // 20 bytes at 9600 baud took 20.8 ms.
        assert_eq!(came.abs_diff(second * 1_000_000 - 20_833), 0, "{came}");
    }
    assert_eq!(uart.out.borrow()[0], 0, "what a bootloader printed is ended");
}

#[test]
fn the_speed_of_the_receivers_line_is_found() {
    let now = Now::default();
    let board = Board::new(now.clone(), IDENTITY);
    let (gps, uart) = (Wire { speaks: 38_400, ..Wire::new(&now) }, Wire::new(&now));
    let gps = (1..20).fold(gps, |gps, second| gps.comes(u64::from(second) * 1_000_000, &epoch(second)));
    let baud = Rc::clone(&gps.baud);
    block_on(select4(
        board.read_gps(gps),
        board.send(uart.clone(), Wire::new(&now)),
        now.until(20_000_000),
        core::future::pending::<()>(),
    ));
    assert_eq!(baud.get(), 38_400);
    assert!(uart.messages(times).len() >= 10);
    let lost = uart.messages(|m| matches!(m, Message::Dropped { .. }).then_some(()));
    assert_eq!(lost.len(), 0, "what is unreadable at another speed is no sentence");
}

#[test]
fn an_agent_on_usb_is_answered_there() {
    let now = Now::default();
    let board = Board::new(now.clone(), IDENTITY);
    let mut line = [0; MAX_LINE];
    let n = Encoder::new().encode(&Message::Ping { host_us: 42 }, &mut line).unwrap();
    let (uart, usb) = (Wire::new(&now), Wire::new(&now).comes(1_000_000, &line[..n]));
    let from_usb = Wire { speaks: 0, ..usb.clone() };
    block_on(select4(
        board.listen(Line::Usb, from_usb),
        board.send(uart.clone(), usb.clone()),
        now.until(2_000_000),
        core::future::pending::<()>(),
    ));
    let hellos = |wire: &Wire| wire.messages(|m| matches!(m, Message::Hello(_)).then_some(())).len();
    assert_eq!((hellos(&uart), hellos(&usb)), (1, 1), "the first hello goes where agents usually are");
    let pongs = usb.messages(|m| match m {
        Message::Pong { host_us, board_us } => Some((host_us, board_us)),
        _ => None,
    });
    assert_eq!(pongs.len(), 1);
    assert!(pongs[0].0 == 42 && pongs[0].1.abs_diff(1_000_000) <= 2_000, "{pongs:?}");
}

/// A light that nobody looks at.
struct Light;

impl embedded_hal::digital::ErrorType for Light {
    type Error = Infallible;
}

impl OutputPin for Light {
    fn set_low(&mut self) -> Result<(), Infallible> {
        Ok(())
    }

    fn set_high(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

#[test]
fn an_agent_that_does_not_read_is_waited_for_and_a_part_that_hangs_is_not() {
    let now = Now::default();
    let board = Board::new(now.clone(), IDENTITY);
    let uart = Wire::new(&now);
    uart.room.set(1);
    let (gps, fed) = (Wire::new(&now), Cell::new(0u64));
    // Nobody steps the camera: it counts as hanging after 4 s, and is fed no more.
    block_on(select4(
        join(board.read_gps(gps), board.send(uart, Wire::new(&now))),
        board.watch(Light, || fed.set(now.now_us())),
        now.until(60_000_000),
        core::future::pending::<()>(),
    ));
    assert!((3_900_000..4_000_000).contains(&fed.get()), "last fed at {}", fed.get());
}
