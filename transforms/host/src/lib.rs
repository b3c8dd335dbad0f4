//! Runs transforms: WebAssembly components that users write and vehicles run, each in a sandbox that
//! cannot hurt the agent. A transform gets a batch of typed readings of one stream and says what
//! becomes of each; it has no other way to reach the world.
//!
//! Reading order: [`limits`] says what a transform may use, [`failure`] what can go wrong, [`engine`]
//! compiles, or has it done by a [`compiler`], `sandbox` holds an instance and what it may call, `packed`, `convert` and `verdict`
//! translate readings there and back, [`transform`] puts these together. This crate does not choose what happens
//! to a reading that makes a transform fail: it leaves everything as it was before the call and says
//! why, and the caller bisects.
#![deny(unsafe_code)]

pub mod counters;
pub mod failure;
pub mod limits;

mod bindings;
mod cache;
pub mod compiler;
mod cpu;
pub mod engine;
mod sandbox;

mod packed;
mod convert;
mod verdict;

pub mod usage;

pub mod transform;

pub use compiler::Compiler;
pub use counters::Counters;
pub use engine::{Engine, EngineSettings, World, is_offered, read_component};
pub use failure::{EngineError, Failure, LoadError};
pub use limits::Limits;
pub use transform::{Applied, Mark, Output, State, Transform};
pub use usage::{Frame, Usage};
