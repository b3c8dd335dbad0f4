//! What agent, bridge and sink say of themselves: the metrics are those of `docs/metrics.md`, and each says
//! what it lacks while it cannot do its work.

use milepost_tests::chain::Chain;
use milepost_tests::http::get;
use milepost_tests::process::{program, wait_for};
use milepost_tests::proxy::Network;
use milepost_tests::skip;
use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);
const PROGRAMS: [&str; 3] = ["van-1", "bridge", "sink"];

/// Type, labels and meaning.
type About = (String, Vec<String>, String);

/// A chain at work: a vehicle with a transform, a bridge and a sink.
fn chain() -> Option<Chain> {
    let mut chain = Chain::brokers(1)?;
    chain.restart_bridge();
    chain.restart_sink();
    let transform = concat!(env!("CARGO_MANIFEST_DIR"), "/../transforms/prebuilt/downsample.wasm");
    let config = format!(
        "[[source]]\nname = \"trip\"\ntype = \"simulate\"\nseed = 1\nspeed = 100\n\
         [[transform]]\nname = \"thin\"\npath = \"{transform}\"\n[batch]\nage_max = \"200ms\"\n"
    );
    chain.start_agent("van-1", &config);
    Some(chain)
}

fn is_ready(chain: &Chain, name: &str) -> bool {
    get(chain.metrics(name), "/readyz").is_some_and(|(status, _)| status == 200)
}

fn wait_until_ready(chain: &Chain) {
    for name in PROGRAMS {
        wait_for(&format!("{name} to be ready"), PATIENCE, || is_ready(chain, name));
    }
}

/// The tables of `docs/metrics.md`: what there is under each heading.
fn documented() -> BTreeMap<String, BTreeMap<String, About>> {
    let page = include_str!("../../docs/metrics.md");
    let mut found = BTreeMap::<_, BTreeMap<_, _>>::new();
    let mut heading = "";
    for line in page.lines() {
        heading = line.strip_prefix("### ").unwrap_or(heading);
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [name, kind, unit, labels, meaning] = cells[..] else { continue };
        let Some(name) = name.strip_prefix('`').and_then(|n| n.strip_suffix('`')) else { continue };
        let base = name.strip_suffix("_total").unwrap_or(name);
        assert_eq!(kind == "counter", name.ends_with("_total"), "{name} is no {kind} by its name");
        for in_name in ["bytes", "seconds"] {
            assert_eq!(unit == in_name, base.ends_with(in_name), "{name} has not its unit, {unit}");
        }
        let labels = labels.split(", ").map(|l| l.trim_matches('`').to_owned()).filter(|l| !l.is_empty());
        let about = (kind.to_owned(), labels.collect(), meaning.to_owned());
        found.entry(heading.to_owned()).or_default().insert(name.to_owned(), about);
    }
    found
}

/// What a page says: each metric, and how many values it has.
fn printed(page: &str) -> BTreeMap<String, (About, usize)> {
    let mut found = BTreeMap::<String, (About, usize)>::new();
    for line in page.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, help) = help.split_once(' ').unwrap();
            let about = (String::new(), Vec::new(), help.to_owned());
            assert!(found.insert(name.to_owned(), (about, 0)).is_none(), "{name} is there twice");
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap();
            found.get_mut(name).unwrap().0.0 = kind.to_owned();
        } else {
            let (name, rest) = line.split_once(['{', ' ']).unwrap();
            let (about, count) = found.get_mut(name).expect(name);
            let labels = rest.rsplit_once("} ").map_or("", |(labels, _)| labels);
            about.1 = labels.split("\",").filter_map(|l| Some(l.split_once('=')?.0.to_owned())).collect();
            *count += 1;
            let value = line.rsplit(' ').next().unwrap();
            assert!(value.parse::<f64>().is_ok_and(|v| v >= 0.0), "{line}");
        }
    }
    found
}

