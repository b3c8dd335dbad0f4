//! `milepost demo`: the whole chain in one process, over real sockets.

mod broker;
mod kafka;
mod proxy;
mod s3;
