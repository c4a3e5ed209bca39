//! A contestant that runs: from its first answer to its end.

use std::fs::{self, File};
use std::io::ErrorKind::{TimedOut, WouldBlock};
use std::net::UdpSocket;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::sleep;
use std::time::{Duration, Instant};

use bench::requests;
use ntpring::sys::xdp::Attachment;
use ntpring::wire::HEADER_LEN;
use serde_json::Value;

use super::contestant::{Contestant, Places};
use super::rig::{Rig, SERVER};
use super::{INTERRUPTED, process};

/// How long a server may take to its first answer: ntpsec waits for its interfaces.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long it may take to end when it is asked to.
const END: Duration = Duration::from_secs(2);
/// Between two looks at something that another process does.
pub(super) const PAUSE: Duration = Duration::from_millis(5);

/// A process that answers; dropping it ends it and all that it has started.
pub(super) struct Running {
    pub(super) contestant: Contestant,
    child: Child,
    log: PathBuf,
    /// What lets sockets receive from its driver; it goes when the server has ended, and not before.
    pass: Option<Attachment>,
}

impl Running {
    /// Starts it and waits for its first answer.
    ///
    /// # Errors
    /// It is not to be had, ended at once, or does not answer; as a clause for its row.
    pub(super) fn start(
        contestant: Contestant,
        rig: &Rig,
        places: &Places,
        patience: Option<Duration>,
        stop: &AtomicBool,
    ) -> Result<Self, String> {
        let command = contestant.command(places, rig.cores[0], &rig.links[0])?;
        let log = places.scratch.join(format!("{}.log", contestant.name()));
        let child = spawn(rig, command, &log)?;
        let mut running = Self { contestant, child, log, pass: None };
        running.give_way_to_sockets(rig, true)?;
        running.wait_for_answer(rig, patience.unwrap_or(PATIENCE), stop)?;
        Ok(running)
    }

    /// Whether sockets are to receive what its driver sends, or a generator that has a program of its own.
    pub(super) fn give_way_to_sockets(&mut self, rig: &Rig, sockets: bool) -> Result<(), String> {
        if !sockets {
            self.pass = None;
        } else if self.contestant.in_driver() && self.pass.is_none() {
            self.pass = Some(rig.pass_everything().map_err(|error| error.to_string())?);
        }
        Ok(())
    }

    fn wait_for_answer(&mut self, rig: &Rig, patience: Duration, stop: &AtomicBool) -> Result<(), String> {
        let fail = |error| format!("a socket to ask it: {error}");
        let socket = rig.generator.inside(|| {
            let socket = UdpSocket::bind("0.0.0.0:0")?;
            socket.connect((SERVER, 123))?;
            socket.set_read_timeout(Some(Duration::from_millis(50)))?;
            Ok(socket)
        });
        let socket = socket.map_err(fail)?;
        let start = Instant::now();
        while start.elapsed() < patience {
            if stop.load(Relaxed) {
                return Err(INTERRUPTED.to_owned());
            }
            self.check()?;
            // Refused while nobody listens yet.
            let _ = socket.send(&requests::time(4, 1));
            match socket.recv(&mut [0; 128]) {
                Ok(HEADER_LEN) => return Ok(()),
                Err(error) if !matches!(error.kind(), TimedOut | WouldBlock) => sleep(PAUSE),
                _ => {}
            }
        }
        Err(format!("never answered within {} s{}", patience.as_secs_f64(), self.last_words()))
    }

    /// Whether it still lives.
    ///
    /// # Errors
    /// How it ended, and the last line it said.
    pub(super) fn check(&mut self) -> Result<(), String> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(format!("died: {status}{}", self.last_words())),
            Err(error) => Err(format!("its state is unknown: {error}")),
        }
    }

    fn last_words(&self) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let last = log.lines().rev().find(|line| !line.trim().is_empty());
        last.map_or_else(String::new, |line| format!(" ({})", line.trim()))
    }

    /// CPU time of all its processes.
    pub(super) fn cpu(&self) -> Duration {
        process::tree(self.child.id()).into_iter().filter_map(process::cpu_of).sum()
    }

    /// Memory that all its processes hold, in KiB.
    pub(super) fn resident_kib(&self) -> u64 {
        process::tree(self.child.id()).into_iter().filter_map(process::resident_kib).sum()
    }

    /// The counters of ntpring, which prints them as a line of JSON when it is sent SIGUSR1.
    pub(super) fn counters(&self) -> Option<Value> {
        if !self.contestant.has_counters() {
            return None;
        }
        let lines = || fs::read_to_string(&self.log).unwrap_or_default();
        let before = lines().len();
        self.signal("USR1");
        let start = Instant::now();
        while start.elapsed() < END {
            let log = lines();
            let new = log.get(before..)?.lines().find(|line| line.starts_with('{') && line.ends_with('}'));
            if let Some(value) = new.and_then(|line| serde_json::from_str(line).ok()) {
                return Some(value);
            }
            sleep(PAUSE);
        }
        None
    }

    fn signal(&self, signal: &str) {
        // It fails only when the process has ended already.
        let _ = Command::new("kill").args(["-s", signal, &self.child.id().to_string()]).status();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let tree = process::tree(self.child.id());
        self.signal("TERM");
        let start = Instant::now();
        while start.elapsed() < END && matches!(self.child.try_wait(), Ok(None)) {
            sleep(PAUSE);
        }
        // Both fail only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        // Its children notice that they are alone, or else are told.
        let (_, children) = tree.split_first().unwrap_or((&0, &[]));
        let alive = || children.iter().filter(|&&child| process::cpu_of(child).is_some());
        while start.elapsed() < 2 * END && alive().next().is_some() {
            sleep(PAUSE);
        }
        for child in alive() {
            let _ = Command::new("kill").args(["-s", "KILL", &child.to_string()]).status();
        }
    }
}

/// Starts a program in the server's namespace; what it says goes to a file.
fn spawn(rig: &Rig, mut command: Command, log: &PathBuf) -> Result<Child, String> {
    let output = || File::options().create(true).append(true).open(log);
    let (stdout, stderr) = match (File::create(log).and_then(|_| output()), output()) {
        (Ok(stdout), Ok(stderr)) => (stdout, stderr),
        (Err(error), _) | (_, Err(error)) => return Err(format!("{}: {error}", log.display())),
    };
    let words = format!("{:?}", command.get_program());
    command.stdin(Stdio::null()).stdout(stdout).stderr(stderr);
    rig.server.spawn(command).map_err(|error| format!("{words}: {error}"))
}
