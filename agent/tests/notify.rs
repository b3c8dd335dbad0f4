//! What systemd hears of the agent, on a socket of the test's own.

mod support;

use milepost_agent::clock::FakeClock;
use milepost_agent::notify::Notifier;
use milepost_agent::run::{Agent, Seams};
use std::ffi::OsStr;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use support::PATIENCE;

/// A socket on which a test hears what systemd would.
fn listen(path: &Path) -> UnixDatagram {
    let socket = UnixDatagram::bind(path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

fn hear(socket: &UnixDatagram) -> String {
    let mut buffer = [0; 1024];
    let length = socket.recv(&mut buffer).expect("the agent says something");
    String::from_utf8(buffer[..length].to_vec()).unwrap()
}

#[test]
fn it_says_when_it_runs_that_it_lives_what_it_does_and_when_it_stops() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notify");
    let socket = listen(&path);
    let mut child = Command::new(env!("CARGO_BIN_EXE_milepost-agent"))
        .env("MILEPOST_AGENT__VEHICLE", "truck-1")
        .env("MILEPOST_AGENT__DATA_DIR", dir.path().join("data"))
        .env("MILEPOST_AGENT__UPLINK__URL", "mqtt://127.0.0.1:1")
        .env("MILEPOST_AGENT__METRICS__LISTEN", "")
        .env("NOTIFY_SOCKET", &path)
        .env("WATCHDOG_USEC", "900000")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    assert_eq!(hear(&socket), "READY=1");
    for _ in 0..3 {
        let said = hear(&socket);
        assert!(said.starts_with("STATUS=No connection to the broker, "), "{said}");
        assert!(said.ends_with("\nWATCHDOG=1"), "{said}");
    }
    assert!(Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
    let until = Instant::now() + PATIENCE;
    while !hear(&socket).starts_with("STOPPING=1") {
        assert!(Instant::now() < until, "it does not say that it stops");
    }
    assert!(child.wait().unwrap().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pipeline_that_makes_no_progress_gives_no_sign_of_life() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notify");
    let socket = listen(&path);
    let clock = Arc::new(FakeClock::at(1_772_000_000_000_000));
    clock.advance(Duration::from_secs(1));
    let config = support::config(dir.path(), 1);
    let seams = Seams { clock: clock.clone(), ..Seams::default() };
    let agent = Agent::start(config, seams).await.unwrap();
    let notifier = Notifier::open(path.as_os_str(), Some(Duration::from_millis(150))).unwrap();
    let monitor = agent.monitor();
    let attending = tokio::spawn(async move { notifier.attend(monitor).await });
    let heard = tokio::task::spawn_blocking(move || {
        assert_eq!(hear(&socket), "READY=1");
        assert!(hear(&socket).ends_with("WATCHDOG=1"), "it has turned once");
        // Its clock stands still, and with it all that the pipeline can be seen to do.
        for _ in 0..5 {
            let said = hear(&socket);
            assert!(!said.contains("WATCHDOG"), "{said}");
        }
        clock.advance(Duration::from_secs(1));
        let until = Instant::now() + PATIENCE;
        while !hear(&socket).ends_with("WATCHDOG=1") {
            assert!(Instant::now() < until, "it turns again and does not say so");
        }
    });
    heard.await.unwrap();
    attending.abort();
    agent.abort().await;
}

#[test]
fn an_abstract_name_is_heard_too_and_one_that_nobody_listens_on_is_an_error() {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::SocketAddr;
    let name = format!("milepost-notify-{}", std::process::id());
    let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let notifier = Notifier::open(OsStr::new(&format!("@{name}")), None).unwrap();
    notifier.stopping();
    assert!(hear(&socket).starts_with("STOPPING=1"));
    drop(socket);
    notifier.stopping();
    assert!(Notifier::open(OsStr::new("/nowhere/notify"), None).is_err());
}
