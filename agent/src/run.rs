//! Builds an agent of its configuration and runs it: sources, the pipeline's thread, the uplink.
//!
//! Many agents may run in one process; they share nothing but the engine, if they are given one.
//! Signals and exit codes are the binary's.

use crate::clock::{self, Clock, Entropy, Now, SystemClock};
use crate::config::{Config, ConfigError, TransformConfig};
use crate::health::{Figures, TransformList};
use crate::monitor::Monitor;
use crate::outbox::{Disk, OpenError, Outbox, RealDisk, Status};
use crate::pipeline::chain::{Chain, Halted};
use crate::pipeline::dead_letter::DeadLetters;
use crate::pipeline::load::{Loader, ReloadError, TransformError};
use crate::pipeline::{self, Control, Pipeline, Rows};
use crate::source::outlet::{Outlet, channel};
use crate::source::{Backoff, Context, Source, SourceError, supervise};
use crate::uplink::Driver;
use milepost_transform_host::{Compiler, Engine};
use milepost_wire::{BootId, VehicleId};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How long a graceful stop waits for the spool beyond its deadline.
const SPOOL_PATIENCE: Duration = Duration::from_secs(5);

/// What an agent gets from outside, so that tests and the demo can give it something else.
#[derive(Clone)]
pub struct Seams {
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Entropy,
    /// The spool's disk; `None`: the folder `spool` in the data folder.
    pub disk: Option<Arc<dyn Disk>>,
    /// The engine for transforms; `None`: one of its own, if there are transforms.
    pub engine: Option<Engine>,
    /// Who compiles for an engine of its own; `None`: this process, with no limit.
    pub compiler: Option<Compiler>,
}

impl Default for Seams {
    fn default() -> Self {
        let clock = Arc::new(SystemClock::new());
        Self { clock, entropy: clock::entropy, disk: None, engine: None, compiler: None }
    }
}

