use super::*;

type Claims = Vec<Object<Claim>>;
type Manifests = BTreeMap<u64, Object<Manifest>>;

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
        let claim = Claim {
            place: place.clone(),
            previous_sha256: n.checked_sub(1).map(|p| format!("of manifest {p}")),
            files: vec![ClaimedFile { key, rows: 600 }],
            inherits: Vec::new(),
        };
        claims.push(Object { key: format!("claim {n}"), sha256: format!("of claim {n}"), value: claim });
        let manifest = Manifest {
            place,
            claim_sha256: Some(format!("of claim {n}")),
            record_ms: None,
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
        let (key, sha256) = (format!("manifest {n}"), format!("of manifest {n}"));
        manifests.insert(n * 10, Object { key, sha256, value: manifest });
    }
    (claims, manifests)
}

fn faults(change: impl FnOnce(&mut Claims, &mut Manifests)) -> Vec<String> {
    let (mut claims, mut manifests) = chain();
    change(&mut claims, &mut manifests);
    let mut faults = check_chain(&claims, &manifests).0;
    for manifest in manifests.values() {
        faults.extend(check_sums(&manifest.key, &manifest.value));
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
    assert_eq!(unfinished.map(|c| c.value.place.first), Some(20));
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
    found(&faults(|c, _| c[0].value.place.last = 12), "claim 1 from offset 13 should be here");
    found(&faults(|c, _| c[0].value.place.last = 12), "another range");
    found(&faults(|c, _| c[1].value.place.previous = Some(3)), "does not follow");
    found(&faults(|c, _| c[1].value.place.number = 7), "does not follow");
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
    found(&faults(|c, _| c[1].value.files[0].rows = 599), "not those of its claim");
    found(&faults(|c, _| c[1].value.files.clear()), "not those of its claim");
    found(&faults(|_, m| m.get_mut(&10).unwrap().value.files[0].key.push('x')), "not those of its claim");
}

#[test]
fn what_is_not_what_a_later_object_was_made_after_is_found() {
    found(&faults(|_, m| m.get_mut(&0).unwrap().sha256.push('x')), "manifest 0: it is not the one");
    found(&faults(|c, _| c[1].sha256.push('x')), "claim 1: it is not the claim that its manifest");
    found(&faults(|c, _| c[2].value.previous_sha256 = None), "claim 2: it does not name the manifest");
    let unlinked = |m: &mut Manifests| m.get_mut(&20).unwrap().value.claim_sha256 = None;
    found(&faults(|_, m| unlinked(m)), "manifest 2: it does not name its claim");
    // Begun by a sink that linked nothing yet.
    let old = |c: &mut Claims, m: &mut Manifests| {
        c[1].value.previous_sha256 = None;
        m.get_mut(&0).unwrap().value.claim_sha256 = None;
    };
    assert_eq!(faults(old), [""; 0]);
}

#[test]
fn what_lies_beside_claims_is_named_after_one() {
    let place = place(2, 20, 29, Some(10));
    let key = |kind, behind: &str| beside(kind, &place) + behind;
    let state = key("state", "-0123456789abcdef.json");
    assert!(is_beside(&state));
    assert!(is_beside(&key("unread", ".frames")));
    assert!(is_beside(&key("redriven", "-002.json")));
    for other in [
        key("state", ".parquet"),
        key("unread", "-0123456789abcdef.json"),
        key("redriven", "-02.json"),
        key("kept", ".frames"),
        state.replace("gps_data/", ""),
        state.replace("00003", "+0003"),
        "_milepost/state/x.parquet".to_owned(),
        "_milepost/state".to_owned(),
    ] {
        assert!(!is_beside(&other), "{other}");
    }
}

#[test]
fn dates_have_their_days() {
    for (day, dt) in [(0, "1970-01-01"), (11_016, "2000-02-29"), (19_783, "2024-03-01"), (-1, "1969-12-31")] {
        assert_eq!(day_of(dt), Some(day), "{dt}");
    }
    assert_eq!(day_of("2026"), None);
}

#[test]
fn sums_that_do_not_add_up_are_found() {
    found(&faults(|_, m| m.get_mut(&0).unwrap().value.records = 9), "against the range");
    found(&faults(|_, m| m.get_mut(&0).unwrap().value.frames = 9), "against records");
    found(&faults(|_, m| m.get_mut(&0).unwrap().value.readings = 601), "against readings");
    found(&faults(|_, m| m.get_mut(&0).unwrap().value.rows = 599), "against its rows");
    found(&faults(|_, m| m.get_mut(&0).unwrap().value.lost.push((3, 4))), "against the range");
}

#[test]
fn keys_name_their_chain_and_offset() {
    let key = format!("{CLAIMS}gps_data/0123456789abcdef0123456789abcdef/00003/{:019}.json", i64::MAX - 20);
    let body =
        br#"{"format":1,"topic":"gps_data","topic_id":"0123456789abcdef0123456789abcdef","partition":3,
        "number":2,"first":20,"last":29,"previous":10,"files":[],"shape":{},"by":"x","at_ms":1}"#;
    let claim = parse(key.clone(), body, |c: &Claim| &c.place).unwrap();
    assert_eq!(claim.value.place, place(2, 20, 29, Some(10)));
    for other in [
        key.replace("00003", "00004"),
        key.replace("00003", "+0003"),
        key.replace("claims", "manifests").replace("gps", "gpx"),
        key.replace(".json", ".jsn"),
    ] {
        assert!(parse::<Claim>(other.clone(), body, |c| &c.place).is_err(), "{other}");
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
