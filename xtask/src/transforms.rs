//! Builds the example transforms into `transforms/prebuilt`, and checks that what is committed there
//! matches its source.

use crate::bindings;
use crate::cross::{self, Toolchain};
use clap::Subcommand;
use milepost_transform_build::component::componentise;
use milepost_transform_build::rust::{self, TARGET};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The transforms that are committed, and where, below `transforms`. The hostile one is for the tests of
/// the host.
const COMPONENTS: [(&str, &str); 7] = [
    ("downsample", "prebuilt/downsample.wasm"),
    ("privacy_zones", "prebuilt/privacy_zones.wasm"),
    ("harsh_driving", "prebuilt/harsh_driving.wasm"),
    ("speeding", "prebuilt/speeding.wasm"),
    ("dead_reckoning", "prebuilt/dead_reckoning.wasm"),
    ("image_gate", "prebuilt/image_gate.wasm"),
    ("hostile", "host/tests/guests/hostile.wasm"),
];
/// What the components are made of, below `transforms`.
const SOURCES: [&str; 11] = [
    "wit",
    "sdk/Cargo.toml",
    "sdk/src",
    "examples/Cargo.toml",
    "examples/Cargo.lock",
    "examples/downsample",
    "examples/privacy_zones",
    "examples/harsh_driving",
    "examples/speeding",
    "examples/dead_reckoning",
    "examples/image_gate",
];
const HOSTILE_SOURCE: &str = "host/tests/guests/hostile";

/// What to do.
#[derive(Clone, Copy, Debug, Subcommand)]
pub(crate) enum Command {
    /// Builds the examples and writes `transforms/prebuilt`.
    Build,
    /// Checks that `transforms/prebuilt` is what its source gives.
    Check,
    /// Runs the examples on the processor of a Raspberry Pi, in emulation: they have to give the same bits.
    Emulate,
}

pub(crate) fn run(root: &Path, command: &Command) -> Result<(), String> {
    match command {
        Command::Build => build(root),
        Command::Check => check(root),
        Command::Emulate => crate::dist::same_on_arm64().map_err(|e| format!("{e:#}")),
    }
}

fn build(root: &Path) -> Result<(), String> {
    bindings::build(root)?;
    let toolchain = cross::toolchain(TARGET)?;
    let components = compile(root, &toolchain)?;
    let transforms = root.join("transforms");
    for ((name, path), bytes) in COMPONENTS.iter().zip(&components) {
        let path = transforms.join(path);
        fs::create_dir_all(path.parent().unwrap_or(&transforms))
            .map_err(|e| format!("{}: {e}", path.display()))?;
        fs::write(&path, bytes).map_err(|e| format!("{}: {e}", path.display()))?;
        println!("{name}: {} bytes, {}", bytes.len(), hex(bytes));
    }
    let manifest = Manifest {
        rustc: toolchain.version,
        source: source_digest(root)?,
        components: COMPONENTS
            .iter()
            .zip(&components)
            .map(|((n, _), b)| (String::from(*n), hex(b)))
            .collect(),
    };
    let path = manifest_path(root);
    fs::write(&path, manifest.to_text()).map_err(|e| format!("{}: {e}", path.display()))
}

