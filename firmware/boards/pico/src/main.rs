//! Milepost's firmware for the Raspberry Pi Pico: which pins and which peripherals. What it does stands in
//! `milepost-firmware-core`.
//!
//! | | pins |
//! |---|---|
//! | receiver on UART1 | GP4 to its RX, GP5 to its TX |
//! | camera's sensor on I2C0 | GP20 SDA, GP21 SCL |
//! | camera's buffer on SPI0 | GP16 MISO, GP17 CS, GP18 SCK, GP19 MOSI |
//! | agent on UART0, 921,600 baud | GP0 TX, GP1 RX |
//! | agent on USB | the connector |
#![no_std]
#![no_main]

mod panic;
mod usb;

use embassy_executor::Spawner;
use embassy_rp::clocks::RoscRng;
use embassy_rp::gpio::{Level, Output};
use embassy_rp::peripherals::{I2C0, SPI0, UART0, UART1};
use embassy_rp::uart::{self, BufferedInterruptHandler, BufferedUart, BufferedUartRx, BufferedUartTx};
use embassy_rp::watchdog::Watchdog;
use embassy_rp::{bind_interrupts, i2c, spi};
use embassy_time::{Duration, Instant, Timer};
use embedded_hal_bus::spi::{ExclusiveDevice, NoDelay};
use embedded_io_async::{ErrorType, Read};
use milepost_firmware_core::camera::Camera;
use milepost_firmware_core::outbox::Identity;
use milepost_firmware_core::station::{DEFAULTS, Line};
use milepost_firmware_core::tasks::{Board, GpsPort, Time};
use static_cell::{ConstStaticCell, StaticCell};

bind_interrupts!(struct Interrupts {
    UART0_IRQ => BufferedInterruptHandler<UART0>;
    UART1_IRQ => BufferedInterruptHandler<UART1>;
});

/// The host link's speed. A fix takes 0.5 ms, an image of 10 kB 0.12 s.
const HOST_BAUD: u32 = 921_600;
/// ArduCAM's chip takes 8 MHz; long wires do not.
const SPI_HZ: u32 = 4_000_000;
/// Longer than a part of the board may be silent.
const WATCHDOG: Duration = Duration::from_secs(5);

type BoardClock = Board<Clock>;
type Spi = ExclusiveDevice<spi::Spi<'static, SPI0, spi::Blocking>, Output<'static>, NoDelay>;
type I2c = i2c::I2c<'static, I2C0, i2c::Blocking>;

#[embassy_executor::main]
async fn main(spawner: Spawner) {
    static BOARD: StaticCell<BoardClock> = StaticCell::new();
    let p = embassy_rp::init(Default::default());
    let mut watchdog = Watchdog::new(p.WATCHDOG);
    watchdog.start(WATCHDOG);
    let identity = Identity { board: "pico", firmware: env!("CARGO_PKG_VERSION"), boot: RoscRng.next_u32() };
    let board: &'static BoardClock = BOARD.init(Board::new(Clock, identity));

    static GPS: ConstStaticCell<([u8; 16], [u8; 512])> = ConstStaticCell::new(([0; 16], [0; 512]));
    let (tx, rx) = GPS.take();
    let gps = BufferedUart::new(p.UART1, p.PIN_4, p.PIN_5, Interrupts, tx, rx, uart::Config::default());
    spawner.spawn(read_gps(board, GpsUart(gps)).expect("each task is spawned once"));

    static HOST: ConstStaticCell<([u8; 512], [u8; 256])> = ConstStaticCell::new(([0; 512], [0; 256]));
    let (tx, rx) = HOST.take();
    let mut config = uart::Config::default();
    config.baudrate = HOST_BAUD;
    let (tx, rx) = BufferedUart::new(p.UART0, p.PIN_0, p.PIN_1, Interrupts, tx, rx, config).split();
    let usb::Port { device, sender, receiver } = usb::port(p.USB);
    spawner.spawn(run_usb(device).expect("each task is spawned once"));
    spawner.spawn(listen_uart(board, rx).expect("each task is spawned once"));
    spawner.spawn(listen_usb(board, receiver).expect("each task is spawned once"));
    spawner.spawn(send(board, tx, sender).expect("each task is spawned once"));

    let i2c = i2c::I2c::new_blocking(p.I2C0, p.PIN_21, p.PIN_20, i2c::Config::default());
    let mut config = spi::Config::default();
    config.frequency = SPI_HZ;
    let bus = spi::Spi::new_blocking(p.SPI0, p.PIN_18, p.PIN_19, p.PIN_16, config);
    let Ok(spi) = ExclusiveDevice::new_no_delay(bus, Output::new(p.PIN_17, Level::High));
    let camera = Camera::new(spi, i2c, DEFAULTS.width, DEFAULTS.height, DEFAULTS.quality);
    spawner.spawn(take_images(board, camera).expect("each task is spawned once"));

    board.watch(Output::new(p.PIN_25, Level::Low), || watchdog.feed(WATCHDOG)).await
}

#[embassy_executor::task]
async fn read_gps(board: &'static BoardClock, port: GpsUart) -> ! {
    board.read_gps(port).await
}

#[embassy_executor::task]
async fn take_images(board: &'static BoardClock, camera: Camera<Spi, I2c>) -> ! {
    board.take_images(camera).await
}

#[embassy_executor::task]
async fn listen_uart(board: &'static BoardClock, port: BufferedUartRx) -> ! {
    board.listen(Line::Uart, port).await
}

#[embassy_executor::task]
async fn listen_usb(board: &'static BoardClock, port: usb::Receiver) -> ! {
    board.listen(Line::Usb, port).await
}

#[embassy_executor::task]
async fn send(board: &'static BoardClock, uart: BufferedUartTx, usb: usb::Sender) -> ! {
    board.send(uart, usb).await
}

#[embassy_executor::task]
async fn run_usb(mut device: usb::Device) -> ! {
    device.run().await
}

/// The RP2040's timer: µs since the start.
struct Clock;

impl Time for Clock {
    fn now_us(&self) -> u64 {
        Instant::now().as_micros()
    }

    async fn wait_us(&self, us: u64) {
        Timer::after_micros(us).await;
    }
}

/// The receiver's line.
struct GpsUart(BufferedUart);

impl ErrorType for GpsUart {
    type Error = uart::Error;
}

impl Read for GpsUart {
    async fn read(&mut self, bytes: &mut [u8]) -> Result<usize, uart::Error> {
        self.0.read(bytes).await
    }
}

impl GpsPort for GpsUart {
    fn set_baud(&mut self, baud: u32) {
        self.0.set_baudrate(baud);
    }
}
