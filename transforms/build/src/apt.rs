//! Debian packages of another release or another kind of machine, unpacked into a folder of their own.
//!
//! apt is given lists, a cache and sources of its own, so that the machine's stay as they are. Nothing is
//! installed and no script of a package runs.

use crate::toolchain::{run, text};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where packages come from.
#[derive(Clone, Debug)]
pub struct Source {
    work: PathBuf,
    architecture: String,
}

impl Source {
    /// The packages of `suite` (`<release>` or `<release>-security`, by their names) for `architecture`, from
    /// the mirrors that this machine uses. Lists and downloads go into `work`, which can be removed afterwards.
    pub fn new(work: &Path, suite: &str, architecture: &str) -> Result<Self, String> {
        let source = Self { work: work.to_owned(), architecture: architecture.to_owned() };
        for dir in ["lists/partial", "cache/archives/partial", "debs"] {
            fs::create_dir_all(work.join(dir)).map_err(|e| format!("{}: {e}", work.display()))?;
        }
        let line = format!("deb [arch={architecture}] {} {suite} main\n", mirror(suite)?);
        for (name, text) in [("sources.list", line.as_str()), ("status", "")] {
            fs::write(work.join(name), text).map_err(|e| format!("{}: {e}", work.display()))?;
        }
        run(source.apt("apt-get").args(["update", "-qq"]))?;
        Ok(source)
    }

    /// The packages that `package` depends on by name.
    pub fn depends(&self, package: &str) -> Result<Vec<String>, String> {
        let list = text(self.apt("apt-cache").args(["depends", "--important", package]))?;
        let names = list.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
        Ok(names.map(str::to_owned).collect())
    }

    /// Downloads packages and unpacks them into `root`.
    pub fn unpack(&self, packages: &[&str], root: &Path) -> Result<(), String> {
        let debs = self.work.join("debs");
        run(self.apt("apt-get").args(["download", "-qq"]).args(packages).current_dir(&debs))?;
        for deb in fs::read_dir(&debs).map_err(|e| format!("{}: {e}", debs.display()))?.flatten() {
            run(Command::new("dpkg-deb").arg("-x").arg(deb.path()).arg(root))?;
            fs::remove_file(deb.path()).map_err(|e| format!("{}: {e}", deb.path().display()))?;
        }
        Ok(())
    }

    fn apt(&self, program: &str) -> Command {
        let at = |name: &str| self.work.join(name).display().to_string();
        let mut apt = Command::new(program);
        for option in [
            format!("Dir::State::lists={}", at("lists")),
            format!("Dir::State::status={}", at("status")),
            format!("Dir::Cache={}", at("cache")),
            format!("Dir::Etc::sourcelist={}", at("sources.list")),
            "Dir::Etc::sourceparts=/dev/null".into(),
            format!("APT::Architecture={}", self.architecture),
            format!("APT::Architectures::={}", self.architecture),
            // Its user for downloads cannot write into a home folder.
            "APT::Sandbox::User=root".into(),
        ] {
            apt.arg("-o").arg(option);
        }
        apt
    }
}

/// The address of the mirror that serves a suite, or another suite of its kind.
fn mirror(suite: &str) -> Result<String, String> {
    let mut apt = Command::new("apt-get");
    apt.args(["indextargets", "--format", "$(CODENAME) $(COMPONENT) $(REPO_URI)", "Identifier: Packages"]);
    let list = text(&mut apt)?;
    let is_security = |name: &str| name.ends_with("-security");
    let targets = list.lines().filter_map(|line| {
        let mut words = line.split(' ');
        Some((words.next()?, words.next()?, words.next()?))
    });
    let fit = |(codename, component, _): &(&str, &str, &str)| {
        *component == "main" && is_security(codename) == is_security(suite)
    };
    let found = targets.filter(fit).map(|(_, _, uri)| uri.to_owned()).next();
    found.ok_or_else(|| "apt-get knows no mirror of Debian: run `apt-get update` first".into())
}
