//! The body: the columns one after the other as bits, then the bytes of texts and images.
//!
//! ```text
//! bits    times, clocks, whether a column has a null, columns in their order, but positions last where
//!         speed and heading are there too
//! zeros   only where the frame would be shorter than 1/EXPANSION of what it holds
//! bytes   of text and bytes columns, the first written column's last
//! ```

use super::bits::{Reader, Writer};
use super::hints;
use super::int::{self, Scratch};
use super::kinds::{self, Heap};
use super::layout::{self, Moving, cells_footprint, mask_footprint, nulls};
use super::motion::{Axis, Motion, Way};
use super::times::Span;
use super::{CRC, DecodeError, EXPANSION, MAX_DECODED};
use crate::columns::{Column, Columns, Validity, Values, VarBytes};
use crate::reading::Clock;
use crate::stream::{ColumnSpec, Kind};
use alloc::vec::Vec;

/// What the columns share while they are written.
struct Writing<'a> {
    w: Writer,
    /// Whether no column has a null.
    full: bool,
    mask: Option<&'a Validity>,
    heaps: Vec<Heap<'a>>,
    scratch: Scratch,
}

/// Writes rows that keep the rules behind a header.
pub(super) fn write(mut w: Writer, rows: &Columns, times: &Span) -> Vec<u8> {
    let mut scratch = Scratch::default();
    times.write_times(&mut w, &rows.ts, &mut scratch);
    write_clocks(&mut w, &rows.clock);
    let full = rows.columns.iter().all(|c| nulls(c).is_none());
    w.flag(!full);
    let mut writing = Writing { w, full, mask: None, heaps: Vec::new(), scratch };
    let moving = Moving::find(rows.columns.iter().map(|c| &c.spec));
    for (i, column) in rows.columns.iter().enumerate() {
        if moving.is_none_or(|m| !m.holds(i)) {
            writing.column(column, None);
        }
    }
    if let Some(m) = moving {
        let (latitude, longitude) = (&rows.columns[m.latitude], &rows.columns[m.longitude]);
        let motion = Motion::new(&rows.ts, &rows.columns[m.speed], &rows.columns[m.heading]);
        let way = |axis| motion.as_ref().map(|motion| Way { motion, axis });
        writing.column(latitude, way(Axis::North).as_ref());
        writing.column(longitude, first_of(latitude).and_then(|first| way(Axis::East(first))).as_ref());
    }
    let Writing { w, heaps, .. } = writing;
    let mut out = w.finish();
    let heap: usize = heaps.iter().map(|h| h.bytes).sum();
    let least = layout::footprint(rows).div_ceil(EXPANSION) as usize;
    let zeros = least.saturating_sub(out.len() + heap + CRC);
    out.reserve_exact(zeros + heap + CRC);
    out.resize(out.len() + zeros, 0);
    heaps.iter().rev().flat_map(|h| &h.pieces).for_each(|piece| out.extend_from_slice(piece));
    out
}

/// The first latitude, for the scale of longitudes; `None` where a latitude is missing.
fn first_of(latitude: &Column) -> Option<i64> {
    if nulls(latitude).is_some() { None } else { latitude.int(0) }
}

impl<'a> Writing<'a> {
    fn column(&mut self, column: &'a Column, way: Option<&Way<'_>>) {
        let mask = nulls(column);
        match mask {
            None if self.full => {}
            None => self.w.put(0, 1),
            Some(mask) if mask.count_set() == 0 => return self.w.put(0b01, 2),
            Some(mask) if self.mask == Some(mask) => self.w.put(0b111, 3),
            Some(mask) => {
                self.w.put(0b011, 3);
                kinds::write_bools(&mut self.w, &(0..mask.len()).map(|i| mask.is_set(i)).collect::<Vec<_>>());
                self.mask = Some(mask);
            }
        }
        let (w, scratch) = (&mut self.w, &mut self.scratch);
        match (&column.values, mask) {
            (Values::Int(v), None) => int::write(w, v, hints::of(&column.spec.name), way, scratch),
            (Values::Int(v), Some(m)) => {
                int::write(w, &present(v, m), hints::of(&column.spec.name), None, scratch);
            }
            (Values::Float(v), None) => kinds::write_floats(w, v, scratch),
            (Values::Float(v), Some(m)) => kinds::write_floats(w, &present(v, m), scratch),
            (Values::Bool(v), None) => kinds::write_bools(w, v),
            (Values::Bool(v), Some(m)) => kinds::write_bools(w, &present(v, m)),
            (Values::Text(v) | Values::Bytes(v), _) => {
                let rows =
                    (0..column.len()).filter(|i| column.is_set(*i)).map(|i| v.get(i).unwrap_or_default());
                self.heaps.push(kinds::write_texts(w, rows.collect(), scratch));
            }
        }
    }
}

