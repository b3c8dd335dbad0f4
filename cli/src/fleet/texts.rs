//! The configuration files of the bundles.

use super::text;
use crate::Failure;
use milepost_wire::frame::MAX_FRAME;
use std::path::Path;

/// The bridge's name in its certificate.
pub(super) const BRIDGE: &str = "milepost-bridge";
/// What Mosquitto puts before every topic of a vehicle, so that nothing that one asks for lies outside.
const MOUNT: &str = "vehicles/";

/// What a vehicle may do; `%u` is the name in its certificate.
pub(super) const VEHICLES_ACL: &str = "pattern readwrite vehicles/milepost/v1/%u/#\n";
/// What the bridge may do.
pub(super) const BRIDGE_ACL: &str = "user milepost-bridge\ntopic read vehicles/milepost/v1/#\n";

/// The broker's configuration, for Mosquitto 2.
pub(super) fn mosquitto(dir: &Path, port: u16, bridge_port: u16) -> Result<String, Failure> {
    let dir = text(dir)?;
    Ok(format!(
        "# Who gets in, and what it may do. Sessions and queues outlive a restart.\n\
         per_listener_settings true\n\
         persistence true\n\
         autosave_interval 30\n\
         max_queued_messages 0\n\
         max_inflight_messages 1000\n\
         # The largest frame, 4 MiB, and a packet's head.\n\
         max_packet_size {}\n\
         \n\
         # Vehicles: each by its certificate, each below its own topic.\n\
         listener {port}\n\
         mount_point {MOUNT}\n\
         cafile {dir}/ca.pem\n\
         certfile {dir}/cert.pem\n\
         keyfile {dir}/key.pem\n\
         crlfile {dir}/crl.pem\n\
         require_certificate true\n\
         use_identity_as_username true\n\
         allow_anonymous false\n\
         acl_file {dir}/vehicles.acl\n\
         \n\
         # The bridge: this one certificate and no other.\n\
         listener {bridge_port}\n\
         cafile {dir}/bridge.pem\n\
         certfile {dir}/cert.pem\n\
         keyfile {dir}/key.pem\n\
         require_certificate true\n\
         use_identity_as_username true\n\
         allow_anonymous false\n\
         acl_file {dir}/bridge.acl\n",
        MAX_FRAME + (64 << 10)
    ))
}

/// The bridge's configuration: what it needs for Kafka is whoever's who runs it to add.
pub(super) fn bridge(dir: &Path, broker: &str, port: u16) -> Result<String, Failure> {
    let dir = text(dir)?;
    Ok(format!(
        "[mqtt]\nurl = \"mqtts://{}:{port}\"\ntopic_prefix = \"{MOUNT}\"\n\n\
         [mqtt.tls]\nca = \"{dir}/ca.pem\"\ncert = \"{dir}/cert.pem\"\nkey = \"{dir}/key.pem\"\n\n\
         [kafka]\n\"bootstrap.servers\" = \"localhost:9092\"\n",
        host(broker)
    ))
}

/// A vehicle's configuration: where it connects, and as whom.
pub(super) fn agent(dir: &Path, vehicle: &str, broker: &str, port: u16) -> Result<String, Failure> {
    let dir = text(dir)?;
    Ok(format!(
        "vehicle = \"{vehicle}\"\ndata_dir = \"/var/lib/milepost\"\n\n\
         [uplink]\nurl = \"mqtts://{}:{port}\"\nca = \"{dir}/ca.pem\"\ncert = \"{dir}/cert.pem\"\n\
         key = \"{dir}/key.pem\"\n\n\
         # What the vehicle's receiver is read by, most often:\n\
         # [[source]]\n# name = \"gps\"\n# type = \"gpsd\"\n",
        host(broker)
    ))
}

/// A name, or an address as a URL has it.
fn host(broker: &str) -> String {
    match broker.contains(':') {
        true => format!("[{broker}]"),
        false => broker.to_owned(),
    }
}
