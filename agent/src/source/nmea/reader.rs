//! Finds NMEA sentences in a stream of bytes and merges them into fixes: bytes in, fixes out, no I/O,
//! no clock, no allocation, and no panic whatever comes in.
//!
//! Around the sentences there may be anything: a receiver's binary protocol, line noise, the rest of a
//! sentence whose beginning was missed, comment lines of a recorded log.

use super::epoch::{Epoch, Fix};
use super::sentence::{Check, Sentence, check};

/// The longest sentence that is read, without `$` and line end. The standard says 80, receivers with
/// many digits send 110.
const MAX_SENTENCE: usize = 250;

/// The kinds of sentence that are read.
const SUMMED: [&[u8]; 7] = [b"RMC", b"GGA", b"GLL", b"GNS", b"VTG", b"GSA", b"ZDA"];

/// What the reader has met.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Sentences that were read, whether or not they matter here.
    pub sentences: u64,
    /// Sentences whose checksum did not fit.
    pub bad_checksums: u64,
    /// Sentences without a checksum that were refused, because this receiver sends them with one.
    pub missing_checksums: u64,
    /// Beginnings of sentences that broke off: too long, or with a byte that no sentence has.
    pub broken: u64,
    /// Bytes outside of sentences and comments.
    pub junk_bytes: u64,
    /// Fixes that went out.
    pub fixes: u64,
    /// Epochs in which the receiver said that it had none.
    pub without_fix: u64,
}

/// The reader of one stream.
pub struct Reader {
    state: State,
    line: [u8; MAX_SENTENCE],
    len: usize,
    epoch: Epoch,
    counts: Counts,
    /// The kinds of sentence that have come with a checksum that fits, a bit for each of [`SUMMED`].
    /// Until then those without one are taken, for the receivers and programs that write none;
    /// afterwards a missing one is damage.
    summed: u8,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// At the start of a line.
    LineStart,
    /// In something that is not a sentence.
    Junk,
    /// In a log's comment, a line that starts with `#`.
    Comment,
    /// Behind a `$`.
    Sentence,
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
            state: State::LineStart,
            line: [0; MAX_SENTENCE],
            len: 0,
            epoch: Epoch::default(),
            counts: Counts::default(),
            summed: 0,
        }
    }

    /// Reads bytes, however they are cut, and gives each fix that they complete. A fix is complete
    /// when the next epoch begins.
    pub fn push(&mut self, bytes: &[u8], mut out: impl FnMut(Fix)) {
        for &byte in bytes {
            if let Some(fix) = self.byte(byte) {
                self.counts.fixes += 1;
                out(fix);
            }
        }
    }

    /// Says that nothing has come for a while, much longer than the pauses inside an epoch, or that
    /// the stream has ended: what has been said so far is the epoch.
    pub fn pause(&mut self) -> Option<Fix> {
        let fix = self.epoch.close();
        self.counts.fixes += u64::from(fix.is_some());
        fix
    }

    /// Says that the stream has ended: a last line without its end counts.
    pub fn end(&mut self, mut out: impl FnMut(Fix)) {
        self.push(b"\n", &mut out);
        self.pause().into_iter().for_each(out);
    }

    /// What the reader has met so far.
    pub fn counts(&self) -> Counts {
        Counts { without_fix: self.epoch.without_fix(), ..self.counts }
    }

    fn byte(&mut self, byte: u8) -> Option<Fix> {
        match (self.state, byte) {
            (State::Sentence, b'\r' | b'\n') => {
                self.state = State::LineStart;
                return self.sentence();
            }
            // Two sentences run together: the first may still be whole.
            (State::Sentence, b'$') => {
                let whole = self.line[..self.len].contains(&b'*');
                self.counts.broken += u64::from(!whole);
                let fix = if whole { self.sentence() } else { None };
                self.len = 0;
                return fix;
            }
            // A comment may quote a sentence. Control bytes say that it is none but binary data.
            (State::Comment, b' '..=b'~' | b'\t' | 0x80..) => {}
            (_, b'$') => (self.state, self.len) = (State::Sentence, 0),
            (State::Sentence, b' '..=b'~') if self.len < MAX_SENTENCE => {
                self.line[self.len] = byte;
                self.len += 1;
            }
            (State::Sentence, _) => {
                self.counts.broken += 1;
                self.state = State::Junk;
            }
            (_, b'\r' | b'\n') => self.state = State::LineStart,
            (State::LineStart, b'#') => self.state = State::Comment,
            _ => {
                self.counts.junk_bytes += 1;
                self.state = State::Junk;
            }
        }
        None
    }

    fn sentence(&mut self) -> Option<Fix> {
        let (check, body) = check(&self.line[..self.len]);
        let kind = body.get(2..5).unwrap_or_default();
        let kind = SUMMED.iter().position(|k| *k == kind).map_or(0, |i| 1 << i);
        match check {
            Check::Good => self.summed |= kind,
            Check::Missing if self.summed & kind == 0 => {}
            Check::Missing => {
                self.counts.missing_checksums += 1;
                return None;
            }
            Check::Bad => {
                self.counts.bad_checksums += 1;
                return None;
            }
        }
        self.counts.sentences += 1;
        self.epoch.take(&Sentence::split(body))
    }
}

#[cfg(test)]
mod tests;
