//! The interface of `transforms/wit`, as Rust types. Authors take them from the crate's root.
#![allow(missing_docs, unreachable_pub, clippy::all)]

wit_bindgen::generate!({
    world: "transform",
    path: "../wit",
    pub_export_macro: true,
    default_bindings_module: "milepost_transform::bindings",
    generate_all,
    additional_derives: [PartialEq, Clone],
});
