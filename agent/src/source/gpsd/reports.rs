//! Merges gpsd's reports of one epoch into one reading: lines in, readings out, no I/O.
//!
//! TPV carries the fix, SKY the satellites used and the dilution of precision; every other class
//! (VERSION, DEVICES, WATCH, PPS …) is passed over. A TPV of mode 0 or 1 is no fix.

use crate::ndjson::parse_rfc3339;
use milepost_wire::{Clock, Reading, reading::Gps};
use serde::Deserialize;

/// The state of merging.
pub(super) struct Reports {
    device: Option<String>,
    fix: Option<Epoch>,
    sky: Option<Sky>,
    sent: Option<i64>,
    refused: u64,
}

struct Epoch {
    /// As gpsd said it; `None` where it had none yet.
    time: Option<i64>,
    reading: Reading,
}

/// The parts of a TPV and of a SKY that matter here. gpsd leaves out what it does not know.
#[derive(Deserialize)]
struct Report {
    class: String,
    device: Option<String>,
    mode: Option<u8>,
    status: Option<u8>,
    time: Option<String>,
    lat: Option<f64>,
    lon: Option<f64>,
    #[serde(rename = "altMSL")]
    alt_msl: Option<f64>,
    alt: Option<f64>,
    speed: Option<f64>,
    track: Option<f64>,
    hdop: Option<f64>,
    #[serde(rename = "uSat")]
    used: Option<u32>,
    satellites: Option<Vec<Satellite>>,
}

#[derive(Deserialize)]
struct Satellite {
    used: Option<bool>,
}

#[derive(Clone, Copy, Default)]
struct Sky {
    used: Option<u8>,
    hdop_e2: Option<u16>,
}

impl Reports {
    /// Of one device, or of whichever reports; nothing of the time `sent` goes out again.
    pub(super) fn new(device: Option<String>, sent: Option<i64>) -> Self {
        Self { device, fix: None, sky: None, sent, refused: 0 }
    }

    /// Takes a report. Gives the reading of the epoch before, if the report began a new one.
    pub(super) fn take(&mut self, line: &[u8], host: (i64, Clock)) -> Option<Reading> {
        let Ok(report) = serde_json::from_slice::<Report>(line) else {
            self.refused += 1;
            return None;
        };
        if self.device.is_some() && report.device.is_some() && report.device != self.device {
            return None;
        }
        match report.class.as_str() {
            "TPV" => self.tpv(&report, host),
            "SKY" => {
                self.sky(&report);
                None
            }
            _ => None,
        }
    }

    /// Ends the epoch.
    pub(super) fn pause(&mut self) -> Option<Reading> {
        let Epoch { time, mut reading } = self.fix.take()?;
        let sky = self.sky.take().unwrap_or_default();
        if time.is_some() && time == self.sent {
            return None;
        }
        self.sent = time.or(self.sent);
        if let milepost_wire::Body::Gps(gps) = &mut reading.body {
            (gps.satellites, gps.hdop_e2) = (sky.used, sky.hdop_e2);
        }
        Some(reading)
    }

    /// The time of the last reading that went out.
    pub(super) fn sent(&self) -> Option<i64> {
        self.sent
    }

    /// Reports that could not be read since the last time this was asked.
    pub(super) fn take_refused(&mut self) -> u64 {
        std::mem::take(&mut self.refused)
    }

    fn tpv(&mut self, report: &Report, host: (i64, Clock)) -> Option<Reading> {
        let time = report.time.as_deref().and_then(parse_rfc3339);
        let Some(body) = report.fix() else {
            return match &self.fix {
                // The same moment, and its last word is that there is no fix.
                Some(epoch) if epoch.time == time => {
                    self.fix = None;
                    None
                }
                _ => self.pause(),
            };
        };
        let (ts, clock) = time.map_or(host, |ts| (ts, Clock::Gps));
        let reading = Reading { ts, clock, body: body.into() };
        let same = self.fix.as_ref().is_some_and(|old| continues(old, time, &reading));
        let before = if same { None } else { self.pause() };
        self.fix = Some(Epoch { time, reading });
        before
    }

    fn sky(&mut self, report: &Report) {
        let counted =
            || report.satellites.as_ref().map(|s| s.iter().filter(|s| s.used == Some(true)).count() as u32);
        let sky = self.sky.get_or_insert_default();
        sky.used = report.used.or_else(counted).and_then(|n| u8::try_from(n).ok()).or(sky.used);
        sky.hdop_e2 = report.hdop.and_then(|d| scaled(d, 100.0)).or(sky.hdop_e2);
    }
}

/// Whether a report is of the epoch that is open. Before gpsd knows the date it gives no time, and the
/// next report of the epoch may have one.
fn continues(old: &Epoch, time: Option<i64>, new: &Reading) -> bool {
    let place = |r: &Reading| match &r.body {
        milepost_wire::Body::Gps(gps) => Some((gps.lat_e7, gps.lon_e7)),
        _ => None,
    };
    old.time == time && time.is_some() || old.time.is_none() && place(&old.reading) == place(new)
}

impl Report {
    fn fix(&self) -> Option<Gps> {
        if self.mode? < 2 {
            return None;
        }
        let (lat, lon) = (self.lat?, self.lon?);
        if !(lat.abs() <= 90.0 && lon.abs() <= 180.0) {
            return None;
        }
        Some(Gps {
            lat_e7: scaled(lat, 1e7)?,
            lon_e7: scaled(lon, 1e7)?,
            altitude_cm: self.alt_msl.or(self.alt).and_then(|m| scaled(m, 100.0)),
            speed_mm_s: self.speed.and_then(|v| scaled(v, 1000.0)),
            heading_cdeg: self
                .track
                .map(|d| d.rem_euclid(360.0))
                .and_then(|d| scaled::<u16>(d, 100.0))
                .map(|d| d % 36_000),
            fix: self.quality(),
            satellites: None,
            hdop_e2: None,
        })
    }

    /// gpsd's status as GGA counts quality; it leaves the status of a plain fix out.
    fn quality(&self) -> u8 {
        match self.status {
            Some(2) => 2,
            Some(3) => 4,
            Some(4) => 5,
            Some(5 | 6) => 6,
            Some(7) => 7,
            Some(8) => 8,
            Some(9) => 3,
            _ => 1,
        }
    }
}

/// A value in the wire's units; `None` where it is out of range.
fn scaled<T: TryFrom<i64>>(value: f64, scale: f64) -> Option<T> {
    let scaled = (value * scale).round();
    if scaled.abs() < 9e15 { T::try_from(scaled as i64).ok() } else { None }
}
