//! kill -9 of agent, bridge and sink on real brokers: the audit is clean afterwards. A smoke test; the
//! rounds follow from a seed, which `MILEPOST_SEED` sets.

use milepost_tests::chain::Chain;
use milepost_tests::skip;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const ROUNDS: u64 = 6;

/// Small numbers from a seed (xorshift64*): which program dies, and when.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % n
    }
}

fn trip(seed: u64) -> String {
    format!(
        "[[source]]\nname = \"trip\"\ntype = \"simulate\"\nseed = {seed}\nspeed = 100\n\
         [batch]\nage_max = \"1s\"\n[health]\ninterval = \"1s\"\n[shutdown]\ndrain = \"30s\"\n"
    )
}

#[test]
fn killed_programs_lose_nothing_and_repeat_nothing() {
    let Some(mut chain) = Chain::brokers(3) else {
        return skip("Mosquitto or Kafka is missing");
    };
    #[allow(clippy::disallowed_methods)]
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |d| d.as_nanos() as u64);
    let seed = std::env::var("MILEPOST_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(now | 1);
    println!("MILEPOST_SEED={seed}");
    let mut dice = Dice(seed);
    chain.restart_bridge();
    chain.restart_sink();
    for vehicle in 0..2 {
        chain.start_agent(&format!("van-{vehicle}"), &trip(vehicle));
    }
    for round in 0..ROUNDS {
        std::thread::sleep(Duration::from_millis(500 + dice.below(2500)));
        // Each program dies at least once; after that the dice say.
        match if round < 3 { round } else { dice.below(3) } {
            0 => {
                let vehicle = dice.below(2);
                chain.kill_agent(&format!("van-{vehicle}"));
                chain.start_agent(&format!("van-{vehicle}"), &trip(vehicle));
            }
            1 => chain.restart_bridge(),
            _ => chain.restart_sink(),
        }
    }
    std::thread::sleep(Duration::from_secs(2));
    for vehicle in 0..2 {
        chain.stop_agent(&format!("van-{vehicle}"));
    }
    let report = chain.audited(Duration::from_secs(90));
    let rows = report["tables"]["gps_data"]["rows"].as_u64().unwrap_or(0);
    assert!(rows > 500, "two vehicles at 100 fixes a second left only {rows} rows: {report}");
}
