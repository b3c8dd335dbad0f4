//! The firmware that is committed, `firmware/prebuilt`: what users flash who have no cross compiler, and what
//! the tests run. Building it takes minutes, because of its dependencies, so a test run checks that it is
//! the one of this source by a digest of that, and only the full one builds it.

use super::elf::Elf;
use super::{Board, build, size};
use crate::run::root;
use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};
use std::fs;
use std::path::{Path, PathBuf};

/// What a firmware is made of, below the repository's root, beside its board's folder. Of the wire it uses
/// the link.
const SOURCES: [&str; 6] = [
    "firmware/core/Cargo.toml",
    "firmware/core/src",
    "wire/Cargo.toml",
    "wire/src/link.rs",
    "wire/src/link",
    "wire/src/checksum.rs",
];

/// Builds a board's firmware and writes it beside its manifest.
pub fn commit(board: Board) -> Result<()> {
    let profile = board.profile();
    let elf = build(board)?;
    let report = size::measure(&Elf::read(&elf)?, &profile.memory);
    report.check()?;
    let built = elf.with_extension("uf2");
    let image = fs::read(&built).with_context(|| format!("Cannot read {}", built.display()))?;
    let manifest = format!(
        "# Written by `cargo xtask firmware commit --board {0}`; `cargo xtask test` compares.\n\
         source = \"{1}\"\nsha256 = \"{2}\"\n# Bytes of flash and of static RAM.\nflash = {3}\nram = {4}\n",
        profile.folder,
        source_digest(board)?,
        hex(&Sha256::digest(&image)),
        report.flash,
        report.ram
    );
    fs::create_dir_all(root().join("firmware/prebuilt")).context("Cannot make firmware/prebuilt")?;
    for (path, bytes) in [(path(board, "uf2"), &image[..]), (path(board, "toml"), manifest.as_bytes())] {
        fs::write(&path, bytes).with_context(|| format!("Cannot write {}", path.display()))?;
    }
    println!("{}", report.text(profile.folder));
    Ok(())
}

/// Checks that what is committed is of this source, whole, and within its budget.
pub fn check(board: Board) -> Result<()> {
    let (profile, at) = (board.profile(), path(board, "toml"));
    let again = format!("run `cargo xtask firmware commit --board {}`", profile.folder);
    let text =
        fs::read_to_string(&at).with_context(|| format!("{} cannot be read: {again}", at.display()))?;
    let manifest: toml::Table = text.parse().with_context(|| format!("{} is no manifest", at.display()))?;
    let said = |key: &str| manifest.get(key).and_then(toml::Value::as_str);
    let number = |key: &str| manifest.get(key).and_then(toml::Value::as_integer).context("a size is missing");
    let image = path(board, "uf2");
    let bytes = fs::read(&image).with_context(|| format!("{} cannot be read: {again}", image.display()))?;
    if said("sha256") != Some(&hex(&Sha256::digest(&bytes))) {
        bail!("{} is not the file of its manifest: {again}", image.display());
    }
    if said("source") != Some(&source_digest(board)?) {
        bail!("{} is older than its source: {again}", image.display());
    }
    let (flash, ram) = (number("flash")?, number("ram")?);
    let memory = profile.memory;
    ensure!(
        flash <= memory.flash_budget as i64,
        "{flash} bytes of flash: the budget is {}",
        memory.flash_budget
    );
    ensure!(
        ram <= memory.ram_budget as i64,
        "{ram} bytes of static RAM: the budget is {}",
        memory.ram_budget
    );
    println!("prebuilt firmware: of this source, {flash} bytes of flash, {ram} of static RAM");
    Ok(())
}

fn path(board: Board, extension: &str) -> PathBuf {
    root().join("firmware/prebuilt").join(board.profile().folder).with_extension(extension)
}

/// SHA-256 of everything that a firmware is made of, but tests: names, sizes and contents.
fn source_digest(board: Board) -> Result<String> {
    let root = root();
    let mut files = Vec::new();
    list(&root.join("firmware/boards").join(board.profile().folder), &mut files)?;
    SOURCES.iter().try_for_each(|source| list(&root.join(source), &mut files))?;
    files.sort();
    let mut sha = Sha256::new();
    for file in files.iter().filter(|file| !file.ends_with("tests.rs")) {
        let bytes = fs::read(file).with_context(|| format!("Cannot read {}", file.display()))?;
        let name = file.strip_prefix(&root).unwrap_or(file).to_string_lossy().replace('\\', "/");
        sha.update(format!("{name}\n{}\n", bytes.len()));
        sha.update(bytes);
    }
    Ok(hex(&sha.finalize()))
}

fn list(path: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    if path.is_file() {
        files.push(path.into());
        return Ok(());
    }
    let entries = fs::read_dir(path).with_context(|| format!("Cannot read {}", path.display()))?;
    entries.flatten().filter(|e| e.file_name() != "target").try_for_each(|e| list(&e.path(), files))
}

fn hex(digest: &[u8]) -> String {
    digest.iter().map(|b| format!("{b:02x}")).collect()
}
