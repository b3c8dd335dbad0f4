//! Databases and tables in each engine's words.

use super::{Engine, Lake};
use crate::schema::{Column, PARTITION, Table, Type};

/// The schema in Redshift that holds the views, beside the external one with the tables.
pub(super) const VIEWS: &str = "milepost";

/// What makes the tables visible.
pub(super) fn statements(engine: Engine, lake: &Lake) -> Vec<String> {
    let each = |statement: &dyn Fn(&Table) -> Vec<String>| lake.tables.iter().flat_map(statement).collect();
    let database = quoted(engine, &lake.database);
    let first: Vec<String> = match engine {
        Engine::Athena | Engine::Spark => vec![format!("CREATE DATABASE IF NOT EXISTS {database}")],
        Engine::Trino => vec![format!("CREATE SCHEMA IF NOT EXISTS {}.{database}", quoted(engine, "lake"))],
        // Instants are shown and cut in UTC, whatever the machine's zone.
        Engine::Duckdb => vec!["SET TimeZone = 'UTC'".into()],
        Engine::Redshift => return redshift(lake),
    };
    let then: Vec<String> = match engine {
        Engine::Athena => each(&|t| athena(lake, t)),
        Engine::Spark => each(&|t| spark(lake, t)),
        Engine::Trino => each(&|t| trino(lake, t)),
        Engine::Duckdb => each(&|t| duckdb(lake, t)),
        Engine::Redshift => Vec::new(),
    };
    first.into_iter().chain(then).collect()
}

/// The tables are Glue's; Redshift is shown where.
fn redshift(lake: &Lake) -> Vec<String> {
    vec![
        format!(
            "CREATE EXTERNAL SCHEMA IF NOT EXISTS {}\nFROM DATA CATALOG\nDATABASE {}\nIAM_ROLE {}",
            quoted(Engine::Redshift, &external_schema(lake)),
            text(Engine::Redshift, &lake.database),
            text(Engine::Redshift, &lake.role)
        ),
        format!("CREATE SCHEMA IF NOT EXISTS {}", quoted(Engine::Redshift, VIEWS)),
    ]
}

/// The views are what people are given; the tables below them come along.
pub(super) fn redshift_grants(lake: &Lake) -> Vec<String> {
    let readers = quoted(Engine::Redshift, &lake.readers);
    let (views, tables) = (quoted(Engine::Redshift, VIEWS), quoted(Engine::Redshift, &external_schema(lake)));
    vec![
        format!("GRANT USAGE ON SCHEMA {tables} TO ROLE {readers}"),
        format!("GRANT USAGE ON SCHEMA {views} TO ROLE {readers}"),
        format!("GRANT SELECT ON ALL TABLES IN SCHEMA {views} TO ROLE {readers}"),
    ]
}

fn external_schema(lake: &Lake) -> String {
    format!("{}_lake", lake.database)
}

fn athena(lake: &Lake, table: &Table) -> Vec<String> {
    let name = qualified(Engine::Athena, lake, &table.name);
    let create = format!(
        "CREATE EXTERNAL TABLE IF NOT EXISTS {name} (\n{}\n)\nCOMMENT {}\nPARTITIONED BY (\n{}\n)\nSTORED AS \
         PARQUET\nLOCATION {}\nTBLPROPERTIES ('classification' = 'parquet')",
        columns(Engine::Athena, &table.columns),
        text(Engine::Athena, &table.comment),
        columns(Engine::Athena, &[PARTITION]),
        text(Engine::Athena, &location(lake, table)),
    );
    vec![create, format!("MSCK REPAIR TABLE {name}")]
}

fn spark(lake: &Lake, table: &Table) -> Vec<String> {
    let name = qualified(Engine::Spark, lake, &table.name);
    let all: Vec<Column> = table.columns.iter().cloned().chain([PARTITION]).collect();
    let create = format!(
        "CREATE TABLE IF NOT EXISTS {name} (\n{}\n)\nUSING PARQUET\nPARTITIONED BY ({})\nLOCATION {}\nCOMMENT \
         {}",
        columns(Engine::Spark, &all),
        quoted(Engine::Spark, &PARTITION.name),
        text(Engine::Spark, &location(lake, table)),
        text(Engine::Spark, &table.comment),
    );
    vec![create, format!("MSCK REPAIR TABLE {name}")]
}

