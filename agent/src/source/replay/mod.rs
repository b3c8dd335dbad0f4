//! Replays a recorded log, NMEA as a receiver sent it or NDJSON readings, at the speed at which it
//! was recorded, faster, or flat out. Which of the two it is, its content says.
//!
//! Time stamps stay as recorded. The end of the file is the end of the source.

use super::nmea::{Day, Feed, Patience, Reader};
use super::rows::Rows;
use super::{Context, Outlet, Run, Source, SourceError};
use crate::clock::{Clock, Now};
use crate::ndjson::Defaults;
use milepost_wire::{Clock as Trust, Reading, Stream};
use serde::{Deserialize, Deserializer};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::fs::File;
use tokio::io::AsyncReadExt;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// A recorded log.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The file.
    pub path: PathBuf,
    /// How fast: `"recorded"`, a factor such as `"10x"`, or `"flat_out"`.
    #[serde(default)]
    pub pace: Pace,
    /// NMEA: a day before which no fix can be (see [`super::nmea::dating`]). A log may be as old as it
    /// is, so there is none by default.
    #[serde(default)]
    pub not_before: Option<Day>,
    /// NDJSON: the stream of lines that name none.
    #[serde(default, deserialize_with = "stream")]
    pub default_stream: Option<Stream>,
}

/// How fast to replay.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Pace {
    /// So many times as fast as recorded. Readings without a time of their own do not wait.
    Times(f64),
    /// As fast as the pipeline takes it.
    #[default]
    FlatOut,
}

impl std::str::FromStr for Pace {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.strip_suffix('x').map(str::parse)) {
            ("recorded", _) => Ok(Self::Times(1.0)),
            ("flat_out", _) => Ok(Self::FlatOut),
            (_, Some(Ok(times))) if (1e-3..=1e6).contains(&times) => Ok(Self::Times(times)),
            _ => Err(format!(
                "{text:?} is not a pace: write \"recorded\", \"flat_out\" or a factor such as \"10x\""
            )),
        }
    }
}

impl<'de> Deserialize<'de> for Pace {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A stream's name in settings.
pub(super) fn stream<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Stream>, D::Error> {
    String::deserialize(d)?.parse().map(Some).map_err(serde::de::Error::custom)
}

/// Makes the source.
pub fn build(settings: &Settings, context: &Context) -> Box<dyn Source> {
    Box::new(Replay { settings: settings.clone(), clock: Arc::clone(&context.clock), progress: None })
}

struct Replay {
    settings: Settings,
    clock: Arc<dyn Clock>,
    /// Kept from run to run, so that after an error it goes on where it was.
    progress: Option<Progress>,
}

struct Progress {
    file: File,
    format: Format,
    paced: Paced,
}

impl Source for Replay {
    fn run<'a>(&'a mut self, outlet: &'a Outlet, _stop: &'a CancellationToken) -> Run<'a> {
        Box::pin(self.replay(outlet))
    }
}

impl Replay {
    async fn replay(&mut self, outlet: &Outlet) -> Result<(), SourceError> {
        let shown = self.settings.path.display();
        if self.progress.is_none() {
            let file = File::open(&self.settings.path).await;
            let file = file.map_err(SourceError::io(format!("Cannot open {shown}")))?;
            let paced = Paced { pace: self.settings.pace, anchor: None };
            self.progress = Some(Progress { file, format: Format::Unknown, paced });
        }
        let Some(Progress { file, format, paced }) = &mut self.progress else { return Ok(()) };
        let mut buffer = vec![0; 16 << 10];
        loop {
            let read = file.read(&mut buffer).await;
            let n = read.map_err(SourceError::io(format!("Cannot read {shown}")))?;
            // However good the host's clock is, it does not know when a log was recorded.
            let now = Now { trust: Trust::None, ..Now::of(&*self.clock) };
            let mut ready = Vec::new();
            match n {
                0 => format.end(now, outlet, &mut ready),
                n => format.push(&buffer[..n], &self.settings, now, outlet, &mut ready),
            }
            for reading in ready {
                paced.hold(reading.ts).await;
                outlet.send(reading).await;
            }
            if n == 0 {
                return Ok(());
            }
        }
    }
}

/// Holds readings back until it is their turn.
struct Paced {
    pace: Pace,
    /// A recorded time, and when it was replayed.
    anchor: Option<(i64, Instant)>,
}

/// A longer jump in the recorded times is not waited for: the receiver's clock was set, or it was off.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

impl Paced {
    /// Waits until it is the turn of a reading of the recorded time `ts`.
    async fn hold(&mut self, ts: i64) {
        let wait = self.wait(ts, Instant::now());
        // The shortest sleep is a millisecond, also one of no time at all.
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }

    /// How long a reading of the recorded time `ts` has to wait at `now`.
    fn wait(&mut self, ts: i64, now: Instant) -> Duration {
        let Pace::Times(times) = self.pace else { return Duration::ZERO };
        if let Some((from, at)) = self.anchor
            && let Some(since) = ts.checked_sub(from).and_then(|us| u64::try_from(us).ok())
        {
            let due = Duration::from_micros(since).div_f64(times);
            let wait = due.saturating_sub(now.saturating_duration_since(at));
            if wait.mul_f64(times) < LONGEST_WAIT {
                return wait;
            }
        }
        self.anchor = Some((ts, now));
        Duration::ZERO
    }
}

/// What the file holds.
enum Format {
    /// Nothing but blanks has come yet.
    Unknown,
    Nmea(Box<Feed>),
    Ndjson(Box<Rows>),
}

/// A log's fixes wait for its first date as long as it is among its first so many fixes, 18 hours of one
/// a second.
const PATIENCE: Patience = Patience { fixes: 1 << 16, wait: Duration::MAX };

impl Format {
    fn push(
        &mut self,
        bytes: &[u8],
        settings: &Settings,
        now: Now,
        outlet: &Outlet,
        ready: &mut Vec<Reading>,
    ) {
        if let Self::Unknown = self {
            // Lines of readings begin with a brace; a receiver's log with a comment, `$` or junk, which may
            // be what gpsd says of itself before it passes sentences on (`gpspipe -r`).
            let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
            let Some(first) = text.trim_ascii_start().first() else { return };
            *self = if *first == b'{' && !bytes.split(|b| *b == b'\n').any(is_sentence) {
                let defaults = Defaults { stream: settings.default_stream.clone(), clock: Some(Trust::Gps) };
                Self::Ndjson(Box::new(Rows::new(defaults)))
            } else {
                Self::Nmea(Box::new(Feed::new(Reader::of_sentences(), settings.not_before, PATIENCE)))
            };
        }
        match self {
            Self::Unknown => {}
            Self::Nmea(feed) => {
                feed.push(bytes, now, ready);
                feed.count(outlet.counters());
            }
            Self::Ndjson(rows) => rows.push(bytes, None, outlet.counters(), ready),
        }
    }

    fn end(&mut self, now: Now, outlet: &Outlet, ready: &mut Vec<Reading>) {
        match self {
            Self::Unknown => {}
            Self::Nmea(feed) => {
                feed.end(now, ready);
                feed.count(outlet.counters());
            }
            Self::Ndjson(rows) => rows.end(None, outlet.counters(), ready),
        }
    }
}

/// Whether a line begins as an NMEA sentence does.
fn is_sentence(line: &[u8]) -> bool {
    matches!(line, [b'$', tag @ ..] if tag.iter().take_while(|b| b.is_ascii_alphanumeric()).count() >= 4)
}

#[cfg(test)]
mod tests;
