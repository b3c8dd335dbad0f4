//! Compiles components, once for each engine and digest, and keeps the clock that stops those that
//! run too long.

use crate::bindings::TransformPre;
use crate::cache::{self, Cache};
use crate::compiler::Compiler;
use crate::failure::{EngineError, LoadError};
use crate::sandbox::{Host, said};
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::Thread;
use std::time::Duration;
use wasmtime::component::{Component, HasSelf, Linker};
use wasmtime::{
    Config, InstanceAllocationStrategy, Memory, MemoryType, OptLevel, PoolingAllocationConfig, Store,
    WasmBacktraceDetails,
};

/// The world that a transform is built for.
const WORLD: &str = "milepost:transform";
/// What a transform may import, each of the interface's version.
const OFFERED: [&str; 2] = ["types", "host"];
/// The same for messages.
const OFFERED_TEXT: &str = "milepost:transform/host@0.1.0";
/// The versions of the interface that this host speaks.
const VERSION_PREFIX: &str = "0.1.";
/// Address space for a memory with which no access needs a check.
const ROOMY: u64 = 4 << 30;
/// Address space for a memory where there is little of it.
const NARROW: u64 = 32 << 20;
/// The most core modules that a component may be made of: its own and what adapts it, three in Rust and C; the
/// libraries of its interpreter, 38 in Python.
const MODULES: u32 = 64;
/// The engine's own data of an instance, bytes: grows with the functions that a component has.
const MAX_INSTANCE: usize = 4 << 20;
/// Entries of a table of functions; a component that was built in a common language has a few hundred.
pub(crate) const TABLE_ELEMENTS: usize = 100_000;
/// After so many ticks without a call, the clock rests until the next one.
const IDLE_TICKS: u32 = 20;

/// Settings of the engine, one for a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineSettings {
    /// The largest component file; 32 MiB.
    pub max_component_bytes: usize,
    /// The most compiled code of all components that are loaded, together; 192 MiB, five of Python's interpreter.
    pub max_code_bytes: usize,
    /// Address space that is set aside for each instance's memory. `None`, the default, tries 4 GiB, which
    /// saves a check at each access of the memory (about a tenth of a transform's time), and takes 32 MiB
    /// where that is not to be had, as on a small Pi. It is address space only: what a transform may use is
    /// in its limits.
    pub memory_reservation: Option<u64>,
    /// Instances for which room is set aside with the engine; 64. It is address space only. One more than these
    /// cannot be made. Where there is no such address space, or with 0, room is made for each instance when it
    /// starts.
    pub pooled: u32,
    /// How often the CPU limit is looked at while a transform runs; 10 ms.
    pub tick: Duration,
    /// Counts instructions ([`crate::Usage::fuel`]), which makes calls slower; off.
    pub count_fuel: bool,
    /// Reads line tables, so that [`crate::Frame`]s name file and line; off. Works where wasmtime is built
    /// with its feature `addr2line`.
    pub source_lines: bool,
    /// A folder for compiled code, which then need not be compiled again at the next start. `None`, the
    /// default: nothing is kept.
    pub cache: Option<PathBuf>,
    /// Who compiles. `None`, the default: this process, with all cores and as much memory as it takes.
    pub compiler: Option<Compiler>,
}

impl Default for EngineSettings {
    fn default() -> Self {
        Self {
            max_component_bytes: 32 << 20,
            max_code_bytes: 192 << 20,
            memory_reservation: None,
            pooled: 64,
            tick: Duration::from_millis(10),
            count_fuel: false,
            source_lines: false,
            cache: None,
            compiler: None,
        }
    }
}

/// What a component asks for and has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct World {
    /// Names of its imports, in its order; what they may not hold is escaped, and what is long cut.
    pub imports: Vec<String>,
    /// The same of its exports.
    pub exports: Vec<String>,
}

/// The engine that all transforms of a process share. Cheap to clone. Its clock is a thread that ends
/// when the last clone is dropped, and rests while no transform runs.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

