//! The sensor OV2640: its set-up over I2C (SCCB). Registers by the names of OmniVision's data sheet;
//! those that it calls reserved have the values that its software application note gives for a
//! 24 MHz clock.
//!
//! The sensor always reads its whole area, 1600 x 1200; its signal processor shrinks that to the size
//! wanted: first by halves, then to the exact size.

use embedded_hal::i2c::I2c;

/// The sensor's address on the bus.
const ADDRESS: u8 = 0x30;

/// Chooses which of two sets of registers is meant.
const BANK: u8 = 0xff;
const DSP: u8 = 0;
const SENSOR: u8 = 1;

const PRODUCT: u8 = 0x0a;
const PRODUCT_OV2640: u8 = 0x26;
const COM7: u8 = 0x12;
const COM7_RESET: u8 = 0x80;
/// Quantisation: the larger, the coarser.
const QS: u8 = 0x44;

const WHOLE: (u16, u16) = (1600, 1200);

/// The sizes that can be had, smallest first.
pub const SIZES: [(u16, u16); 9] = [
    (160, 120),
    (176, 144),
    (320, 240),
    (352, 288),
    (640, 480),
    (800, 600),
    (1024, 768),
    (1280, 1024),
    (1600, 1200),
];

/// The smallest size that is at least as wide and as high, else the largest.
pub fn size_for(width: u16, height: u16) -> (u16, u16) {
    SIZES.into_iter().find(|(w, h)| *w >= width && *h >= height).unwrap_or(WHOLE)
}

/// The sensor's own part: clock, exposure, gain, and the reserved registers of the application note.
const SENSOR_SETTINGS: [(u8, u8); 45] = [
    (0x3c, 0x32),
    (0x11, 0x01), // CLKRC: half the clock, 7.5 images a second
    (0x09, 0x02), // COM2: full output drive
    (0x04, 0x28), // REG04: no mirror, no flip
    (0x13, 0xe5), // COM8: banding filter, automatic gain and exposure
    (0x14, 0x48), // COM9: gain at most 8 times
    (0x2c, 0x0c),
    (0x33, 0x78),
    (0x3a, 0x33),
    (0x3b, 0xfb),
    (0x3e, 0x00),
    (0x43, 0x11),
    (0x16, 0x10),
    (0x4a, 0x81),
    (0x21, 0x99),
    (0x24, 0x40), // AEW: upper and
    (0x25, 0x38), // AEB: lower end of the brightness that is left alone
    (0x26, 0x82), // VV: fast exposure beyond these
    (0x5c, 0x00),
    (0x63, 0x00),
    (0x46, 0x3f), // FLL: frame length
    (0x0c, 0x3c), // COM3: banding of 50 Hz light, by hand
    (0x61, 0x70), // HISTO_LOW
    (0x62, 0x80), // HISTO_HIGH
    (0x7c, 0x05),
    (0x20, 0x80),
    (0x28, 0x30),
    (0x6c, 0x00),
    (0x6d, 0x80),
    (0x6e, 0x00),
    (0x70, 0x02),
    (0x71, 0x94),
    (0x73, 0xc1),
    (0x3d, 0x34),
    (0x12, 0x00), // COM7: the whole area
    (0x5a, 0x57),
    (0x4f, 0xbb), // BD50: exposure steps of 50 Hz
    (0x50, 0x9c), // BD60: and of 60 Hz light
    (0x17, 0x11), // HREFST: the window's left,
    (0x18, 0x75), // HREFEND: right,
    (0x32, 0x36), // REG32: their lowest bits, pixel clock halved
    (0x19, 0x01), // VSTRT: top
    (0x1a, 0x97), // VEND: and bottom
    (0x03, 0x0f), // COM1: their lowest bits
    (0x15, 0x00), // COM10: polarity of the sync signals as the ArduChip wants them
];

/// The signal processor's part that is the same for every size: formats and corrections on.
const DSP_SETTINGS: [(u8, u8); 16] = [
    (0x2c, 0xff),
    (0x2e, 0xdf),
    (0xe0, 0x14), // RESET: DVP and JPEG, while they are set
    (0xda, 0x10), // IMAGE_MODE: JPEG of YUV422
    (0xd7, 0x03),
    (0xdf, 0x00),
    (0x33, 0x80),
    (0x3c, 0x40),
    (0xe1, 0x77),
    (0xe5, 0x1f),
    (0xc2, 0x0e), // CTRL0: automatic exposure and gain, YUV422
    (0xc3, 0xed), // CTRL1: corrections: lens, white and dark pixels, gamma, white balance
    (0x86, 0x3d), // CTRL2: DCW and colour matrix on
    (0x87, 0x50), // CTRL3: black and white pixel correction
    (0x8c, 0x00), // SIZEL: the lowest bits of the whole area's size
    (0xd3, 0x04), // R_DVP_SP: pixel clock of the output
];

/// Whether the sensor answers, as the one it should be.
pub(super) fn is_there<I: I2c>(i2c: &mut I) -> Result<bool, I::Error> {
    write(i2c, BANK, SENSOR)?;
    let mut product = [0];
    // SCCB knows no repeated start.
    i2c.write(ADDRESS, &[PRODUCT])?;
    i2c.read(ADDRESS, &mut product)?;
    Ok(product[0] == PRODUCT_OV2640)
}

