//! Opening what a receiver or a board is plugged into: a serial port, or TCP where somebody else
//! holds the port.

use super::SourceError;
use serde::{Deserialize, Deserializer};
use std::path::PathBuf;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};

/// Bytes both ways.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A reader that waits longer than this for a TCP connection gives up and tries again later.
const CONNECT: Duration = Duration::from_secs(10);

/// Where a stream of bytes comes from: a device such as `/dev/ttyACM0`, or `tcp://host:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Port {
    /// A serial device, or a pseudo-terminal.
    Serial(PathBuf),
    /// Host and port.
    Tcp(String),
}

impl<'de> Deserialize<'de> for Port {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        Ok(match text.strip_prefix("tcp://") {
            Some(address) => Self::Tcp(address.into()),
            None => Self::Serial(text.into()),
        })
    }
}

impl std::fmt::Display for Port {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Serial(path) => write!(f, "{}", path.display()),
            Self::Tcp(address) => write!(f, "tcp://{address}"),
        }
    }
}

impl Port {
    /// Opens it; `baud` matters to serial devices only. A device that was unplugged gives an error on
    /// the next read, and the supervisor opens it again when it is back.
    pub(super) async fn open(&self, baud: u32) -> Result<Box<dyn Stream>, SourceError> {
        match self {
            Self::Serial(path) => match serial2_tokio::SerialPort::open(path, baud) {
                Ok(port) => Ok(Box::new(port)),
                Err(cause) => Err(SourceError::Io { what: format!("Cannot open {self}"), cause }),
            },
            Self::Tcp(address) => Ok(Box::new(connect(address).await?)),
        }
    }
}

/// Connects, with a limit to the time it takes.
pub(crate) async fn connect(address: &str) -> Result<tokio::net::TcpStream, SourceError> {
    let what = || format!("Cannot connect to {address}");
    match tokio::time::timeout(CONNECT, tokio::net::TcpStream::connect(address)).await {
        Ok(connected) => connected.map_err(SourceError::io(what())),
        Err(_) => Err(SourceError::io(what())(std::io::ErrorKind::TimedOut.into())),
    }
}
