//! The sink's program, killed (-9) at every request that a claim's life makes of S3, before and after its
//! effect, and whoever takes over, killed at every request of its own: the lake is the undisturbed one,
//! byte for byte, and its audit finds nothing.
//!
//! The Kafka is librdkafka's mock: a real one for each of so many lives would take an hour.

use milepost_fake_aws::{BUCKET, FakeAws, Fault, Request};
use milepost_tests::chain::audit;
use milepost_tests::process::{Process, program, wait_for};
use milepost_wire::reading::{Camera, Gps};
use milepost_wire::{
    Batch, Body, BootId, Clock, ColumnSpec, Derived, Kind, Reading, Stream, StreamName, Value, VehicleId,
    frame,
};
use rdkafka::ClientConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer};
use serde_json::Value as Json;
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(120);
/// Lives at a time: they wait for Kafka's group more than they work.
const AT_A_TIME: usize = 40;
/// Records of a claim; every claim is cut by this number, so that each life cuts the same.
const RECORDS: usize = 6;
/// Claims in the lake before the topic was made again, and at the end.
const CLAIMS_BEFORE: usize = 1;
const CLAIMS: usize = 3;
/// Fixes at the end.
const ROWS: u64 = 130;
/// What a claim's life asks for at least.
const SORTS: [&str; 15] = [
    "List claims",
    "Get claims",
    "PutIfAbsent claims",
    "Head manifests",
    "Get manifests",
    "PutIfAbsent manifests",
    "Get state",
    "PutIfAbsent state",
    "List columns",
    "Get columns",
    "PutIfAbsent columns",
    "PutIfAbsent tables",
    "Get tables",
    "PutIfAbsent images",
    "PutIfAbsent unread",
];
const TOPIC: &str = "gps_data";
/// 2023-11-14 in µs, and the time of every record.
const DAY_US: i64 = 1_699_920_000_000_000;
const MANIFESTS: &str = "_milepost/manifests/";

type Objects = BTreeMap<String, bytes::Bytes>;
/// What a request asks for, and of what: `Get claims`.
type Sort = String;

/// Whose every request is a kill point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Victim {
    /// The first owner.
    First,
    /// The second: the first has died when all but the manifest of its first claim was there.
    SecondOfUnfinished,
    /// The second: the first has died when the manifest of its first claim was there too.
    SecondOfFinished,
}

const VICTIMS: [Victim; 3] = [Victim::First, Victim::SecondOfUnfinished, Victim::SecondOfFinished];

/// When a victim dies, and what becomes of its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Death {
    /// Before the effect, which never comes.
    Before,
    /// Before the effect, which comes when the others have written everything: a zombie's.
    LongBefore,
    /// After the effect, and before the answer.
    After,
}

const DEATHS: [Death; 3] = [Death::Before, Death::LongBefore, Death::After];

impl Death {
    fn fault(self) -> Fault {
        if self == Death::After { Fault::ParkAfter } else { Fault::ParkBefore }
    }
}

/// What goes wrong with a request of a life in which `victim` dies at its request `number`.
fn plan(victim: Victim, number: usize, death: Death) -> impl FnMut(&Request) -> Fault + Send + 'static {
    let (mut requests, mut first_is_dead) = (0, false);
    move |r| {
        let dies = if victim == Victim::First { "first" } else { "second" };
        if r.who == dies {
            requests += 1;
            return if requests == number { death.fault() } else { Fault::None };
        }
        if r.who == "first" && r.op.writes() && r.key.starts_with(MANIFESTS) && !first_is_dead {
            first_is_dead = true;
            return match victim {
                Victim::SecondOfUnfinished => Fault::ParkBefore,
                _ => Fault::ParkAfter,
            };
        }
        Fault::None
    }
}

/// A topic of one partition, an S3 and the programs between them.
struct Life {
    cluster: MockCluster<'static, DefaultProducerContext>,
    fake: FakeAws,
    dir: tempfile::TempDir,
}

