//! Makes the transforms of a configuration, at the start and while the agent runs.

use super::Control;
use super::chain::{Link, NotTaken};
use crate::config::TransformConfig;
use crate::kernel;
use milepost_transform_host::{
    Compiler, Engine, EngineError, EngineSettings, LoadError, Transform, read_component,
};
use milepost_wire::frame::MAX_LINEAGE;
use sha2::{Digest as _, Sha256};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use tokio::sync::oneshot;

/// The folder of compiled transforms in the data folder.
const COMPILED: &str = "compiled";

/// Why a transform was not loaded.
#[derive(Debug, thiserror::Error)]
pub enum TransformError {
    /// There is no engine for transforms.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// Its file cannot be read.
    #[error("Transform {name}: {path} cannot be read: {why}")]
    File {
        /// The transform.
        name: String,
        /// Its file.
        path: PathBuf,
        /// Why.
        why: std::io::Error,
    },
    /// It cannot be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A frame names all transforms that its readings passed.
    #[error("{0} transforms are configured, and a frame can name {MAX_LINEAGE}: take some out")]
    TooMany(usize),
}

/// Why the old transforms go on.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// A new one cannot be loaded.
    #[error(transparent)]
    Transform(#[from] TransformError),
    /// A new one does not take over what the old one remembers.
    #[error(transparent)]
    NotTaken(#[from] NotTaken),
    /// There is nobody to give them to.
    #[error("The agent has stopped")]
    Stopped,
}

/// New transforms for the pipeline, and who waits to hear what became of them.
pub struct Reload {
    pub(super) links: Vec<Link>,
    pub(super) done: oneshot::Sender<Result<(), NotTaken>>,
}

/// Loads transforms with one engine, which it makes with the first.
pub struct Loader {
    compiled: PathBuf,
    compiler: Option<Compiler>,
    engine: Mutex<Option<Engine>>,
}

impl Loader {
    /// Uses this engine; `None`: one of its own, which keeps compiled code in the data folder and has `compiler`
    /// compile, or this process where that is `None`.
    pub fn new(data_dir: &Path, engine: Option<Engine>, compiler: Option<Compiler>) -> Self {
        Self { compiled: data_dir.join(COMPILED), compiler, engine: Mutex::new(engine) }
    }

    fn engine(&self) -> Result<Engine, EngineError> {
        let mut engine = self.engine.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(engine) = &*engine {
            return Ok(engine.clone());
        }
        let (cache, compiler) = (Some(self.compiled.clone()), self.compiler.clone());
        // While new ones are loaded the old ones are there.
        let pooled = 2 * MAX_LINEAGE as u32;
        let fresh = Engine::new(&EngineSettings { cache, compiler, pooled, ..EngineSettings::default() })?;
        Ok(engine.insert(fresh).clone())
    }

    /// Loads and starts them all, or says which one cannot be.
    pub fn load(&self, configs: &[TransformConfig]) -> Result<Vec<Link>, TransformError> {
        if configs.is_empty() {
            return Ok(Vec::new());
        }
        countable(configs)?;
        let engine = self.engine()?;
        let links = configs.iter().map(|config| link(config, &engine)).collect();
        kernel::return_freed_memory();
        links
    }

    /// Loads them beside the pipeline, and has it put them in the place of those that run.
    pub(crate) async fn reload(
        self: Arc<Self>,
        configs: Vec<TransformConfig>,
        pipeline: &mpsc::Sender<Control>,
    ) -> Result<(), ReloadError> {
        let loaded = tokio::task::spawn_blocking(move || self.load(&configs)).await;
        let links = loaded.map_err(|_| ReloadError::Stopped)??;
        let (done, answer) = oneshot::channel();
        let reload = Control::Reload(Reload { links, done });
        pipeline.send(reload).map_err(|_| ReloadError::Stopped)?;
        Ok(answer.await.map_err(|_| ReloadError::Stopped)??)
    }
}

/// Whether a frame can name as many.
pub(crate) fn countable(configs: &[TransformConfig]) -> Result<(), TransformError> {
    match configs.len() {
        ..=MAX_LINEAGE => Ok(()),
        count => Err(TransformError::TooMany(count)),
    }
}

fn link(config: &TransformConfig, engine: &Engine) -> Result<Link, TransformError> {
    let component: Arc<[u8]> = match &config.component {
        Some(component) => component.clone(),
        None => read_component(&config.path)
            .map_err(|why| {
                let (name, path) = (config.name.clone(), config.path.clone());
                TransformError::File { name, path, why }
            })?
            .into(),
    };
    let limits = config.limits.limits();
    let described = format!("{:?} {limits:?}", config.params);
    let transform = Transform::load(engine, &component, &config.name, config.params.clone(), limits)?;
    tracing::info!(name = config.name, streams = ?transform.streams(), "Transform loaded");
    let edition = Sha256::new().chain_update(transform.digest()).chain_update(described).finalize();
    Ok(Link {
        name: config.name.as_str().into(),
        digest: transform.digest(),
        edition: edition.into(),
        state: config.state,
        only: config.streams.clone(),
        on_failure: config.on_failure,
        while_out: config.while_out,
        step: Box::new(transform),
        counters: Arc::default(),
    })
}
