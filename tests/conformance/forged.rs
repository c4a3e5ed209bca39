//! Rows that need addresses or clocks which no kernel would give: the responder alone, in memory.

use std::cell::Cell;
use std::net::SocketAddr;
use std::sync::Arc;

use ntpring::server::{
    AccessEntry, AccessFlags, AccessList, Clock, Datagram, IpPrefix, Reason, Responder, ServingState, Verdict,
};
use ntpring::snapshot::Publisher;
use ntpring::wire::NtpTimestamp;

use crate::packets::{Reply, between, plain, request};
use crate::tier::synchronised;

/// A clock that shows what it is told to, and counts how often it is read.
struct Forged {
    now: NtpTimestamp,
    readings: Cell<usize>,
}

impl Clock for Forged {
    fn now(&self) -> NtpTimestamp {
        self.readings.set(self.readings.get() + 1);
        self.now
    }
}

/// One request and its circumstances, all of which a row may forge.
struct Scene {
    peer: SocketAddr,
    local: SocketAddr,
    received: NtpTimestamp,
    now: NtpTimestamp,
    request: Vec<u8>,
    state: ServingState,
    clock_stepped: bool,
    seed: u64,
}

impl Default for Scene {
    fn default() -> Self {
        let received = NtpTimestamp::from_unix(1_800_000_000, 123_456_789);
        Self {
            peer: "192.0.2.7:40000".parse().unwrap(),
            local: "192.0.2.1:123".parse().unwrap(),
            received,
            now: received.offset_by(50_000),
            request: plain(1),
            state: synchronised(received),
            clock_stepped: false,
            seed: 1,
        }
    }
}

impl Scene {
    /// The verdict, the buffer after it, and how often the clock was read.
    fn play(self) -> (Verdict, Vec<u8>, usize) {
        let publisher = Publisher::new(self.state);
        let clock = Forged { now: self.now, readings: Cell::new(0) };
        let mut buf = self.request;
        let mut responder = Responder::new(self.seed);
        responder.begin_batch(&mut publisher.subscribe(), self.clock_stepped);
        let datagram =
            Datagram { peer: self.peer, local: self.local, received: self.received, ahead: 0, buf: &mut buf };
        let verdict = responder.respond(datagram, &clock);
        (verdict, buf, clock.readings.get())
    }

    fn verdict(self) -> Verdict {
        self.play().0
    }

