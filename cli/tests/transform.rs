//! The author's loop as people run it: the binary, projects in folders of their own, and what is said
//! when something is wrong. Nothing of this repository is near the projects.

mod lake;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A `milepost transform …` in a folder. All Rust projects share what cargo builds for them.
fn milepost(dir: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_milepost"));
    command.arg("transform").args(args).current_dir(dir).env_remove("RUST_LOG");
    command.env("CARGO_TARGET_DIR", target()).output().unwrap()
}

fn target() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("author")
}

/// Standard output of a command that has to end with this status.
#[track_caller]
fn told(output: &Output, status: i32) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(status), "{out}\n{err}");
    out.into_owned()
}

/// What a command that was refused says.
#[track_caller]
fn refused(output: &Output) -> String {
    told(output, 1);
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A project of a language, in a folder of its own.
fn project(name: &str, lang: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    told(&milepost(folder.path(), &["new", name, "--lang", lang]), 0);
    let dir = folder.path().join(name);
    (folder, dir)
}

fn write(path: PathBuf, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// A source whose `gps` has this body.
fn source(body: &str) -> String {
    format!(
        "use milepost_transform::{{Gps, Next, Out, Params, Transform, transform}};\n\
         pub struct Mine {{ limit: f64 }}\n\
         impl Transform for Mine {{\n\
             fn new(params: &mut Params) -> Result<Self, String> {{\n\
                 Ok(Self {{ limit: params.f64(\"limit\", 5.0)? }})\n\
             }}\n\
             fn gps(&mut self, fix: &Gps, out: &mut Out) -> Next<Gps> {{\n\
                 let (_, _) = (&out, self.limit);\n\
                 {body}\n\
             }}\n\
         }}\n\
         transform!(Mine: gps);\n"
    )
}

/// A case with four fixes, a second apart; the third has no satellites.
fn add_case(dir: &Path, settings: &str, expected: Option<&str>) {
    let case = dir.join("cases/four");
    write(case.join("case.toml"), settings);
    let fix = |s: i64, satellites: i64| {
        format!(
            "{{\"stream\":\"gps_data\",\"ts\":{},\"lat\":52,\"lon\":-1.5,\"speed\":{s},\"satellites\":{satellites}}}\n",
            s * 1_000_000
        )
    };
    write(case.join("in.ndjson"), &[fix(0, 8), fix(1, 8), fix(2, 0), fix(3, 8)].concat());
    if let Some(expected) = expected {
        write(case.join("out.ndjson"), expected);
    }
}

#[test]
fn a_new_project_is_built_tested_measured_inspected_and_piped_through() {
    let (_folder, dir) = project("slow_out", "rust");
    let built = told(&milepost(&dir, &["build"]), 0);
    assert!(built.contains("slow_out.wasm") && built.contains("sha256 "), "{built}");
    assert_eq!(
        told(&milepost(&dir, &["test"]), 0),
        "case standing: ok, 5 readings in, 3 rows out\n1 passed, 0 failed\n"
    );
    let cost = told(&milepost(&dir, &["bench"]), 0);
    for word in ["a reading", "limit", "time", "fuel", "memory", "16.0 MiB", "on the air"] {
        assert!(cost.contains(word), "{word}: {cost}");
    }
    let shipped = fs::metadata(dir.join("slow_out.wasm")).unwrap().len();
    assert!((10_000..200_000).contains(&shipped), "{shipped} bytes: with names, or without code");
    let about = told(&milepost(&dir, &["inspect", "slow_out.wasm"]), 0);
    for word in
        ["world     milepost:transform/transform@0.1.0", "streams   gps_data", &format!("({shipped} bytes)")]
    {
        assert!(about.contains(word), "{word}: {about}");
    }
    let input = dir.join("cases/standing/in.ndjson");
    let piped = milepost(
        &dir,
        &["run", "slow_out.wasm", "--param", "min_speed_m_s=5", "--input", input.to_str().unwrap()],
    );
    assert_eq!(told(&piped, 0).lines().count(), 2);
    let taken = milepost(&dir, &["new", "slow_out", "--into", ".."]);
    assert!(refused(&taken).contains("is there already"));
}

#[test]
fn what_differs_is_shown_and_can_be_blessed() {
    let (_folder, dir) = project("differing", "rust");
    write(
        dir.join("src/lib.rs"),
        &source("Next::Change(fix.with_speed_m_s(fix.speed_m_s().unwrap_or(0.0) + 0.004))"),
    );
    let fix = |s: i64, speed: f64| {
        format!(
            "{{\"stream\":\"gps_data\",\"ts\":{},\"lat\":52,\"lon\":-1.5,\"speed\":{speed}}}\n",
            s * 1_000_000
        )
    };
    let expected = [fix(0, 0.0), fix(1, 1.0), fix(3, 3.0), fix(9, 9.0)].concat();
    fs::remove_dir_all(dir.join("cases/standing")).unwrap();
    add_case(&dir, "ignore = [\"satellites\"]\n", Some(&expected));
    let shown = told(&milepost(&dir, &["test"]), 1);
    for line in [
        "case four: FAILED",
        "  row 2 of what came out (gps_data, 1970-01-01T00:00:01Z) differs:",
        "-   speed_mm_s: 1000",
        "+   speed_mm_s: 1004",
        "  row 3 of what came out is not expected:",
        "  row 4 of out.ndjson did not come out:",
        "0 passed, 1 failed",
    ] {
        assert!(shown.lines().any(|l| l == line), "{line}: {shown}");
    }
    add_case(&dir, "ignore = [\"satellites\"]\ntolerance = { speed = 0.005 }\n", None);
    assert!(!told(&milepost(&dir, &["test"]), 1).contains("differs"), "within the tolerance");
    told(&milepost(&dir, &["test", "--bless"]), 0);
    assert!(told(&milepost(&dir, &["test"]), 0).contains("case four: ok, 4 readings in, 4 rows out"));

    // What is wrong with one case is no reason not to run the others, nor to tell more than what is wrong.
    for (file, text) in [
        ("a/case.toml", "tolerance = { speed = nan }\n"),
        ("b/case.toml", "params = { limitt = 3 }\n"),
        ("c/case.toml", "ignore = [\"stream\"]\n"),
        ("d/case.toml", "input = \"nowhere.ndjson\"\n"),
        ("e/out.ndjson", "what is this\n"),
    ] {
        let case = dir.join("cases").join(file);
        write(case.clone(), text);
        fs::copy(dir.join("cases/four/in.ndjson"), case.with_file_name("in.ndjson")).unwrap();
        fs::copy(dir.join("cases/four/out.ndjson"), case.with_file_name("out.ndjson")).unwrap();
        write(case, text);
    }
    let shown = told(&milepost(&dir, &["test"]), 1);
    for text in [
        "the tolerance of \"speed\" is NaN: take a number from 0 up",
        "limitt",
        "\"stream\" cannot be ignored",
        "nowhere.ndjson cannot be read",
        "e/out.ndjson, line 1: ",
        "case four: ok",
        "1 passed, 5 failed",
    ] {
        assert!(shown.contains(text), "{text}: {shown}");
    }
    assert!(!shown.contains("did not come out"), "{shown}");
}

#[test]
fn a_failure_names_the_case_the_reading_the_limit_and_the_line() {
    let (_folder, dir) = project("failing", "rust");
    fs::remove_dir_all(dir.join("cases/standing")).unwrap();
    add_case(&dir, "", None);
    let of = |body: &str, wanted: &[&str]| {
        write(dir.join("src/lib.rs"), &source(body));
        let shown = told(&milepost(&dir, &["test"]), 1);
        for text in
            [&["case four: FAILED", "reading 3 (line 3) was set aside:", "\"satellites\":0"], wanted].concat()
        {
            assert!(shown.contains(text), "{text}: {shown}");
        }
        assert!(!shown.contains("reading 2"), "only one reading does the harm: {shown}");
    };
    let bad = "if fix.satellites == Some(0) {";
    of(&format!("{bad} panic!(\"no sky\"); }} Next::Keep"), &["no sky", "src/lib.rs:9"]);
    of(
        &format!("{bad} std::hint::black_box(fix.fix).checked_div(0).unwrap(); }} Next::Keep"),
        &["src/lib.rs:9"],
    );
    of(
        &format!(
            "{bad} let mut n = 1u64; while std::hint::black_box(n) != 0 {{ n = std::hint::black_box(n) | 1; }} }} Next::Keep"
        ),
        &["It used its CPU time of 250ms for one call", "ms had passed", "src/lib.rs:9"],
    );
    of(
        &format!(
            "{bad} let mut all = vec![]; loop {{ all.push(vec![1u8; 1 << 20]); std::hint::black_box(&all); }} }} Next::Keep"
        ),
        &["of memory, and may have 16777216"],
    );
    of(&format!("{bad} return Next::Become(vec![*fix; 20_000]); }} Next::Keep"), &["16384 rows"]);
    of(
        &format!("{bad} out.fail(\"not enough satellites\"); }} Next::Keep"),
        &["It said: not enough satellites"],
    );

    add_case(&dir, "set_aside = [3]\n", None);
    told(&milepost(&dir, &["test", "--bless"]), 0);
    assert!(told(&milepost(&dir, &["test"]), 0).contains("case four: ok, 4 readings in, 3 rows out"));
    add_case(&dir, "params = { limit = \"x\" }\nrefuses = \"Parameter limit\"\n", None);
    assert!(told(&milepost(&dir, &["test"]), 0).contains("case four: ok"));
}

#[test]
fn what_is_over_a_limit_is_told_by_the_bench() {
    let (_folder, dir) = project("over_limit", "rust");
    fs::remove_dir_all(dir.join("cases/standing")).unwrap();
    add_case(&dir, "", None);
    write(dir.join("src/lib.rs"), &source("Next::Become(vec![*fix; 100])"));
    let shown = told(&milepost(&dir, &["bench"]), 1);
    let rows = shown.lines().find(|l| l.starts_with("rows handed back")).unwrap();
    // Of a hundred one is the row that was there; a batch has 256.
    assert!(rows.contains("25344") && rows.contains("16384"), "{rows}");
    assert!(shown.contains("over the limit"), "{shown}");
}

#[test]
fn recorded_drives_are_cases_too() {
    let (_folder, dir) = project("recorded", "rust");
    fs::remove_dir_all(dir.join("cases/standing")).unwrap();
    write(dir.join("src/lib.rs"), &source("Next::keep_if(fix.speed_m_s().is_some_and(|v| v < self.limit))"));
    let sentence = |body: String| format!("${body}*{:02X}\r\n", body.bytes().fold(0u8, |a, b| a ^ b));
    let epoch = |s: u32| {
        let rmc =
            sentence(format!("GPRMC,0800{s:02}.00,A,5210.0000,N,00130.0000,W,{s:02}.0,010.0,020326,,,A"));
        sentence(format!("GPGGA,0800{s:02}.00,5210.0000,N,00130.0000,W,1,08,0.9,100.0,M,47.0,M,,")) + &rmc
    };
    write(dir.join("drive.nmea"), &(0..20).map(epoch).collect::<String>());
    write(dir.join("cases/drive/case.toml"), "input = \"../../drive.nmea\"\n");
    told(&milepost(&dir, &["test", "--bless"]), 0);
    // 10 knots are 5.14 m/s; the first epoch ends before its date is known.
    assert!(told(&milepost(&dir, &["test"]), 0).contains("case drive: ok, 20 readings in, 10 rows out"));
}

#[test]
fn rows_of_the_lake_are_cases_too() {
    let lake = lake::Lake::written_by_a_sink();
    let (_folder, dir) = project("from_lake", "rust");
    fs::remove_dir_all(dir.join("cases/standing")).unwrap();
    // Of the fixes 0 to 99 the sink has all but 30 to 39.
    write(dir.join("src/lib.rs"), &source("Next::keep_if(fix.lat_e7 < 515_000_050)"));
    let table = lake.path().join("gps_data");
    let case = dir.join("cases/table/case.toml");
    write(case.clone(), &format!("input = {table:?}\nvehicle = \"a\"\n"));
    told(&milepost(&dir, &["test", "--bless"]), 0);
    let tested = told(&milepost(&dir, &["test"]), 0);
    assert!(tested.contains("case table: ok, 90 readings in, 40 rows out"), "{tested}");
    let expected = fs::read_to_string(dir.join("cases/table/out.ndjson")).unwrap();
    let last: serde_json::Value = serde_json::from_str(expected.lines().last().unwrap()).unwrap();
    for (field, value) in
        [("lat_e7", 515_000_049), ("lon_e7", -1_270_000), ("speed_mm_s", 13_900), ("fix", 1)]
    {
        assert_eq!(last[field], value, "{field}: {last}");
    }

    let file = lake.files("gps_data/").into_iter().find(|key| key.ends_with(".parquet")).unwrap();
    write(case.clone(), &format!("input = {:?}\n", lake.path().join(file)));
    assert!(told(&milepost(&dir, &["test", "--bless"]), 0).contains("readings in"));
    write(case, &format!("input = {table:?}\nvehicle = \"b\"\n"));
    assert!(told(&milepost(&dir, &["test"]), 1).contains("has no rows of vehicle b in Parquet files"));
}

#[test]
fn a_component_that_asks_for_more_is_refused_with_what_it_asks_for() {
    let folder = tempfile::tempdir().unwrap();
    // (component (import "wasi:cli/environment@0.2.0" (instance)))
    let mut wasi = b"\0asm\x0d\0\x01\0".to_vec();
    wasi.extend(b"\x07\x03\x01\x42\x00");
    wasi.extend(b"\x0a\x1f\x01\x00\x1a");
    wasi.extend(b"wasi:cli/environment@0.2.0\x05\x00");
    fs::write(folder.path().join("nosy.wasm"), wasi).unwrap();
    let told = told(&milepost(folder.path(), &["inspect", "nosy.wasm"]), 1);
    assert!(told.contains("REFUSED   wasi:cli/environment@0.2.0: a transform does not get it"), "{told}");
    // (component (import "a:b/c@1.0.0" (func))): a function by an interface's name.
    let mut odd = b"\0asm\x0d\0\x01\0\x07\x05\x01\x40\x00\x01\x00\x0a\x10\x01\x00\x0b".to_vec();
    odd.extend(b"a:b/c@1.0.0\x01\x00");
    fs::write(folder.path().join("odd.wasm"), odd).unwrap();
    let said = self::told(&milepost(folder.path(), &["inspect", "odd.wasm"]), 1);
    assert!(said.contains("REFUSED   a:b/c@1.0.0: a transform does not get it"), "{said}");
    assert!(refused(&milepost(folder.path(), &["new", "self"])).contains("\"self\" has a meaning in Rust"));
    fs::write(folder.path().join("text.wasm"), "hello").unwrap();
    assert!(
        refused(&milepost(folder.path(), &["inspect", "text.wasm"])).contains("not a WebAssembly component")
    );
    assert!(refused(&milepost(folder.path(), &["build"])).contains("milepost transform new NAME"));
    assert!(refused(&milepost(folder.path(), &["new", "../x"])).contains("cannot be a transform's name"));
}

#[test]
fn what_overflows_is_told_in_the_sandbox_as_in_native_tests() {
    let (_folder, dir) = project("overflows", "rust");
    fs::remove_dir_all(dir.join("cases/standing")).unwrap();
    write(dir.join("src/lib.rs"), &source("Next::keep_if((fix.fix + 251) as f64 > self.limit)"));
    write(
        dir.join("cases/many/in.ndjson"),
        "{\"ts\":1772438400000000,\"stream\":\"gps_data\",\"lat_e7\":520000000,\"lon_e7\":-15000000,\"fix\":5}\n",
    );
    let said = told(&milepost(&dir, &["test"]), 1);
    assert!(said.contains("attempt to add with overflow"), "{said}");
}

#[test]
fn odd_inputs_and_closed_outputs_end_with_a_word_and_not_a_panic() {
    let folder = tempfile::tempdir().unwrap();
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../transforms/prebuilt/downsample.wasm");
    fs::copy(example, folder.path().join("x.wasm")).unwrap();
    let run = |stdin: &str, stderr: Stdio| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_milepost"));
        command.args(["transform", "run", "x.wasm"]).current_dir(folder.path()).env_remove("RUST_LOG");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(stderr).spawn().unwrap();
        child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    };
    let said = refused(&run("$GPGGA,080000.00,,,,,0,00,,,M,,M,,*66\n", Stdio::piped()));
    assert!(
        said.contains("line 1 is a receiver's, and NDJSON is read here: name the log with --input"),
        "{said}"
    );

    let (reader, closed) = std::io::pipe().unwrap();
    drop(reader);
    assert_eq!(run("no json\n", closed.into()).status.code(), Some(1));

    for i in 0..=20_000 {
        fs::create_dir_all(folder.path().join(format!("disk/{}/{i}", i % 100))).unwrap();
    }
    let said = refused(&milepost(folder.path(), &["run", "x.wasm", "--input", "disk"]));
    assert!(said.contains("more than 20000 files and folders up to disk/"), "{said}");
    let said = refused(&milepost(folder.path(), &["run", "x.wasm", "--input", "/dev/zero"]));
    assert!(said.contains("/dev/zero is neither a file nor a folder"), "{said}");
}

/// A new project of a language passes its case, asks for nothing but our interface and names a mistake.
fn works_in(lang: &str) {
    let (_folder, dir) = project("slow_out", lang);
    let tested = milepost(&dir, &["test"]);
    assert_eq!(told(&tested, 0), "case standing: ok, 5 readings in, 3 rows out\n1 passed, 0 failed\n");
    let about = told(&milepost(&dir, &["inspect", "slow_out.wasm"]), 0);
    let imports = about.lines().find(|l| l.starts_with("imports")).unwrap();
    assert!(imports.split_whitespace().skip(1).all(|i| i.starts_with("milepost:transform/")), "{imports}");
    let wrong = refused(&milepost(&dir, &["run", "slow_out.wasm", "--param", "sped=1"]));
    assert!(wrong.contains("this transform has min_speed_m_s"), "{wrong}");
    let costs = told(&milepost(&dir, &["bench", "slow_out.wasm"]), 0);
    println!("{lang}:\n{about}{costs}");
}

/// Whether what takes long, or needs other compilers, is to be run.
fn full() -> bool {
    let full = std::env::var_os("MILEPOST_FULL").is_some();
    if !full {
        println!("SKIPPED: needs another language's compiler; `cargo xtask test --full` runs it");
    }
    full
}

#[test]
fn a_new_project_in_c_works() {
    if full() {
        works_in("c");
    }
}

#[test]
fn a_new_project_in_javascript_works() {
    if full() {
        works_in("js");
    }
}

#[test]
fn a_new_project_in_python_works() {
    if full() {
        works_in("python");
    }
}
