//! Frames that are sent again because nobody heard that they had arrived, on real brokers: acknowledged
//! by Mosquitto with no vehicle listening, in Kafka with no bridge left to say so.

use milepost_tests::chain::Chain;
use milepost_tests::proxy::Network;
use milepost_tests::skip;
use std::time::Duration;

const VEHICLES: u64 = 3;

/// A hundred fixes a second in small frames, so that many are under way.
fn drive(seed: u64) -> String {
    format!(
        "[[source]]\nname = \"trip\"\ntype = \"simulate\"\nseed = {seed}\nspeed = 100\n\
         [batch]\nage_max = \"200ms\"\n[health]\ninterval = \"1s\"\n[shutdown]\ndrain = \"30s\"\n"
    )
}

#[test]
fn dropped_pubacks_and_a_bridge_restarted_in_mid_flight_become_no_second_rows() {
    let Some(mut chain) = Chain::brokers(3) else {
        return skip("Mosquitto or Kafka is missing");
    };
    chain.restart_bridge();
    chain.restart_sink();
    (0..VEHICLES).for_each(|v| chain.start_agent(&format!("van-{v}"), &drive(v)));
    chain.wait_for_rows("gps_data", 1, Duration::from_secs(60));
    for _ in 0..4 {
        // The broker takes what the vehicles send, and they do not hear of it.
        chain.vehicles_network.set(Network::Unanswered);
        std::thread::sleep(Duration::from_millis(700));
        chain.vehicles_network.set(Network::Cut);
        chain.vehicles_network.set(Network::Up);
        // The bridge takes what the broker sends, Kafka takes it from the bridge, and nobody says so.
        chain.kafka.network.set(Network::Unanswered);
        std::thread::sleep(Duration::from_millis(700));
        chain.restart_bridge();
        chain.kafka.network.set(Network::Cut);
        chain.kafka.network.set(Network::Up);
        std::thread::sleep(Duration::from_millis(700));
    }
    (0..VEHICLES).for_each(|v| chain.stop_agent(&format!("van-{v}")));
    let report = chain.audited(Duration::from_secs(120));
    let dropped = report["ledger"]["duplicates_dropped"].as_u64().unwrap_or(0);
    println!("{dropped} readings arrived again");
    assert!(dropped > 0, "nothing was sent again: {report}");
    assert!(report["tables"]["gps_data"]["rows"].as_u64() > Some(300), "{report}");
}
