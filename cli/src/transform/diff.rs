//! What came out beside what was expected: which rows differ, are missing or were not expected. Rows
//! are compared as JSON, column by column, with the tolerances that a case allows.

use milepost_agent::ndjson::{everyday, write};
use milepost_wire::{Reading, Stream};
use serde::Deserialize;
use serde_json::{Map, Value as Json};
use std::collections::{BTreeMap, BTreeSet};

/// How far ahead a row is looked for that should have come next.
const LOOK_AHEAD: usize = 64;

/// What may differ. Keys are columns, or `stream.column`; by the wire's name or the everyday one, and
/// then in everyday units.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Rules {
    /// By how much a number may be off.
    pub tolerance: BTreeMap<String, f64>,
    /// What is not compared.
    pub ignore: BTreeSet<String>,
}

/// A row as it is compared.
type Row = Map<String, Json>;

/// Lines that say what differs; none where nothing does.
pub(super) fn differences(expected: &[Reading], found: &[Reading], rules: &Rules) -> Vec<Difference> {
    let rows = |readings: &[Reading]| readings.iter().map(row).collect::<Vec<Row>>();
    let (expected, found) = (rows(expected), rows(found));
    let mut differences = unknown(&expected, &found, rules);
    let (mut e, mut f) = (0, 0);
    while e < expected.len() || f < found.len() {
        match (expected.get(e), found.get(f)) {
            (Some(want), Some(got)) if rules.is_same_row(want, got) => {
                let columns = columns(want, got, rules);
                if !columns.is_empty() {
                    differences.push(Difference::Changed { number: f + 1, row: title(got), columns });
                }
                (e, f) = (e + 1, f + 1);
            }
            (Some(want), got) if got.is_none() || is_missing(&expected[e..], &found[f..], rules) => {
                differences.push(Difference::Missing { number: e + 1, line: text(want) });
                e += 1;
            }
            (_, got) => {
                let line = got.map(text).unwrap_or_default();
                differences.push(Difference::Unexpected { number: f + 1, line });
                f += 1;
            }
        }
    }
    differences
}

/// One thing that is not as it was expected.
#[derive(Debug, PartialEq)]
pub(super) enum Difference {
    /// A row with other values: of each column what was expected and what was found.
    Changed { number: usize, row: String, columns: Vec<(String, String, String)> },
    /// A row that did not come.
    Missing { number: usize, line: String },
    /// A row that nobody expected.
    Unexpected { number: usize, line: String },
    /// A rule for a column that no row has.
    Rule { key: String },
}

impl Difference {
    /// As lines: `-` was expected, `+` was found.
    pub(super) fn lines(&self) -> Vec<String> {
        match self {
            Self::Changed { number, row, columns } => {
                let mut lines = vec![format!("  row {number} of what came out ({row}) differs:")];
                for (column, want, got) in columns {
                    lines.push(format!("-   {column}: {want}"));
                    lines.push(format!("+   {column}: {got}"));
                }
                lines
            }
            Self::Missing { number, line } => {
                vec![format!("  row {number} of out.ndjson did not come out:"), format!("-   {line}")]
            }
            Self::Unexpected { number, line } => {
                vec![format!("  row {number} of what came out is not expected:"), format!("+   {line}")]
            }
            Self::Rule { key } => {
                vec![format!("  case.toml has a rule for {key:?}, and no row has such a column")]
            }
        }
    }
}

fn row(reading: &Reading) -> Row {
    // What is written for a reading is an object.
    serde_json::from_str(&write(reading)).unwrap_or_default()
}

fn text(row: &Row) -> String {
    serde_json::to_string(row).unwrap_or_default()
}

fn stream(row: &Row) -> &str {
    row.get("stream").and_then(Json::as_str).unwrap_or_default()
}

fn title(row: &Row) -> String {
    let ts = row.get("ts").and_then(Json::as_i64).unwrap_or_default();
    format!("{}, {}", stream(row), milepost_agent::ndjson::rfc3339(ts))
}

