//! The loops of a board, generic over its peripherals: a board's own crate makes the peripherals and runs
//! these side by side on one executor. What they decide stands in [`crate::station`]; here is the waiting.

use crate::camera::{CHUNK, Camera, Step};
use crate::gps::{BaudHunt, Fix, Reader};
use crate::led::{self, Health};
use crate::outbox::{Identity, LINE};
use crate::station::{Line, Station};
use crate::watchdog::{Part, Watchdog};
use core::cell::RefCell;
use core::future::Future;
use core::pin::pin;
use embassy_futures::select::{Either, select};
use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use embassy_sync::signal::Signal;
use embedded_hal::digital::OutputPin;
use embedded_hal::i2c::I2c;
use embedded_hal::spi::SpiDevice;
use embedded_io_async::{Read, Write};

/// How long nothing comes at the end of an epoch: longer than the pauses inside one.
const EPOCH_PAUSE_US: u64 = 300_000;
/// How often a part that waits says that it works.
const SIGN_US: u64 = 1_000_000;
/// How often the camera looks whether it may go on.
const CAMERA_POLL_US: u64 = 2_000;
/// How often the light and the watchdog are looked after.
const WATCH_US: u64 = 50_000;
/// A line that failed is left alone for so long.
const LINE_PAUSE_US: u64 = 100_000;

/// A board's monotonic clock.
pub trait Time {
    /// µs since the start.
    fn now_us(&self) -> u64;
    /// Waits.
    fn wait_us(&self, us: u64) -> impl Future<Output = ()>;
}

/// A receiver's line, whose speed can be changed.
pub trait GpsPort: Read {
    /// Changes it.
    fn set_baud(&mut self, baud: u32);
}

/// What the loops share. They run on one executor, none in an interrupt.
pub struct Board<T> {
    time: T,
    station: RefCell<Station>,
    watchdog: RefCell<Watchdog>,
    /// Something waits to be sent.
    waits: Signal<NoopRawMutex, ()>,
}

impl<T: Time> Board<T> {
    /// A board that has just started.
    pub fn new(time: T, identity: Identity) -> Self {
        let watchdog = RefCell::new(Watchdog::new(time.now_us()));
        Self { time, station: RefCell::new(Station::new(identity)), watchdog, waits: Signal::new() }
    }

    fn now(&self) -> u64 {
        self.time.now_us()
    }

    fn works(&self, part: Part) {
        self.watchdog.borrow_mut().works(part, self.now());
    }

    /// Changes the state, and wakes the sender.
    fn change<R>(&self, change: impl FnOnce(&mut Station) -> R) -> R {
        let changed = change(&mut self.station.borrow_mut());
        self.waits.signal(());
        changed
    }

    /// Reads the receiver, at the speed that it turns out to speak.
    pub async fn read_gps(&self, mut port: impl GpsPort) -> ! {
        let (mut reader, mut hunt, mut broken) = (Reader::new(), BaudHunt::new(self.now()), 0u64);
        let mut buffer = [0; 32];
        port.set_baud(hunt.baud());
        loop {
            let read = select(port.read(&mut buffer), self.time.wait_us(EPOCH_PAUSE_US)).await;
            let now_us = self.now();
            match read {
                Either::First(Ok(n)) => {
                    // The first of these bytes came so much earlier.
                    let took_us = n as u64 * 10_000_000 / u64::from(hunt.baud());
                    let came_us = now_us.saturating_sub(took_us);
                    reader.push_at(&buffer[..n], came_us, |fix| self.fixed(&fix));
                }
                Either::First(Err(_)) => broken += 1,
                Either::Second(()) => reader.pause(|fix| self.fixed(&fix)),
            }
            let counts = reader.counts();
            if let Some(baud) = hunt.look(&counts, broken, now_us) {
                port.set_baud(baud);
                reader.pause(|fix| self.fixed(&fix));
            }
            // What is unreadable at another speed is no sentence.
            if counts.sentences + counts.binary > 0 {
                self.station.borrow_mut().unreadable_sentences(counts.unreadable());
            }
            self.works(Part::Gps);
        }
    }

    fn fixed(&self, fix: &Fix) {
        self.change(|station| station.fix(fix));
    }

