//! Frames that are newer than the sink: kept, counted, and driven through by a command after the upgrade,
//! each once.
//!
//! There is one frame version yet, so no program reads what another cannot. Two halves stand for the whole: a
//! frame of the next version before this sink, which is kept; and frames of this version in a claim of a
//! sink that reads none, kept by that claim's rule, which this program, the newer one, drives through.

mod lake;

use crc::{CRC_32_ISCSI, Crc};
use lake::{Kafka, TOPICS, fixes, wait};
use milepost_cli::audit::{Report, Verdict, audit};
use milepost_sink::ledger::{self, Chain, Claim, Shape};
use milepost_sink::redrive::{Redriven, redrive};
use milepost_sink::store::{Folder, Store};
use milepost_wire::{DecodeError, frame, version};
use std::collections::BTreeMap;
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

/// A frame as the next version would begin and end: its number first, the checksum of all of it last.
fn of_the_next_version(frame: &[u8]) -> Vec<u8> {
    let mut next = frame[..frame.len() - 4].to_vec();
    next[0] = version::FRAME + 1;
    next.extend(Crc::<u32>::new(&CRC_32_ISCSI).checksum(&next).to_le_bytes());
    next
}

#[test]
fn a_frame_of_the_next_version_is_kept_as_it_came_counted_and_left_for_the_upgrade() {
    let (kafka, dir) = (Kafka::start(&TOPICS), tempfile::tempdir().unwrap());
    let (lake, next) = (dir.path(), of_the_next_version(&fixes(10..20)));
    assert_eq!(frame::check(&next), Err(DecodeError::Version(version::FRAME + 1)), "no damage: its version");
    kafka.send("gps_data", &fixes(0..10));
    kafka.send("gps_data", &next);
    kafka.send("gps_data", &fixes(20..30));
    let sink = kafka.sink(lake);
    wait("what can be read is written", || sink.status().rows() == 20 && sink.status().lag == Some(0));
    assert_eq!(sink.status().unread, 1);
    let reason = format!("version {}", version::FRAME + 1);
    let kept = |report: &Report| {
        assert_eq!((report.ledger.unread, report.ledger.redriven), (1, 0), "{report}");
        assert_eq!((report.verdict, report.tables["gps_data"].rows), (Verdict::Bad, 20), "{report}");
        assert_eq!(report.lost(), 10, "until then its readings are missing, and not passed over: {report}");
    };
    kept(&judge(&kafka, lake));
    // Not yet: the command of this program can read it as little.
    for _ in 0..2 {
        let driven = drive(&kafka, lake);
        assert_eq!((driven.sent, driven.unread), (0, BTreeMap::from([(reason.clone(), 1)])));
    }
    kafka.stop(sink);
    kept(&judge(&kafka, lake));
    let store = Folder::open(lake).unwrap();
    let held = kafka.runtime.block_on(async {
        let object = store.list(ledger::UNREAD, None, 10).await.unwrap().remove(0);
        ledger::unread_records(&store.get(&object.key).await.unwrap().unwrap()).unwrap()
    });
    assert_eq!(held.iter().map(|r| (r.offset, &r.value[..])).collect::<Vec<_>>(), [(1, &next[..])]);
}

#[test]
fn frames_that_an_older_sink_s_claim_kept_are_driven_through_once_by_the_newer_program() {
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
