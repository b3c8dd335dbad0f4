//! Merges the sentences of one epoch into one fix.
//!
//! A receiver says the same moment in several sentences (RMC, GGA, VTG, GSA …), in any order, some of
//! them without a time. An epoch is all that comes until a sentence with another time. Where
//! sentences disagree, the last one counts, which is how gpsd reads them:
//!
//! * a fix: RMC `A` or `D` with a position; GLL `A` unless its mode is `N`; GNS whose first mode is
//!   not `N`; GGA of any quality but 0; GSA 2 or 3;
//! * no fix: RMC `V`, GLL `V`, GNS `N`, GGA of quality 0; GGA of GPS or of all systems together (`GP`,
//!   `GN`) with less than 3 satellites, as another talker may count only those of its own; GSA 1, unless
//!   RMC, GLL or GNS of the same epoch says otherwise: it has no time, and may be early or late.
//!
//! VTG and GSA have no time: they belong to the epoch that is open, but one that comes again after a
//! sentence with a time is the first of the next. Lines may be lost: of a receiver that begins its
//! epochs with VTG, each VTG begins one, and a second VTG in a row is of an epoch that is lost. Where a
//! sentence comes again with the same time, the epoch is said again, and its VTG and GSA with it.
//!
//! A reading is made only where the epoch's last word is a fix and a position came with it. Nothing
//! is ever carried over from another epoch but the date, and nothing is derived.

use super::calendar;
use super::fix::Fix;
use super::sentence::Sentence;
use super::values::{
    cdeg_from_e6, cm_from_e6, dop_e2_from_e6, mm_s_from_knots_e6, quality_of_mode, short_date,
};

/// Sentences whose times differ by less than this are of one epoch (gpsd draws the line here too).
const SAME_EPOCH_NS: u64 = 10_000_000;
/// Going back by more than this is midnight, anything less is a clock that was set.
const HALF_DAY_NS: u64 = 43_200_000_000_000;

/// The state of merging.
#[derive(Default)]
pub(super) struct Epoch {
    now: Merged,
    /// The date that counts, and the time of day for which it was said.
    date: Option<(i64, u64)>,
    /// The time of the last GGA and the system it spoke of.
    last_gga: Option<(Option<u64>, u8)>,
    /// Whether a GSA has come of another system than GPS alone: then the GPS one is only a part.
    gsa_of_others: bool,
    /// The receiver begins its epochs with VTG.
    vtg_leads: bool,
    /// The time of the epoch that ended last.
    ended: Option<u64>,
    /// The time of the fix that went out last: it does not go out again.
    emitted: Option<u64>,
    /// Epochs that ended without a fix.
    without_fix: u64,
    /// Sentences that say time and place.
    timed: u64,
}

/// What an epoch's sentences have said so far.
#[derive(Default)]
struct Merged {
    /// When the first byte of its first sentence came.
    came_us: Option<u64>,
    time: Option<u64>,
    dated: Option<i64>,
    seen: Seen,
    fixed: bool,
    /// RMC, GLL or GNS says that there is a fix.
    confirmed: bool,
    /// GSA says that there is none.
    denied: bool,
    position: Option<(i32, i32)>,
    altitude_cm: Option<i32>,
    speed_mm_s: Option<u32>,
    heading_cdeg: Option<u16>,
    /// A VTG came before any sentence with a time.
    vtg_first: bool,
    quality: Option<u8>,
    mode: Option<u8>,
    satellites: Option<u8>,
    hdop_e2: Option<u16>,
    /// The last GGA repeated an old time: what its GSA says is not to be believed.
    stuck: bool,
}

/// Which of the sentences that come once in an epoch have come.
#[derive(Clone, Copy, Default)]
struct Seen {
    /// `Some`: it has come, with this time.
    rmc: Option<Option<u64>>,
    gga: Option<Option<u64>>,
    vtg: Untimed,
    gsa: Untimed,
}

/// Whether a sentence without a time has come.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Untimed {
    #[default]
    No,
    /// Nothing with a time has come since.
    Yes,
    /// Something with a time has: the next one belongs to another epoch.
    Before,
}

