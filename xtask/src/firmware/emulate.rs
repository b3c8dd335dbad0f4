//! Runs a firmware in an emulator: a receiver that plays a log, a camera, and the link to the agent on a
//! pseudo-terminal. The emulator itself is `firmware/emulator`.

use super::Board;
use crate::bring;
use crate::run::{root, run};
use anyhow::Result;
use clap::Args;
use std::path::{Path, PathBuf};
use std::process::Command;

#[derive(Args)]
pub struct Options {
    /// A receiver's log, played again and again; without it a drive of the emulator's own
    #[arg(long)]
    log: Option<PathBuf>,
    /// Where the link to the agent appears
    #[arg(long, default_value = "/tmp/milepost-board")]
    pty: PathBuf,
    /// Stop after so many seconds
    #[arg(long)]
    seconds: Option<u32>,
}

pub(super) fn emulate(board: Board, elf: &Path, options: &Options) -> Result<()> {
    match board {
        Board::Pico => pico(elf, options),
    }
}

fn pico(elf: &Path, options: &Options) -> Result<()> {
    let modules = bring::emulator()?;
    let mut node = Command::new("node");
    node.arg(root().join("firmware/emulator/pico.mjs")).env("MILEPOST_EMULATOR", modules);
    node.arg("--image").arg(elf.with_extension("uf2")).arg("--pty").arg(&options.pty);
    if let Some(log) = &options.log {
        node.arg("--log").arg(log);
    }
    if let Some(seconds) = options.seconds {
        node.arg("--seconds").arg(seconds.to_string());
    }
    println!(
        "An agent reads it with\n\n  [[source]]\n  name = \"board\"\n  type = \"link\"\n  port = \"{}\"\n",
        options.pty.display()
    );
    run(&mut node)
}
