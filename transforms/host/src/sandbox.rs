//! One instance of a transform and all that it can reach: its memory, its stored state, log, metrics
//! and the logical clock. What a failing call did to these is undone.

use crate::bindings::milepost::transform::{host, types};
use crate::bindings::{Transform as Exports, TransformPre};
use crate::counters::Counters;
use crate::cpu;
use crate::engine::TABLE_ELEMENTS;
use crate::failure::Failure;
use crate::limits::Limits;
use crate::usage::{self, Frame, Usage};
use milepost_wire::stream::check_name;
use milepost_wire::{Body, ColumnSpec, Kind, Reading, StreamName};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use wasmtime::{ResourceLimiter, Store, Trap, UpdateDeadline};

/// What a stored key costs beside its bytes.
const KEY_COST: usize = 32;
/// What a line of the log costs beside its text: about what time, level and the transform's name take.
const LINE_COST: usize = 64;
/// In the long run a transform logs what is allowed for one call in each second, and so many of them at once.
const LOG_BURST: u32 = 16;
/// Of a panic's message, and of an error that it returns, so much is kept, whatever room the log has.
const SAID_MAX: usize = 1024;
/// A stream of a transform's own may have had so many columns since it was loaded, each a column of a table.
const COLUMNS_MAX: usize = 256;
/// Readings that are so much older than the logical clock set it back: what had set it was wrong.
const CLOCK_BACK_US: i64 = 6 * 3600 * 1_000_000;

/// What a transform may call, and what it is held to.
pub(crate) struct Host {
    name: Arc<str>,
    limits: Limits,
    counters: Arc<Counters>,
    /// Why the call fails, where the host knows better than the trap.
    failure: Option<Failure>,
    /// The bytes of memory that the guest was refused last in this call.
    refused: Option<usize>,
    /// The last line logged as an error: a panic's message, where the guest traps next.
    said: Option<String>,
    /// Where the last call failed.
    trace: Vec<Frame>,
    /// What the calls for a batch used so far; `None` where it is not counted.
    fuel: Option<u64>,
    log_left: usize,
    log_rate: LogRate,
    /// Linear memory of the instance, and what it was when the instance began to work.
    memory: usize,
    memory_at_start: usize,
    /// Elements of all tables of the instance.
    table_elements: usize,
    cpu_limit: Duration,
    cpu_from: Option<Duration>,
    now_us: i64,
    asked_for_the_time: bool,
    stored: Stored,
    metrics: BTreeMap<String, f64>,
    new_metrics: BTreeMap<String, f64>,
    /// The streams that it has derived rows of, with their columns.
    streams: BTreeMap<StreamName, BTreeMap<String, Kind>>,
}

/// What a transform may log in the long run, whatever it may log in a call.
struct LogRate {
    /// When the allowance is whole again.
    whole_at: Instant,
    /// It was said that lines are left out.
    said: bool,
}

impl LogRate {
    /// Whether a line of this cost may be written now, with so many bytes a second.
    fn takes(&mut self, now: Instant, cost: usize, a_second: usize) -> bool {
        if now >= self.whole_at {
            (self.whole_at, self.said) = (now, false);
        }
        let costs = Duration::from_secs_f64(cost as f64 / a_second.max(1) as f64);
        let fits = self.whole_at + costs <= now + Duration::from_secs(1) * LOG_BURST;
        if fits {
            self.whole_at += costs;
        }
        fits
    }
}

/// Keys and values, and what they were before the call.
#[derive(Default)]
struct Stored {
    now: BTreeMap<String, Vec<u8>>,
    bytes: usize,
    before: BTreeMap<String, Option<Vec<u8>>>,
    before_bytes: usize,
}

impl Stored {
    fn cost(key: &str, value: Option<&Vec<u8>>) -> usize {
        value.map_or(0, |v| key.len() + v.len() + KEY_COST)
    }

    /// Sets or removes a key; the error is the size that is too large.
    fn put(&mut self, key: String, value: Option<Vec<u8>>, limit: usize) -> Result<(), usize> {
        let old = self.now.get(&key);
        let old_cost = Self::cost(&key, old);
        let wanted = self.bytes - old_cost + Self::cost(&key, value.as_ref());
        if wanted > limit {
            return Err(wanted);
        }
        if !self.before.contains_key(&key) {
            // A call that stores and removes ever new keys is stopped too.
            let before_bytes = self.before_bytes + old_cost.max(key.len() + KEY_COST);
            if before_bytes > limit.saturating_mul(4) {
                return Err(before_bytes);
            }
            self.before_bytes = before_bytes;
            self.before.insert(key.clone(), old.cloned());
        }
        self.bytes = wanted;
        match value {
            Some(value) => self.now.insert(key, value),
            None => self.now.remove(&key),
        };
        Ok(())
    }