fn check(root: &Path) -> Result<(), String> {
    bindings::check(root)?;
    test_natively(root)?;
    let manifest = Manifest::read(&manifest_path(root))?;
    for (name, path) in COMPONENTS {
        let bytes = read(&root.join("transforms").join(path))?;
        if manifest.components.get(name) != Some(&hex(&bytes)) {
            return Err(format!(
                "transforms/{path} is not the file of the manifest: run `cargo xtask transforms build`"
            ));
        }
    }
    if manifest.source != source_digest(root)? {
        return Err(
            "The prebuilt transforms are older than their source: run `cargo xtask transforms build`".into(),
        );
    }
    println!("prebuilt transforms: source digest and files agree with the manifest");
    let toolchain = cross::toolchain(TARGET)?;
    if toolchain.version == manifest.rustc {
        let components = compile(root, &toolchain)?;
        for ((name, path), bytes) in COMPONENTS.iter().zip(&components) {
            if manifest.components.get(*name) != Some(&hex(bytes)) {
                return Err(format!(
                    "transforms/{path} differs from what its source gives with {}",
                    toolchain.version
                ));
            }
        }
        println!("prebuilt transforms: rebuilt byte for byte with {}", toolchain.version);
        return Ok(());
    }
    println!(
        "prebuilt transforms: bytes not compared, they were built with {:?} and here is {:?}; comparing \
         what they do with the native build instead",
        manifest.rustc, toolchain.version
    );
    let test = ["test", "--quiet", "--package", "milepost-transform-host", "--test", "examples"];
    cross::run(std::process::Command::new("cargo").args(test).current_dir(root))
}

/// The examples' own tests. They are in a workspace of their own, so the others do not run them.
fn test_natively(root: &Path) -> Result<(), String> {
    let mut cargo = std::process::Command::new("cargo");
    cargo.args(["test", "--quiet", "--lib"]).current_dir(root);
    let examples = COMPONENTS.iter().filter(|(_, path)| path.starts_with("prebuilt/"));
    for (name, _) in examples {
        cargo.args(["--package", name]);
    }
    cross::run(&mut cargo)
}

/// Builds all components, in the order of [`COMPONENTS`].
fn compile(root: &Path, toolchain: &Toolchain) -> Result<Vec<Vec<u8>>, String> {
    let (stage, target_dir) = (root.join("target/transforms/source"), root.join("target/transforms/build"));
    copy_sources(root, &stage)?;
    let remap = rust::remaps(&stage, "/milepost", toolchain);
    for (name, _) in COMPONENTS {
        let mut cargo = toolchain.cargo();
        // As a library for the sandbox alone: beside one for Rust, `lto` would do nothing.
        cargo.args(["rustc", "--quiet", "--locked", "--release", "--lib", "--crate-type", "cdylib"]);
        cargo.args(["--target", TARGET, "--package", name, "--manifest-path"]);
        cargo.arg(stage.join("Cargo.toml")).arg("--target-dir").arg(&target_dir);
        cross::run(cargo.env("CARGO_ENCODED_RUSTFLAGS", cross::flags(&remap)))?;
    }
    let built = target_dir.join(TARGET).join("release");
    COMPONENTS
        .iter()
        .map(|(name, _)| {
            let module = read(&built.join(format!("{name}.wasm")))?;
            componentise(&module).map_err(|e| format!("Transform {name} cannot be made a component: {e}"))
        })
        .collect()
}

/// Copies the sources below one workspace. Cargo names the packages of a workspace by their place in it,
/// and others by their place on the machine, and the names decide the order of functions: as the
/// sources stand, with the SDK outside of the examples' workspace, each folder would give other bytes.
fn copy_sources(root: &Path, stage: &Path) -> Result<(), String> {
    let transforms = root.join("transforms");
    if stage.exists() {
        fs::remove_dir_all(stage).map_err(|e| format!("{}: {e}", stage.display()))?;
    }
    for file in source_files(&transforms)? {
        let place = file.strip_prefix(&transforms).unwrap_or(&file);
        let (place, text) = match place.to_str() {
            Some("examples/Cargo.toml") => ("Cargo.toml".into(), Some(workspace_manifest(&file)?)),
            Some("examples/Cargo.lock") => ("Cargo.lock".into(), None),
            Some("host/tests/guests/hostile/Cargo.toml") => {
                let text = fs::read_to_string(&file).map_err(|e| format!("{}: {e}", file.display()))?;
                (place.to_path_buf(), Some(text.replace("../../../../examples", "../../../..")))
            }
            _ => (place.to_path_buf(), None),
        };
        let to = stage.join::<PathBuf>(place);
        let parent = to.parent().unwrap_or(stage);
        let write = || match text {
            Some(text) => fs::write(&to, text),
            None => fs::copy(&file, &to).map(drop),
        };
        fs::create_dir_all(parent).and_then(|()| write()).map_err(|e| format!("{}: {e}", to.display()))?;
    }
    Ok(())
}

