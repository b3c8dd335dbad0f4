//! The vehicles of the demo: whole agents, each with its own spool on disk, in this process.

use super::spool::Spool;
use crate::Failure;
use crate::audit::{Promise, Waiting};
use milepost_agent::config::{Config, SourceConfig, TransformConfig};
use milepost_agent::outbox::Disk;
use milepost_agent::run::{Agent, AgentHandle, Report, Seams};
use milepost_agent::source::simulate::{self, Trip, TripSettings};
use milepost_agent::source::{self, replay};
use milepost_agent::units::{Size, Span};
use milepost_transform_host::{Engine, EngineSettings};
use milepost_wire::{Stream, StreamName, VehicleId};
use std::collections::BTreeMap;
use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// The prebuilt transforms in the order of the chain: events need every fix, so they come first.
const TRANSFORMS: [(&str, &[u8]); 3] = [
    ("harsh_driving", include_bytes!("../../../transforms/prebuilt/harsh_driving.wasm")),
    ("privacy_zones", include_bytes!("../../../transforms/prebuilt/privacy_zones.wasm")),
    ("downsample", include_bytes!("../../../transforms/prebuilt/downsample.wasm")),
];
const MIB: u64 = 1 << 20;

/// What the fleet is.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Simulated vehicles.
    pub vehicles: usize,
    /// Logs that are replayed, a vehicle for each.
    pub replays: Vec<PathBuf>,
    /// Simulated minutes; none: until the destination.
    pub minutes: Option<f64>,
    pub seed: u64,
    pub speed: f64,
    pub transforms: bool,
}

/// The running fleet.
pub(crate) struct Fleet {
    agents: Vec<AgentHandle>,
    /// Vehicles of earlier demos in this folder that this one has not: they only deliver what is left.
    parked: Vec<AgentHandle>,
    /// Of all of them, in the same order.
    spools: Vec<Spool>,
}

/// A vehicle at a moment.
#[derive(Clone, Debug)]
pub(crate) struct Look {
    pub vehicle: String,
    /// Readings that its sources have made.
    pub readings: u64,
    /// Records that wait in its spool.
    pub waiting: u64,
    pub connected: bool,
}

impl Fleet {
    /// Starts all vehicles, which connect to `broker`. Their spools live in `folder`.
    pub(crate) async fn start(plan: &Plan, folder: &Path, broker: SocketAddr) -> Result<Self, Failure> {
        let sources = plan.sources()?;
        let pooled = (sources.len() * TRANSFORMS.len()).try_into().unwrap_or(u32::MAX);
        let settings = EngineSettings { pooled, ..EngineSettings::default() };
        let engine = match plan.transforms {
            true => Some(tokio::task::spawn_blocking(move || Engine::new(&settings)).await??),
            false => None,
        };
        let (mut agents, mut spools) = (Vec::new(), Vec::new());
        let mut spool_of = |config: &Config| -> Result<Arc<dyn Disk>, String> {
            let spool = Spool::take(config)
                .map_err(|e| format!("Vehicle {}: its spool cannot be opened: {e}", config.vehicle))?;
            spools.push(spool);
            Ok(spools[spools.len() - 1].disk())
        };
        for (vehicle, source) in sources {
            let mut config = config(&vehicle, &folder.join(vehicle.as_str()), broker);
            config.source = vec![source];
            if plan.transforms {
                config.transform =
                    TRANSFORMS.iter().map(|(name, component)| transform(name, component)).collect();
            }
            let disk = Some(spool_of(&config)?);
            let seams = Seams { disk, engine: engine.clone(), ..Seams::default() };
            agents.push(Agent::start(config, seams).await.map_err(|e| format!("Vehicle {vehicle}: {e}"))?);
        }
        let mut parked = Vec::new();
        for vehicle in left(folder, &agents) {
            let config = config(&vehicle, &folder.join(vehicle.as_str()), broker);
            let seams = Seams { disk: Some(spool_of(&config)?), ..Seams::default() };
            let agent = Agent::start(config, seams).await;
            parked.push(agent.map_err(|e| format!("Vehicle {vehicle}: {e}"))?);
        }
        Ok(Self { agents, parked, spools })
    }

    /// Whether nothing waits in any spool, as far as the last quarter of a second shows.
    pub(crate) fn is_drained(&self) -> bool {
        let waiting = |a: &AgentHandle| a.status().map_or(1, |s| s.lanes.iter().map(|l| l.depth).sum());
        self.agents.iter().chain(&self.parked).all(|a| waiting(a) == 0)
    }

    /// What is wrong with the disk under a spool, of the first vehicle that has trouble.
    pub(crate) fn trouble(&self) -> Option<String> {
        let trouble = |a: &AgentHandle| {
            Some(format!("The spool of {} cannot write ({})", a.vehicle(), a.status()?.trouble?))
        };
        self.agents.iter().chain(&self.parked).find_map(trouble)
    }

    /// Waits until every vehicle has come to the end of its trip or log.
    pub(crate) async fn arrived(&self) {
        for agent in &self.agents {
            tokio::select! {
                () = agent.sources_ended() => {}
                _ = agent.ended() => {}
            }
        }
    }