    fn commit(&mut self) {
        self.before.clear();
        self.before_bytes = 0;
    }

    fn undo(&mut self) {
        for (key, old) in std::mem::take(&mut self.before) {
            match old {
                Some(old) => self.now.insert(key, old),
                None => self.now.remove(&key),
            };
        }
        self.bytes = self.now.iter().map(|(k, v)| Self::cost(k, Some(v))).sum();
        self.before_bytes = 0;
    }
}

impl Host {
    pub(crate) fn new(name: Arc<str>, limits: Limits, counters: Arc<Counters>) -> Self {
        Self {
            name,
            counters,
            failure: None,
            refused: None,
            said: None,
            trace: Vec::new(),
            fuel: None,
            log_left: 0,
            log_rate: LogRate { whole_at: Instant::now(), said: false },
            memory: 0,
            memory_at_start: 0,
            table_elements: 0,
            cpu_limit: limits.cpu,
            cpu_from: None,
            now_us: i64::MIN,
            asked_for_the_time: false,
            stored: Stored::default(),
            metrics: BTreeMap::new(),
            new_metrics: BTreeMap::new(),
            streams: BTreeMap::new(),
            limits,
        }
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(crate) fn now_us(&self) -> i64 {
        self.now_us
    }

    /// Whether the transform has ever called `now-us`.
    pub(crate) fn has_asked_for_the_time(&self) -> bool {
        self.asked_for_the_time
    }

    pub(crate) fn set_asked_for_the_time(&mut self, asked: bool) {
        self.asked_for_the_time = asked;
    }

    /// Sets the logical clock to what it was when the transform asked for it.
    pub(crate) fn restore_now(&mut self, now_us: Option<i64>) {
        self.now_us = now_us.unwrap_or(i64::MIN);
        self.asked_for_the_time = now_us.is_some();
    }

    /// Sets the logical clock.
    pub(crate) fn set_now(&mut self, now_us: i64) {
        self.now_us = now_us;
    }

    /// Sets the logical clock by the newest reading of a batch.
    pub(crate) fn advance(&mut self, newest_us: i64) {
        if newest_us > self.now_us || newest_us < self.now_us.saturating_sub(CLOCK_BACK_US) {
            self.now_us = newest_us;
        }
    }

    pub(crate) fn metrics(&self) -> &BTreeMap<String, f64> {
        &self.metrics
    }

    pub(crate) fn set_metrics(&mut self, metrics: BTreeMap<String, f64>) {
        self.metrics = metrics;
    }

    pub(crate) fn stored(&self) -> &BTreeMap<String, Vec<u8>> {
        &self.stored.now
    }

    pub(crate) fn set_stored(&mut self, stored: BTreeMap<String, Vec<u8>>) {
        self.stored = Stored { now: stored, ..Stored::default() };
        self.stored.undo();
    }

    /// The instance is ready to work.
    pub(crate) fn started(&mut self) {
        self.memory_at_start = self.memory;
    }

    /// Whether the instance is to make way for a fresh one.
    pub(crate) fn is_swollen(&self) -> bool {
        self.memory > self.limits.recycle_bytes && self.memory / 2 > self.memory_at_start
    }

    /// Before a call of the transform.
    pub(crate) fn begin(&mut self) {
        self.log_left = self.limits.log_bytes;
        (self.failure, self.refused, self.said, self.fuel) = (None, None, None, None);
        self.trace.clear();
    }

    /// What the last calls used, but for the snapshot, which is not here.
    pub(crate) fn usage(&self) -> Usage {
        Usage {
            fuel: self.fuel,
            memory_bytes: self.memory,
            stored_bytes: self.stored.bytes,
            snapshot_bytes: 0,
            log_bytes: self.limits.log_bytes - self.log_left,
        }
    }

    /// Where the last call failed, innermost first.
    pub(crate) fn trace(&self) -> &[Frame] {
        &self.trace
    }

    /// After a call that counts.
    pub(crate) fn commit(&mut self) {
        self.stored.commit();
        for (name, value) in std::mem::take(&mut self.new_metrics) {
            *self.metrics.entry(name).or_default() += value;
        }
    }

    /// Takes note of the streams that rows are of, and of their columns; where they would be too many, or of
    /// another kind than they were, it fails and takes none.
    pub(crate) fn derives(&mut self, rows: &[Reading]) -> Result<(), Failure> {
        let mut given = BTreeMap::new();
        for row in rows {
            if let Body::Derived(row) = &row.body {
                given.entry(&row.stream).or_insert(&row.columns);
            }
        }
        let invalid = |what: String| Err(Failure::InvalidOutput(what));
        let new = given.keys().filter(|name| !self.streams.contains_key(**name)).count();
        let limit = self.limits.streams;
        if self.streams.len() + new > limit {
            return invalid(format!(
                "rows of more than {limit} streams; what differs from row to row is a column"
            ));
        }
        for (stream, columns) in &given {
            let known = self.streams.get(*stream);
            let kind = |column: &ColumnSpec| known.and_then(|known| known.get(&*column.name)).copied();
            if let Some(column) = columns.iter().find(|column| kind(column).is_some_and(|k| k != column.kind))
            {
                let (stream, name) = (stream.as_str(), &column.name);
                return invalid(format!("column {name} of stream {stream} has another kind than it had"));
            }
            let new = columns.iter().filter(|column| kind(column).is_none()).count();
            if known.map_or(0, BTreeMap::len) + new > COLUMNS_MAX {
                let stream = stream.as_str();
                return invalid(format!("stream {stream} has had more than {COLUMNS_MAX} columns"));
            }
        }
        for (stream, columns) in given {
            let columns = columns.iter().map(|column| (column.name.clone().into_owned(), column.kind));
            self.streams.entry(stream.clone()).or_default().extend(columns);
        }
        Ok(())
    }

    /// After a call that does not.
    pub(crate) fn undo(&mut self) {
        self.stored.undo();
        self.new_metrics.clear();
    }

    fn fail(&mut self, failure: Failure) -> wasmtime::Error {
        let error = wasmtime::Error::msg(failure.to_string());
        self.failure.get_or_insert(failure);
        error
    }

    /// Says why a call failed.
    fn explain(&mut self, error: &wasmtime::Error) -> Failure {
        self.trace = usage::frames(error);
        if let Some(failure) = self.failure.take() {
            return failure;
        }
        // Wasmtime has no type for it that one could ask for.
        if error.chain().any(|e| e.to_string().contains("fuel allocated for hostcalls")) {
            return Failure::OutputLimit { unit: "bytes", limit: self.limits.output_bytes };
        }
        let (trap, limit) = (error.downcast_ref::<Trap>(), self.limits.memory_bytes);
        if let (Some(Trap::UnreachableCodeReached), None, Some(wanted)) = (trap, &self.said, self.refused) {
            // So ends who cannot go on without.
            return Failure::MemoryLimit { wanted, limit };
        }
        let mut why = match trap {
            Some(trap) => trap.to_string(),
            None => error.root_cause().to_string(),
        };
        if let Some(said) = self.said.take() {
            why = format!("{said} ({why})");
        }
        if let Some(wanted) = self.refused {
            why += &format!("; before, it asked for {wanted} bytes of memory, and may have {limit}");
        }
        Failure::Trap(why)
    }
}

impl ResourceLimiter for Host {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let wanted = self.memory.saturating_sub(current).saturating_add(desired);
        let limit = self.limits.memory_bytes;
        if wanted > limit {
            // The guest sees -1; if it then gives up without a word, this is why.
            (self.refused, self.said) = (Some(wanted), None);
            return Ok(false);
        }
        self.memory = wanted;
        Ok(true)
    }

