//! `milepost-bridge check`: tries all that a bridge needs, beside one that may be running. The broker sees
//! another client, in a group of its own that acknowledges nothing, so that no frame is taken from a running
//! bridge; Kafka is asked and nothing is written.

use crate::mqtt::{Connection, Incoming, MqttError, Target};
use crate::settings::{Mqtt, Settings};
use milepost_ops::check::{Checks, PATIENCE, Wrong, certificate, kafka, reach, tls_advice};
use std::io::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How long the goodbye to the broker may take.
const GOODBYE: Duration = Duration::from_secs(1);

/// Tries everything in the order of the data path.
pub async fn everything<W: Write>(settings: &Settings, checks: &mut Checks<W>) {
    checks.found("Configuration", Ok(""));
    broker(&settings.mqtt, checks).await;
    let topics: Vec<String> = milepost_wire::topic::kafka_all()
        .map(str::to_owned)
        .chain([settings.dead_letter_topic.clone()])
        .collect();
    match kafka::client(crate::kafka::client_config(settings)) {
        Ok(client) => {
            kafka::topics(checks, &client, &topics, kafka::Access::Write);
        }
        Err(wrong) => checks.failed("Kafka", wrong),
    }
}

async fn broker<W: Write>(mqtt: &Mqtt, checks: &mut Checks<W>) {
    if let Some(cert) = mqtt.tls.as_ref().and_then(|tls| tls.cert.as_ref()) {
        checks.found("Certificate", certificate(cert, now()));
    }
    // At most one frame is on its way to this client at a time, and it is given back unread.
    let beside = Mqtt {
        client_id: format!("{}-check", mqtt.client_id),
        group: format!("{}-check", mqtt.group),
        receive_maximum: 1,
        session_expiry: Duration::ZERO,
        ..mqtt.clone()
    };
    let target = match Target::new(beside) {
        Ok(target) => target,
        Err(why) => return checks.failed("MQTT broker", Wrong::new(why, "Correct what it says in `[mqtt]`")),
    };
    let (host, port) = target.place();
    if let Err(wrong) = reach(host, port, "mqtt.url").await {
        return checks.failed("MQTT broker", wrong);
    }
    checks.found("MQTT broker", Ok(format!("{host}:{port} answers")));
    let opened = Connection::open(&target).await;
    let mut connection = match opened {
        Ok(connection) => connection,
        Err(error) => return checks.failed("Login", refused(&error)),
    };
    checks.found("Login", Ok("the broker lets the bridge in"));
    let subscribed = tokio::time::timeout(PATIENCE, subscribed(&mut connection)).await;
    let subscribed = subscribed.unwrap_or(Err(MqttError::Silent));
    let found = subscribed.map(|()| "the broker confirms it").map_err(|error| match error {
        MqttError::Subscription { .. } => {
            let mend = "Let the bridge read that filter in the broker's access list, or correct \
                        `mqtt.topic_prefix`: the mount point of the vehicles' listener";
            Wrong::new(error, mend)
        }
        other => refused(&other),
    });
    checks.found("Shared subscription", found);
    let _ = tokio::time::timeout(GOODBYE, connection.close()).await;
}

async fn subscribed(connection: &mut Connection) -> Result<(), MqttError> {
    loop {
        while let Some(packet) = connection.next()? {
            if let Incoming::Subscribed = packet {
                return Ok(());
            }
        }
        connection.turn(true).await?;
    }
}

/// What to do where the broker does not let the bridge in.
fn refused(error: &MqttError) -> Wrong {
    let mend = match error {
        MqttError::Io(io) => tls_advice(io).unwrap_or("See whether the broker speaks TLS on this port"),
        MqttError::Closed => "See the broker's log: it may want a certificate (`mqtt.tls`), or not this one",
        MqttError::Refused(_) => "Correct `mqtt.username` and `mqtt.password`, or the certificate",
        _ => "See whether it is an MQTT 5 broker that listens on this port",
    };
    Wrong::new(error, mend)
}

/// The date, since 1970 UTC.
#[expect(
    clippy::disallowed_methods,
    reason = "certificates are judged by the date, and nothing else here is"
)]
fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
