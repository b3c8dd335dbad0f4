//! `milepost transform bench`: what a transform costs a reading, and how near its calls come to the
//! limits. The limits are lifted while it is measured, so that what is over one is seen in full.

use super::case::{self, Case};
use super::readings::{self, Wanted};
use super::sandbox::{Params, Subject, param, settings};
use super::{red, size};
use crate::{Failure, Outcome, say};
use clap::Args;
use milepost_transform_host::{Applied, Engine, EngineSettings, Limits, State, Transform, Usage};
use milepost_wire::{Batch, Body, BootId, Reading, Stream, Value, VehicleId, frame};
use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A short case is repeated, later each time, until it has so many readings.
const ENOUGH: usize = 4096;
/// It is measured for so long, and at least so often.
const MEASURE_FOR: Duration = Duration::from_secs(1);
const MIN_PASSES: usize = 5;
/// Readings in a frame, for what goes on the air.
const FRAME: usize = 60;

/// Options of `milepost transform bench`.
#[derive(Args, Debug)]
pub(super) struct Options {
    /// The project's folder, which is built first, or a component's file beside `cases/`
    #[arg(default_value = ".")]
    path: PathBuf,
    /// The case whose readings and parameters are taken; the one with the most readings
    #[arg(long, value_name = "NAME", conflicts_with = "input")]
    case: Option<String>,
    /// Take these readings: NDJSON, a receiver's NMEA log, or Parquet of the lake
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Of a lake: whose rows
    #[arg(long, requires = "input")]
    vehicle: Option<String>,
    /// A parameter, beside the case's; may be repeated
    #[arg(long = "param", value_name = "NAME=VALUE", value_parser = param)]
    params: Vec<(String, String)>,
    /// Readings in a call
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u16).range(1..))]
    batch: u16,
}

/// Runs the command.
pub(super) fn run(options: &Options) -> Result<Outcome, Failure> {
    let subject = Subject::open(&options.path)?;
    let (title, readings, mut params) = input(options, &subject)?;
    params.extend(options.params.iter().cloned());
    let batches = batches(&repeated(readings), usize::from(options.batch));
    let mut cost = time(&subject, &params, &batches)?;
    count(&subject, &params, &batches, &mut cost)?;
    let colours = std::io::stdout().is_terminal();
    let mut text =
        format!("{}, {title}: {} readings, {} in a call\n\n", subject.name, cost.readings, options.batch);
    let mut over = 0;
    for line in cost.lines(&subject.limits) {
        over += usize::from(line.is_over);
        text += &if line.is_over { red(&line.text, colours) } else { line.text };
        text.push('\n');
    }
    if over > 0 {
        let line = format!("{over} over the limit: the agent would set readings aside");
        text += &format!("\n{}\n", red(&line, colours));
    }
    say(&text)?;
    Ok(if over == 0 { Outcome::Good } else { Outcome::Bad })
}

/// What goes in: a title, the readings, the parameters.
fn input(options: &Options, subject: &Subject) -> Result<(String, Vec<Reading>, Params), Failure> {
    if let Some(path) = &options.input {
        let wanted = Wanted { stream: None, vehicle: options.vehicle.clone() };
        let readings = readings::read(path, &wanted)?.into_iter().map(|l| l.reading).collect();
        return Ok((path.display().to_string(), readings, Params::new()));
    }
    let beside = options.path.parent().unwrap_or(Path::new("."));
    let dir = subject.project.as_deref().unwrap_or(beside);
    let wanted: Vec<String> = options.case.iter().cloned().collect();
    let cases =
        case::find(dir, &wanted)?.iter().map(|path| Case::open(path)).collect::<Result<Vec<_>, _>>()?;
    let case = cases.iter().max_by_key(|case| case.len()).ok_or("there is no case")?;
    Ok((format!("case {}", case.name()), case.readings(), case.params()))
}

