//! The ledger as the audit reads it: `docs/formats/ledger.md` in types of its own, and the checks that
//! need no table. Pure: objects' texts go in, faults come out.

use super::report::Fault;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// What all claims' keys begin with.
pub(crate) const CLAIMS: &str = "_milepost/claims/";
/// What all manifests' keys begin with.
pub(crate) const MANIFESTS: &str = "_milepost/manifests/";

/// Topic, topic id, partition: whose claims follow one another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ChainId {
    pub topic: String,
    pub topic_id: String,
    pub partition: u32,
}

/// Which chain and which first offset a key below [`CLAIMS`] or [`MANIFESTS`] names.
pub(crate) fn parse_key(key: &str) -> Option<(ChainId, u64)> {
    let rest = key.strip_prefix(CLAIMS).or_else(|| key.strip_prefix(MANIFESTS))?;
    let mut parts = rest.strip_suffix(".json")?.split('/');
    let (topic, topic_id, partition, inverted) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    // `parse` alone would take a sign.
    let digits = |text: &str, n| text.len() == n && text.bytes().all(|b| b.is_ascii_digit());
    let numbers = digits(partition, 5) && digits(inverted, 19) && parts.next().is_none();
    let inverted: u64 = inverted.parse().ok()?;
    let first = (i64::MAX as u64).checked_sub(inverted)?;
    let chain =
        ChainId { topic: topic.into(), topic_id: topic_id.into(), partition: partition.parse().ok()? };
    numbers.then_some((chain, first))
}

/// The key of a table's file that a claim makes.
pub(crate) fn file_key(place: &Place, table: &str, dt: &str) -> String {
    let Place { topic, topic_id, partition, first, last, .. } = place;
    let id = topic_id.get(..16).unwrap_or(topic_id);
    format!("{table}/dt={dt}/{topic}-{partition}-{id}-{first:019}-{last:019}.parquet")
}

/// Whether a table and a date are such as can be in a key.
pub(crate) fn is_table_and_date(table: &str, dt: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    let of_date = |(i, b): (usize, u8)| if matches!(i, 4 | 7) { b == b'-' } else { b.is_ascii_digit() };
    table.starts_with(|c: char| c.is_ascii_lowercase())
        && table.bytes().all(plain)
        && dt.len() == 10
        && dt.bytes().enumerate().all(of_date)
}

/// Days since 1970 of a date of the Gregorian calendar, `YYYY-MM-DD` ("days from civil" of Howard
/// Hinnant's date algorithms).
pub(crate) fn day_of(dt: &str) -> Option<i64> {
    let number = |at: Range<usize>| dt.get(at)?.parse::<i64>().ok();
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    // Years begin in March, so that the leap day is their last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    Some(era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468)
}

/// Bytes as hex digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// What the key of another object of a claim begins with: its state's, or its unread records'.
pub(crate) fn beside(kind: &str, place: &Place) -> String {
    let Place { topic, topic_id, partition, first, .. } = place;
    let inverted = (i64::MAX as u64).saturating_sub(*first);
    format!("_milepost/{kind}/{topic}/{topic_id}/{partition:05}/{inverted:019}")
}

/// A claim or a manifest, as it lies in the store.
#[derive(Clone, Debug)]
pub(crate) struct Object<T> {
    pub key: String,
    /// SHA-256 of its bytes, hex.
    pub sha256: String,
    pub value: T,
}

/// Whether a key is a state's, unread records' or the mark that those were driven through again: named after
/// a claim, `_milepost/<kind>/<topic>/<topic id>/<partition>/<inverted first>` and what follows for its kind.
pub(crate) fn is_beside(key: &str) -> bool {
    let Some((kind, rest)) = key.strip_prefix("_milepost/").and_then(|rest| rest.split_once('/')) else {
        return false;
    };
    let behind = match rest.rsplit_once('/').and_then(|(_, name)| name.get(19..)) {
        Some(behind) => behind,
        None => return false,
    };
    let fits = |text: Option<&str>, length, wanted: fn(&u8) -> bool| {
        text.is_some_and(|t| t.len() == length && t.bytes().all(|b| wanted(&b)))
    };
    let right = match kind {
        "state" => {
            fits(behind.strip_prefix('-').and_then(|b| b.strip_suffix(".json")), 16, u8::is_ascii_hexdigit)
        }
        "unread" => behind == ".frames",
        "redriven" => {
            fits(behind.strip_prefix('-').and_then(|b| b.strip_suffix(".json")), 3, u8::is_ascii_digit)
        }
        _ => false,
    };
    let claim = rest.strip_suffix(behind).map(|claim| format!("{CLAIMS}{claim}.json"));
    right && claim.is_some_and(|claim| parse_key(&claim).is_some())
}

