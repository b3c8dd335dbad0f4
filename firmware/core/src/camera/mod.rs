//! A camera of the ArduCAM kind: an OV2640 that is set up over I2C, and a chip that buffers its images
//! behind SPI.
//!
//! [`Camera`] is stepped: each step does one short thing on the buses and says what came of it, so that a
//! board goes on with everything else, and no image has to fit into its memory. A camera that does not
//! answer, or stops answering, is begun with again from its reset after [`RETRY_US`], for ever.

mod arduchip;
pub mod jpeg;
pub mod ov2640;

use arduchip::{ArduChip, FIFO_SIZE};
use embedded_hal::i2c::I2c;
use embedded_hal::spi::SpiDevice;
use jpeg::{Markers, Progress};

/// The most bytes of an image in one step.
pub const CHUNK: usize = 256;
/// How long a camera that failed is left alone.
pub const RETRY_US: u64 = 5_000_000;

/// How long the parts need after their reset.
const RESET_US: u64 = 100_000;
/// How long the sensor needs to find its exposure.
const SETTLE_US: u64 = 300_000;
/// The sensor takes 7.5 images a second; one that takes so long hangs.
const CAPTURE_US: u64 = 2_000_000;
/// How often it is looked whether an image is there.
const POLL_US: u64 = 5_000;

/// Why a camera was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Nothing answers on SPI.
    #[error("No ArduChip answers: is the camera plugged in, and CS, SCK, MOSI and MISO at their pins?")]
    NoChip,
    /// Nothing answers on I2C, or another sensor.
    #[error("No OV2640 answers: are SDA and SCL at their pins?")]
    NoSensor,
    /// A bus failed.
    #[error("The camera's bus failed: look for a loose wire")]
    Bus,
    /// An image did not become complete.
    #[error("The camera began an image and did not end it within 2 s")]
    Hangs,
    /// What came is no image.
    #[error("What the camera sent is no JPEG, or has no end")]
    NoImage,
}

/// What a step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing yet: step again after so many µs.
    Wait(u64),
    /// An image can be taken: see [`Camera::capture`].
    Ready,
    /// An image begins; `Bytes` follow.
    Begins(Image),
    /// So many of its bytes stand in the buffer.
    Bytes(usize),
    /// The image is complete.
    Ends,
    /// The camera is given up for a while, and with it the image that was being taken.
    Failed(Fault),
}

/// What is known of an image before its bytes are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Image {
    /// When it was taken, µs.
    pub at_us: u64,
    /// Width, pixels.
    pub width: u16,
    /// Height, pixels.
    pub height: u16,
    /// Bytes in the chip's buffer; the image may be shorter.
    pub length: u32,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// Nothing is known of it.
    Unknown,
    /// The chip is held in reset.
    Held,
    /// The chip was let go.
    LetGo,
    /// The sensor was reset.
    Reset,
    /// The sensor is set up, and waits for work.
    Idle,
    Capturing {
        since_us: u64,
    },
    Reading {
        left: u32,
        markers: Markers,
    },
    /// All bytes were read.
    Read,
}

/// The camera behind its buses.
pub struct Camera<S, I> {
    chip: ArduChip<S>,
    i2c: I,
    state: State,
    /// Nothing is done before.
    not_before_us: u64,
    size: (u16, u16),
    quality: u8,
    changed: bool,
}

impl<S: SpiDevice, I: I2c> Camera<S, I> {
    /// A camera that takes images of this size, or the next larger it can, and of a quality from 1 to
    /// 100.
    pub fn new(spi: S, i2c: I, width: u16, height: u16, quality: u8) -> Self {
        let size = ov2640::size_for(width, height);
        let (chip, state) = (ArduChip(spi), State::Unknown);
        Self { chip, i2c, state, not_before_us: 0, size, quality, changed: false }
    }

    /// Sets size and quality of the images to come.
    pub fn configure(&mut self, width: u16, height: u16, quality: u8) {
        let size = ov2640::size_for(width, height);
        self.changed |= (size, quality) != (self.size, self.quality);
        (self.size, self.quality) = (size, quality);
    }

