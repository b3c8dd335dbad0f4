//! Asks a running program whether it does its work: what a container's health check runs, where there is no
//! other program to ask with.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(5);
/// The longest answer that is read, bytes.
const ANSWER_MAX: u64 = 4 << 10;

/// Why the answer was not "yes".
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// Nobody answers.
    #[error("Nothing answers at {0}: {1}")]
    Silent(SocketAddr, std::io::Error),
    /// The program says that it does not do its work, and why.
    #[error("{0}")]
    NotReady(String),
}

/// Asks the program that listens on `address` for `/readyz`.
pub fn probe(address: SocketAddr) -> Result<(), ProbeError> {
    let text = ask(here(address)).map_err(|why| ProbeError::Silent(address, why))?;
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    match head.split(' ').nth(1) {
        Some("200") => Ok(()),
        _ => Err(ProbeError::NotReady(body.trim().to_owned())),
    }
}

fn ask(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET /readyz HTTP/1.0\r\n\r\n")?;
    let mut text = Vec::new();
    stream.take(ANSWER_MAX).read_to_end(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// A program that listens on every address is asked on this machine's own.
fn here(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn asked(answer: &'static str) -> Result<(), ProbeError> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 24];
            stream.read_exact(&mut request).unwrap();
            assert!(request.starts_with(b"GET /readyz "));
            stream.write_all(answer.as_bytes()).unwrap();
        });
        let said = probe(SocketAddr::from(([0, 0, 0, 0], port)));
        server.join().unwrap();
        said
    }

    #[test]
    fn only_a_good_answer_is_a_yes_and_the_reason_is_passed_on() {
        asked("HTTP/1.0 200 OK\r\n\r\nok\n").unwrap();
        let why = asked("HTTP/1.0 503 Service Unavailable\r\n\r\nno broker\n").unwrap_err();
        assert_eq!(why.to_string(), "no broker");
        assert!(asked("").is_err());
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert!(probe(free).unwrap_err().to_string().contains(&free.to_string()));
    }
}