fn present<T: Copy>(values: &[T], mask: &Validity) -> Vec<T> {
    (0..).zip(values).filter(|(i, _)| mask.is_set(*i)).map(|(_, v)| *v).collect()
}

/// One clock for all rows in 1 to 3 bits, or runs.
fn write_clocks(w: &mut Writer, clocks: &[Clock]) {
    if clocks.iter().all(|c| *c == clocks[0]) {
        return match clocks[0] {
            Clock::Gps => w.put(0, 1),
            Clock::Ntp => w.put(0b01, 2),
            Clock::None => w.put(0b011, 3),
        };
    }
    w.put(0b111, 3);
    for run in clocks.chunk_by(|a, b| a == b) {
        w.put(run[0] as u64, 2);
        w.gamma(run.len() as u64);
    }
}

fn read_clocks(r: &mut Reader<'_>, n: usize) -> Result<Vec<Clock>, &'static str> {
    for all in [Clock::Gps, Clock::Ntp, Clock::None] {
        if !r.flag() {
            return Ok(alloc::vec![all; n]);
        }
    }
    let mut clocks = Vec::with_capacity(n);
    while clocks.len() < n {
        let clock = Clock::from_u8(r.get(2) as u8).ok_or("an unknown clock")?;
        let run = r.gamma()?;
        if run > (n - clocks.len()) as u64 {
            return Err("a run of clocks that is longer than the batch");
        }
        clocks.resize(clocks.len() + run as usize, clock);
    }
    Ok(clocks)
}

/// What the columns share while they are read.
struct Reading<'a> {
    /// The frame up to its CRC.
    frame: &'a [u8],
    r: Reader<'a>,
    n: usize,
    /// Whether no column has a null.
    full: bool,
    mask: Option<Validity>,
    /// Where the bytes of the columns that were read start.
    heap: usize,
    /// How many bytes in memory are left.
    left: u64,
}

/// Reads the rows of a frame, `frame` being all of it but its CRC, and `r` at the body's first bit.
pub(super) fn read<'a>(
    frame: &'a [u8],
    n: usize,
    times: &Span,
    specs: Vec<ColumnSpec>,
    r: Reader<'a>,
) -> Result<Columns, DecodeError> {
    let most = ((frame.len() + CRC) as u64 * EXPANSION).min(MAX_DECODED);
    let mut reading = Reading { frame, r, n, full: false, mask: None, heap: frame.len(), left: most };
    let rows = reading.rows(times, specs);
    let rows = rows.and_then(|rows| reading.end(most).map(|()| rows));
    rows.map_err(|what| DecodeError::Malformed { what, at: reading.r.byte().min(frame.len()) })
}