/// The readings again and again, each time later, until there are enough to measure.
fn repeated(readings: Vec<Reading>) -> Vec<Reading> {
    let times = ENOUGH.div_ceil(readings.len().max(1));
    let (first, last) = (readings.iter().map(|r| r.ts).min(), readings.iter().map(|r| r.ts).max());
    let span = last.unwrap_or(0).saturating_sub(first.unwrap_or(0)).saturating_add(1_000_000);
    let later = |n: usize| {
        let by = span.saturating_mul(n as i64);
        readings.iter().map(move |r| Reading { ts: r.ts.saturating_add(by), ..r.clone() })
    };
    (0..times).flat_map(later).collect()
}

/// Calls of the transform: readings of one stream, as many as fit in a batch.
fn batches(readings: &[Reading], most: usize) -> Vec<(Stream, Vec<Reading>)> {
    let mut waiting: BTreeMap<Stream, Vec<Reading>> = BTreeMap::new();
    let mut full = Vec::new();
    for reading in readings {
        let stream = reading.stream();
        let batch = waiting.entry(stream.clone()).or_default();
        batch.push(reading.clone());
        if batch.len() == most {
            full.push((stream, std::mem::take(batch)));
        }
    }
    full.extend(waiting.into_iter().filter(|(_, batch)| !batch.is_empty()));
    full
}

/// What was measured.
#[derive(Default)]
struct Cost {
    readings: usize,
    ns_a_reading: f64,
    longest: Duration,
    fuel: u64,
    most_fuel: u64,
    most: Usage,
    /// Rows and bytes handed back beside what was kept, in all and in the worst call.
    given: (usize, usize),
    most_given: (usize, usize),
    /// Bytes on the air before and after.
    air: (usize, usize),
}

/// Limits that nothing meets.
fn lifted() -> Limits {
    Limits {
        cpu: Duration::from_secs(60),
        init_cpu: Duration::from_secs(60),
        memory_bytes: 1 << 30,
        recycle_bytes: 1 << 30,
        output_rows: 1 << 24,
        output_bytes: 1 << 30,
        log_bytes: 1 << 20,
        state_bytes: 1 << 26,
        metrics: 1 << 12,
        streams: 1 << 12,
    }
}

fn start(subject: &Subject, settings: &EngineSettings, params: &Params) -> Result<Transform, Failure> {
    let engine = Engine::new(settings)?;
    Ok(Transform::load(&engine, &subject.shipped, &subject.name, params.clone(), lifted())?)
}

/// A call that has to work, its `tick` included.
fn apply(transform: &mut Transform, stream: &Stream, batch: &mut Vec<Reading>) -> Result<Applied, Failure> {
    let applied = transform.apply(stream, batch);
    match applied.and_then(|applied| applied.tick_failed.clone().map_or(Ok(applied), Err)) {
        Ok(applied) => Ok(applied),
        Err(why) => Err(format!(
            "A call failed, so there is nothing to measure: {why}. `milepost transform test` says which reading it is"
        )
        .into()),
    }
}

/// The time of the calls, each pass with a fresh state; the median of the passes, and the longest call
/// of the best pass: the machine's pauses are not the transform's.
fn time(subject: &Subject, params: &Params, batches: &[(Stream, Vec<Reading>)]) -> Result<Cost, Failure> {
    let mut transform = start(subject, &settings(), params)?;
    let readings = batches.iter().map(|(_, batch)| batch.len()).sum();
    let mut passes: Vec<(Duration, Duration)> = Vec::new();
    let from = Instant::now();
    while passes.len() < MIN_PASSES || from.elapsed() < MEASURE_FOR {
        transform.set_state(State::default())?;
        let (mut all, mut longest) = (Duration::ZERO, Duration::ZERO);
        for (stream, batch) in batches {
            let mut batch = batch.clone();
            let from = Instant::now();
            apply(&mut transform, stream, &mut batch)?;
            let spent = from.elapsed();
            all += spent;
            longest = longest.max(spent);
        }
        passes.push((all, longest));
    }
    passes.sort();
    let longest = passes.iter().map(|(_, longest)| *longest).min().unwrap_or_default();
    let ns_a_reading = passes[passes.len() / 2].0.as_nanos() as f64 / readings as f64;
    Ok(Cost { readings, ns_a_reading, longest, ..Cost::default() })
}