/// What a claim and its manifest both say.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Place {
    pub format: u32,
    pub topic: String,
    pub topic_id: String,
    pub partition: u32,
    pub number: u64,
    pub first: u64,
    pub last: u64,
    pub previous: Option<u64>,
}

/// A claim.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Claim {
    #[serde(flatten)]
    pub place: Place,
    #[serde(default)]
    pub previous_sha256: Option<String>,
    pub files: Vec<ClaimedFile>,
    #[serde(default)]
    pub inherits: Vec<Former>,
}

/// A chain whose rows count as written in the one that begins with this claim.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Former {
    pub topic_id: String,
}

/// A file that a claim announces.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub(crate) struct ClaimedFile {
    pub key: String,
    pub rows: u64,
}

/// A manifest.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Manifest {
    #[serde(flatten)]
    pub place: Place,
    #[serde(default)]
    pub claim_sha256: Option<String>,
    pub records: u64,
    pub lost: Vec<(u64, u64)>,
    pub frames: u64,
    pub readings: u64,
    pub rows: u64,
    pub duplicates: u64,
    pub unread: Option<Unread>,
    pub files: Vec<File>,
    pub seen: Vec<Seen>,
    pub state: Option<String>,
    /// Smallest and largest Kafka timestamp, ms.
    pub record_ms: Option<(i64, i64)>,
}

/// Records that were kept as they came.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Unread {
    pub key: String,
    pub records: u64,
    pub bytes: u64,
    #[serde(default)]
    pub reasons: BTreeMap<String, u64>,
}

/// A file of a table.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct File {
    pub key: String,
    pub table: String,
    pub dt: String,
    pub rows: u64,
    pub bytes: u64,
    pub sha256: String,
}

/// Which rows a manifest stands for.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Seen {
    pub vehicle: String,
    pub boot: String,
    pub stream: String,
    pub ranges: Vec<(u64, u64)>,
}

/// What a key below [`CLAIMS`] or [`MANIFESTS`] holds, or why it cannot be used.
pub(crate) fn parse<T: for<'de> Deserialize<'de>>(
    key: String,
    body: &[u8],
    place: impl Fn(&T) -> &Place,
) -> Result<Object<T>, Fault> {
    let (chain, first) =
        parse_key(&key).ok_or_else(|| Fault::new(&key, "its key is none that the ledger's format knows"))?;
    let value: T =
        serde_json::from_slice(body).map_err(|e| Fault::new(&key, format!("it cannot be read: {e}")))?;
    let p = place(&value);
    if p.format != 1 {
        let what = format!("its format is {}, and this program reads format 1: upgrade it", p.format);
        return Err(Fault::new(key, what));
    }
    let own = ChainId { topic: p.topic.clone(), topic_id: p.topic_id.clone(), partition: p.partition };
    if (own, p.first) != (chain, first) {
        return Err(Fault::new(key, "it is of another chain or offset than its key says"));
    }
    if p.first > p.last || p.last > i64::MAX as u64 {
        return Err(Fault::new(key, format!("it ends at offset {}, before it begins", p.last)));
    }
    Ok(Object { key, sha256: hex(&Sha256::digest(body)), value })
}

