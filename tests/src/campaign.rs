//! The campaign: schedules of kills and of faults of networks and S3 over the whole chain, each from a
//! seed; then all heals, the agents stop, everything drains and the audit speaks.
//!
//! A schedule follows from its seed alone; at which byte a fault hits depends on the machine, as it does
//! in the field.

use crate::chain::Chain;
use crate::proxy::Network;
use milepost_fake_aws::{Answer, Fault as S3Fault};
use serde_json::Value;
use std::time::Duration;

const VEHICLES: u64 = 3;
const PARTITIONS: i32 = 3;
/// The most readings that the kill of an agent may cost: what its sources can have given it in a loss window
/// of one second, and it to nobody.
const LOST_BY_A_KILL: u64 = 1000;
/// How long everything may take to drain after the last fault.
const DRAIN: Duration = Duration::from_secs(180);

/// How a network is bad.
const NETWORKS: [Network; 5] =
    [Network::Cut, Network::Reset, Network::BlackHole, Network::Unanswered, Network::Slow];

/// Small numbers from a seed (splitmix64, by Vigna, public domain).
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }
}

/// A connection that the campaign disturbs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    Vehicles,
    Bridge,
    Kafka,
}

/// How S3 is from one step on, until the next that changes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum S3 {
    Well,
    /// No request is answered. What stood still takes effect when it ends, also for those who are dead.
    Frozen,
    /// Every request takes so many milliseconds.
    Slow(u64),
    /// Of five requests one is refused as too many, one fails, and one conflicts with another.
    Busy,
    /// Of three requests one takes effect and the answer is lost, and one is cut before.
    LosesAnswers,
    /// Of three requests one takes effect and is said to have failed.
    Lies,
}

/// What happens in one step of a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// kill -9, and a start right after.
    KillAgent(u64),
    KillBridge,
    KillSink,
    /// kill -9, and a start after so many milliseconds.
    KillKafka(u64),
    /// A stop by signal and a start: see [`crate::process::Mosquitto::restart`].
    RestartMosquitto,
    Store(S3),
    /// So many milliseconds of a bad network.
    Disturb(Path, Network, u64),
    /// One more sink in the group, which takes partitions over.
    AddSink,
    /// The oldest of several sinks leaves the group.
    RemoveSink,
    /// The oldest sink sleeps for so many milliseconds beside another one: beyond its session it wakes
    /// as a zombie.
    SinkSleeps(u64),
    /// A tenth of a topic's records come again.
    Replay(&'static str),
}

/// The faults of a seed, each with the milliseconds before it.
pub fn schedule(seed: u64) -> Vec<(u64, Fault)> {
    let mut dice = Dice::new(seed);
    let steps = 6 + dice.below(5);
    let fault = |dice: &mut Dice| match dice.below(23) {
        0..3 => Fault::KillAgent(dice.below(VEHICLES)),
        3..6 => Fault::KillBridge,
        6..9 => Fault::KillSink,
        9 => Fault::KillKafka(dice.below(3000)),
        10 => Fault::RestartMosquitto,
        11 => Fault::AddSink,
        12 => Fault::RemoveSink,
        13 => Fault::SinkSleeps(500 + dice.below(9000)),
        14 => Fault::Replay(["gps_data", "vehicle_data", "agent_health"][dice.below(3) as usize]),
        15..18 => Fault::Store(match dice.below(6) {
            0 => S3::Well,
            1 => S3::Frozen,
            2 => S3::Slow(20 + dice.below(400)),
            3 => S3::Busy,
            4 => S3::LosesAnswers,
            _ => S3::Lies,
        }),
        _ => {
            let path = [Path::Vehicles, Path::Bridge, Path::Kafka][dice.below(3) as usize];
            let network = NETWORKS[dice.below(NETWORKS.len() as u64) as usize];
            Fault::Disturb(path, network, 300 + dice.below(3000))
        }
    };
    (0..steps).map(|_| (100 + dice.below(1500), fault(&mut dice))).collect()
}

