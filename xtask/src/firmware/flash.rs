//! Puts a firmware onto its board: by a debug probe where one is attached, else by copying to the drive
//! that the board shows while it is in its boot loader.

use super::Board;
use crate::run::{found, run};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The file that says that a drive is a boot loader.
const MARK: &str = "INFO_UF2.TXT";
/// Where systems mount drives; below each a folder for the user may stand.
const MOUNTS: [&str; 4] = ["/media", "/run/media", "/mnt", "/Volumes"];

pub(super) fn flash(board: Board, elf: &Path, drive: Option<&Path>) -> Result<()> {
    match board {
        Board::Pico => pico(elf, drive),
    }
}

fn pico(elf: &Path, drive: Option<&Path>) -> Result<()> {
    let image = elf.with_extension("uf2");
    if drive.is_none() && has_probe() {
        return run(Command::new("probe-rs").args(["run", "--no-catch-reset", "--chip", "RP2040"]).arg(elf));
    }
    let drive = match drive {
        Some(drive) if drive.join(MARK).is_file() => drive.to_owned(),
        Some(drive) => bail!("{} is not a board's drive: it has no {MARK}", drive.display()),
        None => MOUNTS.iter().find_map(|mount| find(Path::new(mount), 2)).with_context(|| {
            format!(
                "No Pico is found. Hold its BOOTSEL button while you plug it in: it shows itself as the drive \
                 RPI-RP2. If that is not mounted below {}, mount it and say where with `--drive`, or copy {} \
                 there yourself. With a debug probe, install probe-rs.",
                MOUNTS.join(", "),
                image.display()
            )
        })?,
    };
    let to = drive.join("milepost.uf2");
    fs::copy(&image, &to).with_context(|| format!("Cannot copy to {}", to.display()))?;
    println!("Copied to {}. The board starts by itself.", to.display());
    Ok(())
}

/// Whether a probe is attached.
fn has_probe() -> bool {
    let list = || Command::new("probe-rs").arg("list").output();
    found("probe-rs") && list().is_ok_and(|out| String::from_utf8_lossy(&out.stdout).contains("[0]"))
}

/// The first drive of a boot loader below a folder.
fn find(folder: &Path, depth: u32) -> Option<PathBuf> {
    if folder.join(MARK).is_file() {
        return Some(folder.to_owned());
    }
    let below = fs::read_dir(folder).ok().filter(|_| depth > 0)?;
    below
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|p| p.is_dir())
        .find_map(|p| find(&p, depth - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_board_is_found_by_the_mark_of_its_drive() {
        let media = std::env::temp_dir().join(format!("milepost-media-{}", std::process::id()));
        let drive = media.join("user/RPI-RP2");
        fs::create_dir_all(&drive).unwrap();
        fs::create_dir_all(media.join("user/STICK")).unwrap();
        assert_eq!(find(&media, 2), None);
        fs::write(drive.join(MARK), "UF2 Bootloader").unwrap();
        assert_eq!(find(&media, 2), Some(drive));
        assert_eq!(find(&media, 1), None, "no deeper than it is told");
        fs::remove_dir_all(media).unwrap();
    }
}