    fn table_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let wanted = self.table_elements.saturating_sub(current).saturating_add(desired);
        if wanted > TABLE_ELEMENTS {
            return Ok(false);
        }
        self.table_elements = wanted;
        Ok(true)
    }
}

impl types::Host for Host {}

impl host::Host for Host {
    fn log(&mut self, level: host::Level, message: String) -> wasmtime::Result<()> {
        if level == host::Level::Error {
            self.said = Some(said(&message));
        }
        let mut text = start_of(&message, self.log_left.saturating_sub(LINE_COST));
        if !text.is_empty() {
            let cost = text.len() + LINE_COST;
            self.log_left -= cost;
            if !self.log_rate.takes(Instant::now(), cost, self.limits.log_bytes) {
                text = "";
            }
        }
        Counters::add(&self.counters.log_dropped, message.len() - text.len());
        let transform = &*self.name;
        if text.len() < message.len() && !std::mem::replace(&mut self.log_rate.said, true) {
            tracing::warn!(transform, "It logs too much: some of it is left out");
        }
        if text.is_empty() {
            return Ok(());
        }
        let text = one_line(text);
        match level {
            host::Level::Debug => tracing::debug!(transform, "{text}"),
            host::Level::Info => tracing::info!(transform, "{text}"),
            host::Level::Warn => tracing::warn!(transform, "{text}"),
            host::Level::Error => tracing::error!(transform, "{text}"),
        }
        Ok(())
    }

