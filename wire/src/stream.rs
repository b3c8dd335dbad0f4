//! Streams and their columns: the built-in ones, whose topic and table names users already know, and
//! derived ones, which transforms and other sources name themselves.

use alloc::borrow::Cow;
use alloc::string::String;
use core::fmt;
use core::str::FromStr;
use serde::{Deserialize, Deserializer, Serialize};

/// What a column holds. Every column may be null.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// A 64-bit signed integer; fixed-point values say their unit in the column's name.
    Int,
    /// A 64-bit float. Bit patterns are kept, NaN included.
    Float,
    /// True or false.
    Bool,
    /// UTF-8 text.
    Text,
    /// Bytes, such as a JPEG image.
    Bytes,
}

/// A column's name and kind. Names are `[a-z][a-z0-9_]{0,47}`, as stream names are.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct ColumnSpec {
    /// The name, with its unit where the value has one: `speed_mm_s`.
    pub name: Cow<'static, str>,
    /// What it holds.
    pub kind: Kind,
}

impl ColumnSpec {
    /// A column of a built-in stream.
    pub const fn fixed(name: &'static str, kind: Kind) -> Self {
        Self { name: Cow::Borrowed(name), kind }
    }

    /// A column of a derived stream, its name checked.
    pub fn new(name: impl Into<String>, kind: Kind) -> Result<Self, InvalidName> {
        Ok(Self { name: Cow::Owned(check_name(name.into())?), kind })
    }
}

impl<'de> Deserialize<'de> for ColumnSpec {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(rename = "ColumnSpec")]
        struct Unchecked {
            name: String,
            kind: Kind,
        }
        let Unchecked { name, kind } = Unchecked::deserialize(d)?;
        Self::new(name, kind).map_err(serde::de::Error::custom)
    }
}

/// The name of a derived stream or of a column: `[a-z][a-z0-9_]{0,47}`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct StreamName(String);

impl StreamName {
    /// The most characters a stream or column name may have.
    pub const MAX_LEN: usize = 48;

    /// Checks and takes a name. A built-in stream's name is refused: what is called `gps_data` has
    /// `gps_data`'s columns.
    pub fn new(name: impl Into<String>) -> Result<Self, InvalidName> {
        let name = check_name(name.into())?;
        match Stream::BUILT_IN.iter().any(|s| s.name() == name) {
            true => Err(InvalidName(name)),
            false => Ok(Self(name)),
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for StreamName {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Self::new(String::deserialize(d)?).map_err(serde::de::Error::custom)
    }
}

/// Checks that `name` can be a column or a derived stream.
pub fn check_name(name: String) -> Result<String, InvalidName> {
    let ok = name.len() <= StreamName::MAX_LEN
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    if ok { Ok(name) } else { Err(InvalidName(name.chars().take(StreamName::MAX_LEN + 1).collect())) }
}

/// A name that cannot be a derived stream's or a column's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "Name {0:?} is not usable: take a lower-case letter and up to 47 of a-z 0-9 _, and for a derived \
     stream not the name of a built-in one"
)]
pub struct InvalidName(pub String);

/// A stream of readings: one topic, one table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Stream {
    /// `vehicle_data`: what the vehicle says of itself.
    Vehicle,
    /// `gps_data`: fixes of the receiver.
    Gps,
    /// `camera_data`: images.
    Camera,
    /// `weather_data`: the weather around the vehicle.
    Weather,
    /// `emergency_data`: incidents; its readings take the first lane.
    Emergency,
    /// `agent_health`: the agent's own counters.
    Health,
    /// `gap_data`: what is known to be lost, and why.
    Gap,
    /// A stream that a transform or another program named; its frames carry its columns.
    Derived(StreamName),
}

impl Stream {
    /// Every built-in stream, in the order of its number on the wire.
    pub const BUILT_IN: [Stream; 7] = [
        Stream::Vehicle,
        Stream::Gps,
        Stream::Camera,
        Stream::Weather,
        Stream::Emergency,
        Stream::Health,
        Stream::Gap,
    ];

    /// The name: of the MQTT topic's last level and of the table.
    pub fn name(&self) -> &str {
        match self {
            Stream::Vehicle => "vehicle_data",
            Stream::Gps => "gps_data",
            Stream::Camera => "camera_data",
            Stream::Weather => "weather_data",
            Stream::Emergency => "emergency_data",
            Stream::Health => "agent_health",
            Stream::Gap => "gap_data",
            Stream::Derived(name) => name.as_str(),
        }
    }

    /// The columns of a built-in stream, beside the common ones; `None` for a derived stream.
    pub fn columns(&self) -> Option<&'static [ColumnSpec]> {
        use crate::reading as r;
        Some(match self {
            Stream::Vehicle => r::Vehicle::COLUMNS,
            Stream::Gps => r::Gps::COLUMNS,
            Stream::Camera => r::Camera::COLUMNS,
            Stream::Weather => r::Weather::COLUMNS,
            Stream::Emergency => r::Emergency::COLUMNS,
            Stream::Health => r::Health::COLUMNS,
            Stream::Gap => r::Gap::COLUMNS,
            Stream::Derived(_) => return None,
        })
    }
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Stream {
    type Err = InvalidName;
    /// The built-in stream of that name, or the derived one.
    fn from_str(s: &str) -> Result<Self, Self::Err> {
        match Stream::BUILT_IN.iter().find(|b| b.name() == s) {
            Some(built_in) => Ok(built_in.clone()),
            None => StreamName::new(s).map(Stream::Derived),
        }
    }
}
