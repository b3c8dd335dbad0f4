//! What waits for the line to the agent: fixes before images, in a stated room. What finds none is let
//! go, counted, and the count is said.
//!
//! A message gets its number when it leaves, so what was let go here is no hole in the numbers; what gets
//! lost on the line is. Of fixes the oldest go first: what a board has no room for is the past. An
//! image's parts wait one at a time, so an image never takes more room than [`CHUNK`].

use crate::camera::CHUNK;
use heapless::Deque;
use milepost_wire::link::{CameraStart, Dropped, Encoder, Fix, Hello, Lost, Message};

/// The most fixes that wait: 12 s of a receiver at 10 Hz.
pub const FIXES: usize = 128;
/// A buffer of this size takes every packet of a board: an image's part with its head, number and
/// checksum, byte stuffing, and what [`Encoder::encode`] wants beside.
pub const LINE: usize = CHUNK + 48;

/// The most answers that wait. An agent asks once in seconds.
const PONGS: usize = 4;
/// How often losses are said while there is other work.
const REPORT_US: u64 = 1_000_000;

/// A part of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part<'a> {
    /// It begins.
    Start(CameraStart),
    /// Some of its bytes.
    Bytes {
        /// The image's number.
        image: u32,
        /// Where they belong.
        offset: u32,
        /// They, at most [`CHUNK`].
        bytes: &'a [u8],
    },
    /// It ends. A length of 0 says that it will not become whole.
    End {
        /// The image's number.
        image: u32,
        /// Its length.
        length: u32,
        /// CRC-32C of all of it.
        crc: u32,
    },
}

/// Who a board is, for as long as it runs.
#[derive(Clone, Copy, Debug)]
pub struct Identity {
    /// The board, such as `pico`; at most 24 bytes.
    pub board: &'static str,
    /// The firmware's version; at most 16 bytes.
    pub firmware: &'static str,
    /// Drawn at each start.
    pub boot: u32,
}

/// What waits, and what was let go.
pub struct Outbox {
    identity: Identity,
    encoder: Encoder,
    hello: bool,
    pongs: Deque<u64, PONGS>,
    fixes: Deque<Fix, FIXES>,
    /// The part that waits; its bytes stand beside it.
    part: Option<Part<'static>>,
    bytes: heapless::Vec<u8, CHUNK>,
    lost: Counts,
    said: Counts,
    report_at_us: u64,
}

/// What was let go since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    fixes: u32,
    images: u32,
    sentences: u32,
    packets: u32,
}

impl Outbox {
    /// Begins with a hello.
    pub fn new(identity: Identity) -> Self {
        Self {
            identity,
            encoder: Encoder::new(),
            hello: true,
            pongs: Deque::new(),
            fixes: Deque::new(),
            part: None,
            bytes: heapless::Vec::new(),
            lost: Counts::default(),
            said: Counts::default(),
            report_at_us: 0,
        }
    }

    /// A hello is to be said, before anything else.
    pub fn hello(&mut self) {
        self.hello = true;
    }

    /// A ping of `host_us` is to be answered. One too many is not: the agent asks again.
    pub fn pong(&mut self, host_us: u64) {
        let _ = self.pongs.push_back(host_us);
    }

    /// Takes a fix. Where there is no room the oldest one goes.
    pub fn fix(&mut self, fix: Fix) {
        if self.fixes.is_full() {
            self.fixes.pop_front();
            self.lost.fixes = self.lost.fixes.saturating_add(1);
        }
        // There is room now.
        let _ = self.fixes.push_back(fix);
    }

    /// Whether a part of an image can be taken.
    pub fn has_room(&self) -> bool {
        self.part.is_none()
    }

    /// Takes a part of an image, where there is room. Gives whether it did.
    pub fn part(&mut self, part: Part<'_>) -> bool {
        if self.part.is_some() {
            return false;
        }
        self.bytes.clear();
        self.part = Some(match part {
            Part::Start(start) => Part::Start(start),
            Part::End { image, length, crc } => Part::End { image, length, crc },
            Part::Bytes { image, offset, bytes } => {
                if self.bytes.extend_from_slice(bytes).is_err() {
                    return false;
                }
                Part::Bytes { image, offset, bytes: &[] }
            }
        });
        true
    }

    /// Images were not taken, or not begun.
    pub fn lost_images(&mut self, count: u32) {
        self.lost.images = self.lost.images.saturating_add(count);
    }

    /// So many sentences of the receiver were not readable since the start.
    pub fn unreadable_sentences(&mut self, total: u64) {
        self.lost.sentences = u32::try_from(total).unwrap_or(u32::MAX);
    }

    /// So many packets from the agent were not readable since the start.
    pub fn unreadable_packets(&mut self, total: u64) {
        self.lost.packets = u32::try_from(total).unwrap_or(u32::MAX);
    }

    /// Packs what is to be sent next into `line`; gives its length, or `None` where nothing waits.
    pub fn next(&mut self, now_us: u64, line: &mut [u8; LINE]) -> Option<usize> {
        let encoded = match self.before_images(now_us) {
            Some(message) => self.encoder.encode(&message, line),
            None => self.encoder.encode(&message(self.part.take()?, &self.bytes), line),
        };
        // Every message of a board fits: a test packs the longest of each.
        encoded.ok()
    }

    fn before_images(&mut self, now_us: u64) -> Option<Message<'static>> {
        if core::mem::take(&mut self.hello) {
            return Some(Message::Hello(self.introduce(now_us)));
        }
        if let Some(host_us) = self.pongs.pop_front() {
            return Some(Message::Pong { host_us, board_us: now_us });
        }
        if now_us >= self.report_at_us
            && let Some((what, count)) = self.unsaid()
        {
            self.report_at_us = now_us + REPORT_US;
            return Some(Message::Dropped { what, count });
        }
        self.fixes.pop_front().map(Message::Gps)
    }

    /// A hello says all that was let go, but not which packets.
    fn introduce(&mut self, now_us: u64) -> Hello<'static> {
        self.said = Counts { packets: self.said.packets, ..self.lost };
        let Identity { board, firmware, boot } = self.identity;
        let Counts { fixes, images, sentences, .. } = self.lost;
        let (version, lost) = (milepost_wire::version::LINK, Lost { fixes, images, sentences });
        Hello { version, board, firmware, boot, at_us: now_us, lost }
    }

    /// What was let go and not said yet.
    fn unsaid(&mut self) -> Option<(Dropped, u32)> {
        let (lost, said) = (self.lost, &mut self.said);
        for (what, lost, said) in [
            (Dropped::Fixes, lost.fixes, &mut said.fixes),
            (Dropped::Images, lost.images, &mut said.images),
            (Dropped::Sentences, lost.sentences, &mut said.sentences),
            (Dropped::Packets, lost.packets, &mut said.packets),
        ] {
            let count = lost.saturating_sub(*said);
            if count > 0 {
                *said = lost;
                return Some((what, count));
            }
        }
        None
    }
}

fn message<'a>(part: Part<'a>, bytes: &'a [u8]) -> Message<'a> {
    match part {
        Part::Start(start) => Message::CameraStart(start),
        Part::Bytes { image, offset, .. } => Message::CameraChunk { image, offset, bytes },
        Part::End { image, length, crc } => Message::CameraEnd { image, length, crc },
    }
}

#[cfg(test)]
mod tests;
