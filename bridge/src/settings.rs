//! The bridge's settings: `default.toml` is the list of them, a file and the environment lie over it.

use crate::quantity;
use milepost_ops::Listen;
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fmt, time::Duration};
use toml::{Table, Value};

/// The defaults with their comments: also the manual of the settings.
pub const DEFAULTS: &str = include_str!("default.toml");
/// What the environment variables of settings begin with.
pub const ENV_PREFIX: &str = "MILEPOST_BRIDGE__";

/// Everything that can be set; `default.toml` explains each.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The Kafka topic of frames that are refused.
    pub dead_letter_topic: String,
    /// The size of the parts of a dead letter that Kafka finds too large, bytes.
    #[serde(deserialize_with = "quantity::size")]
    pub dead_letter_part: u64,
    /// The most bytes of frames that wait for Kafka's report.
    #[serde(deserialize_with = "quantity::size")]
    pub in_flight_bytes: u64,
    /// The pause before a frame is produced again.
    #[serde(deserialize_with = "quantity::duration")]
    pub retry_after: Duration,
    /// How long a stop waits for reports.
    #[serde(deserialize_with = "quantity::duration")]
    pub stop_within: Duration,
    /// What one vehicle may send.
    pub per_vehicle: PerVehicle,
    /// Where metrics are served.
    pub metrics: Metrics,
    /// The broker that vehicles publish to.
    pub mqtt: Mqtt,
    /// librdkafka's properties.
    pub kafka: Kafka,
}

/// What one vehicle may send.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PerVehicle {
    /// Frames a second; 0 for any number.
    pub frames: u64,
    /// Bytes of frames a second; 0 for any number.
    #[serde(deserialize_with = "quantity::size")]
    pub bytes: u64,
    /// How much of it may come at once.
    #[serde(deserialize_with = "quantity::duration")]
    pub burst: Duration,
}

/// What is served for those who run the bridge.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metrics {
    /// The address, or none.
    pub listen: Listen,
}

/// The connection to the MQTT broker.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mqtt {
    /// `mqtt://host:port` or `mqtts://host:port`.
    pub url: String,
    /// The name of this bridge's session.
    pub client_id: String,
    /// The group that shares the subscription.
    pub group: String,
    /// What the broker puts before the topics of vehicles: the mount point of their listener.
    pub topic_prefix: String,
    /// How many frames may be unacknowledged.
    pub receive_maximum: u16,
    /// The largest packet to accept, bytes.
    #[serde(deserialize_with = "quantity::size")]
    pub max_packet: u64,
    /// The longest silence on the connection.
    #[serde(deserialize_with = "quantity::duration")]
    pub keep_alive: Duration,
    /// How long connecting may take.
    #[serde(deserialize_with = "quantity::duration")]
    pub connect_timeout: Duration,
    /// How long the broker keeps the session without us.
    #[serde(deserialize_with = "quantity::duration")]
    pub session_expiry: Duration,
    /// The first pause before connecting again.
    #[serde(deserialize_with = "quantity::duration")]
    pub reconnect_min: Duration,
    /// The longest pause before connecting again.
    #[serde(deserialize_with = "quantity::duration")]
    pub reconnect_max: Duration,
    /// The user, where the broker asks for one.
    #[serde(default)]
    pub username: Option<String>,
    /// The user's password.
    #[serde(default)]
    pub password: Option<Secret>,
    /// Certificates for `mqtts`.
    #[serde(default)]
    pub tls: Option<Tls>,
}

/// PEM files for `mqtts`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// Who signed the broker's certificate.
    pub ca: PathBuf,
    /// Our certificate, where the broker asks for one.
    #[serde(default)]
    pub cert: Option<PathBuf>,
    /// The key of our certificate.
    #[serde(default)]
    pub key: Option<PathBuf>,
}

/// Text that prints as stars.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

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
        f.write_str("***")
    }
}

/// Properties of librdkafka by their own names; prints without their values, some of which are secret.
#[derive(Clone)]
pub struct Kafka(pub BTreeMap<String, String>);

impl Kafka {
    /// Sets a property; librdkafka judges it when the bridge starts.
    pub fn set(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.0.insert(name.into(), value.into());
    }
}

