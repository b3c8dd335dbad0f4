//! How fast a receiver's sentences and messages are read: `cargo xtask bench gps`.

use milepost_firmware_core::gps::Reader;
use std::hint::black_box;
use std::time::Instant;

/// Enough that a run takes part of a second.
const BYTES: usize = 64 << 20;

fn main() {
    let sentences: String = (0..600)
        .map(|i| {
            let time = format!("12{:02}{:02}.00", i / 60 % 60, i % 60);
            let place = format!("4807.{:05},N,01131.{:05},E", 3_800 + i * 7, i * 11);
            sentence(&format!("GNRMC,{time},A,{place},22.4,084.4,281126,,,A"))
                + &sentence("GNVTG,084.4,T,,M,22.4,N,41.5,K,A")
                + &sentence(&format!("GNGGA,{time},{place},1,12,0.9,545.4,M,46.9,M,,"))
                + &sentence("GNGSA,A,3,04,05,09,12,24,,,,,,,,2.5,1.3,2.1")
                + &sentence("GPGSV,3,1,11,03,03,111,00,04,15,270,00,06,01,010,00,13,06,292,00")
        })
        .collect();
    measure("NMEA", sentences.as_bytes());
}

fn measure(what: &str, log: &[u8]) {
    let rounds = BYTES.div_ceil(log.len());
    let mut best = 0.0f64;
    for _ in 0..3 {
        let (mut reader, mut fixes) = (Reader::new(), 0u64);
        let from = Instant::now();
        for _ in 0..rounds {
            // As a port gives them.
            log.chunks(4096)
                .for_each(|part| reader.push(part, |fix| fixes += u64::from(black_box(fix).quality)));
        }
        let rate = (rounds * log.len()) as f64 / from.elapsed().as_secs_f64() / 1e6;
        assert!(fixes > 0);
        best = best.max(rate);
    }
    println!("{what}: {best:.0} MB/s");
}

fn sentence(body: &str) -> String {
    let sum = body.bytes().fold(0, |sum, b| sum ^ b);
    format!("${body}*{sum:02X}\r\n")
}