    fn metric_add(&mut self, name: String, value: f64) -> wasmtime::Result<()> {
        let known = self.metrics.contains_key(&name) || self.new_metrics.contains_key(&name);
        let room = self.metrics.len() + self.new_metrics.len() < self.limits.metrics;
        // A counter counts up; of what is no number nothing is left to count from.
        let counts = value.is_finite() && value >= 0.0;
        if counts && (known || (room && check_name(name.clone()).is_ok())) {
            *self.new_metrics.entry(name).or_default() += value;
        } else {
            Counters::add(&self.counters.metrics_dropped, 1);
        }
        Ok(())
    }

    fn now_us(&mut self) -> wasmtime::Result<i64> {
        self.asked_for_the_time = true;
        // Before the first reading.
        Ok(if self.now_us == i64::MIN { 0 } else { self.now_us })
    }

    fn state_get(&mut self, key: String) -> wasmtime::Result<Option<Vec<u8>>> {
        Ok(self.stored.now.get(&key).cloned())
    }

    fn state_put(&mut self, key: String, value: Option<Vec<u8>>) -> wasmtime::Result<()> {
        let limit = self.limits.state_bytes;
        self.stored.put(key, value, limit).map_err(|wanted| self.fail(Failure::StateLimit { wanted, limit }))
    }
}

/// Why a guest cannot go on, in its own words: their beginning, on one line.
pub(crate) fn said(text: &str) -> String {
    one_line(start_of(text, SAID_MAX))
}

/// What a guest says, on one line: it goes into the agent's log, where a line of the guest's own making would pass
/// for one of the agent's.
fn one_line(text: &str) -> String {
    let mut line = String::new();
    for c in text.chars() {
        match c {
            '\n' => line.push(' '),
            c if c.is_control() => line.extend(c.escape_default()),
            c => line.push(c),
        }
    }
    line
}

