//! A loss, as data: what becomes a row of `gap_data`.

use super::Now;
use milepost_wire::{Body, BootId, Reading, Stream, frame, reading};

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
    const ALL: [Reason; 7] = [
        Reason::SpoolFull,
        Reason::CrashTail,
        Reason::SourceOverrun,
        Reason::Oversize,
        Reason::Poison,
        Reason::Corrupt,
        Reason::Undeliverable,
    ];

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

    /// What a frame of gap rows declares.
    pub(super) fn of_frame(bytes: &[u8]) -> Vec<Self> {
        let Ok(batch) = frame::decode(bytes) else { return Vec::new() };
        let row = |i| match batch.reading(i).ok()?.body {
            Body::Gap(row) => Self::of_row(row),
            _ => None,
        };
        (0..batch.len()).filter_map(row).collect()
    }

    /// Reads a row back: what a row says must not be lost with it.
    fn of_row(row: reading::Gap) -> Option<Self> {
        let number = |n: i64| u64::try_from(n).ok();
        Some(Self {
            stream: row.stream.and_then(|s| s.parse().ok()),
            boot: Some(row.gap_boot_id.parse().ok()?),
            first_seq: row.first_seq.and_then(number),
            last_seq: row.last_seq.and_then(number),
            count: number(row.count)?,
            exact: row.exact == 1,
            reason: Reason::ALL.into_iter().find(|r| r.name() == row.reason)?,
            detail: row.detail,
        })
    }

    /// Adds another loss to this one, where one row can say both: counts without numbers, or ranges
    /// that touch. Returns whether it did.
    pub(super) fn absorb(&mut self, other: &Gap) -> bool {
        let alike = self.stream == other.stream
            && self.boot == other.boot
            && self.exact == other.exact
            && self.reason == other.reason
            && self.detail == other.detail;
        let joined = match (self.first_seq, self.last_seq, other.first_seq, other.last_seq) {
            (None, None, None, None) => Some((None, None)),
            (Some(a), Some(b), Some(c), Some(d)) if b.checked_add(1) == Some(c) => Some((Some(a), Some(d))),
            _ => None,
        };
        match joined.filter(|_| alike) {
            Some(range) => {
                (self.first_seq, self.last_seq) = range;
                self.count = self.count.saturating_add(other.count);
                true
            }
            None => false,
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
