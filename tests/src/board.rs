//! A board in its emulator: the committed firmware, a receiver and a camera around it, and its link to the
//! agent on a pseudo-terminal (`firmware/emulator`).

use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::process::wait_for;

/// The emulator; killed when the value goes.
pub struct Board {
    process: Child,
    orders: ChildStdin,
    events: Arc<Mutex<Vec<Value>>>,
    pty: PathBuf,
}

impl Board {
    /// Switches a board on; `None` where the emulator is not on this machine.
    pub fn start(dir: &Path, options: &[&str]) -> Option<Self> {
        let modules = std::env::var_os("MILEPOST_EMULATOR").map(PathBuf::from).filter(|p| p.is_dir())?;
        let firmware = Path::new("../firmware");
        let image = std::env::var_os("MILEPOST_FIRMWARE").map(PathBuf::from);
        let image = image.unwrap_or_else(|| firmware.join("prebuilt/pico.uf2"));
        let pty = dir.join("board");
        let mut node = Command::new("node");
        node.arg(firmware.join("emulator/pico.mjs")).arg("--image").arg(image).args(options);
        if !options.contains(&"--probe") {
            node.arg("--pty").arg(&pty);
        }
        node.env("MILEPOST_EMULATOR", modules).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = node.spawn().ok()?;
        let (orders, told) = (process.stdin.take()?, process.stdout.take()?);
        let events: Arc<Mutex<Vec<Value>>> = Arc::default();
        let heard = Arc::clone(&events);
        std::thread::spawn(move || {
            for line in BufReader::new(told).lines().map_while(Result::ok) {
                heard.lock().expect("not poisoned").push(serde_json::from_str(&line).expect("JSON"));
            }
        });
        let board = Self { process, orders, events, pty };
        if !options.contains(&"--probe") {
            wait_for("the board's line", Duration::from_secs(20), || board.pty.exists());
        }
        Some(board)
    }

    /// Where the agent finds it.
    pub fn port(&self) -> &Path {
        &self.pty
    }

    /// Does something to the board or to what is around it.
    pub fn order(&mut self, order: &str) {
        writeln!(self.orders, "{order}").expect("the emulator runs");
    }

    /// What has happened so far, of one kind.
    pub fn events(&self, kind: &str) -> Vec<Value> {
        let events = self.events.lock().expect("not poisoned");
        events.iter().filter(|event| event["event"] == kind).cloned().collect()
    }

    /// Waits until something of a kind has happened so many times.
    pub fn wait_for(&self, kind: &str, times: usize, within: Duration) {
        wait_for(kind, within, || self.events(kind).len() >= times);
    }

    /// Switches it off; gives what the emulator says at its end.
    pub fn stop(mut self) -> Value {
        self.order("stop");
        self.wait_for("end", 1, Duration::from_secs(20));
        self.events("end").remove(0)
    }
}

impl Drop for Board {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
