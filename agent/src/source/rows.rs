//! Bytes of NDJSON to readings, for the sources that have it: lines are cut, parsed and counted.

use super::SourceCounters;
use super::jpeg::{self, Look};
use super::lines::{Lines, MAX_LINE};
use crate::ndjson::{Defaults, Parser};
use milepost_wire::{Body, Clock, Reading};

/// The state of one stream of lines.
pub(super) struct Rows {
    lines: Lines,
    parse: Parse,
}

struct Parse {
    parser: Parser,
    /// Lines that came, and those of them that were refused.
    seen: u64,
    refused: u64,
}

impl Rows {
    pub(super) fn new(defaults: Defaults) -> Self {
        let parse = Parse { parser: Parser::new(defaults), seen: 0, refused: 0 };
        Self { lines: Lines::new(MAX_LINE), parse }
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
        let parse = &mut self.parse;
        self.lines.push(bytes, |line| ready.extend(parse.line(line, now, counters)));
        counters.error("line_too_long", self.lines.take_too_long());
    }

    /// The stream has ended: a last line without its end counts.
    pub(super) fn end(
        &mut self,
        now: Option<(i64, Clock)>,
        counters: &SourceCounters,
        ready: &mut Vec<Reading>,
    ) {
        let parse = &mut self.parse;
        self.lines.end(|line| ready.extend(parse.line(line, now, counters)));
    }
}

impl Parse {
    fn line(&mut self, line: &[u8], now: Option<(i64, Clock)>, counters: &SourceCounters) -> Option<Reading> {
        self.seen += 1;
        // Some programs begin their files with a mark of the byte order, which is no part of the text.
        let line = if self.seen == 1 { line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line) } else { line };
        let parsed = match std::str::from_utf8(line) {
            Ok(line) => self.parser.parse(line, now).map_err(|e| e.to_string()),
            Err(_) => Err("The line is not UTF-8".into()),
        };
        match parsed.and_then(of_a_sensor) {
            Ok(reading) => Some(reading),
            Err(error) => {
                self.refused += 1;
                counters.refuse("refused_line", || format!("line {}: {error}", self.seen));
                // The 1st, 10th, 100th, …: a file that is all wrong must not flood the log.
                if self.refused.ilog10() != (self.refused - 1).checked_ilog10().unwrap_or(u32::MAX) {
                    let (line, refused) = (self.seen, self.refused);
                    tracing::warn!(line, refused, %error, "A line was refused");
                }
                None
            }
        }
    }
}

/// What an agent says of itself only the agent says: a forged report would make the audit miss what
/// there never was, a forged gap would excuse what is missing. A decoded log has such lines. An image
/// must be what a camera's folder would have delivered: the lake keeps it as a JPEG file.
fn of_a_sensor(reading: Reading) -> Result<Reading, String> {
    match &reading.body {
        Body::Health(_) | Body::Gap(_) => {
            Err(format!("{} is what the agent says of itself", reading.stream()))
        }
        Body::Camera(camera) => match jpeg::look(&camera.image) {
            Look::Whole(..) => Ok(reading),
            Look::Partial => Err("\"image\" is a JPEG image whose size or end is missing".into()),
            Look::Other => Err("\"image\" is no JPEG image".into()),
        },
        _ => Ok(reading),
    }
}
