//! `milepost-sink check`: tries all that a sink needs, beside one that may be running. The consumer group is
//! asked and not joined; what is written into the lake is one small object beside the tables, which goes
//! again.

use crate::kafka::consumer_config;
use crate::settings::Settings;
use crate::store::{Put, Store, StoreError};
use bytes::Bytes;
use milepost_ops::check::{Checks, PATIENCE, Wrong, kafka};
use rdkafka::TopicPartitionList;
use rdkafka::consumer::Consumer;
use rdkafka::error::KafkaError;
use std::io::Write;
use std::time::{Duration, Instant};

/// Below this the object of a check is made.
const KEYS: &str = "_milepost/check/";
const BODY: &[u8] = b"milepost-sink check\n";

/// Tries everything in the order of the data path. `name` is nobody else's.
pub async fn everything<W: Write>(
    settings: &Settings,
    store: &dyn Store,
    name: &str,
    checks: &mut Checks<W>,
) {
    checks.found("Configuration", Ok(""));
    match kafka::client(consumer_config(settings)) {
        Ok(client) => {
            if kafka::topics(checks, &client, &settings.topics, kafka::Access::Read) {
                checks.found("Consumer group", group(settings, &client));
            }
        }
        Err(wrong) => checks.failed("Kafka", wrong),
    }
    lake(store, &format!("{KEYS}{name}"), checks).await;
}

/// Whether the group's offsets may be read, which needs the right to see the group. Blocks.
fn group(settings: &Settings, client: &kafka::Client) -> Result<String, Wrong> {
    let mut list = TopicPartitionList::new();
    if let Some(topic) = settings.topics.first() {
        list.add_partition(topic, 0);
    }
    let until = Instant::now() + PATIENCE;
    let mut asked = client.committed_offsets(list.clone(), PATIENCE);
    // A cluster that has just started looks for who keeps the group.
    while Instant::now() < until && asked.as_ref().is_err_and(is_passing) {
        std::thread::sleep(Duration::from_millis(200));
        asked = client.committed_offsets(list.clone(), PATIENCE);
    }
    match asked {
        Ok(_) => Ok(format!("{} can be asked", settings.group)),
        Err(why) => {
            let mend = format!("Let this user READ the group {} in Kafka's access list", settings.group);
            Err(Wrong::new(said(&why), mend))
        }
    }
}

fn is_passing(error: &KafkaError) -> bool {
    use rdkafka::error::RDKafkaErrorCode as Code;
    let passing = [Code::NotCoordinator, Code::CoordinatorNotAvailable, Code::CoordinatorLoadInProgress];
    error.rdkafka_error_code().is_some_and(|code| passing.contains(&code))
}

fn said(error: &KafkaError) -> String {
    error.rdkafka_error_code().map_or_else(|| error.to_string(), |code| code.to_string())
}

/// Whether the lake keeps what the commit protocol asks of it: one object, written, refused to a second
/// writer, read, listed and removed.
async fn lake<W: Write>(store: &dyn Store, key: &str, checks: &mut Checks<W>) {
    let body = Bytes::from_static(BODY);
    let first = match store.put_if_absent(key, body.clone()).await {
        Ok(Put::Created) => Ok(format!("{} was made", store.uri(key))),
        Ok(Put::Exists) => Err(Wrong::new(format!("{key} is there already"), "Run the check again")),
        Err(why) => Err(refused(&why, "s3:PutObject")),
    };
    if !checks.found("Lake, writing", first) {
        return;
    }
    let second = match store.put_if_absent(key, Bytes::from_static(b"somebody else\n")).await {
        Ok(Put::Exists) => Ok("a second writer is refused"),
        Ok(Put::Created) => Err(Wrong::new(
            "A second writer of the same object was not refused, so that two sinks would write rows twice",
            "Use a store that keeps `If-None-Match: *`: S3 does",
        )),
        Err(why) => Err(refused(&why, "s3:PutObject with If-None-Match")),
    };
    checks.found("Lake, writing once", second);
    let read = match store.get(key).await {
        Ok(Some(there)) if there == body => Ok("what was written is there"),
        Ok(_) => {
            Err(Wrong::new("What was written is not what is read", "See what changes objects on their way"))
        }
        Err(why) => Err(refused(&why, "s3:GetObject")),
    };
    checks.found("Lake, reading", read);
    let listed = match store.list(key, None, 1).await {
        Ok(found) if found.iter().any(|object| object.key == key) => Ok("what was written is listed"),
        Ok(_) => {
            Err(Wrong::new("What was written is not listed", "Use a store whose listings are consistent"))
        }
        Err(why) => Err(refused(&why, "s3:ListBucket")),
    };
    checks.found("Lake, listing", listed);
    let removed = store.delete(key).await.map_err(|why| refused(&why, "s3:DeleteObject"));
    checks.found("Lake, removing", removed.map(|()| "it is gone again"));
}

fn refused(error: &StoreError, permission: &str) -> Wrong {
    let mend = match error {
        StoreError::Refused { .. } => {
            format!("See that `lake` and `[s3]` are right and that the role has {permission}")
        }
        StoreError::Transient { .. } => "See that the store runs and `s3.endpoint` is right".to_owned(),
    };
    Wrong::new(error, mend)
}
