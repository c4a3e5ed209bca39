//! Network namespaces that need no cleaning up: each is held by one thread of the test and by nothing else,
//! so it vanishes with its links when the test ends, whichever way the test ends. There is no name that two
//! test runs could both choose.

use std::ffi::OsStr;
use std::fmt::Display;
use std::fs;
use std::net::UdpSocket;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};

use super::skip::skip;

type Job = Box<dyn FnOnce() + Send>;

/// A network namespace of its own, loopback up. Everything in it is started or opened by the one thread that
/// holds it.
#[derive(Debug)]
pub(crate) struct Namespace {
    jobs: Sender<Job>,
    /// The namespace as a file, in the form that `ip link ... netns FILE` takes.
    path: String,
}

/// How a program ended, and all it printed.
#[derive(Debug)]
pub(crate) struct Finished {
    /// The exit code, or None when a signal ended it.
    pub(crate) code: Option<i32>,
    /// Standard output, then standard error.
    pub(crate) text: String,
}

impl Namespace {
    /// A fresh namespace, or None with a skip where this process may not make one.
    pub(crate) fn new() -> Option<Self> {
        let (jobs, queue) = mpsc::channel::<Job>();
        let (made, is_made) = mpsc::channel();
        thread::spawn(move || {
            let task =
                || fs::read_link("/proc/thread-self").map(|task| format!("/proc/{}/ns/net", task.display()));
            let path = unshare(CloneFlags::CLONE_NEWNET).map(|()| task().expect("/proc is mounted"));
            made.send(path).expect("the maker waits");
            queue.into_iter().for_each(|job| job());
        });
        match is_made.recv().expect("the thread answers") {
            Ok(path) => {
                let namespace = Self { jobs, path };
                namespace.ip("link set lo up");
                Some(namespace)
            }
            Err(error) => {
                skip(
                    "netns",
                    &format!("cannot make a network namespace ({error}): run as root, or under unshare -Ur"),
                );
                None
            }
        }
    }

    /// Runs `work` on the thread that holds the namespace: sockets it opens and programs it starts belong to
    /// the namespace.
    pub(crate) fn inside<R: Send + 'static>(&self, work: impl FnOnce() -> R + Send + 'static) -> R {
        let (done, result) = mpsc::channel();
        let job = Box::new(move || done.send(work()).expect("the caller waits"));
        self.jobs.send(job).expect("the namespace's thread lives");
        result.recv().expect("the work inside the namespace did not panic")
    }

    /// A UDP socket inside, with a read timeout of a second.
    pub(crate) fn socket(&self, address: impl Display) -> UdpSocket {
        let address = address.to_string();
        let socket = self
            .inside(move || UdpSocket::bind(&address).map_err(|error| format!("bind {address}: {error}")));
        let socket = socket.unwrap_or_else(|error| panic!("{error}"));
        socket.set_read_timeout(Some(Duration::from_secs(1))).expect("a read timeout");
        socket
    }

    /// Starts a program inside. Make the command with [`command`], so that it cannot set the machine's clock.
    pub(crate) fn spawn(&self, mut command: Command) -> Child {
        let name = format!("{command:?}");
        self.inside(move || command.spawn()).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// Runs a program inside to its end.
    pub(crate) fn run(&self, mut command: Command) -> Finished {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let output = self.spawn(command).wait_with_output().expect("the program's output");
        let text = [output.stdout, output.stderr].concat();
        Finished { code: output.status.code(), text: String::from_utf8_lossy(&text).into_owned() }
    }

    /// Runs `ip` with these words, which must succeed; what it printed.
    pub(crate) fn ip(&self, words: &str) -> String {
        let mut ip = command("ip");
        ip.args(words.split_whitespace());
        let finished = self.run(ip);
        assert_eq!(finished.code, Some(0), "ip {words}: {}", finished.text);
        finished.text
    }

    /// A veth pair: `here` in this namespace with fe80::1, `there` in the other one with fe80::2, both up.
    /// Several pairs between two namespaces have the same link-local addresses, and only the scope tells them
    /// apart.
    pub(crate) fn connect(&self, here: &str, other: &Self, there: &str) {
        self.ip(&format!("link add {here} type veth peer name {there} netns {}", other.path));
        for (namespace, link, address) in [(self, here, "fe80::1/64"), (other, there, "fe80::2/64")] {
            namespace.ip(&format!("link set {link} addrgenmode none up"));
            namespace.address(link, address);
        }
        // The kernel notices the carrier a moment after both ends are up, and drops what is sent before.
        for (namespace, link) in [(self, here), (other, there)] {
            namespace
                .wait_until(&format!("-oneline link show dev {link}"), |shown| shown.contains("state UP"));
        }
    }

    /// Adds an address with its prefix length to a link, usable when this returns.
    pub(crate) fn address(&self, link: &str, address: &str) {
        if !address.contains(':') {
            self.ip(&format!("addr add {address} dev {link}"));
            return;
        }
        self.ip(&format!("addr add {address} dev {link} nodad"));
        // A kernel worker adds the route that makes an IPv6 address our own, some time after this command.
        let bare = address.split('/').next().unwrap_or(address);
        self.wait_until(&format!("-6 route show table local {bare} dev {link}"), |shown| !shown.is_empty());
    }

    /// Waits until what `ip` prints for these words is as it should be.
    fn wait_until(&self, words: &str, is_so: impl Fn(&str) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let shown = self.ip(words);
            if is_so(&shown) {
                return;
            }
            assert!(Instant::now() < deadline, "ip {words} still prints {shown}");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Writes a kernel setting of this namespace, named as under /proc/sys.
    pub(crate) fn sysctl(&self, name: &str, value: &str) {
        let (path, value) = (format!("/proc/sys/{name}"), value.to_owned());
        let written =
            self.inside(move || fs::write(&path, value).map_err(|error| format!("{path}: {error}")));
        written.unwrap_or_else(|error| panic!("{error}"));
    }
}

/// A command that cannot set the machine's clock, because it and its children run without CAP_SYS_TIME, and
/// that dies with the namespace it is started in.
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--inh-caps", "-sys_time", "--bounding-set", "-sys_time", "--"]);
    command.arg(program);
    command
}

/// Whether there are users to become besides the one that runs the tests; false with a skip.
pub(crate) fn has_other_users() -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").expect("the user map");
    // A line maps a range of users; its last column is the number of them.
    let users = map.split_whitespace().skip(2).step_by(3);
    let several = users.map(|count| count.parse::<u64>().expect("a count")).sum::<u64>() > 1;
    if !several {
        skip("users", "this user namespace has one user only: run as root");
    }
    several
}

/// Whether a process may set the machine's clock now or later, from its status file's text.
pub(crate) fn may_set_the_clock(status: &str) -> bool {
    const CAP_SYS_TIME: u32 = 25;
    let sets = status.lines().filter(|line| line.starts_with("Cap"));
    let masks = sets.map(|line| line.split_whitespace().last().expect("a capability mask"));
    masks
        .fold(false, |may, mask| may | (u64::from_str_radix(mask, 16).expect("hex") >> CAP_SYS_TIME & 1 == 1))
}

#[test]
fn nothing_started_in_a_namespace_can_set_the_clock() {
    let Some(namespace) = Namespace::new() else { return };
    let mut cat = command("cat");
    cat.arg("/proc/self/status");
    let status = namespace.run(cat).text;
    assert!(status.contains("CapBnd:"), "{status}");
    assert!(!may_set_the_clock(&status), "{status}");
    assert!(may_set_the_clock("CapEff:\t0000000002000000\n"));
}
