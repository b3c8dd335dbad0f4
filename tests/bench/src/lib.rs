//! What a reading costs: the bytes on the air, and the time to code it, beside the usual encodings.
//!
//! [`drives`] brings the readings: recorded drives where they are there, and always the simulated trip.
//! [`rivals`] puts the same batches into other formats with the libraries that people use for them.
//! The binaries `sizes` and `speed` print Markdown.

pub mod drives;
pub mod rivals;
