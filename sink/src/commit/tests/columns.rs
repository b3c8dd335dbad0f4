//! Several owners whose frames disagree about a derived table's columns, on stores that fail.

use super::*;
use crate::columns::log;
use crate::ledger::Claim;
use arrow_schema::Schema;
use milepost_wire::reading::Derived;
use milepost_wire::{ColumnSpec, StreamName, Value};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

const TABLE: &str = "trips";

/// The frame of one row with this number; its columns' kinds follow from the number and the partition.
fn frame_of(partition: i32, seq: u64) -> Bytes {
    let stream = StreamName::new(TABLE).unwrap();
    let value = match (seq + partition as u64 * 3) % 5 {
        0 => Value::Int(7),
        1 => Value::Float(0.5),
        2 => Value::Bool(true),
        3 => Value::Int(i64::MAX),
        _ => Value::Text("a".into()),
    };
    let own = format!("own_{}_{}", partition, seq % 4);
    let columns = [("x", value), (own.as_str(), Value::Int(1))];
    let specs: Vec<ColumnSpec> =
        columns.iter().map(|(n, v)| ColumnSpec::new(*n, v.kind().unwrap()).unwrap()).collect();
    let vehicle = VehicleId::new(format!("v{partition}")).unwrap();
    let mut batch = Batch::new(vehicle, BootId(1), Stream::Derived(stream.clone()), &specs, seq, Vec::new());
    let values = columns.iter().map(|(_, v)| v.clone()).collect();
    let body = Body::Derived(Derived { stream, columns: specs.into(), values });
    batch.push(&Reading { ts: START_US, clock: Clock::Gps, body }).unwrap();
    frame::encode(&batch).unwrap().into()
}

fn setup(seed: u64, partition: i32, objects: &Objects, one_in: u64) -> Setup {
    let record = |o: i64| Record { offset: o, at_ms: START_US / 1000, value: frame_of(partition, o as u64) };
    let log = Arc::new(FakeLog { records: (0..12).map(record).collect(), start: AtomicI64::new(0) });
    Setup { objects: objects.clone(), log, ..Setup::new(seed, 0, one_in) }
}

/// One partition from start to end, by owners that die.
async fn own(setup: &Setup, partition: i32) {
    let chain = Chain { topic: "derived_data".into(), topic_id: "ab".repeat(16), partition };
    let run = async || {
        let mut committer = Committer::new(setup.context("a"), chain.clone());
        let mut next = committer.recover().await.unwrap();
        while next < setup.log.records.len() as i64 {
            let last = (next + setup.rng.below(3) as i64).min(setup.log.records.len() as i64 - 1);
            let records = setup.log.range(Range { first: next, last });
            next = match committer.write(last, records).await {
                Outcome::Committed(next) => next,
                Outcome::StartOver => {
                    committer = Committer::new(setup.context("a"), chain.clone());
                    committer.recover().await.unwrap()
                }
            };
        }
    };
    while tokio::time::timeout(Duration::from_millis(60), run()).await.is_err() {}
}

fn schema_of(body: &Bytes) -> Schema {
    ParquetRecordBatchReaderBuilder::try_new(body.clone()).unwrap().schema().as_ref().clone()
}

/// Every file's columns have the types that the table's list says.
fn check(objects: &Objects, what: &str) -> log::Tables {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (objects, rng) = (objects.clone(), Arc::new(Rng(AtomicU64::new(1))));
    let store = Faulty { objects: objects.clone(), rng, one_in: u64::MAX, careless: false };
    let columns = runtime.block_on(log::read(&store, TABLE)).unwrap();
    let mut files = 0;
    for (key, body) in objects.lock().unwrap().iter().filter(|(k, _)| k.ends_with(".parquet")) {
        files += 1;
        for field in schema_of(body).fields().iter().skip(7) {
            let known = columns.iter().find(|c| c.name == *field.name());
            let known =
                known.unwrap_or_else(|| panic!("{what}: {key} has {}, which is in no list", field.name()));
            assert_eq!(*field.data_type(), known.kind.arrow(), "{what}: {key}, {}", field.name());
        }
    }
    assert!(files > 0, "{what}");
    log::Tables::from([(TABLE.to_owned(), columns)])
}

#[test]
fn owners_whose_frames_disagree_keep_one_type_for_each_column() {
    for seed in 0..30 {
        let objects = Objects::default();
        let setups: Vec<Setup> = (0..3).map(|p| setup(seed * 3 + p as u64, p, &objects, 20)).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            tokio::join!(own(&setups[0], 0), own(&setups[1], 1), own(&setups[2], 2));
        });
        let columns = &check(&objects, &format!("seed {seed}"))[TABLE];
        // x as each of four kinds or, where it was a double before, as three and a bigint beside; and what
        // only one partition has.
        let of_x = columns.iter().filter(|c| c.of == "x").count();
        assert_eq!((of_x, columns.len()), (4, 4 + 12), "seed {seed}: {columns:?}");
    }
}

#[test]
fn a_claim_that_is_redone_when_its_table_has_more_columns_gives_the_same_bytes() {
    let objects = Objects::default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let first = setup(1, 0, &objects, u64::MAX);
    runtime.block_on(own(&first, 0));
    let before: BTreeMap<String, Bytes> = objects.lock().unwrap().clone();
    // The other partitions bring columns of their own; then all that came of the first one's claims is
    // gone, and they are built again from the records.
    runtime.block_on(own(&setup(2, 1, &objects, u64::MAX), 1));
    let chain = Chain { topic: "derived_data".into(), topic_id: "ab".repeat(16), partition: 0 };
    let (columns, mut compared) = (check(&objects, "redo"), 0);
    let mut memory = Memory::default();
    let mut claims: Vec<Claim> = before
        .iter()
        .filter(|(key, _)| key.starts_with(&chain.claims()))
        .map(|(_, body)| serde_json::from_slice(body).unwrap())
        .collect();
    claims.sort_by_key(|c| c.first);
    for claim in claims {
        let range = Range { first: claim.first, last: claim.last };
        let built = build(&chain, range, &claim.shape, &first.log.range(range), &memory, &columns).unwrap();
        for file in &built.files {
            assert_eq!(before[&file.key], file.body, "{}", file.key);
            compared += 1;
        }
        memory.apply(&merge(built.files.iter().flat_map(|f| &f.seen)), claim.last);
    }
    assert!(compared > 0);
}

#[test]
fn a_frame_that_a_full_table_cannot_take_is_kept_unread_with_the_reason() {
    let objects = Objects::default();
    let known = |n: usize| crate::columns::Known {
        name: format!("c{n}"),
        of: format!("c{n}"),
        kind: crate::schema::Type::Bigint,
    };
    let addition = log::Addition {
        format: ledger::FORMAT,
        table: TABLE.into(),
        number: 0,
        columns: (0..crate::columns::MOST).map(known).collect(),
        by: "a test".into(),
        at_ms: 0,
    };
    objects.lock().unwrap().insert(ledger::columns(TABLE, 0), ledger::write(&addition).into());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let setup = setup(1, 0, &objects, u64::MAX);
    runtime.block_on(own(&setup, 0));
    let unread: u64 =
        setup.manifests().iter().filter_map(|m| m.unread.as_ref()?.reasons.get("columns")).sum();
    assert_eq!(unread, 12);
    assert!(setup.manifests().iter().all(|m| m.rows == 0));
}
