//! Merges gpsd's reports of one epoch into one reading: lines in, readings out, no I/O.
//!
//! TPV carries the fix, SKY the satellites used and the dilution of precision; every other class
//! (VERSION, DEVICES, WATCH, PPS …) is passed over. A TPV of mode 0 or 1 is no fix.
//!
//! Until its receiver has said a date, gpsd reports fixes without a time. They wait for the first time
//! and are dated back from it by the monotonic clock; where none comes for long, the host's date must do.

use crate::clock::Now;
use crate::ndjson::parse_rfc3339;
use milepost_wire::{Clock, Reading, reading::Gps};
use serde::Deserialize;
use std::time::Duration;

/// The most fixes that wait for a time, and for how long.
const WAITING: usize = 300;
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// The state of merging.
pub(super) struct Reports {
    device: Option<String>,
    fix: Option<Epoch>,
    sky: Option<Sky>,
    sent: Option<i64>,
    refused: u64,
    /// Fixes without a time, and when each came.
    undated: Vec<(Reading, Duration)>,
    /// A time was waited for in vain.
    in_vain: bool,
}

struct Epoch {
    /// As gpsd said it; `None` where it had none yet.
    time: Option<i64>,
    /// When its first report came.
    came: Duration,
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
        Self { device, fix: None, sky: None, sent, refused: 0, undated: Vec::new(), in_vain: false }
    }

    /// Takes a report. Appends the reading of the epoch before, if the report began a new one.
    pub(super) fn take(&mut self, line: &[u8], now: Now, ready: &mut Vec<Reading>) {
        let Ok(report) = serde_json::from_slice::<Report>(line) else {
            self.refused += 1;
            return;
        };
        if self.device.is_some() && report.device.is_some() && report.device != self.device {
            return;
        }
        match report.class.as_str() {
            "TPV" => self.tpv(&report, now, ready),
            "SKY" => self.sky(&report),
            _ => {}
        }
    }

    /// Ends the epoch.
    pub(super) fn pause(&mut self, now: Now, ready: &mut Vec<Reading>) {
        if let Some(epoch) = self.fix.take() {
            let sky = self.sky.take().unwrap_or_default();
            self.end(epoch, sky, ready);
        }
        let waited = self.undated.first().map(|(_, came)| now.mono.saturating_sub(*came));
        if waited.is_some_and(|waited| waited >= LONGEST_WAIT) {
            self.in_vain = true;
            self.release(ready);
        }
    }

    /// Ends all: nothing waits for a time any more.
    pub(super) fn finish(&mut self, now: Now, ready: &mut Vec<Reading>) {
        self.pause(now, ready);
        self.release(ready);
    }

    fn release(&mut self, ready: &mut Vec<Reading>) {
        ready.extend(self.undated.drain(..).map(|(reading, _)| reading));
    }

    fn end(&mut self, epoch: Epoch, sky: Sky, ready: &mut Vec<Reading>) {
        let Epoch { time, came, mut reading } = epoch;
        if time.is_some() && time == self.sent {
            return;
        }
        self.sent = time.or(self.sent);
        if let milepost_wire::Body::Gps(gps) = &mut reading.body {
            (gps.satellites, gps.hdop_e2) = (sky.used, sky.hdop_e2);
        }
        match time {
            Some(time) => self.date(time, came),
            None if !self.in_vain && self.undated.len() < WAITING => {
                return self.undated.push((reading, came));
            }
            None => self.in_vain = true,
        }
        self.release(ready);
        ready.push(reading);
    }

    /// Dates what waits back from a `time` that `came` then.
    fn date(&mut self, time: i64, came: Duration) {
        for (reading, at) in &mut self.undated {
            let before = i64::try_from(came.saturating_sub(*at).as_micros()).unwrap_or(0);
            (reading.ts, reading.clock) = (time - before, Clock::Gps);
        }
    }

    /// The time of the last reading that went out.
    pub(super) fn sent(&self) -> Option<i64> {
        self.sent
    }

    /// Reports that could not be read since the last time this was asked.
    pub(super) fn take_refused(&mut self) -> u64 {
        std::mem::take(&mut self.refused)
    }

    fn tpv(&mut self, report: &Report, now: Now, ready: &mut Vec<Reading>) {
        let time = report.time.as_deref().and_then(parse_rfc3339);
        let Some(body) = report.fix() else {
            match &self.fix {
                // The same moment, and its last word is that there is no fix.
                Some(epoch) if epoch.time == time => self.fix = None,
                _ => self.pause(now, ready),
            }
            return;
        };
        let (ts, clock) = time.map_or((now.wall_us, now.trust), |ts| (ts, Clock::Gps));
        let reading = Reading { ts, clock, body: body.into() };
        let same = self.fix.as_ref().filter(|old| continues(old, time, &reading)).map(|old| old.came);
        if same.is_none() {
            self.pause(now, ready);
        }
        self.fix = Some(Epoch { time, came: same.unwrap_or(now.mono), reading });
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
