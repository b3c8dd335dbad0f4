//! Says what keeps the chain from writing, such as a full disk, for as long as it does. Spools and sink
//! try again by themselves: the demo goes on when there is room.

use std::time::{Duration, Instant};

/// Between two times that the same is said.
const AGAIN: Duration = Duration::from_secs(10);

/// What a sink has failed at so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Failures {
    /// How often.
    pub count: u64,
    /// The newest in words.
    pub newest: Option<String>,
}

/// What was said already.
#[derive(Debug, Default)]
pub(crate) struct Trouble {
    failures: u64,
    said: Option<Instant>,
}

impl Trouble {
    /// What there is to say at `now`: of a spool, what is wrong with its disk, and of the sink, what it
    /// has failed at.
    pub(crate) fn step(&mut self, now: Instant, spool: Option<String>, sink: Failures) -> Option<String> {
        let failed = sink.count > std::mem::replace(&mut self.failures, sink.count);
        let lake = sink.newest.filter(|_| failed).map(|why| format!("The lake cannot be written ({why})"));
        let what = spool.or(lake)?;
        if self.said.is_some_and(|at| now.saturating_duration_since(at) < AGAIN) {
            return None;
        }
        self.said = Some(now);
        Some(format!("{what}. It is tried again until it works"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_is_said_while_it_lasts_and_not_too_often() {
        let (mut trouble, start) = (Trouble::default(), Instant::now());
        let mut step = |second: u64, spool: Option<&str>, count: u64| {
            let sink = Failures { count, newest: (count > 0).then(|| "disk full".into()) };
            trouble.step(start + Duration::from_secs(second), spool.map(str::to_owned), sink)
        };
        assert_eq!(step(0, None, 0), None);
        let said = step(1, None, 1).expect("the first failure");
        assert_eq!(said, "The lake cannot be written (disk full). It is tried again until it works");
        assert_eq!(step(2, None, 2), None, "said a second ago");
        assert!(step(12, None, 3).is_some(), "it lasts");
        assert_eq!(step(30, None, 3), None, "it works again");
        assert!(step(31, Some("Vehicle van-01: no room"), 3).is_some_and(|said| said.contains("van-01")));
    }
}
