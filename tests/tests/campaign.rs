//! A short campaign (see `milepost_tests::campaign`): seeded kills and network faults over the whole chain
//! on real brokers. `MILEPOST_SEED` runs one seed alone; `cargo xtask chaos` runs as many as one likes.

use milepost_tests::{campaign, skip};

const SEEDS: std::ops::RangeInclusive<u64> = 1..=10;

#[test]
fn seeded_schedules_of_kills_and_network_faults_lose_nothing_and_repeat_nothing() {
    let one = std::env::var("MILEPOST_SEED").ok().and_then(|s| s.parse::<u64>().ok());
    let seeds = one.map_or(SEEDS, |seed| seed..=seed);
    for seed in seeds {
        let Some(outcome) = campaign::run(seed) else {
            return skip("Mosquitto or Kafka is missing");
        };
        println!("seed {seed}: {} rows of gps_data", outcome.rows);
        assert_eq!((outcome.unaccounted, outcome.duplicates), (0, 0), "MILEPOST_SEED={seed}: {outcome:?}");
        if let Some(failure) = outcome.failure {
            panic!("MILEPOST_SEED={seed}: {failure}");
        }
    }
}
