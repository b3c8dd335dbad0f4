//! Runs readings through a transform as the agent does: in batches of one stream, within limits, and
//! with a failing batch halved until the reading that does the harm is alone. Adds what an author wants
//! to know of it: which reading, why, and where in the source.

use super::build;
use super::project::Project;
use crate::{Failure, remark};
use milepost_transform_host::{
    Compiler, Engine, EngineSettings, Failure as Refusal, Frame, Limits, Transform, read_component,
};
use milepost_wire::{Reading, Stream};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The most readings that the agent gives to a transform in one call, unless it is configured otherwise.
pub(super) const BATCH: usize = 1024;
/// Of a backtrace no more is shown.
const MAX_FRAMES: usize = 8;

/// The engine of every command: what it does not compile, an agent does not either.
pub(super) fn settings() -> EngineSettings {
    EngineSettings { compiler: Some(Compiler::this_program(super::COMPILE)), ..EngineSettings::default() }
}

/// The parameters, by name.
pub(super) type Params = BTreeMap<String, String>;

/// A transform to be run.
pub(super) struct Subject {
    pub name: String,
    /// Where cases are, for a project.
    pub project: Option<PathBuf>,
    /// The component as it is shipped.
    pub shipped: Vec<u8>,
    /// The same with names and line tables, where there is one.
    pub code: Vec<u8>,
    pub limits: Limits,
}

impl Subject {
    /// A project's folder, which is built, or a component's file.
    pub(super) fn open(path: &Path) -> Result<Self, Failure> {
        if path.is_dir() {
            let project = Project::open(path)?;
            let shipped = build::build(&project)?;
            let code = with_names(&project, &shipped).unwrap_or_else(|| shipped.clone());
            let limits = project.limits.limits();
            return Ok(Self { name: project.name, project: Some(project.dir), shipped, code, limits });
        }
        let shipped = read_component(path).map_err(|e| format!("{} cannot be read: {e}", path.display()))?;
        let name = path.file_stem().map_or_else(|| "transform".into(), |n| n.to_string_lossy().into_owned());
        let project = path.parent().filter(|p| p.join(super::project::FILE).is_file());
        let (limits, code) = match project {
            Some(dir) => {
                let project = Project::open(dir)?;
                (project.limits.limits(), with_names(&project, &shipped))
            }
            None => (Limits::default(), None),
        };
        let project = project.map(Path::to_path_buf);
        Ok(Self { name, project, code: code.unwrap_or_else(|| shipped.clone()), shipped, limits })
    }

    /// Starts it.
    pub(super) fn start(&self, engine: &Engine, params: Params) -> Result<Sandbox, Failure> {
        let transform = Transform::load(engine, &self.code, &self.name, params, self.limits.clone())?;
        Ok(Sandbox { transform })
    }
}

/// The same component with names, where the project has built it beside this one.
fn with_names(project: &Project, shipped: &[u8]) -> Option<Vec<u8>> {
    let of = std::fs::read_to_string(project.debug_digest()).ok()?;
    if of.trim() == build::digest(shipped) { std::fs::read(project.debug_component()).ok() } else { None }
}

/// A transform that runs.
pub(super) struct Sandbox {
    pub transform: Transform,
}

/// What became of a batch.
#[derive(Default)]
pub(super) struct Passed {
    /// What goes on: the rows of each stream, then what was derived from them.
    pub rows: Vec<Reading>,
    pub set_aside: Vec<SetAside>,
    /// Calls of `tick` that failed.
    pub ticks_failed: Vec<Told>,
}

/// What became of the readings of one stream.
#[derive(Default)]
struct Found {
    rows: Vec<Reading>,
    derived: Vec<Reading>,
    set_aside: Vec<SetAside>,
    ticks_failed: Vec<Told>,
}

/// A reading that made the transform fail by itself.
pub(super) struct SetAside {
    /// Which one of the batch.
    pub index: usize,
    pub why: Told,
}

/// A failure and what is known of it.
pub(super) struct Told {
    why: Refusal,
    spent: Duration,
    memory: usize,
    trace: Vec<Frame>,
}

impl Sandbox {
    /// Runs a batch of readings of any streams, as the agent gathers them.
    pub(super) fn feed(&mut self, readings: &[Reading]) -> Passed {
        let mut passed = Passed::default();
        let mut streams: BTreeMap<Stream, Vec<usize>> = BTreeMap::new();
        for (i, reading) in readings.iter().enumerate() {
            streams.entry(reading.stream()).or_default().push(i);
        }
        for (stream, indices) in streams {
            self.feed_stream(&stream, &indices, readings, &mut passed);
        }
        passed
    }