impl Epoch {
    /// Takes a sentence that began at `came_us`. Returns the fix of the epoch before, if the sentence
    /// began a new one.
    pub(super) fn take(&mut self, s: &Sentence<'_>, came_us: u64) -> Option<Fix> {
        let (talker, kind) = s.tag()?;
        let ended = self.dispatch(s, talker, &kind);
        let timed = matches!(&kind, b"RMC" | b"GGA" | b"GLL" | b"GNS");
        if timed || matches!(&kind, b"VTG" | b"GSA") {
            self.now.came_us.get_or_insert(came_us);
        }
        if timed {
            self.timed += 1;
            let seen = &mut self.now.seen;
            for untimed in [&mut seen.vtg, &mut seen.gsa] {
                if *untimed == Untimed::Yes {
                    *untimed = Untimed::Before;
                }
            }
        }
        ended
    }

    fn dispatch(&mut self, s: &Sentence<'_>, talker: [u8; 2], kind: &[u8; 3]) -> Option<Fix> {
        match kind {
            b"RMC" if s.len() >= 9 => self.rmc(s),
            b"GGA" if s.len() >= 10 => self.gga(s, talker),
            b"GLL" if s.len() >= 5 => self.gll(s),
            b"GNS" if s.len() >= 10 => self.gns(s),
            b"VTG" if s.len() >= 6 => self.vtg(s),
            b"GSA" if s.len() >= 18 => self.gsa(s, talker),
            b"ZDA" if s.len() >= 5 => self.zda(s),
            _ => None,
        }
    }

    /// Ends the epoch: at a pause in the stream, or at its end.
    pub(super) fn close(&mut self) -> Option<Fix> {
        let merged = core::mem::take(&mut self.now);
        self.ended = merged.time.or(self.ended);
        let day = self.day_of(&merged);
        let fixed = merged.fixed && (merged.confirmed || !merged.denied);
        let (true, Some((lat_e7, lon_e7))) = (fixed, merged.position) else {
            let was_one = merged.time.is_some() || merged.seen.rmc.is_some() || merged.seen.gga.is_some();
            self.without_fix += u64::from(was_one);
            return None;
        };
        if merged.time.is_some() && merged.time == self.emitted {
            return None;
        }
        self.emitted = merged.time;
        Some(Fix {
            came_us: merged.came_us.unwrap_or(0),
            day,
            time_of_day: merged.time,
            lat_e7,
            lon_e7,
            altitude_cm: merged.altitude_cm,
            speed_mm_s: merged.speed_mm_s,
            heading_cdeg: merged.heading_cdeg,
            quality: merged.quality.or(merged.mode).unwrap_or(1),
            satellites: merged.satellites,
            hdop_e2: merged.hdop_e2,
        })
    }

    /// Epochs that ended without a fix.
    pub(super) fn without_fix(&self) -> u64 {
        self.without_fix
    }

    /// Sentences that said time and place, whether or not there was a fix.
    pub(super) fn timed(&self) -> u64 {
        self.timed
    }

    /// The epoch's day: what it said itself, else the last day said, counted on over midnight.
    fn day_of(&mut self, merged: &Merged) -> Option<i64> {
        let time = merged.time?;
        let day = match (merged.dated, self.date) {
            (Some(day), _) => day,
            (None, Some((day, said_at))) if said_at > time + HALF_DAY_NS => day + 1,
            (None, Some((day, said_at))) if time > said_at + HALF_DAY_NS => day - 1,
            (None, Some((day, _))) => day,
            (None, None) => return None,
        };
        // Not moved backwards by a straggler from before midnight.
        if self.date.is_none_or(|(known, _)| merged.dated.is_some() || day >= known) {
            self.date = Some((day, time));
        }
        Some(day)
    }

