//! Who compiles transforms for the agent: a process of its own, within limits.

use milepost_transform_host::{Compiler, Engine, EngineSettings, Limits, LoadError, Transform};
use milepost_wire::reading::Gps;
use milepost_wire::{Clock, Reading, Stream};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// What the agent's own call of itself is.
fn compiler() -> Compiler {
    Compiler {
        program: env!("CARGO_BIN_EXE_milepost-agent").into(),
        ..Compiler::this_program("compile-component")
    }
}

fn load(compiler: Option<Compiler>, bytes: &[u8]) -> Result<Transform, LoadError> {
    let engine = Engine::new(&EngineSettings { compiler, ..EngineSettings::default() }).unwrap();
    Transform::load(&engine, bytes, "x", Default::default(), Limits::default())
}

fn fix(n: i32) -> Reading {
    let body = Gps {
        lat_e7: 520_000_000 + 900 * n,
        lon_e7: 0,
        altitude_cm: None,
        speed_mm_s: Some(10_000),
        heading_cdeg: Some(0),
        fix: 1,
        satellites: None,
        hdop_e2: None,
    };
    Reading { ts: i64::from(n) * 1_000_000, clock: Clock::Gps, body: body.into() }
}

fn refused(compiler: Compiler, bytes: &[u8]) -> LoadError {
    load(Some(compiler), bytes).err().expect("it is refused")
}

fn example(name: &str) -> Vec<u8> {
    std::fs::read(Path::new("../transforms/prebuilt").join(format!("{name}.wasm"))).unwrap()
}

/// A component of one core module with so many functions, each of which goes so many times through 200 numbers and
/// asks of each whether it is to change: all of them are alive all the time.
fn juggler(functions: usize, times: usize) -> Vec<u8> {
    const LOCALS: usize = 200;
    let leb = |mut n: usize| {
        let mut bytes = Vec::new();
        while n > 0x7f {
            bytes.push(n as u8 | 0x80);
            n >>= 7;
        }
        bytes.push(n as u8);
        bytes
    };
    let sized = |bytes: Vec<u8>| [leb(bytes.len()), bytes].concat();
    let section = |id: u8, bytes: Vec<u8>| [vec![id], sized(bytes)].concat();
    let (get, set, add, is_zero, when, end, i64) = (0x20, 0x21, 0x7c, 0x50, 0x04, 0x0b, 0x7e);
    let step = |k: usize| {
        let [this, next, second] = [0, 1, 2].map(|i| leb((k + i) % LOCALS));
        let asked = [vec![get], this.clone(), vec![is_zero, when, 0x40]].concat();
        [asked, vec![get], next, vec![get], second, vec![add, set], this, vec![end]].concat()
    };
    let round: Vec<u8> = (0..LOCALS).flat_map(step).collect();
    let body = sized([leb(1), leb(LOCALS), vec![i64], round.repeat(times), vec![end]].concat());
    let module = [
        b"\0asm\x01\0\0\0".to_vec(),
        section(1, vec![1, 0x60, 0, 0]),
        section(3, [leb(functions), vec![0; functions]].concat()),
        section(10, [leb(functions), body.repeat(functions)].concat()),
    ];
    [b"\0asm\x0d\0\x01\0".to_vec(), section(1, module.concat())].concat()
}

#[test]
fn it_compiles_what_this_process_would() {
    let fixes: Vec<Reading> = (0..50).map(fix).collect();
    for name in ["harsh_driving", "downsample"] {
        let bytes = example(name);
        let gave = [None, Some(compiler())].map(|compiler| {
            let mut transform = load(compiler, &bytes).unwrap();
            transform.process(&Stream::Gps, &fixes).unwrap()
        });
        assert_eq!(gave[0], gave[1], "{name}");
        assert!(!gave[0].readings.is_empty(), "{name}");
    }
}

#[test]
fn what_takes_too_much_memory_is_refused_and_said() {
    let bomb = juggler(2, 200);
    assert!(bomb.len() < 2 << 20, "{}", bomb.len());
    let said = refused(compiler(), &bomb).to_string();
    assert!(said.contains("x is not compiled: that takes more than the 384 MiB that it may"), "{said}");
}

#[test]
fn what_takes_too_much_time_is_refused_and_said() {
    let impatient = Compiler { memory_bytes: 8 << 30, cpu: Duration::from_secs(1), ..compiler() };
    let said = refused(impatient, &juggler(1, 200)).to_string();
    assert!(said.contains("that takes more than the 1s of CPU time that it may"), "{said}");
}