    /// Takes an image whenever one is due.
    pub async fn take_images<S: SpiDevice, I: I2c>(&self, mut camera: Camera<S, I>) -> ! {
        let (mut buffer, mut taking) = ([0; CHUNK], false);
        loop {
            self.works(Part::Camera);
            // An image is read no faster than it is sent.
            if !self.station.borrow().has_room() {
                self.time.wait_us(CAMERA_POLL_US).await;
                continue;
            }
            let now_us = self.now();
            match camera.step(now_us, &mut buffer) {
                Step::Wait(us) => {
                    if !taking {
                        self.station.borrow_mut().images_are_missed(now_us);
                    }
                    self.time.wait_us(us.min(SIGN_US)).await;
                }
                Step::Ready => {
                    taking = self.begin(&mut camera, now_us);
                    if !taking {
                        self.time.wait_us(CAMERA_POLL_US).await;
                    }
                }
                Step::Begins(image) => self.change(|station| station.image_begins(image)),
                Step::Bytes(n) => self.change(|station| station.image_bytes(&buffer[..n])),
                Step::Ends => {
                    taking = false;
                    self.change(Station::image_ends);
                }
                Step::Failed(_) => {
                    self.change(|station| station.image_fails(taking));
                    taking = false;
                }
            }
        }
    }

    /// Begins to take an image, if one is due. Gives whether it did.
    fn begin<S: SpiDevice, I: I2c>(&self, camera: &mut Camera<S, I>, now_us: u64) -> bool {
        let config = *self.station.borrow().config();
        camera.configure(config.width, config.height, config.quality);
        if !self.station.borrow_mut().image_is_due(now_us) {
            return false;
        }
        let begun = camera.capture(now_us).is_ok();
        if !begun {
            self.change(|station| station.image_fails(true));
        }
        begun
    }

    /// Listens to the agent on one line.
    pub async fn listen(&self, line: Line, mut port: impl Read) -> ! {
        let mut buffer = [0; 64];
        loop {
            match port.read(&mut buffer).await {
                Ok(n) => {
                    let now_us = self.now();
                    if self.station.borrow_mut().heard(line, &buffer[..n], now_us) {
                        self.waits.signal(());
                    }
                }
                // Unplugged, or noise: what was lost was half a packet.
                Err(_) => self.time.wait_us(LINE_PAUSE_US).await,
            }
        }
    }

    /// Sends what waits, by the line on which the agent is.
    pub async fn send(&self, mut uart: impl Write, mut usb: impl Write) -> ! {
        let mut buffer = [0; LINE];
        // Ends what a bootloader may have printed.
        let _ = uart.write_all(&[0]).await;
        loop {
            let next = self.station.borrow_mut().next(self.now(), &mut buffer);
            match next {
                Some((Line::Uart, n)) => self.patiently(write(&mut uart, &buffer[..n])).await,
                Some((Line::Usb, n)) => self.patiently(write(&mut usb, &buffer[..n])).await,
                None => self.patiently(self.waits.wait()).await,
            }
        }
    }

    /// Waits, however long, and says meanwhile that the sender works: it is the agent that does not read.
    async fn patiently(&self, done: impl Future<Output = ()>) {
        let mut done = pin!(done);
        while let Either::Second(()) = select(done.as_mut(), self.time.wait_us(SIGN_US)).await {
            self.works(Part::Send);
        }
        self.works(Part::Send);
    }

    /// Keeps the light, and feeds the watchdog while all parts work.
    pub async fn watch(&self, mut light: impl OutputPin, mut feed: impl FnMut()) -> ! {
        loop {
            let now_us = self.now();
            let _ = light.set_state(led::is_on(self.health(now_us), now_us).into());
            if self.watchdog.borrow().all_work(now_us) {
                feed();
            }
            self.time.wait_us(WATCH_US).await;
        }
    }

    fn health(&self, now_us: u64) -> Health {
        let station = self.station.borrow();
        Health { heard: station.is_heard(now_us), fix_at_us: station.fix_at_us() }
    }
}

/// Writes a packet, and waits until the line is free again, so that what is packed next says the time at
/// which it leaves. A packet that an unplugged line lost is a number that the agent misses.
async fn write<W: Write>(line: &mut W, packet: &[u8]) {
    if line.write_all(packet).await.is_ok() {
        let _ = line.flush().await;
    }
}

#[cfg(test)]
mod tests;
