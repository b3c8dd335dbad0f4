//! The network between the vehicles and the broker: a TCP proxy that can go away.
//!
//! While it is down it cuts every connection and refuses new ones, as a dead spot does. What was under
//! way in either direction is lost, acknowledgements included.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// A running proxy. Dropping it cuts everything.
#[derive(Debug)]
pub(crate) struct Proxy {
    address: SocketAddr,
    up: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// Starts a proxy on a free loopback port that passes everything on to `target`.
    pub(crate) async fn start(target: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let (up, state) = watch::channel(true);
        let task = tokio::spawn(accept(listener, target, state));
        Ok(Self { address, up, task })
    }

    /// Where vehicles connect.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Makes the network come or go.
    pub(crate) fn set_up(&self, up: bool) {
        self.up.send_replace(up);
    }

    /// Whether the network is there.
    pub(crate) fn is_up(&self) -> bool {
        *self.up.borrow()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, target: SocketAddr, state: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((client, _)) if *state.borrow() => {
                    connections.spawn(pass(client, target, state.clone()));
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

async fn pass(mut client: TcpStream, target: SocketAddr, mut state: watch::Receiver<bool>) {
    let Ok(mut server) = TcpStream::connect(target).await else { return };
    let _ = client.set_nodelay(true);
    let _ = server.set_nodelay(true);
    tokio::select! {
        _ = copy_bidirectional(&mut client, &mut server) => {}
        // An error means that the proxy itself is gone.
        _ = state.wait_for(|up| !up) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

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
        let proxy = Proxy::start(echo().await).await.unwrap();
        let mut socket = TcpStream::connect(proxy.address()).await.unwrap();
        round_trip(&mut socket).await.unwrap();
        proxy.set_up(false);
        let mut rest = Vec::new();
        let _ = socket.read_to_end(&mut rest).await; // ends, by a close or a reset
        assert!(!proxy.is_up());
        if let Ok(mut refused) = TcpStream::connect(proxy.address()).await {
            assert!(round_trip(&mut refused).await.is_err());
        }
        proxy.set_up(true);
        round_trip(&mut TcpStream::connect(proxy.address()).await.unwrap()).await.unwrap();
    }
}
