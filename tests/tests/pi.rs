//! A vehicle's computer: an emulated arm64 machine with 1 GB of memory boots Debian with systemd, installs the
//! agent's package as README.md says, and its readings arrive in the tables. Then it upgrades, and removes it.
//!
//! `cargo xtask pi`, and `cargo xtask test --full`, bring the machine and the package.

use milepost_tests::chain::Chain;
use milepost_tests::process::{Process, wait_for};
use milepost_tests::skip;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// QEMU translates every instruction: on a busy two-core machine the walk took seven minutes.
const PATIENCE: Duration = Duration::from_secs(900);
const MEMORY_MB: &str = "1024";

fn given(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable).map(PathBuf::from).filter(|path| path.exists())
}

/// The machine's disk with what the test puts on it: the kernel unpacks one archive after the other.
fn disk(machine: &Path, chain: &Chain, package: &Path) -> PathBuf {
    let tree = chain.path("disk");
    let put = |from: &Path, to: &str| {
        let to = tree.join(to);
        fs::create_dir_all(to.parent().expect("a folder")).unwrap();
        fs::copy(from, to).unwrap_or_else(|e| panic!("{}: {e}", from.display()));
    };
    put(package, "opt/walk/milepost-agent.deb");
    put(Path::new("pi/walk.sh"), "opt/walk/walk.sh");
    put(Path::new("pi/walk.service"), "etc/systemd/system/walk.service");
    let wanted = tree.join("etc/systemd/system/multi-user.target.wants");
    fs::create_dir_all(&wanted).unwrap();
    std::os::unix::fs::symlink("../walk.service", wanted.join("walk.service")).unwrap();
    // Code is compiled in the machine, within the unit's sandbox.
    put(Path::new("../transforms/prebuilt/downsample.wasm"), "opt/walk/van-1/downsample.wasm");
    let config = format!(
        "vehicle = \"van-1\"\n[uplink]\nurl = \"mqtt://10.0.2.2:{}\"\n\
         [[source]]\nname = \"trip\"\ntype = \"simulate\"\nspeed = 10\n\
         [[transform]]\nname = \"downsample\"\npath = \"/etc/milepost/downsample.wasm\"\n\
         params = {{ min_distance_m = 10 }}\n",
        chain.mosquitto.port
    );
    fs::write(tree.join("opt/walk/van-1/agent.toml"), config).unwrap();
    let disk = chain.path("disk.cpio.gz");
    fs::copy(machine.join("root.cpio.gz"), &disk).unwrap();
    let append = "find . -print0 | cpio --null --create --format=newc --quiet --owner=0:0 | gzip -1";
    let file = File::options().append(true).open(&disk).unwrap();
    let packed = Command::new("sh").args(["-c", append]).current_dir(&tree).stdout(file).status();
    assert!(packed.is_ok_and(|status| status.success()), "cpio failed");
    disk
}

fn boot(machine: &Path, disk: &Path, console: &Path) -> Process {
    let mut qemu = Command::new("qemu-system-aarch64");
    qemu.args(["-M", "virt", "-cpu", "cortex-a72", "-smp", "2", "-m", MEMORY_MB, "-nographic", "-no-reboot"]);
    qemu.args(["-netdev", "user,id=n", "-device", "virtio-net-device,netdev=n"]);
    qemu.args(["-append", "console=ttyAMA0 rdinit=/lib/systemd/systemd quiet"]);
    qemu.arg("-kernel").arg(machine.join("vmlinuz")).arg("-initrd").arg(disk).stdin(Stdio::null());
    Process::start(&mut qemu, console)
}

#[test]
fn the_package_runs_under_systemd_on_arm64_and_its_readings_arrive_in_the_tables() {
    let (Some(machine), Some(package)) = (given("MILEPOST_PI"), given("MILEPOST_PI_PACKAGE")) else {
        return println!("skipped: `cargo xtask pi` brings the machine");
    };
    let Some(mut chain) = Chain::brokers(1) else {
        return skip("Mosquitto or Kafka is missing");
    };
    chain.restart_bridge();
    chain.restart_sink();
    let console = chain.path("console.log");
    let mut qemu = boot(&machine, &disk(&machine, &chain, &package), &console);
    wait_for("the machine to power off", PATIENCE, || !qemu.is_running());
    let text = String::from_utf8_lossy(&fs::read(&console).unwrap()).replace('\r', "");
    let said: Vec<&str> =
        text.lines().filter_map(|line| line.split_once("walk: ").map(|(_, said)| said)).collect();
    println!("{}", said.join("\n"));
    let after = |head: &str| {
        let found = said.iter().find_map(|line| line.strip_prefix(head));
        found.unwrap_or_else(|| panic!("the machine did not say {head:?}:\n{text}"))
    };
    for line in [
        "installed",
        "without a configuration inactive",
        "started",
        "state active as milepost",
        "upgraded",
        "restarted",
        "stopped success",
        "removed 2",
        "purged 0",
        "end",
    ] {
        after(line);
    }
    assert!(after("groups ").split(' ').any(|group| group == "dialout"));
    let exposure: f64 = after("exposure ").parse().expect("a number");
    assert!(exposure <= 2.5, "exposure {exposure}");
    assert!(after("watchdog ").parse::<i64>().is_ok_and(|us| us > 0), "the agent did not notify again");
    assert!(after("kept ").starts_with("milepost 600 "), "the upgrade touched the configuration");
    let report = chain.audited(Duration::from_secs(60));
    println!("{report}");
    assert!(report["tables"]["gps_data"]["rows"].as_u64() > Some(0), "{report}");
    // Before and after the upgrade.
    assert_eq!(report["health"]["boots"], 2, "{report}");
}
