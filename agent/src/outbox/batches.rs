//! Numbers and open batches: one batch for each stream, and what of it is where.

use super::lane::Lane;
use super::lane_log::Entry;
use super::segment::Skip;
use super::{Gap, Reason};
use milepost_wire::frame::{self, MAX_FRAME, MAX_READINGS};
use milepost_wire::{
    Batch, Body, BootId, ColumnSpec, Digest, EncodeError, Reading, Stream, StreamName, Value, VehicleId,
};
use std::collections::BTreeMap;
use std::time::Duration;

/// The most streams that one boot may have: what names streams may not fill the memory. The built-in ones have
/// their places among them.
pub(crate) const STREAMS_MAX: usize = 1024;
/// A reading of more bytes fits into no frame, whatever the coding; what is smaller may not either.
const READING_MAX: usize = MAX_FRAME;

/// A batch that still takes readings.
pub(super) struct Open {
    pub(super) batch: Batch,
    /// When its first reading came.
    pub(super) since: Duration,
    /// The readings' bytes, before coding.
    pub(super) bytes: usize,
    /// Those of them that are not in the journal.
    pub(super) unjournalled: usize,
    /// The generation of the journal that has its first rows.
    pub(super) generation: Option<u64>,
}

/// A stream of this boot.
pub(super) struct StreamState {
    pub(super) stream: Stream,
    pub(super) lane: Lane,
    /// The number of the next reading.
    pub(super) next: u64,
    /// All below are sealed: in a frame or skipped, durable or on the way there.
    pub(super) framed: u64,
    /// All below are in durable frames, or skipped.
    pub(super) sealed: u64,
    /// All below are in the journal, where they are not sealed.
    pub(super) journalled: u64,
    /// The most readings that may be off the disk: a durable mark says so.
    pub(super) promise: u32,
    /// What the next mark will say.
    pub(super) wanted: u32,
    pub(super) open: Option<Open>,
    /// Whether readings that are not sealed durably came with something that a transform remembers.
    pub(super) remembered: bool,
}

impl StreamState {
    /// The readings that a power cut would take.
    pub(super) fn unsynced(&self) -> u64 {
        self.next - self.sealed.max(self.journalled)
    }
}

/// All streams of this boot.
#[derive(Default)]
pub(super) struct Streams {
    pub(super) list: Vec<StreamState>,
    built_in: [Option<usize>; Stream::BUILT_IN.len()],
    derived: BTreeMap<StreamName, usize>,
}

/// A built-in stream's place, `None` for a derived one.
fn place(body: &Body) -> Option<usize> {
    Some(match body {
        Body::Vehicle(_) => 0,
        Body::Gps(_) => 1,
        Body::Camera(_) => 2,
        Body::Weather(_) => 3,
        Body::Emergency(_) => 4,
        Body::Health(_) => 5,
        Body::Gap(_) => 6,
        Body::Derived(_) => return None,
    })
}

impl Streams {
    /// The stream of a reading, new where it must be; `None` for a derived one where there are too many.
    pub(super) fn slot(&mut self, body: &Body) -> Option<usize> {
        let known = match (place(body), body) {
            (Some(i), _) => self.built_in[i],
            (None, Body::Derived(row)) => self.derived.get(&row.stream).copied(),
            (None, _) => None,
        };
        if known.is_some() {
            return known;
        }
        if matches!(body, Body::Derived(_)) && self.derived.len() >= STREAMS_MAX - self.built_in.len() {
            return None;
        }
        let (i, stream) = (self.list.len(), body.stream());
        match (place(body), &stream) {
            (Some(at), _) => self.built_in[at] = Some(i),
            (None, Stream::Derived(name)) => drop(self.derived.insert(name.clone(), i)),
            (None, _) => {}
        }
        let lane = Lane::of(&stream);
        let (next, framed, sealed, journalled, promise, wanted) = (0, 0, 0, 0, 0, 0);
        self.list.push(StreamState {
            stream,
            lane,
            next,
            framed,
            sealed,
            journalled,
            promise,
            wanted,
            open: None,
            remembered: false,
        });
        Some(i)
    }
}

