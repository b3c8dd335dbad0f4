//! `milepost demo`: the whole chain in one process, over real sockets, with nothing to install.
//!
//! Vehicles are whole agents with spools on disk. What lives in memory only are the broker and Kafka,
//! so the demo stops in the order of the data path and leaves a mark while it runs: see [`marker`].

mod broker;
pub(crate) mod cloud;
mod fleet;
mod gate;
mod kafka;
mod marker;
mod progress;
mod proxy;
mod s3;
mod spool;
mod sql;
mod summary;
mod tap;
mod trouble;

use crate::audit::{self, Verdict};
use crate::{Failure, Outcome};
use clap::Args;
use cloud::Cloud;
use fleet::{Fleet, Plan, Stopped};
use gate::Gate;
use marker::Marker;
use milepost_sink::store::Folder;
use progress::{Show, State};
use proxy::{Network, Proxy};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use summary::Summary;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use trouble::{Failures, Trouble};

/// Simulated seconds in a second.
const SPEED: f64 = 200.0;
/// Between two looks at the chain.
const STEP: Duration = Duration::from_millis(100);
/// How long the network is away at least and at most.
const OUTAGE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(8));
/// How long vehicles may take to hand over what their spools hold when the demo ends.
const DRAIN: Duration = Duration::from_secs(30);
/// How long the broker's last answers may take.
const HUSH: Duration = Duration::from_millis(500);
/// A second signal counts from so long after the first on: `timeout` and some shells send each signal
/// twice, to the process and to its group.
const SECOND: Duration = Duration::from_secs(1);
/// Files and sockets that the demo has open at most: without vehicles, and more for each.
const OPEN_FILES: (usize, usize) = (300, 16);
/// Kafka partitions of a topic: enough that few vehicles share one.
const PARTITIONS: usize = 32;

/// The folders in the data folder.
const LAKE: &str = "lake";
const VEHICLES: &str = "vehicles";

/// Options of `milepost demo`.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// How many vehicles drive, at most 1000: all are in this process, with brokers that keep all in memory
    #[arg(long, default_value = "5", value_parser = crate::at_most::<1000>)]
    vehicles: usize,
    /// Only the last so many minutes of the trip, in simulated time [default: the whole trip]
    #[arg(long, value_name = "M", value_parser = crate::positive)]
    minutes: Option<f64>,
    /// Which trips: the same number gives the same readings
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Take the network away for a while, halfway (the default)
    #[arg(long, overrides_with = "no_outage")]
    outage: bool,
    /// Leave the network alone
    #[arg(long, overrides_with = "outage")]
    no_outage: bool,
    /// Where spools and the lake go; the lake is D/lake
    #[arg(long, value_name = "D", default_value = "milepost-data")]
    data_dir: PathBuf,
    /// One more vehicle that replays this NMEA or NDJSON log, as fast as it goes; may be given several
    /// times. It is called what FILE is called, without the folder and what follows the last dot, and
    /// with `-` for each character that is no letter or digit of ASCII and none of `.`, `_` and `-`
    #[arg(long, value_name = "FILE")]
    replay: Vec<PathBuf>,
    /// No transforms: every reading that is accepted reaches a table unchanged
    #[arg(long)]
    no_transforms: bool,
    /// Print the summary as one JSON object on the last line of standard output
    #[arg(long)]
    json: bool,
}

/// How the driving ended.
enum End {
    /// Every vehicle has arrived.
    Arrived,
    /// Ctrl-C, or another signal to stop.
    Interrupted,
    /// Kafka's mock would soon have dropped something.
    Full(gate::Full),
}

/// Runs the command.
pub fn run(options: &Options) -> Result<Outcome, Failure> {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "off".into());
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    log.log_internal_errors(false).init();
    options.replay.iter().try_for_each(|path| can_be_replayed(path))?;
    let vehicles = options.vehicles + options.replay.len();
    crate::may_open_files(vehicles, OPEN_FILES.0 + OPEN_FILES.1 * vehicles)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let summary = runtime.block_on(demo(options))?;
    // rumqttd cannot be stopped: its threads end with the process.
    runtime.shutdown_background();
    if options.json {
        crate::say(&(serde_json::to_string(&summary)? + "\n"))?;
    }
    Ok(match summary.verdict {
        Verdict::Ok => Outcome::Good,
        Verdict::Bad => Outcome::Bad,
    })
}

