//! What the fuzz targets do with bytes. `wire/tests/fuzz_bodies.rs` runs the same as an ordinary test.

use milepost_wire::frame::{self, EXPANSION, MAX_READINGS};
use milepost_wire::link::{Decoder, Encoder, MAX_LINE};
use milepost_wire::{
    Batch, BootId, Clock, Column, ColumnSpec, Digest, Kind, Stream, Validity, Values, VarBytes, VehicleId,
};

/// Bytes as a frame, with a checksum that fits: what is read can be written, and reads the same.
pub(crate) fn decode(bytes: &[u8]) {
    let _ = frame::decode(bytes);
    let mut sealed = bytes.to_vec();
    sealed.extend(crc::Crc::<u32>::new(&crc::CRC_32_ISCSI).checksum(bytes).to_le_bytes());
    let Ok(batch) = frame::decode(&sealed) else { return };
    assert!(batch.len() as u64 * 9 <= sealed.len() as u64 * EXPANSION);
    assert_eq!(frame::check(&sealed).expect("what was decoded").count as usize, batch.len());
    same(&batch);
}

/// Bytes as instructions for a batch: what the rules allow is written, and reads the same.
pub(crate) fn round_trip(bytes: &[u8]) {
    same(&Feed(bytes).batch());
}

/// Bytes from a serial line, after which an intact packet is still found; what is read can be written.
pub(crate) fn link(bytes: &[u8]) {
    let identify = milepost_wire::link::Message::Identify;
    let mut line = [0; MAX_LINE];
    let n = Encoder::new().encode(&identify, &mut line).expect("a small message");
    let bytes = [bytes, &[0], &line[..n]].concat();
    let (mut decoder, mut input, mut last) = (Decoder::new(), &bytes[..], None);
    let mut again = [0; MAX_LINE];
    while let Some(event) = decoder.next(&mut input) {
        last = event.ok().map(|received| {
            Encoder::new().encode(&received.message, &mut again).expect("what was read");
            received.message == identify
        });
    }
    assert_eq!(last, Some(true));
}

fn same(batch: &Batch) {
    let frame = frame::encode(batch).unwrap_or_else(|e| panic!("{e}: {batch:?}"));
    let back = frame::decode(&frame).unwrap_or_else(|e| panic!("{e}: {batch:?}"));
    assert_eq!(bits(back), bits(batch.clone()));
}

/// Floats as their bits, so that NaN is equal to itself.
fn bits(mut batch: Batch) -> (Batch, Vec<Vec<u64>>) {
    let floats = batch.rows.columns.iter_mut().filter_map(|c| match &mut c.values {
        Values::Float(v) => Some(std::mem::take(v).into_iter().map(f64::to_bits).collect()),
        _ => None,
    });
    let floats = floats.collect();
    (batch, floats)
}

/// Bytes that are taken from the front, and zeros behind them.
struct Feed<'a>(&'a [u8]);

