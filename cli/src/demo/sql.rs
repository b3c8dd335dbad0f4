//! The SQL that the demo prints to paste into DuckDB.
//!
//! DuckDB names the files of a table by a pattern, and the folder of a lake may be called anything: what
//! means something in a pattern stands in brackets, and a quote is doubled. Nothing escapes a backslash
//! there, which DuckDB takes for the end of a folder's name; of such a lake the patterns begin in it.

use crate::audit::Table;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

/// Writes where the tables are and what to ask of those that have files.
pub(super) fn write(o: &mut String, lake: &Path, tables: &BTreeMap<String, Table>) -> std::fmt::Result {
    let has = |table: &str| tables.get(table).is_some_and(|t| t.files > 0);
    let (shown, folder) = (lake.display(), pattern(lake));
    writeln!(o, "\nThe tables are Parquet files in {shown}. In DuckDB:\n")?;
    if folder.is_none() {
        writeln!(o, "  -- No pattern of DuckDB can name this folder: start duckdb in it (cd).\n")?;
    }
    let from = |table: &str| {
        let folder = folder.as_deref().unwrap_or("");
        format!("read_parquet('{folder}{table}/**/*.parquet', hive_partitioning=true)")
    };
    if has("gps_data") {
        writeln!(
            o,
            "  SELECT vehicle_id, count(*) AS fixes, min(ts) AS first, max(ts) AS last,\n         \
             round(max(speed) * 3.6) AS top_km_h\n  FROM {}\n  GROUP BY vehicle_id ORDER BY vehicle_id;\n",
            from("gps_data")
        )?;
    }
    if tables.get("harsh_event").is_some_and(is_of_harsh_driving) {
        writeln!(
            o,
            "  SELECT vehicle_id, ts, kind, round(g, 2) AS g, lat, lon, round(speed * 3.6) AS km_h\n  \
             FROM {}\n  ORDER BY g DESC LIMIT 10;\n",
            from("harsh_event")
        )?;
    }
    if has("camera_data") {
        writeln!(
            o,
            "  SELECT vehicle_id, ts, lat, lon, image\n  FROM {}\n  ORDER BY ts DESC LIMIT 5;\n  -- image s3://{}/… \
             is the file {shown}/…\n",
            from("camera_data"),
            super::s3::BUCKET,
        )?;
    }
    if has("weather_data") {
        writeln!(
            o,
            "  SELECT dt, condition, count(*) AS readings, round(avg(temperature), 1) AS celsius\n  FROM {}\n  \
             GROUP BY ALL ORDER BY readings DESC;",
            from("weather_data")
        )?;
    }
    Ok(())
}

/// Whether a table has what the transform `harsh_driving` derives: a log that is replayed may have a stream
/// of the same name with whatever columns it likes.
fn is_of_harsh_driving(table: &Table) -> bool {
    let is_number = |name| matches!(table.columns.get(name), Some(&("bigint" | "double")));
    let is_there = |name| table.columns.contains_key(name);
    ["g", "speed"].into_iter().all(is_number) && ["kind", "lat", "lon"].into_iter().all(is_there)
}

/// The beginning of a pattern that finds what is in `lake`, inside of a text of SQL. `None` where there
/// is no such pattern.
fn pattern(lake: &Path) -> Option<String> {
    let path = lake.to_str().filter(|path| !path.contains('\\'))?;
    let mut pattern = String::new();
    for c in path.chars() {
        match c {
            '*' | '?' | '[' => pattern.extend(['[', c, ']']),
            '\'' => pattern.push_str("''"),
            _ => pattern.push(c),
        }
    }
    Some(pattern + "/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(lake: &str, tables: &[(&str, &[(&str, &'static str)])]) -> String {
        let table = |columns: &[(&str, &'static str)]| Table {
            files: 1,
            columns: columns.iter().map(|(name, kind)| ((*name).to_owned(), *kind)).collect(),
            ..Table::default()
        };
        let tables = tables.iter().map(|(name, columns)| ((*name).to_owned(), table(columns))).collect();
        let mut said = String::new();
        write(&mut said, Path::new(lake), &tables).unwrap();
        said
    }

    #[test]
    fn harsh_events_are_asked_for_where_the_transform_s_columns_are_there() {
        let derived =
            [("kind", "string"), ("g", "double"), ("lat", "double"), ("lon", "double"), ("speed", "double")];
        let asked = |columns: &[(&str, &'static str)]| {
            written("/lake", &[("harsh_event", columns)]).contains("FROM read_parquet('/lake/harsh_event/")
        };
        assert!(asked(&derived));
        assert!(!asked(&derived[1..]), "without a kind");
        assert!(!asked(&[&derived[..4], &[("speed", "string")]].concat()), "a speed in words");
        assert!(!asked(&[]));
    }

    #[test]
    fn a_table_without_files_is_not_asked() {
        let tables = BTreeMap::from([("gps_data".to_owned(), Table::default())]);
        let mut said = String::new();
        write(&mut said, Path::new("/lake"), &tables).unwrap();
        assert!(!said.contains("SELECT"), "{said}");
    }

    #[test]
    fn a_folder_of_any_name_is_found_by_its_pattern() {
        for (lake, expected) in [
            ("/data/lake", Some("/data/lake/")),
            ("/it's/a lake", Some("/it''s/a lake/")),
            ("/a*b/c?d/[e]", Some("/a[*]b/c[?]d/[[]e]/")),
            ("/back\\slash", None),
        ] {
            assert_eq!(pattern(Path::new(lake)).as_deref(), expected, "{lake}");
        }
    }

    #[test]
    fn where_no_pattern_can_name_the_folder_it_says_so() {
        let said = written("/back\\slash", &[("gps_data", &[])]);
        assert!(said.contains("start duckdb in it (cd)"), "{said}");
        assert!(said.contains("read_parquet('gps_data/**/*.parquet'"), "{said}");
    }
}
