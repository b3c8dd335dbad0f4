//! `cargo xtask chaos`: runs the schedules of many seeds, prints a line each and the sums at the end.
//!
//! usage: chaos COUNT FIRST_SEED [--json]; exit status 1 when a schedule failed.

use milepost_tests::campaign::{self, Outcome};
use std::process::ExitCode;
use std::time::Instant;

fn main() -> ExitCode {
    let numbers: Vec<u64> = std::env::args().skip(1).filter_map(|a| a.parse().ok()).collect();
    let [count, first] = numbers[..] else {
        eprintln!("usage: chaos COUNT FIRST_SEED [--json]");
        return ExitCode::from(2);
    };
    let json = std::env::args().any(|a| a == "--json");
    let mut outcomes = Vec::new();
    for seed in (0..count).map(|n| first.wrapping_add(n)) {
        let started = Instant::now();
        // A panic is a schedule that failed, and no end of the campaign.
        let outcome = match std::panic::catch_unwind(|| campaign::run(seed)) {
            Ok(Some(outcome)) => outcome,
            Ok(None) => {
                eprintln!("Mosquitto or Kafka is missing: start it by `cargo xtask chaos`");
                return ExitCode::from(2);
            }
            Err(_) => Outcome {
                unaccounted: 1,
                failure: Some("It ended in the panic above".to_owned()),
                ..Outcome::default()
            },
        };
        let verdict = if outcome.failure.is_some() { "FAILED" } else { "ok" };
        eprintln!(
            "seed {seed}: {verdict}, {} rows of gps_data, {} unaccounted, {} twice, {} declared lost, {} s",
            outcome.rows,
            outcome.unaccounted,
            outcome.duplicates,
            outcome.declared,
            started.elapsed().as_secs()
        );
        if let Some(failure) = &outcome.failure {
            eprintln!("{failure}\nAgain: cargo xtask chaos --seeds 1 --first-seed {seed}");
        }
        outcomes.push((seed, outcome));
    }
    let summary = campaign::summary(&outcomes);
    match json {
        true => println!("{summary}"),
        false => println!(
            "schedules {}, unaccounted {}, duplicates {}, declared lost {}, failed seeds {}",
            summary["schedules"],
            summary["unaccounted"],
            summary["duplicates"],
            summary["declared"],
            summary["failed"]
        ),
    }
    ExitCode::from(u8::from(outcomes.iter().any(|(_, o)| o.failure.is_some())))
}
