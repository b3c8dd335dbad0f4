//! Prints the bytes a reading takes, whole messages, as Markdown tables.
//!
//! `cargo run --release -p milepost-bench --bin sizes`

use milepost_bench::drives::{self, Drive};
use milepost_bench::rivals;
use milepost_wire::Stream;

fn main() {
    let trip = drives::trip(1);
    for n in [60, 10] {
        println!("\nBytes a reading in batches of {n}, the simulated trip of seed 1:\n");
        table(&trip, n, false);
    }
    let recorded = drives::recorded();
    if recorded.is_empty() {
        println!("\nNo recorded drives: there is no folder {}.", drives::folder().display());
        return;
    }
    for n in [60, 10] {
        println!("\nBytes a reading in batches of {n}, recorded:\n");
        table(&recorded, n, true);
    }
}

fn table(drives: &[Drive], n: usize, mean: bool) {
    println!("| | readings | {} |", rivals::NAMES.join(" | "));
    println!("|---|{}", "--:|".repeat(rivals::NAMES.len() + 1));
    let (mut logs, mut positions) = ([0.0; 8], 0);
    for drive in drives {
        let batches = drive.batches(n);
        let readings: usize = batches.iter().map(|b| b.len()).sum();
        let mut totals = [0; 8];
        for batch in &batches {
            totals.iter_mut().zip(rivals::sizes(batch)).for_each(|(total, size)| *total += size);
        }
        let each = totals.map(|t| t as f64 / readings as f64);
        println!("| {} | {readings} | {} |", drive.name, cells(each));
        if mean && drive.readings[0].stream() == Stream::Gps {
            logs.iter_mut().zip(each).for_each(|(log, x)| *log += x.ln());
            positions += 1;
        }
    }
    if mean {
        let mean = logs.map(|l| (l / f64::from(positions)).exp());
        println!("| *geometric mean of positions* | | {} |", cells(mean));
    }
}

fn cells(each: [f64; 8]) -> String {
    each.map(|x| if x < 100.0 { format!("{x:.2}") } else { format!("{x:.0}") }).join(" | ")
}
