//! `milepost-sink ddl`: what a query engine has to be told to see the tables, and views over them that
//! most people want, as SQL to paste.
//!
//! [`tables`] turns [`crate::schema`]'s description into each engine's own words; [`views`] are written
//! once, in what the engines have in common. Nothing here is needed where Glue is: there the sink has
//! registered the tables, and only the views are of use.

pub mod tables;
pub mod views;

use crate::schema::Table;
use std::collections::BTreeSet;

/// A query engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Engine {
    /// Amazon Athena.
    Athena,
    /// Amazon Redshift, which sees the tables of Glue by an external schema.
    Redshift,
    /// Apache Spark.
    Spark,
    /// Trino, its catalogue named `lake`.
    Trino,
    /// DuckDB.
    Duckdb,
}

impl Engine {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Athena, Self::Redshift, Self::Spark, Self::Trino, Self::Duckdb];
}

/// Where the tables lie, and what they and their database are called.
#[derive(Clone, Debug)]
pub struct Lake {
    /// `s3://bucket/prefix/` or a folder, ended by `/`.
    pub location: String,
    /// The database or schema; in Glue, the one that the sink registers in.
    pub database: String,
    /// The role by which Redshift reads the lake.
    pub role: String,
    /// Who may read, in Redshift: a role of the database.
    pub readers: String,
    /// The tables.
    pub tables: Vec<Table>,
    /// Tables without a file: DuckDB cannot learn their columns.
    pub empty: BTreeSet<String>,
}

impl Lake {
    fn has(&self, table: &str) -> bool {
        self.tables.iter().any(|t| t.name == table)
    }
}

/// All statements for an engine, in their order, without a semicolon.
pub fn statements(engine: Engine, lake: &Lake) -> Vec<String> {
    let mut all = tables::statements(engine, lake);
    all.extend(views::statements(engine, lake));
    if engine == Engine::Redshift {
        all.extend(tables::redshift_grants(lake));
    }
    all
}

/// The statements as a script.
pub fn script(engine: Engine, lake: &Lake) -> String {
    statements(engine, lake).into_iter().map(|s| s + ";\n").collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests;
