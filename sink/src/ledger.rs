//! The objects of the ledger: their keys and their JSON, as `docs/formats/ledger.md` has them.
//! Nothing here reads or writes a store.

use crate::build::Record;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The format that this program writes; it reads no other.
pub const FORMAT: u32 = 1;
/// Every claim whose number ends such a stretch carries the whole state.
pub const STATE_EVERY: u64 = 32;

/// What the keys of all unread records begin with.
pub const UNREAD: &str = "_milepost/unread/";
/// What the keys of the marks that unread records were driven through again begin with.
pub const REDRIVEN: &str = "_milepost/redriven/";

/// One partition of one incarnation of a topic: what a chain of claims is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Chain {
    /// The topic.
    pub topic: String,
    /// Its id, 32 hex digits.
    pub topic_id: String,
    /// The partition.
    pub partition: i32,
}

impl Chain {
    fn below(&self, kind: &str) -> String {
        format!("_milepost/{kind}/{}/{}/{:05}/", self.topic, self.topic_id, self.partition)
    }

    /// What the keys of the claims of all incarnations of a topic begin with.
    pub fn of_topic(topic: &str) -> String {
        format!("_milepost/claims/{topic}/")
    }

    /// The same partition of another incarnation.
    pub fn incarnation(&self, topic_id: &str) -> Self {
        Self { topic_id: topic_id.to_owned(), ..self.clone() }
    }

    /// What the keys of this chain's claims begin with.
    pub fn claims(&self) -> String {
        self.below("claims")
    }

    /// The claim that begins at `first`.
    pub fn claim(&self, first: i64) -> String {
        format!("{}{}.json", self.claims(), inverted(first))
    }

    /// The manifest of the claim that begins at `first`.
    pub fn manifest(&self, first: i64) -> String {
        format!("{}{}.json", self.below("manifests"), inverted(first))
    }

    /// The state after the claim that begins at `first`, by the digest of its bytes.
    pub fn state(&self, first: i64, sha256: &str) -> String {
        format!("{}{}-{}.json", self.below("state"), inverted(first), sha256.get(..16).unwrap_or(sha256))
    }

    /// The records of that claim that could not be read.
    pub fn unread(&self, first: i64) -> String {
        format!("{}{}.frames", self.below("unread"), inverted(first))
    }

    /// The file of one table and date for a range of offsets.
    pub fn file(&self, table: &str, dt: &str, first: i64, last: i64) -> String {
        let id = self.topic_id.get(..16).unwrap_or(&self.topic_id);
        format!("{table}/dt={dt}/{}-{}-{id}-{first:019}-{last:019}.parquet", self.topic, self.partition)
    }
}

/// What the keys of the columns that were added to a derived table begin with.
pub fn columns_of(table: &str) -> String {
    format!("{}{table}/", crate::columns::log::KEYS)
}

/// One addition of columns to a derived table.
pub fn columns(table: &str, number: u64) -> String {
    format!("{}{number:06}.json", columns_of(table))
}

/// The key of an image.
pub fn image(sha256: &str) -> String {
    format!("_images/{}/{sha256}.jpg", sha256.get(..2).unwrap_or_default())
}

fn inverted(first: i64) -> String {
    format!("{:019}", i64::MAX - first)
}

/// The first offset that a claim's key speaks of.
pub fn first_of(key: &str) -> Option<i64> {
    let digits = key.rsplit('/').next()?.strip_suffix(".json")?;
    let inverted: i64 = digits.parse().ok()?;
    (digits.len() == 19 && inverted >= 0).then(|| i64::MAX - inverted)
}

/// All that decides the bytes of a claim's files, beside the records themselves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    /// The newest frame version that the claimant read: a newer one stays unread in a redo too.
    pub frame_max: u8,
    /// Rows of a row group.
    pub row_group_rows: usize,
    /// zstd's level; 0 is Snappy.
    pub zstd_level: i32,
    /// What the URIs of images begin with.
    pub images: String,
}

/// A file that a claim announces.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Planned {
    /// Its key.
    pub key: String,
    /// Its rows.
    pub rows: u64,
}

/// How far a former incarnation of a topic came in the same partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Former {
    /// Its id.
    pub topic_id: String,
    /// The first offset of its newest finished claim; null where none was finished.
    pub first: Option<i64>,
    /// The files of its unfinished claim that were there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<String>,
}

/// A range of offsets, fixed before its files are written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// [`FORMAT`].
    pub format: u32,
    /// Which partition.
    #[serde(flatten)]
    pub chain: Chain,
    /// Counts along the chain from 0.
    pub number: u64,
    /// The first offset.
    pub first: i64,
    /// The last offset.
    pub last: i64,
    /// The previous claim's first offset.
    pub previous: Option<i64>,
    /// SHA-256 of the previous claim's manifest as it lies in the store, hex: whoever changes what has
    /// been committed breaks every later link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_sha256: Option<String>,
    /// What else decides the files.
    pub shape: Shape,
    /// The files to come.
    pub files: Vec<Planned>,
    /// In a chain's first claim: the chains whose rows count as written.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inherits: Vec<Former>,
    /// Who claimed.
    pub by: String,
    /// When, ms since 1970.
    pub at_ms: i64,
}

