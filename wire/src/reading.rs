//! What a sensor said: one reading, typed by its stream, in fixed point with the unit in the name.

use crate::columns::Column;
use crate::stream::{ColumnSpec, Kind, Stream, StreamName};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::RangeInclusive;
use serde::{Deserialize, Serialize};

/// Where a reading's time comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum Clock {
    /// The receiver's UTC.
    Gps = 0,
    /// The host's clock, set by the network.
    Ntp = 1,
    /// The host's clock, which nothing has set: the date may be wrong.
    None = 2,
}

impl Clock {
    /// The name in tables and NDJSON.
    pub fn name(self) -> &'static str {
        match self {
            Clock::Gps => "gps",
            Clock::Ntp => "ntp",
            Clock::None => "none",
        }
    }

    /// Reads what [`Clock::name`] gives.
    pub fn from_name(name: &str) -> Option<Self> {
        [Clock::Gps, Clock::Ntp, Clock::None].into_iter().find(|c| c.name() == name)
    }

    /// Reads the number on the wire.
    pub fn from_u8(n: u8) -> Option<Self> {
        [Clock::Gps, Clock::Ntp, Clock::None].into_iter().find(|c| *c as u8 == n)
    }
}

/// Event times that have a date in the years 1 to 9999, µs since 1970 UTC. SQL and most languages know no others;
/// the wire carries any, and tables have them in `ts_us`.
pub const DATABLE_US: RangeInclusive<i64> = -62_135_596_800_000_000..=253_402_300_799_999_999;

/// One reading of one stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    /// Event time, µs since 1970 UTC.
    pub ts: i64,
    /// Where `ts` comes from.
    pub clock: Clock,
    /// What was read.
    pub body: Body,
}

impl Reading {
    /// The stream it belongs to.
    pub fn stream(&self) -> Stream {
        self.body.stream()
    }
}

/// A value of a derived stream's column.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Value {
    /// Nothing was said.
    Null,
    /// See [`Kind::Int`].
    Int(i64),
    /// See [`Kind::Float`].
    Float(f64),
    /// See [`Kind::Bool`].
    Bool(bool),
    /// See [`Kind::Text`].
    Text(String),
    /// See [`Kind::Bytes`].
    Bytes(Vec<u8>),
}

impl Value {
    /// The kind of a value that is not null.
    pub fn kind(&self) -> Option<Kind> {
        Some(match self {
            Value::Null => return None,
            Value::Int(_) => Kind::Int,
            Value::Float(_) => Kind::Float,
            Value::Bool(_) => Kind::Bool,
            Value::Text(_) => Kind::Text,
            Value::Bytes(_) => Kind::Bytes,
        })
    }
}

/// A row of a derived stream: its columns travel with it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Derived {
    /// The stream's name.
    pub stream: StreamName,
    /// The columns, shared by all rows of one emitter.
    #[serde(with = "arc_slice")]
    pub columns: Arc<[ColumnSpec]>,
    /// One value for each column, in the same order.
    pub values: Vec<Value>,
}

/// A type that is a column's cell in a built-in stream's reading.
pub(crate) trait Cell: Sized {
    const KIND: Kind;
    fn put(&self, column: &mut Column);
    /// Reads row `i`; `None` where the column is null or the value does not fit.
    fn get(column: &Column, i: usize) -> Option<Self>;
}

macro_rules! int_cell {
    ($($t:ty),*) => {$(
        impl Cell for $t {
            const KIND: Kind = Kind::Int;
            fn put(&self, column: &mut Column) {
                column.push_int(Some(i64::from(*self)));
            }
            fn get(column: &Column, i: usize) -> Option<Self> {
                column.int(i)?.try_into().ok()
            }
        }
        impl Cell for Option<$t> {
            const KIND: Kind = Kind::Int;
            fn put(&self, column: &mut Column) {
                column.push_int(self.map(i64::from));
            }
            fn get(column: &Column, i: usize) -> Option<Self> {
                match column.int(i) {
                    None => Some(None),
                    Some(v) => v.try_into().ok().map(Some),
                }
            }
        }
    )*};
}
int_cell!(u8, u16, u32, i16, i32, i64);

impl Cell for String {
    const KIND: Kind = Kind::Text;
    fn put(&self, column: &mut Column) {
        column.push_text(Some(self));
    }
    fn get(column: &Column, i: usize) -> Option<Self> {
        column.text(i).map(Into::into)
    }
}

