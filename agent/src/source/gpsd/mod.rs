//! gpsd, the way a Raspberry Pi usually shares its receiver: its JSON reports over TCP.
//!
//! [`reports`] is the pure part, report lines in and readings out; this is the connection. gpsd
//! reports an epoch several times while its sentences come in, so the last report counts: an epoch
//! ends when another time begins or nothing has come for a while.

mod reports;

use super::lines::Lines;
use super::port::connect;
use super::{Context, Outlet, Run, Source, SourceError};
use crate::clock::{Clock, Now};
use crate::units::Span;
use milepost_wire::Reading;
use reports::Reports;
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::sync::CancellationToken;

/// A gpsd. Its longest reports, of a sky full of satellites, have about 10 kB.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Host and port.
    #[serde(default = "defaults::address")]
    pub address: String,
    /// Only this device's reports, such as `/dev/ttyACM0`, where gpsd has more than one.
    #[serde(default)]
    pub device: Option<String>,
    /// How long nothing comes at the end of an epoch: longer than the pauses inside one.
    #[serde(default = "defaults::pause")]
    pub pause: Span,
    /// A gpsd that says nothing for so long is taken for gone. Longer than a receiver may be without
    /// power, for then gpsd has nothing to say.
    #[serde(default = "defaults::silence")]
    pub silence: Span,
}

mod defaults {
    use super::{Duration, Span};

    pub(super) fn address() -> String {
        "127.0.0.1:2947".into()
    }
    pub(super) fn pause() -> Span {
        Span(Duration::from_millis(500))
    }
    pub(super) fn silence() -> Span {
        Span(Duration::from_secs(600))
    }
}

/// Asks for reports as JSON, speeds in m/s.
const WATCH: &[u8] = b"?WATCH={\"enable\":true,\"json\":true,\"scaled\":true};\n";
/// The longest report that is read.
const MAX_REPORT: usize = 256 << 10;

/// Makes the source.
pub fn build(settings: &Settings, context: &Context) -> Box<dyn Source> {
    let reports = Reports::new(settings.device.clone(), None);
    Box::new(Gpsd { settings: settings.clone(), clock: Arc::clone(&context.clock), reports })
}

struct Gpsd {
    settings: Settings,
    clock: Arc<dyn Clock>,
    /// What the run that goes on has been told.
    reports: Reports,
}

impl Source for Gpsd {
    fn run<'a>(&'a mut self, outlet: &'a Outlet, _stop: &'a CancellationToken) -> Run<'a> {
        Box::pin(self.watch(outlet))
    }

    fn leave(&mut self, outlet: &Outlet) {
        self.finish(outlet);
    }
}

impl Gpsd {
    async fn watch(&mut self, outlet: &Outlet) -> Result<(), SourceError> {
        // The last time is kept over reconnects: gpsd repeats its last report to a newcomer.
        self.reports = Reports::new(self.settings.device.clone(), self.reports.sent());
        let ended = self.read(outlet).await;
        self.finish(outlet);
        ended
    }

    async fn read(&mut self, outlet: &Outlet) -> Result<(), SourceError> {
        let settings = &self.settings;
        let mut socket = connect(&settings.address).await?;
        socket.write_all(WATCH).await.map_err(SourceError::io(format!("Cannot ask {}", settings.address)))?;
        let mut lines = Lines::new(MAX_REPORT);
        let mut buffer = vec![0; 16 << 10];
        let (pause, silence) = (settings.pause.0, settings.silence.0.max(settings.pause.0));
        let mut quiet = Duration::ZERO;
        loop {
            let read = tokio::time::timeout(pause, socket.read(&mut buffer)).await;
            let now = Now::of(&*self.clock);
            let mut ready = Vec::new();
            match read {
                Ok(Ok(0)) => return Err(SourceError::Closed(format!("gpsd at {}", settings.address))),
                Ok(Ok(n)) => {
                    quiet = Duration::ZERO;
                    lines.push(&buffer[..n], |line| self.reports.take(line, now, &mut ready));
                }
                Ok(Err(cause)) => {
                    let what = format!("Cannot read from gpsd at {}", settings.address);
                    return Err(SourceError::Io { what, cause });
                }
                Err(_) if quiet >= silence => {
                    return Err(SourceError::Closed(format!(
                        "gpsd at {} said nothing for {}, as if it had",
                        settings.address, settings.silence
                    )));
                }
                Err(_) => {
                    quiet += pause;
                    self.reports.pause(now, &mut ready);
                }
            }
            outlet.counters().error("refused_report", lines.take_too_long());
            deliver(&mut self.reports, ready, outlet);
        }
    }

    /// Nothing more comes: what has been reported is what there is.
    fn finish(&mut self, outlet: &Outlet) {
        let mut ready = Vec::new();
        self.reports.finish(Now::of(&*self.clock), &mut ready);
        deliver(&mut self.reports, ready, outlet);
    }
}

fn deliver(reports: &mut Reports, ready: Vec<Reading>, outlet: &Outlet) {
    outlet.counters().error("refused_report", reports.take_refused());
    ready.into_iter().for_each(|reading| outlet.offer(reading));
}

#[cfg(test)]
mod tests;
