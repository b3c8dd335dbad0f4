//! A real Mosquitto, the proxy of the end-to-end tests, a subscriber that decodes frames and a source of a
//! script. No test uses all of it.
#![allow(dead_code)]

/// The TCP proxy, in one copy for all tests.
#[path = "../../../tests/src/proxy.rs"]
#[allow(unreachable_pub, reason = "it is a library's module elsewhere")]
pub(crate) mod proxy;

use milepost_agent::config::Config;
use milepost_agent::source::{Outlet, Run, Source};
use milepost_agent::units::Span;
use milepost_wire::reading::{Gap, Gps, Health};
use milepost_wire::{Batch, Body, BootId, Clock, Reading, Stream, VehicleId, frame, topic};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::{AsyncClient, Event, EventLoop, Incoming, MqttOptions};
use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How long a test waits for what must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A Mosquitto on a free loopback port; ended when dropped.
pub(crate) struct Mosquitto {
    child: Child,
    pub(crate) dir: tempfile::TempDir,
    program: PathBuf,
    pub(crate) port: u16,
}

impl Mosquitto {
    /// `None`, and a line that says so, where Mosquitto is not installed; a failure in CI.
    pub(crate) fn start(extra: &str) -> Option<Self> {
        Self::start_on(free_port(), extra)
    }

    /// As [`Mosquitto::start`], on a port of the test's choice.
    pub(crate) fn start_on(port: u16, extra: &str) -> Option<Self> {
        let program = program()?;
        let dir = tempfile::tempdir().unwrap();
        let mut broker = Self { child: spawn(&program, dir.path(), port, extra), dir, program, port };
        broker.wait();
        Some(broker)
    }

    /// Kills it (-9) and starts it again on the same port with other settings.
    pub(crate) fn restart(&mut self, extra: &str) {
        self.kill();
        self.child = spawn(&self.program, self.dir.path(), self.port, extra);
        self.wait();
    }

    /// Kills it (-9).
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Stops it in order, so that it writes down its state where it keeps one.
    pub(crate) fn stop(&mut self) {
        assert!(Command::new("kill").arg(self.child.id().to_string()).status().unwrap().success());
        self.child.wait().unwrap();
    }