impl Feed<'_> {
    fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        first
    }

    fn word(&mut self) -> u64 {
        u64::from_le_bytes(std::array::from_fn(|_| self.byte()))
    }

    /// Small, middling or any.
    fn number(&mut self) -> i64 {
        match self.byte() % 4 {
            0 => i64::from(self.byte() as i8),
            1 => i64::from(self.word() as i32),
            2 => i64::from(self.byte()) * [10, 100, 1_000, 1_000_000][usize::from(self.byte() % 4)],
            _ => self.word() as i64,
        }
    }

    /// Numbers that follow each other in some way.
    fn numbers(&mut self, n: usize) -> Vec<i64> {
        let (mut value, mut step, way, unit) = (self.number(), self.number(), self.byte(), self.number());
        let next = |_| {
            match way % 5 {
                0 => value = self.number(),
                1 => value = value.wrapping_add(i64::from(self.byte() as i8)),
                2 => {
                    step = step.wrapping_add(i64::from(self.byte() as i8));
                    value = value.wrapping_add(step);
                }
                3 => value = value.wrapping_add(unit.wrapping_mul(i64::from(self.byte() as i8))),
                _ => {}
            }
            value
        };
        (0..n).map(next).collect()
    }

    fn texts(&mut self, n: usize, text: bool) -> VarBytes {
        let few = usize::from(self.byte() % 9) + 1;
        let pool: Vec<Vec<u8>> = (0..few)
            .map(|_| {
                let bytes: Vec<u8> = (0..self.byte() % 20).map(|_| self.byte()).collect();
                if text { String::from_utf8_lossy(&bytes).into_owned().into_bytes() } else { bytes }
            })
            .collect();
        let mut out = VarBytes::default();
        (0..n).for_each(|_| out.push(&pool[usize::from(self.byte()) % few]));
        out
    }

    fn column(&mut self, spec: ColumnSpec, n: usize) -> Column {
        let mut validity = Validity::default();
        let every = self.byte();
        (0..n).for_each(|_| validity.push(every < 128 || self.byte() & 1 == 0));
        let set = |i| validity.is_set(i);
        let mut values = match spec.kind {
            Kind::Int => Values::Int(self.numbers(n)),
            Kind::Float if self.byte() & 1 == 0 => {
                Values::Float(self.numbers(n).into_iter().map(|v| v as f64 / 100.0).collect())
            }
            Kind::Float => {
                Values::Float(self.numbers(n).into_iter().map(|v| f64::from_bits(v as u64)).collect())
            }
            Kind::Bool => Values::Bool((0..n).map(|_| self.byte() & 1 == 1).collect()),
            Kind::Text => Values::Text(self.texts(n, true)),
            Kind::Bytes => Values::Bytes(self.texts(n, false)),
        };
        match &mut values {
            Values::Int(v) => (0..n).filter(|i| !set(*i)).for_each(|i| v[i] = 0),
            Values::Float(v) => (0..n).filter(|i| !set(*i)).for_each(|i| v[i] = 0.0),
            Values::Bool(v) => (0..n).filter(|i| !set(*i)).for_each(|i| v[i] = false),
            Values::Text(v) | Values::Bytes(v) => {
                let all = std::mem::take(v);
                (0..n).for_each(|i| v.push(if set(i) { all.get(i).unwrap_or_default() } else { &[] }));
            }
        }
        let validity = (validity.count_set() < n).then_some(validity);
        Column { spec, values, validity }
    }

    fn batch(&mut self) -> Batch {
        let n = match self.byte() {
            255 => MAX_READINGS,
            b => usize::from(b) % 80 + 1,
        };
        let built_in = usize::from(self.byte());
        let (stream, specs) = match Stream::BUILT_IN.get(built_in % 14) {
            Some(stream) => (stream.clone(), stream.columns().unwrap_or_default().to_vec()),
            None => {
                let kinds = [Kind::Int, Kind::Float, Kind::Bool, Kind::Text, Kind::Bytes];
                let names = ["a", "lat_e7", "lon_e7", "speed_mm_s", "heading_cdeg", "b", "c"];
                let used = usize::from(self.byte()) % (names.len() + 1);
                let spec = |name: &&'static str| {
                    ColumnSpec::fixed(name, kinds[usize::from(self.byte() % 8).saturating_sub(3)])
                };
                let specs = names[..used].iter().map(spec).collect();
                ("derived".parse().expect("a name"), specs)
            }
        };
        let first_seq = self.word() % (i64::MAX as u64 - MAX_READINGS as u64);
        let lineage = (0..self.byte() % 3).map(|_| Digest(self.word().to_le_bytes())).collect();
        let vehicle = VehicleId::new("v").expect("a name");
        let mut batch = Batch::new(vehicle, BootId(self.word()), stream, &[], first_seq, lineage);
        batch.rows.ts = self.numbers(n);
        let clocks = [Clock::Gps, Clock::Ntp, Clock::None];
        let turn = self.byte();
        batch.rows.clock = (0..n).map(|i| clocks[(i / (usize::from(turn) + 1)) % 3]).collect();
        batch.rows.columns = specs.into_iter().map(|spec| self.column(spec, n)).collect();
        batch
    }
}
