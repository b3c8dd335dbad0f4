//! A real sink on an S3 that loses answers, refuses and stands still, and on a Kafka that repeats itself.

mod support;

use milepost_fake_aws::{Answer, FakeAws, Fault, Op};
use milepost_sink::store::S3Settings;
use milepost_sink::{Settings, Sink};
use std::collections::{BTreeSet, HashSet};
use std::time::{Duration, Instant};
use support::{Bench, Lake, Row, gps_frame, s3_settings};

/// Sends drives through a sink whose store meets `plan` on the way, and checks the lake.
fn survives(what: &str, plan: impl FnMut(&milepost_fake_aws::Request) -> Fault + Send + 'static) -> FakeAws {
    let (bench, fake) = (Bench::new(&[("gps_data", 2), ("camera_data", 1)]), FakeAws::start());
    fake.plan(plan);
    let sink = bench.sink_on(bench.s3(&fake, "a"), |s| s.file_age_ms = 100);
    let mut sent = bench.send_drives("gps_data", 4, 4, 10, 0);
    sent.extend(bench.send_images(8));
    bench.wait_for_rows(&sink, sent.len() as u64);
    sent.extend(bench.send_drives("gps_data", 4, 4, 10, 4));
    bench.wait_for_rows(&sink, sent.len() as u64);
    fake.heal();
    bench.stop(sink);
    let lake = bench.read_s3(&fake);
    assert!(std::panic::catch_unwind(|| lake.check(&sent)).is_ok(), "{what}");
    fake
}

#[test]
fn an_answer_lost_for_every_request_costs_no_row_and_repeats_none() {
    let mut met = HashSet::new();
    let fake = survives("lost answers", move |r| match met.insert((r.op, r.key.clone())) {
        true => Fault::LoseAnswer,
        false => Fault::None,
    });
    let puts = fake.log().into_iter().filter(|r| r.op == Op::PutIfAbsent && r.status == Some(412)).count();
    assert!(puts >= 4, "{puts} conditional puts met their own first attempt");
}

