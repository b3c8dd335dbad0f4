//! What the dashboards of `deploy/grafana` ask Prometheus. That dashboards, alerts, the list of metrics and the
//! runbook agree is tested here: whoever is woken finds a page, and no panel asks for what nobody counts.

use crate::run::root;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::fs;

/// The dashboards: `<name>.json` each.
const NAMES: [&str; 3] = ["fleet", "bridge", "sink"];
/// What Grafana puts in the place of its variables, as an answer for all.
const VARIABLES: [(&str, &str); 2] = [("$__rate_interval", "1m"), ("$vehicle", ".*")];

/// A question of a dashboard.
pub struct Query {
    /// Dashboard and panel.
    pub at: String,
    /// PromQL, with Grafana's variables filled in.
    pub text: String,
}

/// Every query of the dashboards.
pub fn queries() -> Result<Vec<Query>> {
    let mut queries = Vec::new();
    for name in NAMES {
        for panel in &panels(name)? {
            let at = format!("{name}, {}", panel["title"].as_str().unwrap_or_default());
            for target in panel["targets"].as_array().into_iter().flatten() {
                let text =
                    target["expr"].as_str().with_context(|| format!("{at}: a target without a query"))?;
                queries.push(Query { at: at.clone(), text: filled(text) });
            }
        }
    }
    ensure!(!queries.is_empty(), "The dashboards ask nothing");
    Ok(queries)
}

fn filled(text: &str) -> String {
    VARIABLES.iter().fold(text.to_owned(), |text, (name, value)| text.replace(name, value))
}

/// The panels of a dashboard.
fn panels(name: &str) -> Result<Vec<Value>> {
    let path = root().join("deploy/grafana/dashboards").join(name).with_extension("json");
    let text = fs::read_to_string(&path).with_context(|| format!("Cannot read {}", path.display()))?;
    let mut dashboard: Value =
        serde_json::from_str(&text).with_context(|| format!("{} is no JSON", path.display()))?;
    ensure!(dashboard["uid"] == format!("milepost-{name}"), "{} has another's uid", path.display());
    match dashboard["panels"].take() {
        Value::Array(panels) => Ok(panels),
        _ => Err(anyhow::anyhow!("{} has no panels", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::{found, in_ci};
    use std::collections::BTreeSet;
    use std::path::Path;
    use std::process::Command;

    fn read(path: &str) -> String {
        fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
    }

    fn alerts() -> String {
        read("deploy/prometheus/alerts.yml")
    }

    /// Names of metrics in a text.
    fn metrics(text: &str) -> BTreeSet<String> {
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        words.filter(|w| w.starts_with("milepost_") || w.starts_with("process_")).map(str::to_owned).collect()
    }

    /// What follows a mark at the beginning of lines.
    fn marked(text: &str, mark: &str) -> BTreeSet<String> {
        text.lines().filter_map(|line| line.trim().strip_prefix(mark)).map(str::to_owned).collect()
    }

    /// Lets promtool check a file; without it that is skipped, but not in CI.
    fn checked(what: &str, file: &Path) {
        if !found("promtool") {
            assert!(!in_ci(), "In CI nothing may be missing: promtool");
            return eprintln!("skipped: promtool is missing (`cargo xtask test` brings it)");
        }
        let out = Command::new("promtool").args(["check", what]).arg(file).output().unwrap();
        let said = String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned();
        assert!(out.status.success() && !said.contains("FAILED"), "{said}");
    }

    #[test]
    fn prometheus_takes_its_configuration_and_every_alert() {
        checked("config", &root().join("deploy/prometheus/prometheus.yml"));
    }

    #[test]
    fn prometheus_can_parse_every_query_of_a_dashboard() {
        let queries = queries().unwrap();
        assert!(
            queries.len() > 40 && queries.iter().all(|q| !q.text.contains('$')),
            "{} queries",
            queries.len()
        );
        // As rules, since a rule's expression is parsed as a query is.
        let rule = |(n, query): (usize, &Query)| {
            format!("      - {{ record: \"query:{n}\", expr: {} }}\n", Value::from(query.text.as_str()))
        };
        let rules: String = queries.iter().enumerate().map(rule).collect();
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("queries.yml");
        fs::write(&file, format!("groups:\n  - name: queries\n    rules:\n{rules}")).unwrap();
        checked("rules", &file);
    }

    #[test]
    fn every_metric_that_is_asked_for_is_in_the_list_of_metrics() {
        let listed = metrics(&read("docs/metrics.md"));
        let asked = queries().unwrap().into_iter().map(|query| query.text).chain([alerts()]);
        let unknown: BTreeSet<_> =
            asked.flat_map(|text| metrics(&text)).filter(|m| !listed.contains(m)).collect();
        assert_eq!(unknown, BTreeSet::new());
    }

    #[test]
    fn every_alert_has_a_section_in_the_runbook_and_every_section_an_alert() {
        assert_eq!(marked(&read("docs/runbook.md"), "### "), marked(&alerts(), "- alert: "));
    }

    #[test]
    fn panels_have_numbers_of_their_own_and_do_not_overlap() {
        for name in NAMES {
            let (mut ids, mut taken) = (BTreeSet::new(), BTreeSet::new());
            for panel in panels(name).unwrap() {
                let title = &panel["title"];
                assert!(ids.insert(panel["id"].as_u64()), "{name}: {title} has another's number");
                let [x, y, w, h] = ["x", "y", "w", "h"].map(|key| panel["gridPos"][key].as_u64().unwrap());
                assert!(x + w <= 24, "{name}: {title} is wider than the page");
                let mut cells = (y..y + h).flat_map(|y| (x..x + w).map(move |x| (x, y)));
                assert!(cells.all(|cell| taken.insert(cell)), "{name}: {title} overlaps");
            }
        }
    }
}
