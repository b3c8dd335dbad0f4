//! The agent: what runs in the vehicle. Readings enter from sources, pass through sandboxed
//! transforms, are numbered and kept on disk, and leave over MQTT once they are safe there.
//!
//! It never talks to Kafka or S3 and never imports the bridge or the sink: frames on MQTT are all
//! that it shares with them. The binary is a page; everything it does is here, so that the demo and
//! the tests run whole agents in their own process.
//!
//! Reading order is the data path: [`source`] delivers readings, [`pipeline`] runs the transforms,
//! [`outbox`] numbers and spools, [`uplink`] decides what to send and what is safe, [`mqtt`] talks to
//! the broker; [`health`] reports on all of them to the tables, [`monitor`] to whoever asks on the spot and
//! [`notify`] to systemd, and [`check`] tries what it needs; [`config`] says what to build and [`run`] builds it.
#![deny(unsafe_code)]

pub mod kernel;

pub mod clock;
pub mod units;

pub mod ndjson;
pub mod source;

pub mod pipeline;

pub mod outbox;

pub mod mqtt;
pub mod uplink;

pub mod health;
pub mod monitor;
pub mod notify;
pub mod check;

pub mod config;
pub mod run;
