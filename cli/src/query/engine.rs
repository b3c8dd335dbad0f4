//! The DuckDB of this machine: its own program, or a Python that has its module.

use super::Format;
use crate::Failure;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

/// What stands in for DuckDB's program.
const IN_PYTHON: &str = include_str!("duck.py");

/// Who runs the SQL.
#[derive(Debug)]
pub(super) enum Engine {
    /// DuckDB's own program.
    Program(PathBuf),
    /// A Python with the module `duckdb`.
    Python(PathBuf),
}

impl Engine {
    /// What the environment names comes first (`MILEPOST_DUCKDB`, `MILEPOST_PYTHON`), then what is on the
    /// path.
    pub(super) fn find() -> Result<Self, Failure> {
        let named = |variable: &str| std::env::var_os(variable).filter(|v| !v.is_empty());
        let program = named("MILEPOST_DUCKDB").unwrap_or_else(|| "duckdb".into());
        if works(Command::new(&program).arg("--version")) {
            return Ok(Self::Program(program.into()));
        }
        let pythons: [Option<OsString>; 2] = [named("MILEPOST_PYTHON"), Some("python3".into())];
        let has_module = |python: &OsString| works(Command::new(python).args(["-c", "import duckdb"]));
        match pythons.into_iter().flatten().find(has_module) {
            Some(python) => Ok(Self::Python(python.into())),
            None => Err("There is no DuckDB here: put its program `duckdb` on the path, or install it for \
                         Python with `pip install duckdb`"
                .into()),
        }
    }

    /// Asks one thing. What is wrong with it, the engine says itself.
    pub(super) fn query(&self, script: &Path, sql: &str, format: Format) -> Result<ExitStatus, Failure> {
        let mut command = match self {
            Self::Program(program) => {
                let format = match format {
                    Format::Table => "-box",
                    Format::Csv => "-csv",
                    Format::Json => "-json",
                };
                let mut command = Command::new(program);
                command.args(["-cmd", &read(script), format, "-c", sql]);
                command
            }
            Self::Python(python) => {
                let format = match format {
                    Format::Table => "table",
                    Format::Csv => "csv",
                    Format::Json => "json",
                };
                let mut command = Command::new(python);
                command.args(["-c", IN_PYTHON]).arg(script).args([format, sql]);
                command
            }
        };
        Ok(command.stdin(Stdio::null()).status()?)
    }

    /// Asks as long as somebody types.
    pub(super) fn shell(&self, script: &Path) -> Result<ExitStatus, Failure> {
        let mut command = match self {
            Self::Program(program) => {
                let mut command = Command::new(program);
                command.args(["-cmd", &read(script)]);
                command
            }
            Self::Python(python) => {
                let mut command = Command::new(python);
                command.args(["-c", IN_PYTHON]).arg(script);
                command
            }
        };
        Ok(command.status()?)
    }
}

fn read(script: &Path) -> String {
    format!(".read '{}'", script.display())
}

fn works(command: &mut Command) -> bool {
    let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}

/// What DuckDB has to be told to reach S3 as AWS's own tools do: its extension, and the environment's
/// keys or, without them, the chain of profiles and roles.
pub(super) fn s3_access() -> String {
    let set = |variable: &str| std::env::var(variable).ok().filter(|v| !v.is_empty());
    let text = |value: &str| format!("'{}'", value.replace('\'', "''"));
    let mut parts = vec!["TYPE s3".to_owned()];
    let mut extensions = vec!["httpfs"];
    match (set("AWS_ACCESS_KEY_ID"), set("AWS_SECRET_ACCESS_KEY")) {
        (Some(key), Some(secret)) => {
            parts.push(format!("KEY_ID {}, SECRET {}", text(&key), text(&secret)));
            parts.extend(set("AWS_SESSION_TOKEN").map(|t| format!("SESSION_TOKEN {}", text(&t))));
        }
        _ => {
            extensions.push("aws");
            parts.push("PROVIDER credential_chain".into());
        }
    }
    let region = set("AWS_REGION").or(set("AWS_DEFAULT_REGION"));
    parts.extend(region.map(|r| format!("REGION {}", text(&r))));
    if let Some(url) = set("AWS_ENDPOINT_URL_S3").or(set("AWS_ENDPOINT_URL")) {
        let plain = url.starts_with("http://");
        let host = url.trim_start_matches("http://").trim_start_matches("https://").trim_end_matches('/');
        parts.push(format!("ENDPOINT {}, USE_SSL {}, URL_STYLE 'path'", text(host), !plain));
    }
    let load = |name: &&str| format!("INSTALL {name};\nLOAD {name};\n");
    let extensions: String = extensions.iter().map(load).collect();
    format!("{extensions}CREATE OR REPLACE SECRET milepost ({});\n\n", parts.join(", "))
}
