//! The network between the vehicles and the broker: a TCP proxy that can go away.
//!
//! While it is down it cuts every connection and refuses new ones, as a dead spot does. What was under
//! way in either direction is lost, acknowledgements included. It can also hush: then nothing more goes
//! up, but the broker's answers still come down, so that a vehicle that is stopped afterwards knows
//! exactly which of its frames have arrived.

use super::gate::{CHUNK, Gate};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// How long bytes that are held back wait before they ask again.
const HELD: Duration = Duration::from_millis(5);

/// What passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Network {
    /// Everything.
    Up,
    /// Only what comes from the broker.
    Hushed,
    /// Nothing.
    Down,
}

/// A running proxy. Dropping it cuts everything.
#[derive(Debug)]
pub(crate) struct Proxy {
    address: SocketAddr,
    state: watch::Sender<Network>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// Starts a proxy on a free loopback port that passes everything on to `target`, upwards as far as
    /// `gate` allows.
    pub(crate) async fn start(target: SocketAddr, gate: Arc<Gate>) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let (state, seen) = watch::channel(Network::Up);
        let task = tokio::spawn(accept(listener, target, gate, seen));
        Ok(Self { address, state, task })
    }

    /// Where vehicles connect.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Makes the network come or go.
    pub(crate) fn set(&self, network: Network) {
        self.state.send_replace(network);
    }

    /// Whether the network is there.
    pub(crate) fn is_up(&self) -> bool {
        *self.state.borrow() == Network::Up
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, target: SocketAddr, gate: Arc<Gate>, state: watch::Receiver<Network>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((client, _)) if *state.borrow() == Network::Up => {
                    connections.spawn(pass(client, target, gate.clone(), state.clone()));
                }
                // Dropped: the client sees its connection closed at once.
                Ok(_) => {}
                // Out of file handles, most likely: some will be closed.
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(50)).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn pass(
    mut client: TcpStream,
    target: SocketAddr,
    gate: Arc<Gate>,
    mut state: watch::Receiver<Network>,
) {
    let Ok(mut server) = TcpStream::connect(target).await else { return };
    let _ = client.set_nodelay(true);
    let _ = server.set_nodelay(true);
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    let mut hushed = state.clone();
    let up = async {
        let hush = async { hushed.wait_for(|n| *n != Network::Up).await.is_ok() };
        let hushed = tokio::select! {
            _ = copy_gated(&mut from_client, &mut to_server, &gate) => false,
            hushed = hush => hushed,
        };
        match hushed {
            true => std::future::pending().await,
            false => drop(to_server.shutdown().await),
        }
    };
    let both = async { tokio::join!(up, copy(&mut from_server, &mut to_client)) };
    tokio::select! {
        _ = both => {}
        // An error means that the proxy itself is gone.
        _ = state.wait_for(|n| *n == Network::Down) => {}
    }
}

/// Copies until the end, holding bytes back while the gate does.
async fn copy_gated(from: &mut ReadHalf<'_>, to: &mut WriteHalf<'_>, gate: &Gate) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    loop {
        let n = from.read(&mut buffer).await?;
        if n == 0 {
            return Ok(());
        }
        while !gate.pass(n) {
            tokio::time::sleep(HELD).await;
        }
        to.write_all(&buffer[..n]).await?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that sends back what it gets.
    async fn echo() -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut read, mut write) = socket.split();
                    let _ = tokio::io::copy(&mut read, &mut write).await;
                });
            }
        });
        address
    }

    async fn round_trip(socket: &mut TcpStream) -> io::Result<()> {
        socket.write_all(b"hello").await?;
        let mut back = [0; 5];
        socket.read_exact(&mut back).await?;
        assert_eq!(&back, b"hello");
        Ok(())
    }

    #[tokio::test]
    async fn it_passes_bytes_until_the_network_goes_and_again_when_it_is_back() {
        let proxy = Proxy::start(echo().await, Arc::default()).await.unwrap();
        let mut socket = TcpStream::connect(proxy.address()).await.unwrap();
        round_trip(&mut socket).await.unwrap();
        proxy.set(Network::Down);
        let mut rest = Vec::new();
        let _ = socket.read_to_end(&mut rest).await; // ends, by a close or a reset
        assert!(!proxy.is_up());
        if let Ok(mut refused) = TcpStream::connect(proxy.address()).await {
            assert!(round_trip(&mut refused).await.is_err());
        }
        proxy.set(Network::Up);
        round_trip(&mut TcpStream::connect(proxy.address()).await.unwrap()).await.unwrap();
    }

    #[tokio::test]
    async fn hushed_it_lets_answers_down_and_nothing_up() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let proxy = Proxy::start(listener.local_addr().unwrap(), Arc::default()).await.unwrap();
        let mut client = TcpStream::connect(proxy.address()).await.unwrap();
        let mut server = listener.accept().await.unwrap().0;
        let mut got = [0; 5];
        client.write_all(b"first").await.unwrap();
        server.read_exact(&mut got).await.unwrap();
        proxy.set(Network::Hushed);
        server.write_all(b"reply").await.unwrap();
        client.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"reply");
        client.write_all(b"later").await.unwrap();
        proxy.set(Network::Down);
        let mut rest = Vec::new();
        let _ = server.read_to_end(&mut rest).await; // ends, by a close or a reset
        assert_eq!(rest, b"");
    }
}
