//! One light vehicle: a trip's readings become numbered frames. Pure; keeps nothing on disk.
//!
//! It stands in for a whole agent where thousands are wanted on one machine: the same readings, the
//! same frames and the same accounts in `agent_health`, so that the audit can hold it to them.

use milepost_agent::source::simulate::Trip;
use milepost_wire::reading::Health;
use milepost_wire::{Batch, BootId, Clock, Reading, Stream, VehicleId, frame};
use std::collections::BTreeMap;
use std::iter::Peekable;

/// Readings of a frame, as an agent has it by default.
const BATCH: usize = 60;
/// Of which simulated time the readings of a frame are at most, µs.
const AGE: i64 = 60_000_000;
/// Bytes of images of a frame at most, so that it stays below any broker's limit.
const IMAGES: usize = 128 << 10;

/// A frame and its stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Made {
    pub stream: Stream,
    pub frame: Vec<u8>,
}

/// A vehicle on its trip.
pub(super) struct Van {
    pub id: VehicleId,
    boot: BootId,
    trip: Peekable<Trip>,
    open: BTreeMap<Stream, Batch>,
    next: BTreeMap<Stream, u64>,
    image_bytes: usize,
    /// The event time of the newest reading.
    now: i64,
}

impl Van {
    pub(super) fn new(id: VehicleId, boot: BootId, trip: Trip) -> Self {
        let (open, next) = (BTreeMap::new(), BTreeMap::new());
        Self { id, boot, trip: trip.peekable(), open, next, image_bytes: 0, now: 0 }
    }

    /// The event time of the next reading; none at the destination.
    pub(super) fn due(&mut self) -> Option<i64> {
        self.trip.peek().map(|reading| reading.ts)
    }

    /// Takes the next reading, and hands frames that are full or old to `out`.
    pub(super) fn step(&mut self, out: &mut Vec<Made>) {
        let Some(reading) = self.trip.next() else { return };
        self.now = reading.ts;
        let urgent = matches!(reading.body, milepost_wire::Body::Emergency(_));
        let stream = reading.stream();
        self.push(&reading, out);
        if urgent {
            self.close(&stream, out);
        }
        let old = |b: &Batch| b.rows.ts.first().is_some_and(|first| self.now - first >= AGE);
        let old: Vec<_> = self.open.values().filter(|b| old(b)).map(|b| b.stream.clone()).collect();
        old.iter().for_each(|stream| self.close(stream, out));
    }

    /// Hands over what is open, and last the account of all streams.
    pub(super) fn end(&mut self, out: &mut Vec<Made>) {
        self.close_all(out);
        for (stream, next) in self.next.clone() {
            let row = self.account(&stream, next);
            self.push(&row, out);
        }
        self.close_all(out);
    }

    fn close_all(&mut self, out: &mut Vec<Made>) {
        let streams: Vec<_> = self.open.keys().cloned().collect();
        streams.iter().for_each(|stream| self.close(stream, out));
    }

    fn account(&self, stream: &Stream, next: u64) -> Reading {
        let health = Health {
            component: "stream".into(),
            name: stream.to_string(),
            received: None,
            emitted: i64::try_from(next).ok(),
            taken_out: None,
            poison: None,
            errors: None,
            restarts: None,
            bytes: None,
            depth: None,
            age_ms: None,
            version: None,
            digest: None,
        };
        Reading { ts: self.now, clock: Clock::Ntp, body: health.into() }
    }

    fn push(&mut self, reading: &Reading, out: &mut Vec<Made>) {
        let stream = reading.stream();
        // A trip has built-in streams only.
        let Some(columns) = stream.columns() else { return };
        let next = self.next.entry(stream.clone()).or_default();
        let batch = self.open.entry(stream.clone()).or_insert_with(|| {
            Batch::new(self.id.clone(), self.boot, stream.clone(), columns, *next, Vec::new())
        });
        if batch.push(reading).is_err() {
            return;
        }
        *next += 1;
        if let milepost_wire::Body::Camera(camera) = &reading.body {
            self.image_bytes += camera.image.len();
        }
        if batch.len() >= BATCH || (stream == Stream::Camera && self.image_bytes >= IMAGES) {
            self.close(&stream, out);
        }
    }

    fn close(&mut self, stream: &Stream, out: &mut Vec<Made>) {
        let Some(batch) = self.open.remove(stream) else { return };
        if *stream == Stream::Camera {
            self.image_bytes = 0;
        }
        match frame::encode(&batch) {
            Ok(frame) => out.push(Made { stream: stream.clone(), frame }),
            // Batches here are far below every limit.
            Err(e) => tracing::error!(vehicle = %self.id, error = %e, "A batch has no frame"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use milepost_agent::source::simulate::TripSettings;

    #[test]
    fn frames_carry_every_reading_once_and_the_account_says_how_many() {
        let settings = || TripSettings { minutes: Some(6.0), ..TripSettings::default() };
        let mut van = Van::new(VehicleId::new("sim-1").unwrap(), BootId(5), Trip::new(3, settings()));
        let mut made = Vec::new();
        while van.due().is_some() {
            van.step(&mut made);
        }
        van.end(&mut made);
        let mut next: BTreeMap<String, u64> = BTreeMap::new();
        let mut said: BTreeMap<String, u64> = BTreeMap::new();
        for made in &made {
            let batch = frame::decode(&made.frame).unwrap();
            assert_eq!(batch.stream, made.stream);
            let next = next.entry(batch.stream.to_string()).or_default();
            assert_eq!(batch.first_seq, *next);
            *next += batch.len() as u64;
            for i in 0..batch.len() {
                if let milepost_wire::Body::Health(health) = batch.reading(i).unwrap().body {
                    said.insert(health.name, health.emitted.unwrap() as u64);
                }
            }
        }
        let trip: Vec<_> = Trip::new(3, settings()).collect();
        let health = next.remove("agent_health").unwrap();
        assert_eq!(health, said.len() as u64);
        assert_eq!(next, said);
        assert_eq!(next.values().sum::<u64>(), trip.len() as u64);
    }
}
