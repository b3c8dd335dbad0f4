use super::chain::{Link, OnChange, OnFailure, Step, WhileOut};
use super::*;
use crate::clock::FakeClock;
use crate::outbox::disk::File;
use crate::outbox::{Disk, RealDisk, SpoolReader};
use crate::source::outlet::{Intake, QueueLimits, channel};
use milepost_transform_host::Applied;
use milepost_wire::reading::Gps;
use milepost_wire::{BootId, VehicleId, frame};
use std::io;
use std::path::PathBuf;
use std::sync::mpsc;

/// Takes out every third reading and fails on every tenth.
struct Picky;

impl Step for Picky {
    fn wants(&self, stream: &Stream) -> bool {
        *stream == Stream::Gps
    }
    fn apply(&mut self, _: &Stream, readings: &mut Vec<Reading>, _: u32) -> Result<Applied, Failure> {
        if readings.iter().any(|r| r.ts % 10 == 0) {
            return Err(Failure::GuestError("ten".into()));
        }
        let before = readings.len();
        readings.retain(|r| r.ts % 3 != 0);
        Ok(Applied { taken_out: (before - readings.len()) as u64, ..Applied::default() })
    }
}

fn chain(links: Vec<Link>) -> Chain {
    Chain::new(links, &[], Arc::new(FakeClock::at(0)))
}

fn picky(on_failure: OnFailure) -> Chain {
    chain(vec![Link {
        name: "picky".into(),
        digest: [7; 32],
        edition: [7; 32],
        state: OnChange::default(),
        only: None,
        on_failure,
        while_out: WhileOut::default(),
        step: Box::new(Picky),
        counters: Arc::default(),
    }])
}

fn gps(ts: i64) -> Reading {
    let body = Gps {
        lat_e7: 1,
        lon_e7: 2,
        altitude_cm: None,
        speed_mm_s: None,
        heading_cdeg: None,
        fix: 1,
        satellites: None,
        hdop_e2: None,
    };
    Reading { ts, clock: milepost_wire::Clock::Gps, body: body.into() }
}

struct Rig {
    dir: tempfile::TempDir,
    intake: Option<Intake>,
    control: mpsc::Sender<Control>,
    figures: Figures,
    flushed: CancellationToken,
    spool: SpoolReader,
    thread: std::thread::JoinHandle<Result<(), Halted>>,
}

impl Rig {
    fn start(chain: Chain, limits: QueueLimits) -> Self {
        let clock = Arc::new(FakeClock::at(1_700_000_000_000_000));
        Self::on(
            |dir| Arc::new(RealDisk::new(dir).unwrap()),
            crate::outbox::Settings::default(),
            clock,
            chain,
            limits,
        )
    }

    fn on(
        disk: impl FnOnce(PathBuf) -> Arc<dyn Disk>,
        settings: crate::outbox::Settings,
        clock: Arc<dyn Clock>,
        chain: Chain,
        limits: QueueLimits,
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let now = Now::of(&*clock);
        let disk = disk(dir.path().join("spool"));
        let vehicle = VehicleId::new("v").unwrap();
        let (outbox, spool) = Outbox::open(disk, settings, vehicle, BootId(1), now).unwrap();
        let (intake, deliveries) = channel(limits);
        let transforms = crate::health::TransformList::of(chain.links());
        let figures = Figures { transforms, ..Figures::default() };
        let (control, control_rx) = mpsc::channel();
        let flushed = CancellationToken::new();
        let pipeline = Pipeline {
            settings: Settings {
                linger: Duration::ZERO,
                batch_max: 64,
                health_every: Duration::from_secs(3600),
            },
            clock,
            deliveries,
            control: control_rx,
            chain,
            rows: Rows::new(outbox, figures.pipeline.clone(), DeadLetters::new(dir.path()), now),
            figures: figures.clone(),
            flushed: flushed.clone(),
            abort: Arc::default(),
            declared: Vec::new(),
        };
        let thread = std::thread::spawn(move || pipeline.run());
        Self { dir, intake: Some(intake), control, figures, flushed, spool, thread }
    }