/// The agent's program, with this component as its transform and standard input as its source.
fn agent(dir: &Path, component: &[u8]) -> Child {
    let (file, path) = (dir.join("agent.toml"), dir.join("x.wasm"));
    std::fs::write(&path, component).unwrap();
    let text = format!(
        "vehicle = 'v'\ndata_dir = {:?}\nuplink.url = 'mqtt://127.0.0.1:1'\nshutdown.drain = '100ms'\n\
         metrics.listen = ''\n[[source]]\ntype = 'stdin'\nname = 'in'\n\
         [[transform]]\nname = 'x'\npath = {path:?}\n",
        dir.join("data"),
    );
    std::fs::write(&file, text).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_milepost-agent"));
    command.arg("--config").arg(&file).env_remove("RUST_LOG");
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

/// The same with a transform that compiles, when it runs; and the rest of its log.
fn running(dir: &Path) -> (Child, impl Iterator<Item = String> + use<>) {
    let mut agent = agent(dir, &example("downsample"));
    let mut log = BufReader::new(agent.stderr.take().unwrap()).lines().map_while(Result::ok);
    assert!(log.any(|line| line.contains("The agent runs")));
    (agent, log)
}

fn signal(child: &Child, signal: &str) {
    assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
}

/// The process that compiles for an agent, as soon as there is one.
fn its_compiler(agent: &mut Child) -> u32 {
    loop {
        assert!(agent.try_wait().unwrap().is_none(), "the agent has ended");
        let children = format!("/proc/{0}/task", agent.id());
        for task in std::fs::read_dir(children).unwrap() {
            let of_task = std::fs::read_to_string(task.unwrap().path().join("children")).unwrap_or_default();
            if let Some(pid) = of_task.split_whitespace().next() {
                return pid.parse().unwrap();
            }
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Waits until a process is gone, or dead and not yet waited for.
fn until_gone(pid: u32) {
    let state = || std::fs::read_to_string(format!("/proc/{pid}/stat"));
    while state().is_ok_and(|stat| !stat.contains(") Z ")) {
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn an_agent_that_compiles_hears_signals_and_its_compiler_ends_with_it() {
    for how in ["-TERM", "-INT", "-KILL"] {
        let dir = tempfile::tempdir().unwrap();
        let mut agent = agent(dir.path(), &juggler(1, 200));
        let compiler = its_compiler(&mut agent);
        signal(&agent, how);
        let status = agent.wait().unwrap();
        assert_eq!(status.success(), how != "-KILL", "{how}: {status}");
        until_gone(compiler);
    }
}

#[test]
fn an_agent_that_reads_its_standard_input_stops_though_that_stays_open() {
    let dir = tempfile::tempdir().unwrap();
    let (mut agent, mut log) = running(dir.path());
    signal(&agent, "-TERM");
    assert!(log.any(|line| line.contains("The agent has stopped")));
    assert!(agent.wait().unwrap().success());
}

#[test]
fn a_reload_that_compiles_holds_up_no_stop() {
    let dir = tempfile::tempdir().unwrap();
    let (mut agent, mut log) = running(dir.path());
    std::fs::write(dir.path().join("x.wasm"), juggler(1, 200)).unwrap();
    signal(&agent, "-HUP");
    let compiler = its_compiler(&mut agent);
    signal(&agent, "-TERM");
    assert!(log.any(|line| line.contains("The agent has stopped")));
    assert!(agent.wait().unwrap().success());
    until_gone(compiler);
}

#[test]
fn what_is_no_component_is_refused_with_the_same_words() {
    let good = example("downsample");
    let cut = &good[..good.len() / 2];
    for bytes in [b"nothing of the kind".as_slice(), cut, &[]] {
        let here = load(None, bytes).err().unwrap();
        let there = refused(compiler(), bytes);
        assert!(matches!(there, LoadError::NotAComponent { .. }), "{there}");
        let first = |e: &LoadError| e.to_string().lines().next().unwrap().to_owned();
        assert!(there.to_string().starts_with(&first(&here)), "{there}\n{here}");
    }
}

#[test]
fn a_compiler_that_is_not_there_or_no_compiler_is_named() {
    let absent = Compiler { program: PathBuf::from("/no/such/program"), ..compiler() };
    let said = refused(absent, &example("downsample")).to_string();
    assert!(said.contains("the compiler /no/such/program cannot be called"), "{said}");
    let other = Compiler { program: "/bin/false".into(), ..compiler() };
    let said = refused(other, &example("downsample")).to_string();
    assert!(said.contains("the compiler ended with exit status: 1"), "{said}");
    // What it gives is looked at, too.
    let liar = Compiler { program: "/bin/true".into(), ..compiler() };
    assert!(load(Some(liar), &example("downsample")).is_err());
}