impl fmt::Debug for Kafka {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl<'de> Deserialize<'de> for Kafka {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = |(name, value): (String, Value)| match value {
            Value::String(s) => Ok((name, s)),
            Value::Integer(n) => Ok((name, n.to_string())),
            Value::Boolean(b) => Ok((name, b.to_string())),
            Value::Float(x) => Ok((name, x.to_string())),
            _ => Err(serde::de::Error::custom(format!(
                "Kafka property {name} is neither text nor number: quote its name if it has dots"
            ))),
        };
        BTreeMap::<String, Value>::deserialize(d)?.into_iter().map(text).collect::<Result<_, _>>().map(Kafka)
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self::layered(None, []).expect("the embedded defaults are valid: a test reads them")
    }
}

impl Settings {
    /// The defaults, then `file` where there is one, then the process's environment.
    pub fn load(file: Option<&Path>) -> Result<Self, SettingsError> {
        let text = match file {
            Some(path) => Some(
                std::fs::read_to_string(path)
                    .map_err(|e| SettingsError::Unreadable(path.to_path_buf(), e))?,
            ),
            None => None,
        };
        Self::layered(text.as_deref(), std::env::vars())
    }

    /// As [`Settings::load`], with the file's text and the environment given.
    pub fn layered(
        file: Option<&str>,
        env: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, SettingsError> {
        let mut table: Table = parse(DEFAULTS)?;
        if let Some(text) = file {
            overlay(&mut table, parse(text)?);
        }
        for (name, value) in env {
            if let Some(path) = name.strip_prefix(ENV_PREFIX) {
                set(&mut table, &name, path, value)?;
            }
        }
        let settings: Self =
            table.try_into().map_err(|e: toml::de::Error| SettingsError::Invalid(e.message().to_owned()))?;
        settings.check()?;
        Ok(settings)
    }

    /// What types cannot say.
    fn check(&self) -> Result<(), SettingsError> {
        let rules = [
            (self.mqtt.receive_maximum > 0, "mqtt.receive_maximum is 0: allow at least 1"),
            (!self.mqtt.client_id.is_empty(), "mqtt.client_id is empty: a session needs a stable name"),
            (
                !self.mqtt.group.is_empty() && !self.mqtt.group.contains(['/', '+', '#']),
                "mqtt.group must be a name without / + #",
            ),
            (
                !self.mqtt.topic_prefix.contains(['+', '#'])
                    && !self.mqtt.topic_prefix.starts_with(['$', '/']),
                "mqtt.topic_prefix must have no + # and not begin with $ or /",
            ),
            (self.mqtt.keep_alive >= Duration::from_secs(1), "mqtt.keep_alive is below 1s"),
            (self.dead_letter_part >= 1024, "dead_letter_part is below 1 KiB"),
            (self.in_flight_bytes > 0, "in_flight_bytes is 0"),
            (self.mqtt.max_packet <= u64::from(u32::MAX), "mqtt.max_packet is above 4 GiB"),
        ];
        match rules.into_iter().find(|(ok, _)| !ok) {
            Some((_, why)) => Err(SettingsError::Rule(why)),
            None => Ok(()),
        }
    }
}

/// Says where a text is wrong, but not with the line itself: it may be the one with the password.
fn parse(text: &str) -> Result<Table, SettingsError> {
    text.parse().map_err(|e: toml::de::Error| {
        let line = e.span().map_or(0, |span| text[..span.start].matches('\n').count() + 1);
        SettingsError::Invalid(format!("line {line}: {}", e.message()))
    })
}

/// Lays `over` on `base`, table by table.
fn overlay(base: &mut Table, over: Table) {
    for (key, value) in over {
        match (base.get_mut(&key), value) {
            (Some(Value::Table(b)), Value::Table(o)) => overlay(b, o),
            (_, value) => {
                base.insert(key, value);
            }
        }
    }
}

/// Sets what an environment variable names: `MQTT__KEEP_ALIVE`, `KAFKA__BOOTSTRAP_SERVERS`.
fn set(root: &mut Table, variable: &str, path: &str, value: String) -> Result<(), SettingsError> {
    let path = path.to_ascii_lowercase();
    let mut parts: Vec<String> = path.split("__").map(str::to_owned).collect();
    if let [table, property] = parts.as_mut_slice()
        && table == "kafka"
    {
        *property = property.replace('_', ".");
    }
    let (last, tables) = parts.split_last().expect("split gives at least one part");
    let mut table = root;
    for name in tables {
        let entry = table.entry(name.clone()).or_insert_with(|| Value::Table(Table::new()));
        table = entry.as_table_mut().ok_or_else(|| SettingsError::Variable(variable.to_owned()))?;
    }
    let value = match table.get(last) {
        Some(Value::Integer(_)) => value.parse().map(Value::Integer).unwrap_or(Value::String(value)),
        Some(Value::Boolean(_)) => value.parse().map(Value::Boolean).unwrap_or(Value::String(value)),
        _ => Value::String(value),
    };
    table.insert(last.clone(), value);
    Ok(())
}

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file cannot be read.
    #[error("Settings file {0} cannot be read: {1}")]
    Unreadable(PathBuf, std::io::Error),
    /// The text is not TOML, a key is unknown, or a value is of the wrong kind.
    #[error("The settings are not usable: {0}")]
    Invalid(String),
    /// An environment variable does not name a setting.
    #[error("Environment variable {0} does not name a setting: write tables and keys as TABLE__KEY")]
    Variable(String),
    /// A value breaks a rule.
    #[error("The settings are not usable: {0}")]
    Rule(&'static str),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect()
    }