/// Everything that is counted and not timed, in a pass of its own.
fn count(
    subject: &Subject,
    params: &Params,
    batches: &[(Stream, Vec<Reading>)],
    cost: &mut Cost,
) -> Result<(), Failure> {
    let settings = EngineSettings { count_fuel: true, ..settings() };
    let mut transform = start(subject, &settings, params)?;
    let (mut before, mut after) = (Vec::new(), Vec::new());
    for (stream, batch) in batches {
        let mut rows = batch.clone();
        let applied = apply(&mut transform, stream, &mut rows)?;
        let usage = transform.usage();
        let fuel = usage.fuel.unwrap_or(0);
        cost.fuel += fuel;
        cost.most_fuel = cost.most_fuel.max(fuel);
        cost.most.memory_bytes = cost.most.memory_bytes.max(usage.memory_bytes);
        cost.most.stored_bytes = cost.most.stored_bytes.max(usage.stored_bytes);
        cost.most.snapshot_bytes = cost.most.snapshot_bytes.max(usage.snapshot_bytes);
        cost.most.log_bytes = cost.most.log_bytes.max(usage.log_bytes);
        let given = given(batch, &rows, &applied.derived);
        cost.given = (cost.given.0 + given.0, cost.given.1 + given.1);
        cost.most_given = (cost.most_given.0.max(given.0), cost.most_given.1.max(given.1));
        before.extend_from_slice(batch);
        after.extend(rows.into_iter().chain(applied.derived));
    }
    cost.air = (on_the_air(&before)?, on_the_air(&after)?);
    Ok(())
}

/// Rows that a call handed back, and about how many bytes: all but those that it kept as they were.
fn given(before: &[Reading], after: &[Reading], derived: &[Reading]) -> (usize, usize) {
    let mut rest = before.iter();
    let mut rows = derived.len();
    let mut bytes = derived.iter().map(weight).sum();
    for row in after {
        let mut ahead = rest.clone();
        if ahead.any(|kept| kept == row) {
            rest = ahead;
        } else {
            rows += 1;
            bytes += weight(row);
        }
    }
    (rows, bytes)
}

/// About what a row takes where it is handed over.
fn weight(row: &Reading) -> usize {
    let text = |t: &Option<String>| t.as_ref().map_or(0, String::len);
    let own = match &row.body {
        Body::Camera(b) => b.image.len() + b.camera_id.len(),
        Body::Vehicle(b) => text(&b.make) + text(&b.model) + text(&b.fuel_type) + text(&b.vehicle_type),
        Body::Weather(b) => text(&b.condition),
        Body::Emergency(b) => b.incident_id.len() + b.kind.len() + b.status.len() + text(&b.description),
        Body::Derived(d) => d.values.iter().map(value_weight).sum(),
        Body::Gps(_) | Body::Health(_) | Body::Gap(_) => 0,
    };
    48 + own
}

fn value_weight(value: &Value) -> usize {
    16 + match value {
        Value::Text(text) => text.len(),
        Value::Bytes(bytes) => bytes.len(),
        _ => 0,
    }
}

/// The bytes of readings in whole frames, each stream by itself.
fn on_the_air(readings: &[Reading]) -> Result<usize, Failure> {
    let mut streams: BTreeMap<Stream, Vec<&Reading>> = BTreeMap::new();
    for reading in readings {
        streams.entry(reading.stream()).or_default().push(reading);
    }
    let mut bytes = 0;
    for (stream, rows) in streams {
        let columns = |row: &Reading| match &row.body {
            Body::Derived(derived) => derived.columns.to_vec(),
            _ => stream.columns().unwrap_or(&[]).to_vec(),
        };
        // Rows with other columns begin another frame.
        for alike in rows.chunk_by(|a, b| columns(a) == columns(b)) {
            for rows in alike.chunks(FRAME) {
                let mut batch = Batch::new(
                    VehicleId::new("van-1")?,
                    BootId(1),
                    stream.clone(),
                    &columns(rows[0]),
                    0,
                    Vec::new(),
                );
                rows.iter().try_for_each(|row| batch.push(row)).map_err(|e| format!("{e}"))?;
                // An image that fits no frame has no size on the air.
                bytes += frame::encode(&batch).map_or(0, |frame| frame.len());
            }
        }
    }
    Ok(bytes)
}