/// The sum of a metric's values.
fn value(page: &str, name: &str) -> f64 {
    let values = page.lines().filter(|l| l.split(['{', ' ']).next() == Some(name));
    values.map(|l| l.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
}

#[test]
fn all_three_print_what_the_list_says_and_nothing_else() {
    let Some(chain) = chain() else {
        return skip("Mosquitto or Kafka is missing");
    };
    wait_until_ready(&chain);
    wait_for("rows in tables", PATIENCE, || {
        get(chain.metrics("sink"), "/metrics")
            .is_some_and(|(_, p)| value(&p, "milepost_sink_rows_total") > 0.0)
    });
    let documented = documented();
    for (name, heading) in PROGRAMS.into_iter().zip(["Agent", "Bridge", "Sink"]) {
        let (_, page) = get(chain.metrics(name), "/metrics").unwrap();
        let mut expected = documented[heading].clone();
        expected.extend(documented["All three"].clone());
        let printed = printed(&page);
        let names = |of: &BTreeMap<String, About>| of.keys().cloned().collect::<Vec<_>>();
        assert_eq!(printed.keys().cloned().collect::<Vec<_>>(), names(&expected), "{name}");
        for (metric, (mut about, values)) in printed {
            if values == 0 {
                about.1.clone_from(&expected[&metric].1);
            }
            assert_eq!(about, expected[&metric], "{metric}");
        }
    }
    let [van, bridge, sink] = PROGRAMS.map(|name| get(chain.metrics(name), "/metrics").unwrap().1);
    for (page, name) in [
        (&van, "milepost_agent_readings_total"),
        (&van, "milepost_agent_transform_received_total"),
        (&van, "milepost_agent_transform_taken_out_total"),
        (&van, "milepost_agent_rows_total"),
        (&van, "milepost_agent_spool_written_bytes_total"),
        (&van, "milepost_agent_uplink_delivered_bytes_total"),
        (&bridge, "milepost_bridge_delivered_total"),
        (&bridge, "milepost_bridge_acked_total"),
        (&sink, "milepost_sink_file_bytes_total"),
        (&sink, "milepost_sink_partitions"),
    ] {
        assert!(value(page, name) > 0.0, "{name} counts nothing:\n{page}");
    }
    let delivered = value(&van, "milepost_agent_uplink_delivered_total");
    assert!(value(&bridge, "milepost_bridge_delivered_total") >= delivered, "{van}\n{bridge}");
}

/// Waits until a program is not ready for a reason that has `word` in it, and still alive.
#[track_caller]
fn wait_for_lack(chain: &Chain, name: &str, word: &str) {
    let mut last = None;
    wait_for(&format!("{name} to miss {word}"), PATIENCE, || {
        last = get(chain.metrics(name), "/readyz");
        last.as_ref().is_some_and(|(status, why)| *status == 503 && why.contains(word))
    });
    let (_, why) = last.unwrap();
    assert_eq!(why.lines().count(), 1, "{why}");
    assert_eq!(get(chain.metrics(name), "/healthz").unwrap().0, 200, "{name} is alive");
}

#[test]
fn each_says_what_it_lacks_and_is_ready_when_it_has_it_again() {
    let Some(chain) = chain() else {
        return skip("Mosquitto or Kafka is missing");
    };
    wait_until_ready(&chain);
    let probe = |package: &str, name: &str, variable: &str| {
        let address = format!("127.0.0.1:{}", chain.metrics(name));
        let mut probe = Command::new(program(package, package));
        let out = probe.arg("probe").env(variable, address).output().expect("the program starts");
        (out.status.success(), String::from_utf8_lossy(&out.stderr).into_owned())
    };
    let probe_bridge = || probe("milepost-bridge", "bridge", "MILEPOST_BRIDGE__METRICS__LISTEN");
    let (yes, said) = probe_bridge();
    assert!(yes, "{said}");
    chain.vehicles_network.set(Network::Cut);
    wait_for_lack(&chain, "van-1", "broker");
    chain.bridge_network.set(Network::Cut);
    wait_for_lack(&chain, "bridge", "MQTT");
    chain.kafka.network.set(Network::Cut);
    wait_for_lack(&chain, "bridge", "Kafka");
    wait_for_lack(&chain, "sink", "Kafka");
    let (yes, said) = probe_bridge();
    assert!(!yes && said.contains("Kafka"), "{said}");
    for network in [&chain.vehicles_network, &chain.bridge_network, &chain.kafka.network] {
        network.set(Network::Up);
    }
    wait_until_ready(&chain);
}
