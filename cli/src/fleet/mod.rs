//! `milepost fleet`: who is let in. A folder holds the fleet's certificate authority, a bundle for the
//! MQTT broker, one for the bridge and one for each vehicle; whoever has the folder can let vehicles in.
//!
//! A vehicle's certificate names it, and the broker takes the name for the user: it may publish and read
//! below its own topic and nothing else. The bridge has a listener of its own, on which nobody but its one
//! certificate is let in, since Mosquitto does not check shared subscriptions against its access list.

mod authority;
mod folder;
mod register;
mod texts;

use crate::{Failure, Outcome};
use authority::Authority;
use clap::{Args, Subcommand};
use folder::Folder;
use milepost_wire::VehicleId;
use register::{Entry, Register};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use time::{Duration, OffsetDateTime};

/// Options of `milepost fleet`.
#[derive(Args, Debug)]
pub struct Options {
    /// The fleet's folder: keep it safe, and off the vehicles
    #[arg(long, default_value = "fleet", global = true)]
    dir: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Make the authority, and the bundles of the broker and the bridge
    Init(Init),
    /// Let a vehicle in: make its bundle
    Enroll(Vehicle),
    /// Make a vehicle's bundle anew; the certificate that it had stays good until it ends or is revoked
    Renew(Vehicle),
    /// Shut a vehicle out: all certificates that it was ever given
    Revoke {
        /// The vehicle
        vehicle: VehicleId,
    },
    /// All certificates, and how long they are good
    List,
}

#[derive(Args, Debug)]
struct Init {
    /// Name or IP address by which vehicles and bridge find the broker; may be given several times
    #[arg(long, required = true)]
    broker: Vec<String>,
    /// The broker's port for vehicles
    #[arg(long, default_value_t = 8883)]
    port: u16,
    /// The broker's port for the bridge
    #[arg(long, default_value_t = 8884)]
    bridge_port: u16,
    /// Where the broker's bundle will lie on its machine
    #[arg(long, default_value = "/etc/mosquitto/milepost")]
    broker_dir: PathBuf,
    /// Where the bridge's bundle will lie on its machine
    #[arg(long, default_value = "/etc/milepost/bridge")]
    bridge_dir: PathBuf,
    /// Days that the authority, the broker's and the bridge's certificates are good
    #[arg(long, default_value_t = 3650, value_parser = clap::value_parser!(u16).range(1..))]
    days: u16,
}

#[derive(Args, Debug)]
struct Vehicle {
    /// Its name, which its agent uses as `vehicle`
    vehicle: VehicleId,
    /// Where its bundle will lie on the vehicle
    #[arg(long, default_value = "/etc/milepost")]
    config_dir: PathBuf,
    /// Days that its certificate is good
    #[arg(long, default_value_t = 825, value_parser = clap::value_parser!(u16).range(1..))]
    days: u16,
}

/// What `init` was told, in `fleet.toml`.
#[derive(Debug, Serialize, Deserialize)]
struct Fleet {
    /// The authority's name.
    authority: String,
    broker: Vec<String>,
    port: u16,
    bridge_port: u16,
}

/// Runs the command.
pub fn run(options: &Options) -> Result<Outcome, Failure> {
    let folder = Folder::new(&options.dir);
    match &options.command {
        Command::Init(init) => make(&folder, init)?,
        Command::Enroll(vehicle) => enroll(&folder, vehicle, false)?,
        Command::Renew(vehicle) => enroll(&folder, vehicle, true)?,
        Command::Revoke { vehicle } => revoke(&folder, vehicle)?,
        Command::List => list(&folder)?,
    }
    Ok(Outcome::Good)
}

fn make(folder: &Folder, init: &Init) -> Result<(), Failure> {
    if folder.has("fleet.toml") || folder.has("ca.key") {
        return Err(format!("{} holds a fleet already: take another --dir", folder.path().display()).into());
    }
    let (from, until) = validity(init.days);
    let authority = Authority::new()?;
    let certificate = authority.certificate(from, until)?;
    let fleet = Fleet {
        authority: authority.name().to_owned(),
        broker: init.broker.clone(),
        port: init.port,
        bridge_port: init.bridge_port,
    };
    folder.private("ca.key", &authority.key())?;
    folder.public("ca.pem", &certificate)?;
    let broker = authority.broker(&init.broker, from, until)?;
    let bridge = authority::lone("milepost-bridge", from, until)?;
    folder.private("broker/key.pem", &broker.key)?;
    folder.public("broker/cert.pem", &broker.certificate)?;
    folder.public("broker/ca.pem", &certificate)?;
    folder.public("broker/bridge.pem", &bridge.certificate)?;
    folder
        .public("broker/mosquitto.conf", &texts::mosquitto(&init.broker_dir, init.port, init.bridge_port)?)?;
    folder.public("broker/vehicles.acl", texts::VEHICLES_ACL)?;
    folder.public("broker/bridge.acl", texts::BRIDGE_ACL)?;
    folder.private("bridge/key.pem", &bridge.key)?;
    folder.public("bridge/cert.pem", &bridge.certificate)?;
    folder.public("bridge/ca.pem", &certificate)?;
    folder
        .public("bridge/bridge.toml", &texts::bridge(&init.bridge_dir, &init.broker[0], init.bridge_port)?)?;
    folder.public("fleet.toml", &toml::to_string(&fleet)?)?;
    shut_out(folder, &authority, &Register::default())?;
    crate::say(&format!(
        "The fleet is in {0}.\n  {0}/broker is for the MQTT broker, in {1}: mosquitto -c {1}/mosquitto.conf\n  \
         {0}/bridge is for the bridge, in {2}\nNext: milepost fleet enroll VEHICLE\n",
        folder.path().display(),
        init.broker_dir.display(),
        init.bridge_dir.display()
    ))
}

