//! A case: a folder with readings, what the configuration would say, and what has to come out.

use super::diff::{Rules, differences};
use super::readings::{self, Located, Wanted};
use super::sandbox::{BATCH, Params, Passed, Subject};
use crate::Failure;
use milepost_agent::ndjson::write;
use milepost_transform_host::Engine;
use milepost_wire::{Reading, Stream};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// What comes out, beside `case.toml`.
const EXPECTED: &str = "out.ndjson";
/// Of the differences no more are shown.
const MAX_SHOWN: usize = 20;

/// A case, read.
pub(super) struct Case {
    dir: PathBuf,
    file: File,
    input: Vec<Located>,
}

/// `case.toml`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    params: BTreeMap<String, toml::Value>,
    input: Option<PathBuf>,
    stream: Option<String>,
    vehicle: Option<String>,
    batch: Option<usize>,
    tolerance: BTreeMap<String, f64>,
    ignore: BTreeSet<String>,
    set_aside: BTreeSet<usize>,
    refuses: Option<String>,
}

/// What a case gave.
pub(super) struct Ran {
    pub rows: Vec<Reading>,
    /// Whether the transform took the parameters.
    started: bool,
    /// What is not as it was expected, a line each; none where all is well.
    pub problems: Vec<String>,
}

/// The cases of a project's folder, by name; all of them, or those that are named.
pub(super) fn find(project: &Path, wanted: &[String]) -> Result<Vec<PathBuf>, Failure> {
    let folder = project.join("cases");
    let entries = std::fs::read_dir(&folder);
    let entries = entries.map_err(|e| format!("{} cannot be read: {e}", folder.display()))?;
    let mut found: Vec<PathBuf> = entries.flatten().map(|e| e.path()).filter(|p| p.is_dir()).collect();
    found.sort();
    if let Some(missing) = wanted.iter().find(|w| !found.iter().any(|p| name(p) == **w)) {
        return Err(format!("{} has no case {missing}", folder.display()).into());
    }
    found.retain(|p| wanted.is_empty() || wanted.contains(&name(p)));
    if found.is_empty() {
        return Err(format!("{} has no case: make a folder there with in.ndjson", folder.display()).into());
    }
    Ok(found)
}

/// Rules that could not be kept.
fn check(file: &File) -> Result<(), String> {
    if let Some((key, tolerance)) = file.tolerance.iter().find(|(_, t)| !t.is_finite() || **t < 0.0) {
        return Err(format!("the tolerance of {key:?} is {tolerance}: take a number from 0 up"));
    }
    match file.ignore.iter().find(|key| *key == "stream" || key.ends_with(".stream")) {
        Some(key) => Err(format!("{key:?} cannot be ignored: rows are compared stream by stream")),
        None => Ok(()),
    }
}

