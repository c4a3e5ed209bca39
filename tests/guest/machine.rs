//! A virtual machine with a shell on its serial line.

use std::env;
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::archive::Archive;
use super::support::namespace::{Namespace, command};
use super::support::skip::skip;

/// Long enough for a boot without hardware support on a busy machine.
const BOOT: Duration = Duration::from_secs(120);
const ANSWER: Duration = Duration::from_secs(60);

/// The shell of the guest takes commands from the serial line, and says what each has printed between two
/// marks.
const INIT: &str = r#"#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc none /proc
mount -t sysfs none /sys
mount -t devtmpfs none /dev
insmod /e1000.ko
ip link set lo up
ip link set eth0 up
ip addr add 10.0.2.15/24 dev eth0
ip route add default via 10.0.2.2
stty -echo
echo guest is ready
while IFS= read -r line; do
    echo '<<<<'
    eval "$line"
    echo '>>>>'
done
"#;

/// linux/timex.h.
const STA_NANO: i64 = 0x2000;

const NTP_CONF: &str = "driftfile /var/lib/ntp/drift\nserver 10.0.2.2 iburst minpoll 3 maxpoll 4\n";

/// A running guest; dropping it ends it.
#[derive(Debug)]
pub(crate) struct Machine {
    qemu: Child,
    keyboard: ChildStdin,
    screen: Receiver<(u8, SystemTime)>,
    _namespace: Namespace,
    initrd: PathBuf,
}

/// What busybox's adjtimex prints.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Adjtimex {
    /// Seconds since 1970.
    pub(crate) time: f64,
    /// STA_… bits.
    pub(crate) status: i64,
    /// Microseconds per tick.
    pub(crate) tick: i64,
    /// Parts per million.
    pub(crate) frequency_ppm: f64,
    /// Microseconds.
    pub(crate) maximum_error: i64,
    /// Microseconds.
    pub(crate) estimated_error: i64,
}

impl Adjtimex {
    /// From what it printed.
    pub(crate) fn parse(text: &str) -> Self {
        let field = |name: &str| -> i64 {
            let line = text.lines().find(|line| line.contains(name));
            let value = line.and_then(|line| line.split(':').nth(1)?.split_whitespace().next()?.parse().ok());
            value.unwrap_or_else(|| panic!("no {name} in {text}"))
        };
        // The kernel counts in nanoseconds from the first step in nanoseconds on.
        let fraction = if field("status") & STA_NANO != 0 { 1e-9 } else { 1e-6 };
        Self {
            time: field("tv_sec") as f64 + field("tv_usec") as f64 * fraction,
            status: field("status"),
            tick: field("tick"),
            frequency_ppm: field("freq.adjust") as f64 / 65_536.0,
            maximum_error: field("maxerror"),
            estimated_error: field("esterror"),
        }
    }
}

