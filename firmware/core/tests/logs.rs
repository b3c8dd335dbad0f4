//! Recorded logs of real receivers against gpsd's reading of them: every epoch with a fix, the same position
//! and speed, nothing else. The folder is `nmea` in what `MILEPOST_SHARED_DATA` names.

use milepost_firmware_core::gps::{Fix, Reader};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Fixes of a log that comes in pieces of `cut` bytes.
fn read(log: &[u8], cut: usize) -> Vec<Fix> {
    let (mut reader, mut fixes) = (Reader::new(), Vec::new());
    log.chunks(cut).for_each(|piece| reader.push(piece, |fix| fixes.push(fix)));
    reader.end(|fix| fixes.push(fix));
    fixes
}

/// gpsd's last report of each time of day, ms; what it reported before it knew the time stands under `None`.
fn said(json: &str) -> BTreeMap<Option<u64>, Vec<Value>> {
    let mut said: BTreeMap<_, Vec<Value>> = BTreeMap::new();
    for tpv in json.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
        if tpv["class"] != "TPV" || tpv["mode"].as_i64() < Some(2) || tpv["lat"].is_null() {
            continue;
        }
        let time = tpv["time"].as_str().map(|text| {
            let part = |at: usize, n: usize| text[at..at + n].parse::<u64>().expect("digits");
            ((part(11, 2) * 60 + part(14, 2)) * 60 + part(17, 2)) * 1000 + part(20, 3)
        });
        let reports = said.entry(time).or_default();
        if time.is_some() {
            reports.clear();
        }
        reports.push(tpv);
    }
    said
}

fn is_near(fix: &Fix, tpv: &Value) -> bool {
    let off = |e7: i32, name: &str| (f64::from(e7) / 1e7 - tpv[name].as_f64().expect("a number")).abs();
    off(fix.lat_e7, "lat") <= 1e-6 && off(fix.lon_e7, "lon") <= 1e-6
}

#[test]
fn recorded_logs_agree_with_gpsd_however_they_are_cut() {
    let Some(folder) = std::env::var_os("MILEPOST_SHARED_DATA").map(|dir| PathBuf::from(dir).join("nmea"))
    else {
        return eprintln!("skipped: no recorded logs (MILEPOST_SHARED_DATA)");
    };
    let logs = std::fs::read_dir(&folder).expect("the folder of logs").flatten().map(|entry| entry.path());
    for log in logs.filter(|path| path.extension().is_some_and(|e| e == "log")) {
        let bytes = std::fs::read(&log).expect("a log");
        let fixes = read(&bytes, bytes.len());
        for cut in [1, 7, 1000] {
            assert_eq!(read(&bytes, cut), fixes, "{} in pieces of {cut}", log.display());
        }
        let speaks = |kind: &[u8]| bytes.windows(kind.len()).any(|part| part == kind);
        if ![&b"RMC,"[..], b"GGA,", b"GLL,"].into_iter().any(speaks) {
            assert_eq!(fixes, [], "{} is of another protocol", log.display());
            continue;
        }
        let mut said =
            said(&String::from_utf8_lossy(&std::fs::read(log.with_extension("log.chk")).expect("chk")));
        let timeless = said.remove(&None).unwrap_or_default();
        for fix in &fixes {
            let time = fix.time_of_day.map(|ns| ns / 1_000_000);
            let Some(tpv) = said.remove(&time).and_then(|mut reports| reports.pop()) else {
                assert!(timeless.iter().any(|tpv| is_near(fix, tpv)), "{} invented: {fix:?}", log.display());
                continue;
            };
            assert!(is_near(fix, &tpv), "{}: {fix:?}, gpsd {tpv}", log.display());
            if let (Some(ours), Some(theirs)) = (fix.speed_mm_s, tpv["speed"].as_f64()) {
                assert!(
                    (f64::from(ours) / 1e3 - theirs).abs() <= 0.1,
                    "{}: {fix:?}, gpsd {tpv}",
                    log.display()
                );
            }
        }
        assert!(said.is_empty(), "{}: missing {:?}", log.display(), said.keys());
        println!("{}: {} fixes", log.display(), fixes.len());
    }
}
