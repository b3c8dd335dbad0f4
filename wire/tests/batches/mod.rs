//! Batches of every shape that the rules allow, for property tests.

use milepost_wire::frame::{MAX_READINGS, decode, encode};
use milepost_wire::{
    Batch, BootId, Clock, Column, ColumnSpec, Digest, Kind, Stream, Validity, Value, Values, VehicleId,
};
use proptest::collection::vec;
use proptest::prelude::*;

/// Encodes, decodes and compares, with floats by their bits.
pub(crate) fn assert_round_trip(batch: &Batch) {
    let frame = encode(batch).unwrap_or_else(|e| panic!("{e}: {batch:?}"));
    let back = decode(&frame).unwrap_or_else(|e| panic!("{e}: {batch:?}"));
    assert_eq!(bits(&back), bits(batch), "{batch:?}");
}

/// A batch with floats as their bits, so that NaN is equal to itself, and its masks in the one canonical form.
fn bits(batch: &Batch) -> (Batch, Vec<Vec<u64>>) {
    let mut batch = batch.clone();
    let mut floats = Vec::new();
    for column in &mut batch.rows.columns {
        if column.validity.as_ref().is_some_and(|v| v.count_set() == v.len()) {
            column.validity = None;
        }
        if let Values::Float(v) = &mut column.values {
            floats.push(std::mem::take(v).into_iter().map(f64::to_bits).collect());
        }
    }
    (batch, floats)
}

/// Any batch: built-in or derived, of 1 to 200 rows, seldom thousands.
pub(crate) fn any_batch() -> impl Strategy<Value = Batch> {
    let stream = prop_oneof![
        4 => prop::sample::select(Stream::BUILT_IN.to_vec()).prop_map(|s| (s.clone(), s.columns().unwrap().to_vec())),
        4 => (derived_name(), any_columns()).prop_map(|(name, columns)| (name, columns)),
        1 => derived_name().prop_map(|name| (name, Stream::Gps.columns().unwrap().to_vec())),
    ];
    let rows = prop_oneof![20 => 1..20usize, 10 => 1..200usize, 1 => Just(MAX_READINGS)];
    (stream, rows).prop_flat_map(|((stream, columns), rows)| batch_of(stream, columns, rows))
}

fn derived_name() -> impl Strategy<Value = Stream> {
    "x[a-z0-9_]{0,47}".prop_map(|name| name.parse().unwrap())
}

fn any_columns() -> impl Strategy<Value = Vec<ColumnSpec>> {
    let kind = prop::sample::select(vec![Kind::Int, Kind::Float, Kind::Bool, Kind::Text, Kind::Bytes]);
    vec(("[a-z][a-z0-9_]{0,47}", kind), 0..7).prop_map(|columns| {
        let mut seen = std::collections::BTreeSet::new();
        let fresh = columns.into_iter().filter(|(name, _)| seen.insert(name.clone()));
        fresh.map(|(name, kind)| ColumnSpec::new(name, kind).unwrap()).collect()
    })
}

/// A batch of that stream with those columns.
pub(crate) fn batch_of(
    stream: Stream,
    columns: Vec<ColumnSpec>,
    rows: usize,
) -> impl Strategy<Value = Batch> {
    let head = (
        prop_oneof!["[A-Za-z0-9._-]{1,64}", "[a-z0-9._-]{1,64}", "[A-Z0-9._-]{1,64}"],
        any::<u64>(),
        prop_oneof![0..100_000u64, 0..i64::MAX as u64 - 8192],
        vec(any::<[u8; 8]>(), 0..4),
    );
    let clocks = prop_oneof![3 => any_clock().prop_map(move |c| vec![c; rows]), 1 => vec(any_clock(), rows)];
    let columns: Vec<_> = columns.into_iter().map(|spec| any_column(spec, rows)).collect();
    (head, any_times(rows), clocks, columns).prop_map(
        move |((vehicle, boot, first_seq, lineage), ts, clock, columns)| {
            let lineage = lineage.into_iter().map(Digest).collect();
            let vehicle = VehicleId::new(vehicle).unwrap();
            let mut batch = Batch::new(vehicle, BootId(boot), stream.clone(), &[], first_seq, lineage);
            batch.rows.ts = ts;
            batch.rows.clock = clock;
            batch.rows.columns = columns;
            batch
        },
    )
}

