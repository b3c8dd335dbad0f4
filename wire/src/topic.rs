//! Names of MQTT and Kafka topics.
//!
//! A vehicle publishes to `milepost/v1/<vehicle>/<stream>`, so that a broker's ACL can hold it to its
//! own (`pattern write milepost/v1/%u/#`). In Kafka a built-in stream is the topic of its own name,
//! which users of the original pipeline know, and all derived streams share one.

use crate::id::VehicleId;
use crate::stream::Stream;
use alloc::format;
use alloc::string::String;

/// What all MQTT topics of frames begin with.
pub const MQTT_PREFIX: &str = "milepost/v1";
/// The filter that the bridge subscribes to.
pub const MQTT_FILTER: &str = "milepost/v1/+/+";
/// The Kafka topic of all derived streams.
pub const KAFKA_DERIVED: &str = "derived_data";
/// The Kafka topic of frames that the bridge refuses.
pub const KAFKA_DEAD_LETTER: &str = "milepost_dead_letter";

/// The MQTT topic that a vehicle's frames of a stream travel on.
pub fn mqtt(vehicle: &VehicleId, stream: &Stream) -> String {
    format!("{MQTT_PREFIX}/{vehicle}/{stream}")
}

/// Vehicle and stream of an MQTT topic; `None` where it is not one of ours.
pub fn parse_mqtt(topic: &str) -> Option<(VehicleId, Stream)> {
    let (vehicle, stream) = topic.strip_prefix(MQTT_PREFIX)?.strip_prefix('/')?.split_once('/')?;
    Some((VehicleId::new(vehicle).ok()?, stream.parse().ok()?))
}

/// The Kafka topic of a stream.
pub fn kafka(stream: &Stream) -> &str {
    match stream {
        Stream::Derived(_) => KAFKA_DERIVED,
        built_in => built_in.name(),
    }
}

/// Every Kafka topic that carries frames: the sink reads these.
pub fn kafka_all() -> impl Iterator<Item = &'static str> {
    const NAMES: [&str; 8] = [
        "vehicle_data",
        "gps_data",
        "camera_data",
        "weather_data",
        "emergency_data",
        "agent_health",
        "gap_data",
        KAFKA_DERIVED,
    ];
    NAMES.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mqtt_topics_read_back() {
        let vehicle = VehicleId::new("truck-0042").unwrap();
        for name in ["gps_data", "harsh_event"] {
            let stream: Stream = name.parse().unwrap();
            assert_eq!(parse_mqtt(&mqtt(&vehicle, &stream)), Some((vehicle.clone(), stream)));
        }
        for bad in [
            "",
            "milepost/v1",
            "milepost/v1/a",
            "milepost/v2/a/gps_data",
            "milepost/v1/a/b/c",
            "milepost/v1//gps_data",
        ] {
            assert_eq!(parse_mqtt(bad), None, "{bad}");
        }
    }

    #[test]
    fn every_built_in_stream_has_its_kafka_topic() {
        for stream in &Stream::BUILT_IN {
            assert!(kafka_all().any(|t| t == kafka(stream)), "{stream}");
        }
    }
}
