//! From the receiver's wire to the row: the firmware in its emulator, its link on a pseudo-terminal, the real
//! agent reading that, and behind it the real chain.

use milepost_tests::board::Board;
use milepost_tests::chain::Chain;
use milepost_tests::{python, script, shared_data, skip};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

const VEHICLE: &str = "van";
/// What the receiver of the emulator drives: 200 m around this point, at this speed.
const CENTRE: (f64, f64) = (51.5, 0.01);
const RADII: (f64, f64) = (0.0018, 0.0029);
const SPEED: f64 = 20.0;
/// 2026-11-28 10:00:00 UTC, µs: its first moment.
const BEGIN_US: i64 = 1_795_860_000_000_000;

/// An emulator keeps a core busy: one at a time.
static ONE: Mutex<()> = Mutex::new(());

fn one_at_a_time() -> MutexGuard<'static, ()> {
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The chain, and a board with an agent that reads it. `None`, said, where a part is missing.
fn board(options: &[&str]) -> Option<(Chain, Board)> {
    let missing = |what: &str| skip(&format!("{what} missing"));
    let Some(mut chain) = Chain::brokers(1) else {
        missing("Mosquitto or Kafka");
        return None;
    };
    let Some(board) = Board::start(&chain.path(""), options) else {
        missing("the firmware's emulator");
        return None;
    };
    chain.restart_bridge();
    chain.restart_sink();
    chain.start_agent(VEHICLE, &agent(&board));
    Some((chain, board))
}

fn agent(board: &Board) -> String {
    format!(
        "[[source]]\nname = \"board\"\ntype = \"link\"\nport = \"{}\"\nbaud = 921600\nping = \"1s\"\n\
         silence = \"10s\"\n[batch]\nage_max = \"500ms\"\n[health]\ninterval = \"1s\"\n",
        board.port().display()
    )
}

/// Stops everything in the order of the data, and gives what the tables hold, once the audit is clean.
fn tables(mut chain: Chain, python: &Path) -> (Chain, Value) {
    std::thread::sleep(Duration::from_secs(1));
    chain.stop_agent(VEHICLE);
    chain.audited(Duration::from_secs(60));
    let out = Command::new(python).arg(script("board_rows.py")).arg(chain.lake()).arg(VEHICLE).output();
    let out = out.expect("Python starts");
    let text = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success(), "{text}\n{}", String::from_utf8_lossy(&out.stderr));
    (chain, serde_json::from_str(&text).expect("JSON"))
}

/// The moments of the fixes, as the receiver numbers them; each must be one that it drove. A fix that came
/// before the board had heard a date says so, and must at least lie on the way.
fn moments(tables: &Value, hz: i64) -> Vec<i64> {
    let fixes = tables["fixes"].as_array().expect("a list");
    let (dated, undated): (Vec<_>, Vec<_>) = fixes.iter().partition(|fix| fix[4] == "gps");
    for fix in &undated {
        let (x, y) = from_centre(fix);
        assert!((x.hypot(y) - 1.0).abs() < 0.01, "not on the way: {fix}");
    }
    assert!(undated.len() <= 5, "{undated:?}");
    let moment = |fix: &&Value| {
        let since = fix[0].as_i64().expect("a time") - BEGIN_US;
        assert_eq!(since % (1_000_000 / hz), 0, "no moment of the receiver: {fix}");
        let number = since * hz / 1_000_000;
        let angle = number as f64 / hz as f64 * 0.1;
        let (x, y) = from_centre(fix);
        assert!((x - angle.cos()).hypot(y - angle.sin()) < 1e-3, "not where the receiver was: {fix}");
        assert!(fix[3].as_f64().is_none_or(|speed| (speed - SPEED).abs() < 0.01), "{fix}");
        number
    };
    dated.iter().map(moment).collect()
}

