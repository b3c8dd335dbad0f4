//! Compiles components, once for each engine and digest, and keeps the clock that stops those that
//! run too long.

use crate::failure::EngineError;
use std::sync::Arc;
use std::time::Duration;

/// Settings of the engine, one for a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineSettings {
    /// The largest component file; 32 MiB.
    pub max_component_bytes: usize,
    /// Address space that is set aside for each instance's memory; 32 MiB. Wasmtime's own default of
    /// 4 GiB is not to be had on a small Pi.
    pub memory_reservation: u64,
    /// How often the CPU limit is looked at while a transform runs; 10 ms.
    pub tick: Duration,
}

impl Default for EngineSettings {
    fn default() -> Self {
        Self { max_component_bytes: 32 << 20, memory_reservation: 32 << 20, tick: Duration::from_millis(10) }
    }
}

/// The engine that all transforms of a process share. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    pub(crate) settings: Arc<EngineSettings>,
}

impl Engine {
    /// Starts an engine.
    pub fn new(settings: &EngineSettings) -> Result<Self, EngineError> {
        Ok(Self { settings: Arc::new(settings.clone()) })
    }
}
