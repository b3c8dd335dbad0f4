//! Descriptions of tables ↔ what Glue keeps of them. Pure.

use crate::catalog::News;
use crate::schema::{self, PARTITION, Type};
use aws_sdk_glue::error::BuildError;
use aws_sdk_glue::types::{
    Column, PartitionInput, SerDeInfo, StorageDescriptor, Table as GlueTable, TableInput,
};
use std::collections::HashMap;

const INPUT: &str = "org.apache.hadoop.hive.ql.io.parquet.MapredParquetInputFormat";
const OUTPUT: &str = "org.apache.hadoop.hive.ql.io.parquet.MapredParquetOutputFormat";
const SERDE: &str = "org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe";
/// The most characters that Glue keeps of a comment.
const COMMENT: usize = 255;
/// What Redshift's planner reads; an estimate.
const ROWS: &str = "numRows";

fn type_name(kind: Type) -> &'static str {
    match kind {
        Type::Bigint => "bigint",
        Type::Double => "double",
        Type::Boolean => "boolean",
        Type::String => "string",
        Type::Binary => "binary",
        Type::Timestamp => "timestamp",
    }
}

fn column(c: &schema::Column) -> Result<Column, BuildError> {
    let comment: String = c.remark().chars().take(COMMENT).collect();
    Column::builder().name(c.name.as_ref()).r#type(type_name(c.kind)).comment(comment).build()
}

fn columns(news: &News) -> Result<Vec<Column>, BuildError> {
    news.table.columns.iter().map(column).collect()
}

fn storage(location: String, columns: Vec<Column>) -> StorageDescriptor {
    let serde = SerDeInfo::builder().serialization_library(SERDE).parameters("serialization.format", "1");
    StorageDescriptor::builder()
        .location(location)
        .set_columns(Some(columns))
        .input_format(INPUT)
        .output_format(OUTPUT)
        .serde_info(serde.build())
        .parameters("classification", "parquet")
        .build()
}

/// A table that is not there yet.
pub(super) fn table(news: &News) -> Result<TableInput, BuildError> {
    let mut parameters = own_parameters();
    if news.rows > 0 {
        parameters.insert(ROWS.into(), news.rows.to_string());
    }
    TableInput::builder()
        .name(&news.table.name)
        .description(news.table.comment.as_ref())
        .table_type("EXTERNAL_TABLE")
        .set_parameters(Some(parameters))
        .partition_keys(column(&PARTITION)?)
        .storage_descriptor(storage(news.location.clone(), columns(news)?))
        .build()
}

fn own_parameters() -> HashMap<String, String> {
    [("EXTERNAL", "TRUE"), ("classification", "parquet"), ("typeOfData", "file")]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
}

/// A partition of one date.
pub(super) fn partition(news: &News, dt: &str) -> Result<PartitionInput, BuildError> {
    let storage = storage(format!("{}dt={dt}/", news.location), columns(news)?);
    Ok(PartitionInput::builder().values(dt).storage_descriptor(storage).build())
}

/// What a table that is there has to become; `None` where it is as described. The error says what of it
/// cannot be ours.
pub(super) fn changed(news: &News, found: &GlueTable) -> Result<Option<TableInput>, String> {
    let there = found.storage_descriptor();
    let location = there.and_then(|s| s.location()).unwrap_or_default();
    if location.trim_end_matches('/') != news.location.trim_end_matches('/') {
        return Err(format!(
            "the table of that name lies at {location:?}, and this lake's at {:?}: take another database, \
             or drop that table",
            news.location
        ));
    }
    let keys: Vec<_> = found.partition_keys().iter().map(|k| k.name()).collect();
    if keys != [PARTITION.name.as_ref()] {
        return Err(format!("the table of that name is partitioned by {keys:?}, and not by dt: drop it"));
    }
    let incomplete = |e: BuildError| e.to_string();
    let merged = merge(columns(news).map_err(incomplete)?, there.map_or(&[][..], |s| s.columns()));
    let mut parameters = found.parameters().cloned().unwrap_or_default();
    parameters.extend(own_parameters());
    if news.rows > 0 {
        let before: u64 = parameters.get(ROWS).and_then(|n| n.parse().ok()).unwrap_or(0);
        parameters.insert(ROWS.into(), before.saturating_add(news.rows).to_string());
    }
    let same = there.is_some_and(|s| same_columns(s.columns(), &merged) && is_parquet(s))
        && found.parameters() == Some(&parameters)
        && found.description() == Some(news.table.comment.as_ref());
    if same {
        return Ok(None);
    }
    let input = TableInput::builder()
        .name(found.name())
        .description(news.table.comment.as_ref())
        .set_owner(found.owner().map(str::to_owned))
        .table_type("EXTERNAL_TABLE")
        .retention(found.retention())
        .set_parameters(Some(parameters))
        .partition_keys(column(&PARTITION).map_err(incomplete)?)
        .storage_descriptor(storage(news.location.clone(), merged))
        .build();
    input.map(Some).map_err(incomplete)
}

fn same_columns(one: &[Column], other: &[Column]) -> bool {
    let what = |c: &Column| (c.name().to_owned(), c.r#type.clone(), c.comment.clone());
    one.iter().map(what).eq(other.iter().map(what))
}

fn is_parquet(s: &StorageDescriptor) -> bool {
    let serde = s.serde_info().and_then(|s| s.serialization_library());
    s.input_format() == Some(INPUT) && s.output_format() == Some(OUTPUT) && serde == Some(SERDE)
}

/// The columns as described, and behind them those that only Glue knows: another sink has added them, and
/// this one has not read of it yet.
fn merge(described: Vec<Column>, there: &[Column]) -> Vec<Column> {
    let foreign = |c: &&Column| !described.iter().any(|d| d.name() == c.name());
    let foreign: Vec<Column> = there.iter().filter(foreign).cloned().collect();
    described.into_iter().chain(foreign).collect()
}
