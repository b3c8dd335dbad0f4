//! Compiled code on disk: used again by the engine that made it, and run by nobody when it was touched.

use milepost_transform_host::{Engine, EngineSettings, Limits, Transform};
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

fn component(name: &str) -> Vec<u8> {
    fs::read(Path::new("../prebuilt").join(format!("{name}.wasm"))).unwrap()
}

/// Loads a transform with an engine of its own and says how often that compiled.
fn compilations(dir: &Path, name: &str) -> u64 {
    let settings = EngineSettings { cache: Some(dir.into()), ..EngineSettings::default() };
    let engine = Engine::new(&settings).unwrap();
    let transform =
        Transform::load(&engine, &component(name), name, Default::default(), Limits::default()).unwrap();
    assert!(!transform.streams().is_empty(), "its init ran");
    engine.compilations()
}

fn compiled_files(dir: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|e| e == "compiled")).collect()
}

#[test]
fn a_component_is_compiled_once_for_many_starts() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("compiled");
    assert_eq!([0; 3].map(|_| compilations(&dir, "downsample")), [1, 0, 0]);
    assert_eq!(compilations(&dir, "harsh_driving"), 1);
    assert_eq!(compiled_files(&dir).len(), 2);
    for path in compiled_files(&dir).iter().chain([&dir.join("key")]) {
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600, "{}", path.display());
    }
}

#[test]
fn a_file_that_was_touched_is_not_run_but_made_again() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(compilations(dir.path(), "downsample"), 1);
    let path = compiled_files(dir.path()).remove(0);
    let good = fs::read(&path).unwrap();
    let mut bad = vec![good[..good.len() - 1].to_vec(), good[..31].to_vec(), Vec::new()];
    for at in [0, 31, 32, 100, good.len() / 2, good.len() - 1] {
        let mut turned = good.clone();
        turned[at] ^= 1;
        bad.push(turned);
    }
    bad.push([&good[..], b"more"].concat());
    for bytes in bad {
        fs::write(&path, &bytes).unwrap();
        assert_eq!(compilations(dir.path(), "downsample"), 1, "{} bytes were taken", bytes.len());
        assert_eq!(compilations(dir.path(), "downsample"), 0, "and what took their place is good");
    }
}

#[test]
fn one_component_s_code_is_not_run_for_another() {
    let dir = tempfile::tempdir().unwrap();
    compilations(dir.path(), "downsample");
    let downsample = compiled_files(dir.path()).remove(0);
    let other = tempfile::tempdir().unwrap();
    compilations(other.path(), "harsh_driving");
    let harsh = compiled_files(other.path()).remove(0);
    // By a name that is right and a MAC that is good for something else, and from a folder with another key.
    fs::copy(&downsample, dir.path().join(harsh.file_name().unwrap())).unwrap();
    assert_eq!(compilations(dir.path(), "harsh_driving"), 1);
    fs::copy(&harsh, dir.path().join(harsh.file_name().unwrap())).unwrap();
    assert_eq!(compilations(dir.path(), "harsh_driving"), 1);
}

#[test]
fn a_key_that_others_can_read_is_not_trusted() {
    let dir = tempfile::tempdir().unwrap();
    compilations(dir.path(), "downsample");
    let key = dir.path().join("key");
    let before = fs::read(&key).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(compilations(dir.path(), "downsample"), 1);
    assert_ne!(fs::read(&key).unwrap(), before);
}

#[test]
fn what_is_no_file_is_not_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    compilations(dir.path(), "downsample");
    for name in [compiled_files(dir.path()).remove(0), dir.path().join("key")] {
        fs::remove_file(&name).unwrap();
        assert!(Command::new("mkfifo").arg(&name).status().unwrap().success());
        assert_eq!(compilations(dir.path(), "downsample"), 1, "{}", name.display());
        assert_eq!(compilations(dir.path(), "downsample"), 0, "{}", name.display());
    }
}

#[test]
fn what_was_not_used_for_longest_goes_first() {
    let dir = tempfile::tempdir().unwrap();
    compilations(dir.path(), "downsample");
    let used = compiled_files(dir.path()).remove(0);
    let engine = used.file_name().unwrap().to_str().unwrap().split_once('.').unwrap().1.to_owned();
    let last_used = |path: &Path, day: u64| {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(day * 86_400);
        File::options().append(true).create(true).open(path).unwrap().set_modified(time).unwrap();
    };
    last_used(&used, 1);
    for day in 2..65 {
        last_used(&dir.path().join(format!("{day:064x}.{engine}")), day);
    }
    assert_eq!(compilations(dir.path(), "downsample"), 0);
    assert_eq!(compilations(dir.path(), "harsh_driving"), 1);
    assert_eq!(compiled_files(dir.path()).len(), 64);
    assert!(used.exists() && !dir.path().join(format!("{:064x}.{engine}", 2)).exists());
}

#[test]
fn without_a_folder_to_keep_it_in_it_is_compiled_each_time() {
    let file = tempfile::NamedTempFile::new().unwrap();
    assert_eq!([0; 2].map(|_| compilations(&file.path().join("x"), "downsample")), [1, 1]);
}
