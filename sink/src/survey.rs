//! What is in a lake, found from its keys: which tables, which dates of each. For commands of people; the
//! running sink knows what it writes.

use crate::catalog::{Catalog, CatalogError, News};
use crate::columns;
use crate::commit::CommitError;
use crate::schema::Table;
use crate::store::Store;
use std::collections::BTreeSet;

/// Why a lake was not looked through, or not registered.
#[derive(Debug, thiserror::Error)]
pub enum SurveyError {
    /// The lake could not be read.
    #[error(transparent)]
    Lake(#[from] CommitError),
    /// The catalogue refused.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
}

/// The tables of a lake: the built-in ones, and the derived ones that have columns.
pub async fn tables(store: &dyn Store) -> Result<Vec<Table>, CommitError> {
    let mut tables = Table::all_built_in();
    let mut after: Option<String> = None;
    // One step for each derived table: behind all that is said of one comes the next.
    while let Some(object) = store.list(columns::log::KEYS, after.as_deref(), 1).await?.into_iter().next() {
        let Some(name) = object.key[columns::log::KEYS.len()..].split('/').next() else { break };
        tables.push(Table::derived(name, &columns::log::read(store, name).await?));
        after = Some(format!("{}{name}/~", columns::log::KEYS));
    }
    Ok(tables)
}

/// Whether a table has a file.
pub async fn has_files(store: &dyn Store, table: &str) -> Result<bool, CommitError> {
    Ok(!store.list(&format!("{table}/dt="), None, 1).await?.is_empty())
}

/// The dates of which a table has files; one listing for each.
pub async fn dates(store: &dyn Store, table: &str) -> Result<BTreeSet<String>, CommitError> {
    let prefix = format!("{table}/dt=");
    let (mut dates, mut after) = (BTreeSet::new(), None);
    while let Some(object) = store.list(&prefix, after.as_deref(), 1).await?.into_iter().next() {
        let Some(dt) = object.key[prefix.len()..].split('/').next() else { break };
        dates.insert(dt.to_owned());
        after = Some(format!("{prefix}{dt}/~"));
    }
    Ok(dates)
}

/// Registers all that is in a lake: for one that was written without a catalogue, or whose catalogue has
/// lost something. Gives the tables with their number of dates.
pub async fn register(store: &dyn Store, catalog: &dyn Catalog) -> Result<Vec<(String, usize)>, SurveyError> {
    let mut registered = Vec::new();
    for table in tables(store).await? {
        let dates = dates(store, &table.name).await?;
        if dates.is_empty() {
            continue;
        }
        registered.push((table.name.clone(), dates.len()));
        let location = store.uri(&format!("{}/", table.name));
        catalog.register(&News { table, location, dates, rows: 0 }).await?;
    }
    Ok(registered)
}
