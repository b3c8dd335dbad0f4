use super::*;

type Claims = Vec<(String, Claim)>;
type Manifests = BTreeMap<u64, (String, Manifest)>;

fn place(number: u64, first: u64, last: u64, previous: Option<u64>) -> Place {
    Place {
        format: 1,
        topic: "gps_data".into(),
        topic_id: "0123456789abcdef0123456789abcdef".into(),
        partition: 3,
        number,
        first,
        last,
        previous,
    }
}

/// A chain of three claims of ten records each, all with manifests.
fn chain() -> (Claims, Manifests) {
    let mut claims = Vec::new();
    let mut manifests = BTreeMap::new();
    for n in 0..3 {
        let place = place(n, n * 10, n * 10 + 9, n.checked_sub(1).map(|p| p * 10));
        let key = format!("gps_data/dt=2026-01-01/{n}.parquet");
        let file = File {
            key: key.clone(),
            table: "gps_data".into(),
            dt: "2026-01-01".into(),
            rows: 600,
            bytes: 1,
            sha256: String::new(),
        };
        claims.push((
            format!("claim {n}"),
            Claim { place: place.clone(), files: vec![ClaimedFile { key, rows: 600 }], inherits: Vec::new() },
        ));
        let manifest = Manifest {
            place,
            records: 10,
            lost: Vec::new(),
            frames: 10,
            readings: 600,
            rows: 600,
            duplicates: 0,
            unread: None,
            files: vec![file],
            seen: Vec::new(),
            state: None,
        };
        manifests.insert(n * 10, (format!("manifest {n}"), manifest));
    }
    (claims, manifests)
}

fn faults(change: impl FnOnce(&mut Claims, &mut Manifests)) -> Vec<String> {
    let (mut claims, mut manifests) = chain();
    change(&mut claims, &mut manifests);
    let mut faults = check_chain(&claims, &manifests).0;
    for (key, manifest) in manifests.values() {
        faults.extend(check_sums(key, manifest));
    }
    faults.iter().map(|f| f.to_string()).collect()
}

#[track_caller]
fn found(faults: &[String], what: &str) {
    assert!(faults.iter().any(|f| f.contains(what)), "{what:?} in {faults:?}");
}

#[test]
fn a_whole_chain_has_no_fault() {
    assert_eq!(faults(|_, _| {}), [""; 0]);
}

#[test]
fn the_newest_claim_alone_may_be_without_manifest() {
    let (claims, mut manifests) = chain();
    manifests.remove(&20);
    let (faults, unfinished) = check_chain(&claims, &manifests);
    assert_eq!(faults, []);
    assert_eq!(unfinished.map(|c| c.place.first), Some(20));
    manifests.remove(&10);
    found(&[check_chain(&claims, &manifests).0[0].to_string()], "its manifest is missing");
}

#[test]
fn holes_and_overlaps_of_claims_are_found() {
    found(
        &faults(|c, m| {
            c.remove(1);
            m.remove(&10);
        }),
        "claim 1 from offset 10 should be here",
    );
    found(
        &faults(|c, m| {
            c.remove(0);
            m.remove(&0);
        }),
        "claim 0 from offset 0 should be here",
    );
    found(&faults(|c, _| c[0].1.place.last = 12), "claim 1 from offset 13 should be here");
    found(&faults(|c, _| c[0].1.place.last = 12), "another range");
    found(&faults(|c, _| c[1].1.place.previous = Some(3)), "does not follow");
    found(&faults(|c, _| c[1].1.place.number = 7), "does not follow");
}

#[test]
fn a_manifest_without_its_claim_is_found() {
    found(
        &faults(|c, _| {
            c.pop();
        }),
        "manifest 2: its claim is missing",
    );
}

#[test]
fn edited_files_are_found() {
    found(&faults(|c, _| c[1].1.files[0].rows = 599), "not those of its claim");
    found(&faults(|c, _| c[1].1.files.clear()), "not those of its claim");
    found(&faults(|_, m| m.get_mut(&10).unwrap().1.files[0].key.push('x')), "not those of its claim");
}

#[test]
fn sums_that_do_not_add_up_are_found() {
    found(&faults(|_, m| m.get_mut(&0).unwrap().1.records = 9), "against the range");
    found(&faults(|_, m| m.get_mut(&0).unwrap().1.frames = 9), "against records");
    found(&faults(|_, m| m.get_mut(&0).unwrap().1.readings = 601), "against readings");
    found(&faults(|_, m| m.get_mut(&0).unwrap().1.rows = 599), "against its rows");
    found(&faults(|_, m| m.get_mut(&0).unwrap().1.lost.push((3, 4))), "against the range");
}

#[test]
fn keys_name_their_chain_and_offset() {
    let key = format!("{CLAIMS}gps_data/0123456789abcdef0123456789abcdef/00003/{:019}.json", i64::MAX - 20);
    let body =
        br#"{"format":1,"topic":"gps_data","topic_id":"0123456789abcdef0123456789abcdef","partition":3,
        "number":2,"first":20,"last":29,"previous":10,"files":[],"shape":{},"by":"x","at_ms":1}"#;
    let claim: Claim = parse(&key, body, |c: &Claim| &c.place).unwrap();
    assert_eq!(claim.place, place(2, 20, 29, Some(10)));
    for other in [
        key.replace("00003", "00004"),
        key.replace("claims", "manifests").replace("gps", "gpx"),
        key.replace(".json", ".jsn"),
    ] {
        assert!(parse::<Claim>(&other, body, |c| &c.place).is_err(), "{other}");
    }
}

#[test]
fn unread_records_are_counted_to_the_last_byte() {
    let record = |n: usize| [&[0; 16][..], &(n as u32).to_le_bytes(), &vec![7; n]].concat();
    let body = [record(0), record(300), record(5)].concat();
    assert_eq!(
        unread_values(&body).map(|v| v.iter().map(|v| v.len()).collect::<Vec<_>>()),
        Some(vec![0, 300, 5])
    );
    assert_eq!(unread_values(&body[..body.len() - 1]), None);
    assert_eq!(unread_values(b"short"), None);
    assert_eq!(unread_values(b"").map(|v| v.len()), Some(0));
}

#[test]
fn the_keys_of_a_claims_objects_follow_from_it() {
    let place = place(2, 20, 29, Some(10));
    assert_eq!(
        file_key(&place, "harsh_event", "2026-01-01"),
        "harsh_event/dt=2026-01-01/gps_data-3-0123456789abcdef-0000000000000000020-0000000000000000029.parquet"
    );
    assert_eq!(
        beside("unread", &place),
        format!("_milepost/unread/gps_data/{}/00003/{}", place.topic_id, i64::MAX - 20)
    );
    assert!(is_table_and_date("gps_data", "2026-01-01"));
    for (table, dt) in [
        ("..", "2026-01-01"),
        ("", "2026-01-01"),
        ("a/b", "2026-01-01"),
        ("a", "../../../x"),
        ("a", "2026-1-1"),
    ] {
        assert!(!is_table_and_date(table, dt), "{table} {dt}");
    }
}
