//! What an earlier boot left: finds it, says what is missing, and plans what must be written.
//!
//! Only the journal and the part of each lane behind the journal's last mark are read, so a large
//! backlog costs nothing here. Behind that mark, bytes that are no record were never synced (or have
//! rotted): the lane is cut there, and whole records beyond the cut, which a disk that reorders its
//! writes can leave, go to a new segment. Damage before the mark is the reader's to find. Where a read
//! fails, nothing is planned: the agent does not start, and leaves all as it is.

use super::disk::Disk;
use super::journal::{LaneMark, Replayed};
use super::lane::{Lane, Place};
use super::queue::GivenUp;
use super::record::{self, Item, Scanner};
use super::segment::{self, Key, Piece, Skip};
use super::{Gap, OpenError, Reason};
use milepost_wire::{BootId, Stream};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Where a record is that must be written again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stray {
    pub(super) segment: u64,
    pub(super) at: u64,
    pub(super) end: u64,
}

/// A lane as it was found.
pub(super) struct FoundLane {
    pub(super) lane: Lane,
    /// Number and length, oldest first, with what the plan cuts already cut.
    pub(super) segments: Vec<(u64, u64)>,
    pub(super) cursor: Place,
    pub(super) handed: Place,
    pub(super) end: Place,
    /// The number of the next new segment.
    pub(super) next_number: u64,
    /// Segments to cut once the strays are safe; those cut to nothing are unlinked.
    pub(super) cuts: Vec<(u64, u64)>,
    /// What each stream had at the cut.
    pub(super) expected: BTreeMap<Key, u64>,
    /// The frames behind the last mark, whole ones: first, next, and whether it must be moved.
    frames: Vec<(Key, u64, u64, Option<Stray>)>,
    skips: Vec<Skip>,
    /// What the gap rows among the frames declare undeliverable.
    undeliverable: Vec<Gap>,
    damaged: bool,
}

/// What must be appended to a lane, in this order.
pub(super) enum Rescue {
    Rows(Key, u64, Vec<u8>),
    Stray(Key, u64, Stray),
    Skip(Skip),
}

/// What recovery came to.
pub(super) struct Plan {
    pub(super) lanes: [FoundLane; 3],
    pub(super) rescues: Vec<Rescue>,
    pub(super) gaps: Vec<Gap>,
    pub(super) given_up: Vec<GivenUp>,
}

/// Reads what is there and plans. Writes nothing.
pub(super) fn plan(
    disk: &Arc<dyn Disk>,
    files: &[(String, u64)],
    replayed: &Replayed,
    unsynced_max: u32,
) -> Result<Plan, OpenError> {
    let mark = |lane: Lane| replayed.mark.as_ref().map(|m| m.lanes[lane as usize]);
    let [a, b, c] = Lane::ALL.map(|lane| find(disk, files, lane, mark(lane)));
    let mut plan = Plan { lanes: [a?, b?, c?], rescues: Vec::new(), gaps: Vec::new(), given_up: Vec::new() };
    let last = replayed.mark.as_ref().map(|m| m.boot);
    for lane in &mut plan.lanes {
        for (key, next) in replayed.sealed.iter().filter(|(k, _)| Lane::of(&k.1) == lane.lane) {
            // Headers carry the boot before theirs, and none that is older: to a reader that has
            // not heard of it for a while it would look lost.
            if last == Some(key.0) || lane.expected.contains_key(key) {
                let expected = lane.expected.entry(key.clone()).or_default();
                *expected = (*expected).max(*next);
            }
        }
    }
    let mut keys: BTreeSet<Key> = replayed.sealed.keys().cloned().collect();
    keys.extend(replayed.rows.keys().map(|(key, _)| key.clone()));
    keys.extend(plan.lanes.iter().flat_map(|l| l.frames.iter().map(|f| f.0.clone())));
    let torn = replayed.torn || plan.lanes.iter().any(|l| l.damaged);
    let crashed = replayed.mark.as_ref().filter(|m| !m.clean).map(|m| m.boot);
    for key in keys {
        let declare = crashed == Some(key.0);
        // The emergency lane promises that nothing is missing.
        let bound = match Lane::of(&key.1) {
            Lane::Live | Lane::Bulk if declare => {
                bound(replayed.promises.get(&key.1).copied().unwrap_or(0), torn)
            }
            _ => 0,
        };
        plan.stream(key, replayed, declare, bound);
    }
    if replayed.mark.is_none() {
        plan.lost_journal(unsynced_max);
    }
    plan.given_up(replayed);
    Ok(plan)
}

