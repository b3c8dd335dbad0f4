//! `docs/formats/frame.md` is exact enough to write a reader from: one in Python, written from the page, reads the
//! golden frames and those of a simulated trip as the project's own decoder does.

use milepost_agent::ndjson::Line;
use milepost_agent::source::simulate::{Trip, TripSettings};
use milepost_tests::{python, script, skip};
use milepost_wire::{Batch, BootId, Stream, VehicleId, frame};
use serde_json::Value;
use std::collections::BTreeMap;
use std::process::Command;

/// The byte arrays of the file of golden frames.
fn golden() -> Vec<Vec<u8>> {
    let source = std::fs::read_to_string("../wire/tests/golden/frame_v1.rs").expect("the golden frames");
    let arrays = source.split(": [u8; ").skip(1).filter_map(|rest| rest.split_once("= [")?.1.split_once(']'));
    let byte = |text: &str| u8::from_str_radix(text.trim().strip_prefix("0x")?, 16).ok();
    arrays.map(|(bytes, _)| bytes.split(',').filter_map(byte).collect()).collect()
}

/// Frames of up to `rows` readings of each stream of a trip.
fn trip(rows: usize) -> Vec<Vec<u8>> {
    let (mut open, mut frames) = (BTreeMap::new(), Vec::new());
    let settings = TripSettings { minutes: Some(30.0), ..TripSettings::default() };
    for reading in Trip::new(7, settings) {
        let stream = reading.stream();
        let batch = open.entry(stream.clone()).or_insert_with(|| {
            let vehicle = VehicleId::new("Van-07").expect("a name");
            Batch::new(vehicle, BootId(7), stream.clone(), stream.columns().expect("built in"), 0, Vec::new())
        });
        batch.push(&reading).expect("a reading of its stream");
        if batch.len() == rows {
            frames.push(frame::encode(batch).expect("a frame"));
            open.remove(&stream);
        }
    }
    frames.extend(open.values().map(|batch| frame::encode(batch).expect("a frame")));
    frames
}

/// The rows of frames as the project's decoder reads them.
fn rows(frames: &[Vec<u8>]) -> Vec<Value> {
    let mut rows = Vec::new();
    for frame in frames {
        let batch = frame::decode(frame).expect("a frame");
        for row in 0..batch.len() {
            let mut line = String::new();
            Line { batch: &batch, row, origin: true }.write(&mut line);
            rows.push(serde_json::from_str(&line).expect("a line of JSON"));
        }
    }
    rows
}

#[test]
fn a_reader_written_from_the_page_reads_every_frame() {
    let Some(python) = python() else {
        return skip("no Python");
    };
    let golden = golden();
    assert_eq!(golden.len(), 3, "the golden frames are not where they were");
    let frames = [golden, trip(60), trip(10), trip(1000)].concat();
    let built_in = Stream::BUILT_IN.iter().map(|stream| {
        let kind = |c: &milepost_wire::ColumnSpec| format!("{:?}", c.kind).to_lowercase();
        let columns = stream.columns().expect("built in").iter().map(|c| (c.name.to_string(), kind(c)));
        (stream.name().to_owned(), serde_json::json!(columns.collect::<Vec<_>>()).to_string())
    });
    let built_in: Vec<String> =
        built_in.map(|(name, columns)| format!("{}:{columns}", serde_json::json!(name))).collect();
    let dir = tempfile::tempdir().expect("a temporary folder");
    let input = dir.path().join("frames");
    let hex = |frame: &Vec<u8>| frame.iter().map(|b| format!("{b:02x}")).collect::<String>() + "\n";
    std::fs::write(&input, frames.iter().map(hex).collect::<String>()).expect("a file of frames");
    let read = Command::new(&python)
        .arg(script("frame_decoder.py"))
        .arg(format!("{{{}}}", built_in.join(",")))
        .stdin(std::fs::File::open(&input).expect("the file"))
        .output()
        .expect("Python starts");
    let (text, errors) = (String::from_utf8_lossy(&read.stdout), String::from_utf8_lossy(&read.stderr));
    assert!(read.status.success(), "{errors}");
    let (theirs, ours) = (text.lines().map(|line| serde_json::from_str(line).expect("JSON")), rows(&frames));
    let theirs: Vec<Value> = theirs.collect();
    assert_eq!(theirs.len(), ours.len());
    for (theirs, ours) in theirs.iter().zip(&ours) {
        assert_eq!(theirs, ours);
    }
    println!("{} frames, {} rows", frames.len(), ours.len());
}
