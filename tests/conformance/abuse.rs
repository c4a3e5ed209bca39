//! Rate limits against abusers: forged addresses by the thousand, hours in no time, in memory.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ntpring::server::{
    AccessEntry, AccessFlags, AccessList, Clock, Datagram, IpPrefix, RateLimit, Reason, Responder,
    ServingState, Verdict,
};
use ntpring::snapshot::Publisher;
use ntpring::wire::NtpTimestamp;

use crate::packets::plain;
use crate::rate_limit::{ntpd, strict};
use crate::tier::synchronised;

/// A server that limits everybody, and its clock.
struct Server {
    responder: Responder,
    clock: Frozen,
    port: u16,
}

/// Shows the same time until it is told another.
struct Frozen(NtpTimestamp);

impl Clock for Frozen {
    fn now(&self) -> NtpTimestamp {
        self.0
    }
}

impl Server {
    fn new(limit: RateLimit) -> Self {
        let now = NtpTimestamp::from_unix(1_800_000_000, 0);
        let everybody = [IpAddr::from(Ipv4Addr::UNSPECIFIED), IpAddr::from(Ipv6Addr::UNSPECIFIED)];
        let entries = everybody.map(|address| AccessEntry {
            prefix: IpPrefix::new(address, 0).unwrap(),
            flags: AccessFlags::LIMITED,
            ntpport: false,
        });
        let access = AccessList::new(&entries).unwrap().into();
        let state = ServingState { access, limit, ..synchronised(now) };
        let mut responder = Responder::new(10);
        responder.begin_batch(&mut Publisher::new(state).subscribe(), false);
        Self { responder, clock: Frozen(now), port: 1000 }
    }

    fn pass(&mut self, seconds: f64) {
        self.clock.0 = self.clock.0.offset_by((seconds * 2f64.powi(32)) as i64);
    }

    /// Whether a request from this address, from yet another port, gets time.
    fn answers(&mut self, source: impl Into<IpAddr>) -> bool {
        self.port = self.port.checked_add(1).unwrap_or(1000);
        let peer = SocketAddr::new(source.into(), self.port);
        let local = SocketAddr::from(([192, 0, 2, 1], 123));
        let datagram = Datagram { peer, local, received: self.clock.0, ahead: 0, buf: &mut plain(1) };
        match self.responder.respond(datagram, &self.clock) {
            Verdict::Reply(48) => true,
            Verdict::Drop(Reason::Limited) => false,
            verdict => panic!("{verdict:?}"),
        }
    }
}

const ABUSER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 66);

/// Another address for every number.
fn stranger(number: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(0x0B00_0000 + number)
}

#[test]
fn k6_the_pools_monitor_is_answered_for_ever() {
    for limit in [RateLimit { leak_log2: None, ..RateLimit::default() }, ntpd()] {
        for burst in 3..=8 {
            let mut server = Server::new(limit);
            for hour in 0..48 {
                for request in 0..burst {
                    assert!(server.answers(ABUSER), "request {request} of {burst}, hour {hour}, {limit:?}");
                    // A network delays some more than others.
                    server.pass(if request % 2 == 0 { 1.9 } else { 2.1 });
                }
                server.pass(900.0);
            }
        }
    }
}

#[test]
fn k7_minimum_2_average_3() {
    let mut server = Server::new(ntpd());
    assert!(server.answers(ABUSER));
    for early in [0.0, 0.5, 0.5, 0.5] {
        server.pass(early);
        assert!(!server.answers(ABUSER), "within 2 s of the last answer");
    }
    // Requests every 2 s for an hour: eight at once may be ahead of one in 8 s.
    let mut server = Server::new(ntpd());
    let answered = (0..1800).filter(|_| {
        server.pass(2.0);
        server.answers(ABUSER)
    });
    let answered = answered.count();
    assert!((450..=458).contains(&answered), "{answered} in an hour");
}

#[test]
fn k9_an_ipv6_network_of_64_bits_is_one_client() {
    let mut server = Server::new(strict());
    let address = |subnet: u16, host: u128| {
        Ipv6Addr::from_bits(0x2001_0DB8_0000_0000_0000_0000_0000_0000 | u128::from(subnet) << 64 | host)
    };
    assert!(server.answers(address(1, 1)));
    for host in [2, 3, 0xFFFF, u128::from(u64::MAX)] {
        assert!(!server.answers(address(1, host)), "{host:x}");
    }
    assert!(server.answers(address(2, 1)), "the next network");
    // An IPv4 address is the same one on an IPv6 socket.
    assert!(server.answers(ABUSER));
    assert!(!server.answers(ABUSER.to_ipv6_mapped()));
    assert!(server.answers(Ipv4Addr::from_bits(ABUSER.to_bits() + 1)), "and no network of others");
}

/// The table has room for 4096; ten times as many forged sources a second come through it, and are all
/// answered, because each asks but once. The abuser among them gains nothing.
#[test]
fn k10_a_flood_of_forged_sources_frees_no_abuser() {
    const ROOM: u32 = 4096;
    let limit = RateLimit { sources: ROOM as usize, leak_log2: None, ..RateLimit::default() };
    let mut server = Server::new(limit);
    let mut answered = 0;
    for tick in 0..1000 {
        answered += u32::from(server.answers(ABUSER));
        server.pass(0.01);
        for number in 0..ROOM / 10 {
            assert!(server.answers(stranger(tick * (ROOM / 10) + number)));
        }
    }
    // 20 at once, and one a second for 10 s; the flood was there from the start.
    assert!((28..=31).contains(&answered), "{answered} of 1000 in 10 s");
    // The same for one that stops while the flood goes on, and comes back: what is forgotten is forgotten
    // when its bucket has filled again, not before.
    for tick in 1000..1010 {
        server.pass(0.1);
        for number in 0..ROOM {
            server.answers(stranger(tick * ROOM + number));
        }
    }
    let answered = (0..100).filter(|_| server.answers(ABUSER)).count();
    assert!(answered <= 2, "{answered} after a second of silence");
}

/// Sources that empty their buckets, too, take more than a request each to be worth as much as an abuser's.
#[test]
fn k10_a_flood_that_fills_the_table_with_abusers() {
    const ROOM: u32 = 512;
    let limit = RateLimit { sources: ROOM as usize, leak_log2: None, ..RateLimit::default() };
    let mut server = Server::new(limit);
    let mut answered = 0;
    for tick in 0..10_000 {
        answered += u32::from(server.answers(ABUSER));
        server.pass(0.001);
        // Five sources at a time, some 24 requests each; twelve times the table's room in the 10 s.
        for number in 0..15 {
            server.answers(stranger(tick * 5 / 8 + number % 5));
        }
    }
    assert!(answered <= 40, "{answered} of 10 000 in 10 s");
}

#[test]
fn k10_a_small_table_serves_and_limits() {
    for sources in [1, 7, 8, 9] {
        let mut server = Server::new(RateLimit { sources, ..strict() });
        assert!(server.answers(ABUSER));
        assert!(!server.answers(ABUSER));
        assert!((0..1000).all(|number| server.answers(stranger(number))));
    }
}
