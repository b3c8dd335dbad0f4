//! A Milepost board: the firmware's packets over a serial line (see [`milepost_wire::link`]).
//!
//! `board` says what messages mean, `clock` dates them, both without I/O; this is the line. A packet
//! that did not arrive is a number that is missing: what it may have held is declared lost. A board
//! that restarts says so, and everything known of it begins again.

mod board;
mod clock;

use super::port::{Port, Stream};
use super::{Context, Outlet, Run, Source, SourceError};
use crate::clock::Clock;
use crate::units::{Size, Span};
use board::{Board, Effect, Now};
use milepost_wire::link::{Config, Decoder, Encoder, LinkError, MAX_LINE, Message};
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::sync::CancellationToken;

/// A board.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Where it is plugged in: `/dev/ttyACM0`, or `tcp://host:port`.
    pub port: Port,
    /// The serial line's speed.
    #[serde(default = "defaults::baud")]
    pub baud: u32,
    /// What its cameras are called; their number follows.
    #[serde(default = "defaults::camera")]
    pub camera: String,
    /// How it is to work; without this it works as it was flashed.
    #[serde(default)]
    pub configure: Option<Configure>,
    /// The largest image. A frame takes 4 MiB.
    #[serde(default = "defaults::max_image")]
    pub max_image: Size,
    /// How often the clocks are compared; until the board has said who it is, every second.
    #[serde(default = "defaults::ping")]
    pub ping: Span,
    /// A board that says nothing for so long is taken for gone, and the port is opened again.
    #[serde(default = "defaults::silence")]
    pub silence: Span,
}

/// How a board is to work.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Configure {
    /// Time between fixes; `"0s"` for none.
    pub fix_every: Span,
    /// Time between images; `"0s"` for none.
    pub image_every: Span,
    /// Width of an image, pixels.
    pub width: u16,
    /// Height of an image, pixels.
    pub height: u16,
    /// JPEG quality, 1 to 100.
    pub quality: u8,
}

impl From<Configure> for Config {
    fn from(c: Configure) -> Self {
        let ms = |span: Span| u32::try_from(span.0.as_millis()).unwrap_or(u32::MAX);
        let (fix_every_ms, image_every_ms) = (ms(c.fix_every), ms(c.image_every));
        Config { fix_every_ms, image_every_ms, width: c.width, height: c.height, quality: c.quality }
    }
}

mod defaults {
    use super::{Duration, Size, Span};

    pub(super) fn baud() -> u32 {
        115_200
    }
    pub(super) fn camera() -> String {
        "camera".into()
    }
    pub(super) fn max_image() -> Size {
        Size(3 << 20)
    }
    pub(super) fn ping() -> Span {
        Span(Duration::from_secs(10))
    }
    pub(super) fn silence() -> Span {
        Span(Duration::from_secs(30))
    }
}

/// How often a board that has not said who it is is asked.
const ASK: Duration = Duration::from_secs(1);

/// Makes the source.
pub fn build(settings: &Settings, context: &Context) -> Box<dyn Source> {
    let max_image = usize::try_from(settings.max_image.0).unwrap_or(usize::MAX);
    let board = Board::new(settings.camera.clone(), settings.configure.map(Config::from), max_image);
    let (clock, decoder) = (Arc::clone(&context.clock), Decoder::new());
    Box::new(Link { settings: settings.clone(), clock, board, decoder })
}

struct Link {
    settings: Settings,
    clock: Arc<dyn Clock>,
    /// What is known of the board outlives a line: what was lost while it was unplugged is found out by the
    /// numbers, once it is back.
    board: Board,
    decoder: Decoder,
}

impl Source for Link {
    fn run<'a>(&'a mut self, outlet: &'a Outlet, _stop: &'a CancellationToken) -> Run<'a> {
        Box::pin(self.listen(outlet))
    }
}