    fn wait(&mut self) {
        let until = Instant::now() + PATIENCE;
        while std::net::TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(Instant::now() < until, "mosquitto did not start");
            assert!(self.child.try_wait().unwrap().is_none(), "mosquitto ended");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn program() -> Option<PathBuf> {
    let places = ["/usr/sbin/mosquitto", "/usr/bin/mosquitto", "/usr/local/sbin/mosquitto"];
    let found = places.iter().map(PathBuf::from).find(|p| p.exists());
    if found.is_none() {
        assert!(std::env::var_os("CI").is_none(), "CI needs mosquitto: apt-get install mosquitto");
        println!("skipped: mosquitto is not installed (apt-get install mosquitto)");
    }
    found
}

fn spawn(program: &Path, dir: &Path, port: u16, extra: &str) -> Child {
    let config = format!(
        "listener {port} 127.0.0.1\nuser root\nallow_anonymous true\nmax_queued_messages 0\n{extra}\n"
    );
    std::fs::write(dir.join("mosquitto.conf"), config).unwrap();
    let log = std::fs::File::create(dir.join("mosquitto.log")).unwrap();
    Command::new(program)
        .arg("-c")
        .arg(dir.join("mosquitto.conf"))
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap()
}

/// A loopback port that nobody has.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Collects frames as they come, as a bridge does: in a session that the broker keeps, connecting again
/// whenever it must.
pub(crate) struct Subscriber {
    frames: Arc<Mutex<Vec<Batch>>>,
    task: JoinHandle<()>,
}

impl Subscriber {
    /// Subscribed when this returns.
    pub(crate) async fn start(port: u16) -> Self {
        let mut options = MqttOptions::new("subscriber", "127.0.0.1", port);
        options.set_max_packet_size(Some(2 * frame::MAX_FRAME as u32));
        options.set_clean_start(false).set_session_expiry_interval(Some(3600));
        let (client, event_loop) = AsyncClient::new(options, 10);
        let frames: Arc<Mutex<Vec<Batch>>> = Arc::default();
        let (subscribed, is_subscribed) = tokio::sync::oneshot::channel();
        let task = tokio::spawn(collect(client, event_loop, frames.clone(), subscribed));
        is_subscribed.await.unwrap();
        Self { frames, task }
    }

    pub(crate) fn frames(&self) -> Vec<Batch> {
        self.frames.lock().unwrap().clone()
    }

    /// How often each number of a stream came, by boot.
    pub(crate) fn numbers(&self, stream: &Stream) -> BTreeMap<BootId, BTreeMap<u64, usize>> {
        let mut seen: BTreeMap<BootId, BTreeMap<u64, usize>> = BTreeMap::new();
        for batch in self.frames().iter().filter(|b| b.stream == *stream) {
            for i in 0..batch.len() as u64 {
                *seen.entry(batch.boot).or_default().entry(batch.first_seq + i).or_default() += 1;
            }
        }
        seen
    }

    /// Every reading of a stream, in the order in which it came.
    pub(crate) fn readings(&self, stream: &Stream) -> Vec<Reading> {
        let frames = self.frames();
        let of_stream = frames.iter().filter(|b| b.stream == *stream);
        of_stream.flat_map(|b| (0..b.len()).map(|i| b.reading(i).unwrap())).collect()
    }

    pub(crate) fn gaps(&self) -> Vec<Gap> {
        let gap = |r: Reading| match r.body {
            Body::Gap(gap) => gap,
            other => panic!("{other:?}"),
        };
        self.readings(&Stream::Gap).into_iter().map(gap).collect()
    }

    pub(crate) fn health(&self) -> Vec<Health> {
        let health = |r: Reading| match r.body {
            Body::Health(health) => health,
            other => panic!("{other:?}"),
        };
        self.readings(&Stream::Health).into_iter().map(health).collect()
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn collect(
    client: AsyncClient,
    mut event_loop: EventLoop,
    into: Arc<Mutex<Vec<Batch>>>,
    subscribed: tokio::sync::oneshot::Sender<()>,
) {
    let mut subscribed = Some(subscribed);
    loop {
        match event_loop.poll().await {
            Ok(Event::Incoming(Incoming::ConnAck(_))) => {
                client.subscribe(topic::MQTT_FILTER, QoS::AtLeastOnce).await.unwrap();
            }
            Ok(Event::Incoming(Incoming::SubAck(_))) => {
                subscribed.take().map(|subscribed| subscribed.send(()));
            }
            Ok(Event::Incoming(Incoming::Publish(publish))) => {
                let batch = frame::decode(&publish.payload).unwrap();
                let topic = topic::mqtt(&batch.vehicle, &batch.stream);
                assert_eq!(publish.topic, topic.as_bytes());
                into.lock().unwrap().push(batch);
            }
            Ok(_) => {}
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

/// Waits until `done` says so.
pub(crate) async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// An agent's settings that make a test quick.
pub(crate) fn config(dir: &Path, port: u16) -> Config {
    let mut config = Config::new(VehicleId::new("truck-1").unwrap(), dir);
    config.uplink.url = format!("mqtt://127.0.0.1:{port}");
    config.uplink.retry_min = Span(Duration::from_millis(20));
    config.uplink.retry_max = Span(Duration::from_millis(200));
    config.batch.age_max = Span(Duration::from_millis(100));
    config
}

/// Delivers its readings, `pause` between one and the next, and then ends.
pub(crate) struct Script {
    pub(crate) readings: std::vec::IntoIter<Reading>,
    pub(crate) pause: Duration,
}

/// A script as a source with a name.
pub(crate) fn script(readings: Vec<Reading>, pause: Duration) -> (String, Box<dyn Source>) {
    ("script".into(), Box::new(Script { readings: readings.into_iter(), pause }))
}

impl Source for Script {
    fn run<'a>(&'a mut self, outlet: &'a Outlet, _: &'a CancellationToken) -> Run<'a> {
        Box::pin(async move {
            for reading in self.readings.by_ref() {
                outlet.send(reading).await;
                if !self.pause.is_zero() {
                    tokio::time::sleep(self.pause).await;
                }
            }
            Ok(())
        })
    }
}

/// Fix `n` of a drive.
pub(crate) fn gps(n: i64) -> Reading {
    let body = Gps {
        lat_e7: 515_000_000 + n as i32 * 37,
        lon_e7: -1_000_000 - n as i32 * 11,
        altitude_cm: Some(1000 + n as i32 % 50),
        speed_mm_s: Some(13_000),
        heading_cdeg: Some(9000),
        fix: 1,
        satellites: Some(9),
        hdop_e2: Some(90),
    };
    Reading { ts: 1_700_000_000_000_000 + n * 1_000_000, clock: Clock::Gps, body: body.into() }
}

/// A picture of so many bytes.
pub(crate) fn camera(n: i64, bytes: usize) -> Reading {
    let body = milepost_wire::reading::Camera {
        camera_id: "front".into(),
        lat_e7: None,
        lon_e7: None,
        image: (0..bytes as u64).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect(),
        width: None,
        height: None,
    };
    Reading { ts: 1_700_000_000_000_000 + n, clock: Clock::Ntp, body: body.into() }
}

/// An authority, a certificate for 127.0.0.1 and one for a vehicle, as PEM files in a folder. `None`,
/// and a line that says so, where openssl is not installed; a failure in CI.
pub(crate) fn certificates(dir: &Path, vehicle: &str) -> Option<()> {
    if Command::new("openssl").arg("version").stdout(Stdio::null()).status().is_err() {
        assert!(std::env::var_os("CI").is_none(), "CI needs openssl: apt-get install openssl");
        println!("skipped: openssl is not installed (apt-get install openssl)");
        return None;
    }
    let openssl = |arguments: &str| {
        let status = Command::new("openssl")
            .args(arguments.split(' '))
            .current_dir(dir)
            .stderr(Stdio::null())
            .status();
        assert!(status.unwrap().success(), "openssl {arguments}");
    };
    let new = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    openssl(&format!("req -x509 {new} -keyout ca.key -out ca.pem -subj /CN=authority -days 2"));
    std::fs::write(dir.join("server.ext"), "subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n")
        .unwrap();
    std::fs::write(dir.join("client.ext"), "basicConstraints=CA:FALSE\n").unwrap();
    for (name, subject) in [("server", "127.0.0.1"), ("client", vehicle)] {
        openssl(&format!("req {new} -keyout {name}.key -out {name}.csr -subj /CN={subject}"));
        openssl(&format!(
            "x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out {name}.pem -days 2 -extfile {name}.ext"
        ));
    }
    Some(())
}
