//! The agent as it looks from outside, for whoever asks on the spot: its metrics, whether it works, whether
//! it does its work now. It reads the same counts as the rows of `agent_health`, changes nothing, and waits
//! for nothing.

use crate::clock::Clock;
use crate::health::{Figures, TransformFigures, VERSION};
use crate::outbox::LaneStatus;
use crate::pipeline::chain::{Halted, LinkCounters};
use crate::source::SourceCounters;
use milepost_ops::{Metric, Page, Station};
use milepost_wire::VehicleId;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// A pipeline that did not turn for so long hangs. A slow disk may hold it for seconds; nothing else may hold
/// it for one.
const STUCK: Duration = Duration::from_secs(30);

/// How a figure is read.
type Read<T> = fn(&T) -> u64;
/// How a counter is found.
type Count<T> = fn(&T) -> &AtomicU64;
/// How the pipeline ended, once it has.
type Ended = watch::Receiver<Option<Result<(), Arc<Halted>>>>;

/// Looks at one agent.
#[derive(Clone)]
pub struct Monitor {
    vehicle: VehicleId,
    figures: Figures,
    clock: Arc<dyn Clock>,
    ended: Ended,
}

impl Monitor {
    pub(crate) fn new(vehicle: VehicleId, figures: Figures, clock: Arc<dyn Clock>, ended: Ended) -> Self {
        Self { vehicle, figures, clock, ended }
    }

    /// When the pipeline last looked after everything, on the monotonic clock: it makes progress while this
    /// grows.
    pub fn ticked(&self) -> Duration {
        self.figures.pipeline.ticked()
    }

    /// What it does, in a line for people.
    pub fn summary(&self) -> String {
        let waiting = self.figures.pipeline.status().map_or(0, |s| s.lanes.iter().map(|l| l.depth).sum());
        match self.alive().and_then(|()| self.ready()) {
            Ok(()) => format!("Connected to the broker, {waiting} frames wait"),
            Err(why) => format!("{why}, {waiting} frames wait"),
        }
    }
}

impl Station for Monitor {
    fn alive(&self) -> Result<(), String> {
        match &*self.ended.borrow() {
            Some(Err(halted)) => return Err(halted.to_string()),
            Some(Ok(())) => return Err("The pipeline has ended".into()),
            None if self.ended.has_changed().is_err() => return Err("The pipeline has panicked".into()),
            None => {}
        }
        let still = self.clock.mono().saturating_sub(self.ticked());
        match still >= STUCK {
            true => Err(format!("The pipeline has stood still for {} s", still.as_secs())),
            false => Ok(()),
        }
    }

    fn ready(&self) -> Result<(), String> {
        if let Some(trouble) = self.figures.pipeline.status().and_then(|status| status.trouble) {
            return Err(format!("The spool does not take readings: {trouble}"));
        }
        match self.figures.uplink.connected.load(Relaxed) {
            true => Ok(()),
            false => Err("No connection to the broker".into()),
        }
    }

    fn metrics(&self, page: &mut Page) {
        page.values(&INFO, [([self.vehicle.as_str(), VERSION], 1)]);
        self.sources(page);
        self.transforms(page);
        let rows = self.figures.pipeline.accepted_by_stream();
        page.values(&ROWS, rows.iter().map(|(stream, n)| ([stream.name()], n)));
        self.spool(page);
        self.uplink(page);
    }
}

impl Monitor {
    fn sources(&self, page: &mut Page) {
        let sources = &self.figures.sources;
        let counts: [(&Metric, Count<SourceCounters>); 4] = [
            (&READINGS, |c| &c.received),
            (&SOURCE_ERRORS, |c| &c.errors),
            (&SOURCE_RESTARTS, |c| &c.restarts),
            (&SOURCE_OVERRUNS, |c| &c.overruns),
        ];
        for (metric, count) in counts {
            page.values(metric, sources.iter().map(|(name, c)| ([name.as_ref()], count(c).load(Relaxed))));
        }
        let met = sources
            .iter()
            .flat_map(|(name, c)| c.details().into_iter().map(move |(kind, n)| ([name.as_ref(), kind], n)));
        page.values(&SOURCE_EVENTS, met);
    }

