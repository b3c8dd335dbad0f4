//! Tells systemd how the agent does: that it has started, in a line what it does, and, as long as the
//! pipeline makes progress, a sign of life. A pipeline that hangs gives none, and systemd starts the agent
//! again.
//!
//! The protocol is sd_notify(3): lines of `NAME=value` in a datagram to the socket of `NOTIFY_SOCKET`.

use crate::monitor::Monitor;
use std::ffi::OsStr;
use std::io;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

/// How often the line of status is renewed where systemd wants no sign of life.
const STATUS_EVERY: Duration = Duration::from_secs(10);
/// How often to look whether the pipeline has begun to turn.
const BEGIN_LOOK: Duration = Duration::from_millis(20);

/// A line to systemd.
#[derive(Debug)]
pub struct Notifier {
    socket: UnixDatagram,
    /// How often systemd wants a sign of life at least.
    watchdog: Option<Duration>,
}

impl Notifier {
    /// To whoever the environment names; `None` where nobody wants to hear.
    pub fn from_environment() -> Option<Self> {
        let name = std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty())?;
        let micros = std::env::var("WATCHDOG_USEC").ok().and_then(|text| text.parse().ok());
        let watchdog = micros.filter(|us| *us > 0).map(Duration::from_micros);
        match Self::open(&name, watchdog) {
            Ok(notifier) => Some(notifier),
            Err(why) => {
                tracing::warn!("NOTIFY_SOCKET {} cannot be used: {why}", name.display());
                None
            }
        }
    }

    /// To the socket at a path, or of an abstract name behind an `@`.
    pub fn open(name: &OsStr, watchdog: Option<Duration>) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        match name.as_encoded_bytes().strip_prefix(b"@") {
            #[cfg(target_os = "linux")]
            Some(name) => {
                use std::os::linux::net::SocketAddrExt;
                socket.connect_addr(&std::os::unix::net::SocketAddr::from_abstract_name(name)?)?;
            }
            _ => socket.connect(name)?,
        }
        // A systemd that does not listen must not hold up the agent.
        socket.set_nonblocking(true)?;
        Ok(Self { socket, watchdog })
    }

    /// Says that the agent is going to end.
    pub fn stopping(&self) {
        self.say("STOPPING=1\nSTATUS=Sending what is in the spool");
    }

    /// Says that the agent has started, once its pipeline turns, and then for ever how it does. Three signs of
    /// life are due in the time that systemd allows for one.
    pub async fn attend(&self, monitor: Monitor) {
        while monitor.ticked().is_zero() {
            tokio::time::sleep(BEGIN_LOOK).await;
        }
        self.say("READY=1");
        let every = self.watchdog.map_or(STATUS_EVERY, |most| most / 3);
        let mut seen = None;
        loop {
            let ticked = Some(monitor.ticked());
            let sign = if seen != ticked { "\nWATCHDOG=1" } else { "" };
            seen = ticked;
            self.say(&format!("STATUS={}{sign}", monitor.summary().replace('\n', " ")));
            tokio::time::sleep(every).await;
        }
    }

    fn say(&self, text: &str) {
        if let Err(why) = self.socket.send(text.as_bytes()) {
            tracing::debug!("systemd was not told {text:?}: {why}");
        }
    }
}
