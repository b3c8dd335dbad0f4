//! Frames that were newer than the sink: kept, counted, and driven through by a command after the
//! upgrade, each once.

mod lake;

use lake::{Kafka, TOPICS, fixes, wait};
use milepost_cli::audit::{Report, Verdict, audit};
use milepost_sink::ledger::{self, Chain, Claim, Shape};
use milepost_sink::redrive::{Redriven, redrive};
use milepost_sink::store::{Folder, Store};
use std::path::Path;
use std::sync::Arc;

/// Claims what follows the newest claim, as a sink would that reads no frame at all, and dies: whoever
/// comes next does what that sink would have done.
fn claim_as_an_older_sink(kafka: &Kafka, lake: &Path, records: i64) {
    let store = Folder::open(lake).unwrap();
    let (first, topic_id) = kafka.runtime.block_on(async {
        let newest = store.list("_milepost/claims/gps_data/", None, 1).await.unwrap().remove(0);
        let claim: Claim = serde_json::from_slice(&store.get(&newest.key).await.unwrap().unwrap()).unwrap();
        (claim.first, newest.key.split('/').nth(3).unwrap().to_owned())
    });
    let chain = Chain { topic: "gps_data".into(), topic_id, partition: 0 };
    let claim = Claim {
        format: ledger::FORMAT,
        chain: chain.clone(),
        number: 1,
        first: first + 1,
        last: first + records,
        previous: Some(first),
        previous_sha256: None,
        shape: Shape { frame_max: 0, row_group_rows: 1000, zstd_level: 1, images: String::new() },
        files: Vec::new(),
        inherits: Vec::new(),
        by: "an older sink".into(),
        at_ms: 0,
    };
    let body = ledger::write(&claim).into();
    kafka.runtime.block_on(store.put_if_absent(&chain.claim(first + 1), body)).unwrap();
}

fn judge(kafka: &Kafka, lake: &Path) -> Report {
    kafka.runtime.block_on(audit(Arc::new(Folder::open(lake).unwrap()), &[])).unwrap()
}

fn drive(kafka: &Kafka, lake: &Path) -> Redriven {
    let store = Folder::open(lake).unwrap();
    kafka.runtime.block_on(redrive(&kafka.settings(), &store)).unwrap()
}

#[test]
fn frames_newer_than_the_sink_are_kept_counted_and_driven_through_once_after_the_upgrade() {
    let (kafka, dir) = (Kafka::start(&TOPICS), tempfile::tempdir().unwrap());
    let lake = dir.path();
    kafka.send("gps_data", &fixes(0..10));
    let sink = kafka.sink(lake);
    wait("the first frame is written", || sink.status().rows() == 10);
    kafka.stop(sink);

    // Two frames that the older sink cannot read, and one that nobody can.
    kafka.send("gps_data", &fixes(10..20));
    kafka.send("gps_data", &fixes(20..30));
    kafka.send("gps_data", b"\xfe not even a frame");
    claim_as_an_older_sink(&kafka, lake, 3);
    let sink = kafka.sink(lake);
    wait("the older sink's claim is finished", || sink.status().lag == Some(0));
    let report = judge(&kafka, lake);
    assert_eq!(
        (report.ledger.unread, report.ledger.redriven, report.verdict),
        (3, 0, Verdict::Bad),
        "{report}"
    );
    assert_eq!(report.tables["gps_data"].rows, 10);

    // The upgraded sink runs while the command does; the command is run twice, as people do.
    assert_eq!((drive(&kafka, lake).sent, drive(&kafka, lake).sent), (2, 0));
    wait("the frames are written", || sink.status().rows() == 20);
    let report = judge(&kafka, lake);
    assert_eq!((report.ledger.unread, report.ledger.redriven), (1, 2), "{report}");
    assert_eq!((report.tables["gps_data"].rows, report.duplicates(), report.lost()), (30, 0, 0), "{report}");
    assert_eq!(report.faults_total, 1, "only what nobody can read is left: {report}");

    // Killed after it had sent and before it had marked: what comes a second time is dropped.
    std::fs::remove_dir_all(lake.join("_milepost/redriven")).unwrap();
    let again = drive(&kafka, lake);
    assert_eq!((again.sent, again.unread.values().sum::<u64>()), (2, 1));
    wait("what came again is dropped", || sink.status().duplicates == 20);
    kafka.stop(sink);
    let report = judge(&kafka, lake);
    assert_eq!((report.tables["gps_data"].rows, report.duplicates()), (30, 0), "{report}");
}