    /// Begins to take an image, after [`Step::Ready`]. At any other moment nothing happens.
    pub fn capture(&mut self, now_us: u64) -> Result<(), Fault> {
        if !matches!(self.state, State::Idle) {
            return Ok(());
        }
        if self.chip.capture().is_err() {
            return Err(self.give_up(Fault::Bus, now_us));
        }
        self.state = State::Capturing { since_us: now_us };
        Ok(())
    }

    /// Does the next thing. Bytes of an image are put into `buffer`.
    pub fn step(&mut self, now_us: u64, buffer: &mut [u8; CHUNK]) -> Step {
        if now_us < self.not_before_us {
            return Step::Wait(self.not_before_us - now_us);
        }
        match self.advance(now_us, buffer) {
            Ok(step) => step,
            Err(fault) => Step::Failed(self.give_up(fault, now_us)),
        }
    }

    fn advance(&mut self, now_us: u64, buffer: &mut [u8; CHUNK]) -> Result<Step, Fault> {
        match self.state {
            State::Unknown => {
                self.found_chip()?;
                Ok(self.after(State::Held, RESET_US, now_us))
            }
            State::Held => {
                self.chip.reset(false).map_err(bus)?;
                Ok(self.after(State::LetGo, RESET_US, now_us))
            }
            State::LetGo => {
                self.chip.set_up().map_err(bus)?;
                if !ov2640::is_there(&mut self.i2c).map_err(|_| Fault::NoSensor)? {
                    return Err(Fault::NoSensor);
                }
                ov2640::reset(&mut self.i2c).map_err(bus)?;
                Ok(self.after(State::Reset, RESET_US, now_us))
            }
            State::Reset => self.set_up(now_us),
            State::Idle if self.changed => self.set_up(now_us),
            State::Idle => Ok(Step::Ready),
            State::Capturing { since_us } => self.look(since_us, now_us),
            State::Reading { left, markers } => self.read(left, markers, buffer),
            State::Read => {
                self.state = State::Idle;
                Ok(Step::Ends)
            }
        }
    }

    fn found_chip(&mut self) -> Result<(), Fault> {
        if !self.chip.is_there().map_err(bus)? {
            return Err(Fault::NoChip);
        }
        self.chip.reset(true).map_err(bus)
    }

    fn set_up(&mut self, now_us: u64) -> Result<Step, Fault> {
        ov2640::set_up(&mut self.i2c, self.size, self.quality).map_err(bus)?;
        self.changed = false;
        Ok(self.after(State::Idle, SETTLE_US, now_us))
    }

    fn look(&mut self, since_us: u64, now_us: u64) -> Result<Step, Fault> {
        if !self.chip.is_done().map_err(bus)? {
            let hangs = now_us.saturating_sub(since_us) > CAPTURE_US;
            return if hangs { Err(Fault::Hangs) } else { Ok(Step::Wait(POLL_US)) };
        }
        let length = self.chip.length().map_err(bus)?;
        if length == 0 || length == FIFO_SIZE - 1 {
            return Err(Fault::NoImage);
        }
        self.state = State::Reading { left: length, markers: Markers::default() };
        let (width, height) = self.size;
        Ok(Step::Begins(Image { at_us: since_us, width, height, length }))
    }

    fn read(&mut self, left: u32, mut markers: Markers, buffer: &mut [u8; CHUNK]) -> Result<Step, Fault> {
        let n = (left as usize).min(CHUNK);
        let bytes = &mut buffer[..n];
        self.chip.burst(bytes).map_err(bus)?;
        match markers.push(bytes) {
            Progress::More if left as usize > CHUNK => {
                self.state = State::Reading { left: left - CHUNK as u32, markers };
                Ok(Step::Bytes(n))
            }
            Progress::Whole(n) => {
                self.state = State::Read;
                Ok(Step::Bytes(n))
            }
            Progress::More | Progress::Broken => Err(Fault::NoImage),
        }
    }

    fn after(&mut self, state: State, us: u64, now_us: u64) -> Step {
        (self.state, self.not_before_us) = (state, now_us + us);
        Step::Wait(us)
    }

    fn give_up(&mut self, fault: Fault, now_us: u64) -> Fault {
        self.after(State::Unknown, RETRY_US, now_us);
        fault
    }
}

fn bus<E>(_: E) -> Fault {
    Fault::Bus
}

#[cfg(test)]
mod tests;
