//! From MQTT to Kafka: every frame that vehicles publish becomes one Kafka record, unread and
//! unchanged. The broker's packet is acknowledged only when Kafka has reported the record as written,
//! so a frame is always in the hands of one of the two.
//!
//! The bridge reads a frame's header and checks its CRC; it never decodes a reading, keeps nothing on
//! disk, and drops nothing: a frame that is forged, damaged, more than its vehicle may send, or refused by
//! Kafka for good goes to the dead-letter topic with headers that say why. It may deliver a frame twice
//! (after a crash, a lost connection, a replaced producer); the sink knows frames that it has.

mod settings;
mod quantity;
mod mqtt;
mod tls;
mod route;
mod rate;
mod ack;
mod flight;
mod kafka;
mod run;
mod counters;
mod monitor;
pub mod check;
pub mod redrive;
#[cfg(test)]
mod sample;

pub use ack::{AckQueue, Ticket};
pub use counters::Counters;
pub use monitor::Monitor;
pub use settings::{
    DEFAULTS, ENV_PREFIX, Kafka, Metrics, Mqtt, PerVehicle, Secret, Settings, SettingsError, Tls,
};

use counters::Live;
use kafka::Producer;
use milepost_ops::check::kafka::said;
use mqtt::Target;
use run::Runner;
use std::sync::Arc;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A running bridge. Dropped without [`Bridge::stop`] it ends at once, as if the process had died:
/// nothing is lost, but the broker delivers again what was in flight.
pub struct Bridge {
    live: Arc<Live>,
    subscribed: watch::Receiver<bool>,
    stop: CancellationToken,
    task: JoinHandle<u64>,
}

/// Why a bridge did not start. Brokers that are away are no reason: they are waited for.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A property of the `[kafka]` table is wrong.
    #[error("Kafka's settings are not usable: {0}")]
    Kafka(String),
    /// `mqtt.url` or a TLS file is wrong.
    #[error("MQTT's settings are not usable: {0}")]
    Mqtt(String),
}

impl Bridge {
    /// Starts the bridge as a task of the current tokio runtime. Returns at once, whether or not the
    /// brokers are there: see [`Bridge::subscribed`].
    ///
    /// # Panics
    /// Outside of a tokio runtime with I/O and time enabled.
    pub fn start(settings: Settings) -> Result<Self, StartError> {
        let target = Target::new(settings.mqtt.clone()).map_err(StartError::Mqtt)?;
        let (reports_tx, reports) = mpsc::unbounded_channel();
        let live = Arc::<Live>::default();
        let producer = Producer::new(&settings, 0, reports_tx.clone(), live.clone())
            .map_err(|e| StartError::Kafka(said(&e)))?;
        let (subscribed_tx, subscribed) = watch::channel(false);
        let stop = CancellationToken::new();
        let task = tokio::spawn(run::run(Runner {
            settings,
            target,
            producer,
            reports,
            reports_tx,
            live: live.clone(),
            subscribed: subscribed_tx,
            stop: stop.clone(),
        }));
        Ok(Self { live, subscribed, stop, task })
    }

    /// Waits until the broker has confirmed the subscription for the first time: what is published
    /// from then on arrives. (Before, a broker may drop it for want of a subscriber.)
    pub async fn subscribed(&self) {
        // An error means that the task has ended; then there is nothing to wait for.
        let _ = self.subscribed.clone().wait_for(|yes| *yes).await;
    }

    /// Stops receiving, waits for Kafka's reports as long as the settings allow, acknowledges what was
    /// reported and disconnects. Returns how many frames had no report; the broker still has them.
    pub async fn stop(mut self) -> u64 {
        self.stop.cancel();
        (&mut self.task).await.unwrap_or_default()
    }

    /// Watches it from outside, also after it has stopped.
    pub fn monitor(&self) -> Monitor {
        Monitor::new(self.live.clone(), self.task.abort_handle())
    }

    /// What was done so far.
    pub fn counters(&self) -> Counters {
        self.live.snapshot()
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        self.task.abort();
    }
}
