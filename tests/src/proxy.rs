//! A TCP proxy that a test can make misbehave: cut, swallow, slow down.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How the network is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Network {
    /// Bytes pass.
    Up,
    /// Connections end at once, new ones too.
    Cut,
    /// Connections stand, and no byte passes in either direction until the network is up again.
    BlackHole,
    /// Every read is passed on a tenth of a second late.
    Slow,
}

const LATE: Duration = Duration::from_millis(100);
const LOOK: Duration = Duration::from_millis(20);

struct Shared {
    target: u16,
    network: AtomicU8,
    /// Connections of an earlier generation are to end.
    generation: AtomicU64,
    stop: AtomicBool,
    open: Mutex<Vec<TcpStream>>,
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
            generation: AtomicU64::new(0),
            stop: AtomicBool::new(false),
            open: Mutex::default(),
        });
        let inner = Arc::clone(&shared);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if inner.stop.load(SeqCst) {
                    return;
                }
                if !inner.is(Network::Cut) {
                    pass(&inner, client);
                }
            }
        });
        Self { port, shared }
    }

    /// Changes the network. [`Network::Cut`] ends every connection that stands.
    pub fn set(&self, network: Network) {
        self.shared.network.store(network as u8, SeqCst);
        if network == Network::Cut {
            self.shared.end_all();
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.stop.store(true, SeqCst);
        self.shared.end_all();
        // Wakes the listener, which then ends.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
    }
}

impl Shared {
    fn is(&self, network: Network) -> bool {
        self.network.load(SeqCst) == network as u8
    }

    fn end_all(&self) {
        self.generation.fetch_add(1, SeqCst);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        for socket in open.drain(..) {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

fn pass(shared: &Arc<Shared>, client: TcpStream) {
    let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, shared.target)) else { return };
    let pairs = [(client.try_clone(), server.try_clone()), (server.try_clone(), client.try_clone())];
    for (from, to) in pairs {
        if let (Ok(from), Ok(to)) = (from, to) {
            let shared = Arc::clone(shared);
            std::thread::spawn(move || copy(&shared, from, to));
        }
    }
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    shared.open.lock().unwrap_or_else(PoisonError::into_inner).extend([client, server]);
}

fn copy(shared: &Shared, mut from: TcpStream, mut to: TcpStream) {
    let generation = shared.generation.load(SeqCst);
    let mut buffer = vec![0; 64 << 10];
    while let Ok(n @ 1..) = from.read(&mut buffer) {
        while shared.is(Network::BlackHole) && shared.generation.load(SeqCst) == generation {
            std::thread::sleep(LOOK);
        }
        if shared.is(Network::Slow) {
            std::thread::sleep(LATE);
        }
        if shared.generation.load(SeqCst) != generation || to.write_all(&buffer[..n]).is_err() {
            break;
        }
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn echo() -> u16 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for mut socket in listener.incoming().map_while(Result::ok) {
                std::thread::spawn(move || {
                    let mut byte = [0];
                    while socket.read_exact(&mut byte).is_ok() && socket.write_all(&byte).is_ok() {}
                });
            }
        });
        port
    }

    fn connected(proxy: &Proxy) -> TcpStream {
        let socket = TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port)).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        socket
    }

    fn answers(socket: &mut TcpStream) -> bool {
        let mut byte = [0];
        socket.write_all(b"x").is_ok() && socket.read_exact(&mut byte).is_ok()
    }

    #[test]
    fn it_passes_swallows_and_cuts() {
        let proxy = Proxy::start(echo());
        let mut socket = connected(&proxy);
        assert!(answers(&mut socket));
        proxy.set(Network::BlackHole);
        socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        assert!(!answers(&mut socket));
        proxy.set(Network::Up);
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        assert!(socket.read_exact(&mut [0]).is_ok(), "what was held back comes when it is up again");
        proxy.set(Network::Cut);
        assert!(!answers(&mut socket));
        assert!(!answers(&mut connected(&proxy)));
        proxy.set(Network::Up);
        assert!(answers(&mut connected(&proxy)));
    }
}
