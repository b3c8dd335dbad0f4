//! `milepost decode`: frames in, one line of NDJSON for each reading out.
//!
//! Frames come from files, from standard input or from a Kafka topic. A frame that cannot be decoded
//! is named on standard error with its file and offset, the next one is tried, and the exit status is
//! 1. The lines are those that the `replay` source reads back.

mod kafka;
mod split;

use crate::{Failure, Outcome};
use clap::Args;
use milepost_agent::ndjson::Line;
use milepost_wire::frame;
use std::fmt;
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

/// Options of `milepost decode`.
#[derive(Args, Debug)]
pub struct Options {
    /// Files of frames; `-` is standard input, and so is no file at all. A file is one frame, or
    /// several, each after its length in bytes as a little-endian u32
    files: Vec<PathBuf>,
    /// Read a Kafka topic instead, from its first record to what is now its last
    #[arg(long, value_name = "BROKERS", requires = "topic", conflicts_with = "files")]
    kafka: Option<String>,
    /// The topic to read
    #[arg(long, requires = "kafka")]
    topic: Option<String>,
    /// At the end of the topic, wait for more
    #[arg(long, requires = "kafka")]
    follow: bool,
}

/// Runs the command.
pub fn run(options: &Options) -> Result<Outcome, Failure> {
    let mut printer = Printer { out: BufWriter::new(io::stdout().lock()), outcome: Outcome::Good };
    let done = match (&options.kafka, &options.topic) {
        (Some(brokers), Some(topic)) => kafka::read(brokers, topic, options.follow, &mut printer),
        _ => read_files(&options.files, &mut printer).map_err(Failure::from),
    };
    let Err(e) = done.and_then(|()| printer.out.flush().map_err(Failure::from)) else {
        return Ok(printer.outcome);
    };
    match e.downcast::<io::Error>() {
        // `milepost decode … | head` is no failure.
        Ok(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(printer.outcome),
        Ok(e) => Err(crate::unwritten(&e)),
        Err(e) => Err(e),
    }
}

fn read_files<W: Write>(files: &[PathBuf], printer: &mut Printer<W>) -> io::Result<()> {
    let stdin = [PathBuf::from("-")];
    for path in if files.is_empty() { &stdin[..] } else { files } {
        let (name, input): (String, Box<dyn Read>) = match path == Path::new("-") {
            true => ("standard input".to_owned(), Box::new(io::stdin().lock())),
            false => match File::open(path) {
                Ok(file) => (path.display().to_string(), Box::new(file)),
                Err(e) => {
                    printer.wrong(&path.display(), &e);
                    continue;
                }
            },
        };
        let mut written = Ok(());
        split::split(input, |piece| {
            let place = Place { name: &name, offset: piece.offset };
            match piece.frame {
                Ok(bytes) => written = printer.frame(&place, &bytes),
                Err(e) => printer.wrong(&place, &e),
            }
            written.is_ok()
        });
        written?;
    }
    Ok(())
}

/// Where in a file a frame begins.
struct Place<'a> {
    name: &'a str,
    offset: u64,
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, byte {}", self.name, self.offset)
    }
}

/// Writes readings, and remembers whether something was wrong.
struct Printer<W> {
    out: W,
    outcome: Outcome,
}

impl<W: Write> Printer<W> {
    /// Prints the readings of a frame that was found at `place`. The error is the output's.
    fn frame(&mut self, place: &dyn fmt::Display, bytes: &[u8]) -> io::Result<()> {
        let batch = match frame::decode(bytes) {
            Ok(batch) => batch,
            Err(e) => {
                self.wrong(place, &e);
                return Ok(());
            }
        };
        let mut line = String::new();
        for row in 0..batch.len() {
            line.clear();
            Line { batch: &batch, row, origin: true }.write(&mut line);
            line.push('\n');
            self.out.write_all(line.as_bytes())?;
        }
        Ok(())
    }

    fn wrong(&mut self, place: &dyn fmt::Display, what: &dyn fmt::Display) {
        crate::remark(&format!("milepost: {place}: {what}"));
        self.outcome = Outcome::Bad;
    }
}

#[cfg(test)]
pub(crate) mod tests;
