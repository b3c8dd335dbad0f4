//! Puts the files of a claim, each where there is none: whoever was first is right, and what is there
//! counts.

use crate::build::{BuiltFile, sha256};
use crate::commit::CommitError;
use crate::ledger::{BadObject, Seen, Shape, Written};
use crate::parquet_file::{WriteError, empty, look_into};
use crate::store::{Put, Store};
use bytes::Bytes;
use milepost_wire::Stream;

/// Puts a file; where one is there, says what that one holds.
pub(crate) async fn put_file(
    store: &dyn Store,
    file: &BuiltFile,
) -> Result<(Written, Vec<Seen>), CommitError> {
    if store.put_if_absent(&file.key, file.body.clone()).await? == Put::Exists {
        match store.get(&file.key).await? {
            Some(there) if there == file.body => {}
            // Made from records that Kafka no longer had, or by another version of this program.
            Some(there) => return adopt(&file.key, there),
            None => {
                let why = "it is there and cannot be read".into();
                return Err(BadObject { key: file.key.clone(), why }.into());
            }
        }
    }
    let written = Written {
        key: file.key.clone(),
        table: file.table.clone(),
        dt: file.dt.clone(),
        rows: file.rows,
        bytes: file.body.len() as u64,
        sha256: sha256(&file.body),
    };
    Ok((written, file.seen.clone()))
}

/// What a file holds that somebody else has put for this claim.
fn adopt(key: &str, body: Bytes) -> Result<(Written, Vec<Seen>), CommitError> {
    let (table, dt) = table_and_date(key);
    let (bytes, sha256) = (body.len() as u64, sha256(&body));
    let (rows, seen) = look_into(body, table)?;
    let written = Written { key: key.into(), table: table.into(), dt: dt.into(), rows, bytes, sha256 };
    Ok((written, seen))
}

/// A file without rows for a key that a claim announces.
pub(crate) fn empty_file(key: &str, shape: &Shape) -> Result<BuiltFile, CommitError> {
    let (table, dt) = table_and_date(key);
    let stream: Stream = table.parse().map_err(|_| WriteError(format!("{key} is in no table")))?;
    let body = empty(&stream, shape)?.into();
    Ok(BuiltFile { key: key.into(), table: table.into(), dt: dt.into(), rows: 0, body, seen: Vec::new() })
}

pub(crate) fn table_and_date(key: &str) -> (&str, &str) {
    let (table, rest) = key.split_once("/dt=").unwrap_or_default();
    (table, rest.split('/').next().unwrap_or_default())
}
