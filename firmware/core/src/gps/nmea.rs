//! Finds NMEA sentences in a stream of bytes and merges them into fixes.
//!
//! Around the sentences there may be anything: a receiver's binary protocol, line noise, the rest of a
//! sentence whose beginning was missed, comment lines of a recorded log.

use super::epoch::Epoch;
use super::fix::Fix;
use super::reader::Counts;
use super::sentence::{Check, Sentence, check};

/// The longest sentence that is read, without `$` and line end. The standard says 80, receivers with
/// many digits send 110.
const MAX_SENTENCE: usize = 250;

/// The reader of one stream's sentences.
pub(super) struct Nmea {
    state: State,
    /// When the sentence began that is being read.
    came_us: u64,
    line: [u8; MAX_SENTENCE],
    len: usize,
    epoch: Epoch,
    counts: Counts,
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

impl Nmea {
    pub(super) fn new() -> Self {
        Self {
            state: State::LineStart,
            came_us: 0,
            line: [0; MAX_SENTENCE],
            len: 0,
            epoch: Epoch::default(),
            counts: Counts::default(),
        }
    }

    /// Reads bytes, however they are cut, that came at `at_us`, and gives each fix that they complete.
    /// A fix is complete when the next epoch begins.
    pub(super) fn push(&mut self, bytes: &[u8], at_us: u64, mut out: impl FnMut(Fix)) {
        for &byte in bytes {
            if let Some(fix) = self.byte(byte, at_us) {
                out(fix);
            }
        }
    }

    /// What has been said so far is the epoch.
    pub(super) fn pause(&mut self) -> Option<Fix> {
        self.epoch.close()
    }

    /// What has been met so far; fixes are counted by whoever hands them out.
    pub(super) fn counts(&self) -> Counts {
        Counts { without_fix: self.epoch.without_fix(), ..self.counts }
    }

    /// Sentences that said time and place, whether or not there was a fix.
    pub(super) fn timed(&self) -> u64 {
        self.epoch.timed()
    }

    fn byte(&mut self, byte: u8, at_us: u64) -> Option<Fix> {
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
                (self.len, self.came_us) = (0, at_us);
                return fix;
            }
            // A comment may quote a sentence. Control bytes say that it is none but binary data.
            (State::Comment, b' '..=b'~' | b'\t' | 0x80..) => {}
            (_, b'$') => (self.state, self.len, self.came_us) = (State::Sentence, 0, at_us),
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
        match check {
            Check::Good => {}
            // It may have been cut off, and with it digits of a position. gpsd refuses it too.
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
        self.epoch.take(&Sentence::split(body), self.came_us)
    }
}
