//! More than a million frames through the program and through the server, in the same state: what the program
//! keeps, the server would answer, and both replies are the same but for the two stamps. What it passes on,
//! it passes unchanged, and for a reason that the RFCs or the access list give.

use std::collections::HashSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ntpring::server::{
    AccessEntry, AccessFlags, AccessList, Datagram, IpPrefix, RateLimit, Responder, ServingState, Verdict,
};
use ntpring::snapshot::{Publisher, SystemVariables, VirtualClock};
use ntpring::wire::{LeapIndicator, NtpShort, NtpTimestamp, Precision, ReferenceId};
use proptest::prelude::*;

use crate::frames::{Checksum, Frame, plain};
use crate::program::{self, SERVER, Stopped, Tested, serving};

const FRAMES: usize = 1_000_000;
const FRAMES_PER_STATE: usize = 20_000;
/// How long a state may stay: the program believes it for three seconds.
const STATE_LIFE: Duration = Duration::from_secs(1);

/// Where the stamps are that the two may disagree about.
const STAMPS: Range<usize> = 32..48;

/// Addresses that some entry below, or some rule, is about; and others.
const SOURCES: [&str; 30] = [
    "198.51.100.1",
    "198.51.100.2",
    "198.51.100.3",
    "198.51.100.4",
    "198.51.100.5",
    "198.51.100.6",
    "198.51.100.7",
    "203.0.113.1",
    "203.0.113.129",
    "10.0.0.1",
    "10.1.0.1",
    "192.0.2.1",
    "192.0.2.2",
    "192.0.2.255",
    "127.0.0.1",
    "0.0.0.0",
    "0.0.0.1",
    "224.0.0.1",
    "239.255.255.250",
    "255.255.255.255",
    "2001:db8::1",
    "2001:db8::2",
    "2001:db8:1::1",
    "2001:db8:1::2",
    "2001:db8:2::1",
    "fe80::9",
    "::",
    "::1",
    "ff02::1",
    "::ffff:198.51.100.1",
];

/// Every flag that matters, by itself and nested.
fn restrictions() -> Vec<AccessEntry> {
    let entry = |address: &str, length, flags, ntpport| AccessEntry {
        prefix: IpPrefix::new(address.parse().unwrap(), length).unwrap(),
        flags,
        ntpport,
    };
    vec![
        entry("0.0.0.0", 0, AccessFlags::NOQUERY | AccessFlags::LIMITED | AccessFlags::KOD, false),
        entry("198.51.100.1", 32, AccessFlags::NONE, false),
        entry("198.51.100.2", 32, AccessFlags::IGNORE, false),
        entry("198.51.100.3", 32, AccessFlags::NOSERVE, false),
        entry("198.51.100.4", 32, AccessFlags::NOTRUST, false),
        entry("198.51.100.5", 32, AccessFlags::VERSION, false),
        entry("198.51.100.6", 32, AccessFlags::IGNORE, true),
        entry("203.0.113.0", 24, AccessFlags::NOSERVE, true),
        entry("203.0.113.128", 25, AccessFlags::VERSION, false),
        entry("10.0.0.0", 8, AccessFlags::IGNORE, false),
        entry("10.1.0.0", 16, AccessFlags::NONE, true),
        entry("127.0.0.1", 32, AccessFlags::NONE, false),
        entry("2001:db8::", 32, AccessFlags::LIMITED, false),
        entry("2001:db8:1::", 48, AccessFlags::NOSERVE, false),
        entry("2001:db8:1::2", 128, AccessFlags::VERSION, true),
        entry("2001:db8:2::", 48, AccessFlags::NONE, true),
        entry("::1", 128, AccessFlags::NONE, false),
    ]
}

/// Clocks that make every branch of a header's making be taken.
fn clocks(now: NtpTimestamp) -> Vec<SystemVariables> {
    let seconds = |seconds: i64| now.offset_by(seconds << 32);
    let local = serving(&[]).system;
    let network = SystemVariables {
        leap: LeapIndicator::Insert,
        stratum: 2,
        precision: Precision::from_log2(-18),
        root_delay: NtpShort::from_nanoseconds(23_456_789),
        root_dispersion: NtpShort::from_nanoseconds(3_210_987),
        updated: seconds(-1234),
        reference_id: ReferenceId::from_octets([192, 0, 2, 77]),
        reference_time: seconds(-1234),
        clock: VirtualClock::IDENTITY,
    };
    vec![
        local,
        network,
        SystemVariables { stratum: 1, reference_id: ReferenceId::LOCAL, ..network },
        SystemVariables::unsynchronised(Precision::from_log2(-6)),
        // A root distance that passes 16 s in this moment, or is far beyond it.
        SystemVariables {
            root_dispersion: NtpShort::from_nanoseconds(15_900_000_000),
            updated: seconds(-5873),
            ..network
        },
        SystemVariables { root_delay: NtpShort::MAX, root_dispersion: NtpShort::MAX, ..network },
        // The clock was set back since.
        SystemVariables { updated: seconds(500), reference_time: seconds(500), ..network },
        SystemVariables { updated: seconds(-70_000_000), ..network },
        SystemVariables { updated: NtpTimestamp::UNKNOWN, reference_time: NtpTimestamp::UNKNOWN, ..network },
        SystemVariables { leap: LeapIndicator::Unsynchronised, ..network },
        SystemVariables { stratum: 0, ..network },
        SystemVariables { stratum: 16, ..network },
        SystemVariables { stratum: 15, leap: LeapIndicator::Delete, precision: Precision::FINEST, ..local },
    ]
}

