//! The daemon under test, as a process: started without the right to set the clock, listened to, signalled,
//! and always ended.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::namespace::{Namespace, command, may_set_the_clock};

/// Long enough for a debug build on a busy machine; a daemon that is not ready by then never will be.
const READY: Duration = Duration::from_secs(10);

/// A running daemon; dropping it kills the process and waits for its end.
#[derive(Debug)]
pub(crate) struct Daemon {
    child: Child,
    log: Arc<Log>,
    /// What fills the log, until an output ends.
    readers: [JoinHandle<()>; 2],
}

/// Every line a process printed so far, of both its outputs.
#[derive(Debug, Default)]
struct Log {
    lines: Mutex<Vec<String>>,
    grown: Condvar,
}

/// `ntpring` with arguments, without CAP_SYS_TIME.
pub(crate) fn ntpring<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Command {
    let mut ntpring = command(env!("CARGO_BIN_EXE_ntpring"));
    ntpring.args(arguments);
    ntpring
}

impl Daemon {
    /// Starts ntpring with these words as arguments and waits for its readiness line.
    pub(crate) fn start(namespace: &Namespace, arguments: &str) -> Self {
        Self::start_command(namespace, ntpring(arguments.split_whitespace()))
    }

    /// Starts a prepared ntpring command and waits for its readiness line.
    pub(crate) fn start_command(namespace: &Namespace, command: Command) -> Self {
        let mut daemon = Self::spawn(namespace, command);
        if daemon.line(0, READY, |line| line.contains("ready: ")).is_none() {
            let end = daemon.child.try_wait().expect("the child's state");
            panic!("no readiness line (exit status {end:?}); it said:\n{}", daemon.text());
        }
        assert!(
            !may_set_the_clock(&daemon.status()),
            "the daemon under test must not be able to set the clock"
        );
        daemon
    }

    /// Starts any program that is to run until the test ends, without waiting for anything.
    pub(crate) fn spawn(namespace: &Namespace, mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = namespace.spawn(command);
        let log = Arc::new(Log::default());
        let readers = [
            log.follow(child.stdout.take().expect("a piped output")),
            log.follow(child.stderr.take().expect("a piped output")),
        ];
        Self { child, log, readers }
    }

    /// The process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// All it printed so far.
    pub(crate) fn text(&self) -> String {
        self.log.lines.lock().expect("no reader panicked").join("\n")
    }

    /// How many lines it printed so far: a starting point for [`Self::line`].
    pub(crate) fn lines(&self) -> usize {
        self.log.lines.lock().expect("no reader panicked").len()
    }

    /// The first line from number `from` on that fits, waiting for it up to `patience`.
    pub(crate) fn line(
        &self,
        from: usize,
        patience: Duration,
        fits: impl Fn(&str) -> bool,
    ) -> Option<String> {
        let deadline = Instant::now() + patience;
        let mut lines = self.log.lines.lock().expect("no reader panicked");
        loop {
            if let Some(line) = lines.iter().skip(from).find(|line| fits(line)) {
                return Some(line.clone());
            }
            let left = deadline.checked_duration_since(Instant::now())?;
            lines = self.log.grown.wait_timeout(lines, left).expect("no reader panicked").0;
        }
    }

    /// The readiness line.
    pub(crate) fn ready_line(&self) -> String {
        self.line(0, Duration::ZERO, |line| line.contains("ready: ")).expect("the daemon was waited for")
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.pid().cast_signed());
        kill(pid, signal).unwrap_or_else(|error| panic!("{signal} to {pid}: {error}"));
    }

    /// Waits for the process to end by itself, and for what it printed last; or None after `patience`.
    pub(crate) fn end(&mut self, patience: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + patience;
        loop {
            let end = self.child.try_wait().expect("the child's state");
            let is_read = self.readers.iter().all(JoinHandle::is_finished);
            if end.is_some() && is_read || Instant::now() >= deadline {
                return end;
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// The counters that SIGUSR1 makes it print.
    pub(crate) fn counters(&self) -> Counters {
        let from = self.lines();
        self.signal(Signal::SIGUSR1);
        let line = self.line(from, Duration::from_secs(5), |line| line.starts_with('{'));
        let line = line.unwrap_or_else(|| panic!("no line of counters; it said:\n{}", self.text()));
        Counters(serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error} in {line}")))
    }

    /// The counters, asked for again until they fit: workers show theirs after each batch.
    pub(crate) fn counters_when(&self, fit: impl Fn(&Counters) -> bool) -> Counters {
        let deadline = Instant::now() + Duration::from_secs(5);
        loop {
            let counters = self.counters();
            if fit(&counters) {
                return counters;
            }
            assert!(Instant::now() < deadline, "the counters never fit: {counters:?}");
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// The text of /proc/PID/status.
    pub(crate) fn status(&self) -> String {
        fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("the process lives")
    }

    /// The status text of each thread: (name, text).
    pub(crate) fn threads(&self) -> Vec<(String, String)> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.pid())).expect("the process lives");
        let status = tasks.map(|task| fs::read_to_string(task.expect("a task").path().join("status")));
        let status = status.map(|text| text.expect("the thread lives"));
        status.map(|text| (status_field(&text, "Name").to_owned(), text)).collect()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Both fail only when the process has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Log {
    fn follow(self: &Arc<Self>, output: impl Read + Send + 'static) -> JoinHandle<()> {
        let log = Arc::clone(self);
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                log.lines.lock().expect("no test panicked while it held the lines").push(line);
                log.grown.notify_all();
            }
        })
    }
}

/// One field of a /proc/PID/status text, without its unit's blanks.
pub(crate) fn status_field<'a>(status: &'a str, name: &str) -> &'a str {
    let line = status.lines().find(|line| line.split(':').next() == Some(name));
    line.unwrap_or_else(|| panic!("no {name} in {status}"))[name.len() + 1..].trim()
}

/// What SIGUSR1 prints:
/// `{"received":N,"answered":N,"forwarded":N,"dropped":{REASON:N,…},"workers":[{"cpu":N,"received":N,…},…]}`.
#[derive(Debug)]
pub(crate) struct Counters(pub(crate) Value);

impl Counters {
    /// One number of the whole process.
    pub(crate) fn get(&self, name: &str) -> u64 {
        number(&self.0, name)
    }

    /// Everything that was dropped, whatever the reason.
    pub(crate) fn dropped(&self) -> u64 {
        let reasons = self.0["dropped"].as_object().unwrap_or_else(|| panic!("no dropped in {}", self.0));
        reasons.values().map(|count| count.as_u64().expect("a count")).sum()
    }

    /// What was dropped for one reason.
    pub(crate) fn dropped_for(&self, reason: &str) -> u64 {
        number(&self.0["dropped"], reason)
    }

    /// One number of each worker.
    pub(crate) fn per_worker(&self, name: &str) -> Vec<u64> {
        let workers = self.0["workers"].as_array().unwrap_or_else(|| panic!("no workers in {}", self.0));
        workers.iter().map(|worker| number(worker, name)).collect()
    }
}

fn number(value: &Value, name: &str) -> u64 {
    value[name].as_u64().unwrap_or_else(|| panic!("no {name} in {value}"))
}