/// The examples' workspace, with its root one folder higher.
fn workspace_manifest(path: &Path) -> Result<String, String> {
    let mut text = fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
    text = text.replace("\"../", "\"");
    for (name, _) in COMPONENTS {
        text = text.replace(&format!("\"{name}\""), &format!("\"examples/{name}\""));
    }
    Ok(text)
}

/// SHA-256 of everything that the components are made of: paths, sizes and contents.
fn source_digest(root: &Path) -> Result<String, String> {
    let transforms = root.join("transforms");
    let files = source_files(&transforms)?;
    let mut sha = Sha256::new();
    for file in files {
        let bytes = read(&file)?;
        let name = file.strip_prefix(&transforms).unwrap_or(&file).to_string_lossy().replace('\\', "/");
        sha.update(format!("{name}\n{}\n", bytes.len()));
        sha.update(bytes);
    }
    Ok(to_hex(&sha.finalize()))
}

/// Everything that the components are made of, sorted.
fn source_files(transforms: &Path) -> Result<Vec<PathBuf>, String> {
    let mut files = Vec::new();
    for source in SOURCES.iter().chain([&HOSTILE_SOURCE]) {
        list(&transforms.join(source), &mut files)?;
    }
    files.sort();
    Ok(files)
}

fn list(path: &Path, files: &mut Vec<PathBuf>) -> Result<(), String> {
    if path.is_file() {
        files.push(path.into());
        return Ok(());
    }
    let entries = fs::read_dir(path).map_err(|e| format!("{}: {e}", path.display()))?;
    entries.flatten().try_for_each(|entry| list(&entry.path(), files))
}

/// What is known of the committed components.
#[derive(Debug, PartialEq)]
struct Manifest {
    rustc: String,
    source: String,
    components: BTreeMap<String, String>,
}

impl Manifest {
    fn to_text(&self) -> String {
        let mut text = format!(
            "# Written by `cargo xtask transforms build`; `cargo xtask transforms check` compares.\n\
             rustc = {:?}\nsource = {:?}\n\n[sha256]\n",
            self.rustc, self.source
        );
        for (name, digest) in &self.components {
            text.push_str(&format!("{name} = {digest:?}\n"));
        }
        text
    }

    fn read(path: &Path) -> Result<Self, String> {
        let text = String::from_utf8(read(path)?).map_err(|e| format!("{}: {e}", path.display()))?;
        Self::parse(&text)
            .ok_or_else(|| format!("{} is not a manifest of prebuilt transforms", path.display()))
    }

    fn parse(text: &str) -> Option<Self> {
        let table: toml::Table = text.parse().ok()?;
        let text = |value: &toml::Value| value.as_str().map(String::from);
        let components = table.get("sha256")?.as_table()?;
        Some(Self {
            rustc: text(table.get("rustc")?)?,
            source: text(table.get("source")?)?,
            components: components.iter().map(|(n, d)| Some((n.clone(), text(d)?))).collect::<Option<_>>()?,
        })
    }
}

fn manifest_path(root: &Path) -> PathBuf {
    root.join("transforms/prebuilt/manifest.toml")
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|e| format!("{}: {e}", path.display()))
}

fn hex(bytes: &[u8]) -> String {
    to_hex(&Sha256::digest(bytes))
}

fn to_hex(digest: &[u8]) -> String {
    digest.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_reads_back() {
        let manifest = Manifest {
            rustc: "rustc 1.95.0 (\"x\")".into(),
            source: "ab".into(),
            components: [("downsample".into(), "cd".into())].into(),
        };
        assert_eq!(Manifest::parse(&manifest.to_text()), Some(manifest));
        assert_eq!(Manifest::parse("rustc = 1"), None);
    }
}
