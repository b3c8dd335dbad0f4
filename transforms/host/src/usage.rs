//! What an author wants to know of a call: what it used, and where in the source it failed. The agent
//! asks for neither; both are off unless [`crate::EngineSettings`] says otherwise.

use std::fmt;
use wasmtime::WasmBacktrace;

/// What the last call of a transform used, of what its [`crate::Limits`] give.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// WebAssembly instructions, about; `None` unless [`crate::EngineSettings::count_fuel`] is set.
    pub fuel: Option<u64>,
    /// Linear memory of the instance. It grows and never shrinks.
    pub memory_bytes: usize,
    /// Keys and values that are stored with the host.
    pub stored_bytes: usize,
    /// The last snapshot.
    pub snapshot_bytes: usize,
    /// Log text that was written, with what each line costs.
    pub log_bytes: usize,
}

/// A function that was running when a call failed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    /// Its name, where the component has names.
    pub function: Option<String>,
    /// The source file, where the component has line tables.
    pub file: Option<String>,
    /// The line in it, from 1.
    pub line: Option<u32>,
}

impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.function.as_deref().unwrap_or("a function without a name"))?;
        match (&self.file, self.line) {
            (Some(file), Some(line)) => write!(f, " at {file}:{line}"),
            (Some(file), None) => write!(f, " in {file}"),
            _ => Ok(()),
        }
    }
}

/// The functions that were running, innermost first; one that was inlined stands before its caller.
pub(crate) fn frames(error: &wasmtime::Error) -> Vec<Frame> {
    let Some(trace) = error.downcast_ref::<WasmBacktrace>() else { return Vec::new() };
    let mut frames = Vec::new();
    for frame in trace.frames() {
        if frame.symbols().is_empty() {
            let function = frame.func_name().map(String::from);
            frames.push(Frame { function, ..Frame::default() });
        }
        frames.extend(frame.symbols().iter().map(|symbol| Frame {
            function: symbol.name().or(frame.func_name()).map(String::from),
            file: symbol.file().map(String::from),
            line: symbol.line(),
        }));
    }
    frames
}
