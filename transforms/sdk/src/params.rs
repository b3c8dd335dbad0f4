//! What the user set for this transform in the agent's configuration. Every mistake is an error that
//! names the parameter, the text and what was wanted; a parameter that the transform never asked for
//! is a mistake too.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// The parameters, by name.
#[derive(Clone, Debug, Default)]
pub struct Params {
    given: BTreeMap<String, String>,
    asked: BTreeSet<String>,
}

impl Params {
    /// Takes names and texts.
    pub fn new<K: Into<String>, V: Into<String>>(given: impl IntoIterator<Item = (K, V)>) -> Self {
        let given = given.into_iter().map(|(k, v)| (k.into(), v.into())).collect();
        Self { given, asked: BTreeSet::new() }
    }

    /// A text, or `default` where it is not set.
    pub fn text(&mut self, name: &str, default: &str) -> String {
        self.get(name).map_or_else(|| default.into(), Into::into)
    }

    /// A text that must be set.
    pub fn required(&mut self, name: &str) -> Result<String, String> {
        self.get(name).map(Into::into).ok_or_else(|| format!("Parameter {name} is missing"))
    }

    /// A number, or `default`.
    pub fn f64(&mut self, name: &str, default: f64) -> Result<f64, String> {
        let value = self.parse(name, default, "a number")?;
        if value.is_finite() {
            Ok(value)
        } else {
            Err(format!("Parameter {name} is {value}: take a finite number"))
        }
    }

    /// A number within a range, or `default`.
    pub fn f64_in(&mut self, name: &str, default: f64, range: RangeInclusive<f64>) -> Result<f64, String> {
        let value = self.f64(name, default)?;
        within(name, value, range)
    }

    /// A whole number, or `default`.
    pub fn i64(&mut self, name: &str, default: i64) -> Result<i64, String> {
        self.parse(name, default, "a whole number")
    }

    /// A whole number within a range, or `default`.
    pub fn i64_in(&mut self, name: &str, default: i64, range: RangeInclusive<i64>) -> Result<i64, String> {
        let value = self.i64(name, default)?;
        within(name, value, range)
    }

    /// `true` or `false`, or `default`.
    pub fn bool(&mut self, name: &str, default: bool) -> Result<bool, String> {
        self.parse(name, default, "true or false")
    }

    /// A list whose entries are parted by `;`, each read by `read`; empty where it is not set.
    pub fn list<T>(
        &mut self,
        name: &str,
        mut read: impl FnMut(&str) -> Result<T, String>,
    ) -> Result<Vec<T>, String> {
        let text = self.text(name, "");
        let entries = text.split(';').map(str::trim).filter(|entry| !entry.is_empty());
        entries
            .enumerate()
            .map(|(i, entry)| {
                read(entry).map_err(|e| format!("Parameter {name}, entry {} ({entry:?}): {e}", i + 1))
            })
            .collect()
    }

    /// Refuses what was set and never asked for. The SDK calls it behind [`crate::Transform::new`].
    pub fn finish(&self) -> Result<(), String> {
        match self.given.keys().find(|name| !self.asked.contains(*name)) {
            None => Ok(()),
            Some(name) if self.asked.is_empty() => {
                Err(format!("Parameter {name} is not known: this transform has none"))
            }
            Some(name) => {
                let known: Vec<&str> = self.asked.iter().map(String::as_str).collect();
                Err(format!("Parameter {name} is not known: this transform has {}", known.join(", ")))
            }
        }
    }

    fn get(&mut self, name: &str) -> Option<&str> {
        self.asked.insert(name.into());
        self.given.get(name).map(String::as_str)
    }

    fn parse<T: FromStr>(&mut self, name: &str, default: T, wanted: &str) -> Result<T, String> {
        match self.get(name) {
            None => Ok(default),
            Some(text) => {
                text.trim().parse().map_err(|_| format!("Parameter {name} is {text:?}: take {wanted}"))
            }
        }
    }
}

fn within<T: PartialOrd + Display>(name: &str, value: T, range: RangeInclusive<T>) -> Result<T, String> {
    if range.contains(&value) {
        Ok(value)
    } else {
        Err(format!("Parameter {name} is {value}: take {} to {}", range.start(), range.end()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_are_named() {
        let mut p = Params::new([("a", "x"), ("b", "5"), ("c", "1,2; 3,z"), ("d", "NaN")]);
        assert_eq!(p.f64("a", 1.0), Err("Parameter a is \"x\": take a number".into()));
        assert_eq!(p.i64_in("b", 1, 0..=4), Err("Parameter b is 5: take 0 to 4".into()));
        let pair = |s: &str| {
            s.split_once(',').and_then(|(a, b)| Some((a.parse::<i32>().ok()?, b.parse::<i32>().ok()?)))
        };
        assert_eq!(
            p.list("c", |s| pair(s).ok_or_else(|| "take two numbers".into())),
            Err("Parameter c, entry 2 (\"3,z\"): take two numbers".into())
        );
        assert!(p.f64("d", 1.0).is_err());
        assert_eq!(p.required("e"), Err("Parameter e is missing".into()));
        assert_eq!(p.finish(), Ok(()));
    }

    #[test]
    fn a_parameter_that_nobody_asked_for_is_refused() {
        let mut p = Params::new([("min_distanse_m", "5")]);
        assert_eq!(p.f64("min_distance_m", 10.0), Ok(10.0));
        assert_eq!(
            p.finish(),
            Err("Parameter min_distanse_m is not known: this transform has min_distance_m".into())
        );
    }
}
