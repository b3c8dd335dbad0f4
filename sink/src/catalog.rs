//! The seam to a table catalogue, such as Glue: who wants to know which partitions of which tables
//! there are. Nothing in the lake depends on it, and a catalogue that refuses holds nothing up.

use async_trait::async_trait;

/// Why a catalogue did not take a partition. It is told again with the next claim that adds to it.
#[derive(Clone, Debug, thiserror::Error)]
#[error("The catalogue did not take {table}/dt={dt}: {why}")]
pub struct CatalogError {
    /// The table.
    pub table: String,
    /// The partition's date.
    pub dt: String,
    /// The cause, as the catalogue tells it.
    pub why: String,
}

/// A table catalogue.
#[async_trait]
pub trait Catalog: Send + Sync + 'static {
    /// There is a committed file at `uri` in this partition. Called at least once for each partition
    /// after each start, and again until it succeeds.
    async fn partition(&self, table: &str, dt: &str, uri: &str) -> Result<(), CatalogError>;
}

/// No catalogue: readers find the partitions in the keys.
pub struct NoCatalog;

#[async_trait]
impl Catalog for NoCatalog {
    async fn partition(&self, _: &str, _: &str, _: &str) -> Result<(), CatalogError> {
        Ok(())
    }
}

/// Which partitions the catalogue has taken since this start.
#[derive(Default)]
pub(crate) struct Taken(std::sync::Mutex<std::collections::HashSet<(String, String)>>);

impl Taken {
    fn lock(&self) -> std::sync::MutexGuard<'_, std::collections::HashSet<(String, String)>> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(crate) fn has(&self, table: &str, dt: &str) -> bool {
        self.lock().contains(&(table.to_owned(), dt.to_owned()))
    }

    pub(crate) fn add(&self, table: &str, dt: &str) {
        self.lock().insert((table.to_owned(), dt.to_owned()));
    }
}