impl Claim {
    /// Whether two claims ask for the same: who made them and when does not matter.
    pub fn same_work(&self, other: &Claim) -> bool {
        let by = |c: &Claim| Claim { by: String::new(), at_ms: 0, ..c.clone() };
        by(self) == by(other)
    }
}

/// A file that a manifest stands for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    /// Its key.
    pub key: String,
    /// Its table.
    pub table: String,
    /// Its partition's date.
    pub dt: String,
    /// Its rows.
    pub rows: u64,
    /// Its size.
    pub bytes: u64,
    /// SHA-256 of the object, hex.
    pub sha256: String,
}

/// Records that were kept as they came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unread {
    /// The object that holds them.
    pub key: String,
    /// How many.
    pub records: u64,
    /// Bytes of their values.
    pub bytes: u64,
    /// How many for which reason.
    pub reasons: BTreeMap<String, u64>,
}

/// Images that the rows of a claim name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Images {
    /// How many objects.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Which rows of one (vehicle, boot, stream) are in the tables.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// The vehicle.
    pub vehicle: String,
    /// The boot, 16 hex digits.
    pub boot: String,
    /// The stream.
    pub stream: String,
    /// Ranges of `seq`, inclusive, ascending.
    pub ranges: Vec<(u64, u64)>,
    /// In a state: the last offset of the newest claim that added to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub touched: Option<i64>,
}

/// What a claim has become.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: u32,
    /// Which partition.
    #[serde(flatten)]
    pub chain: Chain,
    /// As in the claim.
    pub number: u64,
    /// As in the claim.
    pub first: i64,
    /// As in the claim.
    pub last: i64,
    /// As in the claim.
    pub previous: Option<i64>,
    /// SHA-256 of the claim as it lies in the store, hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim_sha256: Option<String>,
    /// Kafka records read.
    pub records: u64,
    /// Offsets that Kafka had no record for any more.
    pub lost: Vec<(i64, i64)>,
    /// Records that were readable frames.
    pub frames: u64,
    /// Readings in them.
    pub readings: u64,
    /// Rows written.
    pub rows: u64,
    /// Readings dropped because they had been written.
    pub duplicates: u64,
    /// Records kept as they came.
    pub unread: Option<Unread>,
    /// The files.
    pub files: Vec<Written>,
    /// The images that the rows name.
    pub images: Images,
    /// Smallest and largest Kafka timestamp, ms.
    pub record_ms: Option<(i64, i64)>,
    /// What the rows add to the state.
    pub seen: Vec<Seen>,
    /// The object with the whole state after this claim.
    pub state: Option<String>,
    /// Who wrote it.
    pub by: String,
    /// When, ms since 1970.
    pub at_ms: i64,
}

impl Manifest {
    /// The number of lost offsets.
    pub fn lost_count(&self) -> u64 {
        let count = |(a, b): &(i64, i64)| b.saturating_sub(*a).saturating_add(1).max(0) as u64;
        self.lost.iter().map(count).fold(0, u64::saturating_add)
    }
}

/// The whole state after a claim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// [`FORMAT`].
    pub format: u32,
    /// Every entry.
    pub entries: Vec<Seen>,
}

/// Why an object of the ledger is not usable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("Ledger object {key} is not usable: {why}. Restore it, or move the whole chain aside")]
pub struct BadObject {
    /// The object.
    pub key: String,
    /// What is wrong.
    pub why: String,
}

/// Reads an object of the ledger, and refuses a format that this program does not know.
pub fn parse<T: serde::de::DeserializeOwned>(key: &str, bytes: &[u8]) -> Result<T, BadObject> {
    #[derive(Deserialize)]
    struct Version {
        format: u32,
    }
    let bad = |why: String| BadObject { key: key.into(), why };
    let Version { format } = serde_json::from_slice(bytes).map_err(|e| bad(e.to_string()))?;
    if format != FORMAT {
        return Err(bad(format!("format {format}, and this program knows {FORMAT}: upgrade it")));
    }
    serde_json::from_slice(bytes).map_err(|e| bad(e.to_string()))
}

/// Writes an object of the ledger.
pub fn write<T: Serialize>(object: &T) -> Vec<u8> {
    // These types hold no map with keys that are not text, the one thing that JSON refuses.
    serde_json::to_vec(object).unwrap_or_default()
}

