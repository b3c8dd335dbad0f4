#!/bin/bash
# What Kafka's own scripts of these names run, without their many options.
case ${0##*/} in
kafka-storage.sh) class=kafka.tools.StorageTool ;;
kafka-server-start.sh) class=kafka.Kafka ;;
kafka-topics.sh) class=org.apache.kafka.tools.TopicCommand ;;
esac
# shellcheck disable=SC2086 # the options are words
exec java $KAFKA_HEAP_OPTS $KAFKA_JVM_PERFORMANCE_OPTS $KAFKA_LOG4J_OPTS -cp '/opt/kafka/libs/*' "$class" "$@"