/// A line of the report.
struct Line {
    text: String,
    is_over: bool,
}

impl Cost {
    fn lines(&self, limits: &Limits) -> Vec<Line> {
        let a_reading = |n: usize| n as f64 / self.readings as f64;
        let mut lines = vec![Line {
            text: format!("{:<18}{:>16}{:>16}{:>16}", "", "a reading", "worst call", "limit"),
            is_over: false,
        }];
        let mut line = |name: &str, each: String, worst: String, limit: String, is_over: bool| {
            lines.push(Line { text: format!("{name:<18}{each:>16}{worst:>16}{limit:>16}"), is_over });
        };
        let (ms, limit) = (self.longest.as_secs_f64() * 1e3, limits.cpu);
        line(
            "time",
            format!("{:.0} ns", self.ns_a_reading),
            format!("{ms:.3} ms"),
            format!("{limit:?}"),
            self.longest > limit,
        );
        line(
            "fuel",
            format!("{:.0}", a_reading(self.fuel as usize)),
            self.most_fuel.to_string(),
            String::new(),
            false,
        );
        let (rows, bytes) = self.most_given;
        line(
            "rows handed back",
            format!("{:.2}", a_reading(self.given.0)),
            rows.to_string(),
            limits.output_rows.to_string(),
            rows > limits.output_rows,
        );
        line(
            "bytes handed back",
            format!("{:.1}", a_reading(self.given.1)),
            size(bytes),
            size(limits.output_bytes),
            bytes > limits.output_bytes,
        );
        for (name, used, limit) in [
            ("memory", self.most.memory_bytes, limits.memory_bytes),
            ("snapshot", self.most.snapshot_bytes, limits.state_bytes),
            ("stored state", self.most.stored_bytes, limits.state_bytes),
            ("log", self.most.log_bytes, limits.log_bytes),
        ] {
            line(name, String::new(), size(used), size(limit), used > limit);
        }
        let (before, after) = self.air;
        let air = format!(
            "\non the air, in frames of {FRAME}: {:.2} B a reading before, {:.2} B a reading after",
            a_reading(before),
            a_reading(after)
        );
        lines.push(Line { text: air, is_over: false });
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use milepost_wire::Clock;
    use milepost_wire::reading::Gps;

    fn fix(ts: i64, fix: u8) -> Reading {
        let gps = Gps {
            lat_e7: 1,
            lon_e7: 2,
            altitude_cm: None,
            speed_mm_s: None,
            heading_cdeg: None,
            fix,
            satellites: None,
            hdop_e2: None,
        };
        Reading { ts, clock: Clock::Gps, body: gps.into() }
    }

    #[test]
    fn a_short_case_is_repeated_and_time_goes_on() {
        let many = repeated(vec![fix(0, 1), fix(1_000_000, 1)]);
        assert_eq!(many.len(), ENOUGH);
        assert!(many.windows(2).all(|w| w[0].ts < w[1].ts));
        let calls = batches(&many, 1000);
        assert_eq!(calls.iter().map(|(_, b)| b.len()).collect::<Vec<_>>(), [1000, 1000, 1000, 1000, 96]);
    }

    #[test]
    fn what_is_kept_is_not_handed_back() {
        let before = [fix(0, 1), fix(1, 1), fix(2, 1)];
        assert_eq!(given(&before, &before, &[]), (0, 0));
        assert_eq!(given(&before, &before[1..2], &[]), (0, 0));
        assert_eq!(given(&before, &[fix(0, 1), fix(1, 9), fix(2, 1)], &[]).0, 1);
    }

    #[test]
    fn what_is_over_its_limit_is_marked() {
        let mut cost = Cost { readings: 10, ..Cost::default() };
        let limits = Limits::default();
        assert!(cost.lines(&limits).iter().all(|line| !line.is_over));
        cost.most.memory_bytes = limits.memory_bytes + 1;
        cost.longest = limits.cpu * 2;
        let over: Vec<String> =
            cost.lines(&limits).into_iter().filter(|l| l.is_over).map(|l| l.text).collect();
        assert_eq!(over.len(), 2);
        assert!(over[0].starts_with("time") && over[1].starts_with("memory"), "{over:?}");
    }
}