    /// Each vehicle as it is now.
    pub(crate) fn look(&self) -> Vec<Look> {
        let look = |agent: &AgentHandle| {
            let figures = agent.counters();
            Look {
                vehicle: agent.vehicle().to_string(),
                readings: figures.sources.iter().map(|(_, c)| c.received.load(Relaxed)).sum(),
                waiting: agent.status().map_or(0, |s| s.lanes.iter().map(|l| l.depth).sum()),
                connected: figures.uplink.connected.load(Relaxed),
            }
        };
        self.agents.iter().map(look).collect()
    }

    /// Stops all vehicles: each sends what its spool holds, for at most `drain`. Returns what must
    /// arrive, and how many records could not be handed over.
    pub(crate) async fn stop(self, drain: Duration) -> Stopped {
        let stop = |agent: AgentHandle| async move {
            let (vehicle, boot) = (agent.vehicle().to_string(), agent.boot().0);
            (vehicle, boot, agent.stop(drain).await)
        };
        let mut stopped = Stopped::default();
        let all = self.agents.into_iter().chain(self.parked);
        let reports = futures::future::join_all(all.map(stop)).await;
        for ((vehicle, boot, report), spool) in reports.into_iter().zip(self.spools) {
            stopped.add(&vehicle, boot, &report);
            if report.undelivered > 0 {
                match tokio::task::spawn_blocking(|| spool.waiting()).await {
                    Ok(Ok(waiting)) => stopped.waiting.extend(waiting),
                    Ok(Err(e)) => crate::remark(&format!("The spool of {vehicle} cannot be read: {e}")),
                    Err(_) => {}
                }
            }
        }
        stopped
    }
}

/// What the sources of a vehicle met and could not read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Refused {
    /// How often.
    pub times: u64,
    /// The same by its kind, such as `refused_line`.
    pub kinds: BTreeMap<&'static str, u64>,
    /// The first of it in words.
    pub first: Vec<String>,
}

/// What the vehicles did.
#[derive(Debug, Default)]
pub(crate) struct Stopped {
    pub expected: Vec<Promise>,
    /// Readings that are still in spools; some may have been delivered without an answer.
    pub waiting: Vec<Waiting>,
    /// Records that are still in spools.
    pub undelivered: u64,
    /// Readings that were accepted, by stream.
    pub accepted: BTreeMap<String, u64>,
    /// What the sources of a vehicle met and could not read.
    pub refused: BTreeMap<String, Refused>,
    /// Vehicles of whose sources no reading came.
    pub silent: Vec<String>,
}

impl Stopped {
    fn add(&mut self, vehicle: &str, boot: u64, report: &Report) {
        self.undelivered += report.undelivered;
        let sources = &report.figures.sources;
        if !sources.is_empty() && sources.iter().all(|(_, c)| c.received.load(Relaxed) == 0) {
            self.silent.push(vehicle.to_owned());
        }
        for (_, counters) in sources {
            for (kind, n) in counters.errors_by_kind() {
                let refused = self.refused.entry(vehicle.to_owned()).or_default();
                refused.times += n;
                *refused.kinds.entry(kind).or_default() += n;
            }
            if let Some(refused) = self.refused.get_mut(vehicle) {
                refused.first.extend(counters.first_refusals());
            }
        }
        for stream in report.status.iter().flat_map(|s| &s.streams) {
            let (name, next) = (stream.stream.to_string(), stream.next_seq);
            *self.accepted.entry(name.clone()).or_default() += next;
            self.expected.push(Promise { vehicle: vehicle.to_owned(), boot, stream: name, next });
        }
    }
}

impl Plan {
    /// How long the longest trip takes on the clock of whoever watches.
    pub(crate) fn duration(&self) -> Duration {
        let span = |n| {
            let (settings, none) = (trip(self, n), Duration::ZERO);
            // The drive alone, without what the sensors make of it.
            let drive = TripSettings {
                gps: Duration::from_secs(10),
                vehicle: none,
                camera: none,
                weather: none,
                emergency: none,
                ..settings.trip()
            };
            let mut times = Trip::new(settings.seed, drive).map(|reading| reading.ts);
            let first = times.next().unwrap_or(0);
            times.last().unwrap_or(first) - first
        };
        let longest = (0..self.vehicles.min(3)).map(span).max().unwrap_or(0);
        Duration::from_micros(longest.max(0) as u64).div_f64(self.speed)
    }

    /// Each vehicle's name, and its source's name and settings.
    pub(crate) fn sources(&self) -> Result<Vec<(VehicleId, SourceConfig)>, Failure> {
        let mut all = Vec::new();
        for n in 0..self.vehicles {
            let vehicle = VehicleId::new(format!("van-{:02}", n + 1))?;
            all.push((vehicle, source("trip", source::Settings::Simulate(trip(self, n)))));
        }
        for path in &self.replays {
            let vehicle = vehicle_of(path)?;
            if all.iter().any(|(other, _)| *other == vehicle) {
                return Err(
                    format!("Two vehicles would be called {vehicle}: rename {}", path.display()).into()
                );
            }
            all.push((vehicle, source("replay", replay(path))));
        }
        Ok(all)
    }
}