struct Inner {
    settings: EngineSettings,
    wasm: wasmtime::Engine,
    /// Address space for each memory.
    reservation: u64,
    cache: Option<Cache>,
    compilations: AtomicU64,
    /// By digest.
    compiled: Mutex<HashMap<[u8; 32], Compiled>>,
    pace: Arc<Pace>,
    ticker: Thread,
}

/// A component that somebody uses, or did.
struct Compiled {
    linked: Weak<TransformPre<Host>>,
    /// Of its code.
    bytes: usize,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.pace.stop.store(true, Ordering::SeqCst);
        self.ticker.unpark();
    }
}

/// What the clock's thread and the callers share.
#[derive(Default)]
struct Pace {
    stop: AtomicBool,
    resting: AtomicBool,
    running: AtomicU64,
}

/// A call under way: the clock runs until it is dropped.
pub(crate) struct Running(Arc<Inner>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.pace.running.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Engine {
    /// Starts an engine.
    pub fn new(settings: &EngineSettings) -> Result<Self, EngineError> {
        let (wasm, reservation) = start(settings).map_err(|e| EngineError(format!("{e:#}")))?;
        let pace = Arc::<Pace>::default();
        let (shared, clock, every) = (pace.clone(), wasm.clone(), settings.tick);
        let ticker = std::thread::Builder::new()
            .name("transform-clock".into())
            .spawn(move || tick(&shared, &clock, every))
            .map_err(|e| EngineError(format!("no thread for its clock: {e}")))?;
        let ticker = ticker.thread().clone();
        let cache = settings.cache.as_deref().and_then(|dir| {
            let opened = Cache::open(dir, &wasm);
            let failed = |why| tracing::warn!(folder = %dir.display(), %why, "Compiled code cannot be kept");
            opened.map_err(failed).ok()
        });
        let (settings, compilations, compiled) = (settings.clone(), AtomicU64::new(0), Mutex::default());
        let inner = Inner { settings, wasm, reservation, cache, compilations, compiled, pace, ticker };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// How many components it has compiled, those not counted that it had compiled already.
    pub fn compilations(&self) -> u64 {
        self.inner.compilations.load(Ordering::Relaxed)
    }

    /// Has the clock running while a call is under way.
    pub(crate) fn running(&self) -> Running {
        self.inner.pace.running.fetch_add(1, Ordering::SeqCst);
        if self.inner.pace.resting.load(Ordering::SeqCst) {
            self.inner.ticker.unpark();
        }
        Running(self.inner.clone())
    }

    /// The component, compiled and linked; from memory where a transform of this process has it already.
    pub(crate) fn compile(
        &self,
        name: &str,
        digest: [u8; 32],
        bytes: &[u8],
    ) -> Result<Arc<TransformPre<Host>>, LoadError> {
        let max = self.inner.settings.max_component_bytes;
        if bytes.len() > max {
            return Err(LoadError::TooLarge { name: name.into(), bytes: bytes.len(), max });
        }
        // Held while compiling, so that agents that start together compile once.
        let mut compiled = self.inner.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = compiled.get(&digest).and_then(|known| known.linked.upgrade()) {
            return Ok(known);
        }
        let (component, code_bytes) = self.component(name, &digest, bytes)?;
        compiled.retain(|_, known| known.linked.strong_count() > 0);
        let all = compiled.values().map(|known| known.bytes).sum::<usize>() + code_bytes;
        let most = self.inner.settings.max_code_bytes;
        if all > most {
            let cause = format!(
                "with it compiled code takes {all} bytes, and all transforms together may have {most}"
            );
            return Err(LoadError::TooMuch { name: name.into(), cause });
        }
        let fresh = Arc::new(self.link(name, &component)?);
        compiled.insert(digest, Compiled { linked: Arc::downgrade(&fresh), bytes: code_bytes });
        Ok(fresh)
    }

    /// What a component imports and exports, whether a transform may or not.
    pub fn world(&self, name: &str, bytes: &[u8]) -> Result<World, LoadError> {
        let (component, _) = self.component(name, &Sha256::digest(bytes).into(), bytes)?;
        let (wasm, of) = (&self.inner.wasm, component.component_type());
        let imports = of.imports(wasm).map(|(name, _)| said(name)).collect();
        Ok(World { imports, exports: of.exports(wasm).map(|(name, _)| said(name)).collect() })
    }

    /// From the cache, or compiled; and the bytes of its code.
    fn component(
        &self,
        name: &str,
        digest: &[u8; 32],
        bytes: &[u8],
    ) -> Result<(Component, usize), LoadError> {
        let (wasm, cache) = (&self.inner.wasm, &self.inner.cache);
        if let Some(known) = cache.as_ref().and_then(|cache| cache.load(wasm, digest)) {
            return Ok(known);
        }
        let settings = &self.inner.settings;
        let code = match &settings.compiler {
            Some(compiler) => compiler.compile(name, settings, self.inner.reservation, bytes)?,
            None => wasm
                .precompile_component(bytes)
                .map_err(|e| LoadError::NotAComponent { name: name.into(), cause: format!("{e:#}") })?,
        };
        self.inner.compilations.fetch_add(1, Ordering::Relaxed);
        let component = cache::deserialize(wasm, &code)
            .map_err(|e| LoadError::TooMuch { name: name.into(), cause: format!("{e:#}") })?;
        if let Some(cache) = cache {
            cache.store(digest, &code);
        }
        Ok((component, code.len()))
    }

    fn link(&self, name: &str, component: &Component) -> Result<TransformPre<Host>, LoadError> {
        let wasm = &self.inner.wasm;
        if let Some((import, _)) = component.component_type().imports(wasm).find(|(n, _)| !is_offered(n)) {
            let (name, import) = (name.into(), said(import));
            return Err(LoadError::Import { name, import, offered: OFFERED_TEXT });
        }
        let world = |e: wasmtime::Error| LoadError::World { name: name.into(), cause: format!("{e:#}") };
        let mut linker = Linker::new(wasm);
        crate::bindings::Transform::add_to_linker::<_, HasSelf<_>>(&mut linker, |host: &mut Host| host)
            .map_err(world)?;
        TransformPre::new(linker.instantiate_pre(component).map_err(world)?).map_err(world)
    }
}

/// An engine with the address space that there is, and how much of it each memory has.
fn start(settings: &EngineSettings) -> wasmtime::Result<(wasmtime::Engine, u64)> {
    if let Some(bytes) = settings.memory_reservation {
        return Ok((wasmtime::Engine::new(&config(settings, bytes))?, bytes));
    }
    if cfg!(target_pointer_width = "64") {
        let roomy = config(settings, ROOMY);
        if settings.pooled > 0 {
            let mut pooled = roomy.clone();
            pooled.allocation_strategy(pool(settings.pooled));
            if let Ok(engine) = wasmtime::Engine::new(&pooled) {
                return Ok((engine, ROOMY));
            }
        }
        let roomy = wasmtime::Engine::new(&roomy)?;
        let mut store = Store::new(&roomy, ());
        if Memory::new(&mut store, MemoryType::new(1, None)).is_ok() {
            return Ok((roomy, ROOMY));
        }
    }
    Ok((wasmtime::Engine::new(&config(settings, NARROW))?, NARROW))
}

/// Room for instances of components.
fn pool(instances: u32) -> InstanceAllocationStrategy {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(instances).total_core_instances(instances.saturating_mul(MODULES));
    pool.max_core_instances_per_component(MODULES).total_tables(instances.saturating_mul(MODULES));
    pool.max_tables_per_component(MODULES).max_tables_per_module(MODULES);
    pool.total_memories(instances).max_memories_per_component(1);
    // Limits of each transform's own come before these.
    pool.max_memory_size(ROOMY as usize).table_elements(TABLE_ELEMENTS);
    pool.max_component_instance_size(MAX_INSTANCE).max_core_instance_size(MAX_INSTANCE);
    InstanceAllocationStrategy::Pooling(pool)
}

/// Deterministic and small: NaN has one bit pattern, there are no threads, and relaxed SIMD does the
/// same everywhere.
pub(crate) fn config(settings: &EngineSettings, memory_reservation: u64) -> Config {
    let mut config = Config::new();
    config.wasm_component_model(true);
    config.epoch_interruption(true);
    config.cranelift_nan_canonicalization(true);
    config.cranelift_opt_level(OptLevel::Speed);
    config.relaxed_simd_deterministic(true);
    config.wasm_memory64(false);
    config.memory_reservation(memory_reservation);
    config.memory_reservation_for_growth(0);
    config.memory_guard_size(if memory_reservation >= ROOMY { 32 << 20 } else { 64 << 10 });
    config.memory_may_move(true);
    config.consume_fuel(settings.count_fuel);
    config.wasm_backtrace_details(match settings.source_lines {
        true => WasmBacktraceDetails::Enable,
        false => WasmBacktraceDetails::Disable,
    });
    config
}

/// Reads a component's file: no pipe, which could be waited for, and nothing that is larger than
/// [`EngineSettings::default`] allows.
pub fn read_component(path: &Path) -> io::Result<Vec<u8>> {
    let (metadata, max) = (std::fs::metadata(path)?, EngineSettings::default().max_component_bytes);
    let refuse = |why| Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    match metadata.len() {
        _ if !metadata.is_file() => refuse("it is no file".into()),
        len if len > max as u64 => refuse(format!("it has {len} bytes, and a component may have {max}")),
        _ => std::fs::read(path),
    }
}

/// Whether a transform may import an interface of this name.
pub fn is_offered(import: &str) -> bool {
    let parts = import.split_once('/').and_then(|(world, rest)| Some((world, rest.split_once('@')?)));
    matches!(parts, Some((WORLD, (interface, version)))
        if OFFERED.contains(&interface) && version.starts_with(VERSION_PREFIX))
}

/// Advances the epoch while a call runs, until the engine is dropped.
fn tick(pace: &Pace, clock: &wasmtime::Engine, every: Duration) {
    let mut idle = 0;
    while !pace.stop.load(Ordering::SeqCst) {
        std::thread::sleep(every);
        clock.increment_epoch();
        idle = if pace.running.load(Ordering::SeqCst) == 0 { idle + 1 } else { 0 };
        if idle > IDLE_TICKS {
            pace.resting.store(true, Ordering::SeqCst);
            // A call that began before it could see `resting` is seen here.
            if pace.running.load(Ordering::SeqCst) == 0 && !pace.stop.load(Ordering::SeqCst) {
                std::thread::park();
            }
            pace.resting.store(false, Ordering::SeqCst);
            idle = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasmtime::{Instance, Module};

    /// (func (export "f") (param f64 f64) (result i64)
    ///   (i64.reinterpret_f64 (f64.div (local.get 0) (local.get 1))))
    const DIVIDE: &[u8] = b"\0asm\x01\0\0\0\x01\x07\x01\x60\x02\x7c\x7c\x01\x7e\x03\x02\x01\0\
        \x07\x05\x01\x01f\0\0\x0a\x0a\x01\x08\0\x20\0\x20\x01\xa3\xbd\x0b";

    #[test]
    fn a_nan_has_one_bit_pattern_wherever_it_comes_from() {
        let (engine, _) = start(&EngineSettings::default()).unwrap();
        let mut store = Store::new(&engine, ());
        store.set_epoch_deadline(1_000);
        let instance =
            Instance::new(&mut store, &Module::from_binary(&engine, DIVIDE).unwrap(), &[]).unwrap();
        let divide = instance.get_typed_func::<(f64, f64), i64>(&mut store, "f").unwrap();
        let with_payload = f64::from_bits(0xfff8_0000_dead_beef);
        for (a, b) in [(0.0, 0.0), (-0.0, 0.0), (f64::INFINITY, f64::INFINITY), (with_payload, 1.0)] {
            let bits = divide.call(&mut store, (a, b)).unwrap();
            assert_eq!(bits, 0x7ff8_0000_0000_0000, "{a} / {b}: {bits:x}");
        }
        assert_eq!(divide.call(&mut store, (1.0, 4.0)).unwrap(), 0.25f64.to_bits() as i64);
    }
}