/// The most readings of a stream that can be missing. Bytes behind the last group are either one that
/// was never synced, or a good one that has rotted: it then held at most `promise`, and may have
/// raised the promise as far as it may grow at once.
fn bound(promise: u32, torn: bool) -> u64 {
    u64::from(promise) + if torn { u64::from(raised(promise)) } else { 0 }
}

/// How far a promise may grow at once: little enough that what is declared is no more than what comes
/// within the loss window, as writes are due after three quarters of it.
pub(super) fn raised(promise: u32) -> u32 {
    promise.saturating_add(promise / 4).saturating_add(8)
}

/// The most that a promise may be, so that no declared bound is above the setting.
pub(super) fn promise_max(unsynced_max: u32) -> u32 {
    (unsynced_max.saturating_sub(8) / 3).max(1)
}

impl Plan {
    /// One stream of one boot: what is rescued, and what is missing between.
    fn stream(&mut self, key: Key, replayed: &Replayed, declare: bool, bound: u64) {
        let lane = &self.lanes[Lane::of(&key.1) as usize];
        let sealed = replayed.sealed.get(&key).copied().unwrap_or(0);
        let mut pieces: Vec<(u64, u64, Option<Rescue>)> = Vec::new();
        for (_, first, next, stray) in lane.frames.iter().filter(|f| f.0 == key) {
            let rescue = stray.map(|s| Rescue::Stray(key.clone(), *next, s));
            pieces.push((*first, *next, rescue));
        }
        for skip in lane.skips.iter().filter(|s| (s.boot, &s.stream) == (key.0, &key.1)) {
            pieces.push((skip.next.saturating_sub(1), skip.next, Some(Rescue::Skip(skip.clone()))));
        }
        let from = (key.clone(), 0)..=(key.clone(), u64::MAX);
        for ((_, first), (next, bytes)) in replayed.rows.range(from) {
            let held = lane.frames.iter().any(|f| f.0 == key && f.1 <= *first && f.2 >= *next);
            if !held {
                pieces.push((*first, *next, Some(Rescue::Rows(key.clone(), *next, bytes.clone()))));
            }
        }
        pieces.sort_by_key(|p| (p.0, p.1));
        let mut cur = sealed;
        for (first, next, rescue) in pieces {
            if declare && first > cur {
                self.gaps.push(Gap::range(key.1.clone(), key.0, cur, first - 1, Reason::CrashTail));
                self.rescues.push(Rescue::Skip(Skip { boot: key.0, stream: key.1.clone(), next: first }));
            }
            cur = cur.max(next);
            self.rescues.extend(rescue);
        }
        if bound > 0 {
            self.gaps.push(Gap {
                stream: Some(key.1),
                boot: Some(key.0),
                first_seq: Some(cur),
                last_seq: None,
                count: bound,
                exact: false,
                reason: Reason::CrashTail,
                detail: None,
            });
        }
    }

    /// What the last mark says is given up, and what gap rows behind it say. It stands before the end of
    /// its lane as recovery leaves it.
    fn given_up(&mut self, replayed: &Replayed) {
        let anywhere = (u64::MAX, 0);
        let marked = replayed.mark.iter().flat_map(|mark| mark.given_up.iter().cloned());
        let marked = marked.filter(|g| g.is_ahead(self.lanes[g.lane() as usize].cursor));
        let marked = marked.map(|g| GivenUp { before: anywhere, ..g });
        let gaps = self.lanes.iter().flat_map(|lane| &lane.undeliverable);
        self.given_up = marked.chain(gaps.filter_map(|gap| GivenUp::of(gap, anywhere))).collect();
    }

    /// Segments without a journal: somebody took it, or it has rotted whole.
    fn lost_journal(&mut self, unsynced_max: u32) {
        let boots: BTreeSet<BootId> =
            self.lanes.iter().flat_map(|l| l.frames.iter().map(|f| f.0.0)).collect();
        for boot in boots {
            self.gaps.push(Gap {
                stream: None,
                boot: Some(boot),
                first_seq: None,
                last_seq: None,
                count: u64::from(unsynced_max),
                exact: false,
                reason: Reason::Corrupt,
                detail: Some("the journal is gone: readings of each stream may be missing".to_owned()),
            });
        }
    }
}

