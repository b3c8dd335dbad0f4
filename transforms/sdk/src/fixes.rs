//! Batches of fixes, read where the agent has put them.
//!
//! The generated bindings make a list of records of every batch before a transform sees the first one,
//! which costs a fix as much as many a transform's own work. A fix holds only numbers, so each can be read
//! when its turn comes, and the compiler leaves out the fields that nobody asks for. This module stands in
//! the place of [`bindings`] where a component is exported, with a `process` of its own for fixes; all
//! else is as generated.
#![allow(missing_docs)]

use crate::bindings;
use crate::bindings::milepost::transform::types::{Clock, Gps};
use std::alloc::Layout;
use std::cell::Cell;
use std::ptr::NonNull;

pub use crate::bindings::*;

/// The number of fixes among the cases of the interface's `batch`.
const GPS: i32 = 1;

thread_local! {
    /// From [`_export_process_cabi`] to the `process` that it calls.
    static LENT: Cell<Option<Fixes>> = const { Cell::new(None) };
}

/// The fixes of a batch: in a component those that the agent has written, of which the generated bindings
/// have seen none.
#[cfg(target_family = "wasm")]
pub(crate) fn of(rows: Vec<Gps>) -> impl ExactSizeIterator<Item = Gps> {
    assert!(rows.is_empty(), "a component is exported by `transform!`, or with the types in `fixes`");
    // SAFETY: an empty list.
    LENT.take().unwrap_or(unsafe { Fixes::new(std::ptr::null_mut(), 0) })
}

/// The fixes of a batch.
#[cfg(not(target_family = "wasm"))]
pub(crate) fn of(rows: Vec<Gps>) -> impl ExactSizeIterator<Item = Gps> {
    rows.into_iter()
}

/// A list of the interface's `gps` in the canonical ABI, which it owns, from first to last.
struct Fixes {
    at: NonNull<u8>,
    len: usize,
    next: usize,
}

impl Fixes {
    /// Bytes of a record: fields in order, each at a multiple of its own size, little endian; an `option` is
    /// a byte that says whether, and the value at the next multiple of its size.
    const SIZE: usize = 48;
    const ALIGN: usize = 8;

    /// # Safety
    /// `at` is of [`std::alloc`] with the list's size and alignment, or the list is empty; it holds `len`
    /// records, and nobody else reads or frees them.
    unsafe fn new(at: *mut u8, len: usize) -> Self {
        Self { at: NonNull::new(at).unwrap_or(NonNull::<u64>::dangling().cast()), len, next: 0 }
    }
}

impl Iterator for Fixes {
    type Item = Gps;

    #[inline]
    fn next(&mut self) -> Option<Gps> {
        let at = (self.next < self.len).then_some(self.next * Self::SIZE)?;
        self.next += 1;
        // SAFETY: it is within the list.
        Some(unsafe { read(self.at.as_ptr().add(at)) })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.len - self.next, Some(self.len - self.next))
    }
}

impl ExactSizeIterator for Fixes {}

impl Drop for Fixes {
    fn drop(&mut self) {
        if self.len > 0 {
            // SAFETY: as `new` was promised; it was allocated with this layout.
            unsafe {
                let layout = Layout::from_size_align_unchecked(self.len * Self::SIZE, Self::ALIGN);
                std::alloc::dealloc(self.at.as_ptr(), layout);
            }
        }
    }
}

/// # Safety
/// A record is there, aligned.
#[inline(always)]
unsafe fn read(at: *const u8) -> Gps {
    macro_rules! field {
        ($t:ty, $offset:expr) => {
            // SAFETY: within the record, and a multiple of its size.
            unsafe { *at.add($offset).cast::<$t>() }
        };
    }
    macro_rules! option {
        ($t:ty, $is:expr, $offset:expr) => {
            (field!(u8, $is) != 0).then_some(field!($t, $offset))
        };
    }
    Gps {
        ts_us: field!(i64, 0),
        clock: match field!(u8, 8) {
            0 => Clock::Gps,
            1 => Clock::Ntp,
            _ => Clock::None,
        },
        lat_e7: field!(i32, 12),
        lon_e7: field!(i32, 16),
        altitude_cm: option!(i32, 20, 24),
        speed_mm_s: option!(u32, 28, 32),
        heading_cdeg: option!(u16, 36, 38),
        fix: field!(u8, 40),
        satellites: option!(u8, 41, 42),
        hdop_e2: option!(u16, 44, 46),
    }
}

