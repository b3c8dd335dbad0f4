//! Frames a second from a backlog in a real Mosquitto through the real bridge into a real Kafka (all
//! acknowledged, idempotent), beside a bare QoS 1 subscriber that takes the same backlog from the same
//! Mosquitto; and what the bridge takes of the processor.
//!
//! `cargo xtask bench bridge`

use milepost_tests::campaign::Dice;
use milepost_tests::kafka::Kafka;
use milepost_tests::mqtt::publish;
use milepost_tests::process::{Mosquitto, Process, program, wait_for};
use milepost_wire::reading::Gps;
use milepost_wire::{Batch, BootId, Clock, Reading, Stream, VehicleId, frame, topic};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::{AsyncClient, Event, MqttOptions};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

const VEHICLES: usize = 20;
const PARTITIONS: i32 = 3;
const FRAMES: usize = 100_000;
const ROUNDS: usize = 3;
const PATIENCE: Duration = Duration::from_secs(300);
/// The goals: times the subscriber's rate, and CPU seconds for 100,000 frames.
const GOALS: (f64, f64) = (0.8, 1.2);

fn main() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    for sub in ["mosquitto", "kafka"] {
        std::fs::create_dir(dir.path().join(sub)).expect("a folder");
    }
    let mosquitto = Mosquitto::start(&dir.path().join("mosquitto"));
    let kafka = Kafka::start(&dir.path().join("kafka"), PARTITIONS);
    let (Some(mosquitto), Some(kafka)) = (mosquitto, kafka) else {
        return eprintln!("Mosquitto or Kafka is missing: start it by `cargo xtask bench bridge`");
    };
    let rig = Rig { dir: dir.path(), mosquitto, kafka };
    let mut met = [0; 2];
    println!("frame B  round  bridge frames/s  subscriber frames/s  ratio  bridge CPU-s / 100 k");
    for bytes in [300, 1000] {
        let frames = frames(bytes);
        rig.subscribe_both(&frames[0]);
        for round in 1..=ROUNDS {
            publish(rig.mosquitto.port, frames.iter().cycle().take(FRAMES).cloned().collect());
            let (bridge, cpu) = rig.bridge(FRAMES);
            let bare = rig.subscriber(FRAMES);
            let (ratio, cpu) = (bridge / bare, cpu * 100_000.0 / FRAMES as f64);
            println!(
                "{:>7}  {round:>5}  {bridge:>15.0}  {bare:>19.0}  {ratio:>5.2}  {cpu:>20.2}",
                frames[0].1.len()
            );
            met[0] += usize::from(ratio >= GOALS.0);
            met[1] += usize::from(cpu <= GOALS.1);
        }
    }
    println!(
        "goals: {} times the subscriber's rate ({} of {} runs), {} CPU-s for 100,000 frames ({})",
        GOALS.0,
        met[0],
        2 * ROUNDS,
        GOALS.1,
        met[1]
    );
}

/// A frame of each vehicle with its topic, of about so many bytes.
fn frames(bytes: usize) -> Vec<(String, Vec<u8>)> {
    let mut dice = Dice::new(7);
    let vehicles = (0..VEHICLES).map(|n| VehicleId::new(format!("van-{n}")).expect("a good name"));
    vehicles
        .map(|vehicle| (topic::mqtt(&vehicle, &Stream::Gps), frame_of(&vehicle, bytes, &mut dice)))
        .collect()
}

fn frame_of(vehicle: &VehicleId, bytes: usize, dice: &mut Dice) -> Vec<u8> {
    let columns = Stream::Gps.columns().expect("a built-in stream");
    let mut batch = Batch::new(vehicle.clone(), BootId(7), Stream::Gps, columns, 0, Vec::new());
    let mut encoded = Vec::new();
    while encoded.len() < bytes {
        let n = batch.len() as i64;
        let fix = Gps {
            lat_e7: 515_000_000 + dice.below(3000) as i32,
            lon_e7: -1_000_000 + dice.below(3000) as i32,
            altitude_cm: Some(dice.below(300) as i32),
            speed_mm_s: Some(13_000 + dice.below(500) as u32),
            heading_cdeg: Some(dice.below(500) as u16),
            fix: 1,
            satellites: Some(9),
            hdop_e2: None,
        };
        let ts = 1_772_000_000_000_000 + n * 1_000_000;
        batch.push(&Reading { ts, clock: Clock::Gps, body: fix.into() }).expect("it fits");
        encoded = frame::encode(&batch).expect("it has a frame");
    }
    encoded
}

