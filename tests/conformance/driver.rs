//! The program of the network driver on the loopback interface of a network namespace of the test's own, in
//! generic mode, with sockets behind it.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};
use ntpring::server::ServingState;
use ntpring::sys::{interfaces, link};
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
    attachment: Option<Attachment>,
}

impl InDriver {
    /// Moves the calling thread, and those it will start, into a namespace with nothing but loopback, and
    /// loads the program there; None, with a skip, where this process may not.
    pub(crate) fn load() -> Option<Self> {
        if let Err(error) = unshare(CloneFlags::CLONE_NEWNET) {
            skip("netns", &format!("cannot make a network namespace ({error}): run as root"));
            return None;
        }
        let up = Command::new("ip").args(["link", "set", "lo", "up"]).status().expect("ip runs");
        assert!(up.success());
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
        Some(Self { program, feed, state, told, attachment: None })
    }

    /// What the sockets must be told so that both tiers share the rate limit.
    pub(crate) fn share_limit(&self, state: &mut ServingState) {
        state.spent_mark = Some(self.feed.spent_mark());
    }

    /// From now on requests to this port are answered here first.
    pub(crate) fn serve(&mut self, state: ServingState, port: u16) {
        let own = interfaces::addresses().unwrap();
        let lo = link::state("lo").unwrap();
        let link = Link { name: "lo".to_owned(), ifindex: lo.index, vlan: 0, mac: lo.mac, loopback: true };
        let v4 = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port);
        let v6 = SocketAddr::new(std::net::Ipv6Addr::UNSPECIFIED.into(), port);
        assert!(self.feed.serve(&[v4, v6], &own, &[link]).unwrap());
        self.state = state;
        self.tell();
        self.attachment = Some(self.program.attach(lo.index, Mode::Generic).unwrap());
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
