//! What can be set about an agent. The defaults live in `default.toml`, which explains every key; a
//! file and the environment are laid over them by [`layers`]. Modules take the few settings that they
//! need and never this whole.

pub mod layers;

use crate::mqtt::{self, TlsFiles};
use crate::outbox;
use crate::pipeline::chain::{OnChange, OnFailure, WhileOut};
use crate::source::{self, outlet::QueueLimits};
use crate::units::{Size, Span};
use crate::uplink::window::Limits as WindowLimits;
use milepost_ops::Listen;
use milepost_transform_host::Limits;
use milepost_wire::{Stream, VehicleId};
use serde::{Deserialize, Deserializer};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use toml::{Table, Value};

/// The annotated defaults.
pub const DEFAULTS: &str = include_str!("default.toml");

/// Stands in for the vehicle's name while only the other settings are looked at.
const NAMELESS: &str = "nameless";

/// Everything that can be set; see `default.toml` for what each key means.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Config {
    pub vehicle: VehicleId,
    pub data_dir: PathBuf,
    pub source: Vec<SourceConfig>,
    pub transform: Vec<TransformConfig>,
    pub queue: QueueConfig,
    pub pipeline: PipelineConfig,
    pub batch: BatchConfig,
    pub spool: SpoolConfig,
    pub uplink: UplinkConfig,
    pub health: HealthConfig,
    pub metrics: MetricsConfig,
    pub shutdown: ShutdownConfig,
}

/// `[[source]]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "Table")]
pub struct SourceConfig {
    /// For reports.
    pub name: String,
    /// The kind and its own settings.
    pub settings: source::Settings,
}

/// `[[transform]]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TransformConfig {
    /// For reports and logs.
    pub name: String,
    /// The component's file.
    #[serde(default)]
    pub path: PathBuf,
    /// The component itself, for programs that have agents inside; wins over `path`.
    #[serde(skip)]
    pub component: Option<Arc<[u8]>>,
    /// Only these streams.
    #[serde(default, deserialize_with = "streams")]
    pub streams: Option<Vec<Stream>>,
    /// What becomes of a reading that makes it fail.
    #[serde(default)]
    pub on_failure: OnFailure,
    /// What becomes of readings while it is out because it failed too much.
    #[serde(default)]
    pub while_out: WhileOut,
    /// What becomes of what it remembers when it changes.
    #[serde(default)]
    pub state: OnChange,
    /// What the transform can be told; numbers and truth values become text.
    #[serde(default, deserialize_with = "params")]
    pub params: BTreeMap<String, String>,
    /// What it may use.
    #[serde(default)]
    pub limits: LimitsConfig,
}

/// `limits` of a transform; what is not set has the host's default.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct LimitsConfig {
    pub cpu: Option<Span>,
    pub init_cpu: Option<Span>,
    pub memory: Option<Size>,
    pub output_rows: Option<usize>,
    pub output_bytes: Option<Size>,
    pub log_bytes: Option<Size>,
    pub state_bytes: Option<Size>,
}

/// `[queue]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct QueueConfig {
    pub readings: usize,
    pub bytes: Size,
}

/// `[pipeline]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct PipelineConfig {
    pub linger: Span,
    pub batch_max: usize,
}

/// `[batch]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct BatchConfig {
    pub count_max: u32,
    pub bytes_max: Size,
    pub age_max: Span,
}

/// `[spool]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct SpoolConfig {
    pub loss_window: Span,
    pub unsynced_max: u32,
    pub segment: Size,
    pub journal: Size,
    pub bytes_max: Size,
    pub bulk_share: f64,
    pub live_share: f64,
}

/// `[uplink]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct UplinkConfig {
    pub url: String,
    pub ca: PathBuf,
    pub cert: PathBuf,
    pub key: PathBuf,
    pub username: String,
    pub password: Secret,
    pub password_file: PathBuf,
    pub client_id: String,
    pub keep_alive: Span,
    pub window: u16,
    pub window_bytes: Size,
    pub retry_min: Span,
    pub retry_max: Span,
}

