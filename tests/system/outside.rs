//! The client of `serve --workers 0` makes few system calls, all of them by the C library's plain
//! functions: so it runs unchanged under whatever stands in for the kernel, such as a simulator of clocks
//! and networks.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::support::clients::strace;
use crate::support::daemon::Daemon;
use crate::support::namespace::command;
use crate::support::scene::{SCRATCH, Scene};
use crate::support::upstream::Upstream;

/// What the loop may ask of the kernel once it runs. The time is read without a call. Before a descriptor is
/// closed, the standard library asks (fcntl) whether it is one, in builds with assertions.
const LOOP: [&str; 13] = [
    "poll",
    "socket",
    "setsockopt",
    "getsockopt",
    "connect",
    "getsockname",
    "sendto",
    "recvmsg",
    "close",
    "fcntl",
    "clock_adjtime",
    "getrandom",
    "write",
];

/// What it must not ask for at any time: what a stand-in for the kernel does not know, or knows only of
/// threads that are not there.
const NEVER: [&str; 22] = [
    "epoll_create1",
    "epoll_wait",
    "epoll_pwait",
    "ppoll",
    "select",
    "pselect6",
    "io_uring_setup",
    "io_uring_enter",
    "signalfd4",
    "timerfd_create",
    "eventfd2",
    "pipe2",
    "socketpair",
    "clock_nanosleep",
    "nanosleep",
    "sendmmsg",
    "recvmmsg",
    "dup",
    "clone",
    "clone3",
    "bind",
    "listen",
];

#[test]
fn the_client_alone_makes_plain_calls_only() {
    let Some(strace) = strace() else { return };
    let Some(scene) = Scene::new() else { return };
    let _upstream = Upstream::new(scene.server.socket("192.168.0.1:123"), 0.0);
    let conf = format!("{SCRATCH}/outside.conf");
    let text = format!("driftfile {SCRATCH}/outside.drift\nserver 192.168.0.1 iburst minpoll 3\n");
    fs::write(&conf, text).expect("a scratch file");
    let trace = format!("{SCRATCH}/outside.strace");
    let mut traced = command(&strace);
    // The tracer runs beside, so that the daemon is our child. The kernel is not asked to adjust its clock:
    // the answer is that it has.
    traced.args(["-D", "-f", "-e", "inject=clock_adjtime:retval=0", "-o", &trace]);
    traced.args([env!("CARGO_BIN_EXE_ntpring"), "serve", "--workers", "0", "-c", &conf]);
    let mut daemon = Daemon::start_command(&scene.client, traced);
    assert!(daemon.ready_line().contains("clock: disciplined, 1 source"), "{}", daemon.text());
    let follows = daemon.line(0, Duration::from_secs(15), |line| line.contains("clock follows"));
    assert!(follows.is_some(), "{}", daemon.text());
    // Long enough for a few polls after the burst.
    std::thread::sleep(Duration::from_secs(12));
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.end(Duration::from_secs(3)).and_then(|end| end.code()), Some(0), "{}", daemon.text());

    let text = fs::read_to_string(&trace).expect("the trace");
    let all: BTreeSet<&str> = text.lines().filter_map(call).collect();
    for call in NEVER {
        assert!(!all.contains(call), "{call} in {all:?}");
    }
    // From the readiness line to the end of the program.
    let ready = text.lines().position(|line| line.contains("ready: ")).expect("the readiness line");
    let end = text.lines().position(|line| line.contains("--- SIGTERM")).expect("the end");
    let lines: Vec<&str> = text.lines().take(end).skip(ready).collect();
    let running: BTreeSet<&str> =
        lines.iter().copied().filter_map(call).filter(|call| !is_of_memory(call)).collect();
    let strange: Vec<_> = running.iter().filter(|call| !LOOP.contains(call)).collect();
    assert!(strange.is_empty(), "{strange:?} while it follows the clock");
    for call in ["poll", "socket", "connect", "sendto", "recvmsg", "close", "clock_adjtime"] {
        assert!(running.contains(call), "no {call} in {running:?}");
    }

    one_datagram_for_each_time_that_poll_reports_one(&lines);
}

/// The name of the call of a line: `PID NAME(…`.
fn call(line: &str) -> Option<&str> {
    let (_, rest) = line.split_once(' ')?;
    let (name, _) = rest.trim_start().split_once('(')?;
    name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_').then_some(name)
}

fn is_of_memory(call: &str) -> bool {
    ["mmap", "munmap", "mremap", "brk", "madvise", "mprotect"].contains(&call)
}

/// Between two polls, each of which names the sockets that are ready, there are no more receiving calls
/// than that.
fn one_datagram_for_each_time_that_poll_reports_one(trace: &[&str]) {
    let mut allowed = 0;
    for line in trace {
        match call(line) {
            Some("poll") => {
                allowed = line.matches("revents=").count() * 2;
                // `poll([{…}, {…}], 2, 1000) = …`, or `poll(NULL, 0, 1000) = …`.
                let arguments = line.split(" = ").next().unwrap_or_default().trim_end();
                let timeout = arguments.trim_end_matches(')').rsplit(", ").next();
                let timeout: i64 = timeout.and_then(|text| text.parse().ok()).expect("a timeout");
                assert!((0..=1000).contains(&timeout), "a sleep of {timeout} ms: {line}");
            }
            Some("recvmsg") => {
                assert!(allowed > 0, "received without a poll that said so: {line}");
                allowed -= 1;
                assert!(line.contains("msg_iovlen=1") || line.contains("EAGAIN"), "{line}");
            }
            _ => {}
        }
    }
}
