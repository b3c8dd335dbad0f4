//! `milepost transform run`: NDJSON in, NDJSON out, through a transform.

use super::readings::{self, Wanted};
use super::sandbox::{Params, Sandbox, Subject, param, settings};
use super::test::show_log;
use crate::{Failure, Outcome, remark};
use clap::Args;
use milepost_agent::ndjson::write;
use milepost_transform_host::{Engine, EngineSettings};
use milepost_wire::{Reading, Stream};
use std::io::{self, BufRead, BufWriter, Read, Write};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

/// How long readings gather, as in the agent.
const LINGER: Duration = Duration::from_millis(20);

/// The longest line that is read: an image takes a few megabytes.
const MAX_LINE: u64 = 32 << 20;

/// Options of `milepost transform run`.
#[derive(Args, Debug)]
pub(super) struct Options {
    /// The component's file, or a project's folder, which is built first
    #[arg(default_value = ".")]
    path: PathBuf,
    /// A parameter; may be repeated
    #[arg(long = "param", value_name = "NAME=VALUE", value_parser = param)]
    params: Vec<(String, String)>,
    /// Read this instead of standard input: NDJSON, a receiver's NMEA log, or Parquet of the lake
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// The stream of lines that name none
    #[arg(long)]
    stream: Option<Stream>,
    /// Of a lake: whose rows
    #[arg(long, requires = "input")]
    vehicle: Option<String>,
    /// The most readings in a call
    #[arg(long, default_value_t = super::sandbox::BATCH, value_parser = at_least_one)]
    batch: usize,
    /// Show what the transform logs
    #[arg(long)]
    log: bool,
}

fn at_least_one(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|n| *n > 0).ok_or_else(|| "take a number above 0".into())
}

/// Runs the command.
pub(super) fn run(options: &Options) -> Result<Outcome, Failure> {
    if options.log {
        show_log();
    }
    let subject = Subject::open(&options.path)?;
    let engine = Engine::new(&EngineSettings { source_lines: true, ..settings() })?;
    let params: Params = options.params.iter().cloned().collect();
    let mut pipe = Pipe {
        sandbox: subject.start(&engine, params)?,
        out: BufWriter::new(io::stdout().lock()),
        outcome: Outcome::Good,
    };
    let wanted = Wanted { stream: options.stream.clone(), vehicle: options.vehicle.clone() };
    let done = match &options.input {
        Some(path) => {
            let located = readings::read(path, &wanted)?;
            let readings: Vec<Reading> = located.into_iter().map(|l| l.reading).collect();
            readings.chunks(options.batch).try_for_each(|batch| pipe.pass(batch))
        }
        None => pipe.all(&standard_input(wanted)?, options.batch),
    };
    match done {
        // `milepost transform run … | head` is no failure.
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(pipe.outcome),
        done => done.map(|()| pipe.outcome).map_err(Failure::from),
    }
}

struct Pipe<W> {
    sandbox: Sandbox,
    out: W,
    outcome: Outcome,
}

impl<W: Write> Pipe<W> {
    /// Passes on what comes, as soon as nothing more comes for a moment or a batch is full.
    fn all(&mut self, lines: &Receiver<Result<Reading, String>>, most: usize) -> io::Result<()> {
        let mut batch = Vec::new();
        loop {
            let line = match batch.is_empty() {
                true => lines.recv().map_err(|_| RecvTimeoutError::Disconnected),
                false => lines.recv_timeout(LINGER),
            };
            let ended = line == Err(RecvTimeoutError::Disconnected);
            match line {
                Ok(Ok(reading)) => batch.push(reading),
                Ok(Err(why)) => self.wrong(&why),
                Err(_) => {
                    self.pass(&batch)?;
                    batch.clear();
                }
            }
            if ended {
                return Ok(());
            }
            if batch.len() >= most {
                self.pass(&batch)?;
                batch.clear();
            }
        }
    }

    fn pass(&mut self, batch: &[Reading]) -> io::Result<()> {
        let passed = self.sandbox.feed(batch);
        for reading in &passed.rows {
            writeln!(self.out, "{}", write(reading))?;
        }
        for one in passed.set_aside {
            self.wrong(&format!(
                "this reading was set aside: {}\n{}",
                write(&batch[one.index]),
                one.why.tell()
            ));
        }
        for tick in passed.ticks_failed {
            self.wrong(&format!("its tick failed: {}", tick.tell()));
        }
        self.out.flush()
    }

    fn wrong(&mut self, why: &str) {
        remark(&format!("milepost: {why}"));
        self.outcome = Outcome::Bad;
    }
}

/// Reads lines on a thread of its own, so that a batch need not be full to go on.
fn standard_input(wanted: Wanted) -> Result<Receiver<Result<Reading, String>>, Failure> {
    let (send, lines) = sync_channel(1024);
    let read = move || {
        let mut parser = readings::parser(&wanted);
        let mut input = io::stdin().lock();
        for i in 1.. {
            let parsed = match next_line(&mut input) {
                Ok(None) => return,
                Ok(Some(line)) if line.trim().is_empty() => continue,
                Ok(Some(line)) => parser.parse(&line, None).map_err(|e| match line.starts_with(['$', '!']) {
                    true => format!(
                        "line {i} is a receiver's, and NDJSON is read here: name the log with --input"
                    ),
                    false => format!("line {i}: {e}"),
                }),
                Err(e) => Err(format!("line {i}: {e}")),
            };
            if send.send(parsed).is_err() {
                return;
            }
        }
    };
    std::thread::Builder::new().name("lines".into()).spawn(read)?;
    Ok(lines)
}

/// The next line; none at the end. Of one that is too long the rest is passed over.
fn next_line(input: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    if input.by_ref().take(MAX_LINE).read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    let wrong = |why: String| Err(io::Error::new(io::ErrorKind::InvalidData, why));
    if line.len() as u64 == MAX_LINE && !line.ends_with(b"\n") {
        input.skip_until(b'\n')?;
        return wrong(format!("it is longer than {MAX_LINE} bytes"));
    }
    String::from_utf8(line).map(Some).or_else(|_| wrong("it is not UTF-8".into()))
}