/// The program and the server, side by side.
struct Pair {
    tested: Tested,
    responder: Responder,
    access: Arc<AccessList>,
    /// The number of the state that both have, and since when.
    number: usize,
    taken: Instant,
    answered: u64,
    passed: u64,
    /// Times that the program was interrupted for long.
    late: u64,
}

impl Pair {
    fn new(tested: Tested) -> Self {
        let access = Arc::new(AccessList::new(&restrictions()).unwrap());
        let responder = Responder::new(1);
        let taken = Instant::now();
        let mut pair = Self { tested, responder, access, number: 0, taken, answered: 0, passed: 0, late: 0 };
        pair.take_state(0);
        pair
    }

    /// Both take the state of this number.
    fn take_state(&mut self, number: usize) {
        (self.number, self.taken) = (number, Instant::now());
        let now = serving(&[]).system.updated;
        let clocks = clocks(now);
        let system = clocks[number % clocks.len()];
        // Whom the rate limit stops is another test's business.
        let limit = RateLimit { headway_ns: 1, burst: 1 << 30, ..RateLimit::default() };
        let state =
            ServingState { system, access: Arc::clone(&self.access), limit, ..ServingState::default() };
        self.tested.publish(&state);
        self.responder.begin_batch(&mut Publisher::new(state).subscribe(), false);
    }

    /// What a plain request from somebody who may ask gets, and None for every other frame; `received` and
    /// `sent` are the stamps of the reply.
    fn expected(&mut self, frame: &[u8], received: NtpTimestamp, sent: NtpTimestamp) -> Option<Vec<u8>> {
        let Frame { source, destination, mut payload, .. } = plain(frame).ok()?;
        let served = SERVER.iter().any(|server| server.parse() == Ok(destination));
        let is_plain = payload.len() == 48 && payload[0] & 7 == 3;
        if !served || is_forged(source.ip()) || !is_plain {
            return None;
        }
        let datagram = Datagram { peer: source, local: destination, received, ahead: 0, buf: &mut payload };
        match self.responder.respond(datagram, &Stopped(sent)) {
            Verdict::Reply(length) => Some(payload[..length].to_vec()),
            Verdict::Forward | Verdict::Drop(_) => None,
        }
    }

    /// Both judge the frame, and agree.
    fn compare(&mut self, frame: &[u8]) {
        if self.taken.elapsed() > STATE_LIFE {
            self.take_state(self.number);
        }
        match self.tested.run(frame) {
            program::Verdict::Passed(same) => {
                assert_eq!(same, frame, "what is passed is not changed");
                let now = serving(&[]).system.updated;
                let expected = self.expected(frame, now, now.offset_by(1));
                if expected.is_some() && self.is_late() {
                    return self.compare(frame);
                }
                assert_eq!(expected, None, "passed, but the server answers {frame:02x?}");
                self.passed += 1;
            }
            program::Verdict::Answered(reply) => {
                let request = plain(frame).unwrap_or_else(|why| panic!("{why} was answered: {frame:02x?}"));
                let reply = Frame::parse(&reply);
                assert_eq!((reply.source, reply.destination), (request.destination, request.source));
                assert_eq!(reply.vlan, request.vlan);
                let [received, sent] = [32, 40].map(|at| stamp(&reply.payload, at));
                assert!(sent.signed_since(received) > 0 && !received.is_unknown());
                let mut expected = self.expected(frame, received, sent);
                if let Some(expected) = &mut expected {
                    // A reference time later than the reply becomes the receive stamp.
                    if stamp(expected, 16) == stamp(expected, 32) {
                        expected[16..24].copy_from_slice(&reply.payload[32..40]);
                    }
                    expected[STAMPS].copy_from_slice(&reply.payload[STAMPS]);
                }
                assert_eq!(Some(reply.payload), expected, "to {frame:02x?}");
                self.answered += 1;
            }
        }
    }

