//! The real program: an owner that sleeps in the middle of an upload and wakes long after, and a store that
//! stands still, for minutes and under many partitions.

mod support;

use bytes::Bytes;
use milepost_fake_aws::{FakeAws, Fault, Op};
use milepost_sink::ledger::Manifest;
use milepost_wire::{Stream, frame};
use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use support::{Bench, Row, camera_reading, gps_frame};

/// A sink as a process; killed when the value goes.
struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    fn start(bench: &Bench, fake: &FakeAws, who: &str, sink: &str) -> Self {
        Self::start_with(bench, fake, who, sink, "")
    }

    /// As [`Process::start`], with settings of S3.
    fn start_with(bench: &Bench, fake: &FakeAws, who: &str, sink: &str, s3: &str) -> Self {
        let keys = fake.keys(who);
        let config = format!(
            "lake = \"s3://lake\"\n[sink]\nbrokers = \"{}\"\n{sink}\n[sink.kafka]\n\
             \"session.timeout.ms\" = \"6000\"\n\"heartbeat.interval.ms\" = \"500\"\n[s3]\nendpoint = \"{}\"\n\
             region = \"us-east-1\"\naccess_key = \"{}\"\nsecret_key = \"{}\"\n{s3}\n",
            bench.cluster.bootstrap_servers(),
            fake.endpoint(),
            keys.access,
            keys.secret,
        );
        let (file, log) =
            (bench.folder().join(format!("{who}.toml")), bench.folder().join(format!("{who}.log")));
        std::fs::write(&file, config).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_milepost-sink"))
            .arg("--config")
            .arg(file)
            .env("RUST_LOG", "warn")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        Self { child, log }
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill").args([name, &self.child.id().to_string()]).status();
        assert!(status.is_ok_and(|s| s.success()), "kill {name}");
    }

    /// A figure of `/proc/<pid>/status`, in bytes.
    fn memory(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|l| l.strip_prefix(name)).unwrap();
        line.trim_matches([':', ' ', '\t']).trim_end_matches(" kB").trim().parse::<u64>().unwrap() * 1024
    }

    fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The owner stops at the upload of its first file, as `fault` says, and wakes when the next owner has
/// written everything.
fn sleeps_in_mid_upload(fault: Fault) {
    let (bench, fake) = (Bench::new(&[("gps_data", 1)]), FakeAws::start());
    let mut met = false;
    fake.plan(move |r| match r.op == Op::PutIfAbsent && r.key.ends_with(".parquet") && !met {
        true => {
            met = true;
            fault
        }
        false => Fault::None,
    });
    let mut sent: BTreeSet<Row> = bench.send_drives("gps_data", 4, 5, 20, 0);
    let settings = "topics = [\"gps_data\"]\nfile_age_ms = 200";
    let mut sleeper = Process::start(&bench, &fake, "sleeper", settings);
    assert!(fake.wait_for_parked(Duration::from_secs(60)), "no upload: {}", sleeper.log());
    sleeper.signal("-STOP");
    sent.extend(bench.send_drives("gps_data", 4, 5, 20, 5));
    let mut next = Process::start(&bench, &fake, "next", settings);
    let rows = || bench.read_s3(&fake).rows.len();
    bench.wait("the next owner has written everything", || rows() >= sent.len());
    fake.release();
    sleeper.signal("-CONT");
    bench.wait("the late upload has taken effect", || fake.parked() == 0);
    sent.extend(bench.send_drives("gps_data", 4, 5, 20, 10));
    bench.wait("what came after is written", || rows() >= sent.len());
    // Whatever the sleeper still had in hand has been tried by now, or is tried in this time.
    std::thread::sleep(Duration::from_secs(2));
    let lake = bench.read_s3(&fake);
    lake.check(&sent);
    let by_next = |r: &milepost_fake_aws::Request| r.who == "next" && r.op.writes() && r.status == Some(200);
    assert!(fake.log().iter().any(by_next), "the next owner wrote nothing");
    assert!(sleeper.is_running() && next.is_running(), "{}\n{}", sleeper.log(), next.log());
}

#[test]
fn an_owner_that_sleeps_before_its_upload_takes_effect_repeats_nothing_when_it_wakes() {
    sleeps_in_mid_upload(Fault::ParkBefore);
}

#[test]
fn an_owner_that_sleeps_before_it_hears_of_its_upload_repeats_nothing_when_it_wakes() {
    sleeps_in_mid_upload(Fault::ParkAfter);
}

