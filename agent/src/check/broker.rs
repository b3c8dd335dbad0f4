//! Whether the broker can be reached, is who it should be, lets the vehicle in and takes what it publishes.

use crate::config::Config;
use crate::mqtt::{self, Address, Connection, Event};
use crate::uplink::window::{Answer, Loss};
use milepost_ops::check::{Checks, PATIENCE, Wrong, certificate, reach, tls_advice};
use milepost_wire::topic::MQTT_PREFIX;
use rumqttc::tokio_rustls::TlsConnector;
use rustls::pki_types::ServerName;
use std::io::Write;
use std::time::Duration;
use tokio::net::TcpStream;

/// How long the goodbye to the broker may take.
const GOODBYE: Duration = Duration::from_secs(1);

/// `now` is the date, since 1970 UTC.
pub(super) async fn broker<W: Write>(config: &Config, now: Duration, checks: &mut Checks<W>) {
    let own = &config.uplink.cert;
    if !own.as_os_str().is_empty() {
        checks.found("Certificate", certificate(own, now));
    }
    let address = config.address().map_err(|why| Wrong::new(why, "Correct what it says in `[uplink]`"));
    let address = match address {
        Ok(address) => address,
        Err(wrong) => return checks.failed("Broker", wrong),
    };
    let place = format!("{}:{}", address.host, address.port);
    let stream = match reach(&address.host, address.port, "uplink.url").await {
        Ok(stream) => stream,
        Err(wrong) => return checks.failed("Broker", wrong),
    };
    checks.found("Broker", Ok(format!("{place} answers")));
    if let Some(tls) = &address.tls
        && !checks.found("TLS", handshake(stream, &address.host, tls).await)
    {
        return;
    }
    login(config, address, checks).await;
}

/// Whether the broker is who it says: its certificate's authority, name and dates.
async fn handshake(stream: TcpStream, host: &str, tls: &mqtt::Tls) -> Result<String, Wrong> {
    let failed = |error: std::io::Error| {
        let mend = tls_advice(&error).unwrap_or("See whether this is the broker's port for TLS");
        Wrong::new(error, mend)
    };
    let name = ServerName::try_from(host.to_owned()).map_err(|e| failed(std::io::Error::other(e)))?;
    let connecting = TlsConnector::from(tls.current()).connect(name, stream);
    match tokio::time::timeout(PATIENCE, connecting).await {
        Ok(Ok(_)) => Ok(format!("the broker's certificate is good for {host}")),
        Ok(Err(error)) => Err(failed(error)),
        Err(_) => {
            Err(failed(std::io::Error::other(format!("the broker did not answer within {PATIENCE:?}"))))
        }
    }
}

/// Whether the broker lets the vehicle in, and takes a message below the vehicle's topic. That one has a
/// level more than those of frames, so that no bridge is given it.
async fn login<W: Write>(config: &Config, address: Address, checks: &mut Checks<W>) {
    let who = format!("{}-check", address.client_id);
    let mut connection = Connection::open(&Address { client_id: who, ..address });
    let refused = "Enroll the vehicle, renew its certificate, or correct `uplink.username` and its password; the \
                   broker's log says more";
    match next(&mut connection).await {
        Ok(Event::Up(_)) => checks.found("Login", Ok("the broker lets the vehicle in")),
        Ok(Event::Down(Loss::Connection(why) | Loss::Objection(why))) => {
            return checks.failed("Login", Wrong::new(why, refused));
        }
        Ok(other) => {
            let why = format!("The broker answered {other:?}");
            return checks.failed("Login", Wrong::new(why, refused));
        }
        Err(wrong) => return checks.failed("Login", wrong),
    };
    let vehicle = &config.vehicle;
    let topic = format!("{MQTT_PREFIX}/{vehicle}/check/agent");
    let found = publish(&mut connection, &topic).await.map_err(|why| {
        let mend = format!(
            "Use the certificate or the login of {vehicle}, and let it publish below {MQTT_PREFIX}/{vehicle}/ in \
             the broker's access list"
        );
        Wrong::new(why, mend)
    });
    checks.found("Publishing", found);
    connection.close(GOODBYE).await;
}

async fn publish(connection: &mut Connection, topic: &str) -> Result<String, String> {
    connection.publish(topic, bytes::Bytes::new()).map_err(|why| why.to_string())?;
    loop {
        match next(connection).await.map_err(|wrong| wrong.why)? {
            Event::Answered(_, Answer::Taken | Answer::NobodyListens) => {
                return Ok(format!("the vehicle may publish below {MQTT_PREFIX} as itself"));
            }
            Event::Answered(_, Answer::Refused(why)) => return Err(format!("The broker answers: {why}")),
            Event::Down(Loss::Connection(why) | Loss::Objection(why)) => {
                return Err(format!("The broker ends the connection over it: {why}"));
            }
            Event::Up(_) | Event::Written(_) => {}
        }
    }
}

async fn next(connection: &mut Connection) -> Result<Event, Wrong> {
    let event = tokio::time::timeout(PATIENCE, connection.next()).await;
    event.map_err(|_| {
        let mend = "See whether it is an MQTT 5 broker that listens on this port";
        Wrong::new(format!("The broker did not answer within {PATIENCE:?}"), mend)
    })
}
