//! Two real sinks over the real S3 store: one of them dies at each request that it sends, before and
//! after its effect, and what it had sent takes effect at once, never, or long after.

mod support;

use milepost_fake_aws::{FakeAws, Fault};
use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use support::{Bench, Row, derived_frame, gps_frame};

/// Runs at a time: they wait more than they work.
const AT_A_TIME: usize = 8;

/// Records of a run.
const RECORDS: i64 = 8;

/// What becomes of the request that its sender died at.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Late {
    /// It never takes effect, or its answer never arrives.
    Never,
    /// It takes effect when the survivor has written everything.
    AfterAll,
}

/// One claim's worth of everything: two tables, three days, an image that two rows share, and a record
/// that cannot be read.
fn send_everything(bench: &Bench) -> BTreeSet<Row> {
    let mut sent = BTreeSet::new();
    for (first, day) in [(0, 0), (10, 1)] {
        bench.send("gps_data", "v", gps_frame("v", 1, first, 10));
        sent.extend((first..first + 10).map(|s| ("gps_data".to_owned(), "v".to_owned(), 1, s)));
        bench.send("gps_data", "v", derived_frame("v", 1, first, 5, day));
        sent.extend((first..first + 5).map(|s| ("harsh_event".to_owned(), "v".to_owned(), 1, s)));
    }
    bench.send("gps_data", "v", b"no frame".to_vec());
    bench.send("gps_data", "v", gps_frame("v", 1, 5, 10));
    sent.extend(bench.send_images_to("gps_data", 2));
    bench.flush();
    sent
}

/// Runs two sinks, kills the one that sends request `number`, and checks the lake. Whether there was
/// such a request.
fn run(number: usize, fault: Fault, late: Late) -> bool {
    let what = format!("request {number}, {fault:?}, late effect: {late:?}");
    let (bench, fake) = (Bench::new(&[("gps_data", 1)]), FakeAws::start());
    let sent = send_everything(&bench);
    fake.plan(move |r| if r.number == number { fault } else { Fault::None });
    let mut sinks = ["a", "b"].map(|who| Some(bench.sink_on(bench.s3(&fake, who), |s| s.file_age_ms = 100)));
    let rows = |sinks: &[Option<milepost_sink::Sink>; 2]| -> u64 {
        sinks.iter().flatten().map(|s| s.status().rows()).sum()
    };
    let done = |sinks: &_| rows(sinks) >= sent.len() as u64;
    bench.wait(&format!("{what}: the request is sent"), || fake.parked() > 0 || done(&sinks));
    let met = fake.parked() > 0;
    if met {
        let dead = usize::from(fake.log()[number - 1].who == "b");
        drop(sinks[dead].take());
        if late == Late::Never {
            fake.drop_parked();
        }
    }
    let survivor = sinks.iter().flatten().next().expect("one survives");
    let committed = || {
        let lake = bench.read_s3(&fake);
        lake.manifests.iter().map(|m| m.last + 1).max().unwrap_or(0)
    };
    bench.wait(&format!("{what}: all is written"), || committed() == RECORDS);
    println!("{what}: {:?}", survivor.status());
    if late == Late::AfterAll {
        fake.release();
        bench.wait(&format!("{what}: the late request has taken effect"), || fake.parked() == 0);
        std::thread::sleep(Duration::from_millis(20));
    }
    sinks.into_iter().flatten().for_each(|s| drop(bench.stop(s)));
    let lake = bench.read_s3(&fake);
    let unread: u64 = lake.manifests.iter().filter_map(|m| m.unread.as_ref()).map(|u| u.records).sum();
    assert_eq!(unread, 1, "{what}");
    let checked = std::panic::catch_unwind(|| lake.check(&sent));
    assert!(checked.is_ok(), "{what}");
    met
}

#[test]
fn a_sink_killed_at_any_request_is_continued_by_the_other() {
    let points: Vec<_> = (1..=20)
        .flat_map(|n| [Fault::ParkBefore, Fault::ParkAfter].map(|f| (n, f)))
        .flat_map(|(n, f)| [Late::Never, Late::AfterAll].map(|l| (n, f, l)))
        .collect();
    let (next, last, failed) = (AtomicUsize::new(0), AtomicUsize::new(usize::MAX), Mutex::new(Vec::new()));
    let met = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| {
                while let Some(&(number, fault, late)) = points.get(next.fetch_add(1, Ordering::Relaxed)) {
                    // Behind the last request of a run there is nothing to kill at.
                    if number > last.load(Ordering::Relaxed) {
                        continue;
                    }
                    match std::panic::catch_unwind(|| run(number, fault, late)) {
                        Ok(true) => _ = met.fetch_add(1, Ordering::Relaxed),
                        Ok(false) => _ = last.fetch_min(number, Ordering::Relaxed),
                        Err(_) => failed.lock().unwrap().push((number, fault, late)),
                    }
                }
            });
        }
    });
    let (met, failed) = (met.into_inner(), failed.into_inner().unwrap());
    println!("{met} kill points, {} failed", failed.len());
    assert!(failed.is_empty(), "{failed:?}");
    assert!(met >= 4 * 9, "only {met} kill points were met");
}
