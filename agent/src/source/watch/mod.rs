//! A folder where a camera program drops JPEG files. Each whole file becomes a `camera_data` reading,
//! dated by the time of its last write.
//!
//! Files of one folder are delivered oldest first. A file is taken when its size has not changed from
//! one look to the next and it has a JPEG image's beginning, size and end; a program that renames its
//! finished files into the folder is the surest. One that is still not whole after a while, is no
//! image, or is too large, is counted and put aside in the sub-folder `refused`.
//!
//! What was delivered is deleted, moved, or kept. Where it is kept, the file `.milepost-watch` says
//! which was the last, so that a restart does not deliver it again; a file that appears later with an
//! older time than that is not seen then. A file is settled once the pipeline's queue has it: of what
//! a power cut takes, the images are as much as the readings of the same moment.

mod folder;

use super::jpeg::{self, Look};
use super::{Context, Outlet, Run, Source, SourceError};
use crate::clock::Clock;
use crate::units::{Size, Span};
use folder::{Found, Place};
use milepost_wire::{Reading, reading::Camera};
use serde::{Deserialize, Deserializer};
use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// A folder.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The folder. Its sub-folders are watched too, each as a camera of its own.
    pub folder: PathBuf,
    /// The camera's name; by default the sub-folder's, or `camera` for files in the folder itself.
    #[serde(default)]
    pub camera_id: Option<String>,
    /// What becomes of a file whose image was delivered: `"keep"`, `"delete"` or `"move:FOLDER"`, a
    /// folder outside of this one.
    pub after: After,
    /// How often to look.
    #[serde(default = "defaults::poll")]
    pub poll: Span,
    /// How long a file may stay as it is without being whole.
    #[serde(default = "defaults::patience")]
    pub patience: Span,
    /// The largest file. A frame takes 4 MiB.
    #[serde(default = "defaults::max_size")]
    pub max_size: Size,
}

mod defaults {
    use super::{Duration, Size, Span};

    pub(super) fn poll() -> Span {
        Span(Duration::from_millis(500))
    }
    pub(super) fn patience() -> Span {
        Span(Duration::from_secs(10))
    }
    pub(super) fn max_size() -> Size {
        Size(3 << 20)
    }
}

/// What becomes of a file whose image was delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum After {
    /// It stays.
    Keep,
    /// It goes.
    Delete,
    /// It moves to this folder.
    Move(PathBuf),
}

impl<'de> Deserialize<'de> for After {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        match (text.as_str(), text.strip_prefix("move:")) {
            ("keep", _) => Ok(Self::Keep),
            ("delete", _) => Ok(Self::Delete),
            (_, Some(folder)) if !folder.is_empty() => Ok(Self::Move(folder.into())),
            _ => Err(serde::de::Error::custom(format!(
                "{text:?} is none of \"keep\", \"delete\" and \"move:FOLDER\""
            ))),
        }
    }
}

/// Makes the source.
pub fn build(settings: &Settings, context: &Context) -> Box<dyn Source> {
    let (settings, clock) = (Arc::new(settings.clone()), Arc::clone(&context.clock));
    Box::new(Watch { settings, clock, folders: HashMap::new() })
}

struct Watch {
    settings: Arc<Settings>,
    clock: Arc<dyn Clock>,
    folders: HashMap<PathBuf, Progress>,
}

/// How far a folder is delivered.
#[derive(Clone, Debug, Default)]
struct Progress {
    /// The last file that was delivered, where files are kept.
    done: Option<Place>,
    /// The oldest files, as they were at the last look, and when they were first seen like that.
    seen: Vec<(Found, Duration)>,
    /// What was delivered, or refused, and could not be settled: it must not come twice.
    unsettled: Option<(Found, How)>,
}

/// What is done with a file that is done.
type How = fn(&Found, &After) -> io::Result<()>;

/// What to do about a folder's oldest file.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// Look again later.
    Wait,
    /// Its image is whole.
    Deliver { bytes: Vec<u8>, width: u16, height: u16 },
    /// It is not what it should be.
    Refuse(&'static str),
}

impl Source for Watch {
    fn run<'a>(&'a mut self, outlet: &'a Outlet, _stop: &'a CancellationToken) -> Run<'a> {
        Box::pin(self.watch(outlet))
    }
}

impl Watch {
    async fn watch(&mut self, outlet: &Outlet) -> Result<(), SourceError> {
        loop {
            let root = self.settings.folder.clone();
            let folders = blocking(move || folder::folders(&root)).await;
            let folders = folders.map_err(SourceError::io(self.cannot("look into")))?;
            self.folders.retain(|known, _| folders.contains(known));
            for folder in folders {
                self.look_into(folder, outlet).await?;
            }
            tokio::time::sleep(self.settings.poll.0).await;
        }
    }

