//! `milepost audit` on a lake that the real sink wrote: whatever is done to it afterwards is found, with
//! exit status 1 and the object's name. In a folder, and on S3.

mod lake;

use lake::{Harm, Lake, reencode};
use milepost_fake_aws::FakeAws;
use serde_json::json;
use std::path::Path;
use std::process::Command;

/// Runs the command: its exit status and what it printed.
fn audit(lake: &str, more: &[&str], environment: &[(&str, String)]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_milepost"));
    command.args(["audit", lake]).args(more);
    command.envs(environment.iter().map(|(name, value)| (name, value)));
    let out = command.output().unwrap();
    let text = [out.stdout, out.stderr].concat();
    (out.status.code(), String::from_utf8_lossy(&text).into_owned())
}

fn audit_folder(lake: &Path) -> (Option<i32>, String) {
    audit(&lake.display().to_string(), &["--images"], &[])
}

fn harm(harm: impl Fn(&Lake) + 'static) -> Harm {
    Box::new(harm)
}

/// Every way to harm a lake: what was done, the object that must be named, the harm.
fn harms(lake: &Lake) -> Vec<(&'static str, String, Harm)> {
    // Of three claims the second, which follows one and is followed by one.
    let gps = lake.files("gps_data/");
    assert_eq!(gps.len(), 3, "{gps:?}");
    let (first, second) = (gps[1].clone(), gps[2].clone());
    let gap = lake.files("gap_data/").remove(0);
    let claim = lake.files("_milepost/claims/gps_data/").remove(1);
    let manifest = lake.files("_milepost/manifests/gps_data/").remove(1);
    let image = lake.files("_images/").remove(0);
    let dt = first[..first.rfind('/').unwrap()].to_owned();
    let file = |key: &str, change: fn(&mut Vec<u8>)| -> Harm {
        let key = key.to_owned();
        harm(move |lake| lake.change(&key, change))
    };
    let edit = |key: &str, change: fn(&mut serde_json::Value)| -> Harm {
        let key = key.to_owned();
        harm(move |lake| lake.edit(&key, change))
    };
    let copy = |from: &str, to: &str| -> Harm {
        let (from, to) = (from.to_owned(), to.to_owned());
        harm(move |lake| lake.put(&to, &lake.get(&from)))
    };
    let remove = |prefix: &str| -> Harm {
        let prefix = prefix.to_owned();
        harm(move |lake| lake.remove(&prefix))
    };
    let named = |key: &str| key.to_owned();
    let beside = |name: &str| format!("{dt}/{name}");
    let mut harms: Vec<(&'static str, String, Harm)> = vec![
        ("a deleted file", named(&first), remove(&first)),
        ("a doubled file", beside("copy.parquet"), copy(&first, &beside("copy.parquet"))),
        (
            "a file doubled under a hidden name",
            beside("_copy.parquet"),
            copy(&first, &beside("_copy.parquet")),
        ),
        (
            "a file doubled under a dotted name",
            beside(".copy.parquet"),
            copy(&first, &beside(".copy.parquet")),
        ),
        ("a file doubled at the root", named("copy.parquet"), copy(&first, "copy.parquet")),
        ("a foreign file", beside("notes.csv"), copy(&claim, &beside("notes.csv"))),
        ("a foreign table", named("other/x.parquet"), copy(&first, "other/x.parquet")),
        ("two files that changed places", named(&first), {
            let (a, b) = (first.clone(), second.clone());
            harm(move |lake: &Lake| {
                let (one, two) = (lake.get(&a), lake.get(&b));
                lake.put(&a, &two);
                lake.put(&b, &one);
            })
        }),
        ("a removed row", named(&first), file(&first, |body| reencode(body, |rows| drop(rows.remove(3))))),
        ("two swapped rows", named(&first), file(&first, |body| reencode(body, |rows| rows.swap(3, 4)))),
        (
            "a changed cell",
            named(&first),
            file(&first, |body| {
                let at = body.len() / 2;
                body[at] ^= 1;
            }),
        ),
        ("a truncated file", named(&first), file(&first, |body| body.truncate(body.len() / 2))),
        ("an empty file", named(&first), file(&first, Vec::clear)),
        ("a whole date deleted", named(&first), remove(&format!("{dt}/"))),
        ("a whole table deleted", named(&first), remove("gps_data/")),
        ("a changed image", named(&image), file(&image, |body| body[5] ^= 1)),
        ("a deleted image", named(&image), remove(&image)),
        ("a deleted claim", named(&manifest), remove(&claim)),
        ("a deleted manifest", named(&claim), remove(&manifest)),
        ("a table's ledger deleted", named(&first), {
            harm(|lake: &Lake| {
                lake.remove("_milepost/claims/gps_data/");
                lake.remove("_milepost/manifests/gps_data/");
            })
        }),
        ("the whole ledger deleted", named(&first), remove("_milepost/")),
        ("a claim that is no JSON", named(&claim), file(&claim, |body| body.truncate(20))),
        (
            "a claim of another range",
            named(&manifest),
            edit(&claim, |c| c["last"] = json!(c["last"].as_i64().unwrap() - 1)),
        ),
        ("a claim of another number", named(&claim), edit(&claim, |c| c["number"] = json!(7))),
        ("a claim of other files", named(&manifest), edit(&claim, |c| c["files"] = json!([]))),
        ("a manifest of more records", named(&manifest), edit(&manifest, |m| m["records"] = json!(2))),
        (
            "a manifest of another digest",
            named(&first),
            edit(&manifest, |m| m["files"][0]["sha256"] = json!("00")),
        ),
        (
            "a manifest of other rows",
            named(&manifest),
            edit(&manifest, |m| m["seen"][0]["ranges"] = json!([[0, 1]])),
        ),
        ("a manifest of a newer format", named(&manifest), edit(&manifest, |m| m["format"] = json!(2))),
    ];
    // What nothing but the links of the ledger's objects tells.
    harms.extend([
        ("a claim of another shape", named(&claim), edit(&claim, |c| c["shape"]["zstd_level"] = json!(9))),
        ("a claim by somebody else", named(&claim), edit(&claim, |c| c["by"] = json!("me"))),
        ("a claim that inherits", named(&claim), edit(&claim, |c| c["inherits"] = json!([]))),
        ("a manifest with more duplicates", named(&manifest), {
            edit(&manifest, |m| {
                m["duplicates"] = json!(5);
                m["readings"] = json!(m["rows"].as_u64().unwrap() + 5);
            })
        }),
        ("a manifest without its link", named(&manifest), {
            edit(&manifest, |m| drop(m.as_object_mut().unwrap().remove("claim_sha256")))
        }),
    ]);
    let parts = [first.clone(), manifest.clone(), claim.clone()];
    harms.push(("two swapped rows, and a ledger that was edited to match", named(&manifest), {
        harm(move |lake: &Lake| {
            let [key, manifest, claim] = &parts;
            lake.change(key, |body| reencode(body, |rows| rows.swap(3, 4)));
            lake.match_ledger(key, manifest, claim);
        })
    }));
    let newest = |kind: &str| lake.files(&format!("_milepost/{kind}/gps_data/")).remove(0);
    let parts = [second.clone(), newest("manifests"), newest("claims")];
    let moved = second.replace(&dt, "gps_data/dt=2026-11-29");
    harms.push(("a file on another date, and a ledger that was edited to match", moved, {
        harm(move |lake: &Lake| {
            let [file, manifest, claim] = &parts;
            lake.move_to("2026-11-29", file, manifest, claim);
        })
    }));
    harms.push(("the newest manifest deleted", newest("claims"), remove(&newest("manifests"))));
    let signed = claim.replace("/00000/", "/+0000/");
    harms.push(("a partition with a sign", signed.clone(), copy(&claim, &signed)));
    for key in [
        "_images/x.parquet",
        "_milepost/x.parquet",
        "_milepost/x/y.json",
        "_milepost/state/x.parquet",
        "_milepost/columns/gps_data/x.parquet",
        ".tmp/x.parquet",
        ".tmp/a/x.parquet",
    ] {
        harms.push(("a file where no table is", named(key), copy(&first, key)));
    }
    // What is done to a file and to everything that speaks of it.
    let oldest = [first, manifest.clone(), claim.clone()];
    harms.push((
        "a removed row, and a ledger that was edited to match",
        "1 readings are in no row and in no gap".to_owned(),
        harm(move |lake: &Lake| {
            let [key, manifest, claim] = &oldest;
            lake.change(key, |body| reencode(body, |rows| drop(rows.remove(3))));
            lake.match_ledger(key, manifest, claim);
        }),
    ));
    let (key, manifests) = (gap.clone(), lake.files("_milepost/manifests/gap_data/").remove(0));
    let claims = lake.files("_milepost/claims/gap_data/").remove(0);
    harms.push(("a gap row made wider", gap.clone(), file(&gap, lake::widen_gap)));
    harms.push((
        "a gap row made wider, and a ledger that was edited to match",
        "a gap row says that 10 readings are lost".to_owned(),
        harm(move |lake: &Lake| {
            lake.change(&key, lake::widen_gap);
            lake.match_ledger(&key, &manifests, &claims);
        }),
    ));
    harms.push((
        "a key that leads out of the lake",
        "../outside.parquet".to_owned(),
        harm(move |lake: &Lake| {
            for key in [&manifest, &claim] {
                lake.edit(key, |m| m["files"][0]["key"] = json!("../outside.parquet"));
            }
        }),
    ));
    harms.push(("everything deleted", "holds no lake".to_owned(), remove("")));
    harms
}