/// Names and types that an addition to a derived table's columns brings.
pub(crate) fn parse_columns(
    key: &str,
    body: &[u8],
    table: &str,
    number: u64,
) -> Result<Vec<(String, String)>, Fault> {
    #[derive(Deserialize)]
    struct Addition {
        table: String,
        number: u64,
        columns: Vec<Column>,
    }
    #[derive(Deserialize)]
    struct Column {
        name: String,
        r#type: String,
    }
    let addition: Addition = serde_json::from_slice(body)
        .map_err(|e| Fault::new(key, format!("it is missing, or cannot be read: {e}")))?;
    if (addition.table.as_str(), addition.number) != (table, number) {
        return Err(Fault::new(key, "it is of another table or number than its key says"));
    }
    Ok(addition.columns.into_iter().map(|c| (c.name, c.r#type)).collect())
}

/// Follows the claims of one chain, in the order of their offsets, and compares each with its manifest.
/// `manifests` is by first offset. What it returns beside faults: the newest claim, where it has no
/// manifest yet.
pub(crate) fn check_chain<'a>(
    claims: &'a [Object<Claim>],
    manifests: &BTreeMap<u64, Object<Manifest>>,
) -> (Vec<Fault>, Option<&'a Object<Claim>>) {
    let mut faults = Vec::new();
    let mut before: Option<&Place> = None;
    let mut unfinished = None;
    let mut linked = false;
    for (i, claim) in claims.iter().enumerate() {
        let Object { key, value: Claim { place, previous_sha256, .. }, .. } = claim;
        let (number, first, previous) = match before {
            None => (0, 0, None),
            Some(b) => (b.number.saturating_add(1), b.last + 1, Some(b.first)),
        };
        if (place.number, place.first, place.previous) != (number, first, previous) {
            faults.push(Fault::new(
                key,
                format!(
                    "claim {} from offset {} does not follow: claim {number} from offset {first} should be here",
                    place.number, place.first
                ),
            ));
        }
        if let Some(before) = before.and_then(|b| manifests.get(&b.first)) {
            // The first claims of a lake may have been made by a sink that did not link them yet.
            linked |= previous_sha256.is_some();
            match previous_sha256 {
                Some(digest) if *digest != before.sha256 => {
                    let what = format!("it is not the one that the claim after it, {key}, was made after");
                    faults.push(Fault::new(&before.key, what));
                }
                None if linked => {
                    faults.push(Fault::new(
                        key,
                        "it does not name the manifest before it, as earlier claims do",
                    ));
                }
                _ => {}
            }
        }
        if linked && manifests.get(&place.first).is_some_and(|m| m.value.claim_sha256.is_none()) {
            faults.push(Fault::new(&manifests[&place.first].key, "it does not name its claim's digest"));
        }
        match manifests.get(&place.first) {
            Some(manifest) => compare(claim, manifest, &mut faults),
            None if i + 1 == claims.len() => unfinished = Some(claim),
            None => faults.push(Fault::new(key, "its manifest is missing, and later claims exist")),
        }
        before = Some(place);
    }
    let known: BTreeSet<u64> = claims.iter().map(|c| c.value.place.first).collect();
    for (first, manifest) in manifests {
        if !known.contains(first) {
            faults.push(Fault::new(&manifest.key, "its claim is missing"));
        }
    }
    (faults, unfinished)
}

/// Compares a claim with its manifest.
pub(crate) fn compare(claim: &Object<Claim>, manifest: &Object<Manifest>, faults: &mut Vec<Fault>) {
    let (key, manifest) = (&manifest.key, &manifest.value);
    if claim.value.place != manifest.place {
        faults.push(Fault::new(key, "it is of another range or number than its claim"));
    }
    if manifest.claim_sha256.as_ref().is_some_and(|digest| *digest != claim.sha256) {
        faults.push(Fault::new(&claim.key, "it is not the claim that its manifest was written for"));
    }
    let files = |f: &File| ClaimedFile { key: f.key.clone(), rows: f.rows };
    let mut written: Vec<_> = manifest.files.iter().map(files).collect();
    let mut claimed = claim.value.files.clone();
    written.sort();
    claimed.sort();
    if written != claimed {
        faults.push(Fault::new(key, "its files are not those of its claim"));
    }
}

/// Checks that a manifest's numbers add up.
pub(crate) fn check_sums(key: &str, m: &Manifest) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut equal = |what: &str, a: u64, b: u64| {
        if a != b {
            faults.push(Fault::new(key, format!("{what}: {a} is not {b}")));
        }
    };
    let lost = lost(m);
    let unread = m.unread.as_ref().map_or(0, |u| u.records);
    let rows_of_files = m.files.iter().fold(0u64, |n, f| n.saturating_add(f.rows));
    equal(
        "records and lost offsets against the range",
        m.records.saturating_add(lost),
        m.place.last - m.place.first + 1,
    );
    equal("frames and unread records against records", m.frames.saturating_add(unread), m.records);
    equal("rows and dropped duplicates against readings", m.rows.saturating_add(m.duplicates), m.readings);
    equal("rows of its files against its rows", rows_of_files, m.rows);
    faults
}

/// How many offsets of the range Kafka no longer had.
pub(crate) fn lost(m: &Manifest) -> u64 {
    m.lost.iter().fold(0u64, |n, (a, b)| n.saturating_add(b.saturating_sub(*a).saturating_add(1)))
}

/// The values in an object of unread records; `None` where it does not end where one ends.
pub(crate) fn unread_values(mut body: &[u8]) -> Option<Vec<&[u8]>> {
    let mut values = Vec::new();
    while !body.is_empty() {
        let length = u32::from_le_bytes(body.get(16..20)?.try_into().ok()?) as usize;
        values.push(body.get(20..20usize.checked_add(length)?)?);
        body = &body[20 + length..];
    }
    Some(values)
}

#[cfg(test)]
mod tests;
