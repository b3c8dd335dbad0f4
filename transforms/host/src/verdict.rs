//! What a transform returned for a batch, checked before anything changes, then carried out.

use crate::bindings::milepost::transform::types as wit;
use crate::convert;
use crate::failure::Failure;
use crate::limits::Limits;
use crate::sandbox::said;
use milepost_wire::{Body, Reading, Stream};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A verdict that can be carried out.
#[derive(Debug)]
pub(crate) struct Verdict {
    kept: wit::Kept,
    /// In the place of or behind the reading of that index, never decreasing.
    put_in: Vec<(usize, Reading)>,
    /// Rows of other streams.
    pub(crate) derived: Vec<Reading>,
    /// Readings with nothing in their place.
    pub(crate) taken_out: usize,
    /// Readings of the stream more than there were.
    pub(crate) added: usize,
}

impl Verdict {
    /// Checks what was returned for `len` readings of `stream`.
    pub(crate) fn check(
        output: wit::Output,
        stream: &Stream,
        len: usize,
        limits: &Limits,
    ) -> Result<Self, Failure> {
        let rows = output.put_in.as_ref().map_or(0, |p| p.at.len());
        let rows = output.derived.iter().map(|d| d.rows.len()).fold(rows, usize::saturating_add);
        if rows > limits.output_rows {
            return Err(Failure::OutputLimit { unit: "rows", limit: limits.output_rows });
        }
        if let wit::Kept::Bits(bits) = &output.kept
            && bits.len() != len.div_ceil(8)
        {
            return Err(invalid(format!("{} bytes of bits for {len} readings", bits.len())));
        }
        let put_in = insertions(output.put_in, stream, len)?;
        let derived = derived_rows(output.derived, stream)?;
        let mut verdict = Self { kept: output.kept, put_in, derived, taken_out: 0, added: 0 };
        verdict.count(len);
        Ok(verdict)
    }

    /// The derived rows with those of a `tick`.
    pub(crate) fn with_derived(
        &self,
        more: Vec<wit::DerivedResult>,
        stream: &Stream,
        limits: &Limits,
    ) -> Result<Vec<Reading>, Failure> {
        let mut derived = self.derived.clone();
        derived.extend(derived_rows(more, stream)?);
        one_shape(&derived)?;
        if self.put_in.len() + derived.len() > limits.output_rows {
            return Err(Failure::OutputLimit { unit: "rows", limit: limits.output_rows });
        }
        Ok(derived)
    }

    fn keeps(&self, i: usize) -> bool {
        match &self.kept {
            wit::Kept::All => true,
            wit::Kept::Nothing => false,
            wit::Kept::Bits(bits) => bits[i / 8] >> (i % 8) & 1 == 1,
        }
    }

    fn count(&mut self, len: usize) {
        let kept = match &self.kept {
            wit::Kept::All => len,
            wit::Kept::Nothing => 0,
            wit::Kept::Bits(_) => (0..len).filter(|&i| self.keeps(i)).count(),
        };
        let mut changed = 0;
        let mut last = None;
        for (at, _) in &self.put_in {
            if last != Some(*at) && !self.keeps(*at) {
                changed += 1;
            }
            last = Some(*at);
        }
        self.taken_out = len - kept - changed;
        self.added = self.put_in.len() - changed;
    }

    /// Carries it out; gives the derived rows.
    pub(crate) fn carry_out(mut self, readings: &mut Vec<Reading>) -> Vec<Reading> {
        let derived = std::mem::take(&mut self.derived);
        if self.put_in.is_empty() {
            match self.kept {
                wit::Kept::All => {}
                wit::Kept::Nothing => readings.clear(),
                wit::Kept::Bits(_) => {
                    let mut i = 0;
                    readings.retain(|_| {
                        i += 1;
                        self.keeps(i - 1)
                    });
                }
            }
            return derived;
        }
        let mut put_in = std::mem::take(&mut self.put_in).into_iter().peekable();
        let room = readings.len() + put_in.len();
        let before = std::mem::replace(readings, Vec::with_capacity(room));
        for (i, reading) in before.into_iter().enumerate() {
            if self.keeps(i) {
                readings.push(reading);
            }
            while let Some((_, more)) = put_in.next_if(|(at, _)| *at == i) {
                readings.push(more);
            }
        }
        derived
    }
}

fn insertions(
    put_in: Option<wit::Insertions>,
    stream: &Stream,
    len: usize,
) -> Result<Vec<(usize, Reading)>, Failure> {
    let Some(wit::Insertions { at, readings }) = put_in else { return Ok(Vec::new()) };
    let readings = convert::from_batch(stream, readings).map_err(invalid)?;
    let at: Vec<usize> = at.into_iter().map(|i| i as usize).collect();
    if at.len() != readings.len() || !at.is_sorted() || at.last().is_some_and(|&i| i >= len) {
        let (places, rows) = (at.len(), readings.len());
        return Err(invalid(format!("{places} places, ascending below {len}, do not hold {rows} readings")));
    }
    Ok(at.into_iter().zip(readings).collect())
}

fn derived_rows(derived: Vec<wit::DerivedResult>, stream: &Stream) -> Result<Vec<Reading>, Failure> {
    let mut rows = Vec::new();
    for table in derived {
        let more = convert::derived_out(table).map_err(invalid)?;
        if let (Some(Reading { body: Body::Derived(row), .. }), Stream::Derived(own)) = (more.first(), stream)
            && row.stream == *own
        {
            return Err(invalid(format!("rows of its own stream {stream} belong among the readings put in")));
        }
        rows.extend(more);
    }
    one_shape(&rows)?;
    Ok(rows)
}

