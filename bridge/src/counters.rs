//! What the bridge has done since it started.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// A snapshot of the bridge's counters; all but `connected` and `in_flight` only grow.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Counters {
            /// Whether the broker has confirmed the subscription of the present connection.
            pub connected: bool,
            $($(#[$doc])* pub $name: u64,)*
        }

        #[derive(Debug, Default)]
        pub(crate) struct Live {
            connected: AtomicBool,
            $(pub(crate) $name: AtomicU64,)*
        }

        impl Live {
            pub(crate) fn snapshot(&self) -> Counters {
                Counters {
                    connected: self.connected.load(Ordering::Relaxed),
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
    /// Frames that Kafka reported as written to the dead-letter topic.
    dead_lettered,
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
}

impl Live {
    pub(crate) fn add(counter: &AtomicU64, n: u64) {
        counter.fetch_add(n, Ordering::Relaxed);
    }

    pub(crate) fn set_connected(&self, connected: bool) {
        self.connected.store(connected, Ordering::Relaxed);
    }
}