/// The columns that a batch of this reading's kind has.
pub(super) fn columns<'a>(body: &'a Body, stream: &Stream) -> &'a [ColumnSpec] {
    match body {
        Body::Derived(row) => &row.columns,
        _ => stream.columns().unwrap_or_default(),
    }
}

/// About how many bytes a reading is, before coding.
pub(crate) fn weight(body: &Body) -> usize {
    let text = |t: &Option<String>| t.as_ref().map_or(0, String::len);
    16 + match body {
        Body::Vehicle(r) => 24 + text(&r.make) + text(&r.model) + text(&r.fuel_type) + text(&r.vehicle_type),
        Body::Gps(_) => 24,
        Body::Camera(r) => 12 + r.camera_id.len() + r.image.len(),
        Body::Weather(r) => 24 + text(&r.condition),
        Body::Emergency(r) => 8 + r.incident_id.len() + r.kind.len() + r.status.len() + text(&r.description),
        Body::Health(r) => 72 + r.component.len() + r.name.len() + text(&r.version) + text(&r.digest),
        Body::Gap(r) => 40 + text(&r.stream) + r.gap_boot_id.len() + r.reason.len() + text(&r.detail),
        Body::Derived(row) => row.values.iter().map(value_weight).sum(),
    }
}

fn value_weight(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) => 1,
        Value::Int(_) | Value::Float(_) => 8,
        Value::Text(t) => t.len(),
        Value::Bytes(b) => b.len(),
    }
}

/// Whether no frame can carry a reading of this weight.
pub(super) fn is_oversize(weight: usize) -> bool {
    weight > READING_MAX
}

/// The most readings that a batch takes.
pub(super) fn count_max(setting: u32) -> usize {
    (setting as usize).clamp(1, MAX_READINGS)
}

/// An empty batch that takes this reading.
pub(super) fn begin(
    vehicle: &VehicleId,
    boot: BootId,
    stream: &Stream,
    reading: &Reading,
    first_seq: u64,
    lineage: &[Digest],
) -> Batch {
    let columns = columns(&reading.body, stream);
    Batch::new(vehicle.clone(), boot, stream.clone(), columns, first_seq, lineage.to_vec())
}

/// Rows `from..to` of a batch, as a batch.
pub(super) fn slice(batch: &Batch, from: usize, to: usize) -> Option<Batch> {
    let specs: Vec<ColumnSpec> = batch.rows.columns.iter().map(|c| c.spec.clone()).collect();
    let first_seq = batch.first_seq + from as u64;
    let (vehicle, stream, lineage) = (batch.vehicle.clone(), batch.stream.clone(), batch.lineage.clone());
    let mut part = Batch::new(vehicle, batch.boot, stream, &specs, first_seq, lineage);
    (from..to).try_for_each(|i| part.push(&batch.reading(i).ok()?).ok())?;
    Some(part)
}

/// Turns a batch into frames, as few as can be: one, unless it is too large or has a reading that no
/// frame can carry. Such a reading becomes a skip and a gap.
pub(super) fn seal(batch: &Batch, out: &mut Vec<Entry>, gaps: &mut Vec<Gap>) {
    let key = (batch.boot, batch.stream.clone());
    let next = batch.first_seq + batch.len() as u64;
    let why = match frame::encode(batch) {
        Ok(bytes) => return out.push(Entry::Frame { key, next, bytes }),
        Err(EncodeError::Empty) => return,
        Err(why) => why,
    };
    let half = batch.len() / 2;
    let halves = (half > 0).then(|| Some((slice(batch, 0, half)?, slice(batch, half, batch.len())?)));
    if let Some(Some((a, b))) = halves {
        seal(&a, out, gaps);
        return seal(&b, out, gaps);
    }
    let reason = match why {
        EncodeError::TooLarge(_) => Reason::Oversize,
        _ => Reason::Undeliverable,
    };
    tracing::warn!(stream = %batch.stream, %why, "readings have no frame; a gap row says so");
    let mut gap = Gap::range(batch.stream.clone(), batch.boot, batch.first_seq, next - 1, reason);
    gap.detail = Some(why.to_string());
    gaps.push(gap);
    out.push(Entry::Skip(Skip { boot: batch.boot, stream: batch.stream.clone(), next }));
}