impl Rules {
    /// Whether two rows are meant to be the same one: of one stream and one time, as far as that is compared.
    fn is_same_row(&self, a: &Row, b: &Row) -> bool {
        let (name, at) = (stream(a), |row: &Row| row.get("ts").cloned().unwrap_or_default());
        let keys = keys(name, "ts");
        let ignored = keys.iter().any(|(key, _)| self.ignore.contains(key));
        name == stream(b) && (ignored || is_near(&at(a), &at(b), self.tolerance(&keys)))
    }

    /// By how much a column that has these keys may be off.
    fn tolerance(&self, keys: &[(String, f64)]) -> f64 {
        keys.iter().find_map(|(key, scale)| Some(self.tolerance.get(key)? * scale)).unwrap_or(0.0)
    }
}

/// Whether the next expected row is left out, rather than the next found one put in: whichever of the two
/// comes sooner in the other list is the one that both have.
fn is_missing(expected: &[Row], found: &[Row], rules: &Rules) -> bool {
    let ahead =
        |row: &Row, of: &[Row]| of.iter().take(LOOK_AHEAD).position(|other| rules.is_same_row(row, other));
    let found_later = ahead(&found[0], expected);
    let expected_later = ahead(&expected[0], found);
    match (found_later, expected_later) {
        (Some(a), Some(b)) => a <= b,
        (None, Some(_)) => false,
        _ => true,
    }
}

/// The columns in which two rows differ: name, what was expected, what was found.
fn columns(want: &Row, got: &Row, rules: &Rules) -> Vec<(String, String, String)> {
    let names: BTreeSet<&String> = want.keys().chain(got.keys()).collect();
    let mut differing = Vec::new();
    for name in names {
        let keys = keys(stream(got), name);
        if keys.iter().any(|(key, _)| rules.ignore.contains(key)) {
            continue;
        }
        let (a, b) = (want.get(name).unwrap_or(&Json::Null), got.get(name).unwrap_or(&Json::Null));
        if !is_near(a, b, rules.tolerance(&keys)) {
            differing.push((name.clone(), a.to_string(), b.to_string()));
        }
    }
    differing
}

/// What a rule may call a column, with the number of the column's units in one of the rule's; the most
/// particular first.
fn keys(stream: &str, column: &str) -> Vec<(String, f64)> {
    let mut keys = vec![(format!("{stream}.{column}"), 1.0), (column.to_owned(), 1.0)];
    let is_built_in = stream.parse::<Stream>().is_ok_and(|s| s.columns().is_some());
    if let Some((name, scale)) = everyday(column).filter(|_| is_built_in) {
        keys.extend([(format!("{stream}.{name}"), scale), (name.to_owned(), scale)]);
    }
    keys
}

fn is_near(a: &Json, b: &Json, tolerance: f64) -> bool {
    match (a, b) {
        (Json::Number(a), Json::Number(b)) => match (a.as_i64(), b.as_i64(), a.as_f64(), b.as_f64()) {
            (Some(a), Some(b), ..) if tolerance == 0.0 => a == b,
            (.., Some(a), Some(b)) => (a - b).abs() <= tolerance,
            _ => false,
        },
        _ => a == b,
    }
}

