//! Runs a transform natively, in an ordinary test.

use crate::bindings::milepost::transform::types::{Kept, Output};
use crate::run::{Registered, Runner};
use crate::{Batch, Camera, Column, Derived, Emergency, Gps, Level, Row, Vehicle, Weather};

/// A transform with everything around it that the agent has.
pub struct Bench<T> {
    runner: Runner<T>,
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
        let params = params.iter().map(|(k, v)| (String::from(*k), String::from(*v))).collect();
        Ok(Self { runner: Runner::init(params)?.0 })
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
        stand_in::advance(now_us);
        self.runner.tick(now_us).unwrap_or_else(|e| panic!("{e}"))
    }

    /// Runs any batch, as the agent does.
    pub fn process(&mut self, batch: Batch) -> Result<Output, String> {
        if let Some(newest) = newest_us(&batch) {
            stand_in::advance(newest);
        }
        self.runner.process(batch)
    }

    /// What the agent does between batches after a failure or a restart: a fresh transform takes over the
    /// state of this one.
    pub fn restart(&mut self, params: &[(&str, &str)]) -> Result<(), String> {
        let mut fresh = Self::try_new(params)?;
        fresh.runner.restore(self.runner.snapshot())?;
        *self = fresh;
        Ok(())
    }

    /// Takes the lines that were logged on this thread.
    pub fn take_log(&self) -> Vec<(Level, String)> {
        stand_in::take_log()
    }

    /// A counter that was added to on this thread.
    pub fn metric(&self, name: &str) -> f64 {
        stand_in::metric(name)
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

    #[derive(Default)]
    struct Agent {
        log: Vec<(Level, String)>,
        metrics: BTreeMap<String, f64>,
        state: BTreeMap<String, Vec<u8>>,
        now_us: i64,
    }

    thread_local! {
        static AGENT: RefCell<Agent> = RefCell::default();
    }

    pub(crate) fn log(level: Level, message: &str) {
        AGENT.with_borrow_mut(|a| a.log.push((level, message.into())));
    }

    pub(crate) fn metric_add(name: &str, value: f64) {
        AGENT.with_borrow_mut(|a| *a.metrics.entry(name.into()).or_default() += value);
    }

    pub(crate) fn now_us() -> i64 {
        AGENT.with_borrow(|a| a.now_us)
    }

    pub(crate) fn state_get(key: &str) -> Option<Vec<u8>> {
        AGENT.with_borrow(|a| a.state.get(key).cloned())
    }

    pub(crate) fn state_put(key: &str, value: Option<&[u8]>) {
        AGENT.with_borrow_mut(|a| match value {
            Some(value) => drop(a.state.insert(key.into(), value.into())),
            None => drop(a.state.remove(key)),
        });
    }

    pub(crate) fn advance(ts_us: i64) {
        AGENT.with_borrow_mut(|a| a.now_us = a.now_us.max(ts_us));
    }

    pub(crate) fn take_log() -> Vec<(Level, String)> {
        AGENT.with_borrow_mut(|a| std::mem::take(&mut a.log))
    }

    pub(crate) fn metric(name: &str) -> f64 {
        AGENT.with_borrow(|a| a.metrics.get(name).copied().unwrap_or(0.0))
    }
}
