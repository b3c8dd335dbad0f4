//! One MQTT v5 connection, and the only module that knows the client library.
//!
//! A [`Connection`] lives from CONNECT to the first error and is never used again: the library's
//! reconnection, its memory of unanswered publishes and its session state have lost messages, so none
//! of them is used. What was not answered is the spool's to send again. Deciding what to send is
//! [`crate::uplink`]'s part.

use crate::uplink::window::{Answer, Broker, Loss};
use bytes::Bytes;
use rumqttc::v5::mqttbytes::v5::{DisconnectReasonCode, Packet, PubAckReason};
use rumqttc::v5::mqttbytes::{Error as PacketError, QoS};
use rumqttc::v5::{AsyncClient, ConnectionError, Event as ClientEvent, EventLoop, MqttOptions, StateError};
use rumqttc::{Outgoing, TlsConfiguration, Transport};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// The most bytes of a packet that the broker sends us: answers only, since we subscribe to nothing.
const MAX_INCOMING: u32 = 64 << 10;

/// Where and as whom to connect.
#[derive(Clone)]
pub struct Address {
    /// Name or IP address of the broker.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// TLS, for `mqtts`.
    pub tls: Option<Tls>,
    /// The MQTT client id.
    pub client_id: String,
    /// User name and password.
    pub login: Option<(String, String)>,
    /// Seconds between signs of life; at least [`KEEP_ALIVE_MIN`].
    pub keep_alive: Duration,
    /// The most publishes without an answer.
    pub window: u16,
}

/// The shortest keep-alive that the client library accepts.
pub const KEEP_ALIVE_MIN: Duration = Duration::from_secs(5);

/// What happens on a connection, in order.
#[derive(Debug)]
pub enum Event {
    /// The broker let us in.
    Up(Broker),
    /// The next publish, in the order they were given, has been written under this packet id.
    Written(u16),
    /// The broker answered the publish with this packet id.
    Answered(u16, Answer),
    /// The connection is over. Nothing follows.
    Down(Loss),
}

/// A connection. Dropping it closes the socket at once.
pub struct Connection {
    client: AsyncClient,
    events: mpsc::Receiver<Event>,
    task: JoinHandle<()>,
}

/// The client took no publish: more were given to it than the window says, or it is down.
#[derive(Debug, thiserror::Error)]
#[error("The MQTT client takes no publish: the connection is down or the window was overrun")]
pub struct NotTaken;

impl Connection {
    /// Starts to connect; [`Event::Up`] or [`Event::Down`] says how it went.
    pub fn open(address: &Address) -> Self {
        let window = usize::from(address.window);
        let (client, event_loop) = AsyncClient::new(options(address), window.max(1) + 1);
        // The task polls without ever being cancelled inside a write, and keeps the line alive while
        // the uplink reads from disk.
        let (events_in, events) = mpsc::channel(2 * window.max(1));
        let task = tokio::spawn(drive(event_loop, events_in));
        Self { client, events, task }
    }

    /// Gives a publish to the client, QoS 1. Never waits.
    pub fn publish(&self, topic: &str, payload: Bytes) -> Result<(), NotTaken> {
        self.client.try_publish(topic, QoS::AtLeastOnce, false, payload).map_err(|_| NotTaken)
    }

    /// The next event. Safe to cancel.
    pub async fn next(&mut self) -> Event {
        let lost = || Event::Down(Loss::Connection("the MQTT client stopped".into()));
        self.events.recv().await.unwrap_or_else(lost)
    }

