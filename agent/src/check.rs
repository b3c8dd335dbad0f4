//! `milepost-agent check`: tries all that an agent needs, beside one that may be running. It takes nothing
//! from a running agent: devices are not opened, the data folder's files are left alone, the broker sees
//! another client, and what is published goes where no bridge listens.

mod broker;
mod sources;

use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::kernel;
use crate::pipeline::load::{Loader, countable};
use crate::units::Size;
use milepost_ops::check::{Checks, Wrong};
use milepost_transform_host::{Compiler, Engine, EngineSettings};
use std::io::Write;
use std::path::Path;
use std::time::Duration;

/// Tries everything in the order of the data path. `compiler` is the agent's: what it refuses is refused here.
pub async fn everything<W: Write>(config: &Config, compiler: Option<Compiler>, checks: &mut Checks<W>) {
    checks.found("Configuration", Ok(format!("vehicle {}", config.vehicle)));
    checks.found("Data folder", data_folder(config));
    for source in &config.source {
        checks.found(&format!("Source {}", source.name), sources::source(&source.settings).await);
    }
    transforms(config, compiler, checks);
    let now = Duration::from_micros(u64::try_from(SystemClock::new().wall_us()).unwrap_or(0));
    broker::broker(config, now, checks).await;
}

/// Whether the spool can be written, and has the room that it may take.
fn data_folder(config: &Config) -> Result<String, Wrong> {
    let folder = &config.data_dir;
    let there = folder.ancestors().find(|f| f.exists()).unwrap_or(Path::new("/"));
    if !there.is_dir() {
        return Err(Wrong::new(format!("{} is no folder", there.display()), "Correct `data_dir`"));
    }
    let spool = folder.join("spool");
    let wrong = [there, &spool].into_iter().find(|f| f.exists() && !kernel::may_write(f));
    if let Some(wrong) = wrong {
        let why = format!("{} cannot be written by this user", wrong.display());
        return Err(Wrong::new(
            why,
            "Give it to the user that the agent runs as, and run the check as that user",
        ));
    }
    let Some(free) = kernel::free_bytes(there) else { return Ok("it can be written".into()) };
    let most = config.spool.bytes_max;
    let missing = most.0.saturating_sub(spool_bytes(&spool)).saturating_sub(free);
    if missing > 0 {
        let why = format!("The spool may grow to {most}, for which {} are missing", whole(missing));
        return Err(Wrong::new(why, "Free some of the disk, or lower `spool.bytes_max`"));
    }
    Ok(format!("{} can be written and has {} free", there.display(), whole(free)))
}

/// What the spool has on the disk already.
fn spool_bytes(spool: &Path) -> u64 {
    let files = std::fs::read_dir(spool).into_iter().flatten().filter_map(Result::ok);
    files.filter_map(|file| Some(file.metadata().ok()?.len())).sum()
}

/// Rounded so that it can be read.
fn whole(bytes: u64) -> Size {
    Size(if bytes >= 10 << 20 { bytes >> 20 << 20 } else { bytes })
}

/// Loads each by itself, so that every one that cannot be is named. Nothing compiled is kept.
fn transforms<W: Write>(config: &Config, compiler: Option<Compiler>, checks: &mut Checks<W>) {
    if config.transform.is_empty() {
        return;
    }
    if let Err(why) = countable(&config.transform) {
        checks.failed("Transforms", Wrong::new(why, "One transform can do the work of several too"));
    }
    let engine = match Engine::new(&EngineSettings { compiler, ..EngineSettings::default() }) {
        Ok(engine) => engine,
        Err(why) => {
            let wrong = Wrong::new(why, "See whether the machine has memory left");
            return checks.failed("Transforms", wrong);
        }
    };
    let loader = Loader::new(&config.data_dir, Some(engine), None);
    for transform in &config.transform {
        let loaded = loader.load(std::slice::from_ref(transform)).map(|_| "it loads and starts");
        let mend = "Correct its entry in the configuration, or build it again";
        checks.found(&format!("Transform {}", transform.name), loaded.map_err(|why| Wrong::new(why, mend)));
    }
}
