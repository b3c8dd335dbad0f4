//! The link over USB: a serial port of class CDC-ACM, which no host needs a driver for. Under Linux udev
//! calls it `/dev/serial/by-id/usb-Milepost_Board-if00`, wherever it is plugged in.

use embassy_rp::peripherals::USB;
use embassy_rp::usb::{Driver, InterruptHandler};
use embassy_rp::{Peri, bind_interrupts};
use embassy_usb::class::cdc_acm::{self, BufferedReceiver, CdcAcmClass, CdcAcmError};
use embassy_usb::{Builder, Config, UsbDevice};
use embedded_io_async::{ErrorType, Read, Write};
use static_cell::{ConstStaticCell, StaticCell};

bind_interrupts!(struct Interrupts {
    USBCTRL_IRQ => InterruptHandler<USB>;
});

/// pid.codes' vendor id, and its product id for testing.
const VENDOR: u16 = 0x1209;
const PRODUCT: u16 = 0x0001;
/// The largest packet of a bulk endpoint at full speed.
const PACKET: usize = 64;

pub(crate) type Device = UsbDevice<'static, Driver<'static, USB>>;

/// The link's parts.
pub(crate) struct Port {
    pub(crate) device: Device,
    pub(crate) sender: Sender,
    pub(crate) receiver: Receiver,
}

/// Makes them.
pub(crate) fn port(usb: Peri<'static, USB>) -> Port {
    static BUFFERS: ConstStaticCell<([u8; 128], [u8; 16], [u8; 64], [u8; PACKET])> =
        ConstStaticCell::new(([0; 128], [0; 16], [0; 64], [0; PACKET]));
    static STATE: StaticCell<cdc_acm::State<'static>> = StaticCell::new();
    let mut config = Config::new(VENDOR, PRODUCT);
    config.manufacturer = Some("Milepost");
    config.product = Some("Board");
    let (configuration, bos, control, received) = BUFFERS.take();
    let driver = Driver::new(usb, Interrupts);
    let mut builder = Builder::new(driver, config, configuration, bos, &mut [], control);
    let class = CdcAcmClass::new(&mut builder, STATE.init(cdc_acm::State::new()), PACKET as u16);
    let (sender, receiver) = class.split();
    let sender = Sender { sender, full: false };
    Port { device: builder.build(), sender, receiver: Receiver(receiver.into_buffered(received)) }
}

/// Receives. Before a host has set the port up, an endpoint gives what happens to be in its memory.
pub(crate) struct Receiver(BufferedReceiver<'static, Driver<'static, USB>>);

impl ErrorType for Receiver {
    type Error = CdcAcmError;
}

impl Read for Receiver {
    async fn read(&mut self, bytes: &mut [u8]) -> Result<usize, CdcAcmError> {
        self.0.wait_connection().await;
        self.0.read(bytes).await
    }
}

/// Sends packets, and says where a message ends: after a full packet the host waits for another one.
pub(crate) struct Sender {
    sender: cdc_acm::Sender<'static, Driver<'static, USB>>,
    /// The last packet was a full one.
    full: bool,
}

impl ErrorType for Sender {
    type Error = CdcAcmError;
}

impl Write for Sender {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, CdcAcmError> {
        self.sender.wait_connection().await;
        let n = self.sender.write(bytes).await?;
        self.full = n == PACKET;
        Ok(n)
    }

    async fn flush(&mut self) -> Result<(), CdcAcmError> {
        if core::mem::take(&mut self.full) {
            self.sender.write(&[]).await?;
        }
        Ok(())
    }
}