    /// Says goodbye to the broker and waits until the client has written it, at most `patience`.
    pub async fn close(mut self, patience: Duration) {
        if self.client.try_disconnect().is_ok() {
            let gone = async { while self.events.recv().await.is_some() {} };
            let _ = tokio::time::timeout(patience, gone).await;
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn options(address: &Address) -> MqttOptions {
    let mut options = MqttOptions::new(&address.client_id, &address.host, address.port);
    options
        .set_clean_start(true)
        .set_session_expiry_interval(Some(0))
        .set_max_packet_size(Some(MAX_INCOMING))
        .set_keep_alive(address.keep_alive.max(KEEP_ALIVE_MIN))
        .set_outgoing_inflight_upper_limit(address.window.max(1));
    if let Some((user, password)) = &address.login {
        options.set_credentials(user, password);
    }
    if let Some(tls) = &address.tls {
        options.set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(tls.current())));
    }
    options
}

/// Polls the client until the connection ends or nobody listens.
async fn drive(mut event_loop: EventLoop, events: mpsc::Sender<Event>) {
    loop {
        let polled = event_loop.poll().await;
        let event = match polled {
            Ok(ClientEvent::Incoming(packet)) => incoming(packet),
            Ok(ClientEvent::Outgoing(Outgoing::Publish(id))) => Some(Event::Written(id)),
            Ok(ClientEvent::Outgoing(Outgoing::Disconnect)) => return,
            Ok(ClientEvent::Outgoing(_)) => None,
            Err(error) => Some(Event::Down(loss(error))),
        };
        let Some(event) = event else { continue };
        let over = matches!(event, Event::Down(_));
        if events.send(event).await.is_err() || over {
            return;
        }
    }
}

fn incoming(packet: Packet) -> Option<Event> {
    match packet {
        Packet::ConnAck(ack) => {
            let said = ack.properties;
            Some(Event::Up(Broker {
                receive_max: said.as_ref().and_then(|p| p.receive_max).unwrap_or(u16::MAX).max(1),
                max_packet: said.as_ref().and_then(|p| p.max_packet_size).map(|n| n as usize),
            }))
        }
        Packet::PubAck(ack) => Some(Event::Answered(ack.pkid, answer(ack.reason))),
        _ => None,
    }
}

fn answer(reason: PubAckReason) -> Answer {
    match reason {
        PubAckReason::Success => Answer::Taken,
        PubAckReason::NoMatchingSubscribers => Answer::NobodyListens,
        PubAckReason::NotAuthorized => Answer::Refused("not authorised"),
        PubAckReason::QuotaExceeded => Answer::Refused("quota exceeded"),
        PubAckReason::TopicNameInvalid => Answer::Refused("topic name invalid"),
        PubAckReason::PacketIdentifierInUse => Answer::Refused("packet identifier in use"),
        PubAckReason::PayloadFormatInvalid => Answer::Refused("payload format invalid"),
        PubAckReason::UnspecifiedError => Answer::Refused("unspecified error"),
        PubAckReason::ImplementationSpecificError => Answer::Refused("implementation specific error"),
    }
}

/// Tells what the network did from what the broker holds against a packet.
fn loss(error: ConnectionError) -> Loss {
    use DisconnectReasonCode as Code;
    let objection = match &error {
        ConnectionError::MqttState(StateError::ServerDisconnect { reason_code, .. }) => matches!(
            reason_code,
            Code::PacketTooLarge | Code::MalformedPacket | Code::ProtocolError | Code::PayloadFormatInvalid
        ),
        ConnectionError::MqttState(StateError::OutgoingPacketTooLarge { .. }) => true,
        // An answer with a reason code that MQTT does not define for it: Mosquitto says "packet too
        // large" that way, and the library gives up on the connection.
        ConnectionError::MqttState(StateError::Deserialization(PacketError::InvalidConnectReturnCode(_))) => {
            true
        }
        _ => false,
    };
    match objection {
        true => Loss::Objection(error.to_string()),
        false => Loss::Connection(error.to_string()),
    }
}

/// PEM files for TLS.
#[derive(Clone, Debug, Default)]
pub struct TlsFiles {
    /// The authorities that the broker's certificate must lead to.
    pub ca: PathBuf,
    /// This vehicle's certificate chain and its private key.
    pub client: Option<(PathBuf, PathBuf)>,
}

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("TLS file {path} cannot be read: {why}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        why: std::io::Error,
    },
    /// A file has no PEM block of the kind that is needed.
    #[error("TLS file {path} holds no {what}: it must be a PEM file")]
    Empty {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
    },
    /// The certificate and the key do not fit, or are of a kind that is not supported.
    #[error("TLS cannot be set up with these files: {0}")]
    Refused(#[from] rustls::Error),
}

/// TLS as its files have it now: a certificate that was renewed counts from the next connection on, without
/// a restart.
#[derive(Clone)]
pub struct Tls {
    files: TlsFiles,
    /// Read at the start, and used as long as the files cannot be.
    first: Arc<rustls::ClientConfig>,
}

impl Tls {
    /// Reads the files, which must be whole now.
    pub fn open(files: TlsFiles) -> Result<Self, TlsError> {
        let first = tls(&files)?;
        Ok(Self { files, first })
    }

    pub(crate) fn current(&self) -> Arc<rustls::ClientConfig> {
        tls(&self.files).unwrap_or_else(|why| {
            tracing::warn!(%why, "The certificates that the agent started with stay in use");
            self.first.clone()
        })
    }
}

/// Reads the PEM files into a client configuration, with the ring provider.
pub fn tls(files: &TlsFiles) -> Result<Arc<rustls::ClientConfig>, TlsError> {
    let mut roots = rustls::RootCertStore::empty();
    let (usable, _) = roots.add_parsable_certificates(certificates(&files.ca)?);
    if usable == 0 {
        return Err(TlsError::Empty { path: files.ca.clone(), what: "usable CA certificate" });
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    let config = match &files.client {
        Some((cert, key)) => builder.with_client_auth_cert(certificates(cert)?, private_key(key)?)?,
        None => builder.with_no_client_auth(),
    };
    Ok(Arc::new(config))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = read(path)?;
    let found: Vec<_> = rustls_pemfile::certs(&mut pem.as_slice()).filter_map(Result::ok).collect();
    match found.is_empty() {
        true => Err(TlsError::Empty { path: path.into(), what: "certificate" }),
        false => Ok(found),
    }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let pem = read(path)?;
    let found = rustls_pemfile::private_key(&mut pem.as_slice()).ok().flatten();
    found.ok_or_else(|| TlsError::Empty { path: path.into(), what: "private key" })
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|why| TlsError::Read { path: path.into(), why })
}
