//! What a board knows and decides: what the agent said, which fixes and images are due, and what leaves
//! by which line. No I/O and no clock: time is an argument.

use crate::camera;
use crate::gps::{self, calendar};
use crate::outbox::{Identity, LINE, Outbox, Part};
use milepost_wire::link::{CameraStart, Config, Counters, Decoder, Fix, Message, image_crc};

/// How a board works until an agent says otherwise: each fix that the receiver gives, a small image a
/// second.
pub const DEFAULTS: Config =
    Config { fix_every_ms: 1, image_every_ms: 1_000, width: 320, height: 240, quality: 80 };

/// The number of a board's only camera.
const CAMERA: u8 = 0;
/// No fix is older than this firmware; one that seems to be is dated by a receiver whose count of weeks
/// has rolled over.
const NOT_BEFORE: (i64, u32, u32) = (2026, 1, 1);
/// An agent asks at least every 10 s. One that was not heard for so long is not there.
const HEARD_US: u64 = 30_000_000;

/// The lines by which an agent can be reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Line {
    /// The serial line.
    #[default]
    Uart,
    /// USB.
    Usb,
}

/// The state of a board.
pub struct Station {
    config: Config,
    outbox: Outbox,
    decoders: [Decoder; 2],
    /// Where an agent was heard last: there it is spoken to.
    line: Line,
    heard_at_us: Option<u64>,
    fix_at_us: Option<u64>,
    fix_due_us: u64,
    image_due_us: u64,
    image: u32,
    /// Of the image that is going out: how many bytes have gone, and their checksum.
    going: Option<(u32, Option<u32>)>,
    /// A camera has given an image: from now on it is missed.
    has_camera: bool,
}

impl Station {
    /// A board that has just started.
    pub fn new(identity: Identity) -> Self {
        Self {
            config: DEFAULTS,
            outbox: Outbox::new(identity),
            decoders: [const { Decoder::new() }; 2],
            line: Line::default(),
            heard_at_us: None,
            fix_at_us: None,
            fix_due_us: 0,
            image_due_us: 0,
            image: 0,
            going: None,
            has_camera: false,
        }
    }

    /// How it works.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Takes what came by a line. Gives whether something is to be answered.
    pub fn heard(&mut self, line: Line, mut bytes: &[u8], now_us: u64) -> bool {
        let mut answer = false;
        while let Some(received) = self.decoders[line as usize].next(&mut bytes) {
            match received.map(|received| received.message) {
                Ok(Message::Identify) => self.outbox.hello(),
                Ok(Message::Ping { host_us }) => self.outbox.pong(host_us),
                Ok(Message::Configure(config)) => self.configure(config, now_us),
                // An echo of the board's own words, or noise.
                Ok(_) | Err(_) => continue,
            }
            if line != self.line {
                self.line = line;
                self.outbox.hello();
            }
            self.heard_at_us = Some(now_us);
            answer = true;
        }
        let refused = |Counters { refused, .. }| refused;
        self.outbox.unreadable_packets(self.decoders.iter().map(|d| refused(d.counters())).sum());
        answer
    }

    fn configure(&mut self, config: Config, now_us: u64) {
        self.config = config;
        (self.fix_due_us, self.image_due_us) = (now_us, now_us);
    }

    /// Takes what the receiver said. Fixes that come sooner than they are wanted are no loss.
    pub fn fix(&mut self, fix: &gps::Fix) {
        let every_us = u64::from(self.config.fix_every_ms) * 1_000;
        self.fix_at_us = Some(fix.came_us);
        // A quarter of the time early is in time: a receiver's fixes come at slightly uneven times.
        if every_us == 0 || fix.came_us + every_us / 4 < self.fix_due_us {
            return;
        }
        self.fix_due_us = (self.fix_due_us + every_us).max(fix.came_us + every_us / 2);
        self.outbox.fix(Fix {
            at_us: fix.came_us,
            utc_us: utc(fix),
            lat_e7: fix.lat_e7,
            lon_e7: fix.lon_e7,
            altitude_cm: fix.altitude_cm,
            speed_mm_s: fix.speed_mm_s,
            heading_cdeg: fix.heading_cdeg,
            fix: fix.quality,
            satellites: fix.satellites,
            hdop_e2: fix.hdop_e2,
        });
    }