/// Vehicles with a folder that are not among `agents`.
fn left(folder: &Path, agents: &[AgentHandle]) -> Vec<VehicleId> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let name = |entry: std::fs::DirEntry| VehicleId::new(entry.file_name().into_string().ok()?).ok();
    let mut left: Vec<_> = entries.flatten().filter_map(name).collect();
    left.retain(|vehicle| agents.iter().all(|agent| agent.vehicle() != vehicle));
    left.sort();
    left
}

/// The vehicle that replays a log: named after the file, without its ending.
fn vehicle_of(path: &Path) -> Result<VehicleId, Failure> {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let name: String = stem
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' })
        .take(VehicleId::MAX_LEN)
        .collect();
    VehicleId::new(name).map_err(|e| format!("{}: {e}", path.display()).into())
}

fn config(vehicle: &VehicleId, folder: &Path, broker: SocketAddr) -> Config {
    let mut config = Config::new(vehicle.clone(), folder);
    config.uplink.url = format!("mqtt://{broker}");
    // The network comes back within seconds here.
    config.uplink.retry_min = Span(Duration::from_millis(200));
    config.uplink.retry_max = Span(Duration::from_secs(1));
    config.uplink.keep_alive = Span(Duration::from_secs(5));
    config.spool.bytes_max = Size(256 * MIB);
    config.health.interval = Span(Duration::from_secs(5));
    config
}

fn source(name: &str, settings: source::Settings) -> SourceConfig {
    SourceConfig { name: name.to_owned(), settings }
}

fn transform(name: &str, component: &[u8]) -> TransformConfig {
    TransformConfig::embedded(name, component)
}

/// Everything that is set about the simulated trip of vehicle `n`.
fn trip(plan: &Plan, n: usize) -> simulate::Settings {
    simulate::Settings {
        // Other vehicles of one demo and those of the next seed take other trips.
        seed: plan.seed.wrapping_mul(1_000_003).wrapping_add(n as u64),
        speed: plan.speed,
        minutes: plan.minutes,
        ..simulate::Settings::default()
    }
}

/// A log, as fast as it goes.
fn replay(path: &Path) -> source::Settings {
    source::Settings::Replay(replay::Settings {
        path: path.to_owned(),
        pace: replay::Pace::FlatOut,
        not_before: None,
        default_stream: Some(default_stream(path)),
    })
}

/// The stream of lines of NDJSON that name none: fixes where the first one has a position, otherwise a
/// stream that is named after the file.
fn default_stream(path: &Path) -> Stream {
    let first = std::fs::File::open(path).ok().and_then(|file| {
        let mut text = Vec::new();
        file.take(64 << 10).read_to_end(&mut text).ok()?;
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&text);
        let first = text.split(|b| *b == b'\n').find(|line| !line.trim_ascii().is_empty())?;
        serde_json::from_slice::<serde_json::Map<_, _>>(first).ok()
    });
    let has_position = first.is_none_or(|line| line.keys().any(|name| name.starts_with("lat")));
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    let name: String = stem.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    let name: String = name.trim_start_matches(|c: char| !c.is_ascii_lowercase()).chars().take(48).collect();
    match StreamName::new(name) {
        Ok(name) if !has_position => Stream::Derived(name),
        _ => Stream::Gps,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_without_a_stream_are_fixes_or_a_stream_named_after_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let stream = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            default_stream(&path).to_string()
        };
        assert_eq!(stream("drive 1.ndjson", "{\"ts\":1,\"lat\":51.5,\"lon\":0.1}\n{}"), "gps_data");
        assert_eq!(stream("comma2k19-imu.ndjson", "{\"ts\":1,\"ax_mg\":110}\n"), "comma2k19_imu");
        assert_eq!(stream("windows.ndjson", "\u{feff}\r\n{\"ts\":1,\"ax_mg\":110}\r\n"), "windows");
        assert_eq!(stream("2024 IMU.ndjson", "{\"ts\":1,\"ax_mg\":110}"), "imu");
        assert_eq!(stream("77.ndjson", "{\"ts\":1,\"ax_mg\":110}"), "gps_data");
        assert_eq!(stream("log.nmea", "$GPGGA,1*00\r\n"), "gps_data");
    }

    #[test]
    fn vehicles_are_named_after_their_logs() {
        for (log, vehicle) in [
            ("/x/Van 7 (ä).log", "Van-7----"),
            ("tr737A+.log", "tr737A-"),
            ("ublox-zed-f9p_hpg1.11.log", "ublox-zed-f9p_hpg1.11"),
            ("drive", "drive"),
            (".hidden", ".hidden"),
        ] {
            assert_eq!(vehicle_of(Path::new(log)).unwrap().as_str(), vehicle, "{log}");
        }
        let long = vehicle_of(Path::new(&"x".repeat(200))).unwrap();
        assert_eq!(long.as_str().len(), VehicleId::MAX_LEN);
        assert!(vehicle_of(Path::new("/")).is_err());
    }
}
