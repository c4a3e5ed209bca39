//! `install.sh`: what it puts where, that it works from there, and that it is taken away again.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::clients::find;
use crate::support::daemon::Daemon;
use crate::support::namespace::{Namespace, command};
use crate::support::scene::{SCRATCH, SEED};

const PROJECT: &str = env!("CARGO_MANIFEST_DIR");

/// A directory below which install.sh works, and the programs that it takes.
struct Site {
    root: PathBuf,
    built: PathBuf,
    prefix: &'static str,
}

impl Site {
    fn new(test: &str, prefix: &'static str) -> Self {
        let directory = Path::new(SCRATCH).join(test);
        let _ = fs::remove_dir_all(&directory);
        let site = Self { root: directory.join("root"), built: directory.join("built"), prefix };
        fs::create_dir_all(&site.built).expect("a scratch directory");
        fs::copy(env!("CARGO_BIN_EXE_ntpring"), site.built.join("ntpring")).expect("a program");
        // The generator is another package's; what is installed here is only a file of its name.
        fs::copy("/bin/true", site.built.join("ntpload")).expect("a program");
        site
    }

    /// Runs install.sh; its exit code and output.
    fn run(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let mut install = Command::new(Path::new(PROJECT).join("install.sh"));
        install
            .args(arguments)
            .env("DESTDIR", &self.root)
            .env("PREFIX", self.prefix)
            .env("BUILT", &self.built);
        let output = install.output().expect("sh");
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        (output.status.code(), text)
    }

    fn install(&self) {
        let (code, text) = self.run(&[]);
        assert_eq!(code, Some(0), "{text}");
    }

    fn path(&self, below: &str) -> PathBuf {
        self.root.join(below)
    }

    /// Every file and link: its mode, or where it leads.
    fn files(&self) -> BTreeMap<String, String> {
        let mut files = BTreeMap::new();
        collect(&self.root, &self.root, &mut files);
        files
    }
}

fn collect(root: &Path, directory: &Path, files: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(directory).expect("a directory").map(|entry| entry.expect("an entry")) {
        let (path, kind) = (entry.path(), entry.file_type().expect("a type"));
        if kind.is_dir() {
            collect(root, &path, files);
            continue;
        }
        let shown = match fs::read_link(&path) {
            Ok(target) => format!("-> {}", target.display()),
            Err(_) => format!("{:o}", entry.metadata().expect("a status").permissions().mode() & 0o7777),
        };
        let below = path.strip_prefix(root).expect("below the root");
        files.insert(below.display().to_string(), shown);
    }
}

#[test]
fn every_file_is_where_it_belongs_and_goes_again() {
    let site = Site::new("install", "/usr");
    site.install();
    let expected = [
        ("etc/ntp.conf", "644"),
        ("usr/bin/ntpload", "755"),
        ("usr/bin/ntpq", "-> ntpring"),
        ("usr/bin/ntpring", "755"),
        ("usr/lib/systemd/system/ntpd.service", "-> ntpring.service"),
        ("usr/lib/systemd/system/ntpring.service", "644"),
        ("usr/lib/systemd/system/ntpring.service.d/clock.conf", "644"),
        ("usr/lib/sysusers.d/ntpring.conf", "644"),
        ("usr/sbin/ntpd", "-> ../bin/ntpring"),
        ("usr/share/man/man1/ntpload.1", "644"),
        ("usr/share/man/man1/ntpq.1", "-> ../man8/ntpring.8"),
        ("usr/share/man/man5/ntpring.conf.5", "644"),
        ("usr/share/man/man8/ntpd.8", "-> ntpring.8"),
        ("usr/share/man/man8/ntpring.8", "644"),
    ];
    let expected = expected.map(|(path, shown)| (path.to_owned(), shown.to_owned()));
    assert_eq!(site.files(), BTreeMap::from(expected));
    assert!(site.path("var/lib/ntpring").is_dir());
    for link in ["usr/bin/ntpq", "usr/sbin/ntpd", "usr/share/man/man1/ntpq.1", "usr/share/man/man8/ntpd.8"] {
        assert!(site.path(link).exists(), "{link} leads to a file");
    }
    // Twice is once.
    site.install();
    let (code, text) = site.run(&["--uninstall"]);
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(site.files(), BTreeMap::new());
    assert!(!site.path("var/lib/ntpring").exists());
}

