//! The interface of `transforms/wit`, as Rust types. Authors take them from the crate's root. Generated
//! by `cargo xtask transforms build`, which `check` compares.
#![allow(missing_docs, unreachable_pub, clippy::all)]

include!("generated.rs");
