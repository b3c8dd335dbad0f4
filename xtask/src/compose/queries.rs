//! What dashboards and alerts ask, asked of a real Prometheus.

use super::engine::said;
use crate::dashboards;
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::process::Command;

/// Metrics that have a series only once something has gone wrong.
const AFTER_TROUBLE: [&str; 3] =
    ["milepost_bridge_dead_lettered_total", "milepost_agent_transform_", "milepost_agent_source_"];

/// Asks every query of every dashboard; each must be answered, and with figures.
pub fn answers(prometheus: &str) -> Result<usize> {
    let queries = dashboards::queries()?;
    for query in &queries {
        let mut ask = Command::new("promtool");
        ask.args(["query", "instant", prometheus, &query.text]);
        let answer = said(&mut ask).with_context(|| format!("{}: {}", query.at, query.text))?;
        let may_be_empty = AFTER_TROUBLE.iter().any(|metric| query.text.contains(metric));
        ensure!(!answer.is_empty() || may_be_empty, "{}: nothing answers {}", query.at, query.text);
    }
    Ok(queries.len())
}

/// Whether Prometheus can work out every alert; `rules` is what it says at `/api/v1/rules`.
pub fn alerts(rules: &str) -> Result<usize> {
    let answer: Value = serde_json::from_str(rules).context("Prometheus answers in JSON")?;
    let groups = answer["data"]["groups"].as_array().context("Prometheus lists groups of rules")?;
    let rules: Vec<&Value> = groups.iter().filter_map(|group| group["rules"].as_array()).flatten().collect();
    if let Some(wrong) = rules.iter().find(|rule| rule["health"] != "ok") {
        bail!("Alert {} cannot be worked out: {}", wrong["name"], wrong["lastError"]);
    }
    ensure!(!rules.is_empty(), "Prometheus has no rules");
    Ok(rules.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alert_that_cannot_be_worked_out_is_named() {
        let rules = |health: &str| {
            let rule = format!(r#"{{"name":"SinkDown","health":"{health}","lastError":"why"}}"#);
            format!(r#"{{"data":{{"groups":[{{"rules":[{rule}]}}]}}}}"#)
        };
        assert_eq!(alerts(&rules("ok")).unwrap(), 1);
        assert!(alerts(&rules("err")).unwrap_err().to_string().contains("SinkDown"));
    }
}