struct Rig<'a> {
    dir: &'a Path,
    mosquitto: Mosquitto,
    kafka: Kafka,
}

impl Rig<'_> {
    /// From here on the broker keeps frames for the bridge and for the subscriber.
    fn subscribe_both(&self, probe: &(String, Vec<u8>)) {
        self.subscriber(0);
        let bridge = self.start_bridge();
        let (before, mut probes) = (self.stored(), 0);
        wait_for("the bridge's subscription", PATIENCE, || {
            publish(self.mosquitto.port, vec![probe.clone()]);
            probes += 1;
            self.stored() > before
        });
        bridge.terminate(PATIENCE);
        self.subscriber(probes);
    }

    fn start_bridge(&self) -> Process {
        let file = self.dir.join("bridge.toml");
        let text = format!(
            "[mqtt]\nurl = \"mqtt://127.0.0.1:{}\"\n[kafka]\n\"bootstrap.servers\" = \"{}\"\n",
            self.mosquitto.port,
            self.kafka.bootstrap_servers()
        );
        std::fs::write(&file, text).expect("a file");
        let mut bridge = Command::new(program("milepost-bridge", "milepost-bridge"));
        bridge.arg("--config").arg(&file);
        Process::start(&mut bridge, &self.dir.join("bridge.log"))
    }

    /// Takes the backlog: frames a second from the program's start to the last one in Kafka, and CPU seconds.
    fn bridge(&self, frames: usize) -> (f64, f64) {
        let (before, from) = (self.stored(), Instant::now());
        let bridge = self.start_bridge();
        while self.stored() < before + frames as i64 {
            assert!(from.elapsed() < PATIENCE, "only {} of {frames} are in Kafka", self.stored() - before);
            std::thread::sleep(Duration::from_millis(20));
        }
        let (took, cpu) = (from.elapsed(), bridge.cpu());
        bridge.terminate(PATIENCE);
        (frames as f64 / took.as_secs_f64(), cpu.as_secs_f64())
    }

    /// Frames in Kafka.
    fn stored(&self) -> i64 {
        let mut config = ClientConfig::new();
        let consumer: BaseConsumer =
            config.set("bootstrap.servers", self.kafka.bootstrap_servers()).create().expect("a consumer");
        let end = |p| consumer.fetch_watermarks("gps_data", p, PATIENCE).map_or(0, |(_, end)| end);
        (0..PARTITIONS).map(end).sum()
    }

    /// Takes at least `frames` of the backlog as a bare subscriber: frames a second from the connection on.
    /// Of none it only subscribes.
    fn subscriber(&self, frames: usize) -> f64 {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let mut options = MqttOptions::new("bare", "127.0.0.1", self.mosquitto.port);
            options.set_clean_start(false).set_session_expiry_interval(Some(3600));
            options.set_receive_maximum(Some(4000)).set_max_packet_size(Some(1 << 20));
            let (client, mut events) = AsyncClient::new(options, 16);
            client.subscribe("milepost/v1/#", QoS::AtLeastOnce).await.expect("the client subscribes");
            let (from, mut heard, mut subscribed) = (Instant::now(), 0, false);
            while heard < frames || !subscribed {
                match events.poll().await.expect("the broker answers") {
                    Event::Incoming(Packet::Publish(_)) => heard += 1,
                    Event::Incoming(Packet::SubAck(_)) => subscribed = true,
                    _ => {}
                }
            }
            let rate = heard as f64 / from.elapsed().as_secs_f64();
            // The last acknowledgements leave before the goodbye.
            client.disconnect().await.expect("the client says goodbye");
            while events.poll().await.is_ok() {}
            rate
        })
    }
}