    /// So many sentences of the receiver were not readable since the start.
    pub fn unreadable_sentences(&mut self, total: u64) {
        self.outbox.unreadable_sentences(total);
    }

    /// Whether an image is to be taken now. Those that were due while nobody could take them are lost.
    pub fn image_is_due(&mut self, now_us: u64) -> bool {
        let every_us = u64::from(self.config.image_every_ms) * 1_000;
        if every_us == 0 || now_us < self.image_due_us {
            return false;
        }
        let passed = (now_us - self.image_due_us) / every_us;
        self.lost_images(passed);
        self.image_due_us += (passed + 1) * every_us;
        true
    }

    /// Images are not taken, because the camera failed: those that are due by now are lost.
    pub fn images_are_missed(&mut self, now_us: u64) {
        if self.image_is_due(now_us) {
            self.lost_images(1);
        }
    }

    /// A camera that was never there is not missed.
    fn lost_images(&mut self, count: u64) {
        if self.has_camera {
            self.outbox.lost_images(u32::try_from(count).unwrap_or(u32::MAX));
        }
    }

    /// Whether a part of an image can be taken: until then the camera waits.
    pub fn has_room(&self) -> bool {
        self.outbox.has_room()
    }

    /// An image begins.
    pub fn image_begins(&mut self, image: camera::Image) {
        let camera::Image { at_us, width, height, length } = image;
        let start = CameraStart { image: self.image, camera: CAMERA, at_us, width, height, length };
        self.has_camera = true;
        self.going = Some((0, None));
        self.put(Part::Start(start));
    }

    /// Bytes of it.
    pub fn image_bytes(&mut self, bytes: &[u8]) {
        let Some((offset, crc)) = self.going else { return };
        self.going = Some((offset + bytes.len() as u32, Some(image_crc(crc, bytes))));
        self.put(Part::Bytes { image: self.image, offset, bytes });
    }

    /// It is complete.
    pub fn image_ends(&mut self) {
        if let Some((length, crc)) = self.going.take() {
            self.put(Part::End { image: self.image, length, crc: crc.unwrap_or(0) });
            self.image += 1;
        }
    }

    /// The camera failed. An image that had begun is said not to become whole, and so is lost; one that
    /// had not is counted.
    pub fn image_fails(&mut self, taking: bool) {
        if self.going.take().is_some() {
            self.put(Part::End { image: self.image, length: 0, crc: 0 });
            self.image += 1;
        } else if taking {
            self.lost_images(1);
        }
    }

    /// Parts are made where there is room; one that is made without is a hole in the image, which the
    /// agent sees.
    fn put(&mut self, part: Part<'_>) {
        let _ = self.outbox.part(part);
    }

    /// Packs what is to be sent next; gives by which line and how long it is.
    pub fn next(&mut self, now_us: u64, buffer: &mut [u8; LINE]) -> Option<(Line, usize)> {
        self.outbox.next(now_us, buffer).map(|n| (self.line, n))
    }

    /// Whether an agent is there.
    pub fn is_heard(&self, now_us: u64) -> bool {
        self.heard_at_us.is_some_and(|at| now_us.saturating_sub(at) < HEARD_US)
    }

    /// When the last fix came.
    pub fn fix_at_us(&self) -> Option<u64> {
        self.fix_at_us
    }
}

/// The receiver's UTC, µs since 1970, where it knows time and date.
fn utc(fix: &gps::Fix) -> Option<i64> {
    let (year, month, day) = NOT_BEFORE;
    let first = calendar::days(year, month, day)?;
    let day = calendar::after_rollovers(fix.day?, first);
    Some(day * calendar::DAY_S * 1_000_000 + i64::try_from(fix.time_of_day? / 1_000).ok()?)
}

#[cfg(test)]
mod tests;