/// The name of a case, which is its folder's.
pub(super) fn name(dir: &Path) -> String {
    dir.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

impl Case {
    /// Reads a case's folder.
    pub(super) fn open(dir: &Path) -> Result<Self, Failure> {
        let path = dir.join("case.toml");
        let file: File = match std::fs::read_to_string(&path) {
            Ok(text) => toml::from_str(&text).map_err(|e| format!("{}: {e}", path.display()))?,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => File::default(),
            Err(e) => return Err(format!("{} cannot be read: {e}", path.display()).into()),
        };
        check(&file).map_err(|why| format!("{}: {why}", path.display()))?;
        let stream = file.stream.as_deref().map(str::parse::<Stream>).transpose();
        let stream = stream.map_err(|e| format!("{}: {e}", path.display()))?;
        let wanted = Wanted { stream, vehicle: file.vehicle.clone() };
        let input = match &file.input {
            Some(input) => readings::read(&dir.join(input), &wanted)?,
            None => readings::read(&own_input(dir)?, &wanted)?,
        };
        Ok(Self { dir: dir.into(), file, input })
    }

    /// Its name.
    pub(super) fn name(&self) -> String {
        name(&self.dir)
    }

    /// How many readings go in.
    pub(super) fn len(&self) -> usize {
        self.input.len()
    }

    /// The readings that go in.
    pub(super) fn readings(&self) -> Vec<Reading> {
        self.input.iter().map(|located| located.reading.clone()).collect()
    }

    /// What the configuration would say.
    pub(super) fn params(&self) -> Params {
        let text = |value: &toml::Value| match value {
            toml::Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        self.file.params.iter().map(|(name, value)| (name.clone(), text(value))).collect()
    }

    /// Runs it, without a look at what has to come out.
    pub(super) fn run(&self, engine: &Engine, subject: &Subject) -> Ran {
        let mut ran = Ran { rows: Vec::new(), started: false, problems: Vec::new() };
        let mut sandbox = match (subject.start(engine, self.params()), &self.file.refuses) {
            (Ok(sandbox), None) => sandbox,
            (Ok(_), Some(refuses)) => {
                ran.problems.push(format!("  It took the parameters, and has to refuse them: {refuses:?}"));
                return ran;
            }
            (Err(why), Some(refuses)) if why.to_string().contains(refuses) => return ran,
            (Err(why), _) => {
                ran.problems.push(format!("  {why}"));
                return ran;
            }
        };
        ran.started = true;
        let mut set_aside = BTreeSet::new();
        let size = self.file.batch.unwrap_or(BATCH).max(1);
        let readings = self.readings();
        for (n, batch) in readings.chunks(size).enumerate() {
            let Passed { rows, set_aside: failed, ticks_failed } = sandbox.feed(batch);
            ran.rows.extend(rows);
            for tick in ticks_failed {
                ran.problems.push(format!(
                    "  its tick failed, behind readings {} to {}:",
                    n * size + 1,
                    n * size + batch.len()
                ));
                ran.problems.extend(tick.tell().lines().map(|line| format!("    {line}")));
            }
            for one in failed {
                let index = n * size + one.index;
                set_aside.insert(index + 1);
                if !self.file.set_aside.contains(&(index + 1)) {
                    self.tell_set_aside(index, &one.why.tell(), &mut ran.problems);
                }
            }
        }
        for number in self.file.set_aside.difference(&set_aside) {
            ran.problems.push(format!("  Reading {number} was to be set aside, and was not"));
        }
        ran
    }

    fn tell_set_aside(&self, index: usize, why: &str, problems: &mut Vec<String>) {
        let Some(Located { reading, place }) = self.input.get(index) else { return };
        problems.push(format!("  reading {} ({place}) was set aside:", index + 1));
        problems.push(format!("    {}", shorten(&write(reading))));
        problems.extend(why.lines().map(|line| format!("    {line}")));
    }

    /// Compares what came out with what has to.
    pub(super) fn compare(&self, ran: &mut Ran) {
        if self.file.refuses.is_some() || !ran.started {
            return;
        }
        let path = self.dir.join(EXPECTED);
        if !path.is_file() {
            let n = ran.rows.len();
            ran.problems.push(format!(
                "  there is no {EXPECTED}: `milepost transform test --bless` writes the {n} rows that came out"
            ));
            return;
        }
        let expected = match expected(&path) {
            Ok(expected) => expected,
            Err(why) => return ran.problems.push(format!("  {why}")),
        };
        let found = differences(&expected, &ran.rows, &self.rules());
        ran.problems.extend(found.iter().take(MAX_SHOWN).flat_map(|difference| difference.lines()));
        if let Some(more) = found.len().checked_sub(MAX_SHOWN).filter(|n| *n > 0) {
            ran.problems.push(format!("  … and {more} more"));
        }
    }

    fn rules(&self) -> Rules {
        Rules { tolerance: self.file.tolerance.clone(), ignore: self.file.ignore.clone() }
    }

    /// Writes what came out as what has to.
    pub(super) fn bless(&self, rows: &[Reading]) -> Result<(), Failure> {
        let path = self.dir.join(EXPECTED);
        let text: String = rows.iter().map(|reading| write(reading) + "\n").collect();
        std::fs::write(&path, text).map_err(|e| format!("{} cannot be written: {e}", path.display()).into())
    }
}

/// The rows that have to come out.
fn expected(path: &Path) -> Result<Vec<Reading>, String> {
    let text = std::fs::read(path).map_err(|e| format!("{} cannot be read: {e}", path.display()))?;
    let rows = readings::ndjson(&text, &Wanted::default());
    let rows = rows.map_err(|e| format!("{}, {e}", path.display()))?;
    Ok(rows.into_iter().map(|located| located.reading).collect())
}

/// The file with a case's readings, `in.` and anything.
fn own_input(dir: &Path) -> Result<PathBuf, Failure> {
    let entries = std::fs::read_dir(dir).map_err(|e| format!("{} cannot be read: {e}", dir.display()))?;
    let mut inputs: Vec<PathBuf> = entries.flatten().map(|e| e.path()).collect();
    inputs.retain(|p| p.file_stem().is_some_and(|stem| stem == "in") && p.is_file());
    match &inputs[..] {
        [one] => Ok(one.clone()),
        [] => Err(format!("{} has no in.ndjson, and case.toml names no `input`", dir.display()).into()),
        _ => Err(format!("{} has {} files called in.*: keep one", dir.display(), inputs.len()).into()),
    }
}

/// A line for a person: an image would fill the screen.
fn shorten(line: &str) -> String {
    match line.char_indices().nth(300) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    }
}
