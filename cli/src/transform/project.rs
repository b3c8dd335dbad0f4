//! What lies in an author's folder: `milepost.toml`, which names the transform and its language, the
//! source, and `cases`.

use crate::Failure;
use clap::ValueEnum;
use milepost_agent::config::LimitsConfig;
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// The file that makes a folder a project.
pub(super) const FILE: &str = "milepost.toml";

/// A language that `new` and `build` know. Any other with component-model bindings works too, but for
/// these two commands.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(super) enum Lang {
    /// With the crate `milepost-transform`
    Rust,
    /// With clang and a C library for WebAssembly
    C,
    /// With Node.js and componentize-js
    Js,
    /// With componentize-py
    Python,
}

/// A project.
#[derive(Debug)]
pub(super) struct Project {
    pub dir: PathBuf,
    pub name: String,
    pub lang: Lang,
    pub limits: LimitsConfig,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: String,
    lang: Lang,
    #[serde(default)]
    limits: LimitsConfig,
}

impl Project {
    /// Reads the project of a folder.
    pub(super) fn open(dir: &Path) -> Result<Self, Failure> {
        let path = dir.join(FILE);
        let text = match std::fs::read_to_string(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                let shown = dir.display();
                return Err(format!(
                    "{shown} is no transform's project, it has no {FILE}: `milepost transform new NAME` makes one"
                )
                .into());
            }
            text => text.map_err(|e| format!("{} cannot be read: {e}", path.display()))?,
        };
        let file: File = toml::from_str(&text).map_err(|e| format!("{}: {e}", path.display()))?;
        check_name(&file.name)?;
        Ok(Self { dir: dir.into(), name: file.name, lang: file.lang, limits: file.limits })
    }

    /// The component that the agent is given.
    pub(super) fn component(&self) -> PathBuf {
        self.dir.join(format!("{}.wasm", self.name))
    }

    /// The same with names and line tables, for messages that say where in the source something failed.
    pub(super) fn debug_component(&self) -> PathBuf {
        self.dir.join("target/milepost").join(format!("{}.debug.wasm", self.name))
    }

    /// A file that says which component this is with names: its SHA-256.
    pub(super) fn debug_digest(&self) -> PathBuf {
        self.dir.join("target/milepost").join(format!("{}.debug.sha256", self.name))
    }
}

/// What a Rust package or library cannot be called, or is called already.
const RESERVED: &[&str] = &[
    "abstract",
    "alloc",
    "as",
    "async",
    "await",
    "become",
    "box",
    "break",
    "const",
    "continue",
    "core",
    "crate",
    "do",
    "dyn",
    "else",
    "enum",
    "extern",
    "false",
    "final",
    "fn",
    "for",
    "gen",
    "if",
    "impl",
    "in",
    "let",
    "loop",
    "macro",
    "match",
    "milepost_transform",
    "mod",
    "move",
    "mut",
    "override",
    "priv",
    "proc_macro",
    "pub",
    "ref",
    "return",
    "self",
    "static",
    "std",
    "struct",
    "super",
    "test",
    "trait",
    "true",
    "try",
    "type",
    "typeof",
    "unsafe",
    "unsized",
    "use",
    "virtual",
    "where",
    "while",
    "yield",
];

/// Whether a transform can have this name: it becomes a folder, a file, a package and a name in reports.
pub(super) fn check_name(name: &str) -> Result<(), Failure> {
    let letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let good = name.starts_with(|c: char| c.is_ascii_lowercase()) && name.chars().all(letter);
    if RESERVED.contains(&name) {
        return Err(format!("{name:?} has a meaning in Rust or for the build: take another name").into());
    }
    if good && name.len() <= 48 {
        return Ok(());
    }
    Err(format!("{name:?} cannot be a transform's name: take a-z, 0-9 and _, at most 48, a letter first")
        .into())
}
