//! What a Milepost board does, without the board: all of it is tested on a computer, and a board's own
//! crate only says which pins and which registers.
//!
//! Nothing here allocates, knows a chip or knows what becomes of a reading behind the serial line.
//! Drivers are generic over `embedded-hal` 1.0, lines over `embedded-io-async` 0.7; time is an argument
//! where something is decided, and one small trait ([`tasks::Time`]) where something waits.
//!
//! Reading order, which is the data path: [`gps`] reads the receiver, [`camera`] the camera; [`outbox`]
//! is what waits for the line, fixes before images; [`station`] is what the board knows and decides;
//! [`watchdog`] and [`led`] tell the outside how it is; [`tasks`] are the loops that a board runs.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

pub mod gps;
pub mod camera;
pub mod outbox;
pub mod station;
pub mod watchdog;
pub mod led;
pub mod tasks;