impl Life {
    /// Begins with records in the topic and objects in the lake.
    fn begin(records: &[Vec<u8>], lake: &Objects) -> Self {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic(TOPIC, 1, 1).unwrap();
        let mut config = ClientConfig::new();
        let producer: BaseProducer =
            config.set("bootstrap.servers", cluster.bootstrap_servers()).create().unwrap();
        for record in records {
            producer.send(BaseRecord::<str, _>::to(TOPIC).payload(record).timestamp(DAY_US / 1000)).unwrap();
        }
        producer.flush(PATIENCE).unwrap();
        let fake = FakeAws::start();
        fake.edit(|objects| objects.clone_from(lake));
        Self { cluster, fake, dir: tempfile::tempdir().unwrap() }
    }

    fn start(&self, who: &str) -> Process {
        let keys = self.fake.keys(who);
        let text = format!(
            "lake = \"s3://{BUCKET}\"\n[sink]\nbrokers = \"{}\"\ntopics = [\"{TOPIC}\"]\n\
             claim_records = {RECORDS}\nfile_age_ms = 600000\n[sink.kafka]\n\"session.timeout.ms\" = \"4000\"\n\
             \"heartbeat.interval.ms\" = \"200\"\n[s3]\nendpoint = \"{}\"\nregion = \"us-east-1\"\n\
             access_key = \"{}\"\nsecret_key = \"{}\"\n",
            self.cluster.bootstrap_servers(),
            self.fake.endpoint(),
            keys.access,
            keys.secret,
        );
        let config = self.dir.path().join(format!("{who}.toml"));
        std::fs::write(&config, text).unwrap();
        let mut command = Command::new(program("milepost-sink", "milepost-sink"));
        command.arg("--config").arg(config);
        Process::start(&mut command, &self.dir.path().join(format!("{who}.log")))
    }

    /// Whether everything is in the lake that `claims` stand for.
    fn is_written(&self, claims: usize) -> bool {
        self.fake.objects().keys().filter(|k| k.starts_with(MANIFESTS)).count() == claims
    }

    /// The requests at which the plan lets somebody die.
    fn fatal(&self) -> Vec<Request> {
        self.fake.log().into_iter().filter(|r| r.fault != Fault::None).collect()
    }

    /// Runs one owner after the other, each until it stands still at a request and is killed there, until
    /// all of `claims` is written. The request of death `late` stays where it is; that of any other is
    /// dropped. Gives how many died.
    fn live(&self, claims: usize, late: Option<usize>) -> usize {
        for (dead, who) in ["first", "second", "third"].into_iter().enumerate() {
            let owner = self.start(who);
            let log = || std::fs::read_to_string(self.dir.path().join(format!("{who}.log"))).unwrap();
            let until = Instant::now() + PATIENCE;
            while self.fatal().len() == dead && !self.is_written(claims) {
                assert!(Instant::now() < until, "the {who} owner does not finish: {}", log());
                std::thread::sleep(Duration::from_millis(25));
            }
            let dies = self.fatal().len() > dead;
            assert!(!dies || self.fake.wait_for_parked(PATIENCE), "the {who} owner's request");
            owner.kill();
            match (dies, late == Some(dead)) {
                (false, _) => return dead,
                (true, false) => self.fake.drop_parked(),
                (true, true) => {}
            }
        }
        panic!("the third owner dies, too");
    }
}

fn batch(stream: Stream, columns: &[ColumnSpec], first: u64) -> Batch {
    Batch::new(VehicleId::new("v").unwrap(), BootId(1), stream, columns, first, Vec::new())
}

/// A frame of ten fixes.
fn fixes(first: u64) -> Vec<u8> {
    let mut batch = batch(Stream::Gps, Stream::Gps.columns().unwrap(), first);
    for seq in first..first + 10 {
        let (altitude_cm, speed_mm_s, heading_cdeg, satellites, hdop_e2) = Default::default();
        let (lat_e7, lon_e7) = (515_000_000 + seq as i32, -1_270_000);
        let fix = Gps { lat_e7, lon_e7, altitude_cm, speed_mm_s, heading_cdeg, fix: 1, satellites, hdop_e2 };
        let ts = DAY_US + seq as i64 * 1_000_000;
        batch.push(&Reading { ts, clock: Clock::Gps, body: fix.into() }).unwrap();
    }
    frame::encode(&batch).unwrap()
}

