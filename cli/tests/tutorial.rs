//! `transforms/README.md` as its reader follows it: each block of commands is run, each file written, and
//! what is shown has to come out.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A block of the tutorial.
#[derive(Debug, PartialEq)]
enum Block {
    /// To be run.
    Commands(String),
    /// What the commands above have to show, in this order.
    Shown(String),
    /// A file to be written in the project's folder.
    File(String, String),
}

/// The blocks of the chapter with this title, to the next chapter of its level.
fn blocks(text: &str, title: &str) -> Vec<Block> {
    let chapter = text.split("\n## ").find(|c| c.starts_with(title)).expect("the chapter");
    let mut blocks = Vec::new();
    for piece in chapter.split("\n```").skip(1).step_by(2) {
        let (kind, body) = piece.split_once('\n').unwrap_or((piece, ""));
        match (kind, body.split_once('\n')) {
            ("bash", _) => blocks.push(Block::Commands(body.to_owned())),
            ("text", _) => blocks.push(Block::Shown(body.to_owned())),
            ("rust", Some((first, rest))) if first.starts_with("// ") => {
                blocks.push(Block::File(first[3..].to_owned(), rest.to_owned() + "\n"));
            }
            _ => {}
        }
    }
    blocks
}

/// Runs commands in a folder; gives the output and the folder they end in.
fn run(commands: &str, dir: &Path, target: &Path) -> (String, PathBuf) {
    let programs = Path::new(env!("CARGO_BIN_EXE_milepost")).parent().unwrap();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap_or_default());
    let mut bash = Command::new("bash");
    let script = format!("set -euo pipefail\nexec 2>&1\n{commands}\nprintf '%s' \"$PWD\" > \"$ENDED_IN\"\n");
    let ended_in = target.join("ended-in");
    bash.args(["-c", &script]).current_dir(dir).env("PATH", path).env("CARGO_TARGET_DIR", target);
    let output = bash.env("ENDED_IN", &ended_in).env_remove("RUST_LOG").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{commands}\n{text}");
    (text, fs::read_to_string(ended_in).unwrap().into())
}

/// Whether each line is in the output, in this order; `…` stands for anything within a line.
fn shows(output: &str, shown: &str) -> Result<(), String> {
    let mut rest = output.lines();
    for wanted in shown.lines() {
        let parts: Vec<&str> = wanted.split('…').map(str::trim).collect();
        let fits = |line: &str| {
            let mut line = line;
            parts.iter().all(|part| match line.find(part) {
                Some(at) => {
                    line = &line[at + part.len()..];
                    true
                }
                None => false,
            })
        };
        if !rest.by_ref().any(fits) {
            let mut why = String::new();
            let _ = write!(why, "{wanted:?} does not come, or not in this order, in\n{output}");
            return Err(why);
        }
    }
    Ok(())
}

#[test]
fn the_tutorial_works_by_the_readme_alone() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let text = fs::read_to_string(root.join("transforms/README.md")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("author");
    fs::create_dir_all(&target).unwrap();
    let mut dir = folder.path().to_path_buf();
    let mut output = String::new();
    let (mut ran, mut compared) = (0, 0);
    for block in blocks(&text, "Ten minutes from nothing") {
        match block {
            Block::Commands(commands) => {
                (output, dir) = run(&commands, &dir, &target);
                ran += 1;
            }
            Block::Shown(shown) => {
                shows(&output, &shown).unwrap_or_else(|why| panic!("{why}"));
                compared += 1;
            }
            Block::File(path, text) => fs::write(dir.join(path), text).unwrap(),
        }
    }
    assert!(ran >= 7 && compared >= 7, "{ran} blocks ran, {compared} were compared");
}

#[test]
fn blocks_and_wildcards_are_read_as_they_are_meant() {
    let text = "x\n## A\n```bash\nls\n```\n```text\n1 … 2\n```\n```rust\n// src/x.rs\nfn f() {}\n```\n## B\n```bash\nrm\n```\n";
    let file = Block::File("src/x.rs".into(), "fn f() {}\n".into());
    assert_eq!(blocks(text, "A"), [Block::Commands("ls".into()), Block::Shown("1 … 2".into()), file]);
    assert_eq!(shows("a\n1 and 2\nb", "1 … 2\nb"), Ok(()));
    assert!(shows("b\n1 and 2", "1 … 2\nb").is_err());
}
