//! Three owners over the real S3 store and a server that fails on demand: the first dies at each of its
//! requests, the second at each of its own, and the third finds what they left. What the dead had sent
//! takes effect at the very end.

use super::*;
use crate::store::{S3, S3Settings};
use milepost_fake_aws::{BUCKET, FakeAws, Fault};
use std::collections::HashMap;

/// More requests than an owner sends for the claims of these tests.
const REQUESTS: usize = 14;

/// Where an owner dies: at which of its requests, and on which side of the effect.
type Death = (usize, Fault);

async fn store(fake: &FakeAws, who: &str) -> Arc<dyn Store> {
    let keys = fake.keys(who);
    let settings = S3Settings {
        endpoint: Some(fake.endpoint()),
        region: Some("us-east-1".into()),
        access_key: Some(keys.access),
        secret_key: Some(keys.secret),
        ..S3Settings::default()
    };
    Arc::new(S3::open(BUCKET, "", &settings).await.unwrap())
}

/// Whether both owners died.
async fn run(fake: &FakeAws, stores: &[Arc<dyn Store>; 3], deaths: [Death; 2]) -> [bool; 2] {
    let what = format!("deaths at {deaths:?}");
    fake.edit(|objects| objects.clear());
    let setup = Setup::new(7, 3, u64::MAX);
    let mut counts: HashMap<String, usize> = HashMap::new();
    let at: HashMap<String, Death> = ["0", "1"].map(str::to_owned).into_iter().zip(deaths).collect();
    fake.plan(move |r| {
        let count = counts.entry(r.who.clone()).or_default();
        *count += 1;
        at.get(&r.who).filter(|(n, _)| n == count).map_or(Fault::None, |&(_, fault)| fault)
    });
    let mut died = [false; 2];
    for (owner, store) in stores.iter().enumerate() {
        let parked = fake.parked();
        let context = Context { store: store.clone(), ..setup.context(&owner.to_string()) };
        let dies = async {
            while fake.parked() == parked {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::select! {
            () = setup.own(context, false) => {}
            () = dies => if owner < 2 { died[owner] = true },
        }
    }
    fake.release();
    while fake.parked() > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    *setup.objects.lock().unwrap() = fake.objects();
    setup.check(&what);
    died
}

#[test]
fn whoever_follows_two_dead_owners_finishes_what_they_left_wherever_they_died() {
    let sides = [Fault::ParkBefore, Fault::ParkAfter];
    let deaths: Vec<Death> = (1..=REQUESTS).flat_map(|n| sides.map(|side| (n, side))).collect();
    let (first, met) = (AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                runtime().block_on(async {
                    let fake = FakeAws::start();
                    let stores = [store(&fake, "0").await, store(&fake, "1").await, store(&fake, "2").await];
                    while let Some(&one) = deaths.get(first.fetch_add(1, Ordering::Relaxed) as usize) {
                        for &two in &deaths {
                            match run(&fake, &stores, [one, two]).await {
                                [true, true] => _ = met.fetch_add(1, Ordering::Relaxed),
                                // Behind its last request nobody dies: the rest is the same.
                                _ => break,
                            }
                        }
                    }
                });
            });
        }
    });
    let met = met.into_inner();
    println!("{met} pairs of deaths");
    assert!(met > 80, "only {met} pairs of deaths");
}