/// Why an agent did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A setting is wrong, or a file that it names.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The data folder cannot be made or is in use.
    #[error("The data folder {path} is not usable: {why}")]
    DataDir {
        /// The folder.
        path: PathBuf,
        /// Why.
        why: std::io::Error,
    },
    /// The spool cannot be opened.
    #[error(transparent)]
    Spool(#[from] OpenError),
    /// A transform cannot be loaded.
    #[error(transparent)]
    Transform(#[from] TransformError),
    /// A source cannot be made.
    #[error("Source {name}: {why}")]
    Source {
        /// The source.
        name: String,
        /// Why.
        why: SourceError,
    },
    /// The pipeline's thread cannot be started.
    #[error("The pipeline's thread cannot be started: {0}")]
    Thread(std::io::Error),
}

/// What an agent did until now.
#[derive(Clone, Debug)]
pub struct Report {
    /// Counts of every part; they go on counting while the agent runs.
    pub figures: Figures,
    /// The outbox's state.
    pub status: Option<Status>,
    /// Records that are still in the spool.
    pub undelivered: u64,
}

/// An agent; see [`Agent::start`].
pub struct Agent;

/// A running agent. Dropping it aborts.
pub struct AgentHandle {
    vehicle: VehicleId,
    clock: Arc<dyn Clock>,
    boot: BootId,
    figures: Figures,
    stop_sources: CancellationToken,
    flushed: CancellationToken,
    drain: CancellationToken,
    stop_uplink: CancellationToken,
    abort: Arc<AtomicBool>,
    control: mpsc::Sender<Control>,
    loader: Arc<Loader>,
    sources: Vec<JoinHandle<()>>,
    uplink: Option<JoinHandle<()>>,
    ended: watch::Receiver<Option<Result<(), Arc<Halted>>>>,
}

impl Agent {
    /// Builds and starts an agent. Needs a Tokio runtime with time and I/O. Opens the spool and loads the
    /// transforms first, so that what is wrong is said before anything runs.
    pub async fn start(config: Config, seams: Seams) -> Result<AgentHandle, StartError> {
        Self::start_with(config, seams, Vec::new()).await
    }

    /// [`Agent::start`], with sources of the caller's own beside those of the configuration.
    pub async fn start_with(
        config: Config,
        seams: Seams,
        own: Vec<Named>,
    ) -> Result<AgentHandle, StartError> {
        let clock = seams.clock.clone();
        let now = Now::of(&*clock);
        let boot = BootId((seams.entropy)());
        let address = config.address()?;
        let data_dir = |why| StartError::DataDir { path: config.data_dir.clone(), why };
        std::fs::create_dir_all(&config.data_dir).map_err(data_dir)?;
        let disk = match seams.disk {
            Some(disk) => disk,
            None => Arc::new(RealDisk::new(config.data_dir.join("spool")).map_err(data_dir)?),
        };
        let loader = Arc::new(Loader::new(&config.data_dir, seams.engine, seams.compiler));
        // To compile may take minutes, in which the caller may want to give up.
        let (loading, configs) = (loader.clone(), config.transform.clone());
        let loaded = tokio::task::spawn_blocking(move || loading.load(&configs)).await;
        let links = loaded.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?;
        let sources = build(&config, &clock)?.into_iter().chain(own);
        let (outbox, spool) = Outbox::open(disk, config.outbox(), config.vehicle.clone(), boot, now)?;
        let chain = Chain::new(links, outbox.state(), clock.clone());

        let (intake, deliveries) = channel(config.queue_limits());
        let mut figures = Figures { transforms: TransformList::of(chain.links()), ..Figures::default() };
        let stop_sources = CancellationToken::new();
        let mut tasks = Vec::new();
        for (name, source) in sources {
            let (name, counters): (Arc<str>, Arc<_>) = (name.into(), Arc::default());
            let outlet = intake.outlet(name.clone(), Arc::clone(&counters));
            figures.sources.push((name.clone(), counters));
            let (stop, clock) = (stop_sources.clone(), clock.clone());
            tasks.push(tokio::spawn(run_source(source, name, outlet, stop, clock, seams.entropy)));
        }
        if tasks.is_empty() {
            // Without a source the agent still delivers what an earlier run left, until it is stopped.
            let (outlet, stop) = (intake.outlet("none", Arc::default()), stop_sources.clone());
            tasks.push(tokio::spawn(async move {
                stop.cancelled().await;
                drop(outlet);
            }));
        }
        drop(intake);

        let (control, control_rx) = mpsc::channel();
        let (flushed, abort) = (CancellationToken::new(), Arc::new(AtomicBool::new(false)));
        let dead_letters = DeadLetters::new(&config.data_dir);
        let pipeline = Pipeline {
            settings: pipeline::Settings {
                linger: config.pipeline.linger.0,
                batch_max: config.pipeline.batch_max,
                health_every: config.health.interval.0,
            },
            clock: clock.clone(),
            deliveries,
            control: control_rx,
            chain,
            rows: Rows::new(outbox, figures.pipeline.clone(), dead_letters, now),
            figures: figures.clone(),
            flushed: flushed.clone(),
            abort: abort.clone(),
            declared: Vec::new(),
        };
        let (ended_in, ended) = watch::channel(None);
        let thread = std::thread::Builder::new().name("pipeline".into()).spawn(move || {
            let result = pipeline.run().map_err(Arc::new);
            ended_in.send_replace(Some(result));
        });
        thread.map_err(StartError::Thread)?;

        let (drain, stop_uplink) = (CancellationToken::new(), CancellationToken::new());
        let uplink = Driver {
            vehicle: config.vehicle.clone(),
            address,
            limits: config.window(),
            clock: clock.clone(),
            entropy: seams.entropy,
            declare: declare_through(control.clone()),
            counters: figures.uplink.clone(),
        };
        let uplink = tokio::spawn(uplink.run(spool, drain.clone(), stop_uplink.clone()));
        tracing::info!(vehicle = %config.vehicle, %boot, "The agent runs");
        Ok(AgentHandle {
            vehicle: config.vehicle,
            clock,
            boot,
            figures,
            stop_sources,
            flushed,
            drain,
            stop_uplink,
            abort,
            control,
            loader,
            sources: tasks,
            uplink: Some(uplink),
            ended,
        })
    }
}

impl AgentHandle {
    /// The vehicle.
    pub fn vehicle(&self) -> &VehicleId {
        &self.vehicle
    }

    /// This run of it.
    pub fn boot(&self) -> BootId {
        self.boot
    }

    /// The counts of every part.
    pub fn counters(&self) -> &Figures {
        &self.figures
    }

    /// The outbox's state, at most a quarter of a second old; none before its first tick.
    pub fn status(&self) -> Option<Status> {
        self.figures.pipeline.status()
    }

    /// Watches it from outside, also after it has stopped.
    pub fn monitor(&self) -> Monitor {
        let (figures, ended) = (self.figures.clone(), self.ended.clone());
        Monitor::new(self.vehicle.clone(), figures, self.clock.clone(), ended)
    }

    /// Waits until every source has ended for good and what they delivered is in the spool.
    pub async fn sources_ended(&self) {
        self.flushed.cancelled().await;
    }

    /// Waits until the pipeline has ended: by itself only where a transform halted the agent.
    pub async fn ended(&self) -> Result<(), Arc<Halted>> {
        let mut ended = self.ended.clone();
        match ended.wait_for(Option::is_some).await {
            Ok(result) => result.clone().unwrap_or(Ok(())),
            // The thread is gone without a word: it panicked, and the panic was printed.
            Err(_) => Ok(()),
        }
    }

    /// Puts other transforms, or other editions of the same, in the place of those that run, between two
    /// readings: none is lost and none is worked on twice. On an error the old ones go on.
    pub async fn reload(&self, transforms: Vec<TransformConfig>) -> Result<(), ReloadError> {
        self.loader.clone().reload(transforms, &self.control).await
    }

    /// Stops gracefully: the sources first, then the pipeline when it has worked off what they
    /// delivered, with a last health report; then the uplink sends what is in the spool, at most until
    /// `deadline` from now. What remains is sent after the next start.
    pub async fn stop(mut self, deadline: Duration) -> Report {
        self.stop_sources.cancel();
        let uplink = self.uplink.take();
        let drained = async {
            self.worked_off().await;
            self.drain.cancel();
            if let Some(uplink) = uplink {
                let _ = uplink.await;
            }
        };
        if tokio::time::timeout(deadline, drained).await.is_err() {
            tracing::info!("The broker did not take everything in time; the rest stays in the spool");
            self.stop_uplink.cancel();
        }
        // What the sources delivered goes into the spool even where that takes longer, unless the disk
        // does not take it.
        let _ = tokio::time::timeout(SPOOL_PATIENCE, self.worked_off()).await;
        let _ = self.control.send(Control::Close);
        let _ = self.ended().await;
        self.report()
    }

    /// Stops at once, as a kill would: nothing is flushed, sent or closed.
    pub async fn abort(mut self) {
        self.abort_all();
        let _ = self.ended().await;
        if let Some(uplink) = self.uplink.take() {
            let _ = uplink.await;
        }
    }

    async fn worked_off(&self) {
        tokio::select! {
            () = self.flushed.cancelled() => {}
            _ = self.ended() => {}
        }
    }

    /// What it did until now.
    pub fn report(&self) -> Report {
        let status = self.status();
        let undelivered = status.as_ref().map_or(0, |s| s.lanes.iter().map(|l| l.depth).sum());
        Report { figures: self.figures.clone(), status, undelivered }
    }

    fn abort_all(&self) {
        self.abort.store(true, Relaxed);
        self.sources.iter().for_each(JoinHandle::abort);
        if let Some(uplink) = &self.uplink {
            uplink.abort();
        }
    }
}

impl Drop for AgentHandle {
    fn drop(&mut self) {
        self.abort_all();
    }
}

/// A source and its name.
pub type Named = (String, Box<dyn Source>);

fn build(config: &Config, clock: &Arc<dyn Clock>) -> Result<Vec<Named>, StartError> {
    let context = Context { clock: clock.clone() };
    let build = |source: &crate::config::SourceConfig| match source.settings.build(&context) {
        Ok(built) => Ok((source.name.clone(), built)),
        Err(why) => Err(StartError::Source { name: source.name.clone(), why }),
    };
    config.source.iter().map(build).collect()
}

async fn run_source(
    mut source: Box<dyn Source>,
    name: Arc<str>,
    outlet: Outlet,
    stop: CancellationToken,
    clock: Arc<dyn Clock>,
    entropy: Entropy,
) {
    supervise(source.as_mut(), &name, &outlet, &stop, Backoff::default(), &*clock, entropy).await;
}

fn declare_through(control: mpsc::Sender<Control>) -> Box<dyn Fn(crate::uplink::Declare) + Send + Sync> {
    Box::new(move |declare| {
        // When the pipeline is gone, the answer's sender is dropped and the frame stays in the spool.
        let _ = control.send(Control::Declare(declare));
    })
}