/// Rules that can never apply: a misspelt column must not pass in silence.
fn unknown(expected: &[Row], found: &[Row], rules: &Rules) -> Vec<Difference> {
    let mut known = BTreeSet::new();
    for row in expected.iter().chain(found) {
        for column in row.keys() {
            known.extend(keys(stream(row), column).into_iter().map(|(key, _)| key));
        }
    }
    let keys = rules.tolerance.keys().chain(&rules.ignore);
    let unknown = keys.filter(|key| !known.is_empty() && !known.contains(*key));
    unknown.map(|key| Difference::Rule { key: key.clone() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transform::readings::{Wanted, ndjson};

    /// Fixes: seconds and speed.
    fn fixes(rows: &[(i64, f64)]) -> Vec<Reading> {
        let line = |(s, v): &(i64, f64)| {
            format!(
                "{{\"stream\":\"gps_data\",\"ts\":{},\"lat\":1,\"lon\":2,\"speed\":{v}}}\n",
                s * 1_000_000
            )
        };
        let text: String = rows.iter().map(line).collect();
        ndjson(text.as_bytes(), &Wanted::default()).unwrap().into_iter().map(|l| l.reading).collect()
    }

    fn rules(tolerance: &[(&str, f64)], ignore: &[&str]) -> Rules {
        Rules {
            tolerance: tolerance.iter().map(|(k, v)| ((*k).to_owned(), *v)).collect(),
            ignore: ignore.iter().map(|k| (*k).to_owned()).collect(),
        }
    }

    #[test]
    fn a_changed_value_is_shown_by_its_column() {
        let found =
            differences(&fixes(&[(0, 1.0), (1, 2.0)]), &fixes(&[(0, 1.0), (1, 2.5)]), &Rules::default());
        let [difference] = &found[..] else { panic!("{found:?}") };
        assert_eq!(
            difference.lines(),
            [
                "  row 2 of what came out (gps_data, 1970-01-01T00:00:01Z) differs:",
                "-   speed_mm_s: 2000",
                "+   speed_mm_s: 2500"
            ]
        );
    }

    #[test]
    fn rows_that_are_missing_or_too_many_do_not_spoil_the_others() {
        let (a, b) = (
            fixes(&[(0, 1.0), (1, 2.0), (2, 3.0), (4, 4.0)]),
            fixes(&[(0, 1.0), (2, 3.0), (3, 9.0), (4, 4.0)]),
        );
        let found = differences(&a, &b, &Rules::default());
        assert!(
            matches!(
                &found[..],
                [Difference::Missing { number: 2, .. }, Difference::Unexpected { number: 3, .. }]
            ),
            "{found:?}"
        );
        assert_eq!(differences(&a, &[], &Rules::default()).len(), 4);
        assert_eq!(differences(&[], &b, &Rules::default()).len(), 4);
    }

    #[test]
    fn tolerances_are_in_the_unit_of_the_name_that_they_use() {
        let (a, b) = (fixes(&[(0, 1.0)]), fixes(&[(0, 1.02)]));
        for (key, tolerance, passes) in [
            ("speed", 0.02, true),
            ("speed", 0.01, false),
            ("speed_mm_s", 20.0, true),
            ("gps_data.speed", 0.02, true),
            ("gps_data.speed_mm_s", 19.0, false),
        ] {
            assert_eq!(differences(&a, &b, &rules(&[(key, tolerance)], &[])).is_empty(), passes, "{key}");
        }
        assert!(differences(&a, &b, &rules(&[], &["speed"])).is_empty());
    }

    #[test]
    fn rows_are_the_same_where_their_times_are_as_near_as_the_case_says() {
        let (a, b) = (fixes(&[(0, 1.0), (10, 2.0)]), fixes(&[(1, 1.0), (11, 2.0)]));
        assert_eq!(differences(&a, &b, &Rules::default()).len(), 4);
        assert_eq!(differences(&a, &b, &rules(&[], &["ts"])), []);
        assert_eq!(differences(&a, &b, &rules(&[], &["gps_data.ts"])), []);
        assert_eq!(differences(&a, &b, &rules(&[("ts", 1e6)], &[])), []);
        assert_eq!(differences(&a, &b, &rules(&[("ts", 999_999.0)], &[])).len(), 4);
        let other = fixes(&[(1, 1.0), (11, 2.5)]);
        assert!(matches!(
            &differences(&a, &other, &rules(&[], &["ts"]))[..],
            [Difference::Changed { number: 2, .. }]
        ));
    }

    #[test]
    fn a_rule_for_no_column_is_a_difference() {
        let a = fixes(&[(0, 1.0)]);
        let found = differences(&a, &a, &rules(&[("sped", 1.0)], &["gps_data.clok"]));
        let keys = ["sped", "gps_data.clok"].map(|key| Difference::Rule { key: key.into() });
        assert_eq!(found, keys);
    }
}
