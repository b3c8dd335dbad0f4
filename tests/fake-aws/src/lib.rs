//! S3 that fails on demand, for tests: the real protocol over real HTTP on a loopback port, so that
//! what is tested is the real client with its retries, its signatures and its timeouts.
//!
//! Reading order: [`fault`] says what can go wrong with a request, [`cloud`](FakeAws) holds the objects,
//! the log of requests and the plan of faults behind one lock, [`bucket`] is what S3 does when nothing
//! goes wrong, [`server`] takes a request from the socket through the plan to its effect.
//!
//! An effect does not depend on who still listens: a request that stands still takes effect when it is
//! released, also when its client is long dead. That is how a zombie's late upload is made.
//!
//! Nothing here knows what the objects are.

pub mod fault;

mod bucket;
mod cloud;
mod server;

pub use cloud::{FakeAws, Keys};
pub use fault::{Answer, Fault, Op, Request};

/// The bucket; there is no other.
pub const BUCKET: &str = "lake";