/// A log is opened here, for its first line, and by the vehicle: it must be there both times.
fn can_be_replayed(path: &Path) -> Result<(), Failure> {
    let shown = path.display();
    let kind = std::fs::metadata(path).map_err(|e| format!("{shown} cannot be read: {e}"))?.file_type();
    if kind.is_dir() {
        return Err(format!("{shown} is a folder: give --replay each log by itself").into());
    }
    if !kind.is_file() {
        return Err(format!("{shown} is a pipe or a device: write the log into a file first").into());
    }
    std::fs::File::open(path).map_err(|e| format!("{shown} cannot be read: {e}"))?;
    Ok(())
}

async fn demo(options: &Options) -> Result<Summary, Failure> {
    let since = Instant::now();
    let plan = Plan {
        vehicles: options.vehicles,
        replays: options.replay.clone(),
        minutes: options.minutes,
        seed: options.seed,
        speed: SPEED,
        transforms: !options.no_transforms,
    };
    plan.sources()?;
    // Before the mark is set: whoever is told to stop from here on takes it away again.
    let mut told = signals()?;
    let Chain { marker, lake, cloud, gate, network, fleet } = Chain::start(&plan, &options.data_dir).await?;
    let mut show = Show::start(&fleet.look());
    let end = drive(
        &plan,
        options.outage || !options.no_outage,
        &cloud,
        &network,
        &gate,
        &fleet,
        &mut show,
        &mut told,
    )
    .await;
    match &end {
        End::Arrived => show.say("Stopping: the vehicles say goodbye, and the last files are written."),
        End::Interrupted => {
            show.say("Stopping: what the vehicles have read goes to the lake. Ctrl-C again kills.")
        }
        End::Full(full) => show.say(&full.to_string()),
    }
    let (stopped, full) = stop(fleet, &end, &cloud, &network, &gate, &show).await;
    let mut trouble = Trouble::default();
    let mut newest = None;
    let failures = |sink: Failures| {
        newest = sink.newest.clone();
        trouble.step(Instant::now(), None, sink).iter().for_each(|what| show.say(what));
    };
    let sizes = cloud.stop(&stopped.expected, failures).await?;
    show.end();
    let report =
        audit::audit_with(Arc::new(Folder::open(&lake)?), &stopped.expected, &stopped.waiting, false).await?;
    marker.clear()?;
    let summary = Summary::new(&report, sizes, &stopped, full, newest, &lake, since.elapsed());
    summary.print(&report, options.json)?;
    Ok(summary)
}

/// Everything that runs.
struct Chain {
    marker: Marker,
    /// The folder of the lake.
    lake: PathBuf,
    cloud: Cloud,
    gate: Arc<Gate>,
    network: Proxy,
    fleet: Fleet,
}

impl Chain {
    /// Starts everything, or takes away the mark where that does not succeed and nothing is left in
    /// memory that could be missed.
    async fn start(plan: &Plan, data_dir: &Path) -> Result<Self, Failure> {
        let marker = Marker::set(data_dir)?;
        let folder = std::fs::canonicalize(data_dir)?;
        let (lake, gate) = (folder.join(LAKE), Arc::<Gate>::default());
        let (cloud, network) = match Self::cloud(plan, &lake, gate.clone()).await {
            Ok(started) => started,
            Err(e) => {
                marker.clear()?;
                return Err(e);
            }
        };
        match Fleet::start(plan, &folder.join(VEHICLES), network.address()).await {
            Ok(fleet) => Ok(Self { marker, lake, cloud, gate, network, fleet }),
            Err(e) => {
                // Vehicles that did start may have sent what an earlier demo left.
                cloud.stop(&[], |_| ()).await?;
                marker.clear()?;
                Err(e)
            }
        }
    }

    async fn cloud(plan: &Plan, lake: &Path, gate: Arc<Gate>) -> Result<(Cloud, Proxy), Failure> {
        let vehicles = plan.vehicles + plan.replays.len();
        let partitions = PARTITIONS.max(2 * vehicles).min(256) as i32;
        let secret =
            u128::from(milepost_agent::clock::entropy()) << 64 | u128::from(milepost_agent::clock::entropy());
        let cloud = Cloud::start(lake, vehicles + 64, partitions, secret).await?;
        let network = Proxy::start(cloud.broker(), gate).await?;
        Ok((cloud, network))
    }
}