/// The export `process`: as generated, but that fixes stay where they are for [`of`].
///
/// # Safety
/// As the generated one: only to be called by the host, with what the canonical ABI says.
#[doc(hidden)]
pub unsafe fn _export_process_cabi<T: Guest>(
    case: i32,
    at: *mut u8,
    len: usize,
    a: *mut u8,
    b: usize,
    c: *mut u8,
    d: usize,
) -> *mut u8 {
    let len = if case == GPS {
        // SAFETY: the host has written the list into memory that it had from `cabi_realloc`.
        LENT.set(Some(unsafe { Fixes::new(at, len) }));
        0
    } else {
        len
    };
    // SAFETY: the caller's promise; an empty list is not freed.
    unsafe { bindings::_export_process_cabi::<T>(case, at, len, a, b, c, d) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::alloc::alloc;

    #[test]
    fn fixes_are_read_as_the_agent_writes_them() {
        let full = Gps {
            ts_us: -1_700_000_000_000_001,
            clock: Clock::Ntp,
            lat_e7: -525_000_001,
            lon_e7: 1_799_999_999,
            altitude_cm: Some(-123),
            speed_mm_s: Some(4_000_000_000),
            heading_cdeg: Some(35_999),
            fix: 5,
            satellites: Some(200),
            hdop_e2: Some(65_535),
        };
        let empty = Gps {
            clock: Clock::None,
            altitude_cm: None,
            speed_mm_s: None,
            heading_cdeg: None,
            satellites: None,
            hdop_e2: None,
            ..full
        };
        let given = [full, empty];
        let mut bytes = Vec::new();
        for fix in &given {
            let option = |bytes: &mut Vec<u8>, value: Option<&[u8]>, width: usize| {
                bytes.extend(vec![0; (width - bytes.len() % width) % width]);
                bytes.push(value.is_some().into());
                bytes.extend(vec![0xaa; width - 1]);
                bytes.extend(value.map_or(vec![0xaa; width], <[u8]>::to_vec));
            };
            let b = &mut bytes;
            b.extend(fix.ts_us.to_le_bytes());
            b.extend([fix.clock as u8, 0, 0, 0]);
            b.extend(fix.lat_e7.to_le_bytes());
            b.extend(fix.lon_e7.to_le_bytes());
            option(b, fix.altitude_cm.map(i32::to_le_bytes).as_ref().map(|v| &v[..]), 4);
            option(b, fix.speed_mm_s.map(u32::to_le_bytes).as_ref().map(|v| &v[..]), 4);
            option(b, fix.heading_cdeg.map(u16::to_le_bytes).as_ref().map(|v| &v[..]), 2);
            b.push(fix.fix);
            option(b, fix.satellites.map(|s| [s]).as_ref().map(|v| &v[..]), 1);
            option(b, fix.hdop_e2.map(u16::to_le_bytes).as_ref().map(|v| &v[..]), 2);
        }
        assert_eq!(bytes.len(), given.len() * Fixes::SIZE);
        // SAFETY: filled before it is read, and freed by `Fixes`.
        let fixes = unsafe {
            let at = alloc(Layout::from_size_align(bytes.len(), Fixes::ALIGN).unwrap());
            at.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
            Fixes::new(at, given.len())
        };
        assert_eq!(fixes.len(), given.len());
        assert_eq!(fixes.collect::<Vec<_>>(), given);
        // SAFETY: an empty list.
        assert_eq!(unsafe { Fixes::new(std::ptr::null_mut(), 0) }.count(), 0);
    }
}