    /// Readings of one stream. Those that make it fail are found by halving, and the others are given to it once
    /// more without them, as if they had never come.
    fn feed_stream(&mut self, stream: &Stream, indices: &[usize], readings: &[Reading], passed: &mut Passed) {
        let before = self.transform.mark();
        let mut found = Found::default();
        self.search(stream, indices, readings, &mut found);
        if !found.set_aside.is_empty() && found.set_aside.len() < indices.len() {
            let poison = |i: &usize| found.set_aside.iter().any(|one| one.index == *i);
            let good = indices.iter().filter(|i| !poison(i)).map(|&i| readings[i].clone());
            let mut good: Vec<Reading> = good.collect();
            let after = self.transform.mark();
            let again = self.transform.back_to(before);
            let from = Instant::now();
            match again.and_then(|()| self.transform.apply(stream, &mut good)) {
                Ok(applied) => {
                    let ticks_failed = applied.tick_failed.map(|why| self.told(why, from));
                    (found.rows, found.derived) = (good, applied.derived);
                    found.ticks_failed = ticks_failed.into_iter().collect();
                }
                // What the parts gave stays.
                Err(_) => {
                    if let Err(why) = self.transform.back_to(after) {
                        remark(&format!("milepost: it goes on without what it remembered: {why}"));
                    }
                }
            }
        }
        passed.rows.extend(found.rows);
        passed.rows.extend(found.derived);
        passed.set_aside.extend(found.set_aside);
        passed.ticks_failed.extend(found.ticks_failed);
    }

    /// A failure of the last call.
    fn told(&mut self, why: Refusal, from: Instant) -> Told {
        let (spent, memory) = (from.elapsed(), self.transform.usage().memory_bytes);
        Told { why, spent, memory, trace: self.transform.trace().to_vec() }
    }

    fn search(&mut self, stream: &Stream, indices: &[usize], readings: &[Reading], found: &mut Found) {
        let mut batch = indices.iter().map(|&i| readings[i].clone()).collect();
        let from = Instant::now();
        match (self.transform.apply(stream, &mut batch), indices) {
            (Ok(applied), _) => {
                found.rows.extend(batch);
                found.derived.extend(applied.derived);
                found.ticks_failed.extend(applied.tick_failed.map(|why| self.told(why, from)));
            }
            (Err(why), &[index]) => {
                let why = self.told(why, from);
                found.set_aside.push(SetAside { index, why });
            }
            (Err(_), _) => {
                let (first, second) = indices.split_at(indices.len() / 2);
                self.search(stream, first, readings, found);
                self.search(stream, second, readings, found);
            }
        }
    }
}

impl Told {
    /// Why, what was used and where, one fact a line.
    pub(super) fn tell(&self) -> String {
        let mut text = self.why.to_string();
        match self.why {
            Refusal::CpuLimit { .. } => {
                let _ = write!(text, "; {} ms had passed", self.spent.as_millis());
            }
            Refusal::MemoryLimit { .. } => {
                let _ = write!(text, "; it had {}", super::size(self.memory));
            }
            _ => {}
        }
        for frame in own(&self.trace) {
            let _ = write!(text, "\n  in {frame}");
        }
        text
    }
}

/// The frames that are worth showing: the author's, or whatever there is.
fn own(trace: &[Frame]) -> Vec<Frame> {
    let foreign = |f: &Frame| {
        let file = f.file.as_deref().unwrap_or_default();
        let function = f.function.as_deref().unwrap_or_default();
        // The compiler's library, and what the SDK's macro and the bindings make around the author's code.
        ["/rust/", "/rustc/", "/cargo/"].iter().any(|p| file.starts_with(p))
            || file.contains("/library/")
            || file.contains("sdk/src/")
            || ["core::", "std::", "alloc::", "<core::", "<alloc::", "<std::"]
                .iter()
                .any(|p| function.starts_with(p))
            || function.contains("milepost_component")
            || function.contains("milepost:transform")
            || (f.file.is_none() && function.starts_with("__"))
    };
    let own: Vec<Frame> = trace.iter().filter(|f| !foreign(f)).take(MAX_FRAMES).cloned().collect();
    if own.is_empty() { trace.iter().take(MAX_FRAMES).cloned().collect() } else { own }
}

/// `name=value` of a command line.
pub(super) fn param(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("take NAME=VALUE".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_author_sees_their_own_code_first() {
        let frame = |function: &str, file: &str| Frame {
            function: Some(function.into()),
            file: (!file.is_empty()).then(|| file.into()),
            line: Some(7),
        };
        let trace = [
            frame("core::panicking::panic_fmt", "/rust/lib/rustlib/src/core/panicking.rs"),
            frame("mine::Mine::speed", "src/lib.rs"),
            frame("milepost_transform::run::walk", "./.milepost/sdk/src/run.rs"),
            frame("mine::milepost_component::with", "src/lib.rs"),
        ];
        assert_eq!(own(&trace), [trace[1].clone()]);
        assert_eq!(own(&trace[..1]), [trace[0].clone()]);
        assert_eq!(trace[1].to_string(), "mine::Mine::speed at src/lib.rs:7");
    }

    #[test]
    fn parameters_of_the_command_line_have_a_name() {
        assert_eq!(param("a=b=c"), Ok(("a".into(), "b=c".into())));
        assert!(param("a").is_err() && param("=b").is_err());
    }
}