    fn reply(self) -> Reply {
        let (verdict, mut buf, _) = self.play();
        let Verdict::Reply(length) = verdict else { panic!("{verdict:?}") };
        buf.truncate(length);
        Reply::parse(&buf)
    }
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

#[test]
fn s4_version_1_servers_are_told_by_their_port() {
    let from = |port| Scene {
        peer: SocketAddr::new([192, 0, 2, 7].into(), port),
        request: request(1, 0, 1),
        ..Scene::default()
    };
    assert_eq!(from(123).verdict(), Verdict::Drop(Reason::Mode));
    assert_eq!(from(1234).verdict(), Verdict::Reply(48));
}

#[test]
fn s20_the_clock_is_read_once_for_a_reply_and_never_for_silence() {
    assert_eq!(Scene::default().play().2, 1);
    for first in [0x24, 0x16, 0x2B] {
        let mut request = plain(1);
        request[0] = first;
        assert_eq!(Scene { request, ..Scene::default() }.play().2, 0);
    }
}

#[test]
fn s21_stamps_are_never_zero() {
    // The era begins: the kernel's stamp, or the clock, or both, have all bits zero.
    let zero = NtpTimestamp::from_bits(0);
    for seed in 0..200 {
        for (received, now) in
            [(zero, zero), (zero.offset_by(-1), zero), (zero, zero.offset_by(5)), (zero.offset_by(-4), zero)]
        {
            let mut state = synchronised(zero.offset_by(-(1 << 40)));
            state.system.precision = ntpring::wire::Precision::FINEST;
            let reply = Scene { received, now, state, seed, request: plain(0), ..Scene::default() }.reply();
            assert!(reply.receive != 0 && reply.transmit != 0, "{reply:?}");
            assert!(between(reply.receive, reply.transmit) > 0, "{reply:?}");
        }
    }
}

#[test]
fn s22_receive_keeps_the_kernels_nanoseconds_and_has_random_bits_below() {
    let mut seen = [0; 4];
    for seed in 0..100 {
        let scene = Scene { seed, ..Scene::default() };
        let received = scene.received.to_bits();
        let receive = scene.reply().receive;
        assert_eq!(receive >> 2, received >> 2, "a nanosecond is a little more than four units");
        seen[(receive & 3) as usize] += 1;
    }
    assert!(seen.iter().all(|count| *count > 5), "{seen:?}");
}

#[test]
fn s23_a_request_that_guessed_the_receive_stamp() {
    for guess in 0..8 {
        for seed in 0..50 {
            let default = Scene::default();
            let request = plain((default.received.to_bits() & !7) + guess);
            let reply = Scene { request, seed, ..default }.reply();
            assert_ne!(reply.receive, reply.origin);
            assert!(between(reply.receive, reply.transmit) > 0);
        }
    }
    // Both stamps within the random bits of each other.
    for seed in 0..200 {
        let default = Scene::default();
        let reply = Scene { now: default.received, seed, ..default }.reply();
        assert!(between(reply.receive, reply.transmit) > 0, "{reply:?}");
    }
}

#[test]
fn s27_multicast_and_broadcast_destinations() {
    for local in [
        "224.0.1.1:123",
        "239.255.0.1:123",
        "255.255.255.255:123",
        "[ff02::101]:123",
        "[::ffff:224.0.1.1]:123",
    ] {
        let verdict = Scene { local: address(local), ..Scene::default() }.verdict();
        assert_eq!(verdict, Verdict::Drop(Reason::SharedDestination), "{local}");
    }
}

#[test]
fn s30_a_stepped_clock_never_mixes_two_times() {
    let stepped = Scene { clock_stepped: true, ..Scene::default() };
    assert_eq!(stepped.verdict(), Verdict::Drop(Reason::ClockStepped));
    // What the batch's flag could not know: the clock was set back while this request waited.
    let default = Scene::default();
    for back in [1, 1 << 32, i64::MAX] {
        let scene = Scene { now: default.received.offset_by(-back), ..Scene::default() };
        assert_eq!(scene.verdict(), Verdict::Drop(Reason::ClockStepped), "{back} units");
    }
    // Silence is silence for its own reason, and control messages carry no time.
    let garbage = Scene { clock_stepped: true, request: vec![0x23; 40], ..Scene::default() };
    assert_eq!(garbage.verdict(), Verdict::Drop(Reason::Short));
}

#[test]
fn s30_the_next_batch_is_served() {
    let mut publisher = Publisher::new(Scene::default().state);
    let mut published = publisher.subscribe();
    let mut responder = Responder::new(1);
    let ask = |responder: &mut Responder, received: NtpTimestamp| {
        let mut buf = plain(1);
        let clock = Forged { now: received.offset_by(1000), readings: Cell::new(0) };
        let (peer, local) = (address("192.0.2.7:40000"), address("192.0.2.1:123"));
        responder.respond(Datagram { peer, local, received, ahead: 0, buf: &mut buf }, &clock)
    };
    let before = Scene::default().received;
    let after = before.offset_by(-3600 << 32);
    responder.begin_batch(&mut published, true);
    assert_eq!(ask(&mut responder, before), Verdict::Drop(Reason::ClockStepped));
    publisher.publish(synchronised(after));
    responder.begin_batch(&mut published, false);
    assert_eq!(ask(&mut responder, after), Verdict::Reply(48));
}

#[test]
fn x7_every_first_octet_and_length() {
    let state = ServingState { access: allowed(), ..Scene::default().state };
    let publisher = Publisher::new(state);
    let clock = Forged { now: Scene::default().now, readings: Cell::new(0) };
    let (peer, local, received) =
        (address("192.0.2.7:40000"), address("192.0.2.1:123"), Scene::default().received);
    let mut responder = Responder::new(7);
    responder.begin_batch(&mut publisher.subscribe(), false);
    let mut answered = 0;
    for filler in [0, 0x5A, 0xFF] {
        for first in 0..=255 {
            for length in 0..=1500 {
                let mut buf = [filler; 1500];
                buf[0] = first;
                let buf = &mut buf[..length];
                match responder.respond(Datagram { peer, local, received, ahead: 0, buf }, &clock) {
                    Verdict::Reply(reply) => {
                        assert!(reply == 48 && reply <= length);
                        answered += 1;
                    }
                    Verdict::Forward => assert!(length >= 12 && first & 7 == 6),
                    Verdict::Drop(_) => {}
                }
            }
        }
    }
    // 48 octets in modes 3 of versions 1 to 4 and mode 0 of version 1, with any leap bits; nothing longer is
    // well-formed here.
    assert_eq!(answered, 3 * 5 * 4);
    let tally = responder.tally();
    let dropped: u64 = tally.dropped.iter().sum();
    assert_eq!(tally.received, 3 * 256 * 1501);
    assert_eq!(tally.received, tally.answered.iter().sum::<u64>() + tally.forwarded + dropped);
}

/// Everything is allowed to everybody.
fn allowed() -> Arc<AccessList> {
    let everybody = |text: &str| AccessEntry {
        prefix: IpPrefix::new(text.parse().unwrap(), 0).unwrap(),
        flags: AccessFlags::NONE,
        ntpport: false,
    };
    Arc::new(AccessList::new(&[everybody("0.0.0.0"), everybody("::")]).unwrap())
}

#[test]
fn x8_sources_that_cannot_be_answered() {
    let local = "192.0.2.1:123";
    let sources = [
        ("192.0.2.7:0", local),
        ("0.0.0.0:40000", local),
        ("224.0.1.1:123", local),
        ("255.255.255.255:123", local),
        ("192.0.2.1:123", local),
        ("127.0.0.1:123", "127.0.0.1:123"),
        ("[2001:db8::7]:0", "[2001:db8::1]:123"),
        ("[::]:40000", "[2001:db8::1]:123"),
        ("[ff02::1]:40000", "[2001:db8::1]:123"),
        ("[2001:db8::1]:123", "[2001:db8::1]:123"),
        ("[::ffff:0.0.0.0]:40000", "[::ffff:192.0.2.1]:123"),
        ("[::ffff:192.0.2.1]:123", "192.0.2.1:123"),
    ];
    for (peer, local) in sources {
        for request in [plain(1), request(2, 6, 0)] {
            let scene = Scene { peer: address(peer), local: address(local), request, ..Scene::default() };
            assert_eq!(scene.verdict(), Verdict::Drop(Reason::MartianSource), "{peer} to {local}");
        }
    }
}

#[test]
fn x8_local_clients_are_no_martians() {
    let exchanges = [
        ("127.0.0.1:40000", "127.0.0.1:123"),
        ("127.0.0.1:123", "127.0.0.1:11123"),
        ("127.0.0.1:123", "127.0.0.2:123"),
        ("192.0.2.1:40000", "192.0.2.1:123"),
        ("192.0.2.1:123", "127.0.0.1:123"),
        ("[::1]:40000", "[::1]:123"),
        ("[fe80::1%3]:40000", "[fe80::2%3]:123"),
    ];
    for (peer, local) in exchanges {
        let scene = Scene { peer: address(peer), local: address(local), ..Scene::default() };
        assert_eq!(scene.verdict(), Verdict::Reply(48), "{peer} to {local}");
    }
}
