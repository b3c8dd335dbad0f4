//! `milepost transform new`: a project that builds and passes its test, to be changed from there.

use super::project::{Lang, check_name};
use super::sdk;
use crate::{Failure, Outcome, say};
use clap::Args;
use std::fs;
use std::path::{Path, PathBuf};

/// Options of `milepost transform new`.
#[derive(Args, Debug)]
pub(super) struct Options {
    /// The transform's name: a-z, 0-9 and _. The project's folder gets the same
    name: String,
    /// The language
    #[arg(long, value_enum, default_value = "rust")]
    lang: Lang,
    /// Where to make the project's folder
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    into: PathBuf,
    /// Rust: depend on the SDK in this folder, instead of the copy that this program puts beside the
    /// project
    #[arg(long, value_name = "FOLDER")]
    sdk: Option<PathBuf>,
}

macro_rules! template {
    ($lang:literal: $($path:literal),* $(,)?) => {
        &[$(($path, include_str!(concat!("templates/", $lang, "/", $path, ".in")))),*]
    };
}

/// The files of a language. `{{name}}`, `{{Name}}` and `{{sdk}}` are replaced.
fn template(lang: Lang) -> &'static [(&'static str, &'static str)] {
    match lang {
        Lang::Rust => template!["rust": "milepost.toml", "Cargo.toml", ".gitignore", "src/lib.rs"],
        Lang::C => template!["c": "milepost.toml", ".gitignore", "src/main.c"],
        Lang::Js => template!["js": "milepost.toml", ".gitignore", "package.json", "transform.js"],
        Lang::Python => template!["python": "milepost.toml", ".gitignore", "requirements.txt", "app.py"],
    }
}

/// The case that every language's template passes.
const CASE: &[(&str, &str)] = template!["case":
    "cases/standing/case.toml", "cases/standing/in.ndjson", "cases/standing/out.ndjson",
];

/// Runs the command.
pub(super) fn run(options: &Options) -> Result<Outcome, Failure> {
    let Options { name, lang, into, sdk } = options;
    check_name(name)?;
    let dir = into.join(name);
    if dir.exists() {
        return Err(format!("{} is there already: take another name, or delete it", dir.display()).into());
    }
    if sdk.is_some() && *lang != Lang::Rust {
        return Err("--sdk is the Rust crate's folder: other languages need none".into());
    }
    let sdk = sdk.as_deref().map(crate_folder).transpose()?;
    make(&dir, name, *lang, sdk.as_deref())?;
    let shown = dir.display();
    let native = match lang {
        Lang::Rust => "  cargo test                 # natively, with a debugger if you like\n",
        _ => "",
    };
    say(&format!(
        "{shown} is made. Next:\n\n  cd {shown}\n{native}\
         \x20 milepost transform test    # builds it, and runs cases/ in the vehicle's sandbox\n\
         \x20 milepost transform bench   # what it costs, beside its limits\n"
    ))?;
    Ok(Outcome::Good)
}

/// Writes the project.
pub(super) fn make(dir: &Path, name: &str, lang: Lang, sdk: Option<&str>) -> Result<(), Failure> {
    let there = format!("{}/sdk", sdk::FOLDER);
    for (path, text) in template(lang).iter().chain(CASE) {
        let to = dir.join(path);
        let text = text
            .replace("{{name}}", name)
            .replace("{{Name}}", &type_name(name))
            .replace("{{sdk}}", sdk.unwrap_or(&there));
        let parent = to.parent().unwrap_or(dir);
        fs::create_dir_all(parent)
            .and_then(|()| fs::write(&to, text))
            .map_err(|e| format!("{} cannot be written: {e}", to.display()))?;
    }
    for files in carried(lang, sdk.is_some()) {
        sdk::put(dir, files)?;
    }
    Ok(())
}

/// What this program puts beside a project; `has_own` where a Rust project has the SDK elsewhere.
pub(super) fn carried(lang: Lang, has_own: bool) -> Vec<sdk::Files> {
    match lang {
        Lang::Rust if has_own => vec![sdk::WIT],
        Lang::Rust => vec![sdk::WIT, sdk::RUST],
        Lang::C => vec![sdk::WIT, sdk::C],
        Lang::Js => vec![sdk::WIT, sdk::JS],
        Lang::Python => vec![sdk::WIT],
    }
}

/// The absolute path of a folder that holds the SDK's crate.
fn crate_folder(path: &Path) -> Result<String, Failure> {
    if !path.join("Cargo.toml").is_file() {
        return Err(
            format!("{} has no Cargo.toml: give the folder of the SDK's crate", path.display()).into()
        );
    }
    let path = fs::canonicalize(path).map_err(|e| format!("{}: {e}", path.display()))?;
    Ok(path.to_string_lossy().into_owned())
}

/// `hard_stop` as a Rust type's name, `HardStop`.
fn type_name(name: &str) -> String {
    let word = |w: &str| w.chars().take(1).map(|c| c.to_ascii_uppercase()).chain(w.chars().skip(1)).collect();
    name.split('_').map(word).collect::<Vec<String>>().concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum;

    #[test]
    fn names_become_types() {
        assert_eq!(type_name("hard_stop2"), "HardStop2");
        assert_eq!(type_name("a__b_"), "AB");
    }

    #[test]
    fn nothing_is_left_to_replace() {
        let folder = tempfile::tempdir().unwrap();
        for lang in Lang::value_variants() {
            let dir = folder.path().join(format!("{lang:?}"));
            make(&dir, "hard_stop", *lang, None).unwrap();
            for (path, _) in template(*lang).iter().chain(CASE) {
                let text = fs::read_to_string(dir.join(path)).unwrap();
                assert!(!text.contains("{{"), "{path}: {text}");
            }
            let project = crate::transform::project::Project::open(&dir).unwrap();
            assert_eq!((project.name.as_str(), project.lang), ("hard_stop", *lang));
        }
    }
}
