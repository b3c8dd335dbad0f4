//! A page of metrics in Prometheus' text format, version 0.0.4.
//!
//! Counts live where the work is; a page is written of them when somebody asks. So a metric here is a
//! description, without a value of its own.

use std::fmt::{Display, Write};

/// What a value does over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It grows, and begins at 0 when the program starts.
    Counter,
    /// It goes up and down.
    Gauge,
}

/// A metric: one or many values under a name.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Its name, with its unit in it.
    pub name: &'static str,
    /// What it does over time.
    pub kind: Kind,
    /// What its values differ in; empty for one value.
    pub labels: &'static [&'static str],
    /// What it means, a sentence.
    pub help: &'static str,
}

impl Metric {
    /// A counter; its name ends with `_total`.
    pub const fn counter(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Self {
        Self { name, kind: Kind::Counter, labels, help }
    }

    /// A gauge.
    pub const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Self {
        Self { name, kind: Kind::Gauge, labels, help }
    }
}

const MEMORY: Metric =
    Metric::gauge("process_resident_memory_bytes", &[], "Memory of the process that is in use.");

/// The page while it is written.
#[derive(Debug, Default)]
pub struct Page(String);

impl Page {
    /// A metric that has one value.
    pub fn value(&mut self, metric: &Metric, value: impl Display) {
        self.values(metric, [([""; 0], value)]);
    }

    /// A metric and its values, each with the labels' values in the order of [`Metric::labels`].
    pub fn values<L: AsRef<[S]>, S: AsRef<str>, V: Display>(
        &mut self,
        metric: &Metric,
        values: impl IntoIterator<Item = (L, V)>,
    ) {
        let Metric { name, help, kind, labels } = metric;
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        self.0.push_str(&format!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
        for (given, value) in values {
            debug_assert_eq!(given.as_ref().len(), labels.len(), "{name}");
            self.0.push_str(name);
            for (i, (label, value)) in labels.iter().zip(given.as_ref()).enumerate() {
                self.0.push_str(if i == 0 { "{" } else { "," });
                self.0.push_str(label);
                self.quoted(value.as_ref());
            }
            self.0.push_str(if labels.is_empty() { " " } else { "} " });
            // Writing to a string does not fail.
            let _ = writeln!(self.0, "{value}");
        }
    }

    fn quoted(&mut self, value: &str) {
        self.0.push_str("=\"");
        for c in value.chars() {
            match c {
                '\\' => self.0.push_str("\\\\"),
                '"' => self.0.push_str("\\\""),
                '\n' => self.0.push_str("\\n"),
                c => self.0.push(c),
            }
        }
        self.0.push('"');
    }

    /// The whole page, with what is said of every process.
    pub(crate) fn finish(mut self) -> String {
        if let Some(bytes) = resident_bytes() {
            self.value(&MEMORY, bytes);
        }
        self.0
    }
}

/// This process's resident memory, bytes; none where the system does not say.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_what_prometheus_reads() {
        let mut page = Page::default();
        page.value(&Metric::gauge("up_seconds", &[], "How long."), 1.5);
        let met = Metric::counter("met_total", &["source", "kind"], "What was met.");
        page.values(&met, [(["gps", "bad"], 3_u64), (["a\"b\\c\nd", ""], u64::MAX)]);
        page.values(&Metric::counter("none_total", &["of"], "Nothing."), [(["x"], 1); 0]);
        let text = page.finish();
        let (ours, common) = text.split_once("# HELP process_").unwrap();
        assert_eq!(
            ours,
            "# HELP up_seconds How long.\n# TYPE up_seconds gauge\nup_seconds 1.5\n\
             # HELP met_total What was met.\n# TYPE met_total counter\n\
             met_total{source=\"gps\",kind=\"bad\"} 3\n\
             met_total{source=\"a\\\"b\\\\c\\nd\",kind=\"\"} 18446744073709551615\n\
             # HELP none_total Nothing.\n# TYPE none_total counter\n"
        );
        let memory = common.lines().last().unwrap().strip_prefix("process_resident_memory_bytes ").unwrap();
        assert!((1 << 20..1 << 36).contains(&memory.parse::<u64>().unwrap()), "{memory}");
    }
}