/// What came of a schedule.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Rows of `gps_data`, of all vehicles.
    pub rows: u64,
    /// Readings in no row and in no gap row, and everything else that the audit finds wrong.
    pub unaccounted: u64,
    /// Rows that are there twice.
    pub duplicates: u64,
    /// Readings that gap rows declare lost: what killed agents had not yet given to the disk, at most.
    pub declared: u64,
    /// Of a schedule that failed: the audit's last report and the ends of the programs' logs.
    pub failure: Option<String>,
}

/// Runs the schedule of a seed on brokers of its own; `None` where a broker is missing on this machine.
pub fn run(seed: u64) -> Option<Outcome> {
    let mut chain = Chain::brokers_and_s3(PARTITIONS)?;
    chain.restart_bridge();
    chain.restart_sink();
    for vehicle in 0..VEHICLES {
        chain.start_agent(&name(vehicle), &trip(seed, vehicle));
    }
    let mut dice = Dice::new(!seed);
    for (wait, fault) in schedule(seed) {
        std::thread::sleep(Duration::from_millis(wait));
        carry_out(&mut chain, seed, fault, &mut dice);
    }
    std::thread::sleep(Duration::from_secs(1));
    set(&chain, S3::Well, &mut dice);
    for vehicle in 0..VEHICLES {
        chain.stop_agent(&name(vehicle));
    }
    // An empty lake is clean too: what drains must be there first.
    chain.wait_for_rows("gps_data", VEHICLES * 100, DRAIN);
    let (drained, report) = match chain.drained(DRAIN) {
        Ok(report) => (true, report),
        Err(report) => (false, report),
    };
    let sum = |key: &str| -> u64 {
        let tables = report["tables"].as_object().into_iter().flatten();
        tables.map(|(_, table)| table[key].as_u64().unwrap_or(0)).sum()
    };
    let ledger = |key: &str| report["ledger"][key].as_u64().unwrap_or(0);
    let declared = sum("gaps_declared");
    let kills = schedule(seed).iter().filter(|(_, fault)| matches!(fault, Fault::KillAgent(_))).count();
    let too_many = declared > kills as u64 * LOST_BY_A_KILL;
    let wrong = report["faults_total"].as_u64().unwrap_or(0).max(u64::from(!drained || too_many));
    let failure = match (drained, too_many) {
        (true, false) => None,
        (true, true) => Some(format!("{declared} readings are declared lost after {kills} kills of agents")),
        (false, _) => Some(chain.logs()),
    };
    Some(Outcome {
        rows: report["tables"]["gps_data"]["rows"].as_u64().unwrap_or(0),
        unaccounted: sum("gaps_undeclared").max(ledger("lost_offsets") + ledger("unread")).max(wrong),
        duplicates: sum("duplicates"),
        declared,
        failure: failure.map(|what| format!("{report}\n{what}")),
    })
}

/// The outcomes as one JSON object: `schedules`, `rows`, `unaccounted`, `duplicates`, `failed` seeds.
pub fn summary(outcomes: &[(u64, Outcome)]) -> Value {
    let sum = |of: fn(&Outcome) -> u64| outcomes.iter().map(|(_, o)| of(o)).sum::<u64>();
    let failed: Vec<u64> = outcomes.iter().filter(|(_, o)| o.failure.is_some()).map(|(s, _)| *s).collect();
    serde_json::json!({
        "schedules": outcomes.len(),
        "rows": sum(|o| o.rows),
        "unaccounted": sum(|o| o.unaccounted),
        "duplicates": sum(|o| o.duplicates),
        "declared": sum(|o| o.declared),
        "failed": failed,
    })
}

