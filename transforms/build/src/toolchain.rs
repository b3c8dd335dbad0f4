//! Finds, or makes, a Rust toolchain for a target that this machine is not.
//!
//! On most machines that is `rustup target add`. Where rustup may not download
//! (`RUSTUP_AUTO_INSTALL=0`, or its server is out of reach), Debian's matched pair of a compiler and
//! the source of its library (`rustc-web`, `rust-web-src`) serves: it is unpacked into the user's cache
//! folder without touching the system, and the target's standard library is compiled there once.

use crate::apt::Source;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The name under which rustup knows Debian's toolchain, for `cargo +milepost-cross …` by hand.
const LINKED_AS: &str = "milepost-cross";
/// What is unpacked; the libraries that these need and the system lacks come with them.
const PACKAGES: [&str; 4] = ["rustc-web", "cargo-web", "rust-web-src", "libstd-rust-web-dev"];
/// The one with the library, and the suite that has it.
const LIBRARY: &str = "libstd-rust-web-dev";
const LIBRARY_SUITE: &str = "bookworm-security";
/// The triple of the machines that the Debian route works on.
const DEBIAN_HOST: &str = "x86_64-unknown-linux-gnu";

/// A toolchain that can build for a target.
#[derive(Clone, Debug)]
pub struct Toolchain {
    /// `None` for the active one; else the folder that holds `bin/cargo`.
    prefix: Option<PathBuf>,
    /// What `rustc --version` says.
    pub version: String,
    /// Where the compiler keeps its libraries.
    pub sysroot: PathBuf,
}

impl Toolchain {
    /// The toolchain that builds this program.
    fn active() -> Result<Self, String> {
        Self::ask(None)
    }

    fn ask(prefix: Option<PathBuf>) -> Result<Self, String> {
        let ask = |arg: &[&str]| text(command(prefix.as_deref(), "rustc").args(arg));
        let (version, sysroot) = (ask(&["--version"])?, ask(&["--print", "sysroot"])?);
        Ok(Self { prefix, version, sysroot: sysroot.into() })
    }

    /// A `cargo` of this toolchain, free of what an outer cargo left in the environment.
    pub fn cargo(&self) -> Command {
        command(self.prefix.as_deref(), "cargo")
    }

    fn has(&self, target: &str) -> bool {
        let lib = self.sysroot.join("lib/rustlib").join(target).join("lib");
        let files = fs::read_dir(lib).into_iter().flatten().flatten();
        files.map(|f| f.file_name()).any(|name| name.to_string_lossy().starts_with("libcore-"))
    }
}

/// A toolchain for `target`, installed if need be.
pub fn toolchain(target: &str) -> Result<Toolchain, String> {
    let active = Toolchain::active()?;
    if active.has(target) {
        return Ok(active);
    }
    let by_rustup = match std::env::var("RUSTUP_AUTO_INSTALL").as_deref() {
        Ok("0") => Err("RUSTUP_AUTO_INSTALL=0".into()),
        _ => run(command(None, "rustup").args(["target", "add", target])),
    };
    match by_rustup {
        Ok(()) => Toolchain::active(),
        Err(why) => debian(target).map_err(|e| {
            format!(
                "There is no Rust library for {target}. `rustup target add {target}` gives one ({why}), \
                 and Debian's compiler could not take its place: {e}"
            )
        }),
    }
}

/// Debian's toolchain with `target`'s library.
fn debian(target: &str) -> Result<Toolchain, String> {
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        return Err("it is only used on x86-64 Linux".into());
    }
    let home = cache()?.join("cross");
    make_dir(&home)?;
    // One at a time: others wait, and find it done.
    let lock = fs::File::create(home.join("lock")).map_err(|e| format!("{}: {e}", home.display()))?;
    lock.lock().map_err(|e| format!("{}: {e}", home.display()))?;
    let usr = home.join("root/usr");
    if !home.join("complete").is_file() {
        unpack(&home)?;
    }
    link_linker(&usr)?;
    link_toolchain(&usr);
    let found = Toolchain::ask(Some(usr))?;
    match foreign(target) {
        _ if found.has(target) => {}
        Some(architecture) => fetch_library(&found, target, architecture)?,
        None => {
            eprintln!("Compiling the standard library for {target} with {}, once", found.version);
            build_library(&found, target)?;
        }
    }
    Ok(found)
}

