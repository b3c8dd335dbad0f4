//! JavaScript and Python to a component: an interpreter with the source in it, already started. The
//! packages that make it come from the language's own registry, into the project's folder.

use crate::toolchain::run;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Makes a component of the ES module `source`. `build` is the script that calls componentize-js; `dir` has
/// the package.json that names its version.
pub fn javascript(
    dir: &Path,
    build: &Path,
    source: &Path,
    wit: &Path,
    out: &Path,
) -> Result<Vec<u8>, String> {
    if !dir.join("node_modules/@bytecodealliance/componentize-js").is_dir() {
        let mut npm = Command::new("npm");
        npm.args(["install", "--no-audit", "--no-fund", "--silent"]).current_dir(dir);
        run(&mut npm).map_err(|e| {
            needs(&e, "Node.js 20 or later with npm (on Debian: `apt-get install nodejs npm`)")
        })?;
    }
    make_parent(out)?;
    let mut node = Command::new("node");
    node.arg(build).args([source, wit, out]).current_dir(dir);
    run(&mut node)?;
    read(out)
}

/// Makes a component of the Python module `app` in `dir`. `environment` is a folder for the packages that
/// `requirements.txt` names.
pub fn python(dir: &Path, environment: &Path, wit: &Path, out: &Path) -> Result<Vec<u8>, String> {
    let tool = environment.join("bin/componentize-py");
    if !tool.is_file() {
        let mut venv = Command::new("python3");
        venv.args(["-m", "venv"]).arg(environment);
        let install = "Python 3.10 or later with venv (on Debian: `apt-get install python3-venv`)";
        run(&mut venv).map_err(|e| needs(&e, install))?;
        let mut pip = Command::new(environment.join("bin/python"));
        pip.args(["-m", "pip", "install", "--quiet", "--requirement", "requirements.txt"]).current_dir(dir);
        run(&mut pip)?;
    }
    make_parent(out)?;
    let mut componentize = Command::new(&tool);
    componentize.arg("-d").arg(wit).args([
        "-w",
        "transform",
        "componentize",
        "--stub-wasi",
        "app",
        "-p",
        ".",
    ]);
    componentize.arg("-o").arg(out).current_dir(dir).stdout(std::process::Stdio::null());
    run(&mut componentize)?;
    read(out)
}

fn needs(why: &str, what: &str) -> String {
    format!("{why}. This language needs {what}")
}

fn make_parent(path: &Path) -> Result<(), String> {
    let parent = path.parent().unwrap_or(path);
    fs::create_dir_all(parent).map_err(|e| format!("{}: {e}", parent.display()))
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|e| format!("{}: {e}", path.display()))
}
