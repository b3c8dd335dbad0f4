//! `cargo xtask firmware …`: builds a board's firmware, measures it against its budget, puts it onto the
//! board, or runs it in an emulator.

mod elf;
mod emulate;
mod flash;
pub mod prebuilt;
mod size;
mod uf2;

use crate::cross;
use crate::run::{root, run};
use anyhow::{Context, Result, anyhow};
use clap::{Args, Subcommand, ValueEnum};
use elf::Elf;
use std::fs;
use std::path::PathBuf;

#[derive(Subcommand)]
pub enum Command {
    /// Build the firmware; prints where it is
    Build(Which),
    /// Build it and put it onto the board
    Flash {
        #[command(flatten)]
        which: Which,
        /// The folder where the board shows itself as a drive, where it is not found by itself
        #[arg(long)]
        drive: Option<PathBuf>,
    },
    /// Build it and run it in an emulator, its link to the agent on a pseudo-terminal
    Emulate {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        options: emulate::Options,
    },
    /// Build it and print what it takes of the chip; fails beyond its budget
    Size {
        #[command(flatten)]
        which: Which,
        /// One JSON object: bytes of `flash` and `ram`
        #[arg(long)]
        json: bool,
    },
    /// Build it and write `firmware/prebuilt`, which is what the tests run
    Commit(Which),
}

#[derive(Args, Clone, Copy)]
pub struct Which {
    /// The board
    #[arg(long, value_enum)]
    board: Board,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Board {
    /// Raspberry Pi Pico (RP2040)
    Pico,
}

/// What is known of a board.
struct Profile {
    /// Its folder below `firmware/boards`, and its program's name.
    folder: &'static str,
    program: &'static str,
    target: &'static str,
    memory: size::Memory,
}

impl Board {
    fn profile(self) -> Profile {
        match self {
            Self::Pico => Profile {
                folder: "pico",
                program: "milepost-pico",
                target: "thumbv6m-none-eabi",
                memory: size::Memory {
                    flash: 0x1000_0000..0x1020_0000,
                    ram: 0x2000_0000..0x2004_0000,
                    flash_budget: 64 << 10,
                    ram_budget: 32 << 10,
                },
            },
        }
    }
}

pub fn run_command(command: &Command) -> Result<()> {
    match command {
        Command::Build(which) => {
            println!("{}", build(which.board)?.display());
            Ok(())
        }
        Command::Flash { which, drive } => flash::flash(which.board, &build(which.board)?, drive.as_deref()),
        Command::Emulate { which, options } => emulate::emulate(which.board, &build(which.board)?, options),
        Command::Size { which, json } => size(which.board, *json),
        Command::Commit(which) => prebuilt::commit(which.board),
    }
}

/// Builds the firmware of a board; gives its ELF. The file to flash, where there is another, stands beside
/// it.
pub fn build(board: Board) -> Result<PathBuf> {
    let Profile { folder, program, target, .. } = board.profile();
    let toolchain = cross::toolchain(target).map_err(|e| anyhow!(e))?;
    let root = root();
    let package = root.join("firmware/boards").join(folder);
    let out =
        std::env::var_os("CARGO_TARGET_DIR").map_or(root.join("target"), PathBuf::from).join("firmware");
    let mut cargo = toolchain.cargo();
    cargo.args(["build", "--release", "--locked", "--target", target, "--target-dir"]).arg(&out);
    // Where this clone stands must not change what is flashed.
    let flags = cross::flags(&[cross::remap(&root, ".")]);
    cargo.current_dir(package).env("CARGO_ENCODED_RUSTFLAGS", flags);
    run(&mut cargo)?;
    let elf = out.join(target).join("release").join(program);
    let image = elf.with_extension("uf2");
    fs::write(&image, uf2::file(&Elf::read(&elf)?.stored, uf2::RP2040))
        .with_context(|| format!("Cannot write {}", image.display()))?;
    Ok(elf)
}

/// Builds a board's firmware and measures it; fails beyond its budget.
pub fn size(board: Board, json: bool) -> Result<()> {
    let profile = board.profile();
    let report = size::measure(&Elf::read(&build(board)?)?, &profile.memory);
    println!("{}", if json { report.json(profile.folder) } else { report.text(profile.folder) });
    report.check()
}
