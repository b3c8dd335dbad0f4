//! Readings to lines.

use super::{base64, is_reserved};
use milepost_wire::{Batch, BootId, Column, Reading, Stream, Values, VehicleId};
use std::fmt::Write;

/// A row of a batch as a line, with where it comes from. Displays without a line end.
pub struct Line<'a> {
    /// The batch.
    pub batch: &'a Batch,
    /// Which of its rows.
    pub row: usize,
    /// Whether to say the vehicle, the boot, the sequence number and the lineage.
    pub origin: bool,
}

impl Line<'_> {
    /// Appends the line to `out`.
    pub fn write(&self, out: &mut String) {
        let (batch, row) = (self.batch, self.row);
        let (Some(ts), Some(clock)) = (batch.rows.ts.get(row), batch.rows.clock.get(row)) else {
            return;
        };
        // Writing to a string cannot fail.
        let _ = write!(out, r#"{{"stream":"{}""#, batch.stream);
        if self.origin {
            let seq = batch.first_seq.saturating_add(row as u64);
            let _ = write!(
                out,
                r#","vehicle_id":"{}","boot_id":"{}","seq":{seq},"lineage":""#,
                batch.vehicle, batch.boot
            );
            for (i, digest) in batch.lineage.iter().enumerate() {
                let _ = write!(out, "{}{digest}", if i > 0 { "," } else { "" });
            }
            out.push('"');
        }
        let _ = write!(out, r#","ts":{ts},"clock":"{}""#, clock.name());
        let derived = matches!(batch.stream, Stream::Derived(_));
        for column in &batch.rows.columns {
            let mark = if is_reserved(&column.spec.name) { "_" } else { "" };
            let _ = write!(out, r#","{}{mark}":"#, column.spec.name);
            value(out, column, row, derived);
        }
        out.push('}');
    }
}

/// One reading as a line, without a line end.
pub fn write(reading: &Reading) -> String {
    let stream = reading.stream();
    let columns = match &reading.body {
        milepost_wire::Body::Derived(derived) => derived.columns.to_vec(),
        _ => stream.columns().unwrap_or(&[]).to_vec(),
    };
    let nobody = VehicleId::new("x").expect("a valid name");
    let mut batch = Batch::new(nobody, BootId(0), stream, &columns, 0, Vec::new());
    let mut out = String::new();
    // A derived row whose values do not fit its own columns has no line; nothing makes such rows.
    if batch.push(reading).is_ok() {
        Line { batch: &batch, row: 0, origin: false }.write(&mut out);
    }
    out
}

fn value(out: &mut String, column: &Column, row: usize, derived: bool) {
    if !column.is_set(row) {
        return out.push_str("null");
    }
    // Writing to a string cannot fail.
    let _ = match &column.values {
        Values::Int(v) => write!(out, "{}", v[row]),
        Values::Bool(v) => write!(out, "{}", v[row]),
        // JSON has neither NaN nor infinities.
        Values::Float(v) if v[row].is_finite() => write!(out, "{:?}", v[row]),
        Values::Float(_) => write!(out, "null"),
        Values::Text(_) => {
            text(out, column.text(row).unwrap_or_default());
            Ok(())
        }
        Values::Bytes(_) => {
            out.push_str(if derived { r#"{"base64":""# } else { "\"" });
            base64::encode(column.bytes(row).unwrap_or_default(), out);
            out.push_str(if derived { "\"}" } else { "\"" });
            Ok(())
        }
    };
}

fn text(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if u32::from(c) < 0x20 => {
                // Writing to a string cannot fail.
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}