    /// Ends the sources, waits for the end and reads what the spool has.
    fn finish(mut self) -> (Vec<Reading>, Figures, tempfile::TempDir) {
        self.intake = None;
        while !self.flushed.is_cancelled() {
            std::thread::sleep(Duration::from_millis(1));
        }
        self.control.send(Control::Close).unwrap();
        self.thread.join().unwrap().unwrap();
        let mut readings = Vec::new();
        while let Some(record) = self.spool.next() {
            let batch = frame::decode(&record.frame).unwrap();
            readings.extend((0..batch.len()).map(|i| batch.reading(i).unwrap()));
        }
        (readings, self.figures, self.dir)
    }
}

fn gaps(readings: &[Reading]) -> Vec<milepost_wire::reading::Gap> {
    let gap = |r: &Reading| match &r.body {
        Body::Gap(gap) => Some(gap.clone()),
        _ => None,
    };
    readings.iter().filter_map(gap).collect()
}

async fn deliver(rig: &Rig, readings: impl IntoIterator<Item = i64>) {
    let outlet = rig.intake.as_ref().unwrap().outlet("s", Arc::default());
    for ts in readings {
        outlet.send(gps(ts)).await;
    }
}

#[tokio::test]
async fn what_came_in_is_numbered_taken_out_or_poison_and_poison_is_a_gap_row() {
    let rig = Rig::start(picky(OnFailure::DeadLetter), QueueLimits::default());
    deliver(&rig, 0..1000).await;
    let (readings, figures, dir) = rig.finish();
    let link = &figures.transforms.get()[0].counters;
    let [taken, poison] = [&link.taken_out, &link.poison].map(|n| n.load(Relaxed));
    let (received, accepted) =
        (figures.pipeline.received.load(Relaxed), figures.pipeline.accepted.load(Relaxed));
    assert_eq!(received, 1000);
    assert_eq!(accepted + taken + poison, 1000);
    assert_eq!(poison, 100);
    let kept: Vec<i64> = readings.iter().filter(|r| matches!(r.body, Body::Gps(_))).map(|r| r.ts).collect();
    let expected: Vec<i64> = (0..1000).filter(|ts| ts % 10 != 0 && ts % 3 != 0).collect();
    assert_eq!(kept, expected, "in order");
    assert_eq!(figures.pipeline.accepted_by_stream()[&Stream::Gps], expected.len() as u64);
    let gaps = gaps(&readings);
    assert_eq!(gaps.iter().map(|g| g.count).sum::<i64>(), 100);
    assert!(gaps.iter().all(|g| g.reason == "poison" && g.detail.as_deref() == Some("transform picky")));
    assert_eq!(gaps[0].stream.as_deref(), Some("gps_data"));
    let kept = std::fs::read_to_string(dir.path().join(dead_letter::FILE)).unwrap();
    assert_eq!(kept.lines().count(), 100);
}

#[tokio::test]
async fn a_transform_that_may_halt_the_agent_does() {
    let rig = Rig::start(picky(OnFailure::Halt), QueueLimits::default());
    let outlet = rig.intake.as_ref().unwrap().outlet("s", Arc::default());
    outlet.send(gps(10)).await;
    let halted = rig.thread.join().unwrap().unwrap_err().to_string();
    assert!(halted.contains("picky") && halted.contains("gps_data"), "{halted}");
    outlet.send(gps(11)).await;
}

#[test]
fn what_a_live_source_could_not_hand_over_is_a_gap_row() {
    let rig = Rig::start(chain(Vec::new()), QueueLimits { readings: 1, bytes: 1 << 20 });
    let outlet = rig.intake.as_ref().unwrap().outlet("gps", Arc::default());
    for ts in 0..20_000 {
        outlet.offer(gps(ts));
    }
    let overruns = outlet.counters().overruns.load(Relaxed);
    drop(outlet);
    let (readings, figures, _dir) = rig.finish();
    let gaps = gaps(&readings);
    let lost: i64 = gaps.iter().map(|g| g.count).sum();
    assert_eq!(lost as u64, overruns);
    assert_eq!(figures.pipeline.accepted.load(Relaxed) + overruns, 20_000);
    assert!(overruns == 0 || gaps[0].detail.as_deref() == Some("source gps"));
}

/// A disk that is full while it is told to be.
struct Full {
    disk: RealDisk,
    full: Arc<AtomicBool>,
}

struct FullFile {
    file: Arc<dyn File>,
    full: Arc<AtomicBool>,
}

fn unless(full: &AtomicBool) -> io::Result<()> {
    match full.load(Relaxed) {
        true => Err(io::ErrorKind::StorageFull.into()),
        false => Ok(()),
    }
}

