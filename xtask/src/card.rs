//! `cargo xtask card`: what a vehicle writes to its SD card. An agent drives on a file system of its own, ext4 in a
//! file as on a Raspberry Pi, and the kernel counts what reaches the block device: journal, metadata and all.

use crate::bring;
use crate::run::{cargo, run};
use anyhow::{Context, Result, ensure};
use clap::Args;
use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// The settings that are compared: `spool.loss_window`, what a power cut may take, and `batch.age_max`, how long a
/// frame may grow. The first are the defaults.
const SETTINGS: [(&str, &str); 4] = [("1s", "5s"), ("5s", "5s"), ("15s", "15s"), ("60s", "60s")];
/// The first frames make files; what comes after is the rule.
const WARM_UP: Duration = Duration::from_secs(10);
const DISK_BYTES: u64 = 512 << 20;
/// The kernel counts in these, whatever the device has (Documentation/block/stat.rst).
const SECTOR: u64 = 512;

#[derive(Args)]
pub struct Options {
    /// A folder with the agent's program, where it is built already
    #[arg(long)]
    programs: Option<PathBuf>,
    /// How long each setting is looked at
    #[arg(long, default_value_t = 60)]
    seconds: u64,
}

pub fn run_command(options: &Options) -> Result<()> {
    bring::card()?;
    let programs = match &options.programs {
        Some(dir) => dir.clone(),
        None => {
            run(&mut cargo(&["build", "--workspace", "--bin", "milepost-agent"]))?;
            std::env::current_exe()?.parent().context("A program is in a folder")?.to_owned()
        }
    };
    let dir = tempfile::tempdir()?;
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let _broker = broker(dir.path(), port)?;
    println!(
        "| loss_window | age_max | frames, B/s | written, B/s | × | a year, GB |\n|--:|--:|--:|--:|--:|--:|"
    );
    for (window, age) in SETTINGS {
        let disk = Disk::new(&dir.path().join(window))?;
        let (payload, written) = drive(&programs, dir.path(), port, &disk, (window, age), options.seconds)?;
        let rate = |bytes: u64| bytes as f64 / options.seconds as f64;
        println!(
            "| {window} | {age} | {:.0} | {:.0} | {:.0} | {:.0} |",
            rate(payload),
            rate(written),
            written as f64 / payload as f64,
            rate(written) * 86_400.0 * 365.0 / 1e9
        );
    }
    Ok(())
}

/// A process that ends with its value.
struct Running(Child);

impl Running {
    fn start(command: &mut Command, out: File) -> Result<Self> {
        command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out);
        Ok(Self(command.spawn().with_context(|| format!("Cannot start {command:?}"))?))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A Mosquitto, and somebody who takes all frames and notes their sizes.
fn broker(dir: &Path, port: u16) -> Result<(Running, Running)> {
    let conf = dir.join("mosquitto.conf");
    fs::write(&conf, format!("listener {port} 127.0.0.1\nallow_anonymous true\nuser root\n"))?;
    let broker = Running::start(
        Command::new("/usr/sbin/mosquitto").arg("-c").arg(conf),
        File::create(dir.join("mosquitto.log"))?,
    )?;
    std::thread::sleep(Duration::from_secs(2));
    let mut taker = Command::new("mosquitto_sub");
    taker.args(["-V", "5", "-h", "127.0.0.1", "-p", &port.to_string(), "-q", "1", "-t", "milepost/#"]);
    let taker = Running::start(taker.args(["-F", "%l"]), File::create(dir.join("sizes"))?)?;
    std::thread::sleep(Duration::from_secs(1));
    Ok((broker, taker))
}

/// A simulated vehicle drives in real time. Gives the bytes of its frames, and of what was
/// written to the disk.
fn drive(
    programs: &Path,
    dir: &Path,
    port: u16,
    disk: &Disk,
    set: (&str, &str),
    seconds: u64,
) -> Result<(u64, u64)> {
    let (window, age) = set;
    let config = dir.join(format!("{window}.toml"));
    let text = format!(
        "vehicle = \"van-1\"\ndata_dir = \"{}\"\n[spool]\nloss_window = \"{window}\"\n[batch]\nage_max = \"{age}\"\n\
         [uplink]\nurl = \"mqtt://127.0.0.1:{port}\"\n\
         [[source]]\nname = \"trip\"\ntype = \"simulate\"\n",
        disk.mounted.join("data").display()
    );
    fs::write(&config, text)?;
    let mut agent = Command::new(programs.join("milepost-agent"));
    let _agent = Running::start(agent.arg("--config").arg(config), File::create(dir.join("agent.log"))?)?;
    std::thread::sleep(WARM_UP);
    let (payload, written) = (frames(dir)?, disk.written()?);
    std::thread::sleep(Duration::from_secs(seconds));
    let done = (frames(dir)? - payload, disk.written()? - written);
    ensure!(done.0 > 0, "No frame came: {}", fs::read_to_string(dir.join("agent.log"))?);
    Ok(done)
}

/// Bytes of all frames that were taken so far.
fn frames(dir: &Path) -> Result<u64> {
    let sizes = fs::read_to_string(dir.join("sizes"))?;
    Ok(sizes.lines().filter_map(|line| line.parse::<u64>().ok()).sum())
}

/// An ext4 in a file, mounted; gone with its value.
struct Disk {
    mounted: PathBuf,
    /// Its block device's counters.
    counters: PathBuf,
}

impl Disk {
    fn new(dir: &Path) -> Result<Self> {
        let mounted = dir.join("mounted");
        fs::create_dir_all(&mounted)?;
        let image = dir.join("image");
        File::create(&image)?.set_len(DISK_BYTES)?;
        run(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&image))?;
        // As Raspberry Pi OS mounts its card.
        run(Command::new("mount").args(["-o", "loop,noatime"]).arg(&image).arg(&mounted))?;
        let mounts = fs::read_to_string("/proc/self/mounts")?;
        let line = mounts.lines().find(|line| line.contains(&*mounted.to_string_lossy()));
        let device = line.and_then(|line| line.split(' ').next()?.strip_prefix("/dev/"));
        let device = device.context("The mounted file system has no device")?.to_owned();
        Ok(Self { mounted, counters: Path::new("/sys/block").join(device).join("stat") })
    }

    /// Bytes that were written to the device so far. What is in memory stays there: a card too gets it later.
    fn written(&self) -> Result<u64> {
        let text = fs::read_to_string(&self.counters)?;
        let sectors = text.split_whitespace().nth(6).and_then(|number| number.parse::<u64>().ok());
        Ok(sectors.context("The kernel counts no written sectors")? * SECTOR)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.mounted).status();
    }
}