/// Where a fix lies, in radii of the way.
fn from_centre(fix: &Value) -> (f64, f64) {
    let degrees = |i: usize| fix[i].as_f64().expect("a position");
    ((degrees(1) - CENTRE.0) / RADII.0, (degrees(2) - CENTRE.1) / RADII.1)
}

/// Which images are in the lake, by the digest that is their name.
fn images(lake: &Path) -> BTreeSet<String> {
    let folders = std::fs::read_dir(lake.join("_images")).into_iter().flatten().flatten();
    let files = folders.flat_map(|folder| std::fs::read_dir(folder.path()).into_iter().flatten().flatten());
    files.filter_map(|file| Some(file.path().file_stem()?.to_str()?.to_owned())).collect()
}

/// The images that the camera made, by their digest. The last one may still be under way.
fn made(board: &Board) -> Vec<String> {
    let told = board.events("image");
    let whole = told.iter().filter(|image| image["mood"] == "ok");
    whole.map(|image| image["sha256"].as_str().expect("a digest").to_owned()).collect()
}

fn ten_fixes_and_an_image_a_second(seconds: usize) {
    let _one = one_at_a_time();
    let Some(python) = python() else { return skip("no Python with DuckDB") };
    let Some((chain, board)) = board(&["--hz", "10", "--baud", "115200"]) else { return };
    board.wait_for("epoch", seconds * 10, Duration::from_secs(seconds as u64 * 2 + 30));
    let mut made = made(&board);
    made.pop();
    let end = board.stop();
    assert_eq!(end["overruns"], serde_json::json!([0, 0]), "bytes that the board had no room for");
    let (chain, tables) = tables(chain, &python);
    let moments = moments(&tables, 10);
    println!(
        "{} fixes from {:?} to {:?}, {} images",
        moments.len(),
        moments.first(),
        moments.last(),
        made.len()
    );
    // The line's speed has to be found, so the first seconds are missing; from then on nothing is.
    let (first, last) = (moments[0], moments[moments.len() - 1]);
    assert_eq!(moments, (first..=last).collect::<Vec<_>>(), "{}", chain.logs());
    assert!(first < 80 && last as usize + 20 > seconds * 10, "from {first} to {last}");
    let lake = images(Path::new(&chain.lake()));
    assert!(
        made.len() + 8 > seconds && made.iter().all(|image| lake.contains(image)),
        "{} images",
        lake.len()
    );
}

#[test]
fn every_fix_and_every_image_of_a_board_is_a_row() {
    ten_fixes_and_an_image_a_second(15);
}

#[test]
fn a_minute_of_ten_fixes_and_an_image_a_second_loses_nothing() {
    if std::env::var_os("MILEPOST_FULL").is_some() {
        ten_fixes_and_an_image_a_second(60);
    }
}

#[test]
fn a_recorded_log_on_the_boards_wire_arrives_as_gpsd_reads_it() {
    let _one = one_at_a_time();
    let (Some(python), Some(data)) = (python(), shared_data()) else {
        return eprintln!("skipped: no recorded logs (MILEPOST_SHARED_DATA)");
    };
    let mut logs = vec![data.join("nmea/haicom-305N.log")];
    if std::env::var_os("MILEPOST_FULL").is_some() {
        let all =
            std::fs::read_dir(data.join("nmea")).expect("the folder of logs").flatten().map(|e| e.path());
        logs = all.filter(|path| path.extension().is_some_and(|e| e == "log")).collect();
    }
    logs.iter().for_each(|log| agrees_with_gpsd(log, &python));
}

fn agrees_with_gpsd(log: &Path, python: &Path) {
    // As fast as the line takes it, at the speed that the board tries first, so that no epoch is missed.
    let options = ["--log", log.to_str().expect("a path"), "--hz", "10", "--baud", "9600"];
    let Some((chain, board)) = board(&options) else { return };
    board.wait_for("log ends", 1, Duration::from_secs(180));
    std::thread::sleep(Duration::from_secs(1));
    board.stop();
    let (chain, _) = tables(chain, python);
    let mut agreement = Command::new(python);
    agreement.arg(script("gps_agreement.py")).arg(chain.lake()).arg(VEHICLE).arg(log);
    let out = agreement.output().expect("Python starts");
    println!("{}: {}", log.display(), String::from_utf8_lossy(&out.stdout));
    assert!(out.status.success(), "{}: {}", log.display(), String::from_utf8_lossy(&out.stdout));
}