impl Cell for Option<String> {
    const KIND: Kind = Kind::Text;
    fn put(&self, column: &mut Column) {
        column.push_text(self.as_deref());
    }
    fn get(column: &Column, i: usize) -> Option<Self> {
        Some(column.text(i).map(Into::into))
    }
}

impl Cell for Vec<u8> {
    const KIND: Kind = Kind::Bytes;
    fn put(&self, column: &mut Column) {
        column.push_bytes(Some(self));
    }
    fn get(column: &Column, i: usize) -> Option<Self> {
        column.bytes(i).map(Into::into)
    }
}

/// The built-in streams: a struct each, whose fields are the stream's columns in wire order. A new
/// field goes to the end (see [`crate::version`]).
macro_rules! streams {
    ($($(#[$doc:meta])* $name:ident { $($(#[$fdoc:meta])* $field:ident: $t:ty,)* })*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
            pub struct $name { $($(#[$fdoc])* pub $field: $t,)* }

            impl $name {
                /// The stream's columns in wire order.
                pub const COLUMNS: &'static [ColumnSpec] =
                    &[$(ColumnSpec::fixed(stringify!($field), <$t as Cell>::KIND),)*];

                /// Appends the reading to columns made from [`Self::COLUMNS`].
                pub(crate) fn put(&self, columns: &mut [Column]) {
                    let mut columns = columns.iter_mut();
                    $(self.$field.put(columns.next().expect("a column for each field"));)*
                }

                /// Reads row `i`; the error names the column whose value does not fit.
                pub(crate) fn get(columns: &[Column], i: usize) -> Result<Self, &'static str> {
                    let mut columns = columns.iter();
                    Ok(Self { $($field: columns.next().and_then(|c| Cell::get(c, i)).ok_or(stringify!($field))?,)* })
                }
            }

            impl From<$name> for Body {
                fn from(reading: $name) -> Self {
                    Body::$name(reading)
                }
            }
        )*

        /// What was read: a reading of a built-in stream, or a row of a derived one.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        pub enum Body {
            $(#[doc = concat!("See [`", stringify!($name), "`].")] $name($name),)*
            /// See [`Derived`].
            Derived(Derived),
        }

        impl Body {
            /// The stream it belongs to.
            pub fn stream(&self) -> Stream {
                match self {
                    $(Body::$name(_) => Stream::$name,)*
                    Body::Derived(row) => Stream::Derived(row.stream.clone()),
                }
            }

            pub(crate) fn put(&self, columns: &mut [Column]) {
                match self {
                    $(Body::$name(reading) => reading.put(columns),)*
                    Body::Derived(row) => {
                        for (value, column) in row.values.iter().zip(columns) {
                            column.push(value);
                        }
                    }
                }
            }

            /// Reads row `i`; `own` are the columns' names and kinds, for a derived stream.
            pub(crate) fn get(
                stream: &Stream,
                own: &Arc<[ColumnSpec]>,
                columns: &[Column],
                i: usize,
            ) -> Result<Self, &'static str> {
                match stream {
                    $(Stream::$name => $name::get(columns, i).map(Body::$name),)*
                    Stream::Derived(name) => Ok(Body::Derived(Derived {
                        stream: name.clone(),
                        columns: own.clone(),
                        values: columns.iter().map(|c| c.value(i)).collect(),
                    })),
                }
            }
        }
    };
}

streams! {
    /// `vehicle_data`: what the vehicle says of itself.
    Vehicle {
        /// Latitude, 1e-7°.
        lat_e7: Option<i32>,
        /// Longitude, 1e-7°.
        lon_e7: Option<i32>,
        /// Speed by the wheels, mm/s.
        speed_mm_s: Option<u32>,
        /// Heading, 0.01° clockwise from north, below 36000.
        heading_cdeg: Option<u16>,
        /// The maker.
        make: Option<String>,
        /// The model.
        model: Option<String>,
        /// The model year.
        year: Option<u16>,
        /// What it burns, such as `diesel` or `electric`.
        fuel_type: Option<String>,
        /// What it is, such as `van`.
        vehicle_type: Option<String>,
    }

    /// `gps_data`: one fix of the receiver. A reading exists only where there was a fix.
    Gps {
        /// Latitude, 1e-7° (about 11 mm).
        lat_e7: i32,
        /// Longitude, 1e-7°.
        lon_e7: i32,
        /// Altitude above mean sea level, cm.
        altitude_cm: Option<i32>,
        /// Speed over ground, mm/s.
        speed_mm_s: Option<u32>,
        /// Course over ground, 0.01° clockwise from true north, below 36000.
        heading_cdeg: Option<u16>,
        /// Quality as NMEA's GGA counts it: 1 GPS, 2 differential, 4 RTK, 5 float RTK, 6 estimated.
        fix: u8,
        /// Satellites used.
        satellites: Option<u8>,
        /// Horizontal dilution of precision, 0.01.
        hdop_e2: Option<u16>,
    }

    /// `camera_data`: one image.
    Camera {
        /// Which camera of the vehicle.
        camera_id: String,
        /// Latitude, 1e-7°, of the last fix when the image was taken.
        lat_e7: Option<i32>,
        /// Longitude, 1e-7°.
        lon_e7: Option<i32>,
        /// The image, JPEG.
        image: Vec<u8>,
        /// Width, pixels.
        width: Option<u16>,
        /// Height, pixels.
        height: Option<u16>,
    }

    /// `weather_data`: the weather around the vehicle.
    Weather {
        /// Latitude, 1e-7°.
        lat_e7: Option<i32>,
        /// Longitude, 1e-7°.
        lon_e7: Option<i32>,
        /// Air temperature, 0.01 °C.
        temperature_c_e2: Option<i16>,
        /// In words, such as `light rain`.
        condition: Option<String>,
        /// Precipitation, 0.01 mm/h.
        precipitation_mm_h_e2: Option<u32>,
        /// Wind speed, mm/s.
        wind_speed_mm_s: Option<u32>,
        /// Relative humidity, 0.01 %.
        humidity_pct_e2: Option<u16>,
        /// Air quality index of the US EPA, 0 to 500.
        air_quality_index: Option<u16>,
    }

    /// `emergency_data`: a step in the life of an incident.
    Emergency {
        /// Names the incident; its later readings carry the same.
        incident_id: String,
        /// What happened, such as `collision` or `breakdown`.
        kind: String,
        /// Where it stands, such as `open` or `resolved`.
        status: String,
        /// In words.
        description: Option<String>,
        /// Latitude, 1e-7°.
        lat_e7: Option<i32>,
        /// Longitude, 1e-7°.
        lon_e7: Option<i32>,
    }

    /// `agent_health`: the counters of one component of an agent, since its boot. A report is one
    /// reading for each component, all with the same `ts`.
    Health {
        /// `agent`, `source`, `transform`, `stream` or `lane`.
        component: String,
        /// Its name: the source's, the transform's, the stream's or the lane's; the agent's version.
        name: String,
        /// Readings that came in.
        received: Option<i64>,
        /// Readings that went out. For a stream: its next `seq`, so every one below was written.
        emitted: Option<i64>,
        /// Readings that a transform took out on purpose.
        taken_out: Option<i64>,
        /// Readings set aside because they made a transform fail.
        poison: Option<i64>,
        /// Errors met and survived: bad checksums, refused lines, failed calls.
        errors: Option<i64>,
        /// Times it was started again.
        restarts: Option<i64>,
        /// Bytes: of a lane, on disk; of the agent, resident memory.
        bytes: Option<i64>,
        /// Records waiting.
        depth: Option<i64>,
        /// Age of the oldest record that waits, ms.
        age_ms: Option<i64>,
        /// Its version.
        version: Option<String>,
        /// SHA-256 of a transform's component, hex.
        digest: Option<String>,
    }

    /// `gap_data`: readings that are known to be lost, how many, which and why.
    Gap {
        /// The stream that lost them; none where it never became known.
        stream: Option<String>,
        /// The boot whose readings are lost, 16 hex digits.
        gap_boot_id: String,
        /// The first lost `seq`; for a crash, the first that is not known to be safe. None where the
        /// readings never had a number.
        first_seq: Option<i64>,
        /// The last lost `seq`; none where that is not known.
        last_seq: Option<i64>,
        /// How many are lost; where `exact` is 0, the most that can be.
        count: i64,
        /// 1 where `count` is exact, 0 where it is an upper bound.
        exact: u8,
        /// Why: `spool_full`, `crash_tail`, `source_overrun`, `oversize`, `poison`, `corrupt` or
        /// `undeliverable`.
        reason: String,
        /// The source or the transform that it concerns, or another detail.
        detail: Option<String>,
    }
}

/// Serde for `Arc<[T]>`, which serde has only behind a feature that would also accept `Rc` cycles.
mod arc_slice {
    use super::ColumnSpec;
    use alloc::sync::Arc;
    use alloc::vec::Vec;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(v: &Arc<[ColumnSpec]>, s: S) -> Result<S::Ok, S::Error> {
        v.as_ref().serialize(s)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Arc<[ColumnSpec]>, D::Error> {
        Vec::deserialize(d).map(Into::into)
    }
}
