//! The simulated trip.

use super::{Context, Outlet, Run, Source, SourceError};
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

/// What to simulate.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {}

/// Makes the source.
pub fn build(_settings: &Settings, _context: &Context) -> Result<Box<dyn Source>, SourceError> {
    Ok(Box::new(Trip))
}

struct Trip;

impl Source for Trip {
    fn run<'a>(&'a mut self, _outlet: &'a Outlet, _stop: &'a CancellationToken) -> Run<'a> {
        Box::pin(async { Ok(()) })
    }
}
