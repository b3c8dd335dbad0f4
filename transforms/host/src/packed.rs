//! Fixes on their way into the sandbox, as the bytes that they are there.
//!
//! Wasmtime writes a list of records field by field and looks the guest's memory up for each: 16 times
//! for a fix, 60 to 80 ns, which is more than all the rest of a call. A fix holds only numbers, so it can
//! be put together here and written at once. This is the one place of the crate that needs `unsafe`: the
//! traits are not meant to be implemented by hand, and their layout must be the canonical ABI's. The
//! size and alignment are checked at compile time against the derived type, each field in a test.
#![allow(unsafe_code)]

use crate::bindings::Transform as Exports;
use crate::bindings::milepost::transform::types as wit;
use milepost_wire::Reading;
use milepost_wire::reading::Gps;
use std::mem::MaybeUninit;
use wasmtime::component::__internal::{CanonicalAbiInfo, InstanceType, InterfaceType, LowerContext};
use wasmtime::component::{ComponentType, Lower, TypedFunc};
use wasmtime::{AsContextMut, Result};

/// A record `gps` in the canonical ABI: fields in order, each at a multiple of its own alignment, little
/// endian; an `option` is a byte that says whether, and the value at the next multiple of its alignment.
#[derive(Clone, Copy)]
pub(crate) struct Fix([u8; Fix::SIZE]);

impl Fix {
    const SIZE: usize = 48;

    pub(crate) fn new(reading: &Reading, gps: &Gps) -> Self {
        let mut bytes = [0; Self::SIZE];
        bytes[..8].copy_from_slice(&reading.ts.to_le_bytes());
        // The interface's enum has the order of the wire's.
        bytes[8] = reading.clock as u8;
        bytes[12..16].copy_from_slice(&gps.lat_e7.to_le_bytes());
        bytes[16..20].copy_from_slice(&gps.lon_e7.to_le_bytes());
        bytes[20] = gps.altitude_cm.is_some().into();
        bytes[24..28].copy_from_slice(&gps.altitude_cm.unwrap_or(0).to_le_bytes());
        bytes[28] = gps.speed_mm_s.is_some().into();
        bytes[32..36].copy_from_slice(&gps.speed_mm_s.unwrap_or(0).to_le_bytes());
        bytes[36] = gps.heading_cdeg.is_some().into();
        bytes[38..40].copy_from_slice(&gps.heading_cdeg.unwrap_or(0).to_le_bytes());
        bytes[40] = gps.fix;
        bytes[41] = gps.satellites.is_some().into();
        bytes[42] = gps.satellites.unwrap_or(0);
        bytes[44] = gps.hdop_e2.is_some().into();
        bytes[46..48].copy_from_slice(&gps.hdop_e2.unwrap_or(0).to_le_bytes());
        Self(bytes)
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

// SAFETY: all of the record's bytes are written, laid out as the canonical ABI says.
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
        *cx.get(offset) = self.0;
        Ok(())
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
