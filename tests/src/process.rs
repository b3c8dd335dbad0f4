//! Processes that a test starts and that end with it.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A child process; killed (-9) when the value goes.
pub struct Process(Child);

impl Process {
    /// Starts a command, its output in `log`.
    pub fn start(command: &mut Command, log: &Path) -> Self {
        let out =
            std::fs::OpenOptions::new().create(true).append(true).open(log).expect("the log can be written");
        let err = out.try_clone().expect("a file handle can be cloned");
        command.stdin(Stdio::null()).stdout(out).stderr(err);
        Self(command.spawn().unwrap_or_else(|e| panic!("Cannot start {command:?}: {e}")))
    }

    /// Kills it as a power cut would: no signal that it could catch.
    pub fn kill(mut self) {
        self.end();
    }

    /// Asks it to stop and waits; the exit status says whether it ended by itself.
    pub fn terminate(mut self, within: Duration) -> std::process::ExitStatus {
        self.signal("-TERM");
        let until = Instant::now() + within;
        loop {
            if let Some(status) = self.0.try_wait().expect("a child can be waited for") {
                return status;
            }
            assert!(Instant::now() < until, "process {} did not stop within {within:?}", self.0.id());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Stops its threads where they are (SIGSTOP), as a frozen virtual machine would.
    pub fn pause(&mut self) {
        self.signal("-STOP");
    }

    /// Lets it go on, unaware of the time that has passed.
    pub fn wake(&mut self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.0.id().to_string()]).status();
        assert!(sent.is_ok(), "kill cannot be run: {sent:?}");
    }

    /// The number by which the system knows it.
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// What it has taken of the processor so far.
    pub fn cpu(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0.id())).unwrap_or_default();
        // After the name, which may have spaces: user time is the 12th field, system time the 13th, in
        // hundredths of a second (proc(5); Linux's USER_HZ is 100).
        let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
        Duration::from_millis(10 * fields.filter_map(|ticks| ticks.parse::<u64>().ok()).sum::<u64>())
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.0.try_wait().is_ok_and(|s| s.is_none())
    }

    fn end(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

/// One of the project's programs, as `cargo build` left it beside the tests; built if it is not there.
pub fn program(package: &str, name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own path");
    let beside = test.parent().expect("a program is in a folder");
    // target/<profile>/deps/<test>, or a program of the project's own, beside the others.
    let profile_dir = if beside.ends_with("deps") { beside.parent().unwrap_or(beside) } else { beside };
    let path = profile_dir.join(name);
    if !path.is_file() {
        let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        build.args(["build", "--quiet", "--package", package]);
        if profile_dir.ends_with("release") {
            build.arg("--release");
        }
        assert!(build.status().is_ok_and(|s| s.success()), "cannot build {package}");
    }
    path
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a free port");
    socket.local_addr().expect("a bound socket has an address").port()
}

/// Waits until `done`, at most `within`; panics with `what` otherwise.
pub fn wait_for(what: &str, within: Duration, mut done: impl FnMut() -> bool) {
    let until = Instant::now() + within;
    while !done() {
        assert!(Instant::now() < until, "waited {within:?} in vain for {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A real Mosquitto on a free loopback port.
pub struct Mosquitto {
    process: Option<Process>,
    program: &'static str,
    dir: PathBuf,
    pub port: u16,
}

impl Mosquitto {
    /// Starts it with its data in `dir`; `None` where it is not installed.
    pub fn start(dir: &Path) -> Option<Self> {
        let program = ["/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto", "/usr/bin/mosquitto"]
            .into_iter()
            .find(|p| Path::new(p).is_file())?;
        let port = free_port();
        let text = format!(
            "listener {port} 127.0.0.1\nallow_anonymous true\npersistence true\npersistence_location {}/\n\
             autosave_interval 1\nmax_queued_messages 0\nmax_inflight_messages 1000\nmessage_size_limit 0\n{}",
            dir.display(),
            // Started as root it would give up its rights, and with them its folder.
            if is_root() { "user root\n" } else { "" },
        );
        std::fs::write(dir.join("mosquitto.conf"), text).expect("the configuration can be written");
        let mut mosquitto = Self { process: None, program, dir: dir.to_owned(), port };
        mosquitto.run();
        Some(mosquitto)
    }

    fn run(&mut self) {
        let mut command = Command::new(self.program);
        command.arg("-c").arg(self.dir.join("mosquitto.conf"));
        self.process = Some(Process::start(&mut command, &self.dir.join("mosquitto.log")));
        wait_for("Mosquitto", Duration::from_secs(10), || {
            TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_ok()
        });
    }

    /// Stops it as systemd would, so that it writes down its sessions, and starts it on them again. A
    /// Mosquitto that is killed has lost what it acknowledged since its last autosave; that is the
    /// broker's promise, not the chain's.
    pub fn restart(&mut self) {
        if let Some(process) = self.process.take() {
            process.terminate(Duration::from_secs(30));
        }
        self.run();
    }

    /// Its address as the programs' configuration wants it.
    pub fn url(&self) -> String {
        format!("mqtt://127.0.0.1:{}", self.port)
    }
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|m| std::os::unix::fs::MetadataExt::uid(&m) == 0)
}
