//! Who sent a reading: the vehicle, the boot of its agent, and the transforms it passed.

use alloc::string::String;
use core::fmt;
use core::str::FromStr;
use serde::{Deserialize, Deserializer, Serialize};

/// A vehicle's name: 1 to 64 characters of `A-Z a-z 0-9 . _ -`. It is a part of MQTT topics, Kafka
/// keys and object keys, so nothing that means something there is allowed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct VehicleId(String);

impl VehicleId {
    /// The most characters an id may have.
    pub const MAX_LEN: usize = 64;

    /// Checks and takes a name.
    pub fn new(name: impl Into<String>) -> Result<Self, InvalidVehicleId> {
        let name = name.into();
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        if name.is_empty() || name.len() > Self::MAX_LEN || !name.bytes().all(allowed) {
            return Err(InvalidVehicleId(name.chars().take(Self::MAX_LEN + 1).collect()));
        }
        Ok(Self(name))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for VehicleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for VehicleId {
    type Err = InvalidVehicleId;
    fn from_str(s: &str) -> Result<Self, Self::Err> {
        Self::new(s)
    }
}

impl<'de> Deserialize<'de> for VehicleId {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Self::new(String::deserialize(d)?).map_err(serde::de::Error::custom)
    }
}

/// A name that cannot be a vehicle's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Vehicle id {0:?} is not usable: take 1 to 64 characters of A-Z a-z 0-9 . _ -")]
pub struct InvalidVehicleId(pub String);

/// One run of an agent: 64 random bits drawn at start. Sequence numbers start again at 0 with it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BootId(pub u64);

impl fmt::Display for BootId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for BootId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for BootId {
    type Err = core::num::ParseIntError;
    /// Reads the 16 hex digits that [`BootId`]'s `Display` writes.
    fn from_str(s: &str) -> Result<Self, Self::Err> {
        u64::from_str_radix(s, 16).map(Self)
    }
}

/// The first 8 bytes of the SHA-256 of a transform's component file: enough to name the transform in
/// a frame's lineage. `agent_health` rows carry the whole digest beside the name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Digest(pub [u8; 8]);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vehicle_ids_hold_only_what_is_safe_in_a_topic_and_a_key() {
        for good in ["a", "truck-0042", "A.b_c-9", &"x".repeat(64)] {
            assert!(VehicleId::new(good).is_ok(), "{good}");
        }
        for bad in ["", "a/b", "a b", "+", "#", "ä", "a\0", &"x".repeat(65)] {
            assert!(VehicleId::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn boot_ids_read_back_what_they_print() {
        for id in [0, 1, u64::MAX, 0x8f3a_61c2_d94e_07b5] {
            let text = alloc::format!("{}", BootId(id));
            assert_eq!(text.len(), 16);
            assert_eq!(text.parse::<BootId>().unwrap(), BootId(id));
        }
    }
}