#[test]
fn two_hundred_partitions_and_a_frozen_store_fit_into_250_mb() {
    const PARTITIONS: i32 = 200;
    const MOST: u64 = 250_000_000;
    let (bench, fake) = (Bench::new(&[("gps_data", PARTITIONS)]), FakeAws::start());
    // Per partition: many vehicles' fixes in small frames, and images. The mock keeps 5 MiB of each.
    let send = |round: u64| {
        for p in 0..PARTITIONS {
            for v in 0..10 {
                let vehicle = format!("v{p}-{v}");
                for n in 0..8 {
                    let frame = gps_frame(&vehicle, 1, (round * 8 + n) * 60, 60);
                    bench.send_to("gps_data", p, &vehicle, frame);
                }
            }
            let mut batch = support::batch(&format!("c{p}"), 1, Stream::Camera, round);
            batch.push(&camera_reading(200_000, (round << 32) + p as u64)).unwrap();
            bench.send_to("gps_data", p, "c", frame::encode(&batch).unwrap());
        }
        bench.flush();
    };
    let sink = Process::start(&bench, &fake, "sink", "topics = [\"gps_data\"]\nfile_age_ms = 1000");
    send(0);
    let manifests = || fake.objects().keys().filter(|k| k.starts_with("_milepost/manifests/")).count();
    bench.wait("every partition is open", || manifests() >= PARTITIONS as usize);
    fake.freeze();
    (1..5).for_each(send);
    let frozen = Instant::now();
    let mut most = 0;
    while frozen.elapsed() < Duration::from_secs(10) {
        most = most.max(sink.memory("VmRSS"));
        std::thread::sleep(Duration::from_millis(100));
    }
    fake.thaw();
    let images = || fake.objects().keys().filter(|k| k.starts_with("_images/")).count();
    bench.wait("it drains", || images() >= 5 * PARTITIONS as usize);
    let peak = sink.memory("VmHWM");
    println!("{} MB while frozen, {} MB at the most", most / 1_000_000, peak / 1_000_000);
    assert!(most <= MOST, "{most} bytes while frozen");
    assert!(peak <= MOST, "{peak} bytes at the most");
}

/// How often a request that stood still was sent most.
fn attempts(fake: &FakeAws) -> usize {
    let mut sent = HashMap::<_, usize>::new();
    for r in fake.log().into_iter().filter(|r| r.fault == Fault::ParkBefore) {
        *sent.entry((r.op, r.key)).or_default() += 1;
    }
    sent.into_values().max().unwrap_or(0)
}

/// In five minutes with the default settings an answer is missing ten times, each for 30 s, and the sink
/// pauses after every third, each time for longer. The same happens here with answers that are missing for
/// a second; with `MILEPOST_FULL` set the default settings hold, and the five minutes are real.
#[test]
fn a_store_frozen_for_five_minutes_of_time_outs_holds_the_program_s_memory_and_drains_after() {
    const TIME_OUTS: usize = 10;
    const PARTITIONS: i32 = 16;
    const IMAGES: u64 = 20;
    let full = std::env::var_os("MILEPOST_FULL").is_some();
    let s3 = if full { "" } else { "answer_timeout_ms = 1000" };
    let least = if full { Duration::from_secs(300) } else { Duration::ZERO };
    let (bench, fake) = (Bench::new(&[("gps_data", PARTITIONS)]), FakeAws::start());
    let send = |round: u64| {
        let mut sent = BTreeSet::<Row>::new();
        for p in 0..PARTITIONS {
            let (vehicle, camera) = (format!("v{p}"), format!("c{p}"));
            bench.send_to("gps_data", p, &vehicle, gps_frame(&vehicle, 1, round * 60, 60));
            sent.extend((round * 60..(round + 1) * 60).map(|n| ("gps_data".into(), vehicle.clone(), 1, n)));
            for n in round * IMAGES..(round + 1) * IMAGES {
                let mut batch = support::batch(&camera, 1, Stream::Camera, n);
                batch.push(&camera_reading(200_000, (n << 32) + p as u64)).unwrap();
                bench.send_to("gps_data", p, &camera, frame::encode(&batch).unwrap());
                sent.insert(("camera_data".into(), camera.clone(), 1, n));
            }
        }
        bench.flush();
        sent
    };
    let settings =
        "topics = [\"gps_data\"]\nfile_age_ms = 500\nbuffer_bytes = 4000000\nclaim_bytes = 1000000";
    let mut sink = Process::start_with(&bench, &fake, "sink", settings, s3);
    let mut sent = send(0);
    let rows = |sent: &BTreeSet<Row>| {
        let mut manifests = fake.objects();
        manifests.retain(|key, _| key.starts_with("_milepost/manifests/"));
        let rows = |body: &Bytes| serde_json::from_slice::<Manifest>(body).unwrap().rows;
        manifests.values().map(rows).sum::<u64>() >= sent.len() as u64
    };
    bench.wait("the first rows are written", || rows(&sent));
    let before = sink.memory("VmRSS");
    fake.freeze();
    let waiting = PARTITIONS as u64 * IMAGES * 200_000;
    sent.extend(send(1));
    let (frozen, mut most) = (Instant::now(), 0);
    while attempts(&fake) < TIME_OUTS || frozen.elapsed() < least {
        assert!(frozen.elapsed() < Duration::from_secs(400), "{} time-outs: {}", attempts(&fake), sink.log());
        most = most.max(sink.memory("VmRSS"));
        std::thread::sleep(Duration::from_millis(100));
    }
    println!(
        "frozen for {:?}: {} time-outs; memory {before} bytes before, {most} at most, {waiting} waiting",
        frozen.elapsed(),
        attempts(&fake)
    );
    assert!(most < before + waiting / 2, "{most} bytes while frozen, {before} before, {waiting} waiting");
    fake.thaw();
    bench.wait("it drains", || rows(&sent));
    assert!(sink.is_running(), "without a hand: {}", sink.log());
    bench.read_s3(&fake).check(&sent);
}
