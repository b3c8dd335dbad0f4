//! For tests: gpsd's own reading of the recorded logs, to compare ours with.

use milepost_wire::{Body, Reading};
use serde_json::Value;
use std::path::PathBuf;

/// The folder of recorded logs: `MILEPOST_SHARED_DATA/nmea`, else `../shared/data/nmea` beside the
/// workspace. `None`, and a line that says so, where it is not there.
pub(crate) fn logs() -> Option<Vec<PathBuf>> {
    let data = std::env::var_os("MILEPOST_SHARED_DATA")
        .map(PathBuf::from)
        .unwrap_or_else(|| "../../shared/data".into());
    let Ok(entries) = std::fs::read_dir(data.join("nmea")) else {
        println!("SKIPPED: no recorded logs in {}; set MILEPOST_SHARED_DATA", data.join("nmea").display());
        return None;
    };
    let mut logs: Vec<PathBuf> = entries.filter_map(|e| Some(e.ok()?.path())).collect();
    logs.retain(|p| p.extension().is_some_and(|e| e == "log"));
    logs.sort();
    Some(logs)
}

/// What gpsd says of one epoch: the last TPV with a fix of a time.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    /// µs of the day; `None` where gpsd had no time yet.
    pub time_of_day: Option<i64>,
    pub lat: f64,
    pub lon: f64,
    pub speed: Option<f64>,
}

/// The epochs in gpsd's JSON, one object a line among others.
pub(crate) fn epochs(json: &str) -> Vec<Said> {
    let mut epochs: Vec<Said> = Vec::new();
    for tpv in json.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
        if tpv["class"] != "TPV" || tpv["mode"].as_i64() < Some(2) {
            continue;
        }
        let (Some(lat), Some(lon)) = (tpv["lat"].as_f64(), tpv["lon"].as_f64()) else { continue };
        let time_of_day = tpv["time"].as_str().map(time_of_day);
        let said = Said { time_of_day, lat, lon, speed: tpv["speed"].as_f64() };
        match epochs.last_mut() {
            Some(last) if last.time_of_day == said.time_of_day => *last = said,
            // Before the first date gpsd says no time: the same epoch may get one from its next sentence.
            Some(last) if last.time_of_day.is_none() && (last.lat, last.lon) == (lat, lon) => *last = said,
            _ => epochs.push(said),
        }
    }
    epochs
}

fn time_of_day(rfc3339: &str) -> i64 {
    let time = &rfc3339[rfc3339.find('T').expect("a time") + 1..rfc3339.len() - 1];
    let parts: Vec<f64> = time.split(':').map(|p| p.parse().expect("a number")).collect();
    ((parts[0] * 3600.0 + parts[1] * 60.0 + parts[2]) * 1e6).round() as i64
}

/// How our readings compare with gpsd's epochs.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Agreement {
    pub epochs: usize,
    pub readings: usize,
    pub missing: Vec<String>,
    pub invented: Vec<String>,
    pub wrong: Vec<String>,
    /// Readings without a speed, where gpsd derived one.
    pub no_speed: usize,
}

/// Compares within 1e-6° and 0.1 m/s. Epochs and readings are matched by time of day in their order.
pub(crate) fn compare(said: &[Said], ours: &[Reading]) -> Agreement {
    let mut result = Agreement { epochs: said.len(), readings: ours.len(), ..Agreement::default() };
    let mut taken = vec![false; ours.len()];
    for epoch in said {
        let at = ours.iter().zip(&taken).position(|(r, taken)| {
            let time = r.ts.rem_euclid(86_400_000_000);
            // gpsd prints milliseconds.
            !taken
                && epoch.time_of_day.is_none_or(|t| (t - time).abs() <= 1_000)
                && (epoch.time_of_day.is_some() || near(epoch, r))
        });
        let Some(at) = at else {
            result.missing.push(format!("{epoch:?}"));
            continue;
        };
        taken[at] = true;
        let Body::Gps(gps) = &ours[at].body else { panic!("{:?}", ours[at]) };
        let speed_fits = match (gps.speed_mm_s, epoch.speed) {
            (Some(ours), Some(theirs)) => (f64::from(ours) / 1000.0 - theirs).abs() <= 0.1,
            // gpsd says none where it reports before the sentence with the speed has come.
            (Some(_), None) => true,
            (None, theirs) => {
                result.no_speed += usize::from(theirs.is_some());
                true
            }
        };
        if !near(epoch, &ours[at]) || !speed_fits {
            result.wrong.push(format!("{epoch:?} but {:?}", ours[at]));
        }
    }
    let rest = ours.iter().zip(taken).filter(|(_, taken)| !taken);
    result.invented = rest.map(|(r, _)| format!("{r:?}")).collect();
    result
}

fn near(epoch: &Said, reading: &Reading) -> bool {
    let Body::Gps(gps) = &reading.body else { return false };
    let (lat, lon) = (f64::from(gps.lat_e7) / 1e7, f64::from(gps.lon_e7) / 1e7);
    (lat - epoch.lat).abs() <= 1e-6 && (lon - epoch.lon).abs() <= 1e-6
}
