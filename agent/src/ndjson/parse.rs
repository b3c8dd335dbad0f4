//! Lines to readings.

use super::time::parse_rfc3339;
use super::{ORIGIN, base64, everyday, is_reserved, object};
use milepost_wire::reading::DATABLE_US;
use milepost_wire::stream::InvalidName;
use milepost_wire::{
    Batch, Body, BootId, Clock, Column, ColumnSpec, Derived, Kind, Reading, Stream, StreamName, Validity,
    Value, Values, VarBytes, VehicleId,
};
use serde_json::{Map, Value as Json};
use std::collections::HashMap;
use std::sync::Arc;

/// How many derived streams' columns are remembered. More may come; only their nulls lose their kind.
const MAX_REMEMBERED: usize = 64;

/// What a line may leave out.
#[derive(Clone, Debug, Default)]
pub struct Defaults {
    /// The stream of a line without one.
    pub stream: Option<Stream>,
    /// The clock of a line with `ts` and without `clock`. Where this is none: the host's, as far as it
    /// is given, for a program on the same machine has no other.
    pub clock: Option<Clock>,
}

/// Why a line is not a reading.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// It is not JSON.
    #[error("The line is not a JSON object: {0}")]
    Json(String),
    /// There is neither a stream nor a default.
    #[error("The line names no stream: add \"stream\", or set a default stream")]
    NoStream,
    /// The stream cannot have this name.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// There is no time.
    #[error("The line has no \"ts\": give µs since 1970, or RFC 3339 text")]
    NoTime,
    /// A key that the stream does not have.
    #[error("{stream} has no column {key:?}")]
    UnknownKey {
        /// The stream.
        stream: String,
        /// The key.
        key: String,
    },
    /// A value of the wrong kind or out of range, or one that must be there and is not.
    #[error("{key:?} is missing, out of range or not of the kind that it must be")]
    Value {
        /// The key.
        key: String,
    },
    /// A derived row with more columns than a frame carries.
    #[error("The line has {0} columns; a row can have at most {max}", max = milepost_wire::frame::MAX_COLUMNS)]
    TooManyColumns(usize),
}

/// Reads lines. It remembers the columns of derived streams, so that all rows of one share them, a
/// null keeps its column's kind, and a whole number in a column of floats is a float.
#[derive(Debug, Default)]
pub struct Parser {
    defaults: Defaults,
    known: HashMap<StreamName, Arc<[ColumnSpec]>>,
}

impl Parser {
    /// A parser that has seen nothing.
    pub fn new(defaults: Defaults) -> Self {
        Self { defaults, known: HashMap::new() }
    }

    /// Reads a line. `now` dates a line without `ts`, where there is one.
    pub fn parse(&mut self, line: &str, now: Option<(i64, Clock)>) -> Result<Reading, ParseError> {
        let mut object = object::read(line).map_err(ParseError::Json)?;
        let stream = match object.remove("stream") {
            Some(Json::String(name)) => name.parse()?,
            Some(_) => return Err(bad("stream")),
            None => self.defaults.stream.clone().ok_or(ParseError::NoStream)?,
        };
        let (ts, clock) = self.time(&mut object, now)?;
        ORIGIN.iter().for_each(|key| _ = object.remove(*key));
        let body = match stream {
            Stream::Derived(name) => Body::Derived(self.derived(name, object)?),
            built_in => built_in_body(built_in, object)?,
        };
        Ok(Reading { ts, clock, body })
    }

    fn time(
        &self,
        object: &mut Map<String, Json>,
        now: Option<(i64, Clock)>,
    ) -> Result<(i64, Clock), ParseError> {
        let clock = match object.remove("clock") {
            None | Some(Json::Null) => None,
            Some(name) => Some(name.as_str().and_then(Clock::from_name).ok_or_else(|| bad("clock"))?),
        };
        let ts = match object.remove("ts") {
            None | Some(Json::Null) => return now.ok_or(ParseError::NoTime),
            Some(Json::String(text)) => parse_rfc3339(&text),
            Some(number) => number.as_i64(),
        };
        let clock = clock.or(self.defaults.clock).or(now.map(|(_, clock)| clock));
        let ts = ts.filter(|ts| DATABLE_US.contains(ts));
        Ok((ts.ok_or_else(|| bad("ts"))?, clock.unwrap_or(Clock::None)))
    }

    fn derived(&mut self, stream: StreamName, object: Map<String, Json>) -> Result<Derived, ParseError> {
        if object.len() > milepost_wire::frame::MAX_COLUMNS {
            return Err(ParseError::TooManyColumns(object.len()));
        }
        let known = self.known.get(&stream).cloned().unwrap_or_default();
        let mut columns = Vec::with_capacity(object.len());
        let mut values = Vec::with_capacity(object.len());
        for (mut key, json) in object {
            if key.strip_suffix('_').is_some_and(is_reserved) {
                key.pop();
            }
            let known_kind = known.iter().find(|c| c.name == key).map(|c| c.kind);
            let value = match derived_value(json).ok_or_else(|| bad(&key))? {
                Value::Int(n) if known_kind == Some(Kind::Float) => Value::Float(n as f64),
                value => value,
            };
            // A null of a column that nobody has seen yet: the kind that most measurements have.
            let kind = value.kind().or(known_kind).unwrap_or(Kind::Float);
            columns.push(ColumnSpec::new(key, kind)?);
            values.push(value);
        }
        let columns = if *known == *columns { known } else { columns.into() };
        if self.known.len() < MAX_REMEMBERED || self.known.contains_key(&stream) {
            self.known.insert(stream.clone(), Arc::clone(&columns));
        }
        Ok(Derived { stream, columns, values })
    }
}

