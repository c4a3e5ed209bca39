//! The program of the network driver in a network namespace of the test's own, with sockets behind it: on the
//! loopback interface in generic mode, or on a link to another namespace in native mode.

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::process::{self, Command};
use std::thread;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns, unshare};
use ntpring::server::ServingState;
use ntpring::sys::interfaces;
use ntpring::sys::link::{self, LinkState};
use ntpring::xdp::{Attachment, Feed, Link, Mode, Program, Timescale, XdpTotals};

use crate::skip::skip;

/// How long the program believes what it was told.
const BELIEVED: Duration = Duration::from_secs(1);

/// The program, attached once it is told what to serve.
pub(crate) struct InDriver {
    program: Program,
    feed: Feed,
    state: ServingState,
    told: Instant,
    place: (&'static str, Mode),
    attachment: Option<Attachment>,
}

/// The other end of the link: a namespace that clients live in.
pub(crate) struct OtherEnd {
    namespace: File,
    /// Passes everything: without a program there a veth loses every reply.
    _peer: Attachment,
}

/// The addresses on the link: one is served, the others ask.
pub(crate) const SERVER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
pub(crate) const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));
pub(crate) const SENTINEL: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 3));

impl OtherEnd {
    /// Runs `work` there.
    pub(crate) fn inside<R>(&self, work: impl FnOnce() -> R) -> R {
        inside(&self.namespace, work)
    }
}

/// Runs `work` in this namespace, on the calling thread.
fn inside<R>(namespace: &File, work: impl FnOnce() -> R) -> R {
    let here = File::open("/proc/thread-self/ns/net").unwrap();
    setns(namespace, CloneFlags::CLONE_NEWNET).unwrap();
    let result = work();
    setns(here, CloneFlags::CLONE_NEWNET).unwrap();
    result
}

fn ip(words: &str) -> String {
    let output = Command::new("ip").args(words.split_whitespace()).output().expect("ip runs");
    assert!(output.status.success(), "ip {words}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

impl InDriver {
    /// Moves the calling thread, and those it will start, into a namespace with nothing but loopback, and
    /// loads the program there; None, with a skip, where this process may not.
    pub(crate) fn load() -> Option<Self> {
        if let Err(error) = unshare(CloneFlags::CLONE_NEWNET) {
            skip("netns", &format!("cannot make a network namespace ({error}): run as root"));
            return None;
        }
        ip("link set lo up");
        const EPERM: i32 = 1;
        let (program, feed) = match Program::load() {
            Ok(loaded) => loaded,
            Err(error) if error.errno() == Some(EPERM) => {
                skip("bpf", "this process may not load programs into the kernel: run as root");
                return None;
            }
            Err(error) => panic!("{error}"),
        };
        let (state, told) = (ServingState::default(), Instant::now());
        Some(Self { program, feed, state, told, place: ("lo", Mode::Generic), attachment: None })
    }

    /// The same, to be put on a link to another namespace, which is returned too.
    pub(crate) fn load_on_a_link() -> Option<(Self, OtherEnd)> {
        let driver = Self { place: ("lan", Mode::Native), ..Self::load()? };
        let namespace = thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            File::open("/proc/thread-self/ns/net").unwrap()
        });
        let namespace = namespace.join().unwrap();
        let path = format!("/proc/{}/fd/{}", process::id(), namespace.as_raw_fd());
        ip(&format!("link add lan type veth peer name lan netns {path}"));
        ip(&format!("addr add {SERVER}/24 dev lan"));
        ip("link set lan up");
        let _peer = inside(&namespace, || {
            ip(&format!("addr add {CLIENT}/24 dev lan"));
            ip(&format!("addr add {SENTINEL}/24 dev lan"));
            ip("link set lan up");
            let (mut program, _) = Program::load().unwrap();
            program.attach(link::state("lan").unwrap().index, Mode::Native).unwrap()
        });
        // The kernel notices the carrier a moment later, and drops what is sent before.
        while !ip("-oneline link show dev lan").contains("state UP") {
            thread::sleep(Duration::from_millis(5));
        }
        Some((driver, OtherEnd { namespace, _peer }))
    }

    /// What the sockets must be told so that both tiers share the rate limit.
    pub(crate) fn share_limit(&self, state: &mut ServingState) {
        state.spent_mark = Some(self.feed.spent_mark());
    }

    /// From now on requests to this port are answered here first.
    pub(crate) fn serve(&mut self, state: ServingState, port: u16) {
        let own = interfaces::addresses().unwrap();
        let (name, mode) = self.place;
        let LinkState { index, mac, loopback, .. } = link::state(name).unwrap();
        let link = Link { name: name.to_owned(), ifindex: index, vlan: 0, mac, loopback };
        let v4 = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port);
        let v6 = SocketAddr::new(std::net::Ipv6Addr::UNSPECIFIED.into(), port);
        assert!(self.feed.serve(&[v4, v6], &own, &[link]).unwrap());
        self.state = state;
        self.tell();
        self.attachment = Some(self.program.attach(index, mode).unwrap());
    }

    /// As the daemon does about once a second.
    pub(crate) fn keep_alive(&mut self) {
        if self.told.elapsed() > BELIEVED {
            self.tell();
        }
    }

    fn tell(&mut self) {
        let own = interfaces::addresses().unwrap();
        self.feed.publish(&self.state, &Timescale::read(), &own).unwrap();
        self.told = Instant::now();
    }

    pub(crate) fn totals(&self) -> XdpTotals {
        self.program.counters().read().unwrap()
    }
}
