//! The agent's report on itself, as rows of `agent_health`: one for the agent and for each source,
//! transform, stream and lane, and for each kind of thing that a source has met, all with the same time. The audit adds them up: what the sources
//! delivered, with what transforms added, is what was numbered, taken out and set aside.
//!
//! Makes rows of counters and sends nothing.

use crate::outbox::{self, Now};
use crate::pipeline::PipelineCounters;
use crate::pipeline::chain::{Link, LinkCounters};
use crate::source::{SourceCounters, SourceId};
use crate::uplink::UplinkCounters;
use milepost_wire::Reading;
use milepost_wire::reading::Health;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

/// The agent's version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A transform as it is reported.
#[derive(Clone, Debug)]
pub struct TransformFigures {
    /// Its name.
    pub name: Arc<str>,
    /// SHA-256 of its component.
    pub digest: [u8; 32],
    /// Its counts.
    pub counters: Arc<LinkCounters>,
}

/// The transforms in their order, and behind them those of this boot that are gone: what they did stays
/// in the account.
#[derive(Clone, Debug, Default)]
pub struct TransformList(Arc<Mutex<Vec<TransformFigures>>>);

impl TransformList {
    /// These transforms.
    pub fn of<'a>(links: impl Iterator<Item = &'a Link>) -> Self {
        let list = Self::default();
        list.update(links);
        list
    }

    /// From now on it is these.
    pub fn update<'a>(&self, links: impl Iterator<Item = &'a Link>) {
        let mut list = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let figures = |l: &Link| TransformFigures {
            name: l.name.clone(),
            digest: l.digest,
            counters: l.counters.clone(),
        };
        let mut now: Vec<TransformFigures> = links.map(figures).collect();
        let gone = list.drain(..).filter(|old| now.iter().all(|new| new.name != old.name));
        let gone: Vec<TransformFigures> = gone.collect();
        now.extend(gone);
        *list = now;
    }

    /// As they are now.
    pub fn get(&self) -> Vec<TransformFigures> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Everything that is reported on. Cheap to clone; the counts go on counting.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// The sources.
    pub sources: Vec<(SourceId, Arc<SourceCounters>)>,
    /// The transforms.
    pub transforms: TransformList,
    /// The pipeline.
    pub pipeline: Arc<PipelineCounters>,
    /// The uplink.
    pub uplink: Arc<UplinkCounters>,
}

/// The rows of one report. `resident` is the agent's memory, bytes.
pub fn report(figures: &Figures, status: &outbox::Status, resident: Option<u64>, now: Now) -> Vec<Reading> {
    let mut rows = vec![agent(figures, status, resident)];
    rows.extend(figures.sources.iter().map(|(name, counters)| source(name, counters)));
    rows.extend(figures.sources.iter().flat_map(|(name, counters)| met(name, counters)));
    rows.extend(figures.transforms.get().iter().map(transform));
    rows.extend(
        status.streams.iter().map(|s| Health { emitted: int(s.next_seq), ..row("stream", s.stream.name()) }),
    );
    rows.extend(status.lanes.iter().map(lane));
    rows.into_iter().map(|row| Reading { ts: now.wall_us, clock: now.trust, body: row.into() }).collect()
}

fn agent(figures: &Figures, status: &outbox::Status, resident: Option<u64>) -> Health {
    let (pipeline, uplink) = (&figures.pipeline, &figures.uplink);
    Health {
        received: count(&pipeline.received),
        emitted: count(&pipeline.accepted),
        errors: int(status.errors + uplink.losses.load(Relaxed) + uplink.refusals.load(Relaxed)),
        restarts: count(&uplink.connections),
        bytes: resident.and_then(int),
        depth: int(status.lanes.iter().map(|l| l.depth).sum()),
        version: Some(VERSION.into()),
        ..row("agent", VERSION)
    }
}

fn source(name: &str, counters: &SourceCounters) -> Health {
    Health {
        received: count(&counters.received),
        errors: count(&counters.errors),
        restarts: count(&counters.restarts),
        ..row("source", name)
    }
}

/// What a source has met on its way, such as `bad_checksum`: how often, in `received`. Only what there
/// was has a row.
fn met(name: &str, counters: &SourceCounters) -> impl Iterator<Item = Health> {
    let row = move |(kind, n)| Health { received: int(n), ..row("source_count", &format!("{name}/{kind}")) };
    counters.details().into_iter().map(row)
}

/// A transform: `restarts` is how often it was taken out because it failed too much.
fn transform(figures: &TransformFigures) -> Health {
    let counters = &figures.counters;
    Health {
        received: count(&counters.received),
        emitted: count(&counters.emitted),
        taken_out: count(&counters.taken_out),
        poison: count(&counters.poison),
        errors: count(&counters.errors),
        restarts: count(&counters.outages),
        digest: Some(figures.digest.iter().map(|b| format!("{b:02x}")).collect()),
        ..row("transform", &figures.name)
    }
}

/// A lane: `received` are the records written, `emitted` those acknowledged, `taken_out` those that a
/// full spool dropped.
fn lane(lane: &outbox::LaneStatus) -> Health {
    Health {
        received: int(lane.sealed),
        emitted: int(lane.acked),
        taken_out: int(lane.dropped),
        bytes: int(lane.bytes),
        depth: int(lane.depth),
        age_ms: i64::try_from(lane.age.as_millis()).ok(),
        ..row("lane", lane.lane.name())
    }
}

fn row(component: &str, name: &str) -> Health {
    Health {
        component: component.into(),
        name: name.into(),
        received: None,
        emitted: None,
        taken_out: None,
        poison: None,
        errors: None,
        restarts: None,
        bytes: None,
        depth: None,
        age_ms: None,
        version: None,
        digest: None,
    }
}

fn count(counter: &AtomicU64) -> Option<i64> {
    int(counter.load(Relaxed))
}

fn int(n: u64) -> Option<i64> {
    Some(i64::try_from(n).unwrap_or(i64::MAX))
}

/// This process's resident memory, bytes; none where the system does not say.
pub fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_source_has_met_is_reported_by_kind() {
        let counters = SourceCounters::default();
        counters.error("bad_checksum", 3);
        counters.note("week_rollover", 60);
        assert_eq!(source("gps", &counters).errors, Some(3));
        let rows: Vec<_> = met("gps", &counters).map(|h| (h.component, h.name, h.received)).collect();
        let row = |name: &str, n| ("source_count".to_owned(), name.to_owned(), Some(n));
        assert_eq!(rows, [row("gps/bad_checksum", 3), row("gps/week_rollover", 60)]);
    }

    #[test]
    fn the_process_knows_its_memory() {
        let bytes = resident_bytes().unwrap();
        assert!((1 << 20..1 << 36).contains(&bytes), "{bytes}");
    }
}
