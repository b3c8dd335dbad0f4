//! `certificates.jsonl`: every certificate that a vehicle was ever given, a line of JSON each.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

/// A certificate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    /// The vehicle.
    pub(super) name: String,
    /// Hex digits.
    pub(super) serial: String,
    /// Its last day, `YYYY-MM-DD`.
    pub(super) not_after: String,
    /// When it was revoked.
    #[serde(with = "time::serde::timestamp::option")]
    pub(super) revoked: Option<OffsetDateTime>,
}

impl Entry {
    pub(super) fn new(name: &str, serial: &str, until: OffsetDateTime) -> Self {
        let not_after = until.date().to_string();
        Self { name: name.to_owned(), serial: serial.to_owned(), not_after, revoked: None }
    }
}

/// All of them, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Register(Vec<Entry>);

impl Register {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let line =
            |(n, line): (usize, &str)| serde_json::from_str(line).map_err(|e| format!("line {}: {e}", n + 1));
        text.lines().enumerate().map(line).collect::<Result<_, _>>().map(Self)
    }

    pub(super) fn text(&self) -> String {
        // These have nothing that JSON refuses.
        self.0.iter().map(|e| serde_json::to_string(e).unwrap_or_default() + "\n").collect()
    }

    pub(super) fn entries(&self) -> &[Entry] {
        &self.0
    }

    pub(super) fn add(&mut self, entry: Entry) {
        self.0.push(entry);
    }

    /// Revokes all certificates of a vehicle; says how many were not yet.
    pub(super) fn revoke(&mut self, name: &str, at: OffsetDateTime) -> usize {
        let good = self.0.iter_mut().filter(|e| e.name == name && e.revoked.is_none());
        good.map(|e| e.revoked = Some(at)).count()
    }
}
