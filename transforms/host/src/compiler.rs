//! Compiles components in a process of its own, which limits itself first.
//!
//! What a compiler needs grows faster than the functions that it compiles: two of 600 KB take a gigabyte,
//! and a component may come from anybody. It is also the largest program that reads it. So an agent calls itself
//! for that. What the compiler takes, or that it fails, is then a message and not the end of the agent; and
//! because it compiles one function at a time, whether a component compiles is the same on every machine.

use crate::engine::{self, EngineSettings};
use crate::failure::LoadError;
use rustix::process::{Resource, Rlimit, Signal, getppid, getrlimit, nice, setrlimit};
use std::env;
use std::io::{self, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::time::Duration;

/// The most bytes that compiled code may have; it is in memory twice while it is loaded. Python's interpreter,
/// the largest that was tried, has 35 MB.
pub(crate) const CODE_MAX: u64 = 96 << 20;
/// The status by which the program says that the component is at fault, and that its error output says why.
const AT_FAULT: u8 = 3;
/// The same where it was refused memory and could go on to say so.
const OUT_OF_MEMORY: u8 = 4;
/// The same where the code is longer than [`CODE_MAX`].
const TOO_LONG: u8 = 5;
/// Of what the program says so much is read.
const SAID_MAX: u64 = 4 << 10;
/// It goes behind everything else that wants the processor.
const NICE: i32 = 10;

/// A program that compiles components, and what it may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compiler {
    /// The program, of the same build as this one. With these arguments it calls [`serve`].
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// Memory that it may write to, in all; 384 MiB.
    pub memory_bytes: u64,
    /// CPU time; 10 minutes.
    pub cpu: Duration,
}

impl Compiler {
    /// This program itself, called with one argument, by which its `main` knows to call [`serve`].
    pub fn this_program(argument: &str) -> Self {
        // On Linux it is still the same program after an upgrade has put another one in its place.
        let program = match cfg!(target_os = "linux") {
            true => "/proc/self/exe".into(),
            false => env::current_exe().unwrap_or_default(),
        };
        let (memory_bytes, cpu) = (384 << 20, Duration::from_secs(600));
        Self { program, args: vec![argument.into()], memory_bytes, cpu }
    }

    /// Compiled code for an engine of these settings, which reserves so much for a memory.
    pub(crate) fn compile(
        &self,
        name: &str,
        settings: &EngineSettings,
        reservation: u64,
        component: &[u8],
    ) -> Result<Vec<u8>, LoadError> {
        let order = Order {
            parent: std::process::id(),
            memory_bytes: self.memory_bytes,
            cpu_s: self.cpu.as_secs(),
            reservation,
            count_fuel: settings.count_fuel,
            source_lines: settings.source_lines,
        };
        let failed = |why| LoadError::Compile { name: name.into(), why };
        let (status, code, said) = self.call(&order, component).map_err(|why| {
            failed(format!("the compiler {} cannot be called: {why}", self.program.display()))
        })?;
        if status.success() {
            return Ok(code);
        }
        let said = crate::sandbox::said(said.trim_end());
        if status.code() == Some(AT_FAULT.into()) {
            return Err(LoadError::NotAComponent { name: name.into(), cause: said });
        }
        Err(failed(self.why(status, &said)))
    }

    /// Calls the program; its status, what it wrote and the beginning of what it complained about.
    fn call(&self, order: &Order, component: &[u8]) -> io::Result<(ExitStatus, Vec<u8>, String)> {
        let mut command = Command::new(&self.program);
        command.args(&self.args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = Running(command.spawn()?);
        let (stdin, stdout, stderr) = (child.0.stdin.take(), child.0.stdout.take(), child.0.stderr.take());
        let (mut code, mut said) = (Vec::new(), Vec::new());
        std::thread::scope(|scope| {
            scope.spawn(move || {
                // Where it does not read all, its status says why.
                let Some(mut stdin) = stdin else { return };
                let _ = stdin.write_all(&order.to_bytes()).and_then(|()| stdin.write_all(component));
            });
            let said = &mut said;
            scope.spawn(move || {
                let Some(mut stderr) = stderr else { return };
                let _ = stderr.by_ref().take(SAID_MAX).read_to_end(said);
                let _ = io::copy(&mut stderr, &mut io::sink());
            });
            // What is too long is closed here, and the program ends writing it.
            stdout.map_or(Ok(0), |stdout| stdout.take(CODE_MAX).read_to_end(&mut code))
        })?;
        Ok((child.0.wait()?, code, String::from_utf8_lossy(&said).into_owned()))
    }

    /// Why the program did not come to an end.
    fn why(&self, status: ExitStatus, said: &str) -> String {
        let memory = said.contains("memory allocation of") || status.code() == Some(OUT_OF_MEMORY.into());
        let (mib, cpu) = (self.memory_bytes >> 20, self.cpu);
        let mend = "Make it smaller: split its largest functions, or build it for size";
        if status.code() == Some(TOO_LONG.into()) {
            return format!("its compiled code has more than the {CODE_MAX} bytes that it may have. {mend}");
        }
        match status.signal().and_then(Signal::from_named_raw) {
            Some(Signal::XCPU) => format!("that takes more than the {cpu:?} of CPU time that it may. {mend}"),
            Some(Signal::ABORT) | None if memory => {
                format!("that takes more than the {mib} MiB that it may. {mend}")
            }
            Some(Signal::KILL) => {
                format!("the system ended the compiler, as where there is no memory left. {mend}")
            }
            _ => format!("the compiler ended with {status}: {said}"),
        }
    }
}

/// The program under way, which does not outlive who called it.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // No harm where it has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What comes before the component.
struct Order {
    /// The process that waits for the code.
    parent: u32,
    memory_bytes: u64,
    cpu_s: u64,
    reservation: u64,
    count_fuel: bool,
    source_lines: bool,
}

impl Order {
    const BYTES: usize = 30;