/// Downloads the packages and unpacks them into `home/root`.
fn unpack(home: &Path) -> Result<(), String> {
    eprintln!("Fetching Debian's Rust compiler into {} (about 150 MB), once", home.display());
    let (debs, root) = (home.join("debs"), home.join("root"));
    for dir in [&debs, &root] {
        if dir.exists() {
            fs::remove_dir_all(dir).map_err(|e| format!("{}: {e}", dir.display()))?;
        }
        make_dir(dir)?;
    }
    if text(Command::new("id").arg("-u"))? == "0" {
        // Lists may be old or absent; where they cannot be fetched, the download below says so.
        let _ = run(Command::new("apt-get").args(["update", "-qq"]));
    }
    run(Command::new("apt-get").args(["download", "-qq"]).args(wanted()?).current_dir(&debs))?;
    for deb in fs::read_dir(&debs).map_err(|e| format!("{}: {e}", debs.display()))?.flatten() {
        run(Command::new("dpkg-deb").arg("-x").arg(deb.path()).arg(&root))?;
    }
    // rustc looks for its libraries beside its own, not where Debian's loader finds them.
    let lib = root.join("usr/lib");
    let multiarch = lib.join("x86_64-linux-gnu");
    for file in fs::read_dir(&multiarch).map_err(|e| format!("{}: {e}", multiarch.display()))?.flatten() {
        let name = file.file_name();
        if name.to_string_lossy().contains(".so") {
            symlink(&Path::new("x86_64-linux-gnu").join(&name), &lib.join(&name))?;
        }
    }
    fs::remove_dir_all(&debs).map_err(|e| format!("{}: {e}", debs.display()))?;
    fs::write(home.join("complete"), "").map_err(|e| format!("{}: {e}", home.display()))
}

/// The packages, and the libraries that they depend on and that are not installed. The C compiler that
/// Debian's packages ask for is not among them: only foreign targets are built.
fn wanted() -> Result<Vec<String>, String> {
    let mut wanted: Vec<String> = PACKAGES.iter().map(|p| String::from(*p)).collect();
    let mut next = 0;
    while let Some(package) = wanted.get(next) {
        next += 1;
        let depends = text(Command::new("apt-cache").args(["depends", "--important", package]))?;
        let names = depends.lines().filter_map(|l| l.trim().strip_prefix("Depends: "));
        for name in names.filter(|n| n.starts_with("lib")) {
            // What belongs to the compiler is always taken: the system may have another version.
            let own = name.starts_with("libstd-rust-web") || name.starts_with("libllvm");
            if !wanted.iter().any(|w| w == name) && (own || !is_installed(name)) {
                wanted.push(name.into());
            }
        }
    }
    Ok(wanted)
}

fn is_installed(package: &str) -> bool {
    let status = text(Command::new("dpkg-query").args(["-W", "-f", "${db:Status-Status}", package]));
    status.as_deref() == Ok("installed")
}

/// Debian's compiler has no linker of its own for foreign targets; the active toolchain's stands in.
fn link_linker(usr: &Path) -> Result<(), String> {
    let bin = Path::new("lib/rustlib").join(DEBIAN_HOST).join("bin");
    let theirs = Toolchain::active()?.sysroot.join(&bin).join("rust-lld");
    if !theirs.is_file() {
        return Err(format!("the active toolchain has no linker at {}", theirs.display()));
    }
    make_dir(&usr.join(&bin))?;
    symlink(&theirs, &usr.join(&bin).join("rust-lld"))
}

/// Makes `cargo +milepost-cross` work, for people. Nothing here depends on it.
fn link_toolchain(usr: &Path) {
    let mut rustup = command(None, "rustup");
    let _ = rustup.args(["toolchain", "link", LINKED_AS]).arg(usr).stderr(Stdio::null()).status();
}

/// Debian's name of the kind of machine that a target is, where it has a library for it.
fn foreign(target: &str) -> Option<&'static str> {
    match target {
        "aarch64-unknown-linux-gnu" => Some("arm64"),
        _ => None,
    }
}

/// Fetches the target's library from Debian: the one that was built with the compiler.
fn fetch_library(toolchain: &Toolchain, target: &str, architecture: &str) -> Result<(), String> {
    let version = text(Command::new("apt-cache").args(["policy", LIBRARY]))?;
    let version = version.lines().find_map(|line| line.trim().strip_prefix("Candidate: "));
    let wanted = format!("{LIBRARY}={}", version.ok_or("apt-cache knows no Rust library")?);
    eprintln!("Fetching Debian's Rust library for {target}, once");
    let work = cache()?.join("cross").join(format!("library-{target}"));
    let source = Source::new(&work, LIBRARY_SUITE, architecture)?;
    source.unpack(&[&wanted], &work.join("root"))?;
    let library = Path::new("lib/rustlib").join(target);
    let (from, to) = (work.join("root/usr").join(&library), toolchain.sysroot.join(&library));
    fs::rename(&from, &to).map_err(|e| format!("{} cannot be moved: {e}", from.display()))?;
    fs::remove_dir_all(&work).map_err(|e| format!("{}: {e}", work.display()))
}

