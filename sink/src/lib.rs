//! The last station: Kafka → Arrow → Parquet → S3, every reading in its table once.
//!
//! Reading order: [`settings`], then [`store`], the seam to S3.

pub mod ledger;
pub mod settings;
pub mod store;

mod run;

pub use run::{Sink, SinkError, Status, TableStatus};
pub use settings::Settings;
