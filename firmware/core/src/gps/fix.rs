//! What a receiver says of one moment.

/// One fix, merged from what a receiver said of an epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fix {
    /// When its first byte came, µs, by the clock of whoever read it; 0 where nobody said.
    pub came_us: u64,
    /// The UTC date, days since 1970, as the receiver has it; `None` until it has said one.
    pub day: Option<i64>,
    /// UTC time of day, ns since midnight, of a leap second beyond the day's end.
    pub time_of_day: Option<u64>,
    /// Latitude, 1e-7°.
    pub lat_e7: i32,
    /// Longitude, 1e-7°.
    pub lon_e7: i32,
    /// Altitude above mean sea level, cm.
    pub altitude_cm: Option<i32>,
    /// Speed over ground, mm/s.
    pub speed_mm_s: Option<u32>,
    /// Course over ground, 0.01°, below 36000.
    pub heading_cdeg: Option<u16>,
    /// Quality as GGA counts it; of an epoch without GGA what its mode letter means there.
    pub quality: u8,
    /// Satellites used.
    pub satellites: Option<u8>,
    /// Horizontal dilution of precision, 0.01.
    pub hdop_e2: Option<u16>,
}
