use super::super::outlet::{Deliveries, Next, QueueLimits, channel};
use super::*;
use crate::clock::FakeClock;
use milepost_wire::{Clock as Trust, Reading};
use std::time::Duration;

fn settings(script: &str, more: &str) -> Settings {
    toml::from_str(&format!("command = ['sh', '-c', '''{script}''']\ndefault_stream = 'axle'\n{more}"))
        .unwrap()
}

fn context() -> Context {
    Context { clock: Arc::new(FakeClock::at(77)) }
}

fn all(mut deliveries: Deliveries) -> Vec<Reading> {
    let mut readings = Vec::new();
    while let Next::Delivery(d) = deliveries.next(Duration::ZERO) {
        readings.extend(d.readings);
    }
    readings
}

async fn run(settings: &Settings) -> (Result<(), SourceError>, Vec<Reading>, u64) {
    let (intake, deliveries) = channel(QueueLimits::default());
    let outlet = intake.outlet("program", Arc::default());
    let ended = build(settings, &context()).unwrap().run(&outlet, &CancellationToken::new()).await;
    let refused = outlet.counters().details().get("refused_line").copied();
    (ended, all(deliveries), refused.unwrap_or(0))
}

#[tokio::test]
async fn what_a_program_prints_is_delivered_and_its_end_is_the_end() {
    let script = r#"echo '{"load":1}'; echo 'not json'; echo oops >&2; printf '{"load":2,"ts":5}'"#;
    let (ended, readings, refused) = run(&settings(script, "")).await;
    assert!(ended.is_ok(), "{ended:?}");
    let stamps: Vec<_> = readings.iter().map(|r| (r.ts, r.clock)).collect();
    assert_eq!(stamps, [(77, Trust::Ntp), (5, Trust::Ntp)], "dated by the host where it says no time");
    assert_eq!(refused, 1);
}

#[tokio::test]
async fn a_program_that_fails_is_started_again() {
    let (ended, readings, _) = run(&settings(r#"echo '{"load":1}'; exit 3"#, "")).await;
    let error = ended.unwrap_err().to_string();
    assert!(error.contains("exit status: 3"), "{error}");
    assert_eq!(readings.len(), 1);
    let (ended, _, _) = run(&settings("exit 0", "restart = 'always'")).await;
    assert!(ended.is_err());
    let missing: Settings = toml::from_str("command = ['/no/such/program']").unwrap();
    let error = run(&missing).await.0.unwrap_err().to_string();
    assert!(error.contains("/no/such/program"), "{error}");
    let empty: Settings = toml::from_str("command = []").unwrap();
    assert!(build(&empty, &context()).is_err());
}

#[tokio::test]
async fn a_program_that_closes_its_output_and_stays_is_started_again() {
    let script = r#"echo '{"load":1}'; exec >&-; exec sleep 3600"#;
    let (ended, readings, _) = run(&settings(script, "")).await;
    let error = ended.unwrap_err().to_string();
    assert!(error.contains("closed its output"), "{error}");
    assert_eq!(readings.len(), 1);
}

#[tokio::test]
async fn a_program_that_fails_is_started_again_whatever_its_children_hold() {
    let script = r#"sh -c 'echo "{\"pid\":$$}"; exec sleep 3600' & exit 3"#;
    let (ended, readings, _) = run(&settings(script, "")).await;
    let error = ended.unwrap_err().to_string();
    assert!(error.contains("exit status: 3"), "{error}");
    is_gone(&readings[0]).await;
}

#[tokio::test]
async fn nothing_that_a_program_has_printed_is_dropped_when_its_children_are_ended() {
    let script =
        r#"sleep 3600& i=0; while [ $i -lt 4000 ]; do echo "{\"load\":$i}"; i=$((i+1)); done; exit 3"#;
    let (intake, mut deliveries) = channel(QueueLimits { readings: 1, ..QueueLimits::default() });
    let outlet = intake.outlet("program", Arc::default());
    drop(intake);
    let slow = tokio::task::spawn_blocking(move || {
        let mut readings = 0;
        while let Next::Delivery(d) = deliveries.next(Duration::from_secs(30)) {
            // Meanwhile the program ends, with most of it in the pipe, and its children after it.
            if readings == 0 {
                std::thread::sleep(GRACE * 2);
            }
            readings += d.readings.len();
        }
        readings
    });
    let mut source = build(&settings(script, ""), &context()).unwrap();
    let ended = source.run(&outlet, &CancellationToken::new()).await;
    drop(outlet);
    assert!(ended.unwrap_err().to_string().contains("exit status: 3"));
    assert_eq!(slow.await.unwrap(), 4000);
}

#[tokio::test]
async fn a_program_is_ended_with_its_children_when_the_source_stops() {
    // The child prints its own number, and would live for an hour.
    let script = r#"sh -c 'echo "{\"pid\":$$}"; exec sleep 3600' & wait"#;
    let (intake, mut deliveries) = channel(QueueLimits::default());
    let outlet = intake.outlet("program", Arc::default());
    let stop = CancellationToken::new();
    let toml = format!("command = ['sh', '-c', {}]\ndefault_stream = 'axle'", toml::Value::from(script));
    let mut source = build(&toml::from_str(&toml).unwrap(), &context()).unwrap();
    let first = tokio::task::spawn_blocking(move || match deliveries.next(Duration::from_secs(30)) {
        Next::Delivery(d) => d.readings,
        other => panic!("{other:?}"),
    });
    let readings = tokio::select! {
        ended = source.run(&outlet, &stop) => panic!("{ended:?}"),
        first = first => first.unwrap(),
    };
    drop(source);
    is_gone(&readings[0]).await;
}

/// Waits until the process that a reading names is gone, or dead and not yet collected by whoever inherited it.
async fn is_gone(reading: &Reading) {
    let milepost_wire::Body::Derived(row) = &reading.body else { panic!() };
    let milepost_wire::Value::Int(pid) = row.values[0] else { panic!("{row:?}") };
    let state = || std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_else(|_| ") Z".into());
    while !state().contains(") Z") {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
