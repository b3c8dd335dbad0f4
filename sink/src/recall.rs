//! What a chain wrote, read back from the ledger; and what the chains of former incarnations of its
//! topic wrote.
//!
//! Why the latter: a topic that is deleted and made again begins a new chain, but what was under way to
//! the old one is sent again to the new one. The first claim of a chain therefore names the chains that
//! it inherits from, and how far they had come, so that whoever does the claim again drops the same
//! readings. A reading's vehicle keeps its partition, so the same partition of each is enough.

use crate::build::sha256;
use crate::commit::{CommitError, Finished};
use crate::dedupe::Memory;
use crate::ledger::{self, BadObject, Chain, Claim, FORMAT, Former, Manifest, State};
use crate::parquet_file::look_into;
use crate::put::table_and_date;
use crate::store::Store;
use bytes::Bytes;

/// Reads an object that has to be there.
pub(crate) async fn must_get(store: &dyn Store, key: &str) -> Result<Bytes, CommitError> {
    let found = store.get(key).await?;
    Ok(found.ok_or_else(|| BadObject { key: key.into(), why: "it is missing".into() })?)
}

/// The memory of a chain after the claim that begins at `newest`, and what identifies that claim: reads
/// manifests backwards to one that has the whole state, or to the first, and applies them.
pub(crate) async fn chain(
    store: &dyn Store,
    chain: &Chain,
    newest: i64,
) -> Result<(Memory, Finished), CommitError> {
    let (mut manifest, sha256) = read_manifest(store, chain, newest).await?;
    let finished = Finished { number: manifest.number, first: newest, sha256 };
    let mut later = Vec::new();
    let mut memory = loop {
        if let Some(key) = &manifest.state {
            break Memory::from_state(&ledger::parse(key, &must_get(store, key).await?)?);
        }
        let (first, previous) = (manifest.first, manifest.previous);
        later.push(manifest);
        manifest = match previous {
            None => break Memory::default(),
            Some(p) if p < first => read_manifest(store, chain, p).await?.0,
            Some(_) => {
                let key = chain.manifest(first);
                return Err(BadObject { key, why: "its previous is not before it".into() }.into());
            }
        };
    };
    later.iter().rev().for_each(|m| memory.apply(&m.seen, m.last));
    Ok((memory, finished))
}

/// A manifest, and the digest of its object.
async fn read_manifest(
    store: &dyn Store,
    chain: &Chain,
    first: i64,
) -> Result<(Manifest, String), CommitError> {
    let key = chain.manifest(first);
    let bytes = must_get(store, &key).await?;
    Ok((ledger::parse(&key, &bytes)?, sha256(&bytes)))
}

/// The chains that a new one inherits from: the same partition of every other incarnation of the topic,
/// but for those that one of these has inherited in whole.
pub(crate) async fn formers(store: &dyn Store, chain: &Chain) -> Result<Vec<Former>, CommitError> {
    let below = Chain::of_topic(&chain.topic);
    let (mut found, mut inherited) = (Vec::new(), Vec::new());
    let mut after = below.clone();
    while let Some(object) = store.list(&below, Some(&after), 1).await?.pop() {
        let id = object.key[below.len()..].split('/').next().unwrap_or_default().to_owned();
        // `0` follows `/`: past all of this incarnation.
        after = format!("{below}{id}0");
        if id == chain.topic_id {
            continue;
        }
        match former(store, &chain.incarnation(&id), &mut inherited).await {
            Ok(former) => found.extend(former),
            Err(e) if is_gone(&e) => tracing::warn!("A former topic {} is passed over: {e}", chain.topic),
            Err(e) => return Err(e),
        }
    }
    found.retain(|f| !inherited.contains(f));
    Ok(found)
}

/// How far a chain has come, and what it has inherited itself.
async fn former(
    store: &dyn Store,
    chain: &Chain,
    inherited: &mut Vec<Former>,
) -> Result<Option<Former>, CommitError> {
    let Some(newest) = store.list(&chain.claims(), None, 1).await?.pop() else { return Ok(None) };
    let Some(first) = ledger::first_of(&newest.key) else { return Ok(None) };
    let mut former = Former { topic_id: chain.topic_id.clone(), first: Some(first), files: Vec::new() };
    if store.head(&chain.manifest(first)).await?.is_none() {
        let claim = read_claim(store, chain, first).await?;
        for planned in claim.files {
            if store.head(&planned.key).await?.is_some() {
                former.files.push(planned.key);
            }
        }
        former.first = claim.previous;
    }
    // A first claim that nobody finished hands on nothing of what it inherited.
    if former.first.is_some() {
        inherited.extend(read_claim(store, chain, 0).await?.inherits);
    }
    Ok(Some(former))
}

async fn read_claim(store: &dyn Store, chain: &Chain, first: i64) -> Result<Claim, CommitError> {
    let key = chain.claim(first);
    Ok(ledger::parse(&key, &must_get(store, &key).await?)?)
}

/// Whether an object is missing or damaged, and no second look would help.
fn is_gone(e: &CommitError) -> bool {
    matches!(e, CommitError::Ledger(_) | CommitError::Write(_))
}

/// What the former chains wrote. Where the ledger of one has been deleted, its rows have been too, and
/// nothing is known of it any more.
pub(crate) async fn inherited(
    store: &dyn Store,
    chain: &Chain,
    formers: &[Former],
) -> Result<Memory, CommitError> {
    let mut memory = Memory::default();
    for former in formers {
        match written(store, &chain.incarnation(&former.topic_id), former).await {
            Ok(states) => states.iter().for_each(|state| memory.inherit(state)),
            Err(e) if is_gone(&e) => tracing::warn!("Nothing is inherited from {}: {e}", former.topic_id),
            Err(e) => return Err(e),
        }
    }
    Ok(memory)
}

async fn written(store: &dyn Store, chain: &Chain, former: &Former) -> Result<Vec<State>, CommitError> {
    let mut states = Vec::new();
    if let Some(first) = former.first {
        states.push(self::chain(store, chain, first).await?.0.to_state());
    }
    for key in &former.files {
        let (_, entries) = look_into(must_get(store, key).await?, table_and_date(key).0)?;
        states.push(State { format: FORMAT, entries });
    }
    Ok(states)
}
