//! What a board's messages mean: messages in, readings and answers out, no I/O and no clock. Every
//! time is an argument.

use super::clock::BoardClock;
use milepost_wire::link::{CameraStart, Config, Dropped, Fix, Lost, Message, Received, image_crc};
use milepost_wire::reading::{Camera, Gps};
use milepost_wire::{Clock, Reading, Stream};

/// The host's clocks at a moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    /// Monotonic, µs.
    pub(super) mono_us: u64,
    /// The date, µs since 1970.
    pub(super) wall_us: i64,
    /// How far the date is to be trusted.
    pub(super) trust: Clock,
}

/// What a message leads to.
#[derive(Debug, PartialEq)]
pub(super) enum Effect {
    /// A reading.
    Reading(Reading),
    /// Something to say to the board.
    Say(Message<'static>),
    /// Readings that are known to be lost, or may be.
    Lost(Stream, u64),
    /// Something to count: a kind, and whether it is an error.
    Count(&'static str, u64, bool),
    /// The board said who it is.
    Hello { board: String, firmware: String },
}

/// What is known of a board.
pub(super) struct Board {
    camera: String,
    config: Option<Config>,
    max_image: usize,
    boot: Option<u32>,
    /// It has said who it is since the line was opened.
    introduced: bool,
    clock: BoardClock,
    image: Option<Image>,
    /// What it has let go since its start, as far as it has said.
    lost: Lost,
}

/// An image that is coming in.
struct Image {
    start: CameraStart,
    bytes: Vec<u8>,
    crc: Option<u32>,
    /// A part is missing.
    broken: bool,
}

impl Board {
    pub(super) fn new(camera: String, config: Option<Config>, max_image: usize) -> Self {
        let (clock, lost) = (BoardClock::default(), Lost::default());
        Self { camera, config, max_image, boot: None, introduced: false, clock, image: None, lost }
    }

    /// Whether the board has said who it is.
    pub(super) fn is_known(&self) -> bool {
        self.introduced
    }

    /// The line was opened, again perhaps: it may be another board.
    pub(super) fn line_is_new(&mut self) {
        self.introduced = false;
    }

    /// Takes a message.
    pub(super) fn take(&mut self, received: &Received<'_>, now: Now) -> Vec<Effect> {
        let mut effects = Vec::new();
        if received.missed > 0 {
            self.missed(u64::from(received.missed), &mut effects);
        }
        match received.message {
            Message::Hello(hello) => {
                self.hello(hello.boot, now, &mut effects);
                self.let_go(hello.lost, &mut effects);
                let (board, firmware) = (hello.board.into(), hello.firmware.into());
                effects.push(Effect::Hello { board, firmware });
            }
            Message::Gps(fix) => effects.push(Effect::Reading(self.fix(&fix, now))),
            Message::CameraStart(start) => self.start(start, &mut effects),
            Message::CameraChunk { image, offset, bytes } => self.chunk(image, offset, bytes, &mut effects),
            Message::CameraEnd { image, length, crc } => self.end(image, length, crc, now, &mut effects),
            Message::Dropped { what, count } => {
                let mut lost = self.lost;
                match what {
                    Dropped::Fixes => lost.fixes = lost.fixes.saturating_add(count),
                    Dropped::Images => lost.images = lost.images.saturating_add(count),
                    Dropped::Sentences => lost.sentences = lost.sentences.saturating_add(count),
                    Dropped::Packets => effects.push(Effect::Count("board_refused", count.into(), true)),
                }
                self.let_go(lost, &mut effects);
            }
            Message::Pong { host_us, board_us } => self.clock.pong(host_us, board_us, now.mono_us),
            // What only an agent says: an echo on the line.
            Message::Ping { .. } | Message::Configure(_) | Message::Identify => {
                effects.push(Effect::Count("link_echo", 1, true));
            }
        }
        effects
    }

    /// Packets did not arrive. What they held nobody knows: each may have been a fix, unless an image
    /// was coming in, which then is lost as a whole.
    fn missed(&mut self, count: u64, effects: &mut Vec<Effect>) {
        effects.push(Effect::Count("link_missed", count, true));
        match &mut self.image {
            Some(image) => image.broken = true,
            None => effects.push(Effect::Lost(Stream::Gps, count)),
        }
    }

    fn hello(&mut self, boot: u32, now: Now, effects: &mut Vec<Effect>) {
        self.introduced = true;
        if self.boot == Some(boot) {
            return;
        }
        if self.boot.replace(boot).is_some() {
            effects.push(Effect::Count("board_restart", 1, false));
        }
        self.lost = Lost::default();
        self.clock = BoardClock::default();
        self.give_up(effects);
        effects.push(Effect::Say(Message::Ping { host_us: now.mono_us }));
        effects.extend(self.config.map(|config| Effect::Say(Message::Configure(config))));
    }

    /// The board says what it has let go since its start; only what is new counts.
    fn let_go(&mut self, total: Lost, effects: &mut Vec<Effect>) {
        let new = |total: u32, known: u32| u64::from(total.saturating_sub(known));
        let (fixes, images) = (new(total.fixes, self.lost.fixes), new(total.images, self.lost.images));
        let sentences = new(total.sentences, self.lost.sentences);
        for (stream, count) in [(Stream::Gps, fixes), (Stream::Camera, images)] {
            if count > 0 {
                effects.push(Effect::Lost(stream, count));
            }
        }
        if sentences > 0 {
            effects.push(Effect::Count("bad_checksum", sentences, true));
        }
        self.lost = Lost {
            fixes: self.lost.fixes.max(total.fixes),
            images: self.lost.images.max(total.images),
            sentences: self.lost.sentences.max(total.sentences),
        };
    }

    fn fix(&mut self, fix: &Fix, now: Now) -> Reading {
        if let Some(utc_us) = fix.utc_us {
            self.clock.fix(fix.at_us, utc_us);
        }
        let (ts, clock) = match fix.utc_us {
            Some(utc_us) => (utc_us, Clock::Gps),
            None => self.clock.date(fix.at_us, now),
        };
        let &Fix { lat_e7, lon_e7, altitude_cm, speed_mm_s, heading_cdeg, satellites, hdop_e2, .. } = fix;
        let fix = fix.fix;
        let body = Gps { lat_e7, lon_e7, altitude_cm, speed_mm_s, heading_cdeg, fix, satellites, hdop_e2 };
        Reading { ts, clock, body: body.into() }
    }

    fn start(&mut self, start: CameraStart, effects: &mut Vec<Effect>) {
        self.give_up(effects);
        let broken = start.length as usize > self.max_image;
        if broken {
            effects.push(Effect::Count("image_too_large", 1, true));
        }
        self.image = Some(Image { start, bytes: Vec::new(), crc: None, broken });
    }

    fn chunk(&mut self, number: u32, offset: u32, bytes: &[u8], effects: &mut Vec<Effect>) {
        match &mut self.image {
            Some(image) if image.start.image == number => {
                let fits =
                    offset as usize == image.bytes.len() && image.bytes.len() + bytes.len() <= self.max_image;
                image.broken |= !fits;
                if image.broken {
                    image.bytes = Vec::new();
                } else {
                    image.bytes.extend_from_slice(bytes);
                    image.crc = Some(image_crc(image.crc, bytes));
                }
            }
            // Its beginning did not arrive.
            _ => {
                self.give_up(effects);
                let start =
                    CameraStart { image: number, camera: 0, at_us: 0, width: 0, height: 0, length: 0 };
                self.image = Some(Image { start, bytes: Vec::new(), crc: None, broken: true });
            }
        }
    }

    fn end(&mut self, number: u32, length: u32, crc: u32, now: Now, effects: &mut Vec<Effect>) {
        let whole = self.image.take_if(|image| {
            let complete = image.bytes.len() == length as usize && image.crc.unwrap_or(0) == crc;
            image.start.image == number && !image.broken && complete && length > 0
        });
        let Some(Image { start, bytes, .. }) = whole else {
            let was_coming = self.image.as_ref().is_some_and(|image| image.start.image == number);
            self.give_up(effects);
            if !was_coming {
                effects.extend([Effect::Count("image_incomplete", 1, true), Effect::Lost(Stream::Camera, 1)]);
            }
            return;
        };
        let (ts, clock) = self.clock.date(start.at_us, now);
        let some = |pixels: u16| Some(pixels).filter(|p| *p > 0);
        let body = Camera {
            camera_id: format!("{}{}", self.camera, start.camera),
            lat_e7: None,
            lon_e7: None,
            image: bytes,
            width: some(start.width),
            height: some(start.height),
        };
        effects.push(Effect::Reading(Reading { ts, clock, body: body.into() }));
    }

    /// The image that is coming in will not be whole any more.
    fn give_up(&mut self, effects: &mut Vec<Effect>) {
        if self.image.take().is_some() {
            effects.extend([Effect::Count("image_incomplete", 1, true), Effect::Lost(Stream::Camera, 1)]);
        }
    }
}

#[cfg(test)]
mod tests;
