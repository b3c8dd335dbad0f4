//! The binary: its options, its exit codes and its signals.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};

fn agent() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_milepost-agent"));
    // The tests run side by side on one machine.
    command.env("MILEPOST_AGENT__METRICS__LISTEN", "");
    command.env_remove("RUST_LOG").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The lines of its log as they come.
fn log(child: &mut Child) -> impl Iterator<Item = String> + use<> {
    BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok)
}

/// Reads the log until a line contains `text`, and gives that line.
fn until(log: &mut impl Iterator<Item = String>, text: &str) -> String {
    log.find(|line| line.contains(text)).unwrap_or_else(|| panic!("the agent ended without saying {text:?}"))
}

/// Reads the log until a line contains `text`.
fn wait_for(child: &mut Child, text: &str) {
    let mut lines = log(child);
    until(&mut lines, text);
    // Kept open, so that the agent can go on writing.
    std::thread::spawn(move || lines.for_each(drop));
}

fn signal(child: &Child, signal: &str) {
    assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
}

#[test]
fn the_printed_configuration_is_a_configuration() {
    let output = agent().arg("--print-config").output().unwrap();
    assert!(output.status.success());
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("agent.toml");
    let text = String::from_utf8(output.stdout).unwrap().replace("vehicle = \"\"", "vehicle = \"truck-1\"");
    std::fs::write(&file, text).unwrap();
    milepost_agent::config::Config::load(Some(&file), []).unwrap();
}

#[test]
fn whoever_has_read_enough_of_the_configuration_may_close_the_pipe() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = agent().arg("--print-config").stdout(writer).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}

#[test]
fn a_wrong_configuration_ends_with_78_and_a_message() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("agent.toml");
    std::fs::write(&file, "vehicle = 'v'\n[uplink]\nulr = 'mqtt://x'\n").unwrap();
    let output = agent().arg("--config").arg(&file).output().unwrap();
    assert_eq!(output.status.code(), Some(78));
    let message = stderr(&output);
    assert!(message.contains("agent.toml, line 3") && message.contains("uplink.ulr"), "{message}");

    let output = agent().output().unwrap();
    assert_eq!(output.status.code(), Some(78), "no vehicle");
}

#[test]
fn a_signal_stops_it_gracefully() {
    for signal in ["-TERM", "-INT"] {
        let dir = tempfile::tempdir().unwrap();
        let mut child = agent()
            .env("MILEPOST_AGENT__VEHICLE", "truck-1")
            .env("MILEPOST_AGENT__DATA_DIR", dir.path())
            .env("MILEPOST_AGENT__UPLINK__URL", "mqtt://127.0.0.1:1")
            .env("MILEPOST_AGENT__SHUTDOWN__DRAIN", "100ms")
            .spawn()
            .unwrap();
        wait_for(&mut child, "The agent runs");
        self::signal(&child, signal);
        assert!(child.wait().unwrap().success(), "{signal}");
    }
}

#[test]
fn a_hangup_reads_the_transforms_again_and_a_bad_one_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (file, component) = (dir.path().join("agent.toml"), dir.path().join("t.wasm"));
    let good = std::fs::read("../transforms/prebuilt/downsample.wasm").unwrap();
    let write = |component_bytes: &[u8], params: &str| {
        std::fs::write(&component, component_bytes).unwrap();
        let text = format!(
            "vehicle = 'v'\ndata_dir = {:?}\nuplink.url = 'mqtt://127.0.0.1:1'\nshutdown.drain = '100ms'\n\
             [[transform]]\nname = 't'\npath = {component:?}\nparams = {{ {params} }}\n",
            dir.path().join("data"),
        );
        std::fs::write(&file, text).unwrap();
    };
    write(&good, "");
    let mut child = agent().arg("--config").arg(&file).spawn().unwrap();
    let mut log = log(&mut child);
    until(&mut log, "The agent runs");
    for (bytes, params, said) in [
        (&b"garbage"[..], "", "is not a WebAssembly component"),
        (&good, "min_distance_m = 'far'", "min_distance_m"),
        (&good, "no_such_parameter = 1", "no_such_parameter"),
    ] {
        write(bytes, params);
        signal(&child, "-HUP");
        let line = until(&mut log, "The transforms stay as they are");
        assert!(line.contains(said), "{line}");
    }
    write(&good, "min_distance_m = 20");
    signal(&child, "-HUP");
    until(&mut log, "The transforms are read again");
    signal(&child, "-TERM");
    log.for_each(drop);
    assert!(child.wait().unwrap().success());
}

#[test]
fn its_log_is_an_object_of_json_a_line_where_that_is_wanted() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = agent()
        .env("MILEPOST_LOG_FORMAT", "json")
        .env("MILEPOST_AGENT__VEHICLE", "truck-1")
        .env("MILEPOST_AGENT__DATA_DIR", dir.path())
        .env("MILEPOST_AGENT__UPLINK__URL", "mqtt://127.0.0.1:1")
        .spawn()
        .unwrap();
    let line = until(&mut log(&mut child), "The agent runs");
    child.kill().unwrap();
    child.wait().unwrap();
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&line["level"], &line["message"]), (&"INFO".into(), &"The agent runs".into()), "{line}");
    assert_eq!(line["vehicle"], "truck-1", "{line}");

    let output = agent().env("MILEPOST_LOG_FORMAT", "xml").output().unwrap();
    assert_eq!(output.status.code(), Some(78));
    assert!(stderr(&output).contains("MILEPOST_LOG_FORMAT"), "{}", stderr(&output));
}
