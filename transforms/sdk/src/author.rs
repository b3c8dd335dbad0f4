//! What an author writes.

use crate::{Camera, Column, Emergency, Gps, Next, Out, Params, Row, Saved, Vehicle, Weather};

/// A transform. Implement [`Transform::new`] and the methods of the streams you want; then
/// `transform!(MyTransform: gps, vehicle);` makes it the crate's component.
///
/// The methods are called for each reading in the order in which they were read. Deterministic by
/// construction: there is no clock, no randomness and no I/O in a transform.
pub trait Transform: Sized {
    /// How much event time passes between calls of [`Transform::tick`], ms; 0 for never.
    const TICK_EVERY_MS: u32 = 0;
    /// Whether [`Transform::save`] writes anything; set by [`keeps!`](crate::keeps).
    const KEEPS_STATE: bool = false;

    /// Reads the parameters. The error is shown to the user and stops the agent's start.
    fn new(params: &mut Params) -> Result<Self, String>;

    /// A fix of the receiver.
    fn gps(&mut self, fix: &Gps, out: &mut Out) -> Next<Gps> {
        let _ = (fix, out);
        Next::Keep
    }

    /// What the vehicle says of itself.
    fn vehicle(&mut self, reading: &Vehicle, out: &mut Out) -> Next<Vehicle> {
        let _ = (reading, out);
        Next::Keep
    }

    /// An image.
    fn camera(&mut self, image: &Camera, out: &mut Out) -> Next<Camera> {
        let _ = (image, out);
        Next::Keep
    }

    /// The weather around the vehicle.
    fn weather(&mut self, reading: &Weather, out: &mut Out) -> Next<Weather> {
        let _ = (reading, out);
        Next::Keep
    }

    /// A step in the life of an incident.
    fn emergency(&mut self, reading: &Emergency, out: &mut Out) -> Next<Emergency> {
        let _ = (reading, out);
        Next::Keep
    }

    /// A row of a derived stream.
    fn derived(&mut self, stream: &str, columns: &[Column], row: &Row, out: &mut Out) -> Next<Row> {
        let _ = (stream, columns, row, out);
        Next::Keep
    }

    /// Event time has passed: derive what does not wait for a further reading.
    fn tick(&mut self, now_us: i64, out: &mut Out) {
        let _ = (now_us, out);
    }

    /// Writes what is to be remembered.
    fn save(&self, to: &mut Saved) {
        let _ = to;
    }

    /// Reads it in the same order. On an error the transform starts without.
    fn load(&mut self, from: &mut Saved) -> Result<(), String> {
        let _ = from;
        Ok(())
    }
}
