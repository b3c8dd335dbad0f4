//! The columns of derived tables: which column takes what a frame brings. Pure; [`log`] keeps them in
//! the lake.
//!
//! A derived stream's frames carry names and kinds of their own, and two of them may disagree. The rules:
//!
//! 1. A table's columns are an append-only list. A column keeps its name and type for ever, so that old
//!    and new files are read together.
//! 2. A frame's column goes to the first column of the list that was made for its name, takes its kind,
//!    and is not taken by another column of the same frame. A double also takes integers, where every
//!    one of the frame is exact in it (up to 2^53). A column without a value fits anywhere.
//! 3. Where none takes it, one is added: with its own name, or `_2`, `_3` … behind it where that is
//!    taken. A name that every table has gets `_value` first.
//! 4. A table has at most [`MOST`] such columns. A frame that needs more is kept unread, with the reason
//!    `columns`.
//!
//! Because the list only grows at its end and the first match counts, a frame has the same place under
//! every later list, and one that rule 4 refused stays refused: whoever redoes a claim needs no more than
//! the list of the day to make the same files.

pub mod log;

use crate::schema::{Type, is_common};
use milepost_wire::{self as wire, Kind, Values};
use serde::{Deserialize, Serialize};

/// The most columns of a derived table, beside those that every table has.
pub const MOST: usize = 400;
/// The greatest integer up to which every one is a double.
const EXACT: u64 = 1 << 53;

/// A column of a derived table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// Its name in the table.
    pub name: String,
    /// The name on the wire that it was made for.
    pub of: String,
    /// What it holds.
    #[serde(rename = "type")]
    pub kind: Type,
}

/// What is to be known of a frame's column to find its place.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Want {
    name: String,
    kind: Kind,
    /// Whether no row has a value.
    empty: bool,
    /// Whether all values are exact as doubles.
    exact: bool,
}

impl Want {
    /// What a frame's columns want.
    pub fn of(columns: &[wire::Column]) -> Vec<Self> {
        let want = |c: &wire::Column| Self {
            name: c.spec.name.to_string(),
            kind: c.spec.kind,
            empty: c.validity.as_ref().is_some_and(|v| v.count_set() == 0),
            exact: match &c.values {
                Values::Int(v) => v.iter().all(|v| v.unsigned_abs() <= EXACT),
                _ => false,
            },
        };
        columns.iter().map(want).collect()
    }

    fn fits(&self, known: &Known) -> bool {
        let kind = match known.kind {
            Type::Double => self.kind == Kind::Float || (self.kind == Kind::Int && self.exact),
            other => other == Type::of(self.kind),
        };
        known.of == self.name && (kind || self.empty)
    }
}

/// The columns of one derived table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Columns(Vec<Known>);

impl Columns {
    /// Columns in the order in which they were added.
    pub fn new(known: Vec<Known>) -> Self {
        Self(known)
    }

    /// No columns.
    pub const fn none() -> Self {
        Self(Vec::new())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All, in the order in which they were added.
    pub fn iter(&self) -> impl Iterator<Item = &Known> {
        self.0.iter()
    }

    pub(crate) fn get(&self, index: usize) -> &Known {
        &self.0[index]
    }

    /// The place of each column of a frame; `None` where one has none.
    pub fn places(&self, wants: &[Want]) -> Option<Vec<usize>> {
        let mut places = Vec::with_capacity(wants.len());
        for want in wants {
            places.push(self.place(want, &places)?);
        }
        Some(places)
    }

    fn place(&self, want: &Want, used: &[usize]) -> Option<usize> {
        let free = |&(i, known): &(usize, &Known)| want.fits(known) && !used.contains(&i);
        self.0.iter().enumerate().find(free).map(|(i, _)| i)
    }

    /// The columns with those that a frame lacks; as they are where the table would have too many.
    pub fn with(&self, wants: &[Want]) -> Self {
        let mut more = self.clone();
        let mut places = Vec::with_capacity(wants.len());
        for want in wants {
            let place = more.place(want, &places).unwrap_or_else(|| more.add(want));
            places.push(place);
        }
        match more.len() <= MOST {
            true => more,
            false => self.clone(),
        }
    }

    fn add(&mut self, want: &Want) -> usize {
        let name = self.free_name(&want.name);
        self.0.push(Known { name, of: want.name.clone(), kind: Type::of(want.kind) });
        self.0.len() - 1
    }

    fn free_name(&self, of: &str) -> String {
        let own = match is_common(of) {
            true => format!("{of}_value"),
            false => of.to_owned(),
        };
        let taken = |name: &String| is_common(name) || self.0.iter().any(|c| c.name == *name);
        let mut names = std::iter::once(own.clone()).chain((2..).map(|n| format!("{own}_{n}")));
        // The numbers do not end, so there is one.
        names.find(|name| !taken(name)).unwrap_or(own)
    }
}

#[cfg(test)]
mod tests;
