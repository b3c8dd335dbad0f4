//! The chip of an ArduCAM Mini that buffers the sensor's images: registers and a FIFO behind SPI
//! ("ArduCAM Mini 2MP hardware application note", table of registers).
//!
//! It is read in bursts, as fast as the bus goes; between two bursts it keeps its place.

use embedded_hal::spi::{Operation, SpiDevice};

/// With this bit an address is written to.
const WRITE: u8 = 0x80;
const TEST: u8 = 0x00;
const TIMING: u8 = 0x03;
/// The sensor's vertical sync pulses are active low.
const TIMING_VSYNC_LOW: u8 = 0x02;
const FIFO: u8 = 0x04;
const FIFO_CLEAR: u8 = 0x01;
const FIFO_START: u8 = 0x02;
const FIFO_REWIND: u8 = 0x30;
const RESET: u8 = 0x07;
const RESET_ON: u8 = 0x80;
const BURST: u8 = 0x3c;
const STATUS: u8 = 0x41;
const STATUS_DONE: u8 = 0x08;
const LENGTH: [u8; 3] = [0x42, 0x43, 0x44];

/// The FIFO's size, bytes; a longer length is none.
pub(super) const FIFO_SIZE: u32 = 8 << 20;

/// The chip behind its SPI device.
pub(super) struct ArduChip<S>(pub(super) S);

impl<S: SpiDevice> ArduChip<S> {
    /// Whether a chip answers: it keeps what is written to its test register.
    pub(super) fn is_there(&mut self) -> Result<bool, S::Error> {
        for pattern in [0x55, 0xaa] {
            self.write(TEST, pattern)?;
            if self.read(TEST)? != pattern {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Holds the chip in reset, or lets it go.
    pub(super) fn reset(&mut self, on: bool) -> Result<(), S::Error> {
        self.write(RESET, if on { RESET_ON } else { 0 })
    }

    /// Sets how the sensor's signals are read.
    pub(super) fn set_up(&mut self) -> Result<(), S::Error> {
        self.write(TIMING, TIMING_VSYNC_LOW)
    }

    /// Begins to take an image.
    pub(super) fn capture(&mut self) -> Result<(), S::Error> {
        self.write(FIFO, FIFO_CLEAR)?;
        self.write(FIFO, FIFO_REWIND)?;
        self.write(FIFO, FIFO_START)
    }

    /// Whether the image is in the FIFO.
    pub(super) fn is_done(&mut self) -> Result<bool, S::Error> {
        Ok(self.read(STATUS)? & STATUS_DONE != 0)
    }

    /// How many bytes are in the FIFO.
    pub(super) fn length(&mut self) -> Result<u32, S::Error> {
        let mut length = [0; 4];
        for (byte, register) in length.iter_mut().zip(LENGTH) {
            *byte = self.read(register)?;
        }
        Ok(u32::from_le_bytes(length) & (FIFO_SIZE - 1))
    }

    /// The next bytes of the FIFO.
    pub(super) fn burst(&mut self, bytes: &mut [u8]) -> Result<(), S::Error> {
        self.0.transaction(&mut [Operation::Write(&[BURST]), Operation::Read(bytes)])
    }

    fn read(&mut self, register: u8) -> Result<u8, S::Error> {
        let mut value = [0];
        self.0.transaction(&mut [Operation::Write(&[register]), Operation::Read(&mut value)])?;
        Ok(value[0])
    }

    fn write(&mut self, register: u8, value: u8) -> Result<(), S::Error> {
        self.0.write(&[register | WRITE, value])
    }
}