    #[test]
    fn the_embedded_defaults_are_valid_and_name_the_wires_dead_letter_topic() {
        let s = Settings::default();
        assert_eq!(s.dead_letter_topic, milepost_wire::topic::KAFKA_DEAD_LETTER);
        assert!(s.mqtt.max_packet as usize > milepost_wire::frame::MAX_FRAME + 256);
        assert_eq!(s.kafka.0["linger.ms"], "5");
    }

    #[test]
    fn the_environment_lies_over_the_file_and_the_file_over_the_defaults() {
        let file = "retry_after = '2s'\n[mqtt]\ngroup = 'g'\nurl = 'mqtt://file:1'\n[kafka]\n'acks' = 1";
        let s = Settings::layered(
            Some(file),
            env(&[
                ("MILEPOST_BRIDGE__MQTT__URL", "mqtts://env:2"),
                ("MILEPOST_BRIDGE__MQTT__RECEIVE_MAXIMUM", "7"),
                ("MILEPOST_BRIDGE__MQTT__PASSWORD", "123"),
                ("MILEPOST_BRIDGE__MQTT__TLS__CA", "ca.pem"),
                ("MILEPOST_BRIDGE__KAFKA__BOOTSTRAP_SERVERS", "k:9"),
                ("OTHER", "x"),
            ]),
        )
        .unwrap();
        assert_eq!((s.mqtt.url.as_str(), s.mqtt.group.as_str()), ("mqtts://env:2", "g"));
        assert_eq!((s.mqtt.receive_maximum, s.retry_after), (7, Duration::from_secs(2)));
        assert_eq!((s.kafka.0["bootstrap.servers"].as_str(), s.kafka.0["acks"].as_str()), ("k:9", "1"));
        assert_eq!(s.mqtt.tls.as_ref().unwrap().ca, Path::new("ca.pem"));
        assert!(!format!("{s:?}").contains("123"), "a secret is printed");
    }

    #[test]
    fn no_error_tells_a_password() {
        for file in
            ["[mqtt]\npassword = hunter2", "[mqtt]\npassword = 4242", "[mqtt]\npassword = \"hunter2\" x"]
        {
            let said = Settings::layered(Some(file), []).unwrap_err().to_string();
            assert!(!said.contains("hunter2") && !said.contains("4242"), "{said}");
        }
        let said = Settings::layered(Some("[mqtt]\nurl = 'x'\npassword = hunter2"), []).unwrap_err();
        assert!(said.to_string().contains("line 3"), "{said}");
    }

    #[test]
    fn unknown_keys_and_impossible_values_are_refused() {
        for file in [
            "colour = 1",
            "[mqtt]\nurll = 'x'",
            "retry_after = 5",
            "[mqtt]\nreceive_maximum = 0",
            "[mqtt]\nreceive_maximum = 65536",
            "[mqtt]\ngroup = 'a/b'",
            "[mqtt]\ntopic_prefix = '+/'",
            "[kafka]\nbootstrap.servers = 'unquoted'",
        ] {
            assert!(Settings::layered(Some(file), []).is_err(), "{file}");
        }
        assert!(Settings::layered(None, env(&[("MILEPOST_BRIDGE__MQTT__URL__X", "1")])).is_err());
    }

    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

        #[test]
        fn any_text_and_any_variable_are_settings_or_an_error(
            file in prop_oneof![
                any::<String>(),
                "(\\[[a-z_.]{0,12}\\]\n)?([a-z_.\"]{1,20} = [-0-9a-z\"'\\[\\]{}., ]{0,30}\n){0,4}",
            ],
            path in "[A-Z_]{0,30}",
            value in any::<String>(),
        ) {
            let _ = Settings::layered(Some(&file), []);
            let _ = Settings::layered(None, [(format!("{ENV_PREFIX}{path}"), value)]);
        }
    }
}