/// Compiles the target's library and puts it where the compiler looks for it.
fn build_library(toolchain: &Toolchain, target: &str) -> Result<(), String> {
    let crates = match target {
        t if t.starts_with("wasm32") => "std,panic_abort",
        t if t.contains("-none") => "core,alloc,compiler_builtins",
        _ => "std,panic_abort,panic_unwind,proc_macro,test",
    };
    let work = cache()?.join("cross").join(format!("library-{target}"));
    make_dir(&work.join("src"))?;
    let manifest = "[package]\nname = \"milepost_library\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n\
                    [profile.release]\ndebug = 0\nopt-level = 3\n\n[workspace]\n";
    let write = |path: &str, text: &str| {
        fs::write(work.join(path), text).map_err(|e| format!("{}: {e}", work.display()))
    };
    write("Cargo.toml", manifest)?;
    write("src/lib.rs", "#![no_std]\n")?;
    // Paths of this machine must not end up in what is built with the library, and bitcode must be there
    // for a user's `lto = true`.
    let flags = flags(&["-Cembed-bitcode=yes".into(), remap(&toolchain.sysroot, "/rust")]);
    let mut cargo = toolchain.cargo();
    cargo.args(["build", "--quiet", "--release", "--target", target]).arg(format!("-Zbuild-std={crates}"));
    cargo.current_dir(&work).env("RUSTC_BOOTSTRAP", "1").env("CARGO_ENCODED_RUSTFLAGS", flags);
    run(&mut cargo)?;
    let built = work.join("target").join(target).join("release/deps");
    let lib = toolchain.sysroot.join("lib/rustlib").join(target).join("lib");
    let staged = lib.with_extension("new");
    make_dir(&staged)?;
    for file in fs::read_dir(&built).map_err(|e| format!("{}: {e}", built.display()))?.flatten() {
        let name = file.file_name().to_string_lossy().into_owned();
        if name.ends_with(".rlib") && !name.contains("milepost_library") {
            fs::copy(file.path(), staged.join(&name)).map_err(|e| format!("{name}: {e}"))?;
        }
    }
    fs::rename(&staged, &lib).map_err(|e| format!("{}: {e}", lib.display()))?;
    fs::remove_dir_all(&work).map_err(|e| format!("{}: {e}", work.display()))
}

/// A flag that replaces the beginning of a path in what is compiled.
pub fn remap(from: &Path, to: &str) -> String {
    format!("--remap-path-prefix={}={to}", from.display())
}

/// Flags as `CARGO_ENCODED_RUSTFLAGS` wants them.
pub fn flags(flags: &[String]) -> String {
    flags.join("\x1f")
}

/// Milepost's folder in the user's cache.
fn cache() -> Result<PathBuf, String> {
    let from = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let base = from("XDG_CACHE_HOME").or_else(|| Some(from("HOME")?.join(".cache")));
    base.map(|b| b.join("milepost")).ok_or_else(|| "neither XDG_CACHE_HOME nor HOME is set".into())
}

fn command(prefix: Option<&Path>, program: &str) -> Command {
    let mut command = match prefix {
        None => Command::new(program),
        Some(usr) => {
            let mut command = Command::new(usr.join("bin").join(program));
            command.env("RUSTC", usr.join("bin/rustc"));
            // As rustup does for its toolchains.
            let mut path = OsString::from(usr.join("lib"));
            if let Some(more) = std::env::var_os("LD_LIBRARY_PATH") {
                path.push(":");
                path.push(more);
            }
            command.env("LD_LIBRARY_PATH", path);
            command
        }
    };
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        let ours = ["CARGO_HOME", "CARGO_NET_OFFLINE"].contains(&name.as_str());
        if (name.starts_with("CARGO_") && !ours) || ["CARGO", "RUSTFLAGS"].contains(&name.as_str()) {
            command.env_remove(name);
        }
    }
    command
}

/// Runs a command to its end; the error names it.
pub fn run(command: &mut Command) -> Result<(), String> {
    let name = command.get_program().to_string_lossy().into_owned();
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{name} failed ({status})")),
        Err(e) => Err(format!("{name} cannot be run: {e}")),
    }
}

/// What a command prints, trimmed.
pub(crate) fn text(command: &mut Command) -> Result<String, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.stderr(Stdio::null()).output().map_err(|e| format!("{name} cannot be run: {e}"))?;
    if !output.status.success() {
        return Err(format!("{name} failed ({})", output.status));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().into())
}

fn make_dir(dir: &Path) -> Result<(), String> {
    fs::create_dir_all(dir).map_err(|e| format!("{}: {e}", dir.display()))
}

/// Makes a symbolic link, in the place of an older one.
#[cfg(unix)]
fn symlink(to: &Path, at: &Path) -> Result<(), String> {
    if fs::read_link(at).is_ok_and(|now| now == to) {
        return Ok(());
    }
    let _ = fs::remove_file(at);
    std::os::unix::fs::symlink(to, at).map_err(|e| format!("{}: {e}", at.display()))
}

/// The Debian route is not taken where there are no symbolic links.
#[cfg(not(unix))]
fn symlink(_: &Path, at: &Path) -> Result<(), String> {
    Err(format!("{}: no symbolic links here", at.display()))
}