/// `[health]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct HealthConfig {
    pub interval: Span,
}

/// `[metrics]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct MetricsConfig {
    pub listen: Listen,
}

/// `[shutdown]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct ShutdownConfig {
    pub drain: Span,
}

/// Text that is not for logs: prints as stars.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes a secret.
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }

    /// The text itself, for whoever must send it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Secret {
    /// By hand, since a message of serde's would quote a number that should have been in quotes.
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        match Value::deserialize(d)? {
            Value::String(secret) => Ok(Self(secret)),
            _ => Err(serde::de::Error::custom("a password is text: put it in quotes")),
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "\"\"" } else { "***" })
    }
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("The configuration file {path} cannot be read: {why}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        why: std::io::Error,
    },
    /// A layer is not what it should be.
    #[error(transparent)]
    Layer(#[from] layers::LayerError),
    /// A value is of the wrong kind.
    #[error("{place}: {why}")]
    Value {
        /// The file, or the environment.
        place: String,
        /// The key, and what is wrong with its value.
        why: String,
    },
    /// The settings do not make sense.
    #[error("{0}")]
    Rule(String),
    /// TLS files are missing or unusable.
    #[error(transparent)]
    Tls(#[from] mqtt::TlsError),
}

impl Config {
    /// The defaults under the file and the environment.
    pub fn load(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let text = file.map(|path| {
            let read = std::fs::read_to_string(path);
            read.map_err(|why| ConfigError::Read { path: path.into(), why })
        });
        let text = text.transpose()?;
        let name = file.map(|p| p.display().to_string()).unwrap_or_default();
        Self::layer(text.as_deref().map(|text| (name.as_str(), text)), environment)
    }

    /// The defaults, for a program that has agents inside.
    pub fn new(vehicle: VehicleId, data_dir: impl Into<PathBuf>) -> Self {
        let file = format!("vehicle = {:?}", vehicle.as_str());
        let config = Self::layer(Some(("the defaults", &file)), []).expect("a test loads the defaults");
        Self { data_dir: data_dir.into(), ..config }
    }

    fn layer(
        file: Option<(&str, &str)>,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let defaults: Table = DEFAULTS.parse().expect("a test loads the defaults");
        let mut table = defaults.clone();
        if let Some((name, text)) = file {
            layers::merge(&mut table, layers::file(name, text, &defaults)?);
            // Looked at before the environment is laid over it, so that a message names the right place.
            read(&table, name)?;
        }
        let environment = layers::environment(environment, &defaults)?;
        layers::merge(&mut table, environment);
        let config = read(&table, "The environment (MILEPOST_AGENT__…)")?;
        if table.get("vehicle").and_then(Value::as_str) == Some("") {
            return Err(ConfigError::Rule("The vehicle has no name: set `vehicle`".into()));
        }
        config.check()?;
        Ok(config)
    }

    /// Rules that single values cannot break.
    fn check(&self) -> Result<(), ConfigError> {
        let rule = |ok: bool, why: &str| if ok { Ok(()) } else { Err(ConfigError::Rule(why.into())) };
        unique("[[source]]", self.source.iter().map(|s| &s.name))?;
        unique("[[transform]]", self.transform.iter().map(|t| &t.name))?;
        let (cert, key) = (&self.uplink.cert, &self.uplink.key);
        rule(is_set(cert) == is_set(key), "`uplink.cert` and `uplink.key` go together: set both or none")?;
        rule(
            self.uplink.keep_alive.0 >= mqtt::KEEP_ALIVE_MIN,
            "`uplink.keep_alive` is too short: at least 5s",
        )?;
        rule(
            !is_set(&self.uplink.password_file) || self.uplink.password == Secret::default(),
            "Set `uplink.password` or `uplink.password_file`, not both",
        )?;
        rule(self.uplink.window >= 1, "`uplink.window` must be at least 1")?;
        rule(self.pipeline.batch_max >= 1, "`pipeline.batch_max` must be at least 1")?;
        rule(!self.health.interval.0.is_zero(), "`health.interval` must be longer than 0")?;
        let most = milepost_wire::frame::MAX_READINGS as u32;
        rule((1..=most).contains(&self.batch.count_max), "`batch.count_max` must be from 1 to 8192")?;
        let share = |s: f64| (0.0..=1.0).contains(&s);
        rule(
            share(self.spool.bulk_share) && share(self.spool.live_share),
            "`spool.bulk_share` and `spool.live_share` must be from 0 to 1",
        )?;
        broker(&self.uplink.url).map(|_| ())
    }

    /// What the outbox takes.
    pub fn outbox(&self) -> outbox::Settings {
        outbox::Settings {
            batch_count_max: self.batch.count_max,
            batch_bytes_max: u32::try_from(self.batch.bytes_max.0).unwrap_or(u32::MAX),
            batch_age_max: self.batch.age_max.0,
            loss_window: self.spool.loss_window.0,
            unsynced_max: self.spool.unsynced_max,
            segment_bytes: self.spool.segment.0,
            journal_bytes: self.spool.journal.0,
            bytes_max: self.spool.bytes_max.0,
            bulk_share: self.spool.bulk_share,
            live_share: self.spool.live_share,
        }
    }

    /// What the sources' queues hold.
    pub fn queue_limits(&self) -> QueueLimits {
        let bytes = usize::try_from(self.queue.bytes.0).unwrap_or(usize::MAX);
        QueueLimits { readings: self.queue.readings.max(1), bytes }
    }

    /// The uplink's numbers.
    pub fn window(&self) -> WindowLimits {
        WindowLimits {
            records: usize::from(self.uplink.window),
            bytes: usize::try_from(self.uplink.window_bytes.0).unwrap_or(usize::MAX),
            wait_min: self.uplink.retry_min.0,
            wait_max: self.uplink.retry_max.0,
        }
    }

    /// Where the uplink connects; reads the TLS files and the password's.
    pub fn address(&self) -> Result<mqtt::Address, ConfigError> {
        let uplink = &self.uplink;
        let (tls, host, port) = broker(&uplink.url)?;
        let files = TlsFiles {
            ca: uplink.ca.clone(),
            client: is_set(&uplink.cert).then(|| (uplink.cert.clone(), uplink.key.clone())),
        };
        let password = match is_set(&uplink.password_file) {
            true => std::fs::read_to_string(&uplink.password_file)
                .map(|text| Secret(text.trim_end_matches(['\r', '\n']).to_owned()))
                .map_err(|why| ConfigError::Read { path: uplink.password_file.clone(), why })?,
            false => uplink.password.clone(),
        };
        let name = if uplink.client_id.is_empty() { self.vehicle.as_str() } else { &uplink.client_id };
        Ok(mqtt::Address {
            host,
            port,
            tls: tls.then(|| mqtt::Tls::open(files)).transpose()?,
            client_id: name.to_owned(),
            login: (!uplink.username.is_empty()).then(|| (uplink.username.clone(), password.0)),
            keep_alive: uplink.keep_alive.0,
            window: uplink.window,
        })
    }
}

impl TransformConfig {
    /// A transform that is given as bytes, with everything else as by default.
    pub fn embedded(name: impl Into<String>, component: impl Into<Arc<[u8]>>) -> Self {
        Self {
            name: name.into(),
            path: PathBuf::new(),
            component: Some(component.into()),
            streams: None,
            on_failure: OnFailure::default(),
            while_out: WhileOut::default(),
            state: OnChange::default(),
            params: BTreeMap::new(),
            limits: LimitsConfig::default(),
        }
    }
}

impl LimitsConfig {
    /// The host's limits with these changes.
    pub fn limits(&self) -> Limits {
        let mut limits = Limits::default();
        let bytes = |size: Option<Size>, into: &mut usize| {
            if let Some(size) = size {
                *into = usize::try_from(size.0).unwrap_or(usize::MAX);
            }
        };
        limits.cpu = self.cpu.map_or(limits.cpu, |s| s.0);
        limits.init_cpu = self.init_cpu.map_or(limits.init_cpu, |s| s.0);
        limits.output_rows = self.output_rows.unwrap_or(limits.output_rows);
        bytes(self.memory, &mut limits.memory_bytes);
        bytes(self.output_bytes, &mut limits.output_bytes);
        bytes(self.log_bytes, &mut limits.log_bytes);
        bytes(self.state_bytes, &mut limits.state_bytes);
        limits
    }
}

/// Splits `mqtt://host:port` into whether TLS is meant, host and port.
fn broker(url: &str) -> Result<(bool, String, u16), ConfigError> {
    if url.contains('@') {
        // Not quoted: there is a password in it.
        let why = "`uplink.url` holds a login: write mqtt://host:port or mqtts://host:port, and set \
                   `uplink.username` and `uplink.password_file`";
        return Err(ConfigError::Rule(why.into()));
    }
    let refuse = |why: &str| {
        ConfigError::Rule(format!("`uplink.url` {url:?} {why}: write mqtt://host:port or mqtts://host:port"))
    };
    let (tls, rest) = match url.split_once("://") {
        Some(("mqtt", rest)) => (false, rest),
        Some(("mqtts", rest)) => (true, rest),
        _ => return Err(refuse("has another scheme")),
    };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    if rest.contains(['/', '?']) {
        return Err(refuse("has more than a host and a port"));
    }
    let bare_v6 = rest.starts_with('[') && rest.ends_with(']');
    let (host, port) = match rest.rsplit_once(':').filter(|_| !bare_v6) {
        Some((host, port)) => (host, port.parse().map_err(|_| refuse("has a port that is no number"))?),
        None => (rest, if tls { 8883 } else { 1883 }),
    };
    match host {
        "" => Err(refuse("has no host")),
        host => Ok((tls, host.to_owned(), port)),
    }
}

fn is_set(path: &Path) -> bool {
    !path.as_os_str().is_empty()
}

fn unique<'a>(what: &str, names: impl Iterator<Item = &'a String>) -> Result<(), ConfigError> {
    let mut seen = BTreeSet::new();
    for name in names {
        let usable = (1..=64).contains(&name.chars().count()) && !name.chars().any(char::is_control);
        if !usable {
            return Err(ConfigError::Rule(format!("{what}: the name {name:?} must have 1 to 64 characters")));
        }
        if !seen.insert(name) {
            return Err(ConfigError::Rule(format!("{what}: two have the name {name:?}; names must differ")));
        }
    }
    Ok(())
}

