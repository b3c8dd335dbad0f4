//! The binary: its options, its exit codes and its signals.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};

fn agent() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_milepost-agent"));
    command.env_remove("RUST_LOG").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Reads the log until a line contains `text`.
fn wait_for(child: &mut Child, text: &str) {
    let log = BufReader::new(child.stderr.take().unwrap());
    let mut lines = log.lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains(text)), "the agent ended without saying {text:?}");
    // Kept open, so that the agent can go on writing.
    std::thread::spawn(move || lines.for_each(drop));
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
        let sent = Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
        assert!(sent.success());
        assert!(child.wait().unwrap().success(), "{signal}");
    }
}
