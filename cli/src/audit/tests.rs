//! A small lake, written as the ledger's documentation says, and every fault that must not hide in it.

use super::*;
use bytes::Bytes;
use milepost_sink::store::Folder;
use samples::Rows;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::fs;
use std::path::{Path, PathBuf};

const TOPIC_ID: &str = "0123456789abcdef0123456789abcdef";
const IMAGE: &[u8] = b"\xff\xd8";

/// The key of the image.
fn image() -> String {
    let digest = hex(&Sha256::digest(IMAGE));
    format!("_images/{}/{digest}.jpg", &digest[..2])
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// A lake in a folder of its own.
struct Lake(tempfile::TempDir);

/// One claim: its file and the rows of it.
struct Claimed<'a> {
    topic: &'a str,
    number: u64,
    file: Bytes,
    rows: &'a [Rows<'a>],
}

impl Lake {
    /// Two vehicles' fixes in three claims, an image, health reports, and a gap.
    fn whole() -> Self {
        let lake = Lake(tempfile::tempdir().unwrap());
        let gps: [&[Rows]; 3] = [
            &[("a", 1, 0..60), ("b", 9, 0..60)],
            &[("a", 1, 60..120)],
            &[("b", 9, 70..80), ("a", 1, 120..130)],
        ];
        for (number, rows) in gps.into_iter().enumerate() {
            lake.claim(&Claimed {
                topic: "gps_data",
                number: number as u64,
                file: samples::rows(rows),
                rows,
            });
        }
        let camera = samples::camera(&[("a", 1, 0..2)], &format!("s3://bucket/lake/{}", image()));
        lake.claim(&Claimed { topic: "camera_data", number: 0, file: camera, rows: &[("a", 1, 0..2)] });
        lake.write(&image(), IMAGE);
        let health = samples::health("a", 1, &[("gps_data", 130), ("camera_data", 2)]);
        lake.claim(&Claimed { topic: "agent_health", number: 0, file: health, rows: &[("a", 1, 0..2)] });
        let gap = samples::gap("b", 9, "gps_data", 60, Some(69), 10);
        lake.claim(&Claimed { topic: "gap_data", number: 0, file: gap, rows: &[("b", 9, 0..1)] });
        lake
    }

    fn path(&self, key: &str) -> PathBuf {
        self.0.path().join(key)
    }

    fn write(&self, key: &str, body: &[u8]) {
        fs::create_dir_all(self.path(key).parent().unwrap()).unwrap();
        fs::write(self.path(key), body).unwrap();
    }

    /// Writes a claim of ten records, its file and its manifest.
    fn claim(&self, c: &Claimed) {
        let (topic, number, first) = (c.topic, c.number, c.number * 10);
        let key = format!(
            "{topic}/dt=2026-01-01/{topic}-3-{}-{first:019}-{:019}.parquet",
            &TOPIC_ID[..16],
            first + 9
        );
        self.write(&key, &c.file);
        let rows: u64 = c.rows.iter().map(|r| r.2.end - r.2.start).sum();
        let mut place = json!({
            "format": 1, "topic": topic, "topic_id": TOPIC_ID, "partition": 3, "number": number,
            "first": first, "last": first + 9, "previous": number.checked_sub(1).map(|n| n * 10), "by": "test", "at_ms": 0,
        });
        let mut claim = place.clone();
        claim["shape"] = json!({});
        claim["files"] = json!([{"key": key, "rows": rows}]);
        if let Some(before) = number.checked_sub(1) {
            let manifest = fs::read(self.path(&ledger_key("manifests", topic, before))).unwrap();
            claim["previous_sha256"] = json!(hex(&Sha256::digest(manifest)));
        }
        let claim = claim.to_string();
        place["claim_sha256"] = json!(hex(&Sha256::digest(&claim)));
        let manifest = place.as_object_mut().unwrap();
        let seen = |r: &Rows| json!({"vehicle": r.0, "boot": format!("{:016x}", r.1), "stream": topic, "ranges": [[r.2.start, r.2.end - 1]]});
        let more = json!({
            "records": 10, "lost": [], "frames": 10, "readings": rows, "rows": rows, "duplicates": 0, "unread": null,
            "files": [{"key": key, "table": topic, "dt": "2026-01-01", "rows": rows, "bytes": c.file.len(),
                       "sha256": hex(&Sha256::digest(&c.file))}],
            "images": {"objects": 0, "bytes": 0}, "record_ms": [0, 0], "state": null,
            "seen": c.rows.iter().map(seen).collect::<Vec<_>>(),
        });
        manifest.extend(more.as_object().unwrap().clone());
        self.write(&ledger_key("claims", topic, number), claim.as_bytes());
        self.write(&ledger_key("manifests", topic, number), place.to_string().as_bytes());
    }

