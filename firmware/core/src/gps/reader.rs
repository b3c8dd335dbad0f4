//! The reader of one receiver: finds out whether it speaks NMEA or u-blox's binary protocol.
//!
//! A receiver that sends both says the same moment twice. Its sentences are read, and its binary
//! messages are left alone until [`UNANSWERED`] of them in a row came without a sentence that says time
//! and place. A moment that went out already does not go out again.

use super::fix::Fix;
use super::nmea::Nmea;
use super::ubx::{self, Judged, MAX_MESSAGE};

/// So many binary messages without a sentence between them, and the receiver speaks binary.
const UNANSWERED: u32 = 3;

/// What the reader has met.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Sentences that were read, whether or not they matter here.
    pub sentences: u64,
    /// Sentences and binary messages whose checksum did not fit.
    pub bad_checksums: u64,
    /// Sentences that were refused because they have no checksum: nothing says that they are whole.
    pub missing_checksums: u64,
    /// Beginnings of sentences that broke off: too long, or with a byte that no sentence has.
    pub broken: u64,
    /// Bytes outside of sentences, binary positions and comments.
    pub junk_bytes: u64,
    /// Binary messages that say a position or that there is none.
    pub binary: u64,
    /// Fixes that went out.
    pub fixes: u64,
    /// Epochs in which the receiver said that it had none.
    pub without_fix: u64,
}

impl Counts {
    /// Sentences that came and could not be read.
    pub fn unreadable(&self) -> u64 {
        self.bad_checksums + self.missing_checksums + self.broken
    }
}

/// The reader of one stream.
pub struct Reader {
    nmea: Nmea,
    /// Binary messages are looked for too.
    binary: bool,
    /// The beginning of what may be a binary message.
    held: heapless::Vec<u8, MAX_MESSAGE>,
    held_since_us: u64,
    /// Sentences of time and place when the last binary message came.
    timed: u64,
    /// Binary messages since then.
    unanswered: u32,
    /// The moment of the last fix that went out of a binary message.
    emitted: Option<(Option<i64>, u64)>,
    /// What [`Nmea`] does not count.
    counts: Counts,
}

impl Default for Reader {
    fn default() -> Self {
        Self::new()
    }
}

impl Reader {
    /// A reader that has seen nothing.
    pub fn new() -> Self {
        Self {
            nmea: Nmea::new(),
            binary: true,
            held: heapless::Vec::new(),
            held_since_us: 0,
            timed: 0,
            unanswered: 0,
            emitted: None,
            counts: Counts::default(),
        }
    }

    /// A reader to which everything but sentences is junk, for what is known to be NMEA.
    pub fn of_sentences() -> Self {
        Self { binary: false, ..Self::new() }
    }

    /// Reads bytes, however they are cut, and gives each fix that they complete. In NMEA, a fix is
    /// complete when the next epoch begins.
    pub fn push(&mut self, bytes: &[u8], out: impl FnMut(Fix)) {
        self.push_at(bytes, 0, out);
    }

    /// The same, of bytes that came at `at_us` by the reader's clock: see [`Fix::came_us`].
    pub fn push_at(&mut self, mut bytes: &[u8], at_us: u64, mut out: impl FnMut(Fix)) {
        loop {
            if self.held.is_empty() {
                let sync = bytes.iter().position(|b| *b == ubx::SYNC).filter(|_| self.binary);
                let text = sync.unwrap_or(bytes.len());
                self.text(&bytes[..text], at_us, &mut out);
                bytes = &bytes[text..];
            }
            let Some((&byte, rest)) = bytes.split_first() else { return };
            bytes = rest;
            self.binary(byte, at_us, &mut out);
        }
    }

    /// Says that nothing has come for a while, much longer than the pauses inside an epoch, or that
    /// the stream has ended: what has been said so far is the epoch.
    pub fn pause(&mut self, mut out: impl FnMut(Fix)) {
        let held = core::mem::take(&mut self.held);
        self.text(&held, self.held_since_us, &mut out);
        if let Some(fix) = self.nmea.pause() {
            self.emit(fix, &mut out);
        }
    }

