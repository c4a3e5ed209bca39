//! The program under test, told what to serve, and the questions put to it.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::{env, fs};

use ntpring::server::{AccessEntry, AccessList, Clock, ServingState};
use ntpring::snapshot::{LocalClock, SystemVariables};
use ntpring::sys::interfaces::{InterfaceAddress, InterfaceFlags};
use ntpring::wire::{NtpTimestamp, Precision};
use ntpring::xdp::{Feed, Link, LoadError, Program, Timescale};

use crate::frames::{Frame, SERVER_MAC};
use crate::skip::skip;

/// Where the server listens, over IPv4 and IPv6.
pub(crate) const SERVER: [&str; 2] = ["192.0.2.1:123", "[2001:db8::1]:123"];

/// The actions of linux/bpf.h.
const XDP_PASS: u32 = 2;
const XDP_TX: u32 = 3;

/// What became of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It was left to the sockets, as it is here.
    Passed(Vec<u8>),
    /// It was answered.
    Answered(Vec<u8>),
}

/// The program, and what it serves.
pub(crate) struct Tested {
    pub(crate) program: Program,
    pub(crate) feed: Feed,
    pub(crate) own: Vec<InterfaceAddress>,
}

impl Tested {
    /// The committed object, or None with a skip where this process may not load one.
    pub(crate) fn new() -> Option<Self> {
        Self::of(Program::load())
    }

    /// A fresh object, or None with a skip where there is no compiler.
    pub(crate) fn fresh(name: &str) -> Option<Self> {
        let built = build(name)?;
        Self::of(Program::load_object(&built))
    }

    fn of(loaded: Result<(Program, Feed), LoadError>) -> Option<Self> {
        const EPERM: i32 = 1;
        let (program, feed) = match loaded {
            Ok(loaded) => loaded,
            Err(error) if error.errno() == Some(EPERM) => {
                skip("bpf", "this process may not load programs into the kernel: run as root");
                return None;
            }
            Err(error) => panic!("{}", reasons(&error)),
        };
        let mut tested = Self { program, feed, own: own() };
        tested.serve(&link());
        Some(tested)
    }

    /// Serves the usual addresses over this link too.
    pub(crate) fn serve(&mut self, link: &Link) {
        let listening = SERVER.map(|address| address.parse().unwrap());
        assert!(self.feed.serve(&listening, &self.own, std::slice::from_ref(link)).unwrap());
    }

    pub(crate) fn publish(&mut self, state: &ServingState) {
        self.publish_at(state, &Timescale::read());
    }

    pub(crate) fn publish_at(&mut self, state: &ServingState, timescale: &Timescale) {
        self.feed.publish(state, timescale, &self.own).unwrap();
    }

    pub(crate) fn run(&self, frame: &[u8]) -> Verdict {
        let mut out = vec![0; frame.len() + 64];
        let (action, length) =
            self.program.test(frame, &mut out).unwrap_or_else(|e| panic!("{}", reasons(&e)));
        out.truncate(length);
        match action {
            XDP_PASS => Verdict::Passed(out),
            XDP_TX => Verdict::Answered(out),
            other => panic!("action {other} for {frame:02x?}"),
        }
    }

    /// The payload of the reply to a frame, whose headers must be right; None if it was passed unchanged.
    pub(crate) fn reply(&self, frame: &Frame) -> Option<Vec<u8>> {
        let bytes = frame.bytes();
        match self.run(&bytes) {
            Verdict::Passed(same) => {
                assert_eq!(same, bytes, "what is passed is not changed");
                None
            }
            Verdict::Answered(reply) => {
                assert_eq!(reply.len(), bytes.len());
                assert_eq!((&reply[..6], &reply[6..12]), (&bytes[6..12], &bytes[..6]));
                let read = Frame::parse(&reply);
                assert_eq!((read.source, read.destination), (frame.destination, frame.source));
                assert_eq!(read.vlan, frame.vlan);
                Some(read.payload)
            }
        }
    }

    /// How many were passed for this reason.
    pub(crate) fn passed_for(&self, reason: &str) -> u64 {
        let totals = self.program.counters().read().unwrap();
        totals.passed().find(|(name, _)| *name == reason).expect("a reason").1
    }
}

/// The addresses of the host under test.
pub(crate) fn own() -> Vec<InterfaceAddress> {
    let own = |(address, prefix_length): (&str, u32)| {
        let mut address: SocketAddr = address.parse().unwrap();
        address.set_port(0);
        InterfaceAddress {
            interface: "lan".to_owned(),
            address,
            prefix_length,
            flags: InterfaceFlags::default(),
        }
    };
    SERVER.into_iter().zip([24, 64]).map(own).collect()
}

/// The interface that test-run says frames come from is number 1.
pub(crate) fn link() -> Link {
    Link { name: "lan".to_owned(), ifindex: 1, vlan: 0, mac: SERVER_MAC, loopback: false }
}

/// A local clock that was found right just now, and these restrictions.
pub(crate) fn serving(entries: &[AccessEntry]) -> ServingState {
    let scale = Timescale::read();
    let utc = scale.tai as i64 - i64::from(scale.tai_offset) * 1_000_000_000;
    let now = NtpTimestamp::from_unix(utc / 1_000_000_000, (utc % 1_000_000_000) as u32);
    let clock = LocalClock { stratum: 3, ..LocalClock::default() };
    let system = SystemVariables::local_clock(clock, Precision::from_log2(-24), now);
    ServingState { system, access: Arc::new(AccessList::new(entries).unwrap()), ..ServingState::default() }
}

/// A clock that stands still.
pub(crate) struct Stopped(pub(crate) NtpTimestamp);

impl Clock for Stopped {
    fn now(&self) -> NtpTimestamp {
        self.0
    }
}

/// An error with all that is behind it: the verifier's complaint is.
fn reasons(error: &LoadError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        text += &format!(": {error}");
        source = error.source();
    }
    text
}

/// Builds the object of the sources as they are, or None with a skip where there is no compiler.
fn build(name: &str) -> Option<Vec<u8>> {
    let have =
        |program: &str| Command::new(program).arg("--version").output().is_ok_and(|o| o.status.success());
    if !have("clang") || !have("llvm-strip") {
        skip("clang", "no fresh object of src/xdp can be built: apt-get install clang llvm");
        return None;
    }
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.bpf.o"));
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/xdp");
    let built =
        Command::new(sources.join("build.sh")).arg(sources.join("responder.bpf.c")).arg(&path).output();
    let built = built.expect("the script runs");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    Some(fs::read(path).expect("the object"))
}
