//! Puts the configuration together from its layers: the defaults, a file, the environment. Each later
//! one wins. Knows the defaults' shape and no meaning: a key that the defaults do not have is refused
//! with its name and place, so that a slip of the pen does not leave a default in force.

use toml::de::{DeTable, DeValue};
use toml::{Table, Value};

/// What the environment's variables for the agent begin with.
pub const PREFIX: &str = "MILEPOST_AGENT__";

/// Why the layers do not fit together. `place` names the file and line or the variable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LayerError {
    /// The text is not TOML.
    #[error("{place} is not valid TOML: {why}")]
    Syntax {
        /// Where.
        place: String,
        /// What the parser says, with the line.
        why: String,
    },
    /// A key that there is not.
    #[error("{place}: there is no key `{key}`{hint}. `milepost-agent --print-config` lists all keys")]
    UnknownKey {
        /// Where.
        place: String,
        /// The key with its tables.
        key: String,
        /// Perhaps another that was meant.
        hint: String,
    },
}

/// The values of a file: its name for messages, and its text.
pub fn file(name: &str, text: &str, defaults: &Table) -> Result<Table, LayerError> {
    // Where, but not the line itself: it may be the one with the password.
    let syntax = |e: toml::de::Error| LayerError::Syntax {
        place: e.span().map_or(name.into(), |span| place(name, text, span.start)),
        why: e.message().replace('\n', " "),
    };
    let spanned = DeTable::parse(text).map_err(syntax)?;
    check(name, text, spanned.get_ref(), defaults, "")?;
    text.parse().map_err(syntax)
}

/// The values of the environment; variables without our prefix are not looked at.
pub fn environment(
    variables: impl IntoIterator<Item = (String, String)>,
    defaults: &Table,
) -> Result<Table, LayerError> {
    let mut table = Table::new();
    for (name, text) in variables {
        let Some(path) = name.strip_prefix(PREFIX) else { continue };
        let path = path.to_ascii_lowercase().replace("__", ".");
        let Some(default) = lookup(defaults, &path) else {
            let hint = hint(defaults, &path);
            return Err(LayerError::UnknownKey { place: name, key: path, hint });
        };
        let value = match default {
            Value::String(_) => Value::String(text),
            _ => parse_value(&name, &text)?,
        };
        put(&mut table, &path, value);
    }
    Ok(table)
}

/// Lays `over` on `base`: tables are merged, everything else is replaced.
pub fn merge(base: &mut Table, over: Table) {
    for (key, value) in over {
        match (base.get_mut(&key), value) {
            (Some(Value::Table(base)), Value::Table(over)) => merge(base, over),
            (_, value) => {
                base.insert(key, value);
            }
        }
    }
}

fn check(
    name: &str,
    text: &str,
    table: &DeTable<'_>,
    defaults: &Table,
    path: &str,
) -> Result<(), LayerError> {
    for (key, value) in table.iter() {
        let full = format!("{path}{}", key.get_ref());
        match (defaults.get(key.get_ref().as_ref()), value.get_ref()) {
            (None, _) => {
                let place = place(name, text, key.span().start);
                let hint = hint(defaults, key.get_ref());
                return Err(LayerError::UnknownKey { place, key: full, hint });
            }
            (Some(Value::Table(defaults)), DeValue::Table(table)) => {
                check(name, text, table, defaults, &format!("{full}."))?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// The file and the line of a byte of its text.
fn place(name: &str, text: &str, at: usize) -> String {
    let before = &text.as_bytes()[..at.min(text.len())];
    format!("{name}, line {}", 1 + before.iter().filter(|b| **b == b'\n').count())
}

fn parse_value(variable: &str, text: &str) -> Result<Value, LayerError> {
    let wrapped: Result<Table, _> = format!("value = {text}").parse();
    let why = match wrapped {
        Ok(mut table) if table.len() == 1 => {
            return Ok(table.remove("value").unwrap_or(Value::Boolean(false)));
        }
        Ok(_) => "one value was expected".to_owned(),
        Err(e) => e.message().to_owned(),
    };
    Err(LayerError::Syntax { place: format!("Environment variable {variable}={text:?}"), why })
}

fn lookup<'a>(table: &'a Table, path: &str) -> Option<&'a Value> {
    match path.split_once('.') {
        None => table.get(path),
        Some((first, rest)) => lookup(table.get(first)?.as_table()?, rest),
    }
}

fn put(table: &mut Table, path: &str, value: Value) {
    match path.split_once('.') {
        None => {
            table.insert(path.into(), value);
        }
        Some((first, rest)) => {
            let inner = table.entry(first).or_insert_with(|| Value::Table(Table::new()));
            if let Value::Table(inner) = inner {
                put(inner, rest, value);
            }
        }
    }
}

/// The key of the same table, or the table of another key of the same name.
fn hint(defaults: &Table, key: &str) -> String {
    let last = key.rsplit('.').next().unwrap_or(key);
    let inside = defaults.iter().find(|(_, v)| v.as_table().is_some_and(|t| t.contains_key(last)));
    if let Some((table, _)) = inside {
        return format!(" (did you mean `{table}.{last}`?)");
    }
    let near = defaults.keys().map(|k| (distance(k, last), k)).min();
    match near {
        Some((d, near)) if d <= 2 => format!(" (did you mean `{near}`?)"),
        _ => String::new(),
    }
}

/// How many letters must be changed, added or removed to make `b` of `a`.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let substituted = corner + usize::from(ca != *cb);
            corner = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}
