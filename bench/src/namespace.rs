//! Network namespaces that need no cleaning up: each is held by one thread of this process and by nothing
//! else, so it vanishes with its links when the process ends, whichever way that happens; and what was
//! started in it dies with that thread. There is no name that two runs could both choose.

use std::ffi::OsStr;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{self, Sender};
use std::{fs, io, thread};

use nix::sched::{CloneFlags, unshare};

type Job = Box<dyn FnOnce() + Send>;

/// A network namespace of its own, loopback up.
#[derive(Debug)]
pub struct Namespace {
    jobs: Sender<Job>,
    /// The namespace as a file, in the form that `ip link ... netns FILE` takes.
    path: String,
}

impl Namespace {
    /// A fresh namespace.
    ///
    /// # Errors
    /// This process may not make one, or there is no `ip`.
    pub fn new() -> io::Result<Self> {
        let (jobs, queue) = mpsc::channel::<Job>();
        let (made, is_made) = mpsc::channel();
        thread::Builder::new().name("namespace".into()).spawn(move || {
            let task = || fs::read_link("/proc/thread-self");
            let path = unshare(CloneFlags::CLONE_NEWNET).map_err(io::Error::from).and_then(|()| task());
            // Whoever started this thread waits for the message, and then keeps the other end of `queue`.
            let _ = made.send(path);
            queue.into_iter().for_each(|job| job());
        })?;
        let task = is_made.recv().map_err(io::Error::other)??;
        let namespace = Self { jobs, path: format!("/proc/{}/ns/net", task.display()) };
        namespace.ip("link set lo up")?;
        Ok(namespace)
    }

    /// Runs `work` on the thread that holds the namespace: sockets it opens and programs it starts belong to
    /// the namespace.
    ///
    /// # Errors
    /// Those of `work`.
    pub fn inside<R: Send + 'static>(
        &self,
        work: impl FnOnce() -> io::Result<R> + Send + 'static,
    ) -> io::Result<R> {
        let (done, result) = mpsc::channel();
        let job = Box::new(move || drop(done.send(work())));
        self.jobs.send(job).map_err(|_| io::Error::other("the thread of the namespace has ended"))?;
        result.recv().map_err(io::Error::other)?
    }

    /// Starts a program inside.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn spawn(&self, mut command: Command) -> io::Result<Child> {
        self.inside(move || command.spawn())
    }

    /// Runs a program inside to its end, which must be a success.
    ///
    /// # Errors
    /// It cannot be started, or what it said when it failed.
    pub fn run(&self, mut command: Command) -> io::Result<()> {
        let words = format!("{command:?}");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let Output { status, stdout, stderr } = self.spawn(command)?.wait_with_output()?;
        if status.success() {
            return Ok(());
        }
        let said = [stderr, stdout].concat();
        Err(io::Error::other(format!("{words}: {}", String::from_utf8_lossy(&said).trim())))
    }

    /// Runs `ip` with these words.
    ///
    /// # Errors
    /// What it says.
    pub fn ip(&self, words: &str) -> io::Result<()> {
        let mut ip = Command::new("ip");
        ip.args(words.split_whitespace());
        self.run(ip)
    }

    /// A veth pair: `here` in this namespace, `there` in the other one.
    ///
    /// # Errors
    /// What `ip` says.
    pub fn connect(&self, here: &str, other: &Self, there: &str) -> io::Result<()> {
        self.ip(&format!("link add {here} type veth peer name {there} netns {}", other.path))
    }
}

/// A command that cannot set the machine's clock, because it and its children run without CAP_SYS_TIME, and
/// that dies with the namespace it is started in. A ^C at the terminal does not reach it: this process ends
/// it in good order. It is pinned to `core`, if any.
pub fn command(core: Option<usize>, program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--inh-caps", "-sys_time", "--bounding-set", "-sys_time", "--"]);
    if let Some(core) = core {
        command.args(["taskset", "--cpu-list", &core.to_string()]);
    }
    command.arg(program).process_group(0);
    command
}
