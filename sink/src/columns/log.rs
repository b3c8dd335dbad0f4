//! Keeps the columns of derived tables in the lake, so that all sinks of it agree.
//!
//! An object `_milepost/columns/<table>/<number>.json` adds columns to the list; it is made with a
//! conditional put under the number behind the last one, so of two sinks that add at the same time one
//! wins, and the other takes in what that one has added before it looks again. What a claim's frames need
//! is in the list before the claim is made.

use super::{Columns, Known, Want};
use crate::build::Record;
use crate::commit::CommitError;
use crate::ledger::{self, BadObject, FORMAT};
use crate::store::{Put, Store};
use crate::table;
use milepost_wire::{Stream, frame};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use tokio::sync::Mutex;

/// What the keys of all lists begin with, behind it the table.
pub const KEYS: &str = "_milepost/columns/";
/// Objects that one listing brings.
const PAGE: usize = 1000;

/// Columns that were added to a table at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Addition {
    /// [`FORMAT`].
    pub format: u32,
    /// The table.
    pub table: String,
    /// Counts along the table's additions from 0.
    pub number: u64,
    /// The columns, in their order.
    pub columns: Vec<Known>,
    /// Who added them.
    pub by: String,
    /// When, ms since 1970.
    pub at_ms: i64,
}

/// The columns of the tables that some frames belong to.
pub type Tables = BTreeMap<String, Columns>;

/// A table's list as far as it has been read.
#[derive(Clone, Default)]
struct Read {
    columns: Columns,
    objects: u64,
}

/// The lists of one lake.
pub struct ColumnLog {
    store: Arc<dyn Store>,
    by: String,
    now_ms: fn() -> i64,
    read: Mutex<HashMap<String, Read>>,
}

impl ColumnLog {
    /// Nothing is read yet.
    pub fn new(store: Arc<dyn Store>, by: String, now_ms: fn() -> i64) -> Self {
        Self { store, by, now_ms, read: Mutex::default() }
    }

    /// Adds what the frames of each table lack, as far as a table may have it, and gives the columns of
    /// each.
    pub async fn agree(&self, wants: &BTreeMap<String, Vec<Vec<Want>>>) -> Result<Tables, CommitError> {
        let mut tables = Tables::new();
        let mut read = self.read.lock().await;
        for (table, wants) in wants {
            let list = match read.get_mut(table) {
                Some(list) => list,
                None => {
                    let list = list(&*self.store, table).await?;
                    read.entry(table.clone()).or_insert(list)
                }
            };
            self.add(table, list, wants).await?;
            tables.insert(table.clone(), list.columns.clone());
        }
        Ok(tables)
    }

    /// The columns of a table, as far as this log has had to do with it.
    pub async fn known(&self, table: &str) -> Result<Columns, CommitError> {
        let mut read = self.read.lock().await;
        if let Some(list) = read.get(table) {
            return Ok(list.columns.clone());
        }
        let list = list(&*self.store, table).await?;
        Ok(read.entry(table.to_owned()).or_insert(list).columns.clone())
    }

    async fn add(&self, table: &str, list: &mut Read, wants: &[Vec<Want>]) -> Result<(), CommitError> {
        loop {
            let all = wants.iter().fold(list.columns.clone(), |columns, frame| columns.with(frame));
            if all.len() == list.columns.len() {
                return Ok(());
            }
            let addition = Addition {
                format: FORMAT,
                table: table.to_owned(),
                number: list.objects,
                columns: all.iter().skip(list.columns.len()).cloned().collect(),
                by: self.by.clone(),
                at_ms: (self.now_ms)(),
            };
            let key = ledger::columns(table, list.objects);
            match self.store.put_if_absent(&key, ledger::write(&addition).into()).await? {
                Put::Created => list.take_in(addition),
                Put::Exists => list.take_in(get(&*self.store, table, list.objects).await?),
            }
        }
    }
}

impl Read {
    fn take_in(&mut self, addition: Addition) {
        let mut known: Vec<Known> = self.columns.iter().cloned().collect();
        known.extend(addition.columns);
        self.columns = Columns::new(known);
        self.objects += 1;
    }
}

/// The columns of a derived table of a lake.
pub async fn read(store: &dyn Store, table: &str) -> Result<Columns, CommitError> {
    Ok(list(store, table).await?.columns)
}

async fn list(store: &dyn Store, table: &str) -> Result<Read, CommitError> {
    let mut read = Read::default();
    loop {
        let after = read.objects.checked_sub(1).map(|last| ledger::columns(table, last));
        let page = store.list(&ledger::columns_of(table), after.as_deref(), PAGE).await?;
        for object in &page {
            let addition = get(store, table, read.objects).await?;
            if object.key != ledger::columns(table, read.objects) {
                let why = "a name that follows on no other".into();
                return Err(BadObject { key: object.key.clone(), why }.into());
            }
            read.take_in(addition);
        }
        if page.len() < PAGE {
            return Ok(read);
        }
    }
}

async fn get(store: &dyn Store, table: &str, number: u64) -> Result<Addition, CommitError> {
    let key = ledger::columns(table, number);
    let bad = |why: &str| BadObject { key: key.clone(), why: why.into() };
    let body = store.get(&key).await?.ok_or_else(|| bad("it is missing"))?;
    let addition: Addition = ledger::parse(&key, &body)?;
    match addition.table == table && addition.number == number {
        true => Ok(addition),
        false => Err(bad("it speaks of another table or number than its name").into()),
    }
}

/// What the derived frames among some records want of their tables, in the order of the records and each
/// once. A frame that cannot be read wants nothing.
pub fn wants(records: &[Record], frame_max: u8) -> BTreeMap<String, Vec<Vec<Want>>> {
    let mut wants: BTreeMap<String, Vec<Vec<Want>>> = BTreeMap::new();
    for record in records {
        let derived = match frame::check(&record.value) {
            Ok(header) => matches!(header.stream, Stream::Derived(_)),
            Err(_) => false,
        };
        if !derived || record.value.first().is_none_or(|&version| version > frame_max) {
            continue;
        }
        let Ok(batch) = frame::decode(&record.value) else { continue };
        if table::is_whole(&batch) {
            let of = wants.entry(batch.stream.name().to_owned()).or_default();
            let frame = Want::of(&batch.rows.columns);
            if !of.contains(&frame) {
                of.push(frame);
            }
        }
    }
    wants
}
