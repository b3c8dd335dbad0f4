//! The MQTT broker of the demo: rumqttd in this process, MQTT v5 only, in memory only.
//!
//! rumqttd cannot be stopped; its threads live until the process ends. What it holds then and the
//! bridge has not fetched is gone, and so the demo stops in the order agents, bridge, sink.

use crate::Failure;
use milepost_wire::frame::MAX_FRAME;
use rumqttd::{Broker, Config, ConnectionSettings, RouterConfig, ServerSettings};
use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

/// The most bytes that the broker keeps for subscribers that are behind. It drops the oldest beyond.
const KEPT: usize = 512 << 20;
const SEGMENTS: usize = 16;
/// How long the broker may take to listen.
const START: Duration = Duration::from_secs(10);

/// Starts the broker and returns where it listens.
pub(crate) async fn start(max_connections: usize) -> Result<SocketAddr, Failure> {
    // rumqttd binds the port itself and reports nothing, so a free one is looked for first.
    let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
    let mut broker = Broker::new(config(address, max_connections));
    std::thread::Builder::new().name("rumqttd".into()).spawn(move || {
        if let Err(e) = broker.start() {
            tracing::error!(error = %e, "The MQTT broker ended");
        }
    })?;
    let connect = async {
        while tokio::net::TcpStream::connect(address).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    match tokio::time::timeout(START, connect).await {
        Ok(()) => Ok(address),
        Err(_) => Err(format!("The MQTT broker does not listen on {address} after {START:?}").into()),
    }
}

fn config(address: SocketAddr, max_connections: usize) -> Config {
    let connections = ConnectionSettings {
        connection_timeout_ms: 10_000,
        max_payload_size: MAX_FRAME + (64 << 10),
        max_inflight_count: 1000,
        auth: None,
        external_auth: None,
        dynamic_filters: true,
    };
    let server = ServerSettings {
        name: "mqtt-v5".into(),
        listen: address,
        tls: None,
        next_connection_delay_ms: 0,
        connections,
    };
    let router = RouterConfig {
        max_connections,
        max_outgoing_packet_count: 200,
        max_segment_size: KEPT / SEGMENTS,
        max_segment_count: SEGMENTS,
        ..RouterConfig::default()
    };
    Config { router, v5: Some(HashMap::from([("v5".to_owned(), server)])), ..Config::default() }
}
