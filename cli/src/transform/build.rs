//! `milepost transform build`: a project's source to its component.

use super::project::{Lang, Project};
use super::{new, sdk, size};
use crate::{Failure, Outcome, remark, say};
use clap::Args;
use milepost_transform_build::{c, component, rust, script};
use sha2::{Digest, Sha256};
use std::fs;
use std::path::{Path, PathBuf};

/// Options of `milepost transform build`.
#[derive(Args, Debug)]
pub(super) struct Options {
    /// The project's folder
    #[arg(default_value = ".")]
    folder: PathBuf,
}

/// Runs the command.
pub(super) fn run(options: &Options) -> Result<Outcome, Failure> {
    let project = Project::open(&options.folder)?;
    let bytes = build(&project)?;
    let shown = project.component();
    say(&format!("{}: {}, sha256 {}\n", shown.display(), size(bytes.len()), digest(&bytes)))?;
    Ok(Outcome::Good)
}

/// Builds the project; gives the component as it is shipped.
pub(super) fn build(project: &Project) -> Result<Vec<u8>, Failure> {
    let Project { dir, lang, .. } = project;
    let own = dir.join(sdk::FOLDER);
    let mut renewed = false;
    for files in new::carried(*lang, *lang == Lang::Rust && !own.join("sdk").is_dir()) {
        renewed |= sdk::put(dir, files)?;
    }
    if renewed {
        remark(&format!("What is in {} is now that of this `milepost`", own.display()));
    }
    let component = project.component();
    let (shipped, debug) = match lang {
        Lang::Rust => of_module(&rust::module(dir, &package(dir)?)?)?,
        Lang::C => of_module(&c::module(&dir.join("src"), &own.join("c"), &dir.join("target/milepost"))?)?,
        Lang::Js | Lang::Python if !renewed && is_newer(&component, dir) => return read(&component),
        Lang::Js => {
            let dir = absolute(dir)?;
            let (script, wit) =
                (dir.join(sdk::FOLDER).join("js/build.mjs"), dir.join(sdk::FOLDER).join("wit"));
            let out = dir.join("target/milepost/component.wasm");
            let bytes = script::javascript(&dir, &script, Path::new("transform.js"), &wit, &out)?;
            (bytes.clone(), bytes)
        }
        Lang::Python => {
            let dir = absolute(dir)?;
            let (environment, wit) = (dir.join("target/python"), dir.join(sdk::FOLDER).join("wit"));
            let bytes =
                script::python(&dir, &environment, &wit, &dir.join("target/milepost/component.wasm"))?;
            (bytes.clone(), bytes)
        }
    };
    write(&project.debug_component(), &debug)?;
    write(&component, &shipped)?;
    write(&project.debug_digest(), digest(&shipped).as_bytes())?;
    Ok(shipped)
}

/// The component to ship and the one with names, of a module.
fn of_module(module: &[u8]) -> Result<(Vec<u8>, Vec<u8>), Failure> {
    Ok((component::componentise(&component::strip(module))?, component::componentise(module)?))
}

/// Whether a component was made after the last change to a source beside it. Making it takes long.
fn is_newer(component: &Path, dir: &Path) -> bool {
    let changed = |path: &Path| path.metadata().and_then(|m| m.modified()).ok();
    let Some(made) = changed(component) else { return false };
    let Ok(entries) = fs::read_dir(dir) else { return false };
    let mut sources = entries.flatten().map(|e| e.path()).filter(|p| p.is_file() && p != component);
    sources.all(|path| changed(&path).is_some_and(|at| at < made))
}

fn absolute(dir: &Path) -> Result<PathBuf, Failure> {
    fs::canonicalize(dir).map_err(|e| format!("{}: {e}", dir.display()).into())
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    fs::read(path).map_err(|e| format!("{} cannot be read: {e}", path.display()).into())
}

/// The name of the crate in a folder.
fn package(dir: &Path) -> Result<String, Failure> {
    let path = dir.join("Cargo.toml");
    let text = fs::read_to_string(&path).map_err(|e| format!("{} cannot be read: {e}", path.display()))?;
    let table: toml::Table = text.parse().map_err(|e| format!("{}: {e}", path.display()))?;
    let name = table.get("package").and_then(|p| p.get("name")?.as_str());
    Ok(name.ok_or_else(|| format!("{} names no package", path.display()))?.to_owned())
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let parent = path.parent().unwrap_or(path);
    fs::create_dir_all(parent)
        .and_then(|()| fs::write(path, bytes))
        .map_err(|e| format!("{} cannot be written: {e}", path.display()).into())
}

/// SHA-256 as text.
pub(super) fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}
