#!/bin/bash
# Makes the topics that are not there yet: a topic a stream, one for all derived streams, and one for frames
# that the bridge refuses. Ends when all are there.
set -euo pipefail

TOPICS="vehicle_data gps_data camera_data weather_data emergency_data agent_health gap_data derived_data milepost_dead_letter"
kafka_topics() { /opt/kafka/bin/kafka-topics.sh --bootstrap-server "${KAFKA:-kafka:9092}" "$@"; }

there=$(kafka_topics --list)
for topic in $TOPICS; do
    grep -qx "$topic" <<<"$there" || kafka_topics --create --if-not-exists --topic "$topic" --partitions "${PARTITIONS:-3}"
done