impl Reading<'_> {
    fn spend(&mut self, bytes: u64) -> Result<(), &'static str> {
        self.left = self.left.checked_sub(bytes).ok_or("more rows than a frame of this length may hold")?;
        Ok(())
    }

    fn rows(&mut self, times: &Span, specs: Vec<ColumnSpec>) -> Result<Columns, &'static str> {
        let cells: u64 = specs.iter().map(|s| cells_footprint(s.kind, self.n)).sum();
        self.spend(self.n as u64 * 9 + cells)?;
        let mut ts = alloc::vec![0; self.n];
        times.read_times(&mut self.r, &mut ts)?;
        let clock = read_clocks(&mut self.r, self.n)?;
        self.full = !self.r.flag();
        let moving = Moving::find(specs.iter());
        let mut columns: Vec<Column> = specs.into_iter().map(Column::new).collect();
        for (i, column) in columns.iter_mut().enumerate() {
            if moving.is_none_or(|m| !m.holds(i)) {
                self.column(column, None)?;
            }
        }
        if let Some(m) = moving {
            let mut latitude = Column::new(columns[m.latitude].spec.clone());
            let mut longitude = Column::new(columns[m.longitude].spec.clone());
            let motion = Motion::new(&ts, &columns[m.speed], &columns[m.heading]);
            let way = |axis| motion.as_ref().map(|motion| Way { motion, axis });
            self.column(&mut latitude, way(Axis::North).as_ref())?;
            self.column(
                &mut longitude,
                first_of(&latitude).and_then(|first| way(Axis::East(first))).as_ref(),
            )?;
            columns[m.latitude] = latitude;
            columns[m.longitude] = longitude;
        }
        Ok(Columns { ts, clock, columns })
    }

    fn column(&mut self, column: &mut Column, way: Option<&Way<'_>>) -> Result<(), &'static str> {
        let mask = self.read_mask()?;
        let set = mask.as_ref().map_or(self.n, Validity::count_set);
        if let Some(mask) = &mask {
            self.spend(mask_footprint(mask.len()))?;
        }
        let way = way.filter(|_| mask.is_none());
        column.values = self.values(&column.spec, set, way)?;
        if let Some(mask) = &mask {
            spread(&mut column.values, mask);
        }
        column.validity = mask;
        if self.r.overrun() {
            return Err("an early end");
        }
        Ok(())
    }

    fn read_mask(&mut self) -> Result<Option<Validity>, &'static str> {
        if self.full || !self.r.flag() {
            return Ok(None);
        }
        if !self.r.flag() {
            return Ok(Some(Validity::none_set(self.n)));
        }
        let mask = match self.r.flag() {
            true => self.mask.clone().ok_or("the same nulls as a column that has none")?,
            false => {
                let mut mask = Validity::default();
                kinds::read_bools(&mut self.r, self.n)?.into_iter().for_each(|set| mask.push(set));
                self.mask = Some(mask.clone());
                mask
            }
        };
        match mask.count_set() {
            0 => Err("a null mask with no value"),
            set if set == self.n => Err("a null mask without a null"),
            _ => Ok(Some(mask)),
        }
    }

    /// The values of the rows that have one.
    fn values(
        &mut self,
        spec: &ColumnSpec,
        set: usize,
        way: Option<&Way<'_>>,
    ) -> Result<Values, &'static str> {
        Ok(match spec.kind {
            Kind::Int => {
                let mut values = Vec::with_capacity(self.n);
                values.resize(set, 0);
                if set > 0 {
                    int::read(&mut self.r, &mut values, hints::of(&spec.name), way)?;
                }
                Values::Int(values)
            }
            Kind::Float if set > 0 => Values::Float(kinds::read_floats(&mut self.r, set)?),
            Kind::Float => Values::Float(Vec::new()),
            Kind::Bool if set > 0 => Values::Bool(kinds::read_bools(&mut self.r, set)?),
            Kind::Bool => Values::Bool(Vec::new()),
            Kind::Text => {
                let texts = self.texts(set)?;
                if !each_is_utf8(&texts) {
                    return Err("a text that is not UTF-8");
                }
                Values::Text(texts)
            }
            Kind::Bytes => Values::Bytes(self.texts(set)?),
        })
    }

    fn texts(&mut self, set: usize) -> Result<VarBytes, &'static str> {
        let mut texts = VarBytes::default();
        if set == 0 {
            return Ok(texts);
        }
        let room = self.heap.saturating_sub(self.r.byte());
        let found = kinds::read_texts(&mut self.r, set, room)?;
        self.spend(found.expanded)?;
        texts.offsets.reserve_exact(self.n);
        texts.data.reserve_exact(found.expanded as usize);
        let from = self.heap - found.heap;
        found.fill(&self.frame[from..self.heap], &mut texts.data, &mut texts.offsets);
        self.heap = from;
        Ok(texts)
    }

    /// Nothing but the zeros of a short frame may stand between bits and bytes.
    fn end(&mut self, most: u64) -> Result<(), &'static str> {
        if !self.r.align() || self.r.overrun() || self.r.byte() > self.heap {
            return Err("an end that does not fit");
        }
        let zeros = &self.frame[self.r.byte()..self.heap];
        let least = (most - self.left).div_ceil(EXPANSION);
        if !zeros.is_empty() && (zeros.iter().any(|b| *b != 0) || least != (self.frame.len() + CRC) as u64) {
            return Err("bytes that belong to no column");
        }
        Ok(())
    }
}

fn each_is_utf8(texts: &VarBytes) -> bool {
    match core::str::from_utf8(&texts.data) {
        Ok(all) => texts.offsets.iter().all(|at| all.is_char_boundary(*at as usize)),
        Err(_) => false,
    }
}

/// Puts nulls between the values.
fn spread(values: &mut Values, mask: &Validity) {
    match values {
        Values::Int(v) => spread_cells(v, mask, 0),
        Values::Float(v) => spread_cells(v, mask, 0.0),
        Values::Bool(v) => spread_cells(v, mask, false),
        Values::Text(v) | Values::Bytes(v) => {
            let mut set = 0;
            v.offsets = core::iter::once(0)
                .chain((0..mask.len()).map(|i| {
                    set += usize::from(mask.is_set(i));
                    v.offsets[set]
                }))
                .collect();
        }
    }
}

fn spread_cells<T: Copy>(values: &mut Vec<T>, mask: &Validity, null: T) {
    let mut from = values.len();
    values.resize(mask.len(), null);
    for i in (0..mask.len()).rev() {
        values[i] = match mask.is_set(i) {
            true => {
                from -= 1;
                values[from]
            }
            false => null,
        };
    }
}
