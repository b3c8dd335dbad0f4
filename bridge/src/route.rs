//! Where a publish goes: to its stream's Kafka topic, or to the dead letters with a reason. Pure.

use bytes::Bytes;
use milepost_wire::{VehicleId, frame, topic};

/// The verdict on one publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// A sound frame, from who it says.
    Stream {
        /// The Kafka topic.
        topic: &'static str,
        /// The Kafka key.
        vehicle: VehicleId,
    },
    /// Not to be passed on as a frame.
    Dead {
        /// Why.
        reason: Reason,
        /// The vehicle that the MQTT topic names: the broker has checked that one.
        vehicle: Option<VehicleId>,
    },
}

/// Why a frame became a dead letter: a short name for machines and a sentence for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reason {
    /// One of [`REASONS`].
    pub(crate) code: &'static str,
    /// In words.
    pub(crate) detail: String,
}

/// All codes of reasons.
pub(crate) const REASONS: [&str; 7] = ["topic", "version", "crc", "malformed", "identity", "rate", "kafka"];

/// Judges a publish by its topic, which begins with `prefix`, and its frame's header and CRC.
pub(crate) fn route(prefix: &str, mqtt_topic: &Bytes, payload: &[u8]) -> Route {
    let own = std::str::from_utf8(mqtt_topic).ok().and_then(|topic| topic.strip_prefix(prefix));
    let Some((vehicle, stream)) = own.and_then(topic::parse_mqtt) else {
        let detail = format!("The MQTT topic is not {prefix}milepost/v1/<vehicle>/<stream>");
        return Route::Dead { reason: Reason { code: "topic", detail }, vehicle: None };
    };
    let dead = |code, detail| Route::Dead { reason: Reason { code, detail }, vehicle: Some(vehicle.clone()) };
    let header = match frame::check(payload) {
        Ok(header) => header,
        Err(e) => {
            let code = match e {
                frame::DecodeError::Version(_) => "version",
                frame::DecodeError::Crc { .. } => "crc",
                _ => "malformed",
            };
            return dead(code, e.to_string());
        }
    };
    if header.vehicle != vehicle || header.stream != stream {
        let detail = format!(
            "The frame is {}'s of {}, but was published as {vehicle}'s of {stream}",
            header.vehicle, header.stream
        );
        return dead("identity", detail);
    }
    let name = topic::kafka(&stream);
    match topic::kafka_all().find(|t| *t == name) {
        Some(topic) => Route::Stream { topic, vehicle },
        None => dead("topic", format!("Stream {stream} has no Kafka topic")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    fn code(topic: &str, payload: &[u8]) -> &'static str {
        match route("", &Bytes::copy_from_slice(topic.as_bytes()), payload) {
            Route::Stream { topic, .. } => topic,
            Route::Dead { reason, .. } => reason.code,
        }
    }

    #[test]
    fn a_sound_frame_goes_to_its_streams_topic_under_its_vehicle() {
        let frame = sample::gps_frame("truck-1", 0, 10);
        let route = route("", &Bytes::from_static(b"milepost/v1/truck-1/gps_data"), &frame);
        let Route::Stream { topic, vehicle } = route else { panic!("{route:?}") };
        assert_eq!((topic, vehicle.as_str()), ("gps_data", "truck-1"));
    }

    #[test]
    fn a_mount_point_is_taken_off_and_asked_for() {
        let frame = sample::gps_frame("truck-1", 0, 10);
        let routed = |topic: &'static str| route("vehicles/", &Bytes::from_static(topic.as_bytes()), &frame);
        assert!(matches!(routed("vehicles/milepost/v1/truck-1/gps_data"), Route::Stream { .. }));
        assert!(matches!(routed("milepost/v1/truck-1/gps_data"), Route::Dead { .. }));
    }

    #[test]
    fn derived_streams_share_a_topic() {
        let frame = sample::derived_frame("truck-1", "harsh_event");
        assert_eq!(code("milepost/v1/truck-1/harsh_event", &frame), "derived_data");
    }

    #[test]
    fn forged_damaged_and_misplaced_frames_are_dead_letters_that_say_why() {
        let frame = sample::gps_frame("truck-1", 0, 10);
        assert_eq!(code("milepost/v1/truck-2/gps_data", &frame), "identity");
        assert_eq!(code("milepost/v1/truck-1/vehicle_data", &frame), "identity");
        assert_eq!(code("milepost/v1/truck-1", &frame), "topic");
        assert_eq!(code("milepost/v1/\u{e4}/gps_data", &frame), "topic");
        assert_eq!(code("milepost/v1/truck-1/gps_data", b""), "malformed");
        let mut newer = frame.clone();
        newer[0] = 99;
        assert_eq!(code("milepost/v1/truck-1/gps_data", &newer), "version");
        for at in 1..frame.len() {
            let mut damaged = frame.clone();
            damaged[at] ^= 0x10;
            assert_eq!(code("milepost/v1/truck-1/gps_data", &damaged), "crc", "byte {at}");
            assert_ne!(code("milepost/v1/truck-1/gps_data", &frame[..at]), "gps_data", "cut at {at}");
        }
    }

    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

        /// A topic is whatever a client of the broker writes.
        #[test]
        fn any_topic_and_payload_are_judged(
            topic in prop_oneof![
                prop::collection::vec(any::<u8>(), 0..100),
                "(vehicles/)?milepost/v1/[a-z0-9./_+#-]{0,80}(/[a-z_]{0,60}){0,3}".prop_map(String::into_bytes),
            ],
            payload in prop::collection::vec(any::<u8>(), 0..200),
            prefix in prop_oneof![Just(""), Just("vehicles/")],
        ) {
            match route(prefix, &Bytes::from(topic), &payload) {
                Route::Dead { reason, .. } => {
                    prop_assert!(REASONS.contains(&reason.code));
                    prop_assert!(reason.detail.len() < 1000, "{}", reason.detail.len());
                }
                // As good as impossible: a CRC that fits by chance.
                Route::Stream { topic, .. } => prop_assert!(topic::kafka_all().any(|t| t == topic)),
            }
        }

        /// A sound frame under a topic that is near its own goes to its own stream or nowhere.
        #[test]
        fn a_frame_is_taken_under_its_own_topic_alone(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let frame = sample::gps_frame("truck-1", 0, 3);
            let own = b"milepost/v1/truck-1/gps_data".to_vec();
            let mut near = own.clone();
            let at = at.index(near.len());
            near[at] = byte;
            let taken = matches!(route("", &Bytes::from(near.clone()), &frame), Route::Stream { .. });
            prop_assert_eq!(taken, near == own);
        }
    }
}
