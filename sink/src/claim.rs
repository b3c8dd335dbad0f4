//! The commit protocol of one partition, as a pure state machine: what happened goes in, what to do
//! next comes out. It knows ranges of offsets, and nothing of records, files or stores.
//!
//! Why a range is claimed before its files are written: cuts depend on time, so two owners of a
//! partition (one paused beyond its session, one new) would cut the same records differently, and
//! their files would overlap or overwrite each other. A claim is an object that can be made once; it
//! fixes the cut for everyone. Files follow from the claim, so to write them twice is to write the
//! same. The rules:
//!
//! 1. A claim begins where the newest one before it ends; the first begins at 0.
//! 2. It is made only when the newest has its manifest; one that has none is finished first, by
//!    whoever meets it.
//! 3. Who does not get its claim starts over with what is there.
//!
//! `tests.rs` steps two machines through every interleaving, crash and lost answer.

use crate::store::Put;

/// Offsets, inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Range {
    /// The first.
    pub first: i64,
    /// The last.
    pub last: i64,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// The partition is ours: begin, or begin again.
    Start,
    /// The listing showed the claim that begins here as the newest; `None` where there is none.
    Newest(Option<i64>),
    /// The newest claim was read.
    ClaimRead(Range),
    /// The manifest that was looked for is there, or is not.
    ManifestRead(bool),
    /// The records up to this offset are to be written.
    Cut(i64),
    /// How the put of the claim ended.
    ClaimPut(Put),
    /// The claim in the way was read: whether it asks for the very same.
    ClaimCompared(bool),
    /// The claim's records were read again and its files made anew.
    Rebuilt,
    /// All files are in the store.
    FilesPut,
    /// How the put of the manifest ended.
    ManifestPut(Put),
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// List the newest claim.
    List,
    /// Read the claim that begins here.
    ReadClaim(i64),
    /// Look for the manifest of this range, and take in what it says.
    ReadManifest(Range),
    /// Wait for records from this offset on, until they are cut.
    Collect(i64),
    /// Put the claim, if there is none.
    PutClaim(Range),
    /// Read the claim that is there, and compare it with one's own.
    CompareClaim(Range),
    /// Read the records of this range from Kafka again, and make the files that its claim asks for.
    Rebuild(Range),
    /// Put the files, each if it is not there.
    PutFiles(Range),
    /// Put the manifest, if there is none.
    PutManifest(Range),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Place {
    Outside,
    Listing,
    ReadingClaim(i64),
    ReadingManifest(Range),
    Collecting(i64),
    Claiming(Range),
    Comparing(Range),
    Rebuilding(Range),
    Uploading(Range),
    Sealing(Range),
}

/// An event that cannot follow: a mistake in the driver, or a store that breaks its promise.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("The commit protocol met {event} in {place}: a bug, or an object store that breaks its promises")]
pub struct Unexpected {
    event: String,
    place: String,
}

/// One owner's side of the protocol.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Machine {
    place: Place,
}

impl Default for Machine {
    fn default() -> Self {
        Self { place: Place::Outside }
    }
}

impl Machine {
    /// Takes in what happened, says what to do next.
    pub fn step(&mut self, event: Event) -> Result<Effect, Unexpected> {
        let unexpected = Unexpected { event: format!("{event:?}"), place: format!("{:?}", self.place) };
        let (place, effect) = match (self.place, event) {
            (_, Event::Start) => (Place::Listing, Effect::List),
            (Place::Listing, Event::Newest(None)) => (Place::Collecting(0), Effect::Collect(0)),
            (Place::Listing, Event::Newest(Some(first))) => {
                (Place::ReadingClaim(first), Effect::ReadClaim(first))
            }
            (Place::ReadingClaim(first), Event::ClaimRead(range))
                if range.first == first && range.last >= first =>
            {
                (Place::ReadingManifest(range), Effect::ReadManifest(range))
            }
            (Place::ReadingManifest(range), Event::ManifestRead(true)) => {
                (Place::Collecting(range.last + 1), Effect::Collect(range.last + 1))
            }
            (Place::ReadingManifest(range), Event::ManifestRead(false)) => {
                (Place::Rebuilding(range), Effect::Rebuild(range))
            }
            (Place::Collecting(first), Event::Cut(last)) if last >= first => {
                let range = Range { first, last };
                (Place::Claiming(range), Effect::PutClaim(range))
            }
            (Place::Claiming(range), Event::ClaimPut(Put::Created)) => {
                (Place::Uploading(range), Effect::PutFiles(range))
            }
            // Somebody else's, or one's own whose answer was lost.
            (Place::Claiming(range), Event::ClaimPut(Put::Exists)) => {
                (Place::Comparing(range), Effect::CompareClaim(range))
            }
            (Place::Comparing(range), Event::ClaimCompared(true)) => {
                (Place::Uploading(range), Effect::PutFiles(range))
            }
            (Place::Comparing(_), Event::ClaimCompared(false)) => (Place::Listing, Effect::List),
            (Place::Rebuilding(range), Event::Rebuilt) => (Place::Uploading(range), Effect::PutFiles(range)),
            (Place::Uploading(range), Event::FilesPut) => (Place::Sealing(range), Effect::PutManifest(range)),
            (Place::Sealing(range), Event::ManifestPut(Put::Created)) => {
                (Place::Collecting(range.last + 1), Effect::Collect(range.last + 1))
            }
            // What counts is what is there.
            (Place::Sealing(range), Event::ManifestPut(Put::Exists)) => {
                (Place::ReadingManifest(range), Effect::ReadManifest(range))
            }
            _ => return Err(unexpected),
        };
        self.place = place;
        Ok(effect)
    }
}

#[cfg(test)]
mod tests;