fn carry_out(chain: &mut Chain, seed: u64, fault: Fault, dice: &mut Dice) {
    match fault {
        Fault::KillAgent(vehicle) => {
            chain.kill_agent(&name(vehicle));
            chain.start_agent(&name(vehicle), &trip(seed, vehicle));
        }
        Fault::KillBridge => chain.restart_bridge(),
        Fault::KillSink => chain.restart_sink(),
        Fault::AddSink => chain.add_sink(),
        Fault::RemoveSink => chain.remove_sink(),
        Fault::SinkSleeps(how_long) => chain.with_sink_asleep(|chain| {
            if chain.sinks() == 0 {
                chain.add_sink();
            }
            std::thread::sleep(Duration::from_millis(how_long));
        }),
        Fault::Replay(topic) => {
            chain.kafka.replay(topic, 10, dice);
        }
        Fault::KillKafka(away) => {
            chain.kafka.kill();
            std::thread::sleep(Duration::from_millis(away));
            chain.kafka.restart();
        }
        Fault::Store(state) => set(chain, state, dice),
        Fault::RestartMosquitto => chain.mosquitto.restart(),
        Fault::Disturb(path, network, how_long) => {
            let proxy = match path {
                Path::Vehicles => &chain.vehicles_network,
                Path::Bridge => &chain.bridge_network,
                Path::Kafka => &chain.kafka.network,
            };
            proxy.set(network);
            std::thread::sleep(Duration::from_millis(how_long));
            proxy.set(Network::Up);
        }
    }
}

fn set(chain: &Chain, state: S3, dice: &mut Dice) {
    let Some(s3) = &chain.s3 else { return };
    let mut dice = Dice::new(dice.below(u64::MAX));
    let mut again = dice.clone();
    let one_of_three = |first: S3Fault, second: S3Fault| {
        s3.plan(move |_| [first, second, S3Fault::None][dice.below(3) as usize]);
    };
    s3.heal();
    s3.thaw();
    match state {
        S3::Well => {}
        S3::Frozen => s3.freeze(),
        S3::Slow(ms) => s3.plan(move |_| S3Fault::Slow(Duration::from_millis(ms))),
        S3::Busy => {
            let answers = [Answer::SLOW_DOWN, Answer::INTERNAL, Answer::CONFLICT];
            s3.plan(move |_| match again.below(5) {
                n @ 0..3 => S3Fault::Refuse(answers[n as usize]),
                _ => S3Fault::None,
            });
        }
        S3::LosesAnswers => one_of_three(S3Fault::LoseAnswer, S3Fault::Cut),
        S3::Lies => one_of_three(S3Fault::Belie(Answer::INTERNAL), S3Fault::None),
    }
}

fn name(vehicle: u64) -> String {
    format!("van-{vehicle}")
}

/// An agent's configuration: a simulated trip at a hundred times its speed.
fn trip(seed: u64, vehicle: u64) -> String {
    let seed = seed.wrapping_mul(VEHICLES).wrapping_add(vehicle) % (1 << 40);
    format!(
        "[[source]]\nname = \"trip\"\ntype = \"simulate\"\nseed = {seed}\nspeed = 100\n\
         [batch]\nage_max = \"1s\"\n[health]\ninterval = \"1s\"\n[shutdown]\ndrain = \"60s\"\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::SINK_SESSION;

    #[test]
    fn a_seed_gives_one_schedule_and_many_seeds_give_every_fault() {
        assert_eq!(schedule(7), schedule(7));
        assert_ne!(schedule(7), schedule(8));
        let all: Vec<Fault> = (0..100).flat_map(schedule).map(|(_, fault)| fault).collect();
        let simple = [Fault::KillBridge, Fault::KillSink, Fault::RestartMosquitto, Fault::AddSink];
        assert!(simple.iter().chain(&[Fault::RemoveSink]).all(|fault| all.contains(fault)));
        for s3 in [S3::Well, S3::Frozen, S3::Busy, S3::LosesAnswers, S3::Lies] {
            assert!(all.contains(&Fault::Store(s3)), "{s3:?}");
        }
        assert!(all.iter().any(|f| matches!(f, Fault::Store(S3::Slow(_)))));
        let past_its_session = |ms: u64| u128::from(ms) > SINK_SESSION.as_millis() + 1000;
        assert!(all.iter().any(|f| matches!(f, Fault::SinkSleeps(ms) if past_its_session(*ms))));
        assert!(all.iter().any(|f| matches!(f, Fault::Replay("gps_data"))));
        assert!(all.iter().any(|f| matches!(f, Fault::KillKafka(_))));
        for path in [Path::Vehicles, Path::Bridge, Path::Kafka] {
            for network in NETWORKS {
                let hit = |f: &Fault| matches!(f, Fault::Disturb(p, n, _) if (*p, *n) == (path, network));
                assert!(all.iter().any(hit), "{path:?} {network:?}");
            }
        }
    }
}
