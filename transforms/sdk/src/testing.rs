//! Runs a transform natively, in an ordinary test, with what the agent has around it: stored keys and their
//! quota, the logical clock, a log, counters, and a fresh transform with the last state after a failure. A
//! panic ends the test, where the agent would set the reading aside.

use crate::bindings::milepost::transform::types::{Kept, Output};
use crate::run::{Registered, Runner};
use crate::{Batch, Camera, Column, Derived, Emergency, Gps, Level, Row, Vehicle, Weather};
use stand_in::Agent;
use std::cell::RefCell;

/// A transform with everything around it that the agent has.
pub struct Bench<T> {
    runner: Runner<T>,
    params: Vec<(String, String)>,
    snapshot: Vec<u8>,
    agent: RefCell<Agent>,
}

/// What became of a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome<R> {
    /// The indices of the readings that go on as they are.
    pub kept: Vec<usize>,
    /// All rows of the same stream that go on, kept and put in, in order.
    pub rows: Vec<R>,
    /// How many were taken out, with nothing in their place.
    pub taken_out: usize,
    /// The derived rows, by stream.
    pub derived: Vec<Derived>,
}

/// A method of [`Bench`] for each built-in stream.
macro_rules! each {
    ($($(#[$doc:meta])* $method:ident: $reading:ident,)*) => {$(
        $(#[$doc])*
        pub fn $method(&mut self, readings: impl IntoIterator<Item = $reading>) -> Outcome<$reading> {
            let rows: Vec<$reading> = readings.into_iter().collect();
            let output = self.process(Batch::$reading(rows.clone())).unwrap_or_else(|e| panic!("{e}"));
            outcome(rows, output, |batch| if let Batch::$reading(rows) = batch { rows } else { Vec::new() })
        }
    )*};
}

impl<T: Registered> Bench<T> {
    /// Starts a transform; panics with its message where it refuses the parameters.
    pub fn new(params: &[(&str, &str)]) -> Self {
        Self::try_new(params).unwrap_or_else(|e| panic!("{e}"))
    }

    /// Starts a transform, or gives the message with which it refuses the parameters.
    pub fn try_new(params: &[(&str, &str)]) -> Result<Self, String> {
        let params: Vec<_> = params.iter().map(|(k, v)| (String::from(*k), String::from(*v))).collect();
        let (runner, agent) = stand_in::with(Agent::default(), || Runner::init(params.clone()));
        let runner = runner?.0;
        Ok(Self { snapshot: runner.snapshot(), runner, params, agent: agent.into() })
    }

    /// Calls the transform. Where it fails nothing of the call counts, and a fresh one takes over its state.
    fn call<R>(&mut self, call: impl FnOnce(&mut Runner<T>) -> Result<R, String>) -> Result<R, String> {
        let before = self.agent.borrow().clone();
        let (result, after) = stand_in::with(self.agent.take(), || call(&mut self.runner));
        if result.is_ok() {
            self.agent = after.into();
            if T::KEEPS_STATE {
                self.snapshot = self.runner.snapshot();
            }
            return result;
        }
        let before = Agent { log: after.log, ..before };
        let (fresh, agent) = stand_in::with(before, || Self::start(&self.params, self.snapshot.clone()));
        (self.runner, self.agent) = (fresh?, agent.into());
        result
    }

    fn start(params: &[(String, String)], snapshot: Vec<u8>) -> Result<Runner<T>, String> {
        let mut runner = Runner::init(params.to_vec())?.0;
        if T::KEEPS_STATE {
            runner.restore(snapshot)?;
        }
        Ok(runner)
    }

    each! {
        /// Runs a batch of fixes; panics where the transform fails.
        gps: Gps,
        /// Runs a batch of vehicle readings; panics where the transform fails.
        vehicle: Vehicle,
        /// Runs a batch of images; panics where the transform fails.
        camera: Camera,
        /// Runs a batch of weather readings; panics where the transform fails.
        weather: Weather,
        /// Runs a batch of incidents' steps; panics where the transform fails.
        emergency: Emergency,
    }

    /// Runs rows of a derived stream, which has these columns; panics where the transform fails.
    pub fn derived(
        &mut self,
        stream: &str,
        columns: &[Column],
        rows: impl IntoIterator<Item = Row>,
    ) -> Outcome<Row> {
        let rows: Vec<Row> = rows.into_iter().collect();
        let batch = Derived { stream: stream.into(), columns: columns.to_vec(), rows: rows.clone() };
        let output = self.process(Batch::Derived(batch)).unwrap_or_else(|e| panic!("{e}"));
        outcome(rows, output, |batch| if let Batch::Derived(d) = batch { d.rows } else { Vec::new() })
    }

    /// Says that event time has passed, as the agent does every [`crate::Transform::TICK_EVERY_MS`]; panics
    /// where the transform fails.
    pub fn tick(&mut self, now_us: i64) -> Vec<Derived> {
        let ticked = self.call(|runner| {
            stand_in::advance(now_us);
            runner.tick(now_us)
        });
        ticked.unwrap_or_else(|e| panic!("{e}"))
    }

    /// Runs any batch, as the agent does.
    pub fn process(&mut self, batch: Batch) -> Result<Output, String> {
        self.call(|runner| {
            if let Some(newest) = newest_us(&batch) {
                stand_in::advance(newest);
            }
            runner.process(batch)
        })
    }

    /// What the agent does between batches after a failure or a restart: a fresh transform, perhaps with other
    /// parameters, takes over the state of this one.
    pub fn restart(&mut self, params: &[(&str, &str)]) -> Result<(), String> {
        let params: Vec<_> = params.iter().map(|(k, v)| (String::from(*k), String::from(*v))).collect();
        let before = self.agent.borrow().clone();
        let (fresh, agent) = stand_in::with(before, || Self::start(&params, self.snapshot.clone()));
        (self.runner, self.params, self.agent) = (fresh?, params, agent.into());
        Ok(())
    }

    /// Takes the lines that were logged.
    pub fn take_log(&self) -> Vec<(Level, String)> {
        std::mem::take(&mut self.agent.borrow_mut().log)
    }

    /// A counter that was added to.
    pub fn metric(&self, name: &str) -> f64 {
        self.agent.borrow().metrics.get(name).copied().unwrap_or(0.0)
    }
}

fn outcome<R: Clone>(rows: Vec<R>, output: Output, read: impl Fn(Batch) -> Vec<R>) -> Outcome<R> {
    let is_kept = |i: usize| match &output.kept {
        Kept::All => true,
        Kept::Nothing => false,
        Kept::Bits(bits) => bits.get(i / 8).is_some_and(|b| b >> (i % 8) & 1 == 1),
    };
    let (at, put_in) = output.put_in.map_or_else(Default::default, |p| (p.at, read(p.readings)));
    let mut put_in = at.into_iter().zip(put_in).peekable();
    let mut result = Outcome { kept: Vec::new(), rows: Vec::new(), taken_out: 0, derived: output.derived };
    for (i, row) in rows.into_iter().enumerate() {
        let before = result.rows.len();
        if is_kept(i) {
            result.kept.push(i);
            result.rows.push(row);
        }
        while let Some((_, r)) = put_in.next_if(|(at, _)| *at as usize == i) {
            result.rows.push(r);
        }
        result.taken_out += usize::from(result.rows.len() == before);
    }
    result
}

fn newest_us(batch: &Batch) -> Option<i64> {
    match batch {
        Batch::Vehicle(rows) => rows.iter().map(|r| r.ts_us).max(),
        Batch::Gps(rows) => rows.iter().map(|r| r.ts_us).max(),
        Batch::Camera(rows) => rows.iter().map(|r| r.ts_us).max(),
        Batch::Weather(rows) => rows.iter().map(|r| r.ts_us).max(),
        Batch::Emergency(rows) => rows.iter().map(|r| r.ts_us).max(),
        Batch::Derived(derived) => derived.rows.iter().map(|r| r.ts_us).max(),
    }
}

/// Stands in for the agent on this thread.
pub(crate) mod stand_in {
    use crate::Level;
    use std::cell::RefCell;
    use std::collections::BTreeMap;

    /// The agent's defaults; see `docs/limits.md`.
    const STATE_MAX: usize = 64 << 10;
    const KEY_COST: usize = 32;
    const METRICS_MAX: usize = 64;
    const CLOCK_BACK_US: i64 = 6 * 3600 * 1_000_000;

    #[derive(Clone, Default)]
    pub(crate) struct Agent {
        pub(crate) log: Vec<(Level, String)>,
        pub(crate) metrics: BTreeMap<String, f64>,
        pub(crate) state: BTreeMap<String, Vec<u8>>,
        pub(crate) now_us: Option<i64>,
    }

    thread_local! {
        static AGENT: RefCell<Agent> = RefCell::default();
    }

    /// Has this agent answer what is called; gives it back.
    pub(crate) fn with<R>(agent: Agent, call: impl FnOnce() -> R) -> (R, Agent) {
        let others = AGENT.replace(agent);
        let result = call();
        (result, AGENT.replace(others))
    }

    pub(crate) fn log(level: Level, message: &str) {
        AGENT.with_borrow_mut(|a| a.log.push((level, message.into())));
    }

    pub(crate) fn metric_add(name: &str, value: f64) {
        AGENT.with_borrow_mut(|a| {
            if a.metrics.contains_key(name) || (a.metrics.len() < METRICS_MAX && is_name(name)) {
                *a.metrics.entry(name.into()).or_default() += value;
            }
        });
    }

    /// `[a-z][a-z0-9_]{0,47}`.
    fn is_name(name: &str) -> bool {
        let rest = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        name.len() <= 48 && name.starts_with(|c: char| c.is_ascii_lowercase()) && name.bytes().all(rest)
    }

    pub(crate) fn now_us() -> i64 {
        AGENT.with_borrow(|a| a.now_us.unwrap_or(0))
    }

    pub(crate) fn state_get(key: &str) -> Option<Vec<u8>> {
        AGENT.with_borrow(|a| a.state.get(key).cloned())
    }

    pub(crate) fn state_put(key: &str, value: Option<&[u8]>) {
        let bytes = AGENT.with_borrow_mut(|a| {
            match value {
                Some(value) => drop(a.state.insert(key.into(), value.into())),
                None => drop(a.state.remove(key)),
            }
            a.state.iter().map(|(key, value)| key.len() + value.len() + KEY_COST).sum::<usize>()
        });
        assert!(
            bytes <= STATE_MAX,
            "It stores {bytes} bytes, and may store {STATE_MAX}: the agent ends the call here"
        );
    }

    pub(crate) fn advance(ts_us: i64) {
        AGENT.with_borrow_mut(|a| {
            let now_us = a.now_us.unwrap_or(i64::MIN);
            if ts_us > now_us || ts_us < now_us.saturating_sub(CLOCK_BACK_US) {
                a.now_us = Some(ts_us);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::{metric_add, now_us, state_get, state_put};
    use crate::{Gps, Next, Out, Params, Saved, Transform};

    /// Fails on what comes from below the equator, after it has changed all it could.
    #[derive(Default)]
    struct Northern {
        seen: u32,
    }

    impl Registered for Northern {
        const STREAMS: &'static [&'static str] = &["gps_data"];
    }

    impl Transform for Northern {
        const KEEPS_STATE: bool = true;
        fn new(_: &mut Params) -> Result<Self, String> {
            Ok(Self::default())
        }
        fn gps(&mut self, fix: &Gps, out: &mut Out) -> Next<Gps> {
            self.seen += 1;
            state_put("seen", &self.seen.to_le_bytes());
            metric_add("seen", 1.0);
            if fix.lat_e7 < 0 {
                out.fail("south");
            }
            Next::Keep
        }
        fn save(&self, to: &mut Saved) {
            to.put(&self.seen);
        }
        fn load(&mut self, from: &mut Saved) -> Result<(), String> {
            self.seen = from.take()?;
            Ok(())
        }
    }

    #[test]
    fn a_call_that_fails_does_not_count() {
        let mut bench = Bench::<Northern>::new(&[]);
        bench.gps([Gps::at(1, 52.0, 0.0), Gps::at(2, 52.0, 0.0)]);
        let failed = bench.process(Batch::Gps(vec![Gps::at(3, 52.0, 0.0), Gps::at(4, -52.0, 0.0)]));
        assert_eq!(failed.unwrap_err(), "south");
        assert_eq!((bench.runner.snapshot(), bench.metric("seen")), (bench.snapshot.clone(), 2.0));
        let (stored, _) = stand_in::with(bench.agent.borrow().clone(), || (state_get("seen"), now_us()));
        assert_eq!(stored, (Some(vec![2, 0, 0, 0]), 2));
    }

    #[test]
    fn two_have_nothing_in_common() {
        let mut one = Bench::<Northern>::new(&[]);
        one.gps([Gps::at(1, 52.0, 0.0)]);
        let two = Bench::<Northern>::new(&[]);
        assert_eq!((one.metric("seen"), two.metric("seen")), (1.0, 0.0));
    }

    #[test]
    fn a_metric_that_the_agent_would_not_keep_does_not_count() {
        let long = "a".repeat(48);
        let ((), agent) = stand_in::with(Agent::default(), || {
            for name in ["", "Seen", "1st", "_x", "a-b", "a.b", &(long.clone() + "a"), &long, "a_1"] {
                metric_add(name, 1.0);
            }
        });
        assert_eq!(agent.metrics.keys().collect::<Vec<_>>(), ["a_1", &long]);
    }

    #[test]
    fn the_clock_goes_back_only_where_it_was_wrong() {
        let hour = 3600 * 1_000_000;
        let (seen, _) = stand_in::with(Agent::default(), || {
            [0, 10 * hour, 5 * hour, 100 * hour, 11 * hour].map(|ts| {
                stand_in::advance(ts);
                now_us() / hour
            })
        });
        assert_eq!(seen, [0, 10, 10, 100, 11]);
    }

    #[test]
    #[should_panic(expected = "may store 65536")]
    fn who_stores_too_much_is_told() {
        let _ = stand_in::with(Agent::default(), || state_put("k", &[0; 70_000]));
    }
}
