//! The last station: Kafka → Arrow → Parquet → S3, every reading in its table once.
//!
//! Reading order: [`settings`] are numbers and names; [`store`] and [`log`] are the seams to S3 and
//! Kafka; [`ledger`] has the objects that say what was done, [`claim`] the protocol by which two
//! owners of a partition cannot lose or repeat a row, [`dedupe`] what keeps a frame that arrives twice
//! from being two rows. [`schema`] is the one description of the tables and [`columns`] what derived
//! ones have come to; [`date`], [`table`] and [`parquet_file`] turn frames into files, [`build`] makes
//! all objects of one claim, [`commit`] drives the protocol. The buffers, the consumer and the thread
//! that reads come last; [`monitor`] shows how all of them do, [`check`] tries what they need, and
//! [`redrive`] is a command of its own.
//!
//! What is not here: nothing reads a clock or Kafka above [`commit`] but the reading thread, only
//! [`schema`] knows the tables' columns, and agent and bridge are not known at all.

pub mod settings;
pub mod store;
pub mod log;
pub mod ledger;
pub mod claim;
pub mod dedupe;
pub mod schema;
pub mod columns;
pub mod date;
pub mod table;
pub mod parquet_file;
pub mod build;
pub mod catalog;
#[cfg(feature = "glue")]
pub mod glue;
pub mod commit;
pub mod buffer;
pub mod status;
pub mod monitor;
pub mod check;
pub mod redrive;
pub mod survey;
pub mod ddl;

mod kafka;
mod partition;
mod put;
mod recall;
mod run;

pub use monitor::Monitor;
pub use run::{Sink, SinkError};
pub use settings::Settings;
pub use status::{Status, TableStatus};