    /// Begins a new epoch where `time` is another than the current one's.
    fn at(&mut self, time: u64) -> Option<Fix> {
        let differs = |from: Option<u64>| from.is_some_and(|from| from.abs_diff(time) >= SAME_EPOCH_NS);
        let other = differs(self.now.time);
        if other && self.now.seen.vtg != Untimed::No && !self.now.vtg_first {
            self.vtg_leads = false;
        } else if self.now.time.is_none() && self.now.vtg_first {
            // Where the epoch goes on that the VTG has ended, it stands in its middle.
            self.vtg_leads = self.ended.is_none() || differs(self.ended);
        }
        let ended = if other { self.close() } else { None };
        self.now.time = Some(time);
        ended
    }

    /// The same for a sentence that comes once in an epoch, and may come without a time: one that has been
    /// `seen` is of another epoch where there is no time to compare, and where its own is another, however
    /// little: a receiver may have two hundred epochs a second.
    fn once(&mut self, seen: Option<Option<u64>>, time: Option<u64>) -> Option<Fix> {
        let again = seen.is_some_and(|before| {
            time.is_none() || self.now.time.is_none() || before.is_some() && before != time
        });
        if seen.is_some() && !again {
            (self.now.seen.vtg, self.now.seen.gsa) = Default::default();
        }
        let ended = if again { self.close() } else { None };
        let begun = time.and_then(|time| self.at(time));
        ended.or(begun)
    }

    fn rmc(&mut self, s: &Sentence<'_>) -> Option<Fix> {
        let (time, day) = (s.time_of_day(1), short_date(s.field(9)));
        let valid = matches!(s.letter(2), Some(b'A' | b'D'));
        // Without a fix the time may be made up, but it still says that this is not the old epoch.
        let ended = self.once(self.now.seen.rmc, time);
        let now = &mut self.now;
        now.seen.rmc = Some(time);
        if !valid {
            now.refuse();
            return ended;
        }
        if time.is_some() && day.is_some() {
            now.dated = day;
        }
        now.confirm(s.position(3));
        now.speed_mm_s = s.decimal_e6(7).and_then(mm_s_from_knots_e6).or(now.speed_mm_s);
        now.heading_cdeg = s.decimal_e6(8).and_then(cdeg_from_e6).or(now.heading_cdeg);
        let differential = s.letter(2) == Some(b'D');
        now.mode = s.letter(12).map(quality_of_mode).or(Some(if differential { 2 } else { 1 }));
        ended
    }

    fn gga(&mut self, s: &Sentence<'_>, talker: [u8; 2]) -> Option<Fix> {
        let (time, quality) = (s.time_of_day(1), s.int(6).unwrap_or(0).min(9) as u8);
        // A receiver that has lost its satellites may go on repeating the last GGA, time and all.
        let stuck = self.last_gga == Some((time, talker[1]));
        self.last_gga = Some((time, talker[1]));
        let ended = match time {
            Some(_) if stuck => self.close(),
            _ => self.once(self.now.seen.gga, time),
        };
        self.now.time = time.or(self.now.time);
        let now = &mut self.now;
        (now.seen.gga, now.stuck) = (Some(time), stuck);
        if quality == 0 || stuck {
            now.refuse();
            return ended;
        }
        let satellites = s.int(7).unwrap_or(0);
        now.place(s.position(2));
        now.fixed &= satellites >= 3 || !matches!(&talker, b"GP" | b"GN");
        now.quality = Some(quality);
        now.satellites = u8::try_from(satellites).ok().or(now.satellites);
        now.dop(s.decimal_e6(8));
        now.altitude_cm = s.decimal_e6(9).and_then(cm_from_e6).or(now.altitude_cm);
        ended
    }

    fn gll(&mut self, s: &Sentence<'_>) -> Option<Fix> {
        let ended = s.time_of_day(5).and_then(|time| self.at(time));
        let now = &mut self.now;
        if s.letter(6) == Some(b'A') && s.letter(7) != Some(b'N') {
            now.confirm(s.position(1));
            now.mode = now.mode.or(s.letter(7).map(quality_of_mode));
        } else {
            now.refuse();
        }
        ended
    }