    fn edit(&self, key: &str, change: impl FnOnce(&mut Value)) {
        let mut value = serde_json::from_slice(&fs::read(self.path(key)).unwrap()).unwrap();
        change(&mut value);
        self.write(key, value.to_string().as_bytes());
    }

    /// The key of the file of a claim of `gps_data`.
    fn file(&self, number: u64) -> String {
        let first = number * 10;
        format!("gps_data/dt=2026-01-01/gps_data-3-{}-{first:019}-{:019}.parquet", &TOPIC_ID[..16], first + 9)
    }

    fn audit(&self) -> Report {
        self.audit_with(&[])
    }

    fn audit_with(&self, promises: &[Promise]) -> Report {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(audit(Arc::new(Folder::open(self.0.path()).unwrap()), promises)).unwrap()
    }
}

fn ledger_key(kind: &str, topic: &str, number: u64) -> String {
    format!("_milepost/{kind}/{topic}/{TOPIC_ID}/00003/{:019}.json", i64::MAX as u64 - number * 10)
}

/// Audits a lake in which something was done, and expects that a fault says `what`.
#[track_caller]
fn finds(what: &str, harm: impl FnOnce(&Lake)) -> Report {
    let lake = Lake::whole();
    harm(&lake);
    let report = lake.audit();
    assert_eq!(report.verdict, Verdict::Bad, "{report}");
    assert!(report.faults.iter().any(|f| f.to_string().contains(what)), "no {what:?} in\n{report}");
    report
}

#[test]
fn a_whole_lake_is_accounted_for() {
    let report = Lake::whole().audit();
    assert_eq!(report.verdict, Verdict::Ok, "{report}");
    let gps = &report.tables["gps_data"];
    assert_eq!((gps.rows, gps.files, gps.vehicles, gps.boots), (200, 3, 2, 2));
    assert_eq!((gps.duplicates, gps.gaps_declared, gps.gaps_undeclared), (0, 10, 0));
    assert_eq!((report.ledger.chains, report.ledger.claims, report.ledger.images), (4, 6, 1));
    assert_eq!(report.ledger.records, 60);
}

#[test]
fn a_deleted_file_is_found() {
    let report = finds("it is missing", |lake| fs::remove_file(lake.path(&lake.file(1))).unwrap());
    assert_eq!(report.lost(), 60);
    assert_eq!(report.tables["gps_data"].verdict, Verdict::Bad);
    assert_eq!(report.tables["camera_data"].verdict, Verdict::Ok);
}

#[test]
fn a_doubled_file_is_found_and_its_rows_counted() {
    let report = finds("it is foreign", |lake| {
        fs::copy(lake.path(&lake.file(1)), lake.path("gps_data/dt=2026-01-01/copy.parquet"))
            .map(drop)
            .unwrap();
    });
    assert_eq!(report.duplicates(), 60);
}

#[test]
fn a_foreign_file_is_found_whatever_it_holds() {
    for name in ["gps_data/dt=2026-01-01/x.parquet", "gps_data/x.csv", "other_table/x.parquet"] {
        finds("it is foreign", |lake| lake.write(name, b"nothing"));
    }
}

