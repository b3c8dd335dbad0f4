//! What can go wrong, so that a caller knows what to do: refuse at start ([`LoadError`]) or bisect
//! the batch ([`Failure`]).

use std::time::Duration;

/// Why there is no engine.
#[derive(Debug, thiserror::Error)]
#[error("The WebAssembly engine cannot start: {0}")]
pub struct EngineError(pub String);

/// Why a transform was not loaded. The message names the transform, the cause and the mend.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file is larger than a component may be.
    #[error(
        "Transform {name} has {bytes} bytes, and a component may have {max}: strip it, or raise `max_component_bytes`"
    )]
    TooLarge {
        /// The transform.
        name: String,
        /// Its size.
        bytes: usize,
        /// The engine's limit.
        max: usize,
    },
    /// The bytes are no WebAssembly component.
    #[error("Transform {name} is not a WebAssembly component: {cause}")]
    NotAComponent {
        /// The transform.
        name: String,
        /// What the reader said.
        cause: String,
    },
    /// It cannot be compiled within the limits of a [`crate::Compiler`], or the compiler failed.
    #[error("Transform {name} is not compiled: {why}")]
    Compile {
        /// The transform.
        name: String,
        /// What happened.
        why: String,
    },
    /// An instance of it would need more than there is for one: tables, core modules, memories.
    #[error("Transform {name} needs more than a transform may have: {cause}")]
    TooMuch {
        /// The transform.
        name: String,
        /// What of.
        cause: String,
    },
    /// The component asks for something that a transform does not get.
    #[error(
        "Transform {name} imports {import:?}, which a transform does not get: the host offers only {offered}. \
         Build for wasm32-unknown-unknown, without WASI"
    )]
    Import {
        /// The transform.
        name: String,
        /// What it asks for.
        import: String,
        /// What there is.
        offered: &'static str,
    },
    /// The component does not have the exports of the world `transform`, or with other types.
    #[error("Transform {name} is not built for the world milepost:transform/transform@0.1.0: {cause}")]
    World {
        /// The transform.
        name: String,
        /// What is missing or differs.
        cause: String,
    },
    /// `init` refused the parameters, trapped or met a limit.
    #[error("Transform {name} did not start: {failure}")]
    Init {
        /// The transform.
        name: String,
        /// What happened.
        failure: Failure,
    },
}

/// Why a call gave nothing. The readings are untouched, the transform's state is what it was before
/// the call, and the next call finds a fresh instance.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The code trapped: a panic, an index out of bounds, `unreachable`.
    #[error("It trapped: {0}")]
    Trap(String),
    /// A call took too much CPU time.
    #[error("It used its CPU time of {limit:?} for one call")]
    CpuLimit {
        /// The limit.
        limit: Duration,
    },
    /// It asked for more memory than it may have.
    #[error("It asked for {wanted} bytes of memory, and may have {limit}")]
    MemoryLimit {
        /// What it asked for.
        wanted: usize,
        /// The limit.
        limit: usize,
    },
    /// It gave more rows or bytes than it may.
    #[error("It gave more than the {limit} {unit} of output that one call may give")]
    OutputLimit {
        /// `rows` or `bytes`.
        unit: &'static str,
        /// The limit.
        limit: usize,
    },
    /// It stored more than it may.
    #[error("It stored {wanted} bytes of state, and may store {limit}")]
    StateLimit {
        /// What it wanted to have stored, in all.
        wanted: usize,
        /// The limit.
        limit: usize,
    },
    /// It returned an error of its own.
    #[error("It said: {0}")]
    GuestError(String),
    /// It returned something that makes no sense: an index outside the batch, a name that no stream can
    /// have, a value of another kind than its column.
    #[error("It returned what cannot be: {0}")]
    InvalidOutput(String),
    /// The caller gave readings that are not all of the stream it named, or derived rows with different
    /// columns. The transform was not called.
    #[error("It was not called: {0}")]
    InvalidInput(String),
    /// A fresh instance could not be started after an earlier failure.
    #[error("It could not be started again: {0}")]
    InitFailed(String),
}

impl Failure {
    /// A short word for counters and `gap_data` details: `trap`, `cpu_limit`, ….
    pub fn kind(&self) -> &'static str {
        match self {
            Failure::Trap(_) => "trap",
            Failure::CpuLimit { .. } => "cpu_limit",
            Failure::MemoryLimit { .. } => "memory_limit",
            Failure::OutputLimit { .. } => "output_limit",
            Failure::StateLimit { .. } => "state_limit",
            Failure::GuestError(_) => "guest_error",
            Failure::InvalidOutput(_) => "invalid_output",
            Failure::InvalidInput(_) => "invalid_input",
            Failure::InitFailed(_) => "init_failed",
        }
    }
}
