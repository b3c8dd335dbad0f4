//! What goes in: readings from NDJSON, from a receiver's NMEA log or from Parquet of the lake, each with
//! its place, so that a message can name it.

use super::lake;
use crate::Failure;
use milepost_agent::ndjson::{Defaults, Parser};
use milepost_agent::source::nmea::{self, Dated};
use milepost_wire::{Clock, Reading, Stream};
use std::path::Path;

/// The longest file that is read. A case of more than this is a drive to be cut.
const MAX_FILE: u64 = 256 << 20;

/// A reading and where it was found, such as `line 17`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Located {
    pub reading: Reading,
    pub place: String,
}

/// What a file leaves out, or has too much of.
#[derive(Clone, Debug, Default)]
pub(super) struct Wanted {
    /// NDJSON: the stream of lines that name none.
    pub stream: Option<Stream>,
    /// Parquet: whose rows.
    pub vehicle: Option<String>,
}

/// Reads a file, or a folder of Parquet files. What it is, its content says.
pub(super) fn read(path: &Path, wanted: &Wanted) -> Result<Vec<Located>, Failure> {
    let metadata = path.metadata().map_err(|e| format!("{} cannot be read: {e}", path.display()))?;
    if metadata.is_dir() || path.extension().is_some_and(|e| e == "parquet") {
        return lake::read(path, wanted.vehicle.as_deref());
    }
    if !metadata.is_file() {
        return Err(format!("{} is neither a file nor a folder", path.display()).into());
    }
    if metadata.len() > MAX_FILE {
        let (shown, len) = (path.display(), metadata.len());
        return Err(format!("{shown} has {len} bytes: cut it to at most {MAX_FILE}").into());
    }
    let bytes = std::fs::read(path).map_err(|e| format!("{} cannot be read: {e}", path.display()))?;
    let readings = match bytes.trim_ascii_start().first() {
        Some(b'{') => ndjson(&bytes, wanted),
        Some(_) => from_nmea(&bytes),
        None => Ok(Vec::new()),
    };
    let readings = readings.map_err(|e| format!("{}, {e}", path.display()))?;
    if readings.is_empty() {
        return Err(format!("{} has no readings", path.display()).into());
    }
    Ok(readings)
}

/// Reads lines of JSON; empty ones are passed over. The error names the line.
pub(super) fn ndjson(bytes: &[u8], wanted: &Wanted) -> Result<Vec<Located>, String> {
    let mut parser = parser(wanted);
    let text = std::str::from_utf8(bytes).map_err(|e| format!("byte {}: not UTF-8", e.valid_up_to()))?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(i, line)| {
            let place = format!("line {}", i + 1);
            match parser.parse(line, None) {
                Ok(reading) => Ok(Located { reading, place }),
                Err(e) => Err(format!("{place}: {e}")),
            }
        })
        .collect()
}

/// A parser for lines of a case: times are the receiver's, unless a line says otherwise.
pub(super) fn parser(wanted: &Wanted) -> Parser {
    Parser::new(Defaults { stream: wanted.stream.clone(), clock: Some(Clock::Gps) })
}

/// Reads a receiver's log. Fixes before the first date are passed over: they have no time of their own.
fn from_nmea(bytes: &[u8]) -> Result<Vec<Located>, String> {
    let mut readings = Vec::new();
    let mut reader = nmea::Reader::of_sentences();
    let mut last = None;
    let mut fixes = 0;
    let mut take = |fix: nmea::Fix| {
        fixes += 1;
        let (reading, dated) = nmea::date(&fix, None, (last.unwrap_or(0), Clock::Gps));
        if dated == Dated::ByHost && last.is_none() {
            return;
        }
        last = Some(reading.ts);
        readings.push(Located { reading, place: format!("fix {fixes}") });
    };
    reader.push(bytes, &mut take);
    reader.end(&mut take);
    if fixes == 0 {
        return Err("byte 0: neither NDJSON nor NMEA with a fix".into());
    }
    Ok(readings)
}

#[cfg(test)]
mod tests {
    use super::*;
    use milepost_wire::Body;

    #[test]
    fn lines_are_found_and_a_wrong_one_is_named() {
        let text = b"{\"ts\":1,\"lat\":1,\"lon\":2}\n\n{\"ts\":2,\"lat\":1,\"lon\":2}\n";
        let wanted = Wanted { stream: Some(Stream::Gps), vehicle: None };
        let found = ndjson(text, &wanted).unwrap();
        assert_eq!(
            found.iter().map(|l| (l.place.as_str(), l.reading.ts)).collect::<Vec<_>>(),
            [("line 1", 1), ("line 3", 2)]
        );
        assert_eq!(found[0].reading.clock, Clock::Gps);
        let refused = ndjson(b"{\"ts\":1,\"lat\":1,\"lon\":2,\"sped\":3}", &wanted).unwrap_err();
        assert_eq!(refused, "line 1: gps_data has no column \"sped\"");
    }

    #[test]
    fn a_log_of_a_receiver_gives_its_fixes_from_the_first_date_on() {
        let sentence = |body: &str| format!("${body}*{:02X}\r\n", body.bytes().fold(0u8, |a, b| a ^ b));
        let gga = |s: u32| {
            sentence(&format!("GPGGA,0800{s:02}.00,5210.0000,N,00130.0000,W,1,08,0.9,100.0,M,47.0,M,,"))
        };
        let rmc = |s: u32| {
            sentence(&format!("GPRMC,0800{s:02}.00,A,5210.0000,N,00130.0000,W,30.0,010.0,020326,,,A"))
        };
        let log = [gga(1), gga(2), rmc(2), gga(3), rmc(3), gga(4)].concat();
        let found = from_nmea(log.as_bytes()).unwrap();
        let places: Vec<&str> = found.iter().map(|l| l.place.as_str()).collect();
        assert_eq!(places, ["fix 2", "fix 3", "fix 4"]);
        let step = found.windows(2).map(|w| w[1].reading.ts - w[0].reading.ts);
        assert!(step.into_iter().all(|us| us == 1_000_000));
        assert!(
            matches!(&found[0].reading.body, Body::Gps(g) if g.speed_mm_s == Some(15_433)),
            "{:?}",
            found[0]
        );
        assert!(from_nmea(b"hello\n").is_err());
    }
}
