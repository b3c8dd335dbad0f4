//! Holds vehicles back before a partition of the mock Kafka could be full.
//!
//! What the proxy has let through and the tap has not seen in Kafka yet may come to any one partition.
//! So the gate lets bytes through only while they would fit into the fullest partition together with
//! all that is unseen: nothing can be dropped, however fast vehicles send. Bytes that never arrive, of
//! a connection that was cut, are forgiven when everything has been still for a while; where that does
//! not help, the partition is full.

use super::kafka::KEPT;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What a partition may hold: the rest is for what Kafka adds to small frames.
const FULL: u64 = KEPT * 7 / 10;
/// The most bytes that ask at a time.
pub(crate) const CHUNK: usize = 16 << 10;
/// After so long without a change nothing is under way.
const STILL: Duration = Duration::from_secs(1);

/// What the tap has seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Bytes of all frames, as they travel in MQTT.
    pub mqtt_bytes: u64,
    /// The fullest partition: topic, number and bytes.
    pub fullest: (String, i32, u64),
}

/// A partition has no room for what vehicles still have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "Partition {partition} of the Kafka topic {topic} holds {bytes} bytes. The demo's Kafka keeps {KEPT} bytes a \
     partition and then drops silently, so the demo stops here. What the vehicles have not sent waits in their \
     spools: run the demo again to send it. To come through in one run, take fewer --minutes or a shorter --replay"
)]
pub(crate) struct Full {
    pub topic: String,
    pub partition: i32,
    pub bytes: u64,
}

/// The gate.
#[derive(Debug, Default)]
pub(crate) struct Gate(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    seen: Seen,
    /// Bytes let through.
    passed: u64,
    /// Somebody was held back since the last change.
    held: bool,
    /// What was the case at the last change, and when it was.
    last: (u64, u64, Duration),
    /// What the tap had seen when bytes were forgiven while somebody was held back.
    forgiven: Option<u64>,
}

impl Gate {
    /// Lets `bytes`, at most [`CHUNK`], through, or not now.
    pub(crate) fn pass(&self, bytes: usize) -> bool {
        let mut state = self.lock();
        let unseen = state.passed.saturating_sub(state.seen.mqtt_bytes);
        let fits = state.seen.fullest.2 + unseen + bytes as u64 <= FULL;
        match fits {
            true => state.passed += bytes as u64,
            false => state.held = true,
        }
        fits
    }

    /// Takes what the tap has seen at `now`, and says whether vehicles are held back for good.
    pub(crate) fn look(&self, seen: Seen, now: Duration) -> Result<(), Full> {
        let mut state = self.lock();
        state.seen = seen;
        let at = (state.passed, state.seen.mqtt_bytes);
        if (state.last.0, state.last.1) != at {
            state.last = (at.0, at.1, now);
            state.held = false;
            return Ok(());
        }
        if now.saturating_sub(state.last.2) < STILL {
            return Ok(());
        }
        let seen = state.seen.mqtt_bytes;
        // What was forgiven did not help: the room that is left is too small for the frames that wait.
        let stuck = state.forgiven == Some(seen) || state.seen.fullest.2 + CHUNK as u64 > FULL;
        if state.held && stuck {
            let (topic, partition, bytes) = state.seen.fullest.clone();
            return Err(Full { topic, partition, bytes });
        }
        if state.held {
            state.forgiven = Some(seen);
        }
        state.passed = seen;
        state.last.0 = seen;
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(mqtt_bytes: u64, bytes: u64) -> Seen {
        Seen { mqtt_bytes, fullest: ("camera_data".into(), 3, bytes) }
    }

    fn secs(s: u64) -> Duration {
        Duration::from_secs(s)
    }

    /// Passes as much as goes.
    fn fill(gate: &Gate) -> u64 {
        (0..).take_while(|_| gate.pass(CHUNK)).count() as u64 * CHUNK as u64
    }

    #[test]
    fn no_more_than_a_partition_holds_is_under_way() {
        let gate = Gate::default();
        let first = fill(&gate);
        assert!(first <= FULL && first + CHUNK as u64 > FULL);
        // All of it arrives, in many partitions: there is room again for what the fullest one has not.
        gate.look(seen(first, 1 << 20), secs(1)).unwrap();
        let second = fill(&gate);
        assert!(second + (1 << 20) <= FULL && second + (1 << 20) + CHUNK as u64 > FULL);
    }

    #[test]
    fn a_partition_that_is_full_stops_the_demo_once_all_is_still() {
        let gate = Gate::default();
        let all = fill(&gate);
        assert_eq!(gate.look(seen(all / 2, all / 2), secs(1)), Ok(()));
        assert_eq!(gate.look(seen(all, all), secs(2)), Ok(()));
        assert!(!gate.pass(CHUNK));
        assert_eq!(gate.look(seen(all, all), secs(2)), Ok(()));
        let full = gate.look(seen(all, all), secs(4)).unwrap_err();
        assert_eq!((full.partition, full.bytes), (3, all));
        assert!(full.bytes < KEPT);
    }

    #[test]
    fn bytes_that_were_cut_off_are_forgiven() {
        let gate = Gate::default();
        let all = fill(&gate);
        gate.look(seen(0, 0), secs(1)).unwrap();
        assert!(!gate.pass(CHUNK));
        assert_eq!(gate.look(seen(0, 0), secs(3)), Ok(()));
        assert_eq!(fill(&gate), all);
    }

    #[test]
    fn a_frame_that_does_not_fit_into_the_room_that_is_left_stops_the_demo() {
        let gate = Gate::default();
        let whole = fill(&gate) - 5 * CHUNK as u64;
        let mut now = 0;
        // The rest is the beginning of a frame, which the tap never sees.
        let stopped = (0..10).find_map(|_| {
            now += 2;
            let stopped = gate.look(seen(whole, whole), secs(now)).err();
            fill(&gate);
            stopped
        });
        assert_eq!(stopped.expect("it stops").bytes, whole);
    }

    #[test]
    fn a_full_partition_is_no_trouble_when_nobody_wants_to_send() {
        let gate = Gate::default();
        gate.look(seen(FULL, FULL), secs(1)).unwrap();
        assert_eq!(gate.look(seen(FULL, FULL), secs(9)), Ok(()));
    }
}
