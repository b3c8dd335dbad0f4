//! Fixes on their way into the sandbox, written as the bytes that they are there.
//!
//! Wasmtime writes a list of records field by field and looks the guest's memory up for each: 16 times
//! for a fix, 60 to 80 ns, which is more than all the rest of a call. A fix holds only numbers, so a list of
//! them can be written in one go. This is the one place of the crate that needs `unsafe`: the
//! traits are not meant to be implemented by hand, and their layout must be the canonical ABI's. The
//! size and alignment are checked at compile time against the derived type, each field in a test.
#![allow(unsafe_code)]

use crate::bindings::Transform as Exports;
use crate::bindings::milepost::transform::types as wit;
use milepost_wire::{Body, Reading};
use std::mem::MaybeUninit;
use wasmtime::component::__internal::{CanonicalAbiInfo, InstanceType, InterfaceType, LowerContext};
use wasmtime::component::{ComponentType, Lower, TypedFunc};
use wasmtime::{AsContextMut, Result};

/// A reading that is a fix, and travels as the record `gps` in the canonical ABI: fields in order, each at a
/// multiple of its own alignment, little endian; an `option` is a byte that says whether, and the value at
/// the next multiple of its alignment.
#[repr(transparent)]
pub(crate) struct Fix(Reading);

impl Fix {
    const SIZE: usize = 48;

    /// The readings, if all are fixes.
    pub(crate) fn all(readings: &[Reading]) -> Option<&[Self]> {
        let all = readings.iter().all(|r| matches!(r.body, Body::Gps(_)));
        // SAFETY: a fix is a reading, by `repr(transparent)`.
        all.then(|| unsafe { std::slice::from_raw_parts(readings.as_ptr().cast(), readings.len()) })
    }

    fn write(&self, to: &mut [u8; Self::SIZE]) -> Result<()> {
        let Body::Gps(gps) = &self.0.body else {
            return Err(wasmtime::Error::msg("a reading that is no fix among fixes"));
        };
        to[..8].copy_from_slice(&self.0.ts.to_le_bytes());
        // The interface's enum has the order of the wire's.
        to[8] = self.0.clock as u8;
        to[12..16].copy_from_slice(&gps.lat_e7.to_le_bytes());
        to[16..20].copy_from_slice(&gps.lon_e7.to_le_bytes());
        to[20] = gps.altitude_cm.is_some().into();
        to[24..28].copy_from_slice(&gps.altitude_cm.unwrap_or(0).to_le_bytes());
        to[28] = gps.speed_mm_s.is_some().into();
        to[32..36].copy_from_slice(&gps.speed_mm_s.unwrap_or(0).to_le_bytes());
        to[36] = gps.heading_cdeg.is_some().into();
        to[38..40].copy_from_slice(&gps.heading_cdeg.unwrap_or(0).to_le_bytes());
        to[40] = gps.fix;
        to[41] = gps.satellites.is_some().into();
        to[42] = gps.satellites.unwrap_or(0);
        to[44] = gps.hdop_e2.is_some().into();
        to[46..48].copy_from_slice(&gps.hdop_e2.unwrap_or(0).to_le_bytes());
        Ok(())
    }
}

const _: () = assert!(Fix::SIZE == wit::Gps::SIZE32 && wit::Gps::ALIGN32 == 8);

// SAFETY: size, alignment and type check are those of the derived `wit::Gps`.
unsafe impl ComponentType for Fix {
    type Lower = <wit::Gps as ComponentType>::Lower;
    const ABI: CanonicalAbiInfo = <wit::Gps as ComponentType>::ABI;
    const MAY_REQUIRE_REALLOC: bool = false;

    fn typecheck(ty: &InterfaceType, types: &InstanceType<'_>) -> Result<()> {
        <wit::Gps as ComponentType>::typecheck(ty, types)
    }
}

// SAFETY: all fields of the record are written, laid out as the canonical ABI says.
unsafe impl Lower for Fix {
    fn linear_lower_to_flat<T>(
        &self,
        _: &mut LowerContext<'_, T>,
        _: InterfaceType,
        _: &mut MaybeUninit<Self::Lower>,
    ) -> Result<()> {
        // A fix is always in a list, and lists are in memory.
        Err(wasmtime::Error::msg("a fix stands in a list"))
    }

    fn linear_lower_to_memory<T>(
        &self,
        cx: &mut LowerContext<'_, T>,
        _: InterfaceType,
        offset: usize,
    ) -> Result<()> {
        self.write(cx.get(offset))
    }

    fn linear_store_list_to_memory<T>(
        cx: &mut LowerContext<'_, T>,
        _: InterfaceType,
        offset: usize,
        fixes: &[Self],
    ) -> Result<()> {
        let records = &mut cx.as_slice_mut()[offset..][..fixes.len() * Self::SIZE];
        let (records, _) = records.as_chunks_mut();
        records.iter_mut().zip(fixes).try_for_each(|(record, fix)| fix.write(record))
    }
}

/// The interface's `batch`, with packed fixes.
#[derive(ComponentType, Lower)]
#[component(variant)]
pub(crate) enum Batch<'a> {
    #[component(name = "vehicle")]
    Vehicle(&'a [wit::VehicleParam<'a>]),
    #[component(name = "gps")]
    Gps(&'a [Fix]),
    #[component(name = "camera")]
    Camera(&'a [wit::CameraParam<'a>]),
    #[component(name = "weather")]
    Weather(&'a [wit::WeatherParam<'a>]),
    #[component(name = "emergency")]
    Emergency(&'a [wit::EmergencyParam<'a>]),
    #[component(name = "derived")]
    Derived(wit::DerivedParam<'a>),
}

/// Calls `process`.
pub(crate) fn call_process(
    exports: &Exports,
    store: impl AsContextMut,
    batch: Batch<'_>,
) -> Result<std::result::Result<wit::Output, String>> {
    type Returned = (std::result::Result<wit::Output, String>,);
    // SAFETY: the export was checked against the generated types when it was loaded, and `Batch` differs
    // from the generated one only in `Fix`, which has the same type and layout.
    let process =
        unsafe { TypedFunc::<(Batch<'_>,), Returned>::new_unchecked(*exports.func_process().func()) };
    Ok(process.call(store, (batch,))?.0)
}
