//! Where the settings of every Kafka client begin.

use rdkafka::ClientConfig;

/// The settings that a client begins with, before its own and its user's.
pub fn config() -> ClientConfig {
    let mut config = ClientConfig::new();
    if cfg!(feature = "kafka-tls") {
        // An OpenSSL of its own knows no authorities: librdkafka is to look for the system's.
        config.set("ssl.ca.location", "probe");
    }
    config
}
