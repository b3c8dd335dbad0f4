//! A TCP proxy that a test can make misbehave: it cuts, resets, swallows, holds answers back, delays and
//! leaves connections half open.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How the network is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Network {
    /// Bytes pass.
    Up,
    /// Connections end at once, new ones too.
    Cut,
    /// As [`Network::Cut`], with a reset (RST) in place of an orderly end (FIN).
    Reset,
    /// Connections stand, and no byte passes in either direction until the network is up again.
    BlackHole,
    /// What the client says arrives; the answers are held back until the network is up again.
    Unanswered,
    /// Every read is passed on a tenth of a second late.
    Slow,
}

/// What has become of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Fate {
    Stands,
    Ended,
    Reset,
    /// Each side believes that it is connected; nothing it says arrives, and its end is not heard of.
    HalfOpen,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    ToTarget,
    Back,
}

const LATE: Duration = Duration::from_millis(100);
/// How long a read or a write waits before it looks at the connection's fate.
const LOOK: Duration = Duration::from_millis(20);

struct Shared {
    target: u16,
    network: AtomicU8,
    stop: AtomicBool,
    /// The fate of every connection that stands.
    open: Mutex<Vec<Arc<AtomicU8>>>,
}

/// A proxy in front of a loopback port; it ends with the value.
pub struct Proxy {
    pub port: u16,
    shared: Arc<Shared>,
}

impl Proxy {
    /// Starts one on a free port.
    pub fn start(target: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a free port");
        let port = listener.local_addr().expect("a bound socket has an address").port();
        let shared = Arc::new(Shared {
            target,
            network: AtomicU8::new(Network::Up as u8),
            stop: AtomicBool::new(false),
            open: Mutex::default(),
        });
        let inner = Arc::clone(&shared);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if inner.stop.load(SeqCst) {
                    return;
                }
                match () {
                    () if inner.is(Network::Cut) => drop(client),
                    () if inner.is(Network::Reset) => reset_at_end(&client),
                    () => pass(&inner, client),
                }
            }
        });
        Self { port, shared }
    }

    /// Changes the network. [`Network::Cut`] and [`Network::Reset`] end every connection that stands.
    pub fn set(&self, network: Network) {
        self.shared.network.store(network as u8, SeqCst);
        match network {
            Network::Cut => self.shared.decide(Fate::Ended),
            Network::Reset => self.shared.decide(Fate::Reset),
            _ => {}
        }
    }

    /// Leaves every connection that stands half open, for good: what either side says is lost and
    /// neither hears that the other is gone. New connections pass.
    pub fn abandon(&self) {
        self.shared.decide(Fate::HalfOpen);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.stop.store(true, SeqCst);
        self.shared.decide(Fate::Ended);
        // Wakes the listener, which then ends.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
    }
}

impl Shared {
    fn is(&self, network: Network) -> bool {
        self.network.load(SeqCst) == network as u8
    }

    fn open(&self) -> MutexGuard<'_, Vec<Arc<AtomicU8>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn decide(&self, fate: Fate) {
        self.open().iter().for_each(|connection| connection.store(fate as u8, SeqCst));
    }

    /// Whether the network lets nothing pass this way.
    fn holds(&self, way: Way) -> bool {
        self.is(Network::BlackHole) || (way == Way::Back && self.is(Network::Unanswered))
    }
}

/// One direction of a connection.
struct Half {
    shared: Arc<Shared>,
    fate: Arc<AtomicU8>,
    way: Way,
    from: TcpStream,
    to: TcpStream,
}

fn reset_at_end(socket: &TcpStream) {
    // A socket that does not linger says RST when its last handle goes.
    let _ = socket2::SockRef::from(socket).set_linger(Some(Duration::ZERO));
}

fn pass(shared: &Arc<Shared>, client: TcpStream) {
    let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, shared.target)) else { return };
    for socket in [&client, &server] {
        let _ = socket.set_nodelay(true);
        let _ = (socket.set_read_timeout(Some(LOOK)), socket.set_write_timeout(Some(LOOK)));
    }
    let fate = Arc::new(AtomicU8::new(Fate::Stands as u8));
    let (Ok(client_too), Ok(server_too)) = (client.try_clone(), server.try_clone()) else { return };
    shared.open().push(Arc::clone(&fate));
    for (way, from, to) in [(Way::ToTarget, client, server), (Way::Back, server_too, client_too)] {
        let half = Half { shared: Arc::clone(shared), fate: Arc::clone(&fate), way, from, to };
        std::thread::spawn(move || half.run());
    }
}

impl Half {
    fn has(&self, fate: Fate) -> bool {
        self.fate.load(SeqCst) == fate as u8
    }

    fn run(mut self) {
        while self.step() {}
        while self.has(Fate::HalfOpen) {
            std::thread::sleep(LOOK);
        }
        if self.has(Fate::Reset) {
            reset_at_end(&self.from);
            reset_at_end(&self.to);
        } else {
            let _ = (self.from.shutdown(Shutdown::Both), self.to.shutdown(Shutdown::Both));
        }
        self.shared.open().retain(|fate| !Arc::ptr_eq(fate, &self.fate));
    }

    /// Reads once and passes it on; false when this direction is over.
    fn step(&mut self) -> bool {
        let mut buffer = [0; 16 << 10];
        let n = match self.from.read(&mut buffer) {
            Ok(0) => return false,
            Ok(n) => n,
            Err(e) => return waits(&e) && (self.has(Fate::Stands) || self.has(Fate::HalfOpen)),
        };
        while self.shared.holds(self.way) && self.has(Fate::Stands) {
            std::thread::sleep(LOOK);
        }
        if self.shared.is(Network::Slow) {
            std::thread::sleep(LATE);
        }
        self.write(&buffer[..n])
    }

    fn write(&mut self, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() && !self.has(Fate::HalfOpen) {
            match self.to.write(bytes) {
                _ if !self.has(Fate::Stands) && !self.has(Fate::HalfOpen) => return false,
                Ok(n) => bytes = &bytes[n..],
                Err(e) if waits(&e) => {}
                Err(_) => return false,
            }
        }
        true
    }
}

fn waits(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}