/// The beginning of a text, at most so many bytes.
fn start_of(text: &str, max: usize) -> &str {
    let mut end = text.len().min(max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// A running instance.
pub(crate) struct Instance {
    store: Store<Host>,
    exports: Exports,
}

impl Instance {
    /// A fresh instance; the host's part comes back when it cannot start.
    pub(crate) fn new(component: &TransformPre<Host>, mut host: Host) -> Result<Self, Box<(Host, Failure)>> {
        (host.memory, host.table_elements) = (0, 0);
        host.begin();
        (host.cpu_limit, host.cpu_from) = (host.limits.init_cpu, None);
        let fuel = host.limits.output_bytes;
        let mut store = Store::new(component.engine(), host);
        store.limiter(|host| host);
        store.set_hostcall_fuel(fuel);
        // Instantiating costs fuel too; an error where fuel is not counted.
        let _ = store.set_fuel(u64::MAX);
        store.set_max_component_handles(0);
        store.epoch_deadline_callback(|mut store| Ok(at_tick(store.data_mut())));
        store.set_epoch_deadline(1);
        match component.instantiate(&mut store) {
            Ok(exports) => Ok(Self { store, exports }),
            Err(e) => {
                let failure = store.data_mut().explain(&e);
                Err(Box::new((store.into_data(), failure)))
            }
        }
    }

    pub(crate) fn host(&mut self) -> &mut Host {
        self.store.data_mut()
    }

    /// Ends the instance; its host's part stays.
    pub(crate) fn into_host(self) -> Host {
        self.store.into_data()
    }

    /// So much CPU time the calls from here on may take, together.
    pub(crate) fn may_take(&mut self, cpu_limit: Duration) {
        let host = self.store.data_mut();
        (host.cpu_limit, host.cpu_from) = (cpu_limit, None);
    }

    /// Calls an export. A trap leaves the instance unusable.
    pub(crate) fn call<R>(
        &mut self,
        call: impl FnOnce(&Exports, &mut Store<Host>) -> wasmtime::Result<R>,
    ) -> Result<R, Failure> {
        self.store.set_epoch_deadline(1);
        // An error where fuel is not counted.
        let counted = self.store.set_fuel(u64::MAX).is_ok();
        let result = call(&self.exports, &mut self.store);
        if counted {
            let left = self.store.get_fuel().unwrap_or(u64::MAX);
            *self.store.data_mut().fuel.get_or_insert(0) += u64::MAX - left;
        }
        let host = self.store.data_mut();
        match result {
            Ok(result) => Ok(result),
            Err(e) => Err(host.explain(&e)),
        }
    }
}

/// At each tick of the engine while the guest runs: has it used its CPU time? The first tick of the calls
/// that have it together starts the count.
fn at_tick(host: &mut Host) -> UpdateDeadline {
    let now = cpu::thread_time();
    let used = now.saturating_sub(*host.cpu_from.get_or_insert(now));
    if used < host.cpu_limit {
        return UpdateDeadline::Continue(1);
    }
    let limit = host.cpu_limit;
    host.failure = Some(Failure::CpuLimit { limit });
    UpdateDeadline::Interrupt
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_failing_call_stored_is_taken_back() {
        let mut stored = Stored::default();
        stored.put("a".into(), Some(vec![1]), 1000).unwrap();
        stored.put("b".into(), Some(vec![2]), 1000).unwrap();
        stored.commit();
        let (before, bytes) = (stored.now.clone(), stored.bytes);
        stored.put("a".into(), Some(vec![9; 9]), 1000).unwrap();
        stored.put("a".into(), None, 1000).unwrap();
        stored.put("b".into(), None, 1000).unwrap();
        stored.put("c".into(), Some(vec![3]), 1000).unwrap();
        stored.undo();
        assert_eq!((stored.now, stored.bytes), (before, bytes));
    }

    #[test]
    fn tables_are_counted_together() {
        let mut host = Host::new("x".into(), Limits::default(), Arc::default());
        assert!((0..10).all(|_| host.table_growing(0, TABLE_ELEMENTS / 10, None).unwrap()));
        assert!(!host.table_growing(0, 1, None).unwrap());
        assert!(!host.table_growing(TABLE_ELEMENTS / 10, TABLE_ELEMENTS / 10 + 1, None).unwrap());
    }

    #[test]
    fn what_a_guest_says_is_one_line_of_bounded_length() {
        assert_eq!(
            one_line("panicked at a.rs:\nno\r\x1b[1m \u{85}é"),
            "panicked at a.rs: no\\r\\u{1b}[1m \\u{85}é"
        );
        assert_eq!(said(&"é".repeat(SAID_MAX)).len(), SAID_MAX);
        assert_eq!(one_line(&"é".repeat(SAID_MAX)).len(), 2 * SAID_MAX, "a log line may be longer");
    }

    #[test]
    fn a_log_is_bounded_in_the_long_run() {
        let start = Instant::now();
        let mut rate = LogRate { whole_at: start, said: false };
        let mut written = 0;
        for ms in 0..60_000 {
            let now = start + Duration::from_millis(ms);
            written += if rate.takes(now, 1000, 4096) { 1000 } else { 0 };
        }
        assert!((4096 * 74..=4096 * 76).contains(&written), "{written}");
        assert!(rate.takes(start + Duration::from_secs(80), 16 * 4096, 4096), "it is whole again");
    }

    #[test]
    fn storing_is_bounded_even_when_keys_are_removed_at_once() {
        let mut stored = Stored::default();
        assert_eq!(stored.put("k".into(), Some(vec![0; 1000]), 1000), Err(1033));
        let mut put_and_remove = |i: i32| {
            let key = format!("key {i}");
            stored.put(key.clone(), Some(vec![]), 1000).and_then(|()| stored.put(key, None, 1000))
        };
        assert!((0..10_000).any(|i| put_and_remove(i).is_err()));
        assert!(stored.before_bytes <= 4000, "{}", stored.before_bytes);
    }
}
