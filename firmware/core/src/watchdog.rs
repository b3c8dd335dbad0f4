//! Whether every part of the board still works: the hardware's watchdog is fed only while each has said so
//! lately. A part that waits for the outside (a silent receiver, an agent that does not read) says so too;
//! one that is caught in a loop or in a bus that does not answer does not, and the board starts again.

/// The parts that must say that they work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Reads the receiver.
    Gps,
    /// Steps the camera.
    Camera,
    /// Sends to the agent.
    Send,
}

const PARTS: usize = 3;
/// Each part says so at least every second.
const SILENT_US: u64 = 4_000_000;

/// When each part was last known to work.
#[derive(Clone, Copy, Debug)]
pub struct Watchdog([u64; PARTS]);

impl Watchdog {
    /// At the start all do.
    pub fn new(now_us: u64) -> Self {
        Self([now_us; PARTS])
    }

    /// A part works.
    pub fn works(&mut self, part: Part, now_us: u64) {
        self.0[part as usize] = now_us;
    }

    /// Whether all do.
    pub fn all_work(&self, now_us: u64) -> bool {
        self.0.iter().all(|at| now_us.saturating_sub(*at) < SILENT_US)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_silent_part_is_enough() {
        for silent in [Part::Gps, Part::Camera, Part::Send] {
            let mut watchdog = Watchdog::new(0);
            for part in [Part::Gps, Part::Camera, Part::Send].into_iter().filter(|p| *p != silent) {
                watchdog.works(part, 3_000_000);
            }
            assert!(watchdog.all_work(3_999_999));
            assert!(!watchdog.all_work(4_000_000), "{silent:?} is silent");
            watchdog.works(silent, 4_000_000);
            assert!(watchdog.all_work(4_000_000));
        }
    }
}
