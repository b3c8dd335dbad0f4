//! Whether the proxy does what it says; beside it, because the agent's tests take its file as it is.

use crate::proxy::{Network, Proxy};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

/// Echoes bytes; counts those that it has heard.
fn echo() -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let heard = Arc::<AtomicUsize>::default();
    let count = heard.clone();
    std::thread::spawn(move || {
        for mut socket in listener.incoming().map_while(Result::ok) {
            let count = count.clone();
            std::thread::spawn(move || {
                let mut byte = [0];
                while socket.read_exact(&mut byte).is_ok() {
                    count.fetch_add(1, SeqCst);
                    if socket.write_all(&byte).is_err() {
                        return;
                    }
                }
            });
        }
    });
    (port, heard)
}

fn connected(proxy: &Proxy) -> TcpStream {
    let socket = TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    socket
}

fn answers(socket: &mut TcpStream) -> bool {
    let mut byte = [0];
    socket.write_all(b"x").is_ok() && socket.read_exact(&mut byte).is_ok()
}

/// Says a byte and hears nothing for a while, not even that the connection ends.
fn is_silent(socket: &mut TcpStream) -> bool {
    socket.write_all(b"x").unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let silent = socket.read_exact(&mut [0]).is_err_and(|e| e.kind() == ErrorKind::WouldBlock);
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    silent
}

#[test]
fn a_cut_ends_connections_and_refuses_new_ones_until_it_is_mended() {
    let proxy = Proxy::start(echo().0);
    let mut socket = connected(&proxy);
    assert!(answers(&mut socket));
    proxy.set(Network::Cut);
    assert_eq!(socket.read(&mut [0]).unwrap(), 0, "an orderly end");
    assert!(!answers(&mut connected(&proxy)));
    proxy.set(Network::Up);
    assert!(answers(&mut connected(&proxy)));
}

#[test]
fn a_reset_is_seen_as_one() {
    let proxy = Proxy::start(echo().0);
    let mut socket = connected(&proxy);
    assert!(answers(&mut socket));
    proxy.set(Network::Reset);
    assert_eq!(socket.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert!(!answers(&mut connected(&proxy)));
    proxy.set(Network::Up);
    assert!(answers(&mut connected(&proxy)));
}

#[test]
fn a_black_hole_holds_back_what_comes_when_it_is_up_again() {
    let (port, heard) = echo();
    let proxy = Proxy::start(port);
    let mut socket = connected(&proxy);
    assert!(answers(&mut socket));
    proxy.set(Network::BlackHole);
    assert!(is_silent(&mut socket));
    assert_eq!(heard.load(SeqCst), 1);
    proxy.set(Network::Up);
    assert!(socket.read_exact(&mut [0]).is_ok());
}

#[test]
fn without_answers_the_target_still_hears() {
    let (port, heard) = echo();
    let proxy = Proxy::start(port);
    let mut socket = connected(&proxy);
    proxy.set(Network::Unanswered);
    assert!(is_silent(&mut socket));
    assert_eq!(heard.load(SeqCst), 1);
    proxy.set(Network::Up);
    assert!(socket.read_exact(&mut [0]).is_ok());
}

#[test]
fn a_slow_network_is_late_both_ways() {
    let proxy = Proxy::start(echo().0);
    proxy.set(Network::Slow);
    let begun = Instant::now();
    assert!(answers(&mut connected(&proxy)));
    assert!(begun.elapsed() >= Duration::from_millis(200));
}

#[test]
fn an_abandoned_connection_stays_half_open_and_a_new_one_passes() {
    let (port, heard) = echo();
    let proxy = Proxy::start(port);
    let mut socket = connected(&proxy);
    assert!(answers(&mut socket));
    proxy.abandon();
    assert!(is_silent(&mut socket) && is_silent(&mut socket));
    assert_eq!(heard.load(SeqCst), 1);
    assert!(answers(&mut connected(&proxy)));
}