    /// On a busy machine somebody else may run between the two stamps, which the program cannot tell from
    /// somebody who sets the clock.
    fn is_late(&mut self) -> bool {
        let late = self.tested.passed_for("clock");
        std::mem::replace(&mut self.late, late) < late
    }

    /// The program has counted what it answered, and no more.
    fn assert_counted(&self) {
        let totals = self.tested.program.counters().read().unwrap();
        assert_eq!(totals.answered.iter().sum::<u64>(), self.answered);
        let passed: u64 = totals.passed().map(|(_, count)| count).sum();
        assert!(passed <= self.passed + self.late, "{totals:?}");
        for reason in ["checksum", "martian_source", "mode", "restricted"] {
            assert!(self.tested.passed_for(reason) > 0, "{reason} in {totals:?}");
        }
        assert_eq!(self.tested.passed_for("state"), 0);
    }
}

fn stamp(packet: &[u8], at: usize) -> NtpTimestamp {
    NtpTimestamp::from_bits(u64::from_be_bytes(packet[at..at + 8].try_into().unwrap()))
}

/// Sources that the kernel would not hand to a socket, or that are not known by their real name.
fn is_forged(source: IpAddr) -> bool {
    match source {
        IpAddr::V4(v4) => {
            let own = Ipv4Addr::new(192, 0, 2, 1);
            let broadcast = Ipv4Addr::new(192, 0, 2, 255);
            v4.octets()[0] == 0
                || v4.is_loopback()
                || v4.is_multicast()
                || v4.is_broadcast()
                || [own, broadcast].contains(&v4)
        }
        IpAddr::V6(v6) => {
            let own = Ipv6Addr::new(0x2001, 0xDB8, 0, 0, 0, 0, 0, 1);
            let mapped = v6.to_ipv4_mapped().is_some();
            v6.is_unspecified() || v6.is_loopback() || v6.is_multicast() || mapped || v6 == own
        }
    }
}

/// Where a request comes from and where it goes, by numbers.
fn ends(source: usize, port: u16) -> (SocketAddr, SocketAddr) {
    let source: IpAddr = SOURCES[source % SOURCES.len()].parse().unwrap();
    let server = SERVER[usize::from(source.is_ipv6())].parse().unwrap();
    (SocketAddr::new(source, port), server)
}

/// A request of a captured client, or one made of numbers; most of them plain.
fn payload(random: &mut fastrand::Rng, corpus: &[Vec<u8>]) -> Vec<u8> {
    if random.u8(..) < 32 {
        return random.choice(corpus).expect("there are captures").clone();
    }
    let mut payload: Vec<u8> = (0..48).map(|_| random.u8(..)).collect();
    if random.u8(..) > 16 {
        payload[0] = payload[0] & 0xC0 | random.u8(1..=4) << 3 | 3;
    }
    match random.u8(..) {
        0 => payload[40..].fill(0),
        1 => payload[40..].fill(0xFF),
        2 => payload[16..].fill(0),
        _ => {}
    }
    payload
}

/// A frame that may be anything from a plain request to noise.
fn frame(random: &mut fastrand::Rng, corpus: &[Vec<u8>]) -> Vec<u8> {
    let port = match random.u8(..) {
        0..32 => 123,
        32 => 0,
        _ => random.u16(..),
    };
    let (source, mut destination) = ends(random.usize(..), port);
    if random.u8(..) == 0 {
        destination.set_port(random.u16(..));
    }
    let mut frame = Frame::new(source, destination, &payload(random, corpus));
    frame.vlan = (random.u8(..) == 0).then(|| random.u16(..));
    frame.checksum = match random.u8(..) {
        0..32 => Checksum::Partial,
        32..48 => Checksum::Is(0),
        48 => Checksum::Is(random.u16(..)),
        _ => Checksum::Right,
    };
    let mut bytes = frame.bytes();
    if random.u8(..) < 64 {
        mutate(&mut bytes, random);
    }
    bytes
}

/// One or two things that are wrong, most likely in the headers.
fn mutate(bytes: &mut Vec<u8>, random: &mut fastrand::Rng) {
    for _ in 0..random.usize(1..=2) {
        match random.u8(0..8) {
            0 => bytes.truncate(random.usize(14..=bytes.len())),
            1 => bytes.extend((0..random.usize(1..=20)).map(|_| 0)),
            2..5 => {
                let at = random.usize(..bytes.len().min(62));
                bytes[at] = random.u8(..);
            }
            _ => {
                let at = random.usize(..bytes.len());
                bytes[at] ^= 1 << random.u8(0..8);
            }
        }
    }
}

