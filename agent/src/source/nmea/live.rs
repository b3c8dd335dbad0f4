//! The source around the reader: a receiver on a serial line or behind TCP.

use super::dating::{Dated, Day, date};
use super::undated::{Patience, Undated};
use super::{Counts, Fix, Reader};
use crate::clock::{Clock, Now};
use crate::source::port::Port;
use crate::source::{Context, Outlet, Run, Source, SourceCounters, SourceError};
use crate::units::Span;
use milepost_wire::Reading;
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio_util::sync::CancellationToken;

/// A receiver that speaks NMEA or UBX.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Where it is plugged in: `/dev/ttyACM0`, or `tcp://host:port`.
    pub port: Port,
    /// The serial line's speed.
    #[serde(default = "defaults::baud")]
    pub baud: u32,
    /// How long nothing comes at the end of an epoch: much longer than the pauses inside one, shorter
    /// than one between two.
    #[serde(default = "defaults::pause")]
    pub pause: Span,
    /// A receiver that says nothing for so long is taken for gone, and the port is opened again.
    #[serde(default = "defaults::silence")]
    pub silence: Span,
    /// A day before which no fix can be: an earlier date is a week roll-over (see [`super::dating`]).
    #[serde(default = "defaults::not_before")]
    pub not_before: Option<Day>,
}

mod defaults {
    use super::{Day, Span};
    use std::time::Duration;

    pub(super) fn baud() -> u32 {
        9600
    }
    pub(super) fn pause() -> Span {
        Span(Duration::from_millis(300))
    }
    pub(super) fn silence() -> Span {
        Span(Duration::from_secs(30))
    }
    /// No live fix is older than this program.
    pub(super) fn not_before() -> Option<Day> {
        Day::new(2026, 1, 1)
    }
}

/// How long a receiver's first date is waited for: at ten fixes a second.
const PATIENCE: Patience = Patience { fixes: 300, wait: Duration::from_secs(30) };

/// Makes the source.
pub fn build(settings: &Settings, context: &Context) -> Box<dyn Source> {
    let feed = Feed::new(Reader::new(), settings.not_before, PATIENCE);
    Box::new(Receiver { settings: settings.clone(), clock: Arc::clone(&context.clock), feed })
}

struct Receiver {
    settings: Settings,
    clock: Arc<dyn Clock>,
    /// What the run that goes on has read.
    feed: Feed,
}

impl Source for Receiver {
    fn run<'a>(&'a mut self, outlet: &'a Outlet, _stop: &'a CancellationToken) -> Run<'a> {
        Box::pin(self.listen(outlet))
    }

    fn leave(&mut self, outlet: &Outlet) {
        self.finish(outlet);
    }
}

impl Receiver {
    async fn listen(&mut self, outlet: &Outlet) -> Result<(), SourceError> {
        self.feed = Feed::new(Reader::new(), self.settings.not_before, PATIENCE);
        let ended = self.read(outlet).await;
        self.finish(outlet);
        ended
    }

    async fn read(&mut self, outlet: &Outlet) -> Result<(), SourceError> {
        let settings = &self.settings;
        let mut port = settings.port.open(settings.baud).await?;
        let mut buffer = [0; 4096];
        let (pause, silence) = (settings.pause.0, settings.silence.0.max(settings.pause.0));
        let mut quiet = Duration::ZERO;
        loop {
            let read = tokio::time::timeout(pause, port.read(&mut buffer)).await;
            let now = Now::of(&*self.clock);
            let mut ready = Vec::new();
            match read {
                Ok(Ok(0)) => return Err(SourceError::Closed(settings.port.to_string())),
                Ok(Ok(n)) => {
                    quiet = Duration::ZERO;
                    self.feed.push(&buffer[..n], now, &mut ready);
                }
                Ok(Err(cause)) => {
                    return Err(SourceError::Io {
                        what: format!("Cannot read from {}", settings.port),
                        cause,
                    });
                }
                Err(_) if quiet >= silence => {
                    return Err(SourceError::Closed(format!(
                        "{} said nothing for {}, as if it had",
                        settings.port, settings.silence
                    )));
                }
                Err(_) => {
                    quiet += pause;
                    self.feed.pause(now, &mut ready);
                }
            }
            self.feed.deliver(ready, outlet);
        }
    }