/// The records of an object of unread records; `None` where it does not end where one ends.
pub fn unread_records(body: &Bytes) -> Option<Vec<Record>> {
    let (mut records, mut at) = (Vec::new(), 0);
    while at < body.len() {
        let head = body.get(at..at + 20)?;
        let value = at + 20..at + 20 + u32::from_le_bytes(head[16..].try_into().ok()?) as usize;
        body.get(value.clone())?;
        records.push(Record {
            offset: i64::from_le_bytes(head[..8].try_into().ok()?),
            at_ms: i64::from_le_bytes(head[8..16].try_into().ok()?),
            value: body.slice(value.clone()),
        });
        at = value.end;
    }
    Some(records)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_claim_lists_first_and_its_key_tells_its_offset() {
        let chain = Chain { topic: "gps_data".into(), topic_id: "0f".repeat(16), partition: 7 };
        let mut keys: Vec<_> = [0, 9, 10, 12_345, 1 << 40].map(|o| chain.claim(o)).to_vec();
        let newest_last = keys.clone();
        keys.sort();
        keys.reverse();
        assert_eq!(keys, newest_last);
        assert_eq!(first_of(&chain.claim(12_345)), Some(12_345));
        assert_eq!(first_of("x/123.json"), None);
        assert_eq!(
            chain.file("gps_data", "2026-11-23", 1, 22),
            "gps_data/dt=2026-11-23/gps_data-7-0f0f0f0f0f0f0f0f-0000000000000000001-0000000000000000022.parquet"
        );
    }

    use proptest::prelude::*;

    /// A manifest and a claim with everything in them.
    const REAL: [&str; 2] = [
        r#"{"format":1,"topic":"gps_data","topic_id":"0f","partition":0,"number":3,"first":10,"last":19,
            "previous":0,"claim_sha256":"aa","records":8,"lost":[[12,13]],"frames":7,"readings":70,"rows":60,
            "duplicates":10,"unread":{"key":"k","records":1,"bytes":9,"reasons":{"version":1}},
            "files":[{"key":"f","table":"gps_data","dt":"2026-11-23","rows":60,"bytes":900,"sha256":"bb"}],
            "images":{"objects":0,"bytes":0},"record_ms":[1,2],
            "seen":[{"vehicle":"v","boot":"01","stream":"gps_data","ranges":[[0,59]]}],
            "state":null,"by":"x","at_ms":5}"#,
        r#"{"format":1,"topic":"gps_data","topic_id":"0f","partition":0,"number":3,"first":10,"last":19,
            "previous":0,"shape":{"frame_max":1,"row_group_rows":9,"zstd_level":1,"images":"s3://b/"},
            "files":[{"key":"f","rows":60}],"inherits":[{"topic_id":"0e","first":null,"files":["g"]}],
            "by":"x","at_ms":5}"#,
    ];

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

        /// Whoever may write into the lake may put anything there.
        #[test]
        fn any_object_is_one_of_the_ledger_or_an_error(
            real in 0..2_usize,
            cut in any::<prop::sample::Index>(),
            with in prop_oneof![
                "-?[0-9]{1,25}", "[\\[\\]{}\",:]{0,6}", Just("9223372036854775807".to_owned()),
                Just("[[-9223372036854775808,9223372036854775807]]".to_owned()), any::<String>(),
            ],
            noise in prop::collection::vec(any::<u8>(), 0..100),
        ) {
            // A word of the real text is replaced.
            let words: Vec<(usize, &str)> = REAL[real].match_indices(|c: char| c.is_ascii_digit()).collect();
            let (at, word) = words[cut.index(words.len())];
            let near = format!("{}{with}{}", &REAL[real][..at], &REAL[real][at + word.len()..]);
            for bytes in [near.as_bytes(), &noise] {
                if let Ok(manifest) = parse::<Manifest>("k", bytes) {
                    let _ = manifest.lost_count();
                }
                let _ = (parse::<Claim>("k", bytes), parse::<State>("k", bytes));
                let _ = unread_records(&Bytes::copy_from_slice(bytes));
                let _ = first_of(&String::from_utf8_lossy(bytes));
            }
        }
    }

    #[test]
    fn the_real_objects_of_the_test_above_can_be_read_and_count_as_they_should() {
        assert_eq!(parse::<Manifest>("k", REAL[0].as_bytes()).unwrap().lost_count(), 2);
        assert_eq!(parse::<Claim>("k", REAL[1].as_bytes()).unwrap().files.len(), 1);
        let all = REAL[0].replace("[[12,13]]", "[[-9223372036854775808,9223372036854775807],[0,9]]");
        assert!(parse::<Manifest>("k", all.as_bytes()).unwrap().lost_count() > i64::MAX as u64);
    }

    #[test]
    fn an_object_of_another_format_is_refused_by_name() {
        let error = parse::<State>("k", br#"{"format":2,"entries":[]}"#).unwrap_err();
        assert!(error.to_string().contains("format 2"), "{error}");
        assert!(parse::<State>("k", b"{}").is_err());
        assert!(parse::<State>("k", br#"{"format":1,"entries":[]}"#).is_ok());
    }
}
