//! The tables of the built-in streams: for each column of the wire, what the table makes of it.

use super::{Column, Type};
use milepost_wire::Stream;

/// A column of a built-in stream, on the wire and in its table.
#[derive(Debug)]
pub(crate) struct Own {
    /// The name on the wire.
    pub(crate) wire: &'static str,
    /// The name in the table.
    pub(crate) name: &'static str,
    pub(crate) kind: Type,
    /// What a fixed-point value is divided by.
    pub(crate) divisor: f64,
    pub(crate) unit: &'static str,
    pub(crate) comment: &'static str,
}

impl Own {
    pub(crate) fn column(&self) -> Column {
        let (name, comment) = (self.name.into(), self.comment.into());
        Column { name, kind: self.kind, unit: self.unit, comment, required: false }
    }
}

const fn fixed(
    wire: &'static str,
    name: &'static str,
    divisor: f64,
    unit: &'static str,
    comment: &'static str,
) -> Own {
    Own { wire, name, kind: Type::Double, divisor, unit, comment }
}

const fn int(name: &'static str, unit: &'static str, comment: &'static str) -> Own {
    Own { wire: name, name, kind: Type::Bigint, divisor: 1.0, unit, comment }
}

const fn text(name: &'static str, comment: &'static str) -> Own {
    Own { wire: name, name, kind: Type::String, divisor: 1.0, unit: "", comment }
}

const LAT: Own = fixed("lat_e7", "lat", 1e7, "°", "Latitude, WGS 84, north positive");
const LON: Own = fixed("lon_e7", "lon", 1e7, "°", "Longitude, WGS 84, east positive");

const VEHICLE: &[Own] = &[
    LAT,
    LON,
    fixed("speed_mm_s", "speed", 1e3, "m/s", "Speed by the wheels"),
    fixed("heading_cdeg", "heading", 1e2, "°", "Heading, clockwise from north, below 360"),
    text("make", "The maker"),
    text("model", "The model"),
    int("year", "", "The model year"),
    text("fuel_type", "What it burns, such as diesel or electric"),
    text("vehicle_type", "What it is, such as van"),
];

const GPS: &[Own] = &[
    LAT,
    LON,
    fixed("altitude_cm", "altitude", 1e2, "m", "Altitude above mean sea level"),
    fixed("speed_mm_s", "speed", 1e3, "m/s", "Speed over ground"),
    fixed("heading_cdeg", "heading", 1e2, "°", "Course over ground, clockwise from true north, below 360"),
    int("fix", "", "Quality as NMEA counts it: 1 GPS, 2 differential, 4 RTK, 5 float RTK, 6 estimated"),
    int("satellites", "", "Satellites used"),
    fixed("hdop_e2", "hdop", 1e2, "", "Horizontal dilution of precision"),
];

const CAMERA: &[Own] = &[
    text("camera_id", "Which camera of the vehicle"),
    LAT,
    LON,
    text("image", "URI of the image, JPEG"),
    int("width", "pixels", "Width of the image"),
    int("height", "pixels", "Height of the image"),
];

const WEATHER: &[Own] = &[
    LAT,
    LON,
    fixed("temperature_c_e2", "temperature", 1e2, "°C", "Air temperature"),
    text("condition", "In words, such as light rain"),
    fixed("precipitation_mm_h_e2", "precipitation", 1e2, "mm/h", "Precipitation"),
    fixed("wind_speed_mm_s", "wind_speed", 1e3, "m/s", "Wind speed"),
    fixed("humidity_pct_e2", "humidity", 1e2, "%", "Relative humidity"),
    int("air_quality_index", "", "Air quality index of the US EPA, 0 to 500"),
];

const EMERGENCY: &[Own] = &[
    text("incident_id", "Names the incident; its later rows carry the same"),
    text("kind", "What happened, such as collision or breakdown"),
    text("status", "Where it stands, such as open or resolved"),
    text("description", "In words"),
    LAT,
    LON,
];

const HEALTH: &[Own] = &[
    text("component", "agent, source, transform, stream or lane"),
    text("name", "The component's name; for the agent its version"),
    int("received", "", "Readings that came in since the boot"),
    int("emitted", "", "Readings that went out since the boot; for a stream its next seq"),
    int("taken_out", "", "Readings that a transform took out on purpose"),
    int("poison", "", "Readings set aside because they made a transform fail"),
    int("errors", "", "Errors met and survived"),
    int("restarts", "", "Times it was started again"),
    int("bytes", "bytes", "Of a lane, on disk; of the agent, resident memory"),
    int("depth", "", "Records waiting"),
    int("age_ms", "ms", "Age of the oldest record that waits"),
    text("version", "Its version"),
    text("digest", "SHA-256 of a transform's component, hex"),
];

const GAP: &[Own] = &[
    text("stream", "The table that lacks the readings; null where it never became known"),
    text("gap_boot_id", "The boot whose readings are lost, 16 hex digits"),
    int("first_seq", "", "The first lost seq; null where the readings never had a number"),
    int("last_seq", "", "The last lost seq; null where it is not known"),
    int("count", "", "How many are lost; where exact is 0, the most that can be"),
    int("exact", "", "1 where count is exact, 0 where it is an upper bound"),
    text("reason", "spool_full, crash_tail, source_overrun, oversize, poison, corrupt or undeliverable"),
    text("detail", "The source or the transform that it concerns, or another detail"),
];

/// What a built-in stream's rows are, and its columns in the order of the wire; `None` for a derived one.
pub(crate) fn own(stream: &Stream) -> Option<(&'static str, &'static [Own])> {
    Some(match stream {
        Stream::Vehicle => ("What the vehicle says of itself", VEHICLE),
        Stream::Gps => ("Fixes of the vehicle's receiver, one row each", GPS),
        Stream::Camera => ("Images of the vehicle's cameras", CAMERA),
        Stream::Weather => ("The weather around the vehicle", WEATHER),
        Stream::Emergency => ("Steps in the life of an incident", EMERGENCY),
        Stream::Health => ("Counters of the components of a vehicle's agent, since its boot", HEALTH),
        Stream::Gap => ("Readings that are known to be lost: how many, which and why", GAP),
        Stream::Derived(_) => return None,
    })
}
