//! Programs that are compared or needed: the machine's own, or Debian's, unpacked into a cache and never
//! installed (the packages of NTP daemons conflict with each other).

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs};

/// Where programs live below a root.
const DIRECTORIES: [&str; 5] = ["usr/sbin", "usr/bin", "sbin", "bin", "usr/local/sbin"];

/// A program and the Debian package it comes in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Package {
    pub(super) package: &'static str,
    pub(super) program: &'static str,
}

/// A program that was found.
#[derive(Clone, Debug)]
pub(super) struct Program {
    pub(super) path: PathBuf,
    /// Where its libraries are, if they are not installed.
    pub(super) libraries: Option<String>,
}

/// Sets GRO, without which there is no threaded NAPI on a veth.
pub(super) const ETHTOOL: Package = Package { package: "ethtool", program: "ethtool" };

impl Package {
    /// Finds the program, on this machine or in `cache`; unpacks it there if it is nowhere.
    pub(super) fn find(self, cache: &Path) -> Result<Program, String> {
        if let Some(path) = self.installed() {
            return Ok(Program { path, libraries: None });
        }
        let root = cache.join(self.package).join("root");
        if let Some(program) = self.unpacked(&root) {
            return Ok(program);
        }
        self.unpack(&cache.join(self.package))?;
        let missing = || format!("Debian's package {} has no {}", self.package, self.program);
        self.unpacked(&root).ok_or_else(missing)
    }

    /// Several packages have an `ntpd`: only the right one will do.
    pub(super) fn installed(self) -> Option<PathBuf> {
        let path = env::var_os("PATH").unwrap_or_default();
        let directories = env::split_paths(&path).chain(DIRECTORIES.map(|path| Path::new("/").join(path)));
        let found = directories.map(|path| path.join(self.program)).find(|path| path.is_file())?;
        let is_right = || {
            let owner = Command::new("dpkg-query").arg("--search").arg(&found).output();
            owner.is_ok_and(|owner| owner.stdout.starts_with(format!("{}:", self.package).as_bytes()))
        };
        (self.program != "ntpd" || is_right()).then_some(found)
    }

    fn unpacked(self, root: &Path) -> Option<Program> {
        let path = DIRECTORIES.map(|path| root.join(path).join(self.program));
        let path = path.into_iter().find(|path| path.is_file())?;
        let triplet = format!("{}-linux-gnu", env::consts::ARCH);
        let libraries = ["usr/lib", "lib"].map(|lib| root.join(lib).join(&triplet));
        let libraries = env::join_paths(libraries).ok()?.into_string().ok();
        Some(Program { path, libraries })
    }

    /// Downloads the package with the libraries that this machine lacks.
    fn unpack(self, directory: &Path) -> Result<(), String> {
        let Self { package, .. } = self;
        eprintln!("compare: unpacking Debian's {package} into {}", directory.display());
        let (debs, root) = (directory.join("debs"), directory.join("root"));
        let make = |path: &Path| fs::create_dir_all(path).map_err(|error| format!("{path:?}: {error}"));
        make(&debs.join("partial"))?;
        make(&root)?;
        let mut download = Command::new("apt-get");
        download
            .args(["install", "-y", "-qq", "--no-install-recommends", "--download-only", "--reinstall"])
            .args(["-o", "APT::Sandbox::User=root", "-o", "Debug::NoLocking=true", "-o"])
            .arg(format!("Dir::Cache::archives={}", debs.display()))
            .arg(package);
        run(&mut download)
            .map_err(|error| format!("neither installed nor to be had from Debian: {error}"))?;
        let entries = fs::read_dir(&debs).map_err(|error| format!("{debs:?}: {error}"))?;
        for deb in entries.flatten().map(|entry| entry.path()).filter(|path| path.is_file()) {
            run(Command::new("dpkg").arg("-x").arg(deb).arg(&root))?;
        }
        // A libc beside the system's own loader would break every program that sees it.
        run(Command::new("find").arg(&root).args(["-name", "libc.so.6", "-delete"]))
    }
}

/// Runs a program to its end; the last line it said if it failed.
pub(super) fn run(command: &mut Command) -> Result<(), String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("{name}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    Err(format!("{name}: {}", said.lines().last().unwrap_or("it failed without a word")))
}