#[test]
fn whatever_happens_to_a_board_nothing_is_invented_and_it_recovers_by_itself() {
    let _one = one_at_a_time();
    let Some(python) = python() else { return skip("no Python with DuckDB") };
    let Some((mut chain, mut board)) = board(&["--hz", "5", "--baud", "38400"]) else { return };
    chain.wait_for_rows("gps_data", 5, Duration::from_secs(60));
    let faults = [
        ("gps noise", "gps ok"),
        ("gps drops", "gps ok"),
        ("toHost noise", "toHost ok"),
        ("toHost drops", "toHost ok"),
        ("fromHost noise", "fromHost ok"),
        ("toHost cut", "toHost ok"),
        ("receiver baud 9600", "receiver baud 38400"),
        ("camera hangs", "camera garbage"),
        ("camera absent", "camera ok"),
        ("reset", "reset"),
    ];
    for (fault, mended) in faults {
        board.order(fault);
        std::thread::sleep(Duration::from_millis(2500));
        board.order(mended);
        std::thread::sleep(Duration::from_millis(500));
    }
    // The agent does not read for a while, and is started again in the middle of everything.
    let asleep = if std::env::var_os("MILEPOST_FULL").is_some() { 60 } else { 5 };
    chain.with_agent_asleep(VEHICLE, || std::thread::sleep(Duration::from_secs(asleep)));
    chain.kill_agent(VEHICLE);
    chain.start_agent(VEHICLE, &agent(&board));
    // The camera is looked for every 5 s, and the receiver's speed takes 2.5 s a trial.
    let (images_before, epochs_before) = (board.events("image").len(), board.events("epoch").len());
    board.wait_for("image", images_before + 3, Duration::from_secs(60));
    board.wait_for("epoch", epochs_before + 100, Duration::from_secs(60));
    let made = made(&board);
    board.stop();
    let (chain, tables) = tables(chain, &python);
    let mut moments = moments(&tables, 5);
    // The rows of two starts of the agent are in the order of their ids.
    moments.sort_unstable();
    assert!(moments.windows(2).all(|pair| pair[0] < pair[1]), "a moment came twice: {moments:?}");
    let last = *moments.last().expect("fixes");
    assert!(last >= epochs_before as i64 + 90, "the last fix is {last} of {epochs_before} + 100");
    let lake = images(Path::new(&chain.lake()));
    assert!(lake.iter().all(|image| made.contains(image)), "an image that nobody took");
    assert!(made.iter().rev().nth(1).is_some_and(|image| lake.contains(image)), "the camera is back");
    let lost = tables["gaps"].as_array().expect("a list");
    assert!(lost.iter().any(|gap| gap[0] == "gps_data"), "a cut cable is no gap: {lost:?}");
}

#[test]
fn the_boards_clock_is_known_to_5_ms() {
    let _one = one_at_a_time();
    let dir = tempfile::tempdir().expect("a temporary folder");
    let options = ["--probe", "--hz", "10", "--baud", "9600", "--seconds", "30"];
    let Some(board) = Board::start(dir.path(), &options) else {
        return skip("the firmware's emulator is missing");
    };
    board.wait_for("end", 1, Duration::from_secs(90));
    let clock = board.events("end").remove(0)["clock"].clone();
    println!("{clock}");
    assert!(clock["answers"].as_u64() > Some(100), "{clock}");
    assert!(clock["worst_us"].as_f64().is_some_and(|us| us <= 5_000.0), "{clock}");
}