#[test]
fn a_store_that_is_busy_fails_or_is_in_conflict_every_other_time_is_asked_again() {
    for answer in [Answer::SLOW_DOWN, Answer::INTERNAL, Answer::CONFLICT] {
        // By no pattern, so that no two requests that wait for each other fall into step; and only a write
        // can be in conflict.
        let refuse = move |r: &milepost_fake_aws::Request| {
            let may = answer != Answer::CONFLICT || r.op.writes();
            let now = (r.number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 63 == 0;
            if may && now { Fault::Refuse(answer) } else { Fault::None }
        };
        survives(&format!("{answer:?}"), refuse);
    }
}

#[test]
fn writes_that_succeed_and_are_said_to_have_failed_are_recognised() {
    let mut met = HashSet::new();
    survives("belied", move |r| match (r.op.writes() && met.insert(r.key.clone()), r.number % 3) {
        (false, _) => Fault::None,
        (true, 0) => Fault::Belie(Answer::SLOW_DOWN),
        (true, 1) => Fault::Belie(Answer::CONFLICT),
        (true, _) => Fault::Belie(Answer::PRECONDITION_FAILED),
    });
}

/// How long the store is frozen is the program's test (`processes.rs`); this one sees the buffer.
#[test]
fn a_frozen_store_pauses_reading_at_the_memory_cap_and_everything_drains_after() {
    const BUFFER: u64 = 60_000;
    let (bench, fake) = (Bench::new(&[("gps_data", 4)]), FakeAws::start());
    let settings = S3Settings { answer_timeout_ms: Some(1000), ..s3_settings(&fake, "a") };
    let edit = |s: &mut Settings| (s.file_age_ms, s.buffer_bytes) = (100, BUFFER);
    let sink = bench.sink_on(bench.open("s3://lake", &settings), edit);
    let mut sent = bench.send_drives("gps_data", 8, 2, 60, 0);
    bench.wait_for_rows(&sink, sent.len() as u64);
    fake.freeze();
    sent.extend(bench.send_drives("gps_data", 40, 20, 60, 2));
    bench.wait("reading is paused", || sink.status().paused);
    let (frozen, mut most) = (Instant::now(), 0);
    while frozen.elapsed() < Duration::from_secs(10) {
        most = most.max(sink.status().buffered_bytes);
        std::thread::sleep(Duration::from_millis(20));
    }
    // One record may come after the last that fitted.
    assert!(most < BUFFER + 2_000, "{most} bytes are held");
    fake.thaw();
    bench.wait_for_rows(&sink, sent.len() as u64);
    assert!(sink.status().retries > 0, "nothing timed out");
    bench.stop(sink);
    bench.read_s3(&fake).check(&sent);
}

#[test]
fn a_group_that_has_committed_nothing_goes_on_where_the_ledger_ends() {
    let bench = Bench::new(&[("gps_data", 3)]);
    let mut sent = bench.send_drives("gps_data", 6, 5, 20, 0);
    let sink = bench.sink(|_| {});
    bench.wait_for_rows(&sink, sent.len() as u64);
    bench.stop(sink);
    sent.extend(bench.send_drives("gps_data", 6, 5, 20, 5));
    let sink = bench.sink(|s| s.group = "another".into());
    bench.wait("the lag is gone", || sink.status().lag == Some(0));
    let status = bench.stop(sink);
    assert_eq!((status.rows(), status.duplicates), (600, 0), "nothing was read a second time");
    Lake::read(bench.folder()).check(&sent);
}

#[test]
fn ten_percent_of_a_topic_replayed_become_no_second_rows() {
    let bench = Bench::new(&[("gps_data", 3)]);
    let (vehicles, frames, rows) = (10, 20, 12);
    let sent = bench.send_drives("gps_data", vehicles, frames, rows, 0);
    let replay = |step: u64| {
        let mut again = 0;
        for n in (0..frames).filter(|n| n % 10 == step) {
            for v in 0..vehicles {
                bench.send("gps_data", &format!("v{v}"), gps_frame(&format!("v{v}"), 1, n * rows, rows));
                again += rows;
            }
        }
        bench.flush();
        again
    };
    // Some while the first are not written yet, some long after, some after a restart.
    let mut again = replay(3);
    let sink = bench.sink(|_| {});
    bench.wait_for_rows(&sink, sent.len() as u64);
    again += replay(4);
    bench.wait("the lag is gone", || sink.status().lag == Some(0));
    bench.stop(sink);
    again += replay(5);
    let sink = bench.sink(|_| {});
    bench.wait("the lag is gone", || sink.status().lag == Some(0));
    bench.stop(sink);
    let lake = Lake::read(bench.folder());
    lake.check(&sent);
    assert_eq!(lake.manifests.iter().map(|m| m.duplicates).sum::<u64>(), again);
}

#[test]
fn instances_that_come_and_go_write_every_row_once() {
    let (bench, fake) = (Bench::new(&[("gps_data", 8)]), FakeAws::start());
    // Slow enough that every change meets somebody in the middle of a claim.
    fake.plan(|r| match r.op.writes() {
        true => Fault::Slow(Duration::from_millis(30)),
        false => Fault::None,
    });
    let store = |who: &str| bench.s3(&fake, who);
    let edit = |s: &mut Settings| (s.file_age_ms, s.claim_bytes) = (50, 1_000);
    let mut sent: BTreeSet<Row> = BTreeSet::new();
    let mut frame = 0;
    let mut drive = || {
        frame += 4;
        bench.send_drives("gps_data", 16, 4, 20, frame - 4)
    };
    let mut sinks: Vec<Sink> = vec![bench.sink_on(store("a"), edit)];
    sent.extend(drive());
    bench.wait_for_rows(&sinks[0], 1);
    for (step, who) in ["b", "c", "d", "e"].into_iter().enumerate() {
        sinks.push(bench.sink_on(store(who), edit));
        sent.extend(drive());
        bench.wait("the new one has partitions", || sinks.last().is_some_and(|s| s.status().partitions > 0));
        if sinks.len() > 2 {
            match step % 2 {
                0 => drop(sinks.remove(0)),
                _ => drop(bench.stop(sinks.remove(0))),
            }
        }
        sent.extend(drive());
    }
    bench.wait("all is written", || bench.read_s3(&fake).rows.len() >= sent.len());
    sinks.into_iter().for_each(|s| drop(bench.stop(s)));
    bench.read_s3(&fake).check(&sent);
}
