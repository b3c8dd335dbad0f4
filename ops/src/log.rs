//! Logs on standard error: lines for people, or an object of JSON a line for machines.

use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

/// The environment variable that says which; `RUST_LOG` says how much.
pub const FORMAT_VARIABLE: &str = "MILEPOST_LOG_FORMAT";

/// The variable has a value that nobody knows.
#[derive(Debug, thiserror::Error)]
#[error("{FORMAT_VARIABLE} is {0:?}: set it to \"text\" or \"json\", or leave it out")]
pub struct UnknownFormat(String);

/// Starts the log of this process.
pub fn start_log() -> Result<(), UnknownFormat> {
    let json = is_json(std::env::var(FORMAT_VARIABLE).ok())?;
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(!json && std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        // A log that nobody takes must not stop the work.
        .log_internal_errors(false);
    match json {
        true => log.json().flatten_event(true).with_current_span(false).with_span_list(false).init(),
        false => log.init(),
    }
    Ok(())
}

fn is_json(format: Option<String>) -> Result<bool, UnknownFormat> {
    match format.as_deref() {
        None | Some("" | "text") => Ok(false),
        Some("json") => Ok(true),
        Some(other) => Err(UnknownFormat(other.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_that_nobody_knows_is_refused_by_name() {
        assert!(!is_json(None).unwrap() && !is_json(Some(String::new())).unwrap());
        assert!(is_json(Some("json".into())).unwrap());
        let error = is_json(Some("xml".into())).unwrap_err().to_string();
        assert!(error.contains("\"xml\"") && error.contains("json"), "{error}");
    }
}
