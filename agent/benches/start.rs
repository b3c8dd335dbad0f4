//! From the start of the agent's program to its first frame at a broker, with three transforms and a source
//! that has readings at once: with an empty data folder, where the transforms are compiled, and as after any
//! other start, where their code is in the cache; and the memory that it takes.
//!
//! `cargo bench -p milepost-agent --bench start`

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const TRANSFORMS: [(&str, &str); 3] = [
    ("privacy_zones", "zones = '51.6,-0.2,500,coarsen'"),
    ("harsh_driving", ""),
    // Keeps everything, so that there is a frame.
    ("downsample", "min_distance_m = 0"),
];
/// The goals: ms, and MB.
const GOALS: (f64, f64) = (150.0, 30.0);
const STARTS: usize = 15;

fn main() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    std::fs::write(dir.path().join("drive.ndjson"), drive()).expect("a drive");
    let (first, _) = start(dir.path());
    let (mut times, mut memory) = (Vec::new(), Vec::new());
    for _ in 0..STARTS {
        std::fs::remove_dir_all(dir.path().join("data/spool")).expect("a spool");
        let (ms, mb) = start(dir.path());
        times.push(ms);
        memory.push(mb);
    }
    times.sort_by(f64::total_cmp);
    let (median, most) = (times[STARTS / 2], memory.iter().copied().fold(0.0, f64::max));
    let met = |met| if met { "met" } else { "NOT MET" };
    println!("first start, transforms are compiled: {first:.0} ms to the first frame");
    println!("later starts: {median:.0} ms (goal: {:.0} ms, {})", GOALS.0, met(median <= GOALS.0));
    println!("RSS then: {most:.1} MB at most (goal: {:.0} MB, {})", GOALS.1, met(most <= GOALS.1));
}

/// Ten frames of fixes.
fn drive() -> String {
    let mut lines = String::new();
    for n in 0..600 {
        let (ts, lat) = (1_790_000_000_000_000u64 + n * 1_000_000, 51.5 + n as f64 / 1e4);
        let _ = writeln!(
            lines,
            r#"{{"stream":"gps_data","ts":{ts},"lat":{lat},"lon":-0.12,"speed":11.0,"heading":5.0,"fix":1}}"#
        );
    }
    lines
}

/// Starts the program; gives the time to its first frame, ms, and its memory two seconds later, MB.
fn start(dir: &Path) -> (f64, f64) {
    let broker = TcpListener::bind("127.0.0.1:0").expect("a port");
    let config = config(dir, broker.local_addr().expect("an address").port());
    let file = dir.join("agent.toml");
    std::fs::write(&file, config).expect("a configuration");
    let from = Instant::now();
    let mut agent = Command::new(env!("CARGO_BIN_EXE_milepost-agent"))
        .arg("--config")
        .arg(&file)
        .env("RUST_LOG", "error")
        .stdin(Stdio::null())
        .spawn()
        .expect("the agent starts");
    let (mut stream, _) = broker.accept().expect("the agent connects");
    let connection = first_frame(&mut stream);
    let ms = from.elapsed().as_secs_f64() * 1e3;
    connection.expect("a frame");
    std::thread::sleep(Duration::from_secs(2));
    let mb = memory_mb(&agent);
    stop(&mut agent);
    (ms, mb)
}

fn config(dir: &Path, port: u16) -> String {
    let mut config = format!(
        "vehicle = 'bench'\ndata_dir = {:?}\nuplink.url = 'mqtt://127.0.0.1:{port}'\nmetrics.listen = ''\n\
         [[source]]\nname = 'drive'\ntype = 'replay'\npath = {:?}\n",
        dir.join("data"),
        dir.join("drive.ndjson"),
    );
    let prebuilt = Path::new(env!("CARGO_MANIFEST_DIR")).join("../transforms/prebuilt");
    for (name, params) in TRANSFORMS {
        let path = prebuilt.join(format!("{name}.wasm"));
        let _ = writeln!(config, "[[transform]]\nname = '{name}'\npath = {path:?}\nparams = {{ {params} }}");
    }
    config
}

/// As a broker of MQTT v5: answers the connection, and waits for the first PUBLISH.
fn first_frame(stream: &mut TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    loop {
        let kind = byte(stream)? >> 4;
        let (mut length, mut shift) = (0, 0);
        loop {
            let byte = byte(stream)?;
            length |= usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
        match kind {
            // CONNECT: success, without properties.
            1 => stream.write_all(&[0x20, 3, 0, 0, 0])?,
            3 => return Ok(()),
            _ => {}
        }
        std::io::copy(&mut Read::by_ref(stream).take(length as u64), &mut std::io::sink())?;
    }
}

fn byte(stream: &mut TcpStream) -> std::io::Result<u8> {
    let mut byte = [0];
    stream.read_exact(&mut byte)?;
    Ok(byte[0])
}

fn memory_mb(agent: &Child) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", agent.id())).unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).unwrap_or_default();
    line.split_whitespace().find_map(|n| n.parse::<f64>().ok()).unwrap_or_default() / 1024.0
}

fn stop(agent: &mut Child) {
    agent.kill().expect("it is there");
    agent.wait().expect("it ends");
}
