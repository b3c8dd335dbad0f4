//! The seam to a table catalogue, such as Glue, and who keeps it informed.
//!
//! To be in the catalogue is part of a commit: the next claim of a chain is made only when what the one
//! before it wrote is registered, and whoever takes over a chain registers what its newest claim wrote.
//! So whatever has died between a manifest and its registration, no committed file stays out of sight. A
//! catalogue that refuses holds its tables up until it takes them; buffers fill, reading pauses, and
//! nothing is lost.

use crate::schema::Table;
use crate::status::Board;
use async_trait::async_trait;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Why a catalogue did not take a table or its partitions.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("The catalogue does not take table {table}, and is asked again: {why}")]
pub struct CatalogError {
    /// The table.
    pub table: String,
    /// The cause, as the catalogue tells it.
    pub why: String,
}

/// What a table has come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct News {
    /// The table with all its columns.
    pub table: Table,
    /// What the URIs of its files begin with, ended by `/`; a partition's files are below `dt=…/`.
    pub location: String,
    /// The partitions that hold committed files.
    pub dates: BTreeSet<String>,
    /// Rows that were written since the last news that this sink told: for query planners, an estimate.
    pub rows: u64,
}

/// A table catalogue.
#[async_trait]
pub trait Catalog: Send + Sync + 'static {
    /// Makes table and partitions visible as they are described. What is there already is well; columns
    /// that only the catalogue knows stay. Told again until it succeeds, so every effect may come twice.
    async fn register(&self, news: &News) -> Result<(), CatalogError>;
}

/// No catalogue: readers find the partitions in the keys.
pub struct NoCatalog;

#[async_trait]
impl Catalog for NoCatalog {
    async fn register(&self, _: &News) -> Result<(), CatalogError> {
        Ok(())
    }
}

/// What the catalogue has taken of a table since this start.
#[derive(Default)]
struct Taken {
    dates: BTreeSet<String>,
    columns: usize,
    /// Rows that it was told of, and rows that it was not.
    rows: (u64, u64),
}

impl Taken {
    /// What there is to tell; `None` where the catalogue knows enough. Rows alone are told when they are
    /// a tenth more than it was told before: planners need the order of magnitude.
    fn news(&mut self, table: Table, location: String, dates: BTreeSet<String>, rows: u64) -> Option<News> {
        self.rows.1 += rows;
        let dates: BTreeSet<String> = dates.difference(&self.dates).cloned().collect();
        let many = self.rows.1 > self.rows.0 / 10;
        let tell = !dates.is_empty() || table.columns.len() > self.columns || many;
        tell.then_some(News { table, location, dates, rows: self.rows.1 })
    }

    fn took(&mut self, news: News) {
        self.dates.extend(news.dates);
        self.columns = self.columns.max(news.table.columns.len());
        self.rows.0 += news.rows;
        self.rows.1 -= news.rows;
    }
}

/// Tells the catalogue what it does not know yet, each table by one task at a time.
pub struct Registrar {
    catalog: Arc<dyn Catalog>,
    board: Board,
    /// Pauses between attempts: the first, doubled up to the last.
    pauses: (Duration, Duration),
    taken: Mutex<HashMap<String, Arc<tokio::sync::Mutex<Taken>>>>,
}

impl Registrar {
    pub(crate) fn new(catalog: Arc<dyn Catalog>, board: Board, pauses: (Duration, Duration)) -> Self {
        Self { catalog, board, pauses, taken: Mutex::default() }
    }

    /// Registers what was committed to a table: its rows by date. Tries until it succeeds. Who waits
    /// for the same table meanwhile asks nothing, so a catalogue that refuses is not asked by everyone.
    pub(crate) async fn register(&self, table: Table, location: String, rows: &BTreeMap<String, u64>) {
        let name = table.name.clone();
        let taken = {
            let mut all = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
            all.entry(name.clone()).or_default().clone()
        };
        let mut taken = taken.lock().await;
        let dates = rows.keys().cloned().collect();
        let Some(news) = taken.news(table, location, dates, rows.values().sum()) else { return };
        let (mut pause, longest) = self.pauses;
        while let Err(e) = self.catalog.register(&news).await {
            self.board.refused(&name, &e.to_string());
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(longest);
        }
        self.board.taken(&name);
        taken.took(news);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use milepost_wire::Stream;

    fn tell(taken: &mut Taken, dates: &[&str], rows: u64) -> Option<(Vec<String>, u64)> {
        let table = Table::built_in(&Stream::Gps).unwrap();
        let dates = dates.iter().map(|&d| d.to_owned()).collect();
        let news = taken.news(table, "s3://b/gps_data/".into(), dates, rows)?;
        let told = (news.dates.iter().cloned().collect(), news.rows);
        taken.took(news);
        Some(told)
    }

    #[test]
    fn a_catalogue_hears_of_a_date_once_and_of_rows_by_tenths() {
        let mut taken = Taken::default();
        assert_eq!(tell(&mut taken, &["a"], 100), Some((vec!["a".into()], 100)));
        assert_eq!(tell(&mut taken, &["a"], 6), None);
        assert_eq!(tell(&mut taken, &["a"], 5), Some((vec![], 11)));
        assert_eq!(tell(&mut taken, &["a", "b"], 1), Some((vec!["b".into()], 1)));
    }

    #[test]
    fn a_new_column_is_news() {
        let mut taken = Taken::default();
        tell(&mut taken, &["a"], 100);
        let mut table = Table::built_in(&Stream::Gps).unwrap();
        table.columns.push(crate::schema::PARTITION);
        let news = taken.news(table, String::new(), BTreeSet::from(["a".to_owned()]), 1).unwrap();
        assert!(news.dates.is_empty());
    }
}