/// A frame of one event that a transform derived, so many days later.
fn event(seq: u64, day: i64) -> Vec<u8> {
    let stream = StreamName::new("harsh_event").unwrap();
    let columns = [ColumnSpec::new("n", Kind::Int).unwrap()];
    let mut batch = batch(Stream::Derived(stream.clone()), &columns, seq);
    let row = Derived { stream, columns: columns.to_vec().into(), values: vec![Value::Int(7)] };
    batch
        .push(&Reading { ts: DAY_US + day * 86_400_000_000, clock: Clock::Gps, body: Body::Derived(row) })
        .unwrap();
    frame::encode(&batch).unwrap()
}

/// A frame with a picture.
fn picture() -> Vec<u8> {
    let mut batch = batch(Stream::Camera, Stream::Camera.columns().unwrap(), 0);
    let image = [&[0xff, 0xd8, 0xff][..], &[7; 2000]].concat();
    let body =
        Camera { camera_id: "front".into(), lat_e7: None, lon_e7: None, image, width: None, height: None };
    batch.push(&Reading { ts: DAY_US, clock: Clock::Gps, body: body.into() }).unwrap();
    frame::encode(&batch).unwrap()
}

/// What was in the topic before it was deleted.
fn before() -> Vec<Vec<u8>> {
    (0..RECORDS as u64).map(|n| fixes(n * 10)).collect()
}

/// A claim with everything that a claim can have, whose state is written because the topic was made again
/// (what it begins with comes a second time), and a plain one.
fn after() -> Vec<Vec<u8>> {
    let everything = vec![fixes(50), fixes(60), event(0, 0), event(1, 1), picture(), b"no frame".to_vec()];
    everything.into_iter().chain((7..7 + RECORDS as u64).map(|n| fixes(n * 10))).collect()
}

/// Tables, images and unread records: all but what says who wrote it and when. The topic's id, another in
/// each life, is left out.
fn content(life: &Life, former: &Objects) -> Objects {
    const CLAIMS: &str = "_milepost/claims/gps_data/";
    let mut objects = life.fake.objects();
    let mut claims = objects.keys().filter(|key| !former.contains_key(*key));
    let id = claims.find_map(|key| key.strip_prefix(CLAIMS)?.split('/').next()).unwrap().to_owned();
    objects.retain(|key, _| !key.starts_with("_milepost/") || key.starts_with("_milepost/unread/"));
    let named = |key: String| key.replace(&id, "").replace(&id[..16], "");
    objects.into_iter().map(|(key, body)| (named(key), body)).collect()
}

fn report(life: &Life) -> Json {
    let lake = life.dir.path().join("lake");
    life.fake.save(&lake);
    serde_json::from_str(audit(&lake).1.lines().last().unwrap_or_default()).unwrap_or_default()
}

fn sort(r: &Request) -> Sort {
    let mut parts = r.key.split('/');
    let area = match parts.next() {
        Some("_milepost") => parts.next().unwrap_or_default(),
        Some("_images") => "images",
        _ => "tables",
    };
    format!("{:?} {area}", r.op)
}

/// What all lives have in common.
struct Lives {
    /// The lake before the topic was made again, and at the end of a life that nobody disturbs.
    former: Objects,
    undisturbed: Objects,
    /// What was asked for in any life, and where somebody was killed.
    asked: Mutex<BTreeSet<Sort>>,
    killed: Mutex<BTreeSet<(Sort, Death)>>,
}

impl Lives {
    fn prepare() -> Self {
        let life = Life::begin(&before(), &Objects::new());
        assert_eq!(life.live(CLAIMS_BEFORE, None), 0);
        let former = life.fake.objects();
        let life = Life::begin(&after(), &former);
        assert_eq!(life.live(CLAIMS, None), 0);
        let undisturbed = content(&life, &former);
        Self { former, undisturbed, asked: Mutex::default(), killed: Mutex::default() }
    }

