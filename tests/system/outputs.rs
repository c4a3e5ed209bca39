//! Nobody reads what it prints: the reader has gone, reads nothing, or never was. The time is served all the
//! same.

use std::io::Read;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::namespace::{Namespace, command};
use crate::support::ntp::ask;
use crate::support::scene::SEED;

/// A pause in which a signal is taken and acted upon.
const PAUSE: Duration = Duration::from_millis(100);

/// ntpring with these arguments and a pipe for each output.
fn start(namespace: &Namespace, arguments: &str) -> Child {
    let mut ntpring = command(env!("CARGO_BIN_EXE_ntpring"));
    ntpring.args(arguments.split_whitespace());
    ntpring.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    namespace.spawn(ntpring)
}

fn is_answered(namespace: &Namespace) -> bool {
    let socket = namespace.socket("127.0.0.1:0");
    // Nobody tells when it is ready.
    (0..10).any(|_| {
        ask(&socket, "127.0.0.1:123").is_some() || {
            thread::sleep(PAUSE);
            false
        }
    })
}

fn signal(child: &Child, signal: Signal) {
    kill(Pid::from_raw(child.id().cast_signed()), signal).expect("the process lives");
    thread::sleep(PAUSE);
}

/// SIGTERM ends it, with 0.
fn ends_well(mut child: Child) {
    signal(&child, Signal::SIGTERM);
    let deadline = Instant::now() + Duration::from_secs(5);
    let end = loop {
        match child.try_wait().expect("a child") {
            Some(end) => break Some(end),
            None if Instant::now() > deadline => break None,
            None => thread::sleep(PAUSE),
        }
    };
    child.kill().expect("a child");
    assert_eq!(end.and_then(|end| end.code()), Some(0), "{end:?}");
}

#[test]
fn a_reader_that_has_gone_ends_nothing() {
    let Some(namespace) = Namespace::new() else { return };
    for arguments in ["", &format!("serve -c {SEED}")] {
        let mut child = start(&namespace, arguments);
        drop((child.stdout.take(), child.stderr.take()));
        assert!(is_answered(&namespace), "ntpring {arguments}: {:?}", child.try_wait());
        for number in [Signal::SIGHUP, Signal::SIGUSR1] {
            signal(&child, number);
            assert!(is_answered(&namespace), "ntpring {arguments}, {number}: {:?}", child.try_wait());
        }
        ends_well(child);
    }
}

#[test]
fn a_reader_that_reads_nothing_stops_nothing() {
    let Some(namespace) = Namespace::new() else { return };
    let mut child = start(&namespace, &format!("serve -c {SEED}"));
    let mut unread = child.stderr.take().expect("a pipe");
    assert!(is_answered(&namespace), "{:?}", child.try_wait());
    // A pipe holds 64 KiB; a line of counters is longer than a KiB.
    for _ in 0..80 {
        kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGUSR1).expect("the process lives");
        thread::sleep(Duration::from_millis(5));
    }
    signal(&child, Signal::SIGHUP);
    assert!(is_answered(&namespace), "{:?}", child.try_wait());
    ends_well(child);
    let mut text = String::new();
    unread.read_to_string(&mut text).expect("text");
    assert!(text.len() > 40_000, "only {} octets were printed: the pipe was never full", text.len());
}
