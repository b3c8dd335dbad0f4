//! The sink as it looks from outside, for whoever asks on the spot: its metrics, whether it works, whether it
//! does its work now. It changes nothing; what it knows of the lake it finds out by itself, with a read.

use crate::status::{Board, Status, TableStatus};
use crate::store::Store;
use milepost_ops::{Metric, Page, Station};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A reading thread that did not turn for so long hangs: what it asks of Kafka may take it ten seconds.
const STUCK: Duration = Duration::from_secs(60);
/// How often the lake is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// How long it may take to answer.
const LOOK_PATIENCE: Duration = Duration::from_secs(8);
/// What is looked for; whether it is there does not matter.
const LOOK_KEY: &str = "_milepost/look";

/// How a figure is read.
type Read<T> = fn(&T) -> u64;

/// Looks at one sink.
#[derive(Clone)]
pub struct Monitor {
    board: Board,
    lake: Arc<Mutex<Result<(), String>>>,
}

impl Monitor {
    pub(crate) fn new(board: Board) -> Self {
        let unseen = Err("The lake has not been looked at yet".to_owned());
        Self { board, lake: Arc::new(Mutex::new(unseen)) }
    }

    /// Looks at the lake, again and again for ever.
    pub async fn watch(self, lake: Arc<dyn Store>) {
        loop {
            let looked = tokio::time::timeout(LOOK_PATIENCE, lake.head(LOOK_KEY)).await;
            let seen = match looked {
                Ok(Ok(_)) => Ok(()),
                Ok(Err(why)) => Err(format!("The lake cannot be read: {why}")),
                Err(_) => Err(format!("The lake did not answer within {LOOK_PATIENCE:?}")),
            };
            *self.lake.lock().unwrap_or_else(PoisonError::into_inner) = seen;
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    fn lake(&self) -> Result<(), String> {
        self.lake.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Station for Monitor {
    fn alive(&self) -> Result<(), String> {
        let still = self.board.still();
        match still >= STUCK {
            true => Err(format!("The reading thread has stood still for {} s", still.as_secs())),
            false => Ok(()),
        }
    }

    fn ready(&self) -> Result<(), String> {
        let now = self.board.read();
        if now.kafka_brokers == 0 {
            return Err("No connection to Kafka".into());
        }
        if !now.assigned {
            return Err("The consumer group has not said yet which partitions are this sink's".into());
        }
        if let Some((table, why)) = now.refused.first_key_value() {
            return Err(format!("The catalogue does not take table {table}: {why}"));
        }
        self.lake()
    }

    fn metrics(&self, page: &mut Page) {
        let now = self.board.read();
        page.values(&INFO, [([env!("CARGO_PKG_VERSION")], 1)]);
        let tables: [(&Metric, Read<TableStatus>); 3] =
            [(&ROWS, |t| t.rows), (&FILES, |t| t.files), (&FILE_BYTES, |t| t.bytes)];
        for (metric, count) in tables {
            page.values(metric, now.tables.iter().map(|(name, table)| ([name.as_str()], count(table))));
        }
        let counts: [(&Metric, Read<Status>); 13] = [
            (&RECORDS, |s| s.records),
            (&CLAIMS, |s| s.claims),
            (&DUPLICATES, |s| s.duplicates),
            (&UNREAD, |s| s.unread),
            (&LOST, |s| s.lost),
            (&IMAGES, |s| s.images),
            (&RETRIES, |s| s.retries),
            (&RACES_LOST, |s| s.races_lost),
            (&BUFFERED, |s| s.buffered_bytes),
            (&PARTITIONS, |s| s.partitions as u64),
            (&PAUSED, |s| s.paused.into()),
            (&REFUSED_TABLES, |s| s.refused.len() as u64),
            (&KAFKA_BROKERS, |s| s.kafka_brokers as u64),
        ];
        for (metric, count) in counts {
            page.value(metric, count(&now));
        }
        page.values(&LAG, now.lag.map(|lag| ([""; 0], lag)));
        page.value(&LAKE_REACHABLE, u8::from(self.lake().is_ok()));
    }
}

// What each means to people stands here and in `docs/metrics.md`; a test holds the two together.

const INFO: Metric = Metric::gauge("milepost_sink_info", &["version"], "Always 1.");
const ROWS: Metric = Metric::counter("milepost_sink_rows_total", &["table"], "Rows in committed files.");
const FILES: Metric = Metric::counter("milepost_sink_files_total", &["table"], "Committed files.");
const FILE_BYTES: Metric =
    Metric::counter("milepost_sink_file_bytes_total", &["table"], "Bytes of committed files.");
const RECORDS: Metric =
    Metric::counter("milepost_sink_records_total", &[], "Kafka records in committed claims.");
const CLAIMS: Metric = Metric::counter("milepost_sink_claims_total", &[], "Committed claims.");
const DUPLICATES: Metric = Metric::counter(
    "milepost_sink_duplicates_total",
    &[],
    "Rows dropped because they had been written before.",
);
const UNREAD: Metric = Metric::counter(
    "milepost_sink_unread_total",
    &[],
    "Frames set aside because this sink cannot read them.",
);
const LOST: Metric =
    Metric::counter("milepost_sink_lost_total", &[], "Offsets that Kafka had deleted before they were read.");
const IMAGES: Metric = Metric::counter("milepost_sink_images_total", &[], "Images that rows name.");
const RETRIES: Metric =
    Metric::counter("milepost_sink_retries_total", &[], "Attempts that failed, each tried again.");
const RACES_LOST: Metric =
    Metric::counter("milepost_sink_races_lost_total", &[], "Claims that another sink was quicker to make.");
const BUFFERED: Metric =
    Metric::gauge("milepost_sink_buffered_bytes", &[], "Bytes of frames in memory that are not yet written.");
const LAG: Metric = Metric::gauge(
    "milepost_sink_lag_records",
    &[],
    "Kafka records of this sink's partitions that are not yet committed; none while it is not known.",
);
const PARTITIONS: Metric = Metric::gauge("milepost_sink_partitions", &[], "Partitions that this sink has.");
const PAUSED: Metric = Metric::gauge(
    "milepost_sink_paused",
    &[],
    "1 while nothing is read because the buffers are full, else 0.",
);
const REFUSED_TABLES: Metric =
    Metric::gauge("milepost_sink_refused_tables", &[], "Tables that the catalogue does not take at present.");
const KAFKA_BROKERS: Metric =
    Metric::gauge("milepost_sink_kafka_brokers", &[], "Connections to Kafka's brokers that are up.");
const LAKE_REACHABLE: Metric =
    Metric::gauge("milepost_sink_lake_reachable", &[], "1 while the lake answers a read, else 0.");
