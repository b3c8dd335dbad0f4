//! The real S3 store over real HTTP, on a server that fails on demand.

mod support;

use bytes::Bytes;
use milepost_fake_aws::{Answer, BUCKET, FakeAws, Fault, Op};
use milepost_sink::store::{self, Put, S3Settings, Store, StoreError};
use std::sync::Arc;
use std::time::Duration;
use support::s3_settings;

async fn lake(fake: &FakeAws) -> Arc<dyn Store> {
    store::open(&format!("s3://{BUCKET}/a/lake"), &s3_settings(fake, "a")).await.unwrap()
}

/// The first attempt at each request meets `fault`.
fn once(fake: &FakeAws, fault: Fault) {
    let mut met = std::collections::HashSet::new();
    fake.plan(move |r| if met.insert((r.op, r.key.clone())) { fault } else { Fault::None });
}

#[tokio::test]
async fn it_does_what_a_store_promises() {
    let fake = FakeAws::start();
    let lake = lake(&fake).await;
    let key = "gps_data/dt=2026-11-28/a b+c.parquet";
    let body = Bytes::from((0..100_000u32).flat_map(u32::to_le_bytes).collect::<Vec<_>>());
    assert_eq!(lake.get(key).await.unwrap(), None);
    assert_eq!(lake.head(key).await.unwrap(), None);
    assert_eq!(lake.put_if_absent(key, body.clone()).await.unwrap(), Put::Created);
    assert_eq!(lake.put_if_absent(key, Bytes::new()).await.unwrap(), Put::Exists);
    assert_eq!(lake.get(key).await.unwrap(), Some(body.clone()));
    assert_eq!(lake.head(key).await.unwrap(), Some(body.len() as u64));
    assert_eq!(lake.get_range(key, 10..20).await.unwrap(), Some(body.slice(10..20)));
    assert_eq!(fake.objects().keys().collect::<Vec<_>>(), [&format!("a/lake/{key}")]);
    fake.edit(|objects| {
        (0..1100).for_each(|i| drop(objects.insert(format!("a/lake/m/{i:04}"), Bytes::new())))
    });
    let all = lake.list("m/", None, usize::MAX).await.unwrap();
    assert_eq!((all.len(), all[0].key.as_str(), all[1099].key.as_str()), (1100, "m/0000", "m/1099"));
    assert_eq!(lake.list("m/", Some("m/1097"), 1).await.unwrap()[0].key, "m/1098");
    lake.delete(key).await.unwrap();
    assert_eq!(lake.head(key).await.unwrap(), None);
}

#[tokio::test]
async fn of_many_conditional_puts_at_once_one_wins() {
    let fake = FakeAws::start();
    let lake = lake(&fake).await;
    for round in 0..20 {
        let key = format!("claims/{round}");
        let puts = (0..8u8).map(|me| lake.put_if_absent(&key, Bytes::from(vec![me; 100])));
        let done: Vec<_> = futures::future::join_all(puts).await.into_iter().map(Result::unwrap).collect();
        let winners: Vec<_> = (0..8u8).filter(|me| done[usize::from(*me)] == Put::Created).collect();
        assert_eq!(winners.len(), 1, "{done:?}");
        assert_eq!(lake.get(&key).await.unwrap(), Some(Bytes::from(vec![winners[0]; 100])));
    }
}

#[tokio::test]
async fn what_passes_is_tried_again_and_succeeds() {
    let answers = [Answer::SLOW_DOWN, Answer::INTERNAL].map(Fault::Refuse);
    for fault in [Fault::Cut, Fault::Slow(Duration::from_millis(300))].into_iter().chain(answers) {
        let fake = FakeAws::start();
        let lake = lake(&fake).await;
        once(&fake, fault);
        assert_eq!(lake.put_if_absent("k", Bytes::from("x")).await.unwrap(), Put::Created, "{fault:?}");
        assert_eq!(lake.get("k").await.unwrap(), Some(Bytes::from("x")), "{fault:?}");
        assert_eq!(lake.list("", None, 10).await.unwrap().len(), 1, "{fault:?}");
    }
}

#[tokio::test]
async fn a_conditional_put_whose_answer_was_lost_says_that_there_is_an_object() {
    for fault in [Fault::LoseAnswer, Fault::Belie(Answer::INTERNAL), Fault::Belie(Answer::SLOW_DOWN)] {
        let fake = FakeAws::start();
        let lake = lake(&fake).await;
        once(&fake, fault);
        assert_eq!(lake.put_if_absent("k", Bytes::from("mine")).await.unwrap(), Put::Exists, "{fault:?}");
        assert_eq!(fake.objects()["a/lake/k"], "mine");
        let puts: Vec<_> = fake.log().into_iter().filter(|r| r.op == Op::PutIfAbsent).collect();
        assert_eq!(puts.iter().map(|r| r.status).collect::<Vec<_>>(), [Some(200), Some(412)], "{fault:?}");
    }
}

#[tokio::test]
async fn a_conflict_settles_nothing_and_no_permission_is_final() {
    let fake = FakeAws::start();
    let lake = lake(&fake).await;
    fake.plan(|_| Fault::Refuse(Answer::CONFLICT));
    let conflict = lake.put_if_absent("k", Bytes::new()).await;
    assert!(matches!(conflict, Err(StoreError::Transient { .. })), "{conflict:?}");
    fake.plan(|_| Fault::Refuse(Answer::DENIED));
    let denied = lake.put_if_absent("k", Bytes::new()).await;
    assert!(matches!(denied, Err(StoreError::Refused { .. })), "{denied:?}");
    assert!(fake.objects().is_empty());
}

#[tokio::test]
async fn a_server_that_stands_still_is_left_and_what_it_does_late_is_met_again() {
    let fake = FakeAws::start();
    let settings = S3Settings { answer_timeout_ms: Some(200), ..s3_settings(&fake, "a") };
    let lake = store::open(&format!("s3://{BUCKET}"), &settings).await.unwrap();
    fake.freeze();
    let put = lake.put_if_absent("k", Bytes::from("mine")).await;
    assert!(matches!(put, Err(StoreError::Transient { .. })), "{put:?}");
    assert_eq!(fake.objects().len(), 0);
    fake.thaw();
    while fake.parked() > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(lake.put_if_absent("k", Bytes::from("again")).await.unwrap(), Put::Exists);
    assert_eq!(fake.objects()["k"], "mine", "the request took effect though its client had left");
}

#[tokio::test]
async fn a_condition_that_it_does_not_know_is_refused_by_the_server() {
    let fake = FakeAws::start();
    let keys = fake.keys("b");
    let config = aws_sdk_s3::Config::builder()
        .behavior_version_latest()
        .endpoint_url(fake.endpoint())
        .force_path_style(true)
        .region(aws_sdk_s3::config::Region::new("us-east-1"))
        .credentials_provider(aws_sdk_s3::config::Credentials::new(
            keys.access,
            keys.secret,
            None,
            None,
            "test",
        ))
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .build();
    let client = aws_sdk_s3::Client::from_conf(config);
    let put = client.put_object().bucket(BUCKET).key("k").if_none_match("\"etag\"").send().await;
    assert_eq!(put.unwrap_err().raw_response().unwrap().status().as_u16(), 501);
    assert!(fake.objects().is_empty());
}
