//! Finds the speed of a receiver's line. At another speed than its own, a line gives bytes but no
//! sentence; then the next usual speed is tried, until something can be read.

use super::reader::Counts;

/// The speeds that receivers are sold with, the usual ones first.
pub const SPEEDS: [u32; 6] = [9_600, 115_200, 38_400, 57_600, 4_800, 230_400];

/// How long a speed is tried. Receivers speak every second, some every ten while they have no fix, but
/// then they send nothing that would be taken for noise either.
const TRIAL_US: u64 = 2_500_000;
/// Fewer unreadable bytes than this are noise on a line that is silent.
const NOISE: u64 = 32;

/// The state of the search.
pub struct BaudHunt {
    at: usize,
    /// What had been read when the trial began.
    read: u64,
    junk: u64,
    since_us: u64,
}

impl BaudHunt {
    /// Begins with the first of [`SPEEDS`].
    pub fn new(now_us: u64) -> Self {
        Self { at: 0, read: 0, junk: 0, since_us: now_us }
    }

    /// The speed that is being tried, or was found.
    pub fn baud(&self) -> u32 {
        SPEEDS[self.at]
    }

    /// Looks at what the reader has met, and at the bytes that the line itself found broken. Gives the
    /// speed to change to, where it is time to.
    pub fn look(&mut self, counts: &Counts, broken_bytes: u64, now_us: u64) -> Option<u32> {
        let read = counts.sentences + counts.binary;
        let junk = counts.junk_bytes + counts.unreadable() + broken_bytes;
        if read > self.read {
            (self.read, self.junk, self.since_us) = (read, junk, now_us);
            return None;
        }
        if now_us.saturating_sub(self.since_us) < TRIAL_US {
            return None;
        }
        let noisy = junk - self.junk >= NOISE;
        (self.junk, self.since_us) = (junk, now_us);
        if !noisy {
            return None;
        }
        self.at = (self.at + 1) % SPEEDS.len();
        Some(self.baud())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(sentences: u64, junk_bytes: u64) -> Counts {
        Counts { sentences, junk_bytes, ..Counts::default() }
    }

    #[test]
    fn junk_without_a_sentence_leads_to_the_next_speed_and_round() {
        let (mut hunt, mut tried) = (BaudHunt::new(0), Vec::new());
        for i in 1..=SPEEDS.len() as u64 {
            assert_eq!(hunt.look(&counts(0, i * 100), 0, i * TRIAL_US - 1), None);
            tried.extend(hunt.look(&counts(0, i * 100), 0, i * TRIAL_US));
        }
        assert_eq!(tried, [&SPEEDS[1..], &SPEEDS[..1]].concat());
    }

    #[test]
    fn a_line_that_is_read_or_silent_keeps_its_speed() {
        let mut hunt = BaudHunt::new(0);
        for i in 1..100 {
            assert_eq!(hunt.look(&counts(i, i * 50), 0, i * 1_000_000), None, "read, between junk");
        }
        for i in 100..200 {
            assert_eq!(hunt.look(&counts(99, 4_950), 0, i * 1_000_000), None, "silent");
        }
        assert_eq!(hunt.look(&counts(99, 4_950), 1_000, 300_000_000), Some(SPEEDS[1]), "broken bytes count");
    }
}