impl Machine {
    /// Boots a guest inside a namespace; its 10.0.2.2 is the namespace's 127.0.0.1. None, with a skip,
    /// where there is no QEMU.
    pub(crate) fn boot(namespace: Namespace) -> Option<Self> {
        let Some(root) = env::var_os("NTPRING_GUEST").map(PathBuf::from) else {
            skip(
                "guest",
                "NTPRING_GUEST names no directory with QEMU and a kernel: run ./ci.sh guest, which makes it",
            );
            return None;
        };
        let kernel = first_below(&root.join("boot"), "vmlinuz");
        let initrd = env::temp_dir().join(format!(
            "ntpring-guest-{}-{:?}",
            std::process::id(),
            thread::current().id()
        ));
        fs::write(&initrd, initial_ram_disk(&root)).expect("room for the initial RAM disk");
        let libraries = [root.join("usr/lib/x86_64-linux-gnu"), root.join("lib/x86_64-linux-gnu")];
        let mut qemu = command(root.join("usr/bin/qemu-system-x86_64"));
        qemu.env("LD_LIBRARY_PATH", env::join_paths(&libraries).expect("no colon in a path"));
        qemu.arg("-L").arg(root.join("usr/share/qemu")).arg("-L").arg(root.join("usr/share/seabios"));
        qemu.args(["-accel", "tcg", "-cpu", "max", "-m", "384", "-smp", "1", "-rtc", "base=utc"]);
        qemu.args(["-nographic", "-no-reboot", "-nodefaults", "-serial", "stdio"]);
        qemu.arg("-kernel").arg(kernel).arg("-initrd").arg(&initrd);
        qemu.args(["-append", "console=ttyS0 quiet panic=-1 tsc=reliable"]);
        qemu.args(["-netdev", "user,id=n1", "-device", "e1000,netdev=n1,romfile="]);
        qemu.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut qemu = namespace.spawn(qemu);
        let mut output = qemu.stdout.take().expect("a piped output");
        let (seen, screen) = mpsc::channel();
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(length @ 1..) = output.read(&mut bytes) {
                let now = SystemTime::now();
                // Once the test is over nobody reads.
                let _ = bytes[..length].iter().try_for_each(|byte| seen.send((*byte, now)));
            }
        });
        let keyboard = qemu.stdin.take().expect("a piped input");
        let mut machine = Self { qemu, keyboard, screen, _namespace: namespace, initrd };
        machine.read_until("guest is ready", BOOT);
        Some(machine)
    }

    /// Runs a line of shell in the guest; what it printed.
    pub(crate) fn run(&mut self, line: &str) -> String {
        writeln!(self.keyboard, "{line}").expect("the guest takes commands");
        self.read_until("<<<<\r\n", ANSWER);
        let (text, _) = self.read_until(">>>>\r\n", ANSWER);
        text.trim_end_matches(">>>>\r\n").replace("\r\n", "\n").trim_end().to_owned()
    }

    /// Runs a line again and again until what it prints fits.
    pub(crate) fn until(&mut self, patience: Duration, line: &str, fits: impl Fn(&str) -> bool) -> String {
        let start = Instant::now();
        loop {
            let text = self.run(line);
            if fits(&text) {
                return text;
            }
            let log = || format!("{line}: {text}");
            assert!(start.elapsed() < patience, "{}\n{}", log(), self.run("cat /log"));
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// What the guest's kernel does to its clock.
    pub(crate) fn adjtimex(&mut self) -> Adjtimex {
        Adjtimex::parse(&self.run("adjtimex"))
    }

    /// The same, once it fits.
    pub(crate) fn until_adjtimex(
        &mut self,
        patience: Duration,
        fits: impl Fn(&Adjtimex) -> bool,
    ) -> Adjtimex {
        let text = self.until(patience, "adjtimex", |text| fits(&Adjtimex::parse(text)));
        Adjtimex::parse(&text)
    }

    /// How far the guest's clock is ahead of this machine's, in seconds: the best of a few readings, each
    /// between the moment it was asked for and the moment it arrived.
    pub(crate) fn ahead(&mut self) -> f64 {
        const READINGS: usize = 8;
        let mut best = (f64::MAX, 0.0);
        for _ in 0..READINGS {
            let asked = unix_seconds(SystemTime::now());
            writeln!(self.keyboard, "adjtimex").expect("the guest takes commands");
            self.read_until("<<<<\r\n", ANSWER);
            let (text, arrived) = self.read_until(">>>>\r\n", ANSWER);
            let shown = Adjtimex::parse(&text).time;
            let arrived = unix_seconds(arrived);
            if arrived - asked < best.0 {
                best = (arrived - asked, shown - f64::midpoint(asked, arrived));
            }
        }
        best.1
    }

    /// All that appears up to and including `mark`, and when its last byte came.
    fn read_until(&mut self, mark: &str, patience: Duration) -> (String, SystemTime) {
        let deadline = Instant::now() + patience;
        let mut text = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok((byte, when)) = self.screen.recv_timeout(left) else {
                panic!("no {mark:?} within {patience:?} in:\n{}", String::from_utf8_lossy(&text));
            };
            text.push(byte);
            if text.ends_with(mark.as_bytes()) {
                return (String::from_utf8_lossy(&text).into_owned(), when);
            }
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Both fail only when the process has ended already.
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
        let _ = fs::remove_file(&self.initrd);
    }
}

fn unix_seconds(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).expect("a time after 1970").as_secs_f64()
}

/// busybox, the network driver, ntpring with its libraries and a configuration.
fn initial_ram_disk(root: &Path) -> Vec<u8> {
    let read = |path: &Path| fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut archive = Archive::default();
    for directory in ["bin", "dev", "etc", "lib", "lib64", "proc", "sys", "var", "var/lib", "var/lib/ntp"] {
        archive.directory(directory);
    }
    archive.file("init", INIT.as_bytes());
    archive.file("etc/ntp.conf", NTP_CONF.as_bytes());
    archive.file("bin/busybox", &read(&root.join("bin/busybox")));
    let modules = first_below(&root.join("lib/modules"), "");
    archive.file("e1000.ko", &read(&modules.join("kernel/drivers/net/ethernet/intel/e1000/e1000.ko")));
    let ntpring = Path::new(env!("CARGO_BIN_EXE_ntpring"));
    archive.file("bin/ntpring", &read(ntpring));
    for library in libraries(ntpring) {
        let inside = if library.to_string_lossy().contains("/ld-linux") { "lib64" } else { "lib" };
        let name = library.file_name().expect("a file name").to_string_lossy();
        archive.file(&format!("{inside}/{name}"), &read(&library));
    }
    archive.finish()
}

/// The shared libraries of a program, its loader among them.
fn libraries(program: &Path) -> Vec<PathBuf> {
    let listed = Command::new("ldd").arg(program).output().expect("ldd runs");
    let text = String::from_utf8_lossy(&listed.stdout).into_owned();
    text.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from).collect()
}

/// The first entry of a directory whose name begins so.
fn first_below(directory: &Path, prefix: &str) -> PathBuf {
    let entries = fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut entries: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    entries.retain(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix)));
    entries.sort();
    entries.into_iter().next().unwrap_or_else(|| panic!("no {prefix} in {}", directory.display()))
}
