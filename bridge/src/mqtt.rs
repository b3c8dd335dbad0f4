//! One connection to the MQTT broker, from CONNECT to its end; never reused, so no state of an old
//! connection can leak into a new one. The packets are coded by rumqttc's codec. Its event loop is
//! not used: it writes each acknowledgement by itself, and keeps state across connections.

use crate::settings;
use crate::tls::TlsFiles;
use bytes::{Bytes, BytesMut};
use rumqttc::v5::mqttbytes::v5::{
    Connect, ConnectProperties, ConnectReturnCode, Disconnect, DisconnectReasonCode, Filter, Login, Packet,
    PingReq, PubAck, Subscribe, SubscribeReasonCode,
};
use rumqttc::v5::mqttbytes::{Error as CodecError, QoS};
use rustls::pki_types::ServerName;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::TcpStream;

/// Read this much at once.
const READ: usize = 64 << 10;
/// The session expiry that means for ever.
const NEVER: u32 = u32::MAX;
const SUBSCRIBE_ID: u16 = 1;

/// Why there is no connection, or no more.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MqttError {
    #[error("Connecting took longer than {0:?}")]
    Timeout(Duration),
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("The broker sent what is not MQTT 5: {0}")]
    Codec(#[from] CodecError),
    #[error("The broker refused the connection: {0:?}")]
    Refused(ConnectReturnCode),
    #[error("The broker refused the subscription {filter}: {code:?}")]
    Subscription { filter: String, code: Vec<SubscribeReasonCode> },
    #[error("The broker ended the connection: {0:?}")]
    Disconnected(DisconnectReasonCode),
    #[error("The broker closed the connection")]
    Closed,
    #[error("The broker did not answer a ping")]
    Silent,
    #[error("The broker sent an unexpected {0}")]
    Unexpected(&'static str),
}

/// Where to connect: checked when the bridge starts.
#[derive(Clone)]
pub(crate) struct Target {
    settings: settings::Mqtt,
    host: String,
    port: u16,
    tls: Option<TlsFiles>,
}

impl Target {
    pub(crate) fn new(settings: settings::Mqtt) -> Result<Self, String> {
        let url = &settings.url;
        let wrong = || format!("mqtt.url {url:?} is not usable: write mqtt://host:port or mqtts://host:port");
        let (scheme, rest) = url.split_once("://").ok_or_else(wrong)?;
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) => (host, port.parse().map_err(|_| wrong())?),
            None => (rest, if scheme == "mqtts" { 8883 } else { 1883 }),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() || host.contains(['/', '@']) {
            return Err(wrong());
        }
        let tls = match (scheme, &settings.tls) {
            ("mqtt", None) => None,
            ("mqtt", Some(_)) => return Err("mqtt.tls is set, but mqtt.url is not mqtts://".to_owned()),
            ("mqtts", Some(tls)) => Some(TlsFiles::open(tls.clone())?),
            ("mqtts", None) => return Err("mqtt.url is mqtts://, but mqtt.tls.ca is not set".to_owned()),
            _ => return Err(wrong()),
        };
        Ok(Self { host, port, tls, settings })
    }

    /// Host and port.
    pub(crate) fn place(&self) -> (&str, u16) {
        (&self.host, self.port)
    }

    fn filter(&self) -> String {
        let (group, prefix) = (&self.settings.group, &self.settings.topic_prefix);
        format!("$share/{group}/{prefix}{}", milepost_wire::topic::MQTT_FILTER)
    }
}

trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

/// What the broker sent.
#[derive(Debug)]
pub(crate) enum Incoming {
    /// A publish; `packet_id` is `None` for QoS 0, which needs no acknowledgement.
    Publish { packet_id: Option<u16>, topic: Bytes, payload: Bytes },
    /// The subscription stands.
    Subscribed,
    /// The answer to a ping.
    Pong,
}

/// A connection on which CONNACK has come and SUBSCRIBE was sent.
pub(crate) struct Connection {
    io: Box<dyn Io>,
    input: BytesMut,
    output: BytesMut,
    unflushed: bool,
    max_packet: u32,
    filter: String,
    /// Whether the broker had kept our session.
    pub(crate) resumed: bool,
    /// The longest silence that the broker accepts.
    pub(crate) keep_alive: Duration,
}

impl Connection {
    /// Connects and asks for the subscription. Publishes of a kept session may come at once, before
    /// [`Incoming::Subscribed`].
    pub(crate) async fn open(target: &Target) -> Result<Self, MqttError> {
        let limit = target.settings.connect_timeout;
        tokio::time::timeout(limit, Self::open_unlimited(target))
            .await
            .unwrap_or(Err(MqttError::Timeout(limit)))
    }