    /// One life: whether its victim sent so many requests that it died.
    fn run(&self, victim: Victim, death: Death, number: usize) -> bool {
        let what = format!("{victim:?} dies at its request {number}, {death:?}");
        let life = Life::begin(&after(), &self.former);
        life.fake.plan(plan(victim, number, death));
        let last = usize::from(victim != Victim::First);
        let late = (death == Death::LongBefore).then_some(last);
        let met = life.live(CLAIMS, late) > last;
        life.fake.release();
        wait_for(&format!("{what}: the late effect"), PATIENCE, || {
            late.is_none() || !met || life.fatal()[last].status.is_some()
        });
        let report = report(&life);
        let (here, there) = (content(&life, &self.former), &self.undisturbed);
        let keys: BTreeSet<&String> = here.keys().chain(there.keys()).collect();
        let other: Vec<_> = keys.into_iter().filter(|key| here.get(*key) != there.get(*key)).collect();
        assert!(other.is_empty(), "{what}: not as in the undisturbed lake: {other:?}, {report}");
        // The record that is no frame is all that the audit may find.
        let found = (&report["faults_total"], &report["ledger"]["unread"], &report["tables"][TOPIC]["rows"]);
        assert_eq!(found, (&1.into(), &1.into(), &ROWS.into()), "{what}: {report}");
        self.asked.lock().unwrap().extend(life.fake.log().iter().map(sort));
        if met {
            self.killed.lock().unwrap().insert((sort(&life.fatal()[last]), death));
        }
        met
    }
}

/// Every number from 1 on, of each victim and death, until one is behind the last request of a life.
#[derive(Default)]
struct Points {
    next: BTreeMap<(Victim, Death), usize>,
    ended: BTreeMap<(Victim, Death), usize>,
}

impl Points {
    fn next(&mut self) -> Option<(Victim, Death, usize)> {
        let open = |d: &(Victim, Death)| !self.ended.contains_key(d);
        let all = VICTIMS.into_iter().flat_map(|v| DEATHS.map(|d| (v, d)));
        let at = all.filter(open).min_by_key(|at| self.next.get(at).copied().unwrap_or(1))?;
        let next = self.next.entry(at).or_insert(1);
        *next += 1;
        Some((at.0, at.1, *next - 1))
    }

    fn end(&mut self, victim: Victim, death: Death, number: usize) {
        let at = self.ended.entry((victim, death)).or_insert(number);
        *at = number.min(*at);
    }
}

#[test]
fn a_sink_killed_at_every_request_leaves_the_lake_that_an_undisturbed_one_leaves() {
    let lives = Lives::prepare();
    let (points, met) = (Mutex::new(Points::default()), Mutex::new(BTreeSet::new()));
    std::thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| {
                while let Some((victim, death, number)) = { points.lock().unwrap().next() } {
                    match lives.run(victim, death, number) {
                        true => _ = met.lock().unwrap().insert((victim, death, number)),
                        false => points.lock().unwrap().end(victim, death, number),
                    }
                }
            });
        }
    });
    let (met, ended) = (met.into_inner().unwrap(), points.into_inner().unwrap().ended);
    println!("{} deaths; the first number that no request had: {ended:?}", met.len());
    for ((victim, death), end) in ended {
        let numbers = met.iter().filter(|m| (m.0, m.1) == (victim, death)).map(|m| m.2);
        assert!(numbers.eq(1..end), "{victim:?} {death:?}: not every request up to {end}");
    }
    let (asked, killed) = (lives.asked.into_inner().unwrap(), lives.killed.into_inner().unwrap());
    println!("{asked:?}");
    for death in DEATHS {
        let here: BTreeSet<Sort> = killed.iter().filter(|k| k.1 == death).map(|k| k.0.clone()).collect();
        assert_eq!(here, asked, "{death:?}: nobody was killed at some sort of request");
    }
    for sort in SORTS {
        assert!(asked.contains(sort), "no {sort} in any life: {asked:?}");
    }
}
