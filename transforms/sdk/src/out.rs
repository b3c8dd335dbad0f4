//! What a transform says: what comes next for a reading, and what it derives from it.

use crate::Derived;
use crate::derive::{RowMaker, Tables};
use crate::reading::Timed;

/// What becomes of a reading.
#[derive(Clone, Debug, PartialEq)]
pub enum Next<R> {
    /// It goes on as it is. Costs nothing: the reading is not copied back.
    Keep,
    /// It ends here, and is counted as taken out.
    TakeOut,
    /// It goes on changed.
    Change(R),
    /// These stand in its place, in this order; it may be among them.
    Become(Vec<R>),
}

impl<R> Next<R> {
    /// [`Next::Keep`] or [`Next::TakeOut`].
    pub fn keep_if(keep: bool) -> Self {
        if keep { Next::Keep } else { Next::TakeOut }
    }
}

/// Takes derived rows and refusals.
#[derive(Debug, Default)]
pub struct Out {
    tables: Tables,
    error: Option<String>,
}

impl Out {
    /// Adds a row to a stream of the transform's own, `[a-z][a-z0-9_]{0,47}`, at the time of a reading:
    ///
    /// ```
    /// # use milepost_transform::{Gps, Out};
    /// # let (fix, out) = (&Gps::at(0, 52.0, 0.0), &mut Out::default());
    /// out.derive("harsh_event", fix, |row| {
    ///     row.set("kind", "braking").set("g", 0.41).set("speed_m_s", fix.speed_m_s());
    /// });
    /// ```
    // Inlined, and what is called is given numbers: a reading of which a call is lent more than that would have
    // to be in memory with all of its fields, also where no row comes of it.
    #[inline]
    pub fn derive(&mut self, stream: &str, time: &impl Timed, fill: impl FnOnce(&mut RowMaker<'_>)) {
        let mut row = self.tables.row(stream);
        fill(&mut row);
        if let Err(e) = row.finish(time.ts_us(), time.clock()) {
            self.fail(e);
        }
    }

    /// Says that the reading cannot be worked on. Nothing of the batch counts then: the agent tries again
    /// with parts of it until this reading is alone, and sets it aside as the configuration says.
    pub fn fail(&mut self, why: impl Into<String>) {
        self.error.get_or_insert_with(|| why.into());
    }

    pub(crate) fn finish(self) -> Result<Vec<Derived>, String> {
        self.error.map_or(Ok(self.tables.0), Err)
    }

    pub(crate) fn failed(&self) -> bool {
        self.error.is_some()
    }
}