fn any_clock() -> impl Strategy<Value = Clock> {
    prop::sample::select(vec![Clock::Gps, Clock::Ntp, Clock::None])
}

fn any_times(rows: usize) -> impl Strategy<Value = Vec<i64>> {
    let start = 1_500_000_000_000_000..1_900_000_000_000_000i64;
    let unit = prop::sample::select(vec![1i64, 1000, 10_000, 100_000, 1_000_000]);
    prop_oneof![
        (start.clone(), unit.clone(), 0..50i64).prop_map(move |(start, unit, step)| {
            (0..rows as i64).map(|i| start / unit * unit + i * step * unit).collect()
        }),
        (start, unit, vec(-20..1000i64, rows)).prop_map(|(start, unit, steps)| {
            steps
                .iter()
                .scan(start, |t, s| {
                    *t += s * unit;
                    Some(*t)
                })
                .collect()
        }),
        vec(any::<i64>(), rows),
        vec(prop::sample::select(vec![i64::MIN, 0, i64::MAX]), rows),
    ]
}

fn any_column(spec: ColumnSpec, rows: usize) -> BoxedStrategy<Column> {
    let mask = prop_oneof![4 => Just(None), 1 => vec(any::<bool>(), rows).prop_map(Some), 1 => Just(Some(vec![false; rows])),
        1 => (0..=rows).prop_map(move |n| Some((0..rows).map(|i| i < n).collect()))];
    (any_values(spec.kind, rows), mask).prop_map(move |(values, mask)| column(&spec, &values, mask)).boxed()
}

/// A column of these values, some of them made null.
pub(crate) fn column(spec: &ColumnSpec, values: &[Value], mask: Option<Vec<bool>>) -> Column {
    let mut column = Column::new(spec.clone());
    let mut validity = Validity::default();
    for (i, value) in values.iter().enumerate() {
        let set = mask.as_ref().is_none_or(|m| m[i]);
        validity.push(set);
        match (&mut column.values, value) {
            (Values::Int(v), Value::Int(x)) => v.push(if set { *x } else { 0 }),
            (Values::Float(v), Value::Float(x)) => v.push(if set { *x } else { 0.0 }),
            (Values::Bool(v), Value::Bool(x)) => v.push(set && *x),
            (Values::Text(v), Value::Text(x)) => v.push(if set { x.as_bytes() } else { b"" }),
            (Values::Bytes(v), Value::Bytes(x)) => v.push(if set { x } else { b"" }),
            _ => unreachable!("values of the column's kind"),
        }
    }
    column.validity = mask.map(|_| validity);
    column
}

fn any_values(kind: Kind, rows: usize) -> BoxedStrategy<Vec<Value>> {
    match kind {
        Kind::Int => any_ints(rows).prop_map(|v| v.into_iter().map(Value::Int).collect()).boxed(),
        Kind::Float => any_floats(rows).prop_map(|v| v.into_iter().map(Value::Float).collect()).boxed(),
        Kind::Bool => prop_oneof![
            vec(any::<bool>(), rows),
            any::<bool>().prop_map(move |b| vec![b; rows]),
            (0..=rows).prop_map(move |n| (0..rows).map(|i| i < n).collect()),
        ]
        .prop_map(|v| v.into_iter().map(Value::Bool).collect())
        .boxed(),
        Kind::Text => {
            some_of("\\PC{0,12}", rows).prop_map(|v| v.into_iter().map(Value::Text).collect()).boxed()
        }
        Kind::Bytes => some_of(vec(any::<u8>(), 0..20), rows)
            .prop_map(|v| v.into_iter().map(Value::Bytes).collect())
            .boxed(),
    }
}

