use super::*;
use crate::Metric;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[derive(Default)]
struct Van {
    dead: AtomicBool,
    away: AtomicBool,
}

impl Station for Van {
    fn metrics(&self, page: &mut Page) {
        page.value(&Metric::gauge("wheels", &[], "Wheels."), 4);
    }

    fn alive(&self) -> Result<(), String> {
        if self.dead.load(SeqCst) { Err("the engine\nis gone".into()) } else { Ok(()) }
    }

    fn ready(&self) -> Result<(), String> {
        if self.away.load(SeqCst) { Err("the road is closed".into()) } else { Ok(()) }
    }
}

/// A station that is served, and where.
async fn served(patience: Duration) -> (Arc<Van>, SocketAddr) {
    let van = Arc::new(Van::default());
    let listener = listen("127.0.0.1:0".parse().unwrap(), AGAIN).await;
    let address = listener.local_addr().unwrap();
    tokio::spawn(let_in(listener, van.clone(), patience));
    (van, address)
}

/// Sends bytes and reads what comes until the connection ends.
async fn say(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let mut text = Vec::new();
    // Whoever says too much is cut off in the middle of it.
    let _ = stream.write_all(bytes).await;
    let _ = stream.read_to_end(&mut text).await;
    String::from_utf8(text).unwrap()
}

async fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let text = say(address, format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await;
    let (head, body) = text.split_once("\r\n\r\n").expect(&text);
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

#[tokio::test]
async fn it_says_how_the_station_does_and_why_it_does_not() {
    let (van, address) = served(PATIENCE).await;
    let (status, page) = get(address, "/metrics").await;
    assert!(status == 200 && page.contains("\nwheels 4\n"), "{page}");
    assert_eq!(get(address, "/healthz").await, (200, "ok\n".into()));
    assert_eq!(get(address, "/readyz").await, (200, "ok\n".into()));
    van.away.store(true, SeqCst);
    assert_eq!(get(address, "/healthz").await, (200, "ok\n".into()));
    assert_eq!(get(address, "/readyz").await, (503, "the road is closed\n".into()));
    van.dead.store(true, SeqCst);
    assert_eq!(get(address, "/healthz").await, (503, "the engine is gone\n".into()));
    assert_eq!(get(address, "/readyz").await, (503, "the engine is gone\n".into()));
    assert_eq!(get(address, "/").await.0, 404);
    let posted = say(address, b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n").await;
    assert!(posted.starts_with("HTTP/1.1 405 "), "{posted}");
}

#[tokio::test]
async fn whoever_says_too_much_or_nothing_sensible_is_cut_off_and_others_are_served() {
    let (_van, address) = served(PATIENCE).await;
    let endless = [b"GET /metrics HTTP/1.1\r\nX: ".as_slice(), &vec![b'a'; 1 << 20]].concat();
    for bytes in [&endless[..], b"\0\xff\0\xff\r\n\r\n", b"GET /metrics SMTP\r\n\r\n"] {
        let said = say(address, bytes).await;
        assert!(said.is_empty() || said.starts_with("HTTP/1.1 4"), "{said}");
    }
    assert_eq!(get(address, "/healthz").await.0, 200);
}

#[tokio::test]
async fn those_who_hold_all_connections_and_say_nothing_do_not_hold_them_for_ever() {
    let (_van, address) = served(Duration::from_millis(200)).await;
    let mut silent = Vec::new();
    for _ in 0..2 * CONNECTIONS {
        silent.push(TcpStream::connect(address).await.unwrap());
    }
    assert_eq!(get(address, "/healthz").await.0, 200);
}

#[tokio::test]
async fn an_address_that_is_taken_is_waited_for() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap();
    let again = Duration::from_millis(20);
    let waiting = tokio::spawn(listen(address, again));
    tokio::time::sleep(5 * again).await;
    assert!(!waiting.is_finished());
    drop(taken);
    assert_eq!(waiting.await.unwrap().local_addr().unwrap(), address);
}