fn trino(lake: &Lake, table: &Table) -> Vec<String> {
    let all: Vec<Column> = table.columns.iter().cloned().chain([PARTITION]).collect();
    let create = format!(
        "CREATE TABLE IF NOT EXISTS {} (\n{}\n)\nCOMMENT {}\nWITH (external_location = {}, format = 'PARQUET', \
         partitioned_by = ARRAY[{}])",
        qualified(Engine::Trino, lake, &table.name),
        columns(Engine::Trino, &all),
        text(Engine::Trino, &table.comment),
        text(Engine::Trino, &location(lake, table)),
        text(Engine::Trino, &PARTITION.name),
    );
    let find = format!(
        "CALL {}.system.sync_partition_metadata({}, {}, 'FULL')",
        quoted(Engine::Trino, "lake"),
        text(Engine::Trino, &lake.database),
        text(Engine::Trino, &table.name)
    );
    vec![create, find]
}

fn duckdb(lake: &Lake, table: &Table) -> Vec<String> {
    let name = quoted(Engine::Duckdb, &table.name);
    let select = match lake.empty.contains(&table.name) {
        true => nothing(table),
        false => format!(
            "SELECT * FROM read_parquet({}, hive_partitioning = true, hive_types_autocast = false, \
             union_by_name = true)",
            text(Engine::Duckdb, &format!("{}dt=*/*.parquet", location(lake, table)))
        ),
    };
    let comment = text(Engine::Duckdb, &table.comment);
    vec![format!("CREATE OR REPLACE VIEW {name} AS {select}"), format!("COMMENT ON VIEW {name} IS {comment}")]
}

/// A table's columns without a row, since there is no file to take them from.
fn nothing(table: &Table) -> String {
    let all = table.columns.iter().cloned().chain([PARTITION]);
    let null = |c: Column| {
        format!("CAST(NULL AS {}) AS {}", type_name(Engine::Duckdb, c.kind), quoted(Engine::Duckdb, &c.name))
    };
    format!("SELECT {} WHERE false", all.map(null).collect::<Vec<_>>().join(", "))
}

fn location(lake: &Lake, table: &Table) -> String {
    format!("{}{}/", lake.location, table.name)
}

fn columns(engine: Engine, columns: &[Column]) -> String {
    let one = |c: &Column| {
        let (name, kind) = (quoted(engine, &c.name), type_name(engine, c.kind));
        format!("  {name} {kind} COMMENT {}", text(engine, &c.remark()))
    };
    columns.iter().map(one).collect::<Vec<_>>().join(",\n")
}

fn type_name(engine: Engine, kind: Type) -> &'static str {
    let plain = matches!(engine, Engine::Athena | Engine::Spark);
    match kind {
        Type::Bigint => "bigint",
        Type::Double => "double",
        Type::Boolean => "boolean",
        Type::String if plain => "string",
        Type::String => "varchar",
        Type::Binary if plain => "binary",
        Type::Binary if engine == Engine::Duckdb => "blob",
        Type::Binary => "varbinary",
        Type::Timestamp if plain => "timestamp",
        Type::Timestamp if engine == Engine::Duckdb => "timestamptz",
        Type::Timestamp => "timestamp(3)",
    }
}

/// A table where the engine finds it.
pub(super) fn qualified(engine: Engine, lake: &Lake, name: &str) -> String {
    let part = |name: &str| quoted(engine, name);
    match engine {
        Engine::Athena | Engine::Spark => format!("{}.{}", part(&lake.database), part(name)),
        Engine::Redshift => format!("{}.{}", part(&external_schema(lake)), part(name)),
        Engine::Trino => format!("{}.{}.{}", part("lake"), part(&lake.database), part(name)),
        Engine::Duckdb => part(name),
    }
}

/// A name in quotes.
pub(super) fn quoted(engine: Engine, name: &str) -> String {
    match engine {
        Engine::Athena | Engine::Spark => format!("`{}`", name.replace('`', "``")),
        _ => format!("\"{}\"", name.replace('"', "\"\"")),
    }
}

/// A text in quotes.
fn text(engine: Engine, text: &str) -> String {
    match engine {
        Engine::Athena | Engine::Spark => format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'")),
        _ => format!("'{}'", text.replace('\'', "''")),
    }
}