    /// Says that the stream has ended: a last line without its end counts.
    pub fn end(&mut self, mut out: impl FnMut(Fix)) {
        self.push(b"\n", &mut out);
        self.pause(out);
    }

    /// What the reader has met so far.
    pub fn counts(&self) -> Counts {
        let (text, own) = (self.nmea.counts(), self.counts);
        Counts {
            bad_checksums: text.bad_checksums + own.bad_checksums,
            binary: own.binary,
            fixes: own.fixes,
            without_fix: text.without_fix + own.without_fix,
            ..text
        }
    }

    fn text(&mut self, bytes: &[u8], at_us: u64, out: &mut impl FnMut(Fix)) {
        let (emitted, fixes) = (self.emitted, &mut self.counts.fixes);
        self.nmea.push(bytes, at_us, |fix| {
            if !is_again(emitted, &fix) {
                *fixes += 1;
                out(fix);
            }
        });
    }

    fn binary(&mut self, byte: u8, at_us: u64, out: &mut impl FnMut(Fix)) {
        if self.held.is_empty() {
            self.held_since_us = at_us;
        }
        // There is room: what is as long as the longest message has been judged.
        let _ = self.held.push(byte);
        loop {
            match ubx::judge(&self.held) {
                Judged::Beginning => return,
                Judged::Whole(length) => {
                    let fix = ubx::fix(&self.held, self.held_since_us);
                    self.position(fix, out);
                    self.hold_from(length, out);
                }
                judged => {
                    self.counts.bad_checksums += u64::from(judged == Judged::Damaged);
                    self.text(&[ubx::SYNC], self.held_since_us, out);
                    self.hold_from(1, out);
                }
            }
        }
    }

    /// Lets go of the first bytes that were held, and hands on as text what comes before the next byte
    /// with which a message may begin.
    fn hold_from(&mut self, done: usize, out: &mut impl FnMut(Fix)) {
        let held = core::mem::take(&mut self.held);
        let rest = &held[done..];
        let next = rest.iter().position(|b| *b == ubx::SYNC).unwrap_or(rest.len());
        self.text(&rest[..next], self.held_since_us, out);
        // It came out of a vector of the same size.
        let _ = self.held.extend_from_slice(&rest[next..]);
    }

    fn position(&mut self, fix: Option<Fix>, out: &mut impl FnMut(Fix)) {
        self.counts.binary += 1;
        let silent = self.nmea.timed() == self.timed;
        self.unanswered = if silent { self.unanswered.saturating_add(1) } else { 0 };
        let never = self.nmea.timed() == 0;
        self.timed = self.nmea.timed();
        if !never && self.unanswered < UNANSWERED {
            return;
        }
        if let Some(fix) = self.nmea.pause() {
            self.emit(fix, out);
        }
        match fix {
            None => self.counts.without_fix += 1,
            Some(fix) => {
                let moment = fix.time_of_day.map(|time| (fix.day, time));
                self.emit(fix, out);
                self.emitted = moment;
            }
        }
    }

    fn emit(&mut self, fix: Fix, out: &mut impl FnMut(Fix)) {
        if !is_again(self.emitted, &fix) {
            self.counts.fixes += 1;
            out(fix);
        }
    }
}

/// Whether a moment went out already. A date may have been missing where the time was known.
fn is_again(emitted: Option<(Option<i64>, u64)>, fix: &Fix) -> bool {
    let Some(((day, time), now)) = emitted.zip(fix.time_of_day) else { return false };
    // Sentences say milliseconds, the binary message nanoseconds.
    time.abs_diff(now) < 1_000_000 && (day.is_none() || fix.day.is_none() || day == fix.day)
}

#[cfg(test)]
mod tests;