#[test]
fn whatever_is_done_to_a_lake_is_found_and_named() {
    let whole = Lake::written_by_a_sink();
    let (status, text) = audit_folder(whole.path());
    assert_eq!(status, Some(0), "{text}");
    assert!(text.contains("health: 1 boots reported; of 1 the last report is whole, and in 1"), "{text}");
    for (what, object, harm) in harms(&whole) {
        let lake = whole.copy();
        harm(&lake);
        let (status, text) = audit_folder(lake.path());
        assert_eq!(status, Some(1), "{what} was not found:\n{text}");
        assert!(text.contains(&object), "{what}: {object} is not named:\n{text}");
        assert!(text.contains("verdict: bad") || what == "everything deleted", "{what}:\n{text}");
    }
}

#[cfg(unix)]
#[test]
fn links_and_names_that_are_no_text_are_found_in_a_folder() {
    use std::os::unix::ffi::OsStrExt;
    let lake = Lake::written_by_a_sink();
    let (link, name) = (lake.path().join("other"), std::ffi::OsStr::from_bytes(b"gps_data/\xff.parquet"));
    std::os::unix::fs::symlink(lake.path().join("gps_data"), &link).unwrap();
    let (status, text) = audit_folder(lake.path());
    assert_eq!(status, Some(1));
    assert!(text.contains("other: it is a link"), "{text}");
    std::fs::remove_file(link).unwrap();
    let waits = lake.path().join("gps_data/dt=2026-11-23/x.parquet");
    std::fs::create_dir_all(waits.parent().unwrap()).unwrap();
    assert!(Command::new("mkfifo").arg(&waits).status().unwrap().success());
    let (status, text) = audit_folder(lake.path());
    assert_eq!(status, Some(1));
    assert!(text.contains("x.parquet: it is neither a file nor a folder"), "{text}");
    std::fs::remove_file(waits).unwrap();
    std::fs::copy(lake.path().join(&lake.files("gps_data/")[0]), lake.path().join(name)).unwrap();
    let (status, text) = audit_folder(lake.path());
    assert_eq!(status, Some(1));
    assert!(text.contains("its name is no UTF-8"), "{text}");
}

