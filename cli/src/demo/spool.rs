//! A vehicle's spool, which the demo reads once more when the vehicle has stopped: what waits there is not
//! in the lake, and is not lost.

use crate::Failure;
use crate::audit::Waiting;
use milepost_agent::clock::{self, SystemClock};
use milepost_agent::config::Config;
use milepost_agent::outbox::{Disk, Now, Outbox, RealDisk, Settings};
use milepost_wire::{BootId, VehicleId, frame};
use std::sync::Arc;

/// A spool, held for as long as this is there.
pub(crate) struct Spool {
    disk: Arc<dyn Disk>,
    settings: Settings,
    vehicle: VehicleId,
}

impl Spool {
    /// Takes the spool of a vehicle, for its agent.
    pub(crate) fn take(config: &Config) -> Result<Self, Failure> {
        let disk = Arc::new(RealDisk::new(config.data_dir.join("spool"))?);
        Ok(Self { disk, settings: config.outbox(), vehicle: config.vehicle.clone() })
    }

    /// What the vehicle's agent writes to.
    pub(crate) fn disk(&self) -> Arc<dyn Disk> {
        self.disk.clone()
    }

    /// The readings that wait, frame by frame. The agent must have stopped.
    pub(crate) fn waiting(self) -> Result<Vec<Waiting>, Failure> {
        let (clock, boot) = (SystemClock::new(), BootId(clock::entropy()));
        let now = Now::of(&clock);
        let (mut outbox, mut reader) = Outbox::open(self.disk, self.settings, self.vehicle, boot, now)?;
        let mut waiting = Vec::new();
        while let Some(record) = reader.next() {
            let header = frame::check(&record.frame)?;
            waiting.push(Waiting {
                vehicle: header.vehicle.to_string(),
                boot: header.boot.0,
                stream: header.stream.to_string(),
                seqs: header.first_seq..header.last_seq().saturating_add(1),
            });
        }
        outbox.close(Now::of(&clock));
        Ok(waiting)
    }
}
