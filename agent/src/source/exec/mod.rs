//! Any other sensor: a program that prints readings as lines of JSON (see [`crate::ndjson`]), or
//! whatever writes such lines to the agent's own standard input.
//!
//! A program that prints faster than the pipeline takes is held up by its pipe; nothing is dropped. The
//! program that was started is the source: when it has ended, so have its children, whatever they hold.

use super::lines::Lines;
use super::rows::Rows;
use super::{Context, Outlet, Run, Source, SourceError};
use crate::clock::Clock;
use crate::kernel;
use crate::ndjson::Defaults;
use milepost_wire::Stream;
use serde::Deserialize;
use std::future::{pending, ready};
use std::pin::pin;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

/// A program.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The program and its arguments. No shell is between.
    pub command: Vec<String>,
    /// The stream of lines that name none.
    #[serde(default, deserialize_with = "super::replay::stream")]
    pub default_stream: Option<Stream>,
    /// When to start it again.
    #[serde(default)]
    pub restart: Restart,
}

/// When a program that has ended is started again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Restart {
    /// Unless it ended with status 0.
    #[default]
    OnFailure,
    /// Whatever its status.
    Always,
}

/// The agent's standard input.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StdinSettings {
    /// The stream of lines that name none.
    #[serde(default, deserialize_with = "super::replay::stream")]
    pub default_stream: Option<Stream>,
}

/// The longest line of a program's complaints that goes to the log.
const MAX_COMPLAINT: usize = 4096;
/// How long a program may take to end once it has closed its output, and its complaints after that.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// How long children that outlive a program may go on to print.
const GRACE: Duration = Duration::from_secs(1);

/// Makes the source of a program.
pub fn build(settings: &Settings, context: &Context) -> Result<Box<dyn Source>, SourceError> {
    if settings.command.is_empty() {
        return Err(SourceError::Unusable("The command is empty: name a program".into()));
    }
    Ok(Box::new(Program { settings: settings.clone(), clock: Arc::clone(&context.clock) }))
}

/// Makes the source of standard input.
pub fn build_stdin(settings: &StdinSettings, context: &Context) -> Box<dyn Source> {
    Box::new(Stdin { rows: rows(&settings.default_stream), clock: Arc::clone(&context.clock) })
}

fn rows(default_stream: &Option<Stream>) -> Rows {
    Rows::new(Defaults { stream: default_stream.clone(), clock: None })
}

struct Program {
    settings: Settings,
    clock: Arc<dyn Clock>,
}

impl Source for Program {
    fn run<'a>(&'a mut self, outlet: &'a Outlet, _stop: &'a CancellationToken) -> Run<'a> {
        Box::pin(self.listen(outlet))
    }
}

/// A program in a process group of its own, ended with all of its children when this is dropped.
struct Group(Child);

impl Group {
    /// Waits until the program has ended, and ends the children that outlive it.
    async fn is_over(&self) -> std::io::Result<()> {
        let Some(leader) = self.0.id() else { return Ok(()) };
        let mut children = signal(SignalKind::child())?;
        while !kernel::has_ended(leader) {
            children.recv().await;
        }
        tokio::time::sleep(GRACE).await;
        self.kill();
        Ok(())
    }

    fn kill(&self) {
        // Once the program has been waited for, its number may belong to somebody else.
        if let Some(leader) = self.0.id() {
            kernel::kill_group(leader);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Program {
    async fn listen(&mut self, outlet: &Outlet) -> Result<(), SourceError> {
        let name = &self.settings.command[0];
        let mut command = Command::new(name);
        command.args(&self.settings.command[1..]).process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut group = Group(command.spawn().map_err(SourceError::io(format!("Cannot start {name}")))?);
        let (stdout, stderr) = (group.0.stdout.take(), group.0.stderr.take());
        let complaints = tokio::spawn(log(stderr, name.clone()).in_current_span());
        if let Some(stdout) = stdout {
            let mut rows = rows(&self.settings.default_stream);
            let read = deliver(stdout, &mut rows, &*self.clock, outlet, group.is_over()).await;
            read.map_err(SourceError::io(format!("Cannot read from {name}")))?;
        }
        // Nothing more can come of a program that has closed its output: it ends, or it is ended.
        let Ok(waited) = tokio::time::timeout(LAST_WORDS, group.0.wait()).await else {
            return Err(SourceError::Unusable(format!("{name} has closed its output and does not end")));
        };
        let status = waited.map_err(SourceError::io(format!("Cannot wait for {name}")))?;
        let _ = tokio::time::timeout(LAST_WORDS, complaints).await;
        match self.settings.restart {
            Restart::OnFailure if status.success() => Ok(()),
            _ => Err(SourceError::Unusable(format!("{name} has ended with {status}"))),
        }
    }
}

struct Stdin {
    rows: Rows,
    clock: Arc<dyn Clock>,
}

impl Source for Stdin {
    fn run<'a>(&'a mut self, outlet: &'a Outlet, _stop: &'a CancellationToken) -> Run<'a> {
        Box::pin(async {
            let read = deliver(tokio::io::stdin(), &mut self.rows, &*self.clock, outlet, pending()).await;
            read.map_err(SourceError::io("Cannot read standard input"))
        })
    }
}

/// Delivers what comes until its end; once it `is_over`, until there is nothing more to read for now.
async fn deliver(
    mut from: impl AsyncRead + Unpin,
    rows: &mut Rows,
    clock: &dyn Clock,
    outlet: &Outlet,
    is_over: impl Future<Output = std::io::Result<()>>,
) -> std::io::Result<()> {
    let mut buffer = vec![0; 16 << 10];
    let (mut is_over, mut over) = (pin!(is_over), false);
    loop {
        let n = tokio::select! {
            biased;
            ended = &mut is_over, if !over => {
                ended?;
                over = true;
                continue;
            }
            n = from.read(&mut buffer) => n?,
            () = ready(()), if over => 0,
        };
        let now = Some((clock.wall_us(), clock.trust()));
        let mut ready = Vec::new();
        match n {
            0 => rows.end(now, outlet.counters(), &mut ready),
            n => rows.push(&buffer[..n], now, outlet.counters(), &mut ready),
        }
        for reading in ready {
            outlet.send(reading).await;
        }
        if n == 0 {
            return Ok(());
        }
    }
}

/// Puts a program's complaints into the log, line by line.
async fn log(from: Option<impl AsyncRead + Unpin>, name: String) {
    let Some(mut from) = from else { return };
    let mut lines = Lines::new(MAX_COMPLAINT);
    let mut buffer = vec![0; MAX_COMPLAINT];
    let tell = |line: &[u8]| tracing::warn!(program = name, "{}", String::from_utf8_lossy(line));
    while let Ok(n @ 1..) = from.read(&mut buffer).await {
        lines.push(&buffer[..n], tell);
    }
    lines.end(tell);
}

#[cfg(test)]
mod tests;