    fn transforms(&self, page: &mut Page) {
        let transforms = self.figures.transforms.get();
        let counts: [(&Metric, Count<LinkCounters>); 8] = [
            (&TRANSFORM_RECEIVED, |c| &c.received),
            (&TRANSFORM_EMITTED, |c| &c.emitted),
            (&TRANSFORM_TAKEN_OUT, |c| &c.taken_out),
            (&TRANSFORM_POISON, |c| &c.poison),
            (&TRANSFORM_ERRORS, |c| &c.errors),
            (&TRANSFORM_OUTAGES, |c| &c.outages),
            (&TRANSFORM_LOG_DROPPED, |c| &c.log_dropped),
            (&TRANSFORM_METRICS_DROPPED, |c| &c.metrics_dropped),
        ];
        for (metric, count) in counts {
            let value = |t: &TransformFigures| count(&t.counters).load(Relaxed);
            page.values(metric, transforms.iter().map(|t| ([t.name.as_ref()], value(t))));
        }
        let own =
            |t: &TransformFigures| t.counters.own.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let own: Vec<_> = transforms.iter().map(|t| (t.name.as_ref(), own(t))).collect();
        let each =
            own.iter().flat_map(|(transform, own)| own.iter().map(|(name, n)| ([*transform, name], n)));
        page.values(&TRANSFORM_OWN, each);
    }

    fn spool(&self, page: &mut Page) {
        let Some(status) = self.figures.pipeline.status() else { return };
        let lanes: [(&Metric, Read<LaneStatus>); 5] = [
            (&SPOOL_RECORDS, |l| l.depth),
            (&SPOOL_BYTES, |l| l.bytes),
            (&SPOOL_SEALED, |l| l.sealed),
            (&SPOOL_ACKED, |l| l.acked),
            (&SPOOL_DROPPED, |l| l.dropped),
        ];
        for (metric, value) in lanes {
            page.values(metric, status.lanes.iter().map(|l| ([l.lane.name()], value(l))));
        }
        page.values(&SPOOL_OLDEST, status.lanes.iter().map(|l| ([l.lane.name()], l.age.as_secs_f64())));
        page.value(&SPOOL_WRITTEN, status.written);
        page.value(&SPOOL_ERRORS, status.errors);
        page.value(&SPOOL_TROUBLE, u8::from(status.trouble.is_some()));
    }

    fn uplink(&self, page: &mut Page) {
        let uplink = &self.figures.uplink;
        page.value(&UPLINK_CONNECTED, u8::from(uplink.connected.load(Relaxed)));
        for (metric, count) in [
            (&UPLINK_PUBLISHED, &uplink.published),
            (&UPLINK_DELIVERED, &uplink.delivered),
            (&UPLINK_DELIVERED_BYTES, &uplink.delivered_bytes),
            (&UPLINK_CONNECTIONS, &uplink.connections),
            (&UPLINK_LOSSES, &uplink.losses),
            (&UPLINK_REFUSALS, &uplink.refusals),
            (&UPLINK_UNDELIVERABLE, &uplink.undeliverable),
        ] {
            page.value(metric, count.load(Relaxed));
        }
    }
}

// What each means to people stands here and in `docs/metrics.md`; a test holds the two together.

const INFO: Metric = Metric::gauge("milepost_agent_info", &["vehicle", "version"], "Always 1.");
const READINGS: Metric = Metric::counter(
    "milepost_agent_readings_total",
    &["source"],
    "Readings that a source made, overruns included.",
);
const SOURCE_ERRORS: Metric = Metric::counter(
    "milepost_agent_source_errors_total",
    &["source"],
    "Errors that a source met and survived, and those it was started again for.",
);
const SOURCE_RESTARTS: Metric =
    Metric::counter("milepost_agent_source_restarts_total", &["source"], "Times a source was started again.");