/// Payloads of real clients as captured, and the seeds of the fuzz targets.
fn corpus() -> Vec<Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut payloads = Vec::new();
    for file in fs::read_dir(root.join("tests/data/vectors")).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "tsv") {
            continue;
        }
        let text = fs::read_to_string(path).unwrap();
        let columns = text.lines().filter(|line| !line.starts_with('#')).map(|line| line.rsplit('\t').next());
        payloads.extend(columns.map(|column| bytes_of(column.expect("a column"))));
    }
    for (target, head) in [("packet", 0), ("responder", 20)] {
        for file in fs::read_dir(root.join("tests/fuzz/seeds").join(target)).unwrap() {
            let seed = fs::read(file.unwrap().path()).unwrap();
            payloads.push(seed.get(head..).unwrap_or_default().to_vec());
        }
    }
    assert!(payloads.len() > 200, "{} payloads", payloads.len());
    payloads
}

fn bytes_of(digits: &str) -> Vec<u8> {
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
}

/// Every payload of the corpus from every source, and then frames made of random numbers.
fn compare_many(pair: &mut Pair, frames: usize) {
    let corpus = corpus();
    for (number, payload) in corpus.iter().enumerate() {
        pair.take_state(number);
        for source in 0..SOURCES.len() {
            for port in [123, 40_000] {
                let (source, server) = ends(source, port);
                pair.compare(&Frame::new(source, server, payload).bytes());
            }
        }
    }
    let mut random = fastrand::Rng::with_seed(20_260_714);
    for number in 0..frames {
        if number % FRAMES_PER_STATE == 0 {
            pair.take_state(number / FRAMES_PER_STATE);
        }
        pair.compare(&frame(&mut random, &corpus));
    }
    pair.assert_counted();
    let whole = pair.answered + pair.passed;
    assert!(pair.answered > whole / 8 && pair.passed > whole / 4, "{} of {whole}", pair.answered);
}

#[test]
fn a_million_frames_are_judged_as_the_server_judges_them() {
    let Some(tested) = Tested::new() else { return };
    compare_many(&mut Pair::new(tested), FRAMES);
}

#[test]
fn a_fresh_object_is_as_good_as_the_committed_one() {
    let Some(tested) = Tested::fresh("differential") else { return };
    compare_many(&mut Pair::new(tested), FRAMES / 5);
}

#[test]
fn shrunk_counterexamples() {
    let Some(tested) = Tested::new() else { return };
    let pair = std::cell::RefCell::new(Pair::new(tested));
    let number = std::cell::Cell::new(0);
    let byte = (0_usize..100, any::<u8>());
    let case = (
        (any::<usize>(), any::<u16>(), any::<[u8; 32]>(), any::<[u8; 16]>()),
        (0_usize..=6, prop::collection::vec(byte, 0..4), 14_usize..110),
    );
    let config = ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(((source, port, head, tail), (kind, changes, length)) in case)| {
        let mut pair = pair.borrow_mut();
        number.set(number.get() + 1);
        if number.get() % 5000 == 1 {
            pair.take_state(number.get() / 5000);
        }
        let (source, server) = ends(source, port);
        let mut payload = [head.as_slice(), &tail].concat();
        payload[0] = payload[0] & 0xF8 | 3;
        let checksum = if kind == 0 { Checksum::Partial } else { Checksum::Right };
        let mut bytes = Frame { checksum, ..Frame::new(source, server, &payload) }.bytes();
        for (at, value) in changes {
            let at = at % bytes.len();
            bytes[at] = value;
        }
        if kind == 1 {
            bytes.resize(length, 0);
        }
        pair.compare(&bytes);
    });
}

#[test]
fn frames_of_every_length_and_type_are_passed_or_plain() {
    let Some(tested) = Tested::new() else { return };
    let mut pair = Pair::new(tested);
    let request = [0x23; 48];
    for source in [0, 21] {
        let (source, server) = ends(source, 40_000);
        let whole = Frame::new(source, server, &request).bytes();
        for length in 14..=whole.len() {
            pair.compare(&whole[..length]);
        }
        for ethertype in 0..=u16::MAX {
            let mut frame = whole.clone();
            frame[12..14].copy_from_slice(&ethertype.to_be_bytes());
            pair.compare(&frame);
        }
    }
    assert_eq!(pair.answered, 4, "the two whole frames, twice each");
}

#[test]
fn every_source_of_the_list_is_different() {
    assert_eq!(SOURCES.iter().collect::<HashSet<_>>().len(), SOURCES.len());
}