    /// Nothing more comes: what has been read is what there is.
    fn finish(&mut self, outlet: &Outlet) {
        let mut ready = Vec::new();
        self.feed.end(Now::of(&*self.clock), &mut ready);
        self.feed.deliver(ready, outlet);
    }
}

/// A reader with what turns its fixes into dated readings, and keeps a source's counters.
pub(in crate::source) struct Feed {
    reader: Reader,
    undated: Undated,
    not_before: Option<Day>,
    told: Counts,
    rolled_over: u64,
    dated_by_host: u64,
}

impl Feed {
    pub(in crate::source) fn new(reader: Reader, not_before: Option<Day>, patience: Patience) -> Self {
        let (undated, told) = (Undated::new(patience), Counts::default());
        Self { reader, undated, not_before, told, rolled_over: 0, dated_by_host: 0 }
    }

    /// Reads bytes and appends the readings that they complete.
    pub(in crate::source) fn push(&mut self, bytes: &[u8], now: Now, ready: &mut Vec<Reading>) {
        let mut dated = Vec::new();
        let undated = &mut self.undated;
        self.reader.push(bytes, |fix| undated.take(fix, now, &mut dated));
        self.date(dated, ready);
    }

    fn pause(&mut self, now: Now, ready: &mut Vec<Reading>) {
        let mut dated = Vec::new();
        let undated = &mut self.undated;
        self.reader.pause(|fix| undated.take(fix, now, &mut dated));
        undated.look(now, &mut dated);
        self.date(dated, ready);
    }

    /// Reads what the last line without an end still says. Nothing waits for a date any more.
    pub(in crate::source) fn end(&mut self, now: Now, ready: &mut Vec<Reading>) {
        let mut dated = Vec::new();
        let undated = &mut self.undated;
        self.reader.end(|fix| undated.take(fix, now, &mut dated));
        undated.release(&mut dated);
        self.date(dated, ready);
    }

    fn date(&mut self, fixes: Vec<(Fix, Now)>, ready: &mut Vec<Reading>) {
        for (fix, came) in fixes {
            let host = (came.wall_us, came.trust);
            let (reading, dated) = date(&fix, self.not_before.map(Day::since_1970), host);
            self.rolled_over += u64::from(dated == Dated::RolledOver);
            self.dated_by_host += u64::from(dated == Dated::ByHost);
            ready.push(reading);
        }
    }

    /// Adds what was met since the last time to a source's counters.
    pub(in crate::source) fn count(&mut self, counters: &SourceCounters) {
        let (now, told) = (self.reader.counts(), self.told);
        for (kind, now, told) in [
            ("bad_checksum", now.bad_checksums, told.bad_checksums),
            ("missing_checksum", now.missing_checksums, told.missing_checksums),
            ("broken_sentence", now.broken, told.broken),
        ] {
            counters.error(kind, now - told);
        }
        counters.note("junk_bytes", now.junk_bytes - told.junk_bytes);
        counters.note("sentences", now.sentences - told.sentences);
        counters.note("binary_messages", now.binary - told.binary);
        counters.note("without_fix", now.without_fix - told.without_fix);
        counters.note("week_rollover", std::mem::take(&mut self.rolled_over));
        counters.note("dated_by_host", std::mem::take(&mut self.dated_by_host));
        self.told = now;
    }

    fn deliver(&mut self, ready: Vec<Reading>, outlet: &Outlet) {
        self.count(outlet.counters());
        ready.into_iter().for_each(|reading| outlet.offer(reading));
    }
}

#[cfg(test)]
mod tests;
