//! The object store seam: what the sink asks of S3, and no more, so that a folder can stand in for
//! it and a test can put faults between the two.
//!
//! A key is a `/`-separated path below the lake's root. What a store promises: an object appears
//! whole or not at all; [`Store::put_if_absent`] has one winner; a read that starts after a write
//! was answered sees that write; [`Store::list`] is in byte order of the keys.

mod folder;
mod s3;

pub use folder::Folder;
pub use s3::{S3, S3Settings};

use async_trait::async_trait;
use bytes::Bytes;
use std::ops::Range;
use std::sync::Arc;

/// How a conditional put ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Put {
    /// The object is there now, and it is the one that was given.
    Created,
    /// An object was there before: somebody else's, or one's own whose answer was lost. Whoever needs
    /// to know which compares the contents.
    Exists,
}

/// An object of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Its key.
    pub key: String,
    /// Its size in bytes.
    pub size: u64,
}

/// Why a store did not do what it was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// Worth trying again: the network, a timeout, a server that is busy or full. Whether the effect
    /// took place is not known.
    #[error("Object {key}: {what} failed, and may work later: {why}")]
    Transient {
        /// The key or prefix.
        key: String,
        /// The operation.
        what: &'static str,
        /// The cause, as the store tells it.
        why: String,
    },
    /// Not worth trying again before somebody changes something: no permission, no such bucket, a
    /// key that cannot be.
    #[error("Object {key}: {what} is refused: {why}")]
    Refused {
        /// The key or prefix.
        key: String,
        /// The operation.
        what: &'static str,
        /// The cause, as the store tells it.
        why: String,
    },
}

/// An object store, seen from the root of one lake.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// The whole object; `None` where there is none.
    async fn get(&self, key: &str) -> Result<Option<Bytes>, StoreError>;
    /// A part of the object, cut short at its end; `None` where there is none.
    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Option<Bytes>, StoreError>;
    /// The object's size in bytes; `None` where there is none.
    async fn head(&self, key: &str) -> Result<Option<u64>, StoreError>;
    /// Writes an object, whether there is one or not.
    async fn put(&self, key: &str, body: Bytes) -> Result<(), StoreError>;
    /// Writes an object where there is none. Of many callers at once, at most one is told
    /// [`Put::Created`].
    async fn put_if_absent(&self, key: &str, body: Bytes) -> Result<Put, StoreError>;
    /// Up to `max` objects whose keys begin with `prefix` and are greater than `after`, in byte order.
    async fn list(&self, prefix: &str, after: Option<&str>, max: usize) -> Result<Vec<Object>, StoreError>;
    /// Removes an object; not an error where there is none.
    async fn delete(&self, key: &str) -> Result<(), StoreError>;
    /// What a table calls the object: `s3://bucket/prefix/key`, or the path of a file.
    fn uri(&self, key: &str) -> String;
}

/// Opens the lake at `s3://bucket/prefix`, or in a folder (made where it is missing). The settings
/// are for S3 alone; what they leave out comes from the environment, as AWS's own tools have it.
pub async fn open(location: &str, s3: &S3Settings) -> Result<Arc<dyn Store>, StoreError> {
    match location.strip_prefix("s3://") {
        Some(rest) => {
            let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
            Ok(Arc::new(S3::open(bucket, prefix, s3).await?))
        }
        None => Ok(Arc::new(Folder::open(location)?)),
    }
}

#[cfg(test)]
mod tests;