/// Rows of one stream have the same columns, also where they come in several tables.
fn one_shape(rows: &[Reading]) -> Result<(), Failure> {
    let mut shapes = BTreeMap::new();
    for row in rows {
        let Body::Derived(row) = &row.body else { continue };
        let columns = *shapes.entry(&row.stream).or_insert(&row.columns);
        if !Arc::ptr_eq(columns, &row.columns) && *columns != row.columns {
            return Err(invalid(format!("rows of stream {} with different columns", row.stream.as_str())));
        }
    }
    Ok(())
}

fn invalid(what: String) -> Failure {
    Failure::InvalidOutput(said(&what))
}

#[cfg(test)]
mod tests {
    use super::*;
    use milepost_wire::Clock;
    use milepost_wire::reading::Gps;

    fn fix(ts: i64) -> Reading {
        let gps = Gps {
            lat_e7: 0,
            lon_e7: 0,
            altitude_cm: None,
            speed_mm_s: None,
            heading_cdeg: None,
            fix: 1,
            satellites: None,
            hdop_e2: None,
        };
        Reading { ts, clock: Clock::Gps, body: gps.into() }
    }

    fn row(ts_us: i64) -> wit::Gps {
        wit::Gps {
            ts_us,
            clock: wit::Clock::Gps,
            lat_e7: 0,
            lon_e7: 0,
            altitude_cm: None,
            speed_mm_s: None,
            heading_cdeg: None,
            fix: 1,
            satellites: None,
            hdop_e2: None,
        }
    }

    /// What five fixes at 0, 10, 20, … become: their times, how many were taken out and added.
    fn check(kept: wit::Kept, at: &[u32], rows: &[i64]) -> Result<(Vec<i64>, usize, usize), Failure> {
        let readings = wit::BatchResult::Gps(rows.iter().map(|&ts| row(ts)).collect());
        let put_in = (!at.is_empty()).then(|| wit::Insertions { at: at.to_vec(), readings });
        let output = wit::Output { kept, put_in, derived: Vec::new() };
        let mut readings: Vec<Reading> = (0..5).map(|i| fix(i * 10)).collect();
        let verdict = Verdict::check(output, &Stream::Gps, 5, &Limits::default())?;
        let (taken_out, added) = (verdict.taken_out, verdict.added);
        verdict.carry_out(&mut readings);
        assert_eq!(5 + added, readings.len() + taken_out);
        Ok((readings.iter().map(|r| r.ts).collect(), taken_out, added))
    }

    #[test]
    fn readings_are_kept_taken_out_changed_and_added_in_their_places() {
        assert_eq!(check(wit::Kept::All, &[], &[]), Ok((vec![0, 10, 20, 30, 40], 0, 0)));
        assert_eq!(check(wit::Kept::Nothing, &[], &[]), Ok((vec![], 5, 0)));
        assert_eq!(check(wit::Kept::Bits(vec![0b10010]), &[], &[]), Ok((vec![10, 40], 3, 0)));
        assert_eq!(
            check(wit::Kept::Bits(vec![0b11101]), &[1, 1, 4], &[11, 12, 41]),
            Ok((vec![0, 11, 12, 20, 30, 40, 41], 0, 2))
        );
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (kept, at, rows) in [
            (wit::Kept::Bits(vec![]), &[][..], &[][..]),
            (wit::Kept::Bits(vec![1, 1]), &[], &[]),
            (wit::Kept::All, &[5], &[1]),
            (wit::Kept::All, &[2, 1], &[1, 2]),
            (wit::Kept::All, &[1, 2], &[1]),
            (wit::Kept::All, &[u32::MAX], &[1]),
        ] {
            assert!(matches!(check(kept, at, rows), Err(Failure::InvalidOutput(_))), "{at:?}");
        }
    }

    #[test]
    fn rows_of_one_stream_have_one_shape_in_all_tables_and_ticks() {
        let table = |value: wit::ValueResult, kind| wit::DerivedResult {
            stream: "seen".into(),
            columns: vec![wit::ColumnResult { name: "n".into(), kind }],
            rows: vec![wit::RowResult { ts_us: 0, clock: wit::Clock::Gps, values: vec![value] }],
        };
        let int = || table(wit::ValueResult::Int(1), wit::Kind::Int);
        let text = || table(wit::ValueResult::Text("1".into()), wit::Kind::Text);
        let check = |derived| {
            let output = wit::Output { kept: wit::Kept::All, put_in: None, derived };
            Verdict::check(output, &Stream::Gps, 0, &Limits::default())
        };
        assert_eq!(check(vec![int(), int()]).unwrap().derived.len(), 2);
        let refused = check(vec![int(), text()]).unwrap_err().to_string();
        assert!(refused.contains("stream seen with different columns"), "{refused}");
        let verdict = check(vec![int()]).unwrap();
        assert_eq!(verdict.with_derived(vec![int()], &Stream::Gps, &Limits::default()).unwrap().len(), 2);
        assert!(verdict.with_derived(vec![text()], &Stream::Gps, &Limits::default()).is_err());
    }
}
