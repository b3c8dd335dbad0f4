//! Write Milepost transforms in Rust.
//!
//! A transform sees each reading of the streams that it names and says what comes [`Next`]: it stays,
//! it goes, it changes, or others take its place; and it may derive rows of streams of its own.
//!
//! ```
//! use milepost_transform::{Gps, Next, Out, Params, Transform, transform};
//!
//! /// Keeps the fixes of a moving vehicle.
//! struct Moving { min_m_s: f64 }
//!
//! impl Transform for Moving {
//!     fn new(params: &mut Params) -> Result<Self, String> {
//!         Ok(Self { min_m_s: params.f64("min_speed_m_s", 0.5)? })
//!     }
//!     fn gps(&mut self, fix: &Gps, _out: &mut Out) -> Next<Gps> {
//!         Next::keep_if(fix.speed_m_s().is_none_or(|v| v >= self.min_m_s))
//!     }
//! }
//! transform!(Moving: gps);
//! # fn main() {
//! // The same code runs natively, in an ordinary test:
//! let mut bench = milepost_transform::testing::Bench::<Moving>::new(&[("min_speed_m_s", "2")]);
//! let out = bench.gps([Gps::at(0, 52.0, -1.0).with_speed_m_s(1.0), Gps::at(1, 52.0, -1.0).with_speed_m_s(3.0)]);
//! assert_eq!(out.kept, [1]);
//! # }
//! ```
//!
//! Reading order: [`reading`] and [`geo`] are what one reads, [`params`] what the user set, [`out`] and
//! [`derive`] what one says, [`state`] what one remembers, [`host`] what one may ask the agent for,
//! [`author`] the trait itself, [`run`] how batches are walked, [`testing`] how to test all that.

pub mod author;
pub mod bindings;
pub mod derive;
mod export;
#[doc(hidden)]
pub mod fixes;
pub mod geo;
pub mod host;
pub mod out;
pub mod params;
pub mod reading;
pub mod run;
pub mod state;
#[cfg(not(target_family = "wasm"))]
pub mod testing;

pub use author::Transform;
pub use bindings::milepost::transform::host::Level;
pub use bindings::milepost::transform::types::{
    Batch, Camera, Clock, Column, Derived, Emergency, Gps, Kind, Row, Value, Vehicle, Weather,
};
pub use out::{Next, Out};
pub use params::Params;
pub use state::Saved;