    /// Delivers what is whole of one folder.
    async fn look_into(&mut self, folder: PathBuf, outlet: &Outlet) -> Result<(), SourceError> {
        let known = self.folders.get(&folder).cloned();
        let mut progress = known.unwrap_or_else(|| match self.settings.after {
            After::Keep => Progress { done: folder::marked(&folder), ..Progress::default() },
            _ => Progress::default(),
        });
        if let Some((found, how)) = progress.unsettled.take() {
            self.settle(found, &mut progress, how).await?;
            self.folders.insert(folder.clone(), progress.clone());
        }
        let (place, after) = (folder.clone(), progress.done.clone());
        let files = blocking(move || folder::files(&place, after.as_ref())).await;
        let files = files.map_err(SourceError::io(self.cannot("look into")))?;
        let (now, before) = (self.clock.mono(), std::mem::take(&mut progress.seen));
        let since = |found: &Found| before.iter().find(|(last, _)| last == found).map(|(_, since)| *since);
        progress.seen = files.iter().map(|f| (f.clone(), since(f).unwrap_or(now))).collect();
        for found in files {
            let (settings, since, file) = (Arc::clone(&self.settings), since(&found), found.clone());
            let step = blocking(move || Ok(step(&file, since, now, &settings))).await;
            match step.map_err(SourceError::io(self.cannot("read")))? {
                Step::Wait => break,
                Step::Deliver { bytes, width, height } => {
                    let camera_id = self.camera_of(&folder);
                    let (width, height) = (Some(width), Some(height));
                    let body = Camera { camera_id, lat_e7: None, lon_e7: None, image: bytes, width, height };
                    outlet
                        .send(Reading { ts: found.place.ts(), clock: self.clock.trust(), body: body.into() })
                        .await;
                    self.settle(found, &mut progress, folder::settle).await?;
                }
                Step::Refuse(why) => {
                    tracing::warn!(file = %found.path().display(), why, "The file is put aside");
                    outlet.counters().error(why, 1);
                    self.settle(found, &mut progress, folder::set_aside).await?;
                }
            }
            self.folders.insert(folder.clone(), progress.clone());
        }
        self.folders.insert(folder, progress);
        Ok(())
    }

    /// Does with a file what is to be done with it. When that fails, it is what the next run begins with.
    async fn settle(&mut self, found: Found, progress: &mut Progress, how: How) -> Result<(), SourceError> {
        progress.done = Some(found.place.clone()).filter(|_| self.settings.after == After::Keep);
        progress.unsettled = Some((found.clone(), how));
        self.folders.insert(found.folder.clone(), progress.clone());
        let (settings, path) = (Arc::clone(&self.settings), found.path());
        let settled = blocking(move || how(&found, &settings.after)).await;
        settled.map_err(SourceError::io(format!("Cannot put away {}", path.display())))?;
        progress.unsettled = None;
        Ok(())
    }

    fn camera_of(&self, folder: &Path) -> String {
        let own = (folder != self.settings.folder).then(|| folder.file_name()).flatten();
        let named = self.settings.camera_id.clone();
        named.or_else(|| own.map(|n| n.to_string_lossy().into_owned())).unwrap_or_else(|| "camera".into())
    }

    fn cannot(&self, what: &str) -> String {
        format!("Cannot {what} {}", self.settings.folder.display())
    }
}

/// Decides about a folder's oldest file, which is as it was `since` then; `None` where it was not so at
/// the look before.
fn step(found: &Found, since: Option<Duration>, now: Duration, settings: &Settings) -> Step {
    let Some(since) = since else { return Step::Wait };
    if found.bytes > settings.max_size.0 {
        return Step::Refuse("too_large");
    }
    match folder::read(found, settings.max_size.0) {
        Ok((bytes, Look::Whole(width, height))) if bytes.len() as u64 == found.bytes => {
            Step::Deliver { bytes, width, height }
        }
        _ if now.saturating_sub(since) < settings.patience.0 => Step::Wait,
        Ok((_, Look::Other)) => Step::Refuse("not_jpeg"),
        Ok(_) => Step::Refuse("not_whole"),
        Err(_) => Step::Refuse("not_readable"),
    }
}

async fn blocking<T: Send + 'static>(call: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(call).await.map_err(io::Error::other)?
}

#[cfg(test)]
mod tests;
