//! Bytes of NDJSON to readings, for the sources that have it: lines are cut, parsed and counted.

use super::SourceCounters;
use super::lines::{Lines, MAX_LINE};
use crate::ndjson::{Defaults, Parser};
use milepost_wire::{Clock, Reading};

/// The state of one stream of lines.
pub(super) struct Rows {
    lines: Lines,
    parser: Parser,
}

impl Rows {
    pub(super) fn new(defaults: Defaults) -> Self {
        Self { lines: Lines::new(MAX_LINE), parser: Parser::new(defaults) }
    }

    /// Appends the readings that `bytes` complete. Lines that are refused are counted; a line without
    /// a time is dated `now`, where there is a now.
    pub(super) fn push(
        &mut self,
        bytes: &[u8],
        now: Option<(i64, Clock)>,
        counters: &SourceCounters,
        ready: &mut Vec<Reading>,
    ) {
        let parser = &mut self.parser;
        self.lines.push(bytes, |line| ready.extend(parse(parser, line, now, counters)));
        counters.error("line_too_long", self.lines.take_too_long());
    }

    /// The stream has ended: a last line without its end counts.
    pub(super) fn end(
        &mut self,
        now: Option<(i64, Clock)>,
        counters: &SourceCounters,
        ready: &mut Vec<Reading>,
    ) {
        let parser = &mut self.parser;
        self.lines.end(|line| ready.extend(parse(parser, line, now, counters)));
    }
}

fn parse(
    parser: &mut Parser,
    line: &[u8],
    now: Option<(i64, Clock)>,
    counters: &SourceCounters,
) -> Option<Reading> {
    let parsed = match std::str::from_utf8(line) {
        Ok(line) => parser.parse(line, now).map_err(|e| e.to_string()),
        Err(_) => Err("The line is not UTF-8".into()),
    };
    match parsed {
        Ok(reading) => Some(reading),
        Err(error) => {
            tracing::debug!(%error, "A line was refused");
            counters.error("refused_line", 1);
            None
        }
    }
}