const SOURCE_OVERRUNS: Metric = Metric::counter(
    "milepost_agent_source_overruns_total",
    &["source"],
    "Readings of a live sensor lost because the pipeline was behind; each is in a gap row.",
);
const SOURCE_EVENTS: Metric = Metric::counter(
    "milepost_agent_source_events_total",
    &["source", "kind"],
    "What a source met on its way, such as bad_checksum.",
);
const TRANSFORM_RECEIVED: Metric = Metric::counter(
    "milepost_agent_transform_received_total",
    &["transform"],
    "Readings given to a transform.",
);
const TRANSFORM_EMITTED: Metric = Metric::counter(
    "milepost_agent_transform_emitted_total",
    &["transform"],
    "Readings that went on, with those that it added or derived.",
);
const TRANSFORM_TAKEN_OUT: Metric = Metric::counter(
    "milepost_agent_transform_taken_out_total",
    &["transform"],
    "Readings that a transform took out on purpose.",
);
const TRANSFORM_POISON: Metric = Metric::counter(
    "milepost_agent_transform_poison_total",
    &["transform"],
    "Readings that made a transform fail and did not go on.",
);
const TRANSFORM_ERRORS: Metric = Metric::counter(
    "milepost_agent_transform_errors_total",
    &["transform"],
    "Calls of a transform that failed.",
);
const TRANSFORM_OUTAGES: Metric = Metric::counter(
    "milepost_agent_transform_outages_total",
    &["transform"],
    "Times a transform was taken out because it failed too much.",
);
const TRANSFORM_LOG_DROPPED: Metric = Metric::counter(
    "milepost_agent_transform_log_dropped_bytes_total",
    &["transform"],
    "Log text of a transform that was over its limits.",
);
const TRANSFORM_METRICS_DROPPED: Metric = Metric::counter(
    "milepost_agent_transform_metrics_dropped_total",
    &["transform"],
    "Additions to metrics of a transform that were not kept: too many names, or one that cannot be.",
);
const TRANSFORM_OWN: Metric = Metric::counter(
    "milepost_agent_transform_own_total",
    &["transform", "name"],
    "What a transform counts itself, by metric-add.",
);
const ROWS: Metric = Metric::counter(
    "milepost_agent_rows_total",
    &["stream"],
    "Rows numbered and in the spool, the agent's own reports included.",
);
const SPOOL_RECORDS: Metric = Metric::gauge(
    "milepost_agent_spool_records",
    &["lane"],
    "Frames in the spool that wait for their acknowledgement.",
);
const SPOOL_BYTES: Metric =
    Metric::gauge("milepost_agent_spool_bytes", &["lane"], "Bytes of a lane's files on disk.");
const SPOOL_OLDEST: Metric = Metric::gauge(
    "milepost_agent_spool_oldest_seconds",
    &["lane"],
    "How long the oldest frame has waited, since the agent's start at most.",
);
const SPOOL_SEALED: Metric =
    Metric::counter("milepost_agent_spool_sealed_total", &["lane"], "Frames written to the spool.");
const SPOOL_ACKED: Metric =
    Metric::counter("milepost_agent_spool_acked_total", &["lane"], "Frames taken off it as delivered.");
const SPOOL_DROPPED: Metric = Metric::counter(
    "milepost_agent_spool_dropped_total",
    &["lane"],
    "Frames dropped because the spool was full; each is in a gap row.",
);
const SPOOL_WRITTEN: Metric = Metric::counter(
    "milepost_agent_spool_written_bytes_total",
    &[],
    "Bytes written to the spool and its journal.",
);
const SPOOL_ERRORS: Metric =
    Metric::counter("milepost_agent_spool_errors_total", &[], "Writes and syncs of the spool that failed.");
const SPOOL_TROUBLE: Metric =
    Metric::gauge("milepost_agent_spool_trouble", &[], "1 while the disk does not take readings, else 0.");
const UPLINK_CONNECTED: Metric =
    Metric::gauge("milepost_agent_uplink_connected", &[], "1 while the broker has let the agent in, else 0.");
const UPLINK_PUBLISHED: Metric =
    Metric::counter("milepost_agent_uplink_published_total", &[], "Frames sent, repetitions included.");
const UPLINK_DELIVERED: Metric =
    Metric::counter("milepost_agent_uplink_delivered_total", &[], "Frames that the broker acknowledged.");
const UPLINK_DELIVERED_BYTES: Metric =
    Metric::counter("milepost_agent_uplink_delivered_bytes_total", &[], "Bytes of those frames.");
const UPLINK_CONNECTIONS: Metric =
    Metric::counter("milepost_agent_uplink_connections_total", &[], "Connections that the broker accepted.");
const UPLINK_LOSSES: Metric = Metric::counter(
    "milepost_agent_uplink_losses_total",
    &[],
    "Connections that were lost or did not come about.",
);
const UPLINK_REFUSALS: Metric = Metric::counter(
    "milepost_agent_uplink_refusals_total",
    &[],
    "Answers of the broker that refused a frame for now.",
);
const UPLINK_UNDELIVERABLE: Metric = Metric::counter(
    "milepost_agent_uplink_undeliverable_total",
    &[],
    "Frames that the broker will never take; each is a gap row.",
);