#[test]
fn the_same_is_found_on_s3() {
    let whole = Lake::written_by_a_sink();
    for (what, object, harm) in
        std::iter::once(("nothing", String::new(), harm(|_: &Lake| {}))).chain(harms(&whole))
    {
        let (lake, fake) = (whole.copy(), FakeAws::start());
        harm(&lake);
        let keys = fake.keys("audit");
        fake.edit(|objects| lake.load(objects));
        let environment = [
            ("AWS_ENDPOINT_URL_S3", fake.endpoint()),
            ("AWS_REGION", "us-east-1".into()),
            ("AWS_ACCESS_KEY_ID", keys.access),
            ("AWS_SECRET_ACCESS_KEY", keys.secret),
        ];
        let (status, text) = audit("s3://lake/a/prefix", &["--images"], &environment);
        match what {
            "nothing" => assert_eq!(status, Some(0), "{text}"),
            _ => {
                assert_eq!(status, Some(1), "{what} was not found:\n{text}");
                assert!(text.contains(&object), "{what}: {object} is not named:\n{text}");
            }
        }
    }
}

#[test]
fn the_folder_above_names_the_lake_below() {
    let above = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(above.path().join("lake/_milepost")).unwrap();
    let (status, text) = audit_folder(above.path());
    assert_eq!(status, Some(1));
    assert!(text.contains(&format!("audit {}", above.path().join("lake").display())), "{text}");
}