#[test]
fn what_readers_pass_over_is_no_fault() {
    let lake = Lake::whole();
    for name in ["gps_data/_SUCCESS", "gps_data/dt=2026-01-01/.crc", "_spark_metadata/0", "notes.txt"] {
        lake.write(name, b"");
    }
    assert_eq!(lake.audit().verdict, Verdict::Ok);
}

#[test]
fn a_removed_row_is_found() {
    let less = samples::rows(&[("a", 1, 60..119)]);
    finds("seq 119 to 119", |lake| lake.write(&lake.file(1), &less));
    finds("have the digest", |lake| lake.write(&lake.file(1), &less));
    finds("it has 59 rows, and the manifest says 60", |lake| lake.write(&lake.file(1), &less));
}

#[test]
fn a_row_that_took_the_place_of_another_is_found() {
    let other = samples::rows(&[("a", 1, 60..119), ("a", 1, 5..6)]);
    finds("in its files are not those it says", |lake| lake.write(&lake.file(1), &other));
    let report = finds("repeat the seq", |lake| lake.write(&lake.file(1), &other));
    assert_eq!((report.lost(), report.duplicates()), (1, 1));
}

#[test]
fn a_lost_end_is_found_by_the_vehicles_own_count() {
    finds("seq 130 to 139", |lake| {
        let health = samples::health("a", 1, &[("gps_data", 140), ("camera_data", 2)]);
        lake.claim(&Claimed { topic: "agent_health", number: 0, file: health, rows: &[("a", 1, 0..2)] });
    });
}

#[test]
fn an_edited_claim_is_found() {
    let key = ledger_key("claims", "gps_data", 1);
    finds("another range", |lake| lake.edit(&key, |c| c["last"] = json!(18)));
    finds("another chain or offset than its key", |lake| lake.edit(&key, |c| c["first"] = json!(11)));
    finds("does not follow", |lake| lake.edit(&key, |c| c["number"] = json!(5)));
    finds("not those of its claim", |lake| lake.edit(&key, |c| c["files"][0]["rows"] = json!(61)));
    finds("cannot be read", |lake| lake.write(&key, b"{"));
    finds("its claim is missing", |lake| fs::remove_file(lake.path(&key)).unwrap());
}

#[test]
fn an_edited_manifest_is_found() {
    let key = ledger_key("manifests", "gps_data", 1);
    finds("against the range", |lake| lake.edit(&key, |m| m["records"] = json!(9)));
    finds("manifest says otherwise", |lake| lake.edit(&key, |m| m["files"][0]["bytes"] = json!(9)));
    finds("manifest says otherwise", |lake| lake.edit(&key, |m| m["files"][0]["sha256"] = json!("00")));
    finds("are not those it says", |lake| lake.edit(&key, |m| m["seen"][0]["ranges"] = json!([[60, 118]])));
    finds("are not those it says", |lake| lake.edit(&key, |m| m["seen"] = json!([])));
    finds("it is foreign", |lake| lake.edit(&key, |m| m["files"] = json!([])));
    finds("its manifest is missing", |lake| fs::remove_file(lake.path(&key)).unwrap());
    finds("reads format 1", |lake| lake.edit(&key, |m| m["format"] = json!(2)));
}

#[test]
fn two_claims_of_the_same_file_are_found() {
    finds("two manifests name it", |lake| {
        let file = json!(
            serde_json::from_slice::<Value>(
                &fs::read(lake.path(&ledger_key("manifests", "gps_data", 0))).unwrap()
            )
            .unwrap()["files"][0]
        );
        lake.edit(&ledger_key("manifests", "gps_data", 1), |m| m["files"] = json!([file]));
    });
}

#[test]
fn a_missing_image_is_found() {
    finds("which is missing", |lake| fs::remove_file(lake.path(&image())).unwrap());
}

