use super::*;
use crate::columns::{Columns, Known};
use crate::schema::Type;

fn lake() -> Lake {
    let column =
        |(name, kind): &(&str, Type)| Known { name: (*name).into(), of: (*name).into(), kind: *kind };
    let columns = [("kind", Type::String), ("raw", Type::Binary), ("seen", Type::Boolean)];
    let columns = Columns::new(columns.iter().map(column).collect());
    let mut tables = Table::all_built_in();
    tables.push(Table::derived("harsh_event", &columns));
    Lake {
        location: "s3://bucket/it's/".into(),
        database: "fleet".into(),
        role: "arn:aws:iam::123456789012:role/reader".into(),
        readers: "analysts".into(),
        tables,
        empty: BTreeSet::from(["camera_data".into()]),
    }
}

#[test]
fn every_column_of_every_table_is_told_to_engines_that_keep_their_own_list() {
    let lake = lake();
    for engine in [Engine::Athena, Engine::Spark, Engine::Trino] {
        let script = script(engine, &lake);
        for table in &lake.tables {
            let own = tables::qualified(engine, &lake, &table.name);
            let from = script.find(&format!("{own} (")).unwrap_or_else(|| panic!("{engine:?}: no {own}"));
            let statement = script[from..].split(";\n").next().unwrap();
            for column in &table.columns {
                let quoted = tables::quoted(engine, &column.name);
                assert!(statement.contains(&format!("  {quoted} ")), "{engine:?}: {}.{quoted}", table.name);
            }
        }
    }
}

#[test]
fn views_over_tables_that_a_lake_lacks_are_left_out() {
    let mut lake = lake();
    assert!(script(Engine::Trino, &lake).contains("harsh_events_by_driver_hour"));
    lake.tables.retain(|t| t.name != "harsh_event");
    let script = script(Engine::Trino, &lake);
    assert!(!script.contains("harsh_event"));
    assert!(script.contains("latest_position") && script.contains("gaps"));
    assert!(!script.contains('$'), "a table's name was not put in");
}

/// What Redshift's documentation says of the statement, clause by clause; parsers take it as an opaque
/// command.
///
/// CREATE EXTERNAL SCHEMA [IF NOT EXISTS] local_schema_name
/// FROM DATA CATALOG DATABASE 'database_name' … IAM_ROLE { default | 'arn…' } …
#[test]
fn the_external_schema_follows_redshift_s_grammar_word_by_word() {
    let statement = &statements(Engine::Redshift, &lake())[0];
    let mut words = statement.split_whitespace();
    for word in ["CREATE", "EXTERNAL", "SCHEMA", "IF", "NOT", "EXISTS"] {
        assert_eq!(words.next(), Some(word));
    }
    let name = words.next().unwrap();
    assert!(
        name.len() <= 127 && name.trim_matches('"').chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    );
    for word in ["FROM", "DATA", "CATALOG", "DATABASE", "'fleet'", "IAM_ROLE"] {
        assert_eq!(words.next(), Some(word));
    }
    assert_eq!(words.next(), Some("'arn:aws:iam::123456789012:role/reader'"));
    assert_eq!(words.next(), None);
}

#[test]
fn redshift_s_views_are_bound_late_and_granted_to_a_role() {
    let all = statements(Engine::Redshift, &lake());
    let views: Vec<_> = all.iter().filter(|s| s.starts_with("CREATE OR REPLACE VIEW")).collect();
    assert_eq!(views.len(), 5);
    for view in views {
        assert!(view.ends_with("WITH NO SCHEMA BINDING"), "{view}");
        assert!(view.contains("FROM \"fleet_lake\"."), "{view}");
    }
    // GRANT { USAGE | SELECT } ON { SCHEMA name | ALL TABLES IN SCHEMA name } TO ROLE name
    let grants: Vec<_> = all.iter().filter(|s| s.starts_with("GRANT ")).cloned().collect();
    let expected = [
        "GRANT USAGE ON SCHEMA \"fleet_lake\" TO ROLE \"analysts\"",
        "GRANT USAGE ON SCHEMA \"milepost\" TO ROLE \"analysts\"",
        "GRANT SELECT ON ALL TABLES IN SCHEMA \"milepost\" TO ROLE \"analysts\"",
    ];
    assert_eq!(grants, expected);
    assert!(all[all.len() - 3..] == expected, "grants come after what they speak of");
}

#[test]
fn quotes_in_names_and_places_cannot_end_a_text() {
    let athena = script(Engine::Athena, &lake());
    assert!(athena.contains(r"'s3://bucket/it\'s/gps_data/'"));
    let duckdb = script(Engine::Duckdb, &lake());
    assert!(duckdb.contains("'s3://bucket/it''s/gps_data/dt=*/*.parquet'"));
}
