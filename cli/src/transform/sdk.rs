//! The SDK's source and the interface, carried in this program: a project anywhere on the disk builds
//! with what fits the `milepost` that made it, and needs no checkout of this repository.

use crate::Failure;
use std::fs;
use std::path::Path;

/// Where they are in a project.
pub(super) const FOLDER: &str = ".milepost";

macro_rules! carried {
    ($($path:literal),* $(,)?) => {
        &[$(($path, include_bytes!(concat!("../../../transforms/", $path)) as &[u8])),*]
    };
}

/// Files by their place.
pub(super) type Files = &'static [(&'static str, &'static [u8])];

/// The interface, for every language.
pub(super) const WIT: Files = carried!["wit/transform.wit"];

/// The Rust crate.
pub(super) const RUST: Files = carried![
    "sdk/Cargo.toml",
    "sdk/src/author.rs",
    "sdk/src/bindings.rs",
    "sdk/src/derive.rs",
    "sdk/src/export.rs",
    "sdk/src/fixes.rs",
    "sdk/src/generated.rs",
    "sdk/src/geo.rs",
    "sdk/src/host.rs",
    "sdk/src/lib.rs",
    "sdk/src/out.rs",
    "sdk/src/params.rs",
    "sdk/src/reading.rs",
    "sdk/src/run.rs",
    "sdk/src/state.rs",
    "sdk/src/testing.rs",
];

/// The bindings for C.
pub(super) const C: Files =
    carried!["c/stdio.c", "c/transform.c", "c/transform.h", "c/transform_component_type.o"];

/// The script that calls componentize-js.
pub(super) const JS: Files = carried!["js/build.mjs"];

/// Puts files into the project's folder, where they are not there as they should be. Says whether it
/// wrote any.
pub(super) fn put(project: &Path, files: Files) -> Result<bool, Failure> {
    let mut wrote = false;
    for (path, bytes) in files {
        let to = project.join(FOLDER).join(path);
        if fs::read(&to).is_ok_and(|there| there == *bytes) {
            continue;
        }
        let parent = to.parent().unwrap_or(project);
        fs::create_dir_all(parent)
            .and_then(|()| fs::write(&to, bytes))
            .map_err(|e| format!("{} cannot be written: {e}", to.display()))?;
        wrote = true;
    }
    Ok(wrote)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_sdk_is_carried() {
        let sdk = Path::new(env!("CARGO_MANIFEST_DIR")).join("../transforms/sdk");
        let mut there = vec!["sdk/Cargo.toml".to_owned()];
        for entry in fs::read_dir(sdk.join("src")).unwrap() {
            there.push(format!("sdk/src/{}", entry.unwrap().file_name().to_string_lossy()));
        }
        there.sort();
        let mut carried: Vec<&str> = RUST.iter().map(|(path, _)| *path).collect();
        carried.sort_unstable();
        assert_eq!(carried, there);
    }

    #[test]
    fn what_is_there_already_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        assert!(put(folder.path(), WIT).unwrap());
        assert!(!put(folder.path(), WIT).unwrap());
        let file = folder.path().join(".milepost/wit/transform.wit");
        fs::write(&file, "package another:one;").unwrap();
        assert!(put(folder.path(), WIT).unwrap());
        assert_eq!(fs::read(file).unwrap(), WIT[0].1);
    }
}
