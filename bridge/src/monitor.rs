//! The bridge as it looks from outside, for whoever asks on the spot: its metrics, whether it works, whether
//! it does its work now. It changes nothing and waits for nothing.

use crate::counters::{Counters, Live};
use milepost_ops::{Metric, Page, Station};
use std::sync::Arc;
use tokio::task::AbortHandle;

/// How a figure is read.
type Read = fn(&Counters) -> u64;

/// Looks at one bridge.
#[derive(Clone, Debug)]
pub struct Monitor {
    live: Arc<Live>,
    task: AbortHandle,
}

impl Monitor {
    pub(crate) fn new(live: Arc<Live>, task: AbortHandle) -> Self {
        Self { live, task }
    }
}

impl Station for Monitor {
    fn alive(&self) -> Result<(), String> {
        match self.task.is_finished() {
            true => Err("The bridge's task has ended".into()),
            false => Ok(()),
        }
    }

    fn ready(&self) -> Result<(), String> {
        let now = self.live.snapshot();
        match (now.connected, now.kafka_brokers > 0) {
            (true, true) => Ok(()),
            (false, true) => Err("No subscription at the MQTT broker".into()),
            (true, false) => Err("No connection to Kafka".into()),
            (false, false) => Err("No subscription at the MQTT broker, no connection to Kafka".into()),
        }
    }

    fn metrics(&self, page: &mut Page) {
        let now = self.live.snapshot();
        page.values(&INFO, [([env!("CARGO_PKG_VERSION")], 1)]);
        page.value(&CONNECTED, u8::from(now.connected));
        page.values(&DEAD_LETTERED, self.live.dead_lettered().map(|(reason, n)| ([reason], n)));
        let counts: [(&Metric, Read); 11] = [
            (&CONNECTIONS, |c| c.connections),
            (&RECEIVED, |c| c.received),
            (&RECEIVED_BYTES, |c| c.received_bytes),
            (&DELIVERED, |c| c.delivered),
            (&ACKED, |c| c.acked),
            (&RETRIED, |c| c.retried),
            (&PRODUCERS_REPLACED, |c| c.producers_replaced),
            (&IN_FLIGHT, |c| c.in_flight),
            (&IN_FLIGHT_BYTES, |c| c.in_flight_bytes),
            (&KAFKA_BROKERS, |c| c.kafka_brokers),
            (&VEHICLES, |c| c.vehicles),
        ];
        for (metric, count) in counts {
            page.value(metric, count(&now));
        }
    }
}

// What each means to people stands here and in `docs/metrics.md`; a test holds the two together.

const INFO: Metric = Metric::gauge("milepost_bridge_info", &["version"], "Always 1.");
const CONNECTED: Metric =
    Metric::gauge("milepost_bridge_connected", &[], "1 while the broker gives frames to the bridge, else 0.");
const CONNECTIONS: Metric =
    Metric::counter("milepost_bridge_connections_total", &[], "Connections made to the MQTT broker.");
const RECEIVED: Metric = Metric::counter(
    "milepost_bridge_received_total",
    &[],
    "Frames from the MQTT broker, those delivered again included.",
);
const RECEIVED_BYTES: Metric =
    Metric::counter("milepost_bridge_received_bytes_total", &[], "Bytes of those frames.");
const DELIVERED: Metric = Metric::counter(
    "milepost_bridge_delivered_total",
    &[],
    "Frames that Kafka has in the topic of their stream.",
);
const DEAD_LETTERED: Metric = Metric::counter(
    "milepost_bridge_dead_lettered_total",
    &["reason"],
    "Frames that Kafka has in the dead-letter topic.",
);
const ACKED: Metric =
    Metric::counter("milepost_bridge_acked_total", &[], "Acknowledgements given to the MQTT broker.");
const RETRIED: Metric = Metric::counter(
    "milepost_bridge_retried_total",
    &[],
    "Deliveries to Kafka that failed and were tried again.",
);
const PRODUCERS_REPLACED: Metric = Metric::counter(
    "milepost_bridge_producers_replaced_total",
    &[],
    "Producers that failed for good and were replaced.",
);
const IN_FLIGHT: Metric =
    Metric::gauge("milepost_bridge_in_flight", &[], "Frames that wait for Kafka's report.");
const IN_FLIGHT_BYTES: Metric =
    Metric::gauge("milepost_bridge_in_flight_bytes", &[], "About how much memory they hold.");
const KAFKA_BROKERS: Metric =
    Metric::gauge("milepost_bridge_kafka_brokers", &[], "Connections to Kafka's brokers that are up.");
const VEHICLES: Metric = Metric::gauge(
    "milepost_bridge_vehicles",
    &[],
    "Vehicles that have sent something lately, at most 65536.",
);
