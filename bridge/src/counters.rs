//! What the bridge has done since it started.

use crate::route::REASONS;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// A snapshot of the bridge's counters; all but `connected`, those in flight and `kafka_brokers` only grow.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Counters {
            /// Whether the broker has confirmed the subscription of the present connection.
            pub connected: bool,
            /// Frames that Kafka reported as written to the dead-letter topic.
            pub dead_lettered: u64,
            $($(#[$doc])* pub $name: u64,)*
        }

        #[derive(Debug, Default)]
        pub(crate) struct Live {
            connected: AtomicBool,
            dead_lettered: [AtomicU64; REASONS.len()],
            $(pub(crate) $name: AtomicU64,)*
        }

        impl Live {
            pub(crate) fn snapshot(&self) -> Counters {
                Counters {
                    connected: self.connected.load(Ordering::Relaxed),
                    dead_lettered: self.dead_lettered().map(|(_, n)| n).sum(),
                    $($name: self.$name.load(Ordering::Relaxed),)*
                }
            }
        }
    };
}

counters! {
    /// Frames that came from the broker, those delivered again included.
    received,
    /// Their bytes.
    received_bytes,
    /// Frames that Kafka reported as written to their topic.
    delivered,
    /// Acknowledgements sent to the broker.
    acked,
    /// Deliveries that failed in a way that may pass, and were produced again.
    retried,
    /// Producers that failed for good and were replaced.
    producers_replaced,
    /// Connections made to the broker.
    connections,
    /// Frames that wait for Kafka's report.
    in_flight,
    /// About how much memory they hold, bytes.
    in_flight_bytes,
    /// Connections to Kafka's brokers that are up.
    kafka_brokers,
    /// Vehicles that have sent something lately, as far as they are told apart.
    vehicles,
}

impl Live {
    pub(crate) fn add(counter: &AtomicU64, n: u64) {
        counter.fetch_add(n, Ordering::Relaxed);
    }

    pub(crate) fn set(gauge: &AtomicU64, n: u64) {
        gauge.store(n, Ordering::Relaxed);
    }

    /// A frame is in the dead-letter topic.
    pub(crate) fn dead_letter(&self, code: &str) {
        if let Some(place) = REASONS.iter().position(|reason| *reason == code) {
            Self::add(&self.dead_lettered[place], 1);
        }
    }

    /// Dead letters by reason.
    pub(crate) fn dead_lettered(&self) -> impl Iterator<Item = (&'static str, u64)> {
        REASONS.into_iter().zip(&self.dead_lettered).map(|(reason, n)| (reason, n.load(Ordering::Relaxed)))
    }

    pub(crate) fn set_connected(&self, connected: bool) {
        self.connected.store(connected, Ordering::Relaxed);
    }
}
