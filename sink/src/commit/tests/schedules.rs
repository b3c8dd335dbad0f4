//! Schedules that follow from a seed: two owners that fail, lose answers and die anywhere; a log whose
//! start moves under a claim; a topic that is made again while its last frames come once more.
//!
//! `MILEPOST_SEED` runs that schedule alone; `MILEPOST_FULL` runs ten times as many.

use super::*;
use std::sync::atomic::AtomicUsize;

/// Schedules of a run.
const SCHEDULES: u64 = 1200;

/// What a schedule is about.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    /// Two owners and a log that keeps everything.
    Owners,
    /// The same, and the log's start moves.
    Retention,
    /// Owners follow each other, and the topic is made again in between.
    MadeAgain,
}

impl Kind {
    fn of(seed: u64) -> Self {
        [Kind::Owners, Kind::Retention, Kind::MadeAgain][(seed % 3) as usize]
    }
}

fn schedule(seed: u64) {
    match Kind::of(seed) {
        Kind::Owners => run(seed, false, false),
        Kind::Retention => run(seed, true, false),
        Kind::MadeAgain => made_again(seed),
    }
}

/// A log with two incarnations, of which one is there.
struct TwoLogs {
    logs: [Vec<Record>; 2],
    now: AtomicUsize,
    rng: Arc<Rng>,
}

fn id(incarnation: usize) -> String {
    ["ab", "cd"][incarnation].repeat(16)
}

impl TwoLogs {
    fn range(&self, incarnation: usize, range: Range) -> Vec<Record> {
        let records = &self.logs[incarnation];
        records.iter().filter(|r| (range.first..=range.last).contains(&r.offset)).cloned().collect()
    }
}

#[async_trait]
impl Log for TwoLogs {
    async fn topic_id(&self, _: &str) -> Result<String, LogError> {
        Ok(id(self.now.load(Ordering::Relaxed)))
    }
    async fn read(&self, _: &str, _: i32, range: Range) -> Result<Vec<Record>, LogError> {
        if self.rng.below(4) == 0 {
            self.now.store(1, Ordering::Relaxed); // made again under a claim that is being done again
        }
        Ok(self.range(self.now.load(Ordering::Relaxed), range))
    }
}

/// Owns whichever incarnation there is, and writes it to its end. Somewhere on the way through the
/// first the topic is made again.
async fn own_both(setup: &Setup, logs: &Arc<TwoLogs>, by: &str) {
    loop {
        let incarnation = logs.now.load(Ordering::Relaxed);
        let end = logs.logs[incarnation].len() as i64;
        let context = Context { log: logs.clone(), ..setup.context(by) };
        let mut committer = Committer::new(context, Chain { topic_id: id(incarnation), ..chain() });
        let Some(mut next) = committer.recover().await else { continue };
        while next < end {
            let last = next + setup.rng.below((end - next).min(4) as u64) as i64;
            let records = logs.range(incarnation, Range { first: next, last });
            if setup.rng.below(6) == 0 {
                logs.now.store(1, Ordering::Relaxed);
            }
            match committer.write(last, records).await {
                Outcome::Committed(committed) => next = committed,
                Outcome::StartOver => break,
            }
        }
        if next == end && incarnation == 1 {
            return;
        }
        if next == end {
            logs.now.store(1, Ordering::Relaxed);
        }
    }
}

fn made_again(seed: u64) {
    let setup = Setup::new(seed, 14, 25);
    let old = setup.log.records.clone();
    // What was under way comes again, behind or among what is new.
    let again = setup.rng.below(6) as usize;
    let known = old.iter().map(|r| frame::check(&r.value).unwrap().last_seq() + 1).max().unwrap_or(0);
    let mut new: Vec<Bytes> = old[old.len() - again..].iter().map(|r| r.value.clone()).collect();
    (0..6).for_each(|n| new.push(gps(known + n * ROWS)));
    let at_ms = old[0].at_ms;
    let records = new.into_iter().zip(0..).map(|(value, offset)| Record { offset, at_ms, value });
    let logs = [old, records.collect()];
    let logs = Arc::new(TwoLogs { logs, now: AtomicUsize::new(0), rng: setup.rng.clone() });
    let patience = Duration::from_millis(40);
    runtime().block_on(async {
        let mut owner = 0;
        while tokio::time::timeout(patience, own_both(&setup, &logs, &format!("owner {owner}")))
            .await
            .is_err()
        {
            owner += 1;
        }
    });
    check_both(&setup, &logs, &format!("seed {seed}"));
}

/// Each row once over both chains, and each that the new incarnation had is there.
fn check_both(setup: &Setup, logs: &TwoLogs, what: &str) {
    let mut rows: Vec<u64> = Vec::new();
    let objects = setup.objects.lock().unwrap();
    for (_, body) in objects.iter().filter(|(k, _)| k.ends_with(".parquet")) {
        let (_, seen) = look_into(body.clone(), "gps_data").unwrap();
        rows.extend(seen.iter().flat_map(|s| &s.ranges).flat_map(|&(a, b)| a..=b));
    }
    let here: BTreeSet<u64> = rows.iter().copied().collect();
    assert_eq!(here.len(), rows.len(), "{what}: a row twice");
    for record in &logs.logs[1] {
        let header = frame::check(&record.value).unwrap();
        let missing = (header.first_seq..=header.last_seq()).find(|seq| !here.contains(seq));
        assert_eq!(missing, None, "{what}: offset {} of the new topic", record.offset);
    }
}

#[test]
fn a_thousand_schedules_lose_nothing_and_repeat_nothing() {
    if let Some(seed) = std::env::var("MILEPOST_SEED").ok().and_then(|s| s.parse().ok()) {
        return schedule(seed);
    }
    let count = SCHEDULES * if std::env::var_os("MILEPOST_FULL").is_some() { 10 } else { 1 };
    let (next, failed) = (AtomicU64::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= count {
                        return;
                    }
                    if std::panic::catch_unwind(|| schedule(seed)).is_err() {
                        println!("MILEPOST_SEED={seed} replays it");
                        failed.lock().unwrap().push(seed);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    println!("{count} schedules, {} failed", failed.len());
    assert!(failed.is_empty(), "failed: MILEPOST_SEED={failed:?}");
}