/// Tells when the demo is to stop: at the first SIGINT or SIGTERM, or when its terminal is closed (SIGHUP).
/// Another one, a while later, ends the process at once.
fn signals() -> Result<watch::Receiver<bool>, Failure> {
    let (tell, told) = watch::channel(false);
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let mut hangup = match milepost_agent::kernel::ignores_hangup() {
        true => None,
        false => Some(signal(SignalKind::hangup())?),
    };
    tokio::spawn(async move {
        let mut first = None;
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                Some(()) = async { hangup.as_mut()?.recv().await } => {}
            }
            tell.send_replace(true);
            if first.get_or_insert_with(Instant::now).elapsed() >= SECOND {
                std::process::exit(130);
            }
        }
    });
    Ok(told)
}

/// Stops the vehicles. The second value says whether Kafka was too full for what they had left.
async fn stop(
    fleet: Fleet,
    end: &End,
    cloud: &Cloud,
    network: &Proxy,
    gate: &Gate,
    show: &Show,
) -> (Stopped, bool) {
    if let End::Full(_) = end {
        hush(network).await;
        return (fleet.stop(Duration::ZERO).await, true);
    }
    network.set(Network::Up);
    let mut stopping = std::pin::pin!(fleet.stop(DRAIN));
    loop {
        tokio::select! {
            stopped = &mut stopping => return (stopped, false),
            () = tokio::time::sleep(STEP) => {}
        }
        if let Err(full) = cloud.check(gate) {
            show.say(&full.to_string());
            hush(network).await;
            return (stopping.await, true);
        }
    }
}

/// Lets no byte more to Kafka: what the broker has is answered, and the rest stays in the spools.
async fn hush(network: &Proxy) {
    network.set(Network::Hushed);
    tokio::time::sleep(HUSH).await;
    network.set(Network::Down);
}

/// Watches the vehicles drive.
#[allow(clippy::too_many_arguments)]
async fn drive(
    plan: &Plan,
    outage: bool,
    cloud: &Cloud,
    network: &Proxy,
    gate: &Gate,
    fleet: &Fleet,
    show: &mut Show,
    told: &mut watch::Receiver<bool>,
) -> End {
    let since = Instant::now();
    let expected = plan.duration();
    let mut outage = outage.then(|| Outage::halfway(expected));
    let mut arrived = std::pin::pin!(fleet.arrived());
    let mut is_there = false;
    let mut trouble = Trouble::default();
    loop {
        tokio::select! {
            () = &mut arrived, if !is_there => {
                is_there = true;
                network.set(Network::Up);
                outage = None;
                show.say("Destination reached: all vehicles have arrived. What their spools hold is sent.");
            }
            _ = told.wait_for(|told| *told) => return End::Interrupted,
            () = tokio::time::sleep(STEP) => {}
        }
        if let Err(full) = cloud.check(gate) {
            return End::Full(full);
        }
        let what = trouble.step(Instant::now(), fleet.trouble(), cloud.failures());
        what.iter().for_each(|what| show.say(what));
        if is_there && fleet.is_drained() {
            return End::Arrived;
        }
        if let Some(outage) = &mut outage {
            outage.step(since.elapsed(), network, show);
        }
        let done = since.elapsed().as_secs_f64() / expected.as_secs_f64().max(0.001);
        show.show(&State {
            vehicles: &fleet.look(),
            cloud: cloud.progress(),
            done: done.min(1.0),
            network: network.is_up(),
        });
    }
}

/// When the network goes and comes back.
struct Outage {
    from: Duration,
    until: Duration,
}

impl Outage {
    fn halfway(expected: Duration) -> Self {
        let from = expected / 2;
        Self { from, until: from + (expected / 6).clamp(OUTAGE.0, OUTAGE.1) }
    }

    fn step(&mut self, now: Duration, network: &Proxy, show: &Show) {
        let up = !(self.from..self.until).contains(&now);
        if up != network.is_up() {
            network.set(if up { Network::Up } else { Network::Down });
            show.say(match up {
                true => "The network is back: the spools drain.",
                false => "The network goes away: the vehicles' spools fill.",
            });
        }
    }
}