fn find(
    disk: &Arc<dyn Disk>,
    files: &[(String, u64)],
    lane: Lane,
    mark: Option<LaneMark>,
) -> Result<FoundLane, OpenError> {
    let named = files.iter().filter_map(|(f, len)| Some((segment::parse_name(f)?, *len)));
    let mut segments: Vec<(u64, u64)> =
        named.filter(|((l, _), _)| *l == lane).map(|((_, n), len)| (n, len)).collect();
    segments.sort_unstable();
    let newest = segments.last().copied();
    let end = mark.map_or(Place::default(), |m| m.end);
    // Without a mark, all but the newest segment is taken as it is.
    let from = match (mark, newest) {
        (Some(_), _) | (None, None) => end,
        (None, Some((number, _))) => Place { segment: number, offset: 0, index: 0 },
    };
    let mut found = FoundLane {
        lane,
        cursor: mark.map_or(Place::default(), |m| m.cursor),
        handed: mark.map_or(Place::default(), |m| m.handed),
        end: from,
        next_number: newest.map_or(0, |n| n.0).max(end.segment) + 1,
        segments: Vec::new(),
        cuts: Vec::new(),
        expected: BTreeMap::new(),
        frames: Vec::new(),
        skips: Vec::new(),
        undeliverable: Vec::new(),
        damaged: false,
    };
    for &(number, len) in &segments {
        if number < from.segment {
            found.segments.push((number, len));
        } else {
            let offset = if number == from.segment { from.offset.min(len) } else { 0 };
            found.scan(disk, number, offset, len)?;
        }
    }
    Ok(found)
}

impl FoundLane {
    fn scan(&mut self, disk: &Arc<dyn Disk>, number: u64, offset: u64, len: u64) -> Result<(), OpenError> {
        let name = segment::name(self.lane, number);
        let file =
            disk.open(&name).map_err(|source| OpenError::Io { what: format!("open {name}"), source })?;
        let salt = record::salt(&name);
        check_version(&file, &name, salt, len)?;
        let mut scanner = Scanner::new(file, salt, offset, len);
        let already = self.damaged;
        let mut cut = if already { Some(0) } else { None };
        while let Some((at, end, piece)) = segment::next_piece(&mut scanner) {
            match piece {
                Piece::Damage => {
                    self.damaged = true;
                    cut = cut.or(Some(at));
                    continue;
                }
                Piece::Header(header) if cut.is_none() => {
                    self.end.index = header.first_index;
                }
                Piece::Header(_) => {}
                Piece::Frame(header, frame) => {
                    if header.stream == Stream::Gap {
                        let gaps = Gap::of_frame(&frame).into_iter();
                        self.undeliverable.extend(gaps.filter(|g| g.reason == Reason::Undeliverable));
                    }
                    let key = (header.boot, header.stream.clone());
                    let next = header.last_seq().saturating_add(1);
                    let stray = cut.map(|_| Stray { segment: number, at, end });
                    if stray.is_none() {
                        self.end.index += 1;
                        let expected = self.expected.entry(key.clone()).or_default();
                        *expected = next.max(*expected);
                    }
                    self.frames.push((key, header.first_seq, next, stray));
                }
                Piece::Skip(skip) => {
                    if cut.is_none() {
                        let expected = self.expected.entry((skip.boot, skip.stream.clone())).or_default();
                        *expected = skip.next.max(*expected);
                    }
                    self.skips.push(skip);
                }
            }
        }
        // What is cut must be known to be no record.
        scanner.failure().map_err(|source| OpenError::Io { what: format!("read {name}"), source })?;
        let kept = cut.unwrap_or(len);
        if cut.is_some() {
            self.cuts.push((number, kept));
        }
        if kept > 0 {
            self.segments.push((number, kept));
            (self.end.segment, self.end.offset) = (number, kept);
        }
        Ok(())
    }
}

fn check_version(
    file: &Arc<dyn super::disk::File>,
    name: &str,
    salt: u32,
    len: u64,
) -> Result<(), OpenError> {
    let first = Scanner::new(file.clone(), salt, 0, len).next();
    if let Some(Item::Record { kind: segment::HEADER, payload, .. }) = first
        && let Err(version) = segment::parse_header(&payload)
    {
        return Err(OpenError::Version { file: name.to_owned(), version });
    }
    Ok(())
}

/// Reads one stray record's frame again.
pub(super) fn read(disk: &Arc<dyn Disk>, lane: Lane, stray: Stray) -> Option<Vec<u8>> {
    let name = segment::name(lane, stray.segment);
    let mut scanner = Scanner::new(disk.open(&name).ok()?, record::salt(&name), stray.at, stray.end);
    match scanner.next()? {
        Item::Record { payload, .. } => Some(payload),
        Item::Damage { .. } => None,
    }
}