    fn gns(&mut self, s: &Sentence<'_>) -> Option<Fix> {
        let ended = s.time_of_day(1).and_then(|time| self.at(time));
        let now = &mut self.now;
        let mode = match s.letter(6) {
            None | Some(b'N') => {
                now.refuse();
                return ended;
            }
            Some(mode) => mode,
        };
        if matches!(s.letter(13), Some(b'U' | b'V')) {
            return ended;
        }
        now.confirm(s.position(2));
        now.mode = Some(quality_of_mode(mode));
        now.satellites = s.int(7).and_then(|n| u8::try_from(n).ok()).or(now.satellites);
        now.dop(s.decimal_e6(8));
        now.altitude_cm = s.decimal_e6(9).and_then(cm_from_e6).or(now.altitude_cm);
        ended
    }

    fn vtg(&mut self, s: &Sentence<'_>) -> Option<Fix> {
        let (before, timed) = (self.now.seen.vtg, self.now.time.is_some());
        let lost = self.vtg_leads && timed && before == Untimed::No;
        let ended = if lost { self.close() } else { None };
        let ended = ended.or(self.untimed(|seen| &mut seen.vtg));
        let says_nothing = s.field(1).is_empty() || matches!(s.letter(9), Some(b'E' | b'N'));
        // Without a fix a receiver may order its sentences in another way.
        self.now.vtg_first |= self.now.time.is_none() && s.letter(9) != Some(b'N');
        if says_nothing || before == Untimed::Yes {
            return ended;
        }
        if let Some(speed) = s.decimal_e6(5).and_then(mm_s_from_knots_e6) {
            self.now.speed_mm_s = Some(speed);
            self.now.heading_cdeg = s.decimal_e6(1).and_then(cdeg_from_e6).or(self.now.heading_cdeg);
        }
        ended
    }

    /// Closes the epoch where a sentence without a time has come in it before others with one.
    fn untimed(&mut self, which: fn(&mut Seen) -> &mut Untimed) -> Option<Fix> {
        let again = *which(&mut self.now.seen) == Untimed::Before;
        let ended = if again { self.close() } else { None };
        *which(&mut self.now.seen) = Untimed::Yes;
        ended
    }

    fn gsa(&mut self, s: &Sentence<'_>, talker: [u8; 2]) -> Option<Fix> {
        let of_gps = talker[1] == b'P';
        self.gsa_of_others |= !of_gps;
        if self.now.stuck || (of_gps && self.gsa_of_others) {
            return None;
        }
        let ended = self.untimed(|seen| &mut seen.gsa);
        let now = &mut self.now;
        match s.letter(2) {
            Some(b'2' | b'3') => (now.fixed, now.denied) = (true, false),
            Some(b'E') => {}
            _ => now.denied = true,
        }
        if now.hdop_e2.is_none() && s.len() <= 19 {
            now.dop(s.decimal_e6(16));
        }
        ended
    }

    fn zda(&mut self, s: &Sentence<'_>) -> Option<Fix> {
        let (time, year) = (s.time_of_day(1)?, s.int(4)?);
        let day = calendar::days(i64::from(year), s.int(3)?, s.int(2)?)?;
        if year >= 1980 {
            match self.now.time {
                Some(now) if now.abs_diff(time) < SAME_EPOCH_NS => self.now.dated = Some(day),
                _ => self.date = Some((day, time)),
            }
        }
        None
    }
}

impl Merged {
    /// A position came with a sentence that claims a fix.
    fn place(&mut self, position: Option<(i32, i32)>) {
        self.fixed = position.is_some();
        self.denied = false;
        self.position = position.or(self.position);
    }

    /// The same, of a sentence whose only purpose is to say so.
    fn confirm(&mut self, position: Option<(i32, i32)>) {
        self.place(position);
        self.confirmed = self.fixed;
    }

    /// A sentence says that there is no fix.
    fn refuse(&mut self) {
        (self.fixed, self.confirmed) = (false, false);
    }

    fn dop(&mut self, e6: Option<i64>) {
        self.hdop_e2 = e6.and_then(dop_e2_from_e6).or(self.hdop_e2);
    }
}