/// Makes the third claim of `gps_data` one that kept `frame` as it came.
fn keep_unread(lake: &Lake, frame: &[u8]) {
    let key = format!("_milepost/unread/gps_data/{TOPIC_ID}/00003/{}.frames", i64::MAX - 20);
    lake.write(&key, &[&[0; 16][..], &(frame.len() as u32).to_le_bytes(), frame].concat());
    lake.edit(&ledger_key("manifests", "gps_data", 2), |m| {
        m["frames"] = json!(9);
        m["unread"] = json!({"key": key, "records": 1, "bytes": frame.len(), "reasons": {"version 2": 1}});
    });
}

#[test]
fn unread_records_are_a_fault_with_their_reason() {
    finds("1 Kafka records are not in the tables (1 version 2)", |lake| keep_unread(lake, &[2, 0, 0]));
    let missing = "it is missing, or not what its manifest says";
    finds(missing, |lake| {
        keep_unread(lake, &[2, 0, 0]);
        lake.edit(&ledger_key("manifests", "gps_data", 2), |m| m["unread"]["key"] = json!("../outside"));
    });
}

#[test]
fn an_unread_record_whose_readings_have_rows_by_now_is_no_fault() {
    let lake = Lake::whole();
    keep_unread(&lake, &frame_of("a", 1, 60..70));
    let report = lake.audit();
    assert_eq!(
        (report.verdict, report.ledger.redriven, report.ledger.unread),
        (Verdict::Ok, 1, 0),
        "{report}"
    );
    let report = finds("not in the tables", |lake| keep_unread(lake, &frame_of("a", 1, 125..135)));
    assert_eq!((report.ledger.redriven, report.ledger.unread), (0, 1));
}

fn frame_of(vehicle: &str, boot: u64, seqs: std::ops::Range<u64>) -> Vec<u8> {
    use milepost_wire::{Batch, BootId, Clock, Reading, Stream, VehicleId, frame, reading::Gps};
    let (vehicle, columns) = (VehicleId::new(vehicle).unwrap(), Stream::Gps.columns().unwrap());
    let mut batch = Batch::new(vehicle, BootId(boot), Stream::Gps, columns, seqs.start, Vec::new());
    for seq in seqs {
        let (altitude_cm, speed_mm_s, heading_cdeg, satellites, hdop_e2) = Default::default();
        let gps =
            Gps { lat_e7: 1, lon_e7: 1, altitude_cm, speed_mm_s, heading_cdeg, fix: 1, satellites, hdop_e2 };
        batch.push(&Reading { ts: seq as i64, clock: Clock::Gps, body: gps.into() }).unwrap();
    }
    frame::encode(&batch).unwrap()
}

#[test]
fn a_damaged_state_is_found() {
    let key = format!("_milepost/state/gps_data/{TOPIC_ID}/00003/{}-0123456789abcdef.json", i64::MAX - 20);
    finds("not what its key's digest says", |lake| {
        lake.write(&key, b"{}");
        lake.edit(&ledger_key("manifests", "gps_data", 2), |m| m["state"] = json!(key));
    });
    finds("is not one of its claim", |lake| {
        lake.edit(&ledger_key("manifests", "gps_data", 2), |m| m["state"] = json!("../../etc/passwd"));
    });
}

#[test]
fn a_last_report_that_does_not_add_up_is_found() {
    let report = |delivered| {
        let rows = [
            ("agent", "0.1.0", [delivered, 132, 0, 0]),
            ("source", "gps", [delivered, 0, 0, 0]),
            ("transform", "thin", [delivered, 132, 18, 0]),
            ("stream", "gps_data", [0, 130, 0, 0]),
            ("stream", "camera_data", [0, 2, 0, 0]),
        ];
        let file = samples::report("a", 1, &rows);
        move |lake: &Lake| {
            lake.claim(&Claimed { topic: "agent_health", number: 0, file, rows: &[("a", 1, 0..5)] });
        }
    };
    let lake = Lake::whole();
    report(150)(&lake);
    let good = lake.audit();
    assert_eq!(good.verdict, Verdict::Ok, "{good}");
    assert_eq!(good.health, Health { boots: 1, judged: 1, wrong: 0 });
    finds("more readings than it passed on", report(151));
}