impl Link {
    async fn listen(&mut self, outlet: &Outlet) -> Result<(), SourceError> {
        let Self { settings, clock, board, decoder } = self;
        board.line_is_new();
        let mut line = Line { port: settings.port.open(settings.baud).await?, encoder: Encoder::new() };
        let mut buffer = [0; 4096];
        let (mut quiet, mut next_ask) = (Duration::ZERO, Duration::ZERO);
        loop {
            if next_ask.is_zero() {
                if !board.is_known() {
                    line.say(&Message::Identify, settings).await?;
                }
                line.say(&Message::Ping { host_us: now(&**clock).mono_us }, settings).await?;
                next_ask = if board.is_known() { settings.ping.0.max(ASK) } else { ASK };
            }
            let (asked, wait) = (clock.mono(), next_ask);
            let read = tokio::time::timeout(wait, line.port.read(&mut buffer)).await;
            next_ask = next_ask.saturating_sub(clock.mono().saturating_sub(asked));
            let n = match read {
                Ok(Ok(0)) => return Err(SourceError::Closed(settings.port.to_string())),
                Ok(Ok(n)) => n,
                Ok(Err(cause)) => {
                    return Err(SourceError::Io {
                        what: format!("Cannot read from {}", settings.port),
                        cause,
                    });
                }
                Err(_) => {
                    (quiet, next_ask) = (quiet + wait, Duration::ZERO);
                    if quiet >= settings.silence.0 {
                        let what =
                            format!("{} said nothing for {}, as if it had", settings.port, settings.silence);
                        return Err(SourceError::Closed(what));
                    }
                    continue;
                }
            };
            quiet = Duration::ZERO;
            let (mut input, now) = (&buffer[..n], now(&**clock));
            let mut effects = Vec::new();
            while let Some(next) = decoder.next(&mut input) {
                match next {
                    Ok(received) => effects.extend(board.take(&received, now)),
                    Err(error @ LinkError::Version(_)) => {
                        return Err(SourceError::Unusable(error.to_string()));
                    }
                    Err(error) => effects.push(Effect::Count(kind(error), 1, true)),
                }
            }
            for effect in effects {
                match effect {
                    Effect::Say(message) => line.say(&message, settings).await?,
                    effect => deliver(effect, outlet, settings),
                }
            }
        }
    }
}

fn now(clock: &dyn Clock) -> Now {
    let mono_us = u64::try_from(clock.mono().as_micros()).unwrap_or(u64::MAX);
    Now { mono_us, wall_us: clock.wall_us(), trust: clock.trust() }
}

fn deliver(effect: Effect, outlet: &Outlet, settings: &Settings) {
    match effect {
        Effect::Reading(reading) => outlet.offer(reading),
        Effect::Lost(stream, count) => outlet.lost(stream, count),
        Effect::Count(kind, n, true) => outlet.counters().error(kind, n),
        Effect::Count(kind, n, false) => outlet.counters().note(kind, n),
        Effect::Hello { board, firmware } => {
            tracing::info!(port = %settings.port, board, firmware, "A board says hello");
        }
        Effect::Say(_) => {}
    }
}

fn kind(error: LinkError) -> &'static str {
    match error {
        LinkError::TooLarge | LinkError::TooLong => "link_too_long",
        LinkError::Framing => "link_framing",
        LinkError::Crc { .. } => "link_crc",
        LinkError::Version(_) => "link_version",
        LinkError::Unknown => "link_unknown",
    }
}

/// The line to the board.
struct Line {
    port: Box<dyn Stream>,
    encoder: Encoder,
}

impl Line {
    async fn say(&mut self, message: &Message<'_>, settings: &Settings) -> Result<(), SourceError> {
        let mut packet = [0; MAX_LINE];
        let encoded = self.encoder.encode(message, &mut packet);
        let n = encoded.map_err(|e| SourceError::Unusable(e.to_string()))?;
        let written = self.port.write_all(&packet[..n]).await;
        written.map_err(SourceError::io(format!("Cannot write to {}", settings.port)))
    }
}

#[cfg(test)]
mod tests;
