//! Makes WebAssembly components of transforms' sources: what `milepost transform build` does for
//! authors and `cargo xtask transforms` for the examples.
//!
//! [`toolchain`] finds, or makes, a Rust toolchain for a target; [`rust`] builds a crate with it, and [`c`]
//! compiles C; [`component`] turns the module that a compiler wrote into a component. [`script`] makes
//! components of languages that bring an interpreter. [`apt`] fetches Debian's packages for other machines. Errors are text for a person: nobody acts on them.

pub mod apt;
pub mod c;
pub mod component;
pub mod rust;
pub mod script;
pub mod toolchain;
