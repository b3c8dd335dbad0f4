//! The bindings for Rust and C: generated from the interface, committed, and checked against it, so that
//! an author needs no generator, and a Rust author does not wait for one to be compiled.

use std::fs;
use std::path::{Path, PathBuf};
use wit_bindgen_core::{Files, WorldGenerator};
use wit_parser::Resolve;

/// What they are made of, below `transforms`.
const INTERFACE: &str = "wit/transform.wit";

pub(crate) fn build(root: &Path) -> Result<(), String> {
    for (path, bytes) in generate(root)? {
        fs::write(&path, bytes).map_err(|e| format!("{}: {e}", path.display()))?;
    }
    Ok(())
}

pub(crate) fn check(root: &Path) -> Result<(), String> {
    for (path, bytes) in generate(root)? {
        if fs::read(&path).map_err(|e| format!("{}: {e}", path.display()))? != bytes {
            return Err(format!(
                "{} is not what {INTERFACE} gives: run `cargo xtask transforms build`",
                path.display()
            ));
        }
    }
    println!("bindings: as the interface gives them");
    Ok(())
}

/// Where each file belongs, and what is in it.
fn generate(root: &Path) -> Result<Vec<(PathBuf, Vec<u8>)>, String> {
    let transforms = root.join("transforms");
    let mut all = Vec::new();
    for (name, bytes) in bind(&transforms, wit_bindgen_c::Opts::default().build())?.iter() {
        all.push((transforms.join("c").join(name), bytes.to_vec()));
    }
    for (_, bytes) in bind(&transforms, Box::new(rust().build()))?.iter() {
        all.push((transforms.join("sdk/src/generated.rs"), bytes.to_vec()));
    }
    Ok(all)
}

/// As the SDK's `transform!` expects them.
fn rust() -> wit_bindgen_rust::Opts {
    wit_bindgen_rust::Opts {
        format: true,
        pub_export_macro: true,
        generate_all: true,
        default_bindings_module: Some("milepost_transform::bindings".into()),
        additional_derive_attributes: ["PartialEq", "Clone"].map(String::from).into(),
        runtime_path: Some("wit_bindgen::rt".into()),
        ..wit_bindgen_rust::Opts::default()
    }
}

fn bind(transforms: &Path, mut generator: Box<dyn WorldGenerator>) -> Result<Files, String> {
    let path = transforms.join(INTERFACE);
    let text = fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    let mut resolve = Resolve::default();
    let mut files = Files::default();
    let package = resolve.push_str(INTERFACE, &text).map_err(|e| format!("{}: {e:?}", path.display()))?;
    let wrong = |e| format!("{}: {e:?}", path.display());
    let world = resolve.select_world(&[package], Some("transform")).map_err(wrong)?;
    generator.generate(&mut resolve, world, &mut files).map_err(wrong)?;
    Ok(files)
}