/// Puts every register back to what it is after power-on. It takes some milliseconds.
pub(super) fn reset<I: I2c>(i2c: &mut I) -> Result<(), I::Error> {
    write(i2c, BANK, SENSOR)?;
    write(i2c, COM7, COM7_RESET)
}

/// Sets up JPEG images of one of [`SIZES`] and of a quality from 1 to 100.
pub(super) fn set_up<I: I2c>(i2c: &mut I, size: (u16, u16), quality: u8) -> Result<(), I::Error> {
    write(i2c, BANK, SENSOR)?;
    SENSOR_SETTINGS.iter().try_for_each(|(register, value)| write(i2c, *register, *value))?;
    write(i2c, BANK, DSP)?;
    DSP_SETTINGS.iter().try_for_each(|(register, value)| write(i2c, *register, *value))?;
    scaling(size).iter().try_for_each(|(register, value)| write(i2c, *register, *value))?;
    write(i2c, QS, quantisation(quality))?;
    // RESET: all parts run. R_BYPASS: through the signal processor.
    write(i2c, 0xe0, 0x00)?;
    write(i2c, 0x05, 0x00)
}

/// The registers that shrink the whole area to a size. Sizes are counted in units of 4 or 8 pixels, and
/// their high bits share registers.
fn scaling((width, height): (u16, u16)) -> [(u8, u8); 12] {
    let halvings =
        (0..3).take_while(|n| WHOLE.0 >> (n + 1) >= width && WHOLE.1 >> (n + 1) >= height).count() as u8;
    let (in_w, in_h) = (WHOLE.0 / 4, WHOLE.1 / 4);
    let (out_w, out_h) = (width / 4, height / 4);
    let bit = |value: u16, from: u8| (value >> from & 1) as u8;
    [
        (0xc0, (WHOLE.0 / 8) as u8),                         // HSIZE8
        (0xc1, (WHOLE.1 / 8) as u8),                         // VSIZE8
        (0x50, 0x80 | halvings << 3 | halvings),             // CTRLI: divided, and by which power of two
        (0x51, in_w as u8),                                  // HSIZE
        (0x52, in_h as u8),                                  // VSIZE
        (0x53, 0),                                           // XOFFL
        (0x54, 0),                                           // YOFFL
        (0x55, bit(in_h, 8) << 7 | bit(in_w, 8) << 3),       // VHYX
        (0x57, bit(in_w, 9) << 7),                           // TEST
        (0x5a, out_w as u8),                                 // ZMOW
        (0x5b, out_h as u8),                                 // ZMOH
        (0x5c, bit(out_h, 8) << 2 | (out_w >> 8 & 3) as u8), // ZMHH
    ]
}

/// A quality from 1 to 100 as the sensor counts it, where 2 is the finest that it holds.
fn quantisation(quality: u8) -> u8 {
    62 - (u16::from(quality.clamp(1, 100) - 1) * 60 / 99) as u8
}

fn write<I: I2c>(i2c: &mut I, register: u8, value: u8) -> Result<(), I::Error> {
    i2c.write(ADDRESS, &[register, value])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_larger_size_is_taken() {
        for (wanted, got) in [
            ((0, 0), (160, 120)),
            ((320, 240), (320, 240)),
            ((321, 240), (352, 288)),
            ((320, 241), (352, 288)),
            ((700, 100), (800, 600)),
            ((5000, 10), (1600, 1200)),
        ] {
            assert_eq!(size_for(wanted.0, wanted.1), got, "{wanted:?}");
        }
    }

    #[test]
    fn qualities_stay_within_what_the_sensor_holds() {
        assert_eq!((quantisation(0), quantisation(1), quantisation(100), quantisation(255)), (62, 62, 2, 2));
        assert!((2..=100).all(|q| quantisation(q) <= quantisation(q - 1)));
    }

    /// What the registers say, put together again as the data sheet has it.
    #[test]
    fn the_registers_say_the_whole_area_and_the_size() {
        for size in SIZES {
            let registers = scaling(size);
            let value = |at: u8| u16::from(registers.iter().find(|(r, _)| *r == at).unwrap().1);
            assert_eq!((value(0xc0) * 8, value(0xc1) * 8), WHOLE);
            let width = value(0x51) | (value(0x55) >> 3 & 1) << 8 | (value(0x57) >> 7) << 9;
            let height = value(0x52) | (value(0x55) >> 7) << 8;
            assert_eq!((width * 4, height * 4), WHOLE, "{size:?}");
            let zoomed = (value(0x5a) | (value(0x5c) & 3) << 8, value(0x5b) | (value(0x5c) >> 2 & 1) << 8);
            assert_eq!((zoomed.0 * 4, zoomed.1 * 4), size);
            let (down, across) = (value(0x50) >> 3 & 7, value(0x50) & 7);
            assert!(WHOLE.0 >> across >= size.0 && WHOLE.1 >> down >= size.1, "never enlarged: {size:?}");
        }
    }
}