fn derived_value(json: Json) -> Option<Value> {
    Some(match json {
        Json::Null => Value::Null,
        Json::Bool(b) => Value::Bool(b),
        Json::Number(n) if n.is_f64() => Value::Float(n.as_f64()?),
        Json::Number(n) => Value::Int(n.as_i64()?),
        Json::String(text) => Value::Text(text),
        Json::Object(o) if o.len() == 1 => Value::Bytes(base64::decode(o.get("base64")?.as_str()?)?),
        Json::Array(_) | Json::Object(_) => return None,
    })
}

/// Builds the reading by way of a batch of one row, which knows every stream's columns and ranges.
fn built_in_body(stream: Stream, mut object: Map<String, Json>) -> Result<Body, ParseError> {
    let specs = stream.columns().unwrap_or(&[]);
    let mut columns = Vec::with_capacity(specs.len());
    for spec in specs {
        let (key, json, scale) = take(&mut object, &spec.name);
        let default = (stream == Stream::Gps && spec.name == "fix").then_some(1);
        let json = json.or(default.map(Json::from));
        // Wire names say what a frame says, whatever that is; everyday ones come from people's programs.
        let column = column(spec, json.unwrap_or(Json::Null), scale);
        let column = column.and_then(|c| if scale == 1.0 { Some(c) } else { on_the_globe(spec, c) });
        columns.push(column.ok_or_else(|| bad(key))?);
    }
    if let Some((key, _)) = object.into_iter().next() {
        return Err(ParseError::UnknownKey { stream: stream.to_string(), key: shortened(&key) });
    }
    let nobody = VehicleId::new("x").expect("a valid name");
    let mut row = Batch::new(nobody, BootId(0), stream, &[], 0, Vec::new());
    row.rows.ts.push(0);
    row.rows.clock.push(Clock::None);
    row.rows.columns = columns;
    row.reading(0).map(|reading| reading.body).map_err(bad)
}

/// Takes a column's value by its wire or its everyday name, with the scale of the name it had.
fn take<'a>(object: &mut Map<String, Json>, wire: &'a str) -> (&'a str, Option<Json>, f64) {
    if is_reserved(wire) {
        return (wire, object.remove(&format!("{wire}_")), 1.0);
    }
    match (object.remove(wire), everyday(wire)) {
        (None, Some((name, scale))) => (name, object.remove(name), scale),
        (value, _) => (wire, value, 1.0),
    }
}

fn column(spec: &ColumnSpec, json: Json, scale: f64) -> Option<Column> {
    let null = json.is_null();
    let values = match spec.kind {
        Kind::Int => Values::Int(vec![if null { 0 } else { int(&json, scale)? }]),
        Kind::Float => Values::Float(vec![if null { 0.0 } else { json.as_f64()? }]),
        Kind::Bool => Values::Bool(vec![if null { false } else { json.as_bool()? }]),
        Kind::Text => Values::Text(one(if null { "" } else { json.as_str()? }.as_bytes())),
        Kind::Bytes => Values::Bytes(one(&if null { Vec::new() } else { base64::decode(json.as_str()?)? })),
    };
    let validity = null.then(|| {
        let mut validity = Validity::default();
        validity.push(false);
        validity
    });
    Some(Column { spec: spec.clone(), values, validity })
}

/// A position or a heading as there can be one; what else is in range, the stream's own kinds say.
fn on_the_globe(spec: &ColumnSpec, mut column: Column) -> Option<Column> {
    if let Values::Int(values) = &mut column.values {
        for value in values {
            match &*spec.name {
                "lat_e7" if value.abs() > 900_000_000 => return None,
                "lon_e7" if value.abs() > 1_800_000_000 => return None,
                "heading_cdeg" if !(0..=36_000).contains(value) => return None,
                // North has two names; the wire has one.
                "heading_cdeg" => *value %= 36_000,
                _ => {}
            }
        }
    }
    Some(column)
}

fn one(bytes: &[u8]) -> VarBytes {
    let mut values = VarBytes::default();
    values.push(bytes);
    values
}

/// A whole number of the wire's units.
fn int(json: &Json, scale: f64) -> Option<i64> {
    if scale == 1.0
        && let Some(n) = json.as_i64()
    {
        return Some(n);
    }
    let scaled = json.as_f64()? * scale;
    // Beyond 2^53 a float does not hold every whole number; nothing here is that large.
    (scaled.abs() < 9e15 && (scale != 1.0 || scaled.fract() == 0.0)).then_some(scaled.round() as i64)
}

fn bad(key: &str) -> ParseError {
    ParseError::Value { key: shortened(key) }
}

/// Of a key no more than a message can bear.
fn shortened(key: &str) -> String {
    key.chars().take(64).collect()
}