fn enroll(folder: &Folder, options: &Vehicle, again: bool) -> Result<(), Failure> {
    let (fleet, authority, mut register) = open(folder)?;
    let name = options.vehicle.as_str();
    if name == texts::BRIDGE {
        return Err(format!("{name} is the bridge's name: give the vehicle another").into());
    }
    let known = register.entries().iter().any(|e| e.name == name && e.revoked.is_none());
    match (known, again) {
        (true, false) => return Err(format!("{name} is enrolled: `milepost fleet renew {name}`").into()),
        (false, true) => return Err(format!("{name} is not enrolled: `milepost fleet enroll {name}`").into()),
        _ => {}
    }
    let (from, until) = validity(options.days);
    let issued = authority.vehicle(name, from, until)?;
    // First, so that no certificate is out there that cannot be revoked.
    register.add(Entry::new(name, &issued.serial, until));
    folder.replace("certificates.jsonl", &register.text())?;
    let bundle = format!("vehicles/{name}");
    folder.replace_private(&format!("{bundle}/key.pem"), &issued.key)?;
    folder.replace(&format!("{bundle}/cert.pem"), &issued.certificate)?;
    folder.replace(&format!("{bundle}/ca.pem"), &folder.read("ca.pem")?)?;
    if !folder.has(&format!("{bundle}/agent.toml")) {
        let text = texts::agent(&options.config_dir, name, &fleet.broker[0], fleet.port)?;
        folder.public(&format!("{bundle}/agent.toml"), &text)?;
    }
    crate::say(&format!(
        "{name} may come in until {}.\n  {}/{bundle} is for the vehicle, in {}\n",
        until.date(),
        folder.path().display(),
        options.config_dir.display()
    ))
}

fn revoke(folder: &Folder, vehicle: &VehicleId) -> Result<(), Failure> {
    let (_, authority, mut register) = open(folder)?;
    let count = register.revoke(vehicle.as_str(), OffsetDateTime::now_utc());
    if count == 0 {
        return Err(format!("{vehicle} has no certificate that is not revoked").into());
    }
    folder.replace("certificates.jsonl", &register.text())?;
    shut_out(folder, &authority, &register)?;
    crate::say(&format!(
        "{vehicle} is shut out: {count} certificates. Copy {}/broker/crl.pem to the broker and restart it: who is \
         in stays in until then\n",
        folder.path().display()
    ))
}

fn list(folder: &Folder) -> Result<(), Failure> {
    let (_, _, register) = open(folder)?;
    let lines = register.entries().iter().map(|e| match e.revoked {
        Some(_) => format!("{:<32} {} revoked\n", e.name, e.serial),
        None => format!("{:<32} {} until {}\n", e.name, e.serial, e.not_after),
    });
    crate::say(&lines.collect::<String>())
}

/// Writes the list of revoked certificates for the broker.
fn shut_out(folder: &Folder, authority: &Authority, register: &Register) -> Result<(), Failure> {
    let revoked = register.entries().iter().filter_map(|e| Some((e.serial.as_str(), e.revoked?)));
    folder.replace("broker/crl.pem", &authority.revoked(revoked)?)
}

fn open(folder: &Folder) -> Result<(Fleet, Authority, Register), Failure> {
    if !folder.has("fleet.toml") {
        let path = folder.path().display();
        return Err(format!("{path} holds no fleet: `milepost fleet init --broker NAME --dir {path}`").into());
    }
    let fleet: Fleet = toml::from_str(&folder.read("fleet.toml")?)
        .map_err(|e| format!("{}/fleet.toml cannot be used: {e}", folder.path().display()))?;
    if fleet.broker.is_empty() {
        return Err(format!("{}/fleet.toml names no broker", folder.path().display()).into());
    }
    let authority = Authority::open(&fleet.authority, &folder.read("ca.key")?)
        .map_err(|e| format!("{}/ca.key cannot be used: {e}", folder.path().display()))?;
    let register = match folder.has("certificates.jsonl") {
        true => Register::parse(&folder.read("certificates.jsonl")?)
            .map_err(|e| format!("{}/certificates.jsonl, {e}", folder.path().display()))?,
        false => Register::default(),
    };
    Ok((fleet, authority, register))
}

/// From a day ago, as clocks in vehicles may be behind.
fn validity(days: u16) -> (OffsetDateTime, OffsetDateTime) {
    let now = OffsetDateTime::now_utc();
    (now - Duration::DAY, now + Duration::days(i64::from(days)))
}

/// A path for a configuration file, which is text.
fn text(path: &Path) -> Result<&str, Failure> {
    path.to_str().ok_or_else(|| format!("{} is no UTF-8", path.display()).into())
}
