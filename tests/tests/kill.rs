//! kill -9 of agent, bridge and sink on real brokers: the audit is clean afterwards. A smoke test; the
//! rounds follow from a seed, which `MILEPOST_SEED` sets.

use milepost_tests::campaign::Dice;
use milepost_tests::chain::Chain;
use milepost_tests::proxy::Network;
use milepost_tests::skip;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const ROUNDS: u64 = 6;

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
    let mut dice = Dice::new(seed);
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

/// The test of the tests: what these and the campaign would say if a spool were lost.
#[test]
fn a_spool_that_vanishes_is_missed() {
    let Some(mut chain) = Chain::brokers(1) else {
        return skip("Mosquitto or Kafka is missing");
    };
    chain.restart_bridge();
    chain.restart_sink();
    chain.start_agent("van", &trip(1));
    chain.wait_for_rows("gps_data", 1, Duration::from_secs(60));
    chain.vehicles_network.set(Network::Cut);
    std::thread::sleep(Duration::from_secs(3));
    chain.kill_agent("van");
    std::fs::remove_dir_all(chain.path("van")).expect("the agent's folder");
    chain.vehicles_network.set(Network::Up);
    chain.start_agent("van", &trip(1));
    std::thread::sleep(Duration::from_secs(2));
    chain.stop_agent("van");
    let report = chain.drained(Duration::from_secs(15)).expect_err("what vanished is missed");
    let missing = report["tables"]["gps_data"]["gaps_undeclared"].as_u64().unwrap_or(0);
    assert!(missing > 50, "at 100 fixes a second three seconds are more than {missing}: {report}");
}

#[test]
fn an_agent_killed_in_mid_batch_loses_no_reading_older_than_the_loss_window() {
    let Some(mut chain) = Chain::brokers(1) else {
        return skip("Mosquitto or Kafka is missing");
    };
    // A fix each 10 ms, replayed as fast as it was recorded; a batch that never fills.
    let log: String = (0..6_000u64)
        .map(|i| {
            let ts = 1_700_000_000_000_000 + i * 10_000;
            format!("{{\"ts\":{ts},\"lat_e7\":{},\"lon_e7\":-13000000,\"fix\":1}}\n", 515_000_000 + i)
        })
        .collect();
    std::fs::write(chain.path("drive.ndjson"), log).expect("a file");
    let batch = "[batch]\ncount_max = 8000\nage_max = \"1h\"\nbytes_max = \"3 MiB\"\n";
    let replay = format!(
        "{batch}[[source]]\nname = \"drive\"\ntype = \"replay\"\npath = \"{}\"\npace = \"recorded\"\n\
         default_stream = \"gps_data\"\n",
        chain.path("drive.ndjson").display()
    );
    chain.start_agent("van", &replay);
    let ran = Duration::from_secs(6);
    std::thread::sleep(ran);
    chain.kill_agent("van");
    // Nothing was sent: bridge and sink start only now, and the agent that drains has no source.
    chain.restart_bridge();
    chain.restart_sink();
    chain.start_agent("van", "[shutdown]\ndrain = \"30s\"\n");
    std::thread::sleep(Duration::from_secs(2));
    chain.stop_agent("van");
    // 100 a second; a second to start the program, one to spare, and the loss window.
    chain.wait_for_rows("gps_data", 100 * (ran.as_secs() - 3), Duration::from_secs(60));
    let report = chain.audited(Duration::from_secs(60));
    let gaps = report["tables"]["gap_data"]["rows"].as_u64().unwrap_or(0);
    assert!(gaps >= 1, "the crash is declared: {report}");
}