#[test]
fn a_claim_of_a_topic_that_was_made_again_must_be_whole() {
    let unfinished = |lake: &Lake| {
        fs::remove_file(lake.path(&ledger_key("manifests", "gps_data", 2))).unwrap();
        fs::remove_file(lake.path(&lake.file(2))).unwrap();
    };
    finds("made again before 20 of the rows it announces", |lake| {
        unfinished(lake);
        let key = ledger_key("claims", "gps_data", 0).replace(TOPIC_ID, &"f".repeat(32));
        let claim = json!({
            "format": 1, "topic": "gps_data", "topic_id": "f".repeat(32), "partition": 3, "number": 0,
            "first": 0, "last": 9, "previous": null, "files": [],
            "inherits": [{"topic_id": TOPIC_ID, "first": 10}],
        });
        lake.write(&key, claim.to_string().as_bytes());
    });
}

#[test]
fn offsets_that_kafka_deleted_unread_are_a_fault() {
    finds("Kafka had deleted 4 records", |lake| {
        lake.edit(&ledger_key("manifests", "gps_data", 2), |m| {
            m["lost"] = json!([[20, 23]]);
            m["records"] = json!(6);
            m["frames"] = json!(6);
        });
    });
}

#[test]
fn a_parquet_file_that_some_readers_pass_over_is_foreign_all_the_same() {
    for name in ["_x.parquet", ".x.parquet", "_tmp/x.parquet", "X.PARQUET"] {
        let key = format!("gps_data/dt=2026-01-01/{name}");
        let report = finds(&format!("{key}: it is foreign"), |lake| {
            let body = fs::read(lake.path(&lake.file(1))).unwrap();
            lake.write(&key, &body);
        });
        assert_eq!(report.duplicates(), 60, "{name}");
    }
    finds("_other/x.parquet: it is foreign", |lake| lake.write("_other/x.parquet", b"PAR1"));
    finds("x.parquet: it is foreign", |lake| lake.write("x.parquet", b"PAR1"));
}

#[test]
fn a_file_whose_key_is_not_its_claims_is_not_followed() {
    for key in ["../outside.parquet", "gps_data/dt=2026-01-01/other.parquet", "_milepost/x.parquet"] {
        finds(&format!("{key}: its key is not one of table gps_data"), |lake| {
            for kind in ["claims", "manifests"] {
                lake.edit(&ledger_key(kind, "gps_data", 1), |m| m["files"][0]["key"] = json!(key));
            }
        });
    }
}

#[test]
fn an_image_with_other_bytes_is_found_when_images_are_read() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let audit = |lake: &Lake| {
        let store = Arc::new(Folder::open(lake.0.path()).unwrap());
        runtime.block_on(audit_with(store, &[], &[], true)).unwrap()
    };
    let lake = Lake::whole();
    assert_eq!(audit(&lake).verdict, Verdict::Ok, "{}", audit(&lake));
    lake.write(&image(), b"\xff\xd9");
    let report = audit(&lake);
    assert_eq!(report.verdict, Verdict::Bad);
    assert!(report.to_string().contains(&format!("{}: its bytes have the digest", image())), "{report}");
}

#[test]
fn a_claim_that_nobody_finishes_is_named_and_its_files_count() {
    let report = finds("it has no manifest, and 0 of the rows it announces are not written", |lake| {
        fs::remove_file(lake.path(&ledger_key("manifests", "gps_data", 2))).unwrap();
    });
    assert_eq!((report.faults_total, report.ledger.unfinished), (1, 1), "{report}");
    assert_eq!(report.tables["gps_data"].rows, 200);
}

