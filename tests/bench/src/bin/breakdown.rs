//! Prints where a frame's bytes go: for each column of `gps_data` how much smaller frames are without
//! it, and what is left without any, which is the header, the times and the checksum.
//!
//! `cargo run --release -p milepost-bench --bin breakdown`

use milepost_bench::drives::{self, Drive};
use milepost_wire::{Batch, Column, Stream, Validity, Values, frame};

fn main() {
    let mut drives = drives::recorded();
    drives.extend(drives::trip(1));
    drives.retain(|d| d.readings[0].stream() == Stream::Gps);
    for n in [60, 10] {
        println!("\nBytes a reading in batches of {n}, by column:\n");
        table(&drives, n);
    }
}

fn table(drives: &[Drive], n: usize) {
    let names: Vec<&str> = Stream::Gps.columns().unwrap_or_default().iter().map(|c| &*c.name).collect();
    println!("| | whole | header, times | {} |", names.join(" | "));
    println!("|---|{}", "--:|".repeat(names.len() + 2));
    for drive in drives {
        let batches = drive.batches(n);
        let readings: usize = batches.iter().map(Batch::len).sum();
        let each = |change: &dyn Fn(&mut Batch)| {
            let bytes: usize = batches.iter().map(|b| size(b, change)).sum();
            bytes as f64 / readings as f64
        };
        let whole = each(&|_| {});
        let bare = each(&|b| b.rows.columns.iter_mut().for_each(empty));
        let columns = (0..names.len()).map(|i| whole - each(&|b| empty(&mut b.rows.columns[i])));
        let cells: Vec<_> = [whole, bare].into_iter().chain(columns).map(|x| format!("{x:.2}")).collect();
        println!("| {} | {} |", drive.name, cells.join(" | "));
    }
}

fn size(batch: &Batch, change: &dyn Fn(&mut Batch)) -> usize {
    let mut batch = batch.clone();
    change(&mut batch);
    frame::encode(&batch).expect("a batch within the rules").len()
}

/// Makes every value null.
fn empty(column: &mut Column) {
    if let Values::Int(values) = &mut column.values {
        values.fill(0);
        column.validity = Some(Validity::none_set(values.len()));
    }
}