fn read(table: &Table, place: &str) -> Result<Config, ConfigError> {
    let mut table = table.clone();
    if table.get("vehicle").and_then(Value::as_str) == Some("") {
        table.insert("vehicle".into(), NAMELESS.into());
    }
    table.try_into().map_err(|e: toml::de::Error| ConfigError::Value {
        place: place.into(),
        why: e.to_string().trim_end().replace('\n', " "),
    })
}

impl TryFrom<Table> for SourceConfig {
    type Error = String;
    fn try_from(mut table: Table) -> Result<Self, String> {
        let Some(Value::String(name)) = table.remove("name") else {
            return Err("a [[source]] has no `name`: give it one, as text".into());
        };
        match table.try_into() {
            Ok(settings) => Ok(Self { name, settings }),
            Err(e) => Err(format!("[[source]] {name:?}: {}", e.message())),
        }
    }
}

fn streams<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Vec<Stream>>, D::Error> {
    let names = Vec::<String>::deserialize(d)?;
    let parsed: Result<_, _> = names.iter().map(|name| name.parse()).collect();
    parsed.map(Some).map_err(serde::de::Error::custom)
}

fn params<'de, D: Deserializer<'de>>(d: D) -> Result<BTreeMap<String, String>, D::Error> {
    let table = Table::deserialize(d)?;
    let text = |(key, value): (String, Value)| match value {
        Value::String(text) => Ok((key, text)),
        Value::Integer(_) | Value::Float(_) | Value::Boolean(_) => Ok((key, value.to_string())),
        _ => {
            Err(serde::de::Error::custom(format!("parameter {key:?} must be text, a number, true or false")))
        }
    };
    table.into_iter().map(text).collect()
}

#[cfg(test)]
mod tests;