    fn to_bytes(&self) -> Vec<u8> {
        let numbers = [self.memory_bytes, self.cpu_s, self.reservation];
        let flags = [u8::from(self.count_fuel), u8::from(self.source_lines)];
        let numbers = numbers.into_iter().flat_map(u64::to_le_bytes);
        numbers.chain(flags).chain(self.parent.to_le_bytes()).collect()
    }

    fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        let number = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| bytes[8 * at + i]));
        Self {
            memory_bytes: number(0),
            cpu_s: number(1),
            reservation: number(2),
            count_fuel: bytes[24] == 1,
            source_lines: bytes[25] == 1,
            parent: u32::from_le_bytes(std::array::from_fn(|i| bytes[26 + i])),
        }
    }
}

/// What the program of a [`Compiler`] does: reads a component from its input, within the limits that come before
/// it, and writes compiled code.
pub fn serve() -> ExitCode {
    let Err(why) = compile_input() else { return ExitCode::SUCCESS };
    let (status, what) = match why {
        Fault::Io(why) => (1, why.to_string()),
        Fault::Component(why) => (AT_FAULT, format!("{why:#}")),
        Fault::NoMemory => (OUT_OF_MEMORY, String::new()),
        Fault::TooLong => (TOO_LONG, String::new()),
    };
    let _ = writeln!(io::stderr(), "{what}");
    ExitCode::from(status)
}

/// Why there is no code.
enum Fault {
    Io(io::Error),
    Component(wasmtime::Error),
    NoMemory,
    TooLong,
}

impl From<io::Error> for Fault {
    fn from(why: io::Error) -> Self {
        Fault::Io(why)
    }
}

impl From<wasmtime::Error> for Fault {
    fn from(why: wasmtime::Error) -> Self {
        let io = |e: &(dyn std::error::Error + 'static)| e.downcast_ref::<io::Error>().map(io::Error::kind);
        match why.chain().filter_map(io).any(|kind| kind == io::ErrorKind::OutOfMemory) {
            true => Fault::NoMemory,
            false => Fault::Component(why),
        }
    }
}

/// Takes the lower of a limit and what the system allows already; with so much room above, where it ends by force.
fn limit(resource: Resource, most: u64, room: u64) -> io::Result<()> {
    let allowed = getrlimit(resource).maximum;
    let of = |most: u64| Some(allowed.map_or(most, |allowed| allowed.min(most)));
    Ok(setrlimit(resource, Rlimit { current: of(most), maximum: of(most.saturating_add(room)) })?)
}

/// Has this process end when the one that waits for it does. Elsewhere than on Linux it ends with its limits.
fn end_with(parent: u32) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        let is_there = getppid().is_some_and(|pid| u32::try_from(pid.as_raw_nonzero().get()) == Ok(parent));
        if !is_there {
            return Err(io::Error::other("who called the compiler has ended"));
        }
    }
    let _ = parent;
    Ok(())
}

fn compile_input() -> Result<(), Fault> {
    let mut input = io::stdin().lock();
    let mut order = [0; Order::BYTES];
    input.read_exact(&mut order)?;
    let order = Order::from_bytes(order);
    end_with(order.parent)?;
    limit(Resource::Data, order.memory_bytes, 0)?;
    // Between the two there is the signal that says so.
    limit(Resource::Cpu, order.cpu_s, 1)?;
    limit(Resource::Core, 0, 0)?;
    // A service may be forbidden to.
    let _ = nice(NICE);
    let mut component = Vec::new();
    input.read_to_end(&mut component)?;
    let settings = EngineSettings {
        count_fuel: order.count_fuel,
        source_lines: order.source_lines,
        ..EngineSettings::default()
    };
    let mut config = engine::config(&settings, order.reservation);
    config.parallel_compilation(false);
    let code = wasmtime::Engine::new(&config)?.precompile_component(&component)?;
    if code.len() as u64 > CODE_MAX {
        return Err(Fault::TooLong);
    }
    Ok(io::stdout().lock().write_all(&code)?)
}
