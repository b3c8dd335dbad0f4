//! A loss, as data: what becomes a row of `gap_data`.

use super::Now;
use milepost_wire::{BootId, Reading, Stream, reading};

/// Why readings are lost, as `gap_data` says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// The spool was full and its oldest segment had to go.
    SpoolFull,
    /// Power or process ended before the last readings were on disk.
    CrashTail,
    /// A source delivered faster than the pipeline could take.
    SourceOverrun,
    /// A reading that does not fit into a frame.
    Oversize,
    /// A reading that made a transform fail, dropped by policy.
    Poison,
    /// A part of the spool could not be read back.
    Corrupt,
    /// A frame that the broker refuses for good, or a reading that has no frame.
    Undeliverable,
}

impl Reason {
    /// The name in the table.
    pub fn name(self) -> &'static str {
        match self {
            Reason::SpoolFull => "spool_full",
            Reason::CrashTail => "crash_tail",
            Reason::SourceOverrun => "source_overrun",
            Reason::Oversize => "oversize",
            Reason::Poison => "poison",
            Reason::Corrupt => "corrupt",
            Reason::Undeliverable => "undeliverable",
        }
    }
}

/// Readings known to be lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The stream that lost them; `None` where it never became known.
    pub stream: Option<Stream>,
    /// The boot whose readings are lost; `None` for this one.
    pub boot: Option<BootId>,
    /// The first lost number; `None` where the readings never had one.
    pub first_seq: Option<u64>,
    /// The last lost number; `None` where that is not known.
    pub last_seq: Option<u64>,
    /// How many are lost, or the most that can be.
    pub count: u64,
    /// Whether `count` is exact.
    pub exact: bool,
    /// Why.
    pub reason: Reason,
    /// The source or the transform that it concerns, or another detail.
    pub detail: Option<String>,
}

impl Gap {
    /// Readings of this boot that never had a number: a source's overrun, a transform's poison.
    pub fn unnumbered(stream: Option<Stream>, count: u64, reason: Reason, detail: impl Into<String>) -> Self {
        let detail = Some(detail.into());
        Self { stream, boot: None, first_seq: None, last_seq: None, count, exact: true, reason, detail }
    }

    /// The readings `first..=last` of a stream.
    pub fn range(stream: Stream, boot: BootId, first: u64, last: u64, reason: Reason) -> Self {
        Self {
            stream: Some(stream),
            boot: Some(boot),
            first_seq: Some(first),
            last_seq: Some(last),
            count: last.saturating_sub(first).saturating_add(1),
            exact: true,
            reason,
            detail: None,
        }
    }

    /// The row that says so.
    pub(super) fn reading(&self, this_boot: BootId, now: Now) -> Reading {
        let int = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        let row = reading::Gap {
            stream: self.stream.as_ref().map(|s| s.name().to_owned()),
            gap_boot_id: self.boot.unwrap_or(this_boot).to_string(),
            first_seq: self.first_seq.map(int),
            last_seq: self.last_seq.map(int),
            count: int(self.count),
            exact: u8::from(self.exact),
            reason: self.reason.name().to_owned(),
            detail: self.detail.as_ref().map(|d| d.chars().take(256).collect()),
        };
        Reading { ts: now.wall_us, clock: now.trust, body: row.into() }
    }
}