/// The same for all rows, one of a few, or each its own.
fn some_of<S: Strategy + 'static>(one: S, rows: usize) -> BoxedStrategy<Vec<S::Value>>
where
    S::Value: Clone + 'static,
{
    (1..=rows.min(40), prop::bool::ANY)
        .prop_flat_map(move |(n, _)| (Just(n), vec(0..n, rows)))
        .prop_flat_map({
            let one = std::rc::Rc::new(one);
            move |(n, places)| {
                let one = one.clone();
                vec(one, n).prop_map(move |few| places.iter().map(|p| few[*p].clone()).collect())
            }
        })
        .boxed()
}

fn any_ints(rows: usize) -> BoxedStrategy<Vec<i64>> {
    let unit = prop::sample::select(vec![1i64, 7, 10, 60, 100, 1000, 100_000, 1_000_000_000]);
    prop_oneof![
        any::<i64>().prop_map(move |v| vec![v; rows]),
        vec(any::<i64>(), rows),
        vec(prop::sample::select(vec![i64::MIN, i64::MIN + 1, -1, 0, 1, i64::MAX]), rows),
        (-1_800_000_000..1_800_000_000i64, unit, vec(-50..50i64, rows)).prop_map(|(start, unit, steps)| {
            steps
                .iter()
                .scan(start, |v, s| {
                    *v += s;
                    Some(*v * unit)
                })
                .collect()
        }),
        // Multiples of a receiver's resolution, rounded.
        (
            -100_000_000..100_000_000i64,
            prop::sample::select(vec![(5i64, 3i64), (500, 3), (463, 90), (25, 9)]),
            vec(-50..50i64, rows)
        )
            .prop_map(|(start, (num, den), steps)| {
                steps
                    .iter()
                    .scan(start, |v, s| {
                        *v += s;
                        Some((*v * num * 2 + den) / (den * 2))
                    })
                    .collect()
            }),
        // Headings around north.
        vec(-300..300i64, rows).prop_map(|v| v.into_iter().map(|v| v.rem_euclid(36_000)).collect()),
        // Held, with jumps; or a value with a mark for none in between.
        (any::<i64>(), any::<i64>(), vec(0..8u8, rows)).prop_map(|(held, other, turns)| turns
            .iter()
            .map(|t| if *t > 0 { held } else { other })
            .collect()),
        (vec(-9_000..9_000i64, rows), vec(0..3u8, rows)).prop_map(|(v, turns)| v
            .iter()
            .zip(&turns)
            .map(|(v, t)| if *t > 0 { *v } else { 0 })
            .collect()),
        // Quiet, with a jump.
        (vec(0..4i64, rows), any::<prop::sample::Index>(), any::<i64>()).prop_map(|(mut v, at, jump)| {
            let at = at.index(v.len());
            v[at] = jump;
            v
        }),
    ]
    .boxed()
}

fn any_floats(rows: usize) -> BoxedStrategy<Vec<f64>> {
    prop_oneof![
        vec(any::<u64>().prop_map(f64::from_bits), rows),
        vec(any::<f32>().prop_map(f64::from), rows),
        vec(-1_000_000..1_000_000i64, rows).prop_map(|v| v.into_iter().map(|v| v as f64 / 100.0).collect()),
        vec(
            prop::sample::select(vec![
                0.0,
                -0.0,
                1.0,
                f64::NAN,
                f64::INFINITY,
                f64::NEG_INFINITY,
                f64::MIN_POSITIVE,
                5e-324,
                f64::MAX,
                9_007_199_254_740_993.0
            ]),
            rows
        ),
        any::<f64>().prop_map(move |v| vec![v; rows]),
    ]
    .boxed()
}