#[test]
fn a_claim_that_is_finished_meanwhile_is_no_fault() {
    let lake = Lake::whole();
    let (manifest, away) = (lake.path(&ledger_key("manifests", "gps_data", 2)), lake.path("away"));
    fs::rename(&manifest, &away).unwrap();
    let sink = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(500));
        fs::rename(away, manifest).unwrap();
    });
    let report = lake.audit();
    sink.join().unwrap();
    assert_eq!((report.verdict, report.ledger.unfinished), (Verdict::Ok, 0), "{report}");
    assert_eq!(report.ledger.records, 60);
}

/// Adds a derived table with a column `g`, and the list that says so.
fn add_derived(lake: &Lake) {
    let rows: &[Rows] = &[("a", 1, 0..5)];
    let file = samples::derived(rows, "g");
    lake.claim(&Claimed { topic: "harsh_event", number: 0, file, rows });
    let list = json!({"format": 1, "table": "harsh_event", "number": 0,
        "columns": [{"name": "g", "of": "g", "type": "double"}], "by": "test", "at_ms": 0});
    lake.write(COLUMNS, list.to_string().as_bytes());
}

const COLUMNS: &str = "_milepost/columns/harsh_event/000000.json";

#[test]
fn columns_that_a_derived_tables_list_does_not_have_are_found() {
    let lake = Lake::whole();
    add_derived(&lake);
    let report = lake.audit();
    assert_eq!(report.verdict, Verdict::Ok, "{report}");
    let unlisted = "it has the column g of type double, which the list";
    finds(unlisted, |lake| {
        add_derived(lake);
        fs::remove_file(lake.path(COLUMNS)).unwrap();
    });
    finds(unlisted, |lake| {
        add_derived(lake);
        lake.edit(COLUMNS, |list| list["columns"][0]["type"] = json!("bigint"));
    });
    finds("of another table or number", |lake| {
        add_derived(lake);
        lake.edit(COLUMNS, |list| list["table"] = json!("other"));
    });
    finds("000000.json: it is missing, or cannot be read", |lake| {
        add_derived(lake);
        fs::rename(lake.path(COLUMNS), lake.path(&COLUMNS.replace("000000", "000001"))).unwrap();
    });
}

#[test]
fn numbers_beyond_all_bounds_are_judged_and_do_not_panic() {
    finds("frames and unread records", |lake| {
        for number in 0..2 {
            lake.edit(&ledger_key("manifests", "gps_data", number), |m| m["records"] = json!(u64::MAX));
        }
    });
    let bytes = |lake: &Lake| {
        lake.edit(&ledger_key("manifests", "gps_data", 1), |m| m["files"][0]["bytes"] = json!(u64::MAX));
    };
    finds("manifest says otherwise", bytes);
    finds("does not follow", |lake| {
        lake.edit(&ledger_key("claims", "gps_data", 1), |c| c["number"] = json!(u64::MAX));
    });
    let lake = Lake::whole();
    for number in 1..4 {
        let rows: &[Rows] = &[("b", 9, number..number + 1)];
        let file = samples::lost("b", 9, number, i64::MAX);
        lake.claim(&Claimed { topic: "gap_data", number, file, rows });
    }
    assert_eq!(lake.audit().tables["gps_data"].gaps_declared, u64::MAX);
}

#[test]
fn a_lake_whose_own_address_has_the_images_name_in_it_is_read_right() {
    let lake = Lake(tempfile::tempdir().unwrap());
    let camera = samples::camera(&[("a", 1, 0..2)], &format!("s3://acme/van_images/lake/{}", image()));
    lake.claim(&Claimed { topic: "camera_data", number: 0, file: camera, rows: &[("a", 1, 0..2)] });
    lake.write(&image(), IMAGE);
    let report = lake.audit();
    assert_eq!((report.verdict, report.ledger.images), (Verdict::Ok, 1), "{report}");
}