#[test]
fn what_people_have_is_not_overwritten_and_not_removed() {
    let site = Site::new("kept", "/usr/local");
    fs::create_dir_all(site.path("etc")).expect("a directory");
    fs::write(site.path("etc/ntp.conf"), "server 192.0.2.1\n").expect("a configuration");
    site.install();
    fs::write(site.path("var/lib/ntpring/drift"), "1.5\n").expect("a drift file");
    let (code, text) = site.run(&["--uninstall"]);
    assert_eq!(code, Some(0), "{text}");
    let left: Vec<String> = site.files().into_keys().collect();
    assert_eq!(left, ["etc/ntp.conf", "var/lib/ntpring/drift"]);
    assert_eq!(fs::read_to_string(site.path("etc/ntp.conf")).expect("it is there"), "server 192.0.2.1\n");

    let other = Site::new("other", "/usr");
    fs::create_dir_all(other.path("usr/sbin")).expect("a directory");
    fs::write(other.path("usr/sbin/ntpd"), "another program\n").expect("a file");
    let (code, text) = other.run(&[]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("usr/sbin/ntpd is another program"), "{text}");
    assert_eq!(other.files().into_keys().collect::<Vec<_>>(), ["usr/sbin/ntpd"]);
}

#[test]
fn the_programs_work_from_where_they_are_installed() {
    let site = Site::new("works", "/usr");
    site.install();
    let Some(namespace) = Namespace::new() else { return };
    let mut ntpd = command(site.path("usr/sbin/ntpd"));
    ntpd.args(["-g", "-c", SEED]);
    let daemon = Daemon::start_command(&namespace, ntpd);
    let mut ntpq = command(site.path("usr/bin/ntpq"));
    ntpq.arg("-pn");
    let screen = namespace.run(ntpq);
    assert_eq!(screen.code, Some(0), "{}\n{}", screen.text, daemon.text());
    assert!(screen.text.contains("*127.127.1.0     .LOCL.           3 l"), "{}", screen.text);
}

#[test]
fn the_default_configuration_has_nothing_to_complain_about() {
    let mut check = command(env!("CARGO_BIN_EXE_ntpring"));
    let conf = Path::new(PROJECT).join("packaging/ntp.conf");
    let output = check.args(["check", "--strict", "-c"]).arg(conf).output().expect("it starts");
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn the_unit_starts_what_is_installed_and_may_set_the_clock() {
    let site = Site::new("unit", "/opt/ntp");
    site.install();
    let unit = fs::read_to_string(site.path("opt/ntp/lib/systemd/system/ntpring.service")).expect("a unit");
    assert!(unit.contains("\nExecStart=/opt/ntp/bin/ntpring serve -g\n"), "{unit}");
    assert!(!unit.contains("/usr/local"), "{unit}");
    let shipped = fs::read_to_string(Path::new(PROJECT).join("tuning/ntpring.service")).expect("a unit");
    let changed = shipped.lines().filter(|line| !unit.lines().any(|other| other == *line)).count();
    assert_eq!(changed, 3, "two lines of instructions, and the program's path");
    let clock = site.path("opt/ntp/lib/systemd/system/ntpring.service.d/clock.conf");
    assert!(fs::read_to_string(clock).expect("a drop-in").contains("AmbientCapabilities=CAP_SYS_TIME"));
    // The drift file of the configuration is in the directory that the unit makes.
    let conf = fs::read_to_string(site.path("etc/ntp.conf")).expect("a configuration");
    assert!(conf.contains("\ndriftfile /var/lib/ntpring/"), "{conf}");
    assert!(unit.contains("\nStateDirectory=ntpring\n"), "{unit}");
}

#[test]
fn the_manual_pages_are_without_faults() {
    let Some(man) = find("man", "man") else { return };
    for page in ["ntpring.8", "ntpload.1", "ntpring.conf.5"] {
        let path = Path::new(PROJECT).join("packaging/man").join(page);
        let mut man = Command::new(&man);
        man.args(["--warnings", "--local-file"]).arg(path).env("LC_ALL", "C.UTF-8").env("MANPAGER", "cat");
        let output = man.output().expect("man");
        assert!(output.status.success(), "{page}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{page}");
        assert!(output.stdout.len() > 1000, "{page}");
    }
}
