//! The interface of `transforms/wit`, from the host's side. What goes in borrows from the readings, so
//! that an image or a text is copied once, into the sandbox.
#![allow(missing_docs, unreachable_pub, clippy::all)]

wasmtime::component::bindgen!({
    world: "transform",
    path: "../wit",
    ownership: Borrowing { duplicate_if_necessary: true },
    imports: { default: trappable },
});
