//! Whether what a source reads from is there and may be read. A device is looked at and not opened: opening a
//! serial line resets some boards, and takes bytes from whoever has it open.

use crate::kernel;
use crate::source::port::{Port, connect};
use crate::source::watch::After;
use crate::source::{Settings, gpsd, watch};
use milepost_ops::check::{PATIENCE, Wrong};
use std::path::{Path, PathBuf};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};

/// The longest first line that gpsd may say.
const BANNER_MAX: u64 = 4 << 10;

pub(super) async fn source(settings: &Settings) -> Result<String, Wrong> {
    match settings {
        Settings::Nmea(settings) => port(&settings.port).await,
        Settings::Link(settings) => port(&settings.port).await,
        Settings::Gpsd(settings) => gpsd(settings).await,
        Settings::Watch(settings) => folder(settings),
        Settings::Exec(settings) => program(settings.command.first()),
        Settings::Replay(settings) => file(&settings.path),
        Settings::Simulate(_) | Settings::Stdin(_) => Ok("it needs nothing".into()),
    }
}

async fn port(port: &Port) -> Result<String, Wrong> {
    let path = match port {
        Port::Serial(path) => path,
        Port::Tcp(address) => {
            let mend = "Start what should listen there, or correct `port`";
            connect(address).await.map_err(|why| Wrong::new(why, mend))?;
            return Ok(format!("{port} answers"));
        }
    };
    if !path.exists() {
        let mend = "Plug it in, or correct `port`: /dev/serial/by-id lists what is there";
        return Err(Wrong::new(format!("{port} is not there"), mend));
    }
    if !kernel::may_use(path) {
        let mend = "Put the user that the agent runs as into its group: usermod -aG dialout USER";
        return Err(Wrong::new(format!("{port} may not be opened by this user"), mend));
    }
    Ok(format!("{port} is there and may be opened"))
}

/// gpsd greets whoever connects with its version.
async fn gpsd(settings: &gpsd::Settings) -> Result<String, Wrong> {
    let address = &settings.address;
    let mend = "Start gpsd, or correct `address`";
    let socket = connect(address).await.map_err(|why| Wrong::new(why, mend))?;
    let mut line = String::new();
    let mut lines = BufReader::new(socket.take(BANNER_MAX));
    match tokio::time::timeout(PATIENCE, lines.read_line(&mut line)).await {
        Ok(Ok(_)) if line.contains("\"VERSION\"") => Ok(format!("gpsd answers at {address}")),
        _ => Err(Wrong::new(format!("{address} does not answer as gpsd does"), mend)),
    }
}

fn folder(settings: &watch::Settings) -> Result<String, Wrong> {
    let folder = &settings.folder;
    if let Err(why) = std::fs::read_dir(folder) {
        let mend = "Make the folder, and let the user that the agent runs as read it";
        return Err(Wrong::new(format!("{} cannot be read: {why}", folder.display()), mend));
    }
    let written: &[&Path] = match &settings.after {
        After::Keep => &[],
        After::Delete => &[folder],
        After::Move(to) => &[folder, to],
    };
    match written.iter().find(|folder| !kernel::may_write(folder)) {
        None => Ok(format!("{} can be used", folder.display())),
        Some(wrong) => Err(Wrong::new(
            format!("{} cannot be written, so no image can be taken away", wrong.display()),
            "Let the user that the agent runs as write there, or set `after = \"keep\"`",
        )),
    }
}

fn program(name: Option<&String>) -> Result<String, Wrong> {
    let name = name.map(String::as_str).unwrap_or_default();
    let places: Vec<PathBuf> = match name.contains('/') {
        true => vec![name.into()],
        false => std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
            .map(|folder| folder.join(name))
            .collect(),
    };
    match places.iter().find(|place| kernel::may_run(place)) {
        Some(place) => Ok(format!("{} can be run", place.display())),
        None => Err(Wrong::new(
            format!("{name:?} is no program that this user may run"),
            "Install it, or write its whole path into `command`",
        )),
    }
}

fn file(path: &Path) -> Result<String, Wrong> {
    match std::fs::File::open(path) {
        Ok(_) => Ok(format!("{} can be read", path.display())),
        Err(why) => Err(Wrong::new(format!("{} cannot be read: {why}", path.display()), "Correct `path`")),
    }
}
