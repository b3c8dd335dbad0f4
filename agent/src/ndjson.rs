//! Readings as lines of JSON: what other programs hand to the agent, what recorded drives are kept
//! as, and what `milepost decode` prints.
//!
//! A line is an object. `stream` names the stream (a default may stand in), `ts` is the event time in
//! µs since 1970 or RFC 3339 text, `clock` says `gps`, `ntp` or `none`, and every other key is a
//! column: by its name on the wire in fixed point (`"lat_e7": 515074000`) or by its everyday name in
//! everyday units (`"lat": 51.5074`). An image is base64. `vehicle_id`, `boot_id`, `seq` and
//! `lineage`, which [`Line`] writes, are passed over when read. A key that the stream does not have
//! is refused, so that a misspelt column cannot be lost in silence.
//!
//! A stream that is not built in becomes a derived one whose columns are the keys, in alphabetical
//! order, with the kinds of their JSON values; `{"base64": "…"}` is bytes. A float may come out one unit
//! in its last place off, and NaN and infinities are null: JSON has none.
//!
//! A column that has the name of one of the keys above, such as `stream` of `gap_data`, is written with
//! `_` behind it.

mod base64;
mod object;
mod parse;
mod time;
mod write;

pub use parse::{Defaults, ParseError, Parser};
pub use time::{parse_rfc3339, rfc3339};
pub use write::{Line, write};

/// The keys that say where a line comes from, not what was read.
const ORIGIN: [&str; 4] = ["vehicle_id", "boot_id", "seq", "lineage"];

/// Whether a column of this name needs another key.
fn is_reserved(column: &str) -> bool {
    matches!(column, "stream" | "ts" | "clock") || ORIGIN.contains(&column)
}

/// A column's everyday name and how many of the wire's units make one everyday unit, for example
/// `lat` and 1e7 for `lat_e7`. `None` where the wire's name is the everyday one.
pub fn everyday(wire: &str) -> Option<(&str, f64)> {
    const SUFFIXES: [(&str, f64); 8] = [
        ("_c_e2", 100.0),
        ("_mm_h_e2", 100.0),
        ("_pct_e2", 100.0),
        ("_mm_s", 1000.0),
        ("_cdeg", 100.0),
        ("_cm", 100.0),
        ("_e7", 1e7),
        ("_e2", 100.0),
    ];
    SUFFIXES.iter().find_map(|(suffix, scale)| Some((wire.strip_suffix(suffix)?, *scale)))
}

#[cfg(test)]
mod tests;