    async fn open_unlimited(target: &Target) -> Result<Self, MqttError> {
        let tcp = TcpStream::connect((target.host.as_str(), target.port)).await?;
        tcp.set_nodelay(true)?;
        let io: Box<dyn Io> = match &target.tls {
            None => Box::new(tcp),
            Some(tls) => {
                let name = ServerName::try_from(target.host.clone()).map_err(std::io::Error::other)?;
                Box::new(tls.current().connect(name, tcp).await?)
            }
        };
        let mut connection = Self {
            io,
            input: BytesMut::with_capacity(READ),
            output: BytesMut::new(),
            unflushed: false,
            max_packet: target.settings.max_packet as u32,
            filter: target.filter(),
            resumed: false,
            keep_alive: target.settings.keep_alive,
        };
        connection.write(&connect(&target.settings))?;
        let ack = loop {
            match connection.packet()? {
                Some(Packet::ConnAck(ack)) => break ack,
                Some(_) => return Err(MqttError::Unexpected("packet before CONNACK")),
                None => connection.turn(true).await?,
            };
        };
        if ack.code != ConnectReturnCode::Success {
            return Err(MqttError::Refused(ack.code));
        }
        connection.resumed = ack.session_present;
        if let Some(seconds) = ack.properties.and_then(|p| p.server_keep_alive).filter(|s| *s > 0) {
            connection.keep_alive = Duration::from_secs(seconds.into());
        }
        // Also for a kept session: the subscription may have been another one.
        let mut subscribe = Subscribe::new(Filter::new(connection.filter.clone(), QoS::AtLeastOnce), None);
        subscribe.pkid = SUBSCRIBE_ID;
        connection.write(&Packet::Subscribe(subscribe))?;
        Ok(connection)
    }

    /// Puts an acknowledgement into the output; [`Connection::turn`] sends it with its neighbours.
    pub(crate) fn acknowledge(&mut self, packet_id: u16) -> Result<(), MqttError> {
        self.write(&Packet::PubAck(PubAck::new(packet_id, None)))
    }

    /// Puts a ping into the output.
    pub(crate) fn ping(&mut self) -> Result<(), MqttError> {
        self.write(&Packet::PingReq(PingReq))
    }

    /// Sends what is left and a DISCONNECT; the session stays with the broker.
    pub(crate) async fn close(mut self) -> Result<(), MqttError> {
        self.write(&Packet::Disconnect(Disconnect::new(DisconnectReasonCode::NormalDisconnection)))?;
        poll_fn(|cx| self.poll_write(cx)).await
    }

    /// Sends output, and where `read` is set waits for input: returns once some has come. Where `read`
    /// is not set it never returns but for an error. May be dropped at any time without loss.
    pub(crate) async fn turn(&mut self, read: bool) -> Result<(), MqttError> {
        poll_fn(|cx| {
            if let Poll::Ready(Err(e)) = self.poll_write(cx) {
                return Poll::Ready(Err(e));
            }
            if read { self.poll_read(cx) } else { Poll::Pending }
        })
        .await
    }

    /// The next packet that has come whole.
    pub(crate) fn next(&mut self) -> Result<Option<Incoming>, MqttError> {
        Ok(match self.packet()? {
            None => None,
            Some(Packet::Publish(p)) => Some(Incoming::Publish {
                packet_id: (p.qos != QoS::AtMostOnce).then_some(p.pkid),
                topic: p.topic,
                payload: p.payload,
            }),
            Some(Packet::SubAck(ack)) => match ack.return_codes.as_slice() {
                [SubscribeReasonCode::Success(QoS::AtLeastOnce)] => Some(Incoming::Subscribed),
                _ => {
                    let filter = self.filter.clone();
                    return Err(MqttError::Subscription { filter, code: ack.return_codes });
                }
            },
            Some(Packet::PingResp(_)) => Some(Incoming::Pong),
            Some(Packet::Disconnect(d)) => return Err(MqttError::Disconnected(d.reason_code)),
            Some(_) => return Err(MqttError::Unexpected("packet for a subscriber")),
        })
    }

    fn packet(&mut self) -> Result<Option<Packet>, MqttError> {
        match Packet::read(&mut self.input, Some(self.max_packet)) {
            Ok(packet) => Ok(Some(packet)),
            Err(CodecError::InsufficientBytes(_)) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    fn write(&mut self, packet: &Packet) -> Result<(), MqttError> {
        packet.write(&mut self.output, None)?;
        Ok(())
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), MqttError>> {
        while !self.output.is_empty() {
            match Pin::new(&mut self.io).poll_write(cx, &self.output)? {
                Poll::Ready(0) => return Poll::Ready(Err(MqttError::Closed)),
                Poll::Ready(n) => drop(self.output.split_to(n)),
                Poll::Pending => return Poll::Pending,
            }
            self.unflushed = true;
        }
        if self.unflushed {
            match Pin::new(&mut self.io).poll_flush(cx)? {
                Poll::Ready(()) => self.unflushed = false,
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), MqttError>> {
        if self.input.capacity() - self.input.len() < READ / 4 {
            self.input.reserve(READ);
        }
        match pin!(self.io.read_buf(&mut self.input)).poll(cx)? {
            Poll::Ready(0) => Poll::Ready(Err(MqttError::Closed)),
            Poll::Ready(_) => Poll::Ready(Ok(())),
            Poll::Pending => Poll::Pending,
        }
    }
}

fn connect(settings: &settings::Mqtt) -> Packet {
    let properties = ConnectProperties {
        session_expiry_interval: Some(u32::try_from(settings.session_expiry.as_secs()).unwrap_or(NEVER)),
        receive_maximum: Some(settings.receive_maximum),
        max_packet_size: Some(settings.max_packet as u32),
        ..ConnectProperties::new()
    };
    let connect = Connect {
        keep_alive: u16::try_from(settings.keep_alive.as_secs()).unwrap_or(u16::MAX),
        client_id: settings.client_id.clone(),
        // Never a clean start: the broker may hold what came while the bridge was away.
        clean_start: false,
        properties: Some(properties),
    };
    let login = settings.username.as_ref().map(|user| {
        Login::new(user.clone(), settings.password.as_ref().map(|p| p.0.clone()).unwrap_or_default())
    });
    Packet::Connect(connect, None, login)
}