#[test]
fn a_row_on_another_day_is_found() {
    let other = |lake: &Lake| {
        let (from, key) = (lake.file(2), ledger_key("manifests", "gps_data", 2));
        let to = from.replace("2026-01-01", "2026-01-02");
        lake.write(&to, &fs::read(lake.path(&from)).unwrap());
        fs::remove_file(lake.path(&from)).unwrap();
        lake.edit(&ledger_key("claims", "gps_data", 2), |c| c["files"][0]["key"] = json!(to));
        lake.edit(&key, |m| {
            m["files"][0]["key"] = json!(to);
            m["files"][0]["dt"] = json!("2026-01-02");
        });
    };
    finds("a row in it is of another day", other);
    // A row more than a day after its record lies on the record's day, and one before 2015.
    let days = |ms: i64| [ms, ms].map(|ms| ms * 86_400_000);
    let misplaced =
        |dt, day, record: i64| super::lake::misplaced(dt, &[day].into(), Some(days(record).into()));
    assert_eq!(misplaced("2026-01-02", 20_455, 20_455), None);
    assert!(misplaced("2026-01-02", 20_454, 20_455).is_some());
    assert!(misplaced("2026-01-02", 20_456, 20_456).is_some());
    assert_eq!(misplaced("2026-01-02", 20_456, 20_455), None);
    assert_eq!(misplaced("2026-01-02", 10_000, 20_455), None);
    assert!(misplaced("2026-01-02", 10_000, 20_456).is_some());
}

#[test]
fn a_report_is_the_same_for_people_and_machines() {
    let report = finds("it is missing", |lake| fs::remove_file(lake.path(&lake.file(1))).unwrap());
    let json: Value = serde_json::to_value(&report).unwrap();
    assert_eq!(json["verdict"], "bad");
    assert_eq!(json["tables"]["gps_data"]["gaps_undeclared"], 60);
    assert!(report.to_string().ends_with("verdict: bad"));
}

#[test]
fn the_command_refuses_what_is_no_lake_and_makes_no_folder() {
    let folder = tempfile::tempdir().unwrap();
    let options =
        |path: &Path| Options { lake: path.display().to_string(), json: true, images: false, expect: None };
    assert!(run(&options(&folder.path().join("absent"))).is_err());
    assert!(!folder.path().join("absent").exists());
    assert!(run(&options(folder.path())).is_err());
}

#[test]
fn the_folder_above_a_lake_is_told_from_a_lake() {
    let above = tempfile::tempdir().unwrap();
    fs::rename(Lake::whole().0.keep(), above.path().join("lake")).unwrap();
    let options =
        Options { lake: above.path().display().to_string(), json: true, images: false, expect: None };
    let error = run(&options).unwrap_err().to_string();
    assert!(error.ends_with(&format!("audit {}", above.path().join("lake").display())), "{error}");
}

#[test]
fn promises_are_read_from_a_file_and_bad_lines_named() {
    let lake = Lake::whole();
    let file = lake.path("expected.jsonl");
    let options = |lake: &Lake| Options {
        lake: lake.0.path().display().to_string(),
        json: true,
        images: false,
        expect: Some(lake.path("expected.jsonl")),
    };
    let line = |boot: &str, next| json!({"vehicle": "b", "boot": boot, "stream": "gps_data", "next": next});
    for (text, outcome) in [
        (line("0000000000000009", 80), Some(Outcome::Good)),
        (line("0000000000000009", 81), Some(Outcome::Bad)),
        (line("nine", 80), None),
    ] {
        fs::write(&file, format!("{text}\n")).unwrap();
        assert_eq!(run(&options(&lake)).ok(), outcome, "{text}");
    }
}

#[test]
fn what_was_promised_must_be_there() {
    let promise =
        |vehicle: &str, next| Promise { vehicle: vehicle.into(), boot: 9, stream: "gps_data".into(), next };
    assert_eq!(Lake::whole().audit_with(&[promise("b", 80)]).verdict, Verdict::Ok);
    assert_eq!(Lake::whole().audit_with(&[promise("b", 81)]).lost(), 1);
    assert_eq!(Lake::whole().audit_with(&[promise("c", 5)]).lost(), 5);
}
