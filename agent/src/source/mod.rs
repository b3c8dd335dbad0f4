//! Where readings come from. A source is anything that can be run until it ends or fails: a receiver
//! on a serial line, gpsd, a recorded log, a camera's folder, another program, a simulated trip.
//!
//! Sources know nothing of transforms, batches or the network. Each hands its readings to an
//! [`Outlet`]; the pipeline's single thread takes them from [`Deliveries`]. [`supervise`] starts a
//! source again when it fails.

pub mod outlet;
pub mod supervise;

mod jpeg;
mod lines;
pub(crate) mod port;
mod rows;

pub mod exec;
pub mod gpsd;
pub mod link;
pub mod nmea;
pub mod replay;
pub mod watch;

pub mod simulate;

#[cfg(test)]
mod oracle;

pub use outlet::{Deliveries, Delivery, Intake, Next, Outlet, Overrun, SourceCounters, SourceId};
pub use supervise::{Backoff, supervise};

use crate::clock::Clock;
use crate::units::Span;
use serde::Deserialize;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// What [`Source::run`] returns.
pub type Run<'a> = Pin<Box<dyn Future<Output = Result<(), SourceError>> + Send + 'a>>;

/// Something that delivers readings.
pub trait Source: Send {
    /// Delivers readings until `stop` is cancelled (then `Ok`), the source has ended for good, such as
    /// at the end of a file (`Ok`), or something went wrong. After an error it may be run again and
    /// goes on where it can: what was delivered is not delivered twice.
    fn run<'a>(&'a mut self, outlet: &'a Outlet, stop: &'a CancellationToken) -> Run<'a>;

    /// The run was dropped because the agent stops: hands over what the source has read and was still
    /// keeping, such as the epoch that had not ended.
    fn leave(&mut self, _outlet: &Outlet) {}
}

/// Why a source stopped.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// A file, a port or a socket failed.
    #[error("{what}: {cause}")]
    Io {
        /// What was tried on which thing, such as "Cannot open /dev/ttyACM0".
        what: String,
        /// What the system said.
        cause: std::io::Error,
    },
    /// The other side went away.
    #[error("{0} closed the connection; is it still running and plugged in?")]
    Closed(String),
    /// What came in is not what the settings promise.
    #[error("{0}")]
    Unusable(String),
}

impl SourceError {
    /// Wraps a failed call, for `map_err`.
    pub fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        move |cause| Self::Io { what: what.into(), cause }
    }
}

/// What every source may need beside its settings.
#[derive(Clone)]
pub struct Context {
    /// Date and time.
    pub clock: Arc<dyn Clock>,
}

/// A source's settings; `type` says which.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Settings {
    /// A simulated trip.
    Simulate(simulate::Settings),
    /// A recorded log.
    Replay(replay::Settings),
    /// A receiver that speaks NMEA.
    Nmea(nmea::Settings),
    /// gpsd.
    Gpsd(gpsd::Settings),
    /// A Milepost board on a serial line.
    Link(link::Settings),
    /// A folder where a camera program drops JPEG files.
    Watch(watch::Settings),
    /// Another program, which prints readings.
    Exec(exec::Settings),
    /// Readings on the agent's own standard input.
    Stdin(exec::StdinSettings),
}

impl Settings {
    /// Makes the source. Nothing is opened before it runs.
    pub fn build(&self, context: &Context) -> Result<Box<dyn Source>, SourceError> {
        match self {
            Self::Simulate(settings) => simulate::build(settings, context),
            Self::Replay(settings) => Ok(replay::build(settings, context)),
            Self::Nmea(settings) => {
                above_zero("pause", settings.pause)?;
                Ok(nmea::build(settings, context))
            }
            Self::Gpsd(settings) => {
                above_zero("pause", settings.pause)?;
                Ok(gpsd::build(settings, context))
            }
            Self::Link(settings) => Ok(link::build(settings, context)),
            Self::Watch(settings) => {
                above_zero("poll", settings.poll)?;
                Ok(watch::build(settings, context))
            }
            Self::Exec(settings) => exec::build(settings, context),
            Self::Stdin(settings) => Ok(exec::build_stdin(settings, context)),
        }
    }
}

/// A source that never waits would do nothing but look.
fn above_zero(key: &str, span: Span) -> Result<(), SourceError> {
    match span.0.is_zero() {
        true => Err(SourceError::Unusable(format!("`{key}` must be longer than 0"))),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_that_would_never_wait_is_refused() {
        for text in [
            "type = 'nmea'\nport = 'x'\npause = '0ms'",
            "type = 'gpsd'\npause = '0s'",
            "type = 'watch'\nfolder = 'x'\nafter = 'keep'\npoll = '0s'",
        ] {
            let settings: Settings = toml::from_str(text).unwrap();
            let clock = Arc::new(crate::clock::FakeClock::at(0));
            let error = settings.build(&Context { clock }).err().expect(text).to_string();
            assert!(error.contains("longer than 0"), "{error}");
        }
    }

    /// The settings in the handbook are read as they stand there.
    #[test]
    fn the_handbooks_examples_can_be_used() {
        let handbook = include_str!("../../../docs/sources.md");
        let mut seen = Vec::new();
        for block in handbook.split("```toml\n").skip(1) {
            let block = block.split("```").next().unwrap_or_default();
            // The same with the keys that are commented out.
            let all: String =
                block.lines().map(|l| l.strip_prefix("# ").unwrap_or(l).to_string() + "\n").collect();
            for text in [block, &all] {
                let mut table: toml::Table = toml::from_str(text).expect(text);
                for source in table.remove("source").and_then(|s| s.as_array().cloned()).expect("[[source]]")
                {
                    let mut source = source.as_table().cloned().expect("a table");
                    source.remove("name").expect("a name");
                    seen.push(source["type"].to_string());
                    let settings: Settings = source.try_into().unwrap_or_else(|e| panic!("{e}\n{text}"));
                    let clock = Arc::new(crate::clock::FakeClock::at(0));
                    settings.build(&Context { clock }).unwrap_or_else(|e| panic!("{e}\n{text}"));
                }
            }
        }
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 7, "{seen:?}");
    }
}