impl Full {
    fn wrap(&self, file: Arc<dyn File>) -> Arc<dyn File> {
        Arc::new(FullFile { file, full: self.full.clone() })
    }
}

impl Disk for Full {
    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        unless(&self.full)?;
        Ok(self.wrap(self.disk.create(name)?))
    }
    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        Ok(self.wrap(self.disk.open(name)?))
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        unless(&self.full)?;
        self.disk.rename(from, to)
    }
    fn unlink(&self, name: &str) -> io::Result<()> {
        self.disk.unlink(name)
    }
    fn sync_dir(&self) -> io::Result<()> {
        self.disk.sync_dir()
    }
    fn list(&self) -> io::Result<Vec<(String, u64)>> {
        self.disk.list()
    }
}

impl File for FullFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        unless(&self.full)?;
        self.file.write_at(offset, bytes)
    }
    fn sync(&self) -> io::Result<()> {
        unless(&self.full)?;
        self.file.sync()
    }
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(offset, into)
    }
    fn truncate(&self, len: u64) -> io::Result<()> {
        self.file.truncate(len)
    }
}

/// Lets time pass until `done`, at most ten minutes of it.
async fn pass(clock: &FakeClock, done: impl Fn() -> bool) {
    for _ in 0..6000 {
        if done() {
            return;
        }
        clock.advance(Duration::from_millis(100));
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("waited in vain");
}

#[tokio::test]
async fn while_the_disk_is_full_rows_wait_in_order_and_nothing_more_is_taken() {
    let full = Arc::new(AtomicBool::new(false));
    let clock = Arc::new(FakeClock::at(1_700_000_000_000_000));
    let settings = crate::outbox::Settings { unsynced_max: 50, ..crate::outbox::Settings::default() };
    let disk =
        |dir| -> Arc<dyn Disk> { Arc::new(Full { disk: RealDisk::new(dir).unwrap(), full: full.clone() }) };
    let rig = Rig::on(disk, settings, clock.clone(), chain(Vec::new()), QueueLimits::default());
    full.store(true, Relaxed);
    let outlet = rig.intake.as_ref().unwrap().outlet("s", Arc::default());
    for ts in 0..500 {
        outlet.send(gps(ts)).await;
    }
    pass(&clock, || rig.figures.pipeline.status().is_some_and(|s| s.trouble.is_some())).await;
    for ts in 500..1000 {
        outlet.send(gps(ts)).await;
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(rig.figures.pipeline.accepted.load(Relaxed) < 500, "what is in danger is bounded");
    drop(outlet);
    full.store(false, Relaxed);
    pass(&clock, || rig.figures.pipeline.accepted.load(Relaxed) == 1000).await;
    let (readings, _, _dir) = rig.finish();
    let kept: Vec<i64> = readings.iter().filter(|r| matches!(r.body, Body::Gps(_))).map(|r| r.ts).collect();
    assert_eq!(kept, (0..1000).collect::<Vec<i64>>());
    assert!(gaps(&readings).is_empty(), "{:?}", gaps(&readings));
}

/// Counts how often it is looked at.
struct Watched {
    clock: FakeClock,
    looks: AtomicU64,
}

impl Clock for Watched {
    fn wall_us(&self) -> i64 {
        self.clock.wall_us()
    }
    fn mono(&self) -> Duration {
        self.looks.fetch_add(1, Relaxed);
        self.clock.mono()
    }
    fn trust(&self) -> milepost_wire::Clock {
        self.clock.trust()
    }
}

#[test]
fn a_pipeline_without_sources_rests_until_it_is_closed() {
    let clock = Arc::new(Watched { clock: FakeClock::at(1_700_000_000_000_000), looks: AtomicU64::new(0) });
    let disk = |dir| -> Arc<dyn Disk> { Arc::new(RealDisk::new(dir).unwrap()) };
    let settings = crate::outbox::Settings::default();
    let mut rig = Rig::on(disk, settings, clock.clone(), chain(Vec::new()), QueueLimits::default());
    rig.intake = None;
    while !rig.flushed.is_cancelled() {
        std::thread::sleep(Duration::from_millis(1));
    }
    clock.clock.advance(Duration::from_secs(24 * 3600));
    std::thread::sleep(Duration::from_millis(300));
    let looks = clock.looks.load(Relaxed);
    assert!(looks < 100, "it looked at the clock {looks} times in a moment in which nothing was due");
    rig.finish();
}
