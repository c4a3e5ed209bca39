//! Limited sources: the bucket is the server's, and the sockets are told who is over the limit.

use std::net::Ipv4Addr;
use std::thread;
use std::time::Duration;

use ntpring::server::{
    AccessEntry, AccessFlags, Datagram, IpPrefix, RateLimit, Reason, Responder, ServingState, Verdict,
};
use ntpring::snapshot::Publisher;
use ntpring::wire::NtpTimestamp;

use crate::frames::{Checksum, Frame, plain};
use crate::program::{self, Stopped, Tested, serving};
use crate::rules::{CLIENTS, request_from};
use crate::skip::skip;

const HOUR_NS: u64 = 3_600_000_000_000;

/// Sources that the program has buckets for, as responder.h has it.
const BUCKETS: u32 = 8 << 13;

/// Everybody is limited.
fn limited(limit: RateLimit) -> Option<Tested> {
    let mut tested = Tested::new()?;
    tested.publish(&everybody_limited(limit));
    Some(tested)
}

fn everybody_limited(limit: RateLimit) -> ServingState {
    let all = |address: &str| AccessEntry {
        prefix: IpPrefix::new(address.parse().unwrap(), 0).unwrap(),
        flags: AccessFlags::LIMITED | AccessFlags::KOD,
        ntpport: false,
    };
    ServingState { limit, ..serving(&[all("0.0.0.0"), all("::")]) }
}

fn is_answered(tested: &Tested, client: &str) -> bool {
    !refuses(tested, &request_from(client))
}

/// Whether the rate limit stops a request: it is marked then. One that came late is passed too, as it is.
fn refuses(tested: &Tested, request: &Frame) -> bool {
    let bytes = request.bytes();
    matches!(tested.run(&bytes), program::Verdict::Passed(passed) if passed != bytes)
}

#[test]
fn a_bucket_is_emptied_and_fills_again() {
    const HEADWAY: Duration = Duration::from_millis(300);
    let headway_ns = HEADWAY.as_nanos() as u64;
    let Some(tested) = limited(RateLimit { headway_ns, burst: 8, ..RateLimit::default() }) else { return };
    for client in CLIENTS {
        let answered = (0..30).filter(|_| is_answered(&tested, client)).count();
        assert!((8..=9).contains(&answered), "{client}: {answered} of 30 at once");
    }
    assert!(tested.passed_for("limited") >= 40);
    thread::sleep(HEADWAY);
    for client in CLIENTS {
        assert!(is_answered(&tested, client), "{client} after a headway");
    }
}

#[test]
fn buckets_are_per_address_and_per_network_of_64_bits() {
    let limit = RateLimit { headway_ns: HOUR_NS, burst: 1, ..RateLimit::default() };
    let Some(tested) = limited(limit) else { return };
    for (client, answered) in [
        ("198.51.100.7:40000", true),
        ("198.51.100.7:50000", false),
        ("198.51.100.7:123", false),
        ("198.51.100.8:40000", true),
        ("[2001:db8:9::7]:40000", true),
        ("[2001:db8:9::8]:40000", false),
        ("[2001:db8:9:1::8]:40000", true),
    ] {
        assert_eq!(is_answered(&tested, client), answered, "{client}");
    }
}

#[test]
fn answers_have_their_minimum_distance() {
    let limit = RateLimit { headway_ns: 1, burst: 1000, minimum_ns: HOUR_NS, ..RateLimit::default() };
    let Some(tested) = limited(limit) else { return };
    assert!(is_answered(&tested, CLIENTS[0]));
    assert!(!is_answered(&tested, CLIENTS[0]));
}

#[test]
fn who_is_not_limited_has_no_bucket() {
    let Some(mut tested) = limited(RateLimit { headway_ns: HOUR_NS, burst: 1, ..RateLimit::default() })
    else {
        return;
    };
    tested.publish(&serving(&[]));
    for _ in 0..10 {
        assert!(is_answered(&tested, CLIENTS[0]));
    }
}

#[test]
fn requests_over_the_limit_are_marked_and_otherwise_as_they_came() {
    let limit = RateLimit { headway_ns: HOUR_NS, burst: 1, ..RateLimit::default() };
    let Some(tested) = limited(limit) else { return };
    for client in CLIENTS {
        assert!(is_answered(&tested, client));
        for checksum in [Checksum::Right, Checksum::Partial, Checksum::Is(0)] {
            // IPv6 knows no datagrams without a checksum.
            if checksum == Checksum::Is(0) && client.starts_with('[') {
                continue;
            }
            let mut request = Frame { checksum, ..request_from(client) };
            request.payload[24..32].copy_from_slice(&0xFEDC_BA98_7654_3210_u64.to_be_bytes());
            let program::Verdict::Passed(passed) = tested.run(&request.bytes()) else {
                panic!("over the limit")
            };
            // The checksum is right again, or as wrong as it was meant to be.
            let seen = plain(&passed).expect("it can still be read");
            request.payload[24..32].copy_from_slice(&tested.feed.spent_mark());
            assert_eq!(seen.payload, request.payload);
            assert_eq!(passed, request.bytes(), "nothing else is changed");
        }
    }
}

#[test]
fn k10_who_is_over_the_limit_is_not_forgotten_for_any_number_of_forged_sources() {
    const ABUSERS: [&str; 3] = ["198.51.100.7:40000", "198.51.100.8:123", "[2001:db8:9::7]:40000"];
    let limit = RateLimit { headway_ns: HOUR_NS, burst: 3, ..RateLimit::default() };
    let Some(mut tested) = limited(limit) else { return };
    for abuser in ABUSERS {
        assert!((0..3).all(|_| is_answered(&tested, abuser)) && !is_answered(&tested, abuser));
    }
    let forged = request_from("11.0.0.0:40000");
    for number in 0..10 * BUCKETS {
        if number % 10_000 == 0 {
            tested.publish(&everybody_limited(limit));
            let refused = |abuser: &&str| !is_answered(&tested, abuser);
            assert!(ABUSERS.iter().all(refused), "forgotten after {number} others");
        }
        let source = Ipv4Addr::from_bits(0x0B00_0000 + number);
        let request = Frame { source: (source, 40_000).into(), ..forged.clone() };
        assert!(!refuses(&tested, &request), "{source} has not asked before");
    }
}

#[test]
fn k10_half_as_many_sources_as_there_are_buckets_are_nearly_all_known() {
    const SOURCES: u32 = BUCKETS / 2;
    let limit = RateLimit { headway_ns: HOUR_NS, burst: 1, ..RateLimit::default() };
    let Some(mut tested) = limited(limit) else { return };
    let forged = request_from("11.0.0.0:40000");
    let mut refused = 0;
    for number in 0..2 * SOURCES {
        if number % 10_000 == 0 {
            tested.publish(&everybody_limited(limit));
        }
        let source = Ipv4Addr::from_bits(0x0B00_0000 + number % SOURCES);
        refused += u32::from(refuses(&tested, &Frame { source: (source, 40_000).into(), ..forged.clone() }));
    }
    // Four share a set on average. Of nine and more, as one source in twenty has around it, none stays known.
    assert!((SOURCES * 93 / 100..=SOURCES * 97 / 100).contains(&refused), "{refused} of {SOURCES} are known");
}

#[test]
fn k11_all_cores_take_from_one_bucket() {
    const BURST: u32 = 2000;
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    if cores.len() < 2 {
        return skip("cores", "one core shares with nobody");
    }
    let Some(tested) = limited(RateLimit { headway_ns: HOUR_NS, burst: BURST, ..RateLimit::default() })
    else {
        return;
    };
    let ask = |core, client| {
        assert!(core_affinity::set_for_current(core));
        (0..BURST / 2 + 10).filter(|_| is_answered(&tested, client)).count() as u32
    };
    let by_turns: u32 = thread::scope(|scope| {
        let one_after_the_other = || cores[..2].iter().map(|core| ask(*core, CLIENTS[0])).sum();
        scope.spawn(one_after_the_other).join().expect("done")
    });
    assert_eq!(by_turns, BURST);
    let at_once: u32 = thread::scope(|scope| {
        let threads: Vec<_> = cores[..2].iter().map(|core| scope.spawn(|| ask(*core, CLIENTS[1]))).collect();
        threads.into_iter().map(|thread| thread.join().expect("done")).sum()
    });
    // Now and then both take the same answer.
    assert!((BURST..=BURST + 20).contains(&at_once), "{at_once}");
}

/// The server with the same list and limit, whose clock goes on by a microsecond with each request.
struct Server {
    responder: Responder,
    now: NtpTimestamp,
}

impl Server {
    fn new(state: ServingState) -> Self {
        let mut responder = Responder::new(1);
        let now = state.system.updated;
        responder.begin_batch(&mut Publisher::new(state).subscribe(), false);
        Self { responder, now }
    }

    fn refuses(&mut self, request: &Frame) -> bool {
        const MICROSECOND: i64 = (1 << 32) / 1_000_000;
        self.now = self.now.offset_by(MICROSECOND);
        let Frame { source, destination, mut payload, .. } = request.clone();
        let (peer, local, received) = (source, destination, self.now);
        let datagram = Datagram { peer, local, received, ahead: 0, buf: &mut payload };
        match self.responder.respond(datagram, &Stopped(received)) {
            Verdict::Reply(_) => false,
            Verdict::Drop(Reason::Limited) => true,
            other => panic!("{other:?}"),
        }
    }
}

/// Requests from so many sources of both families, some of which ask more often than others, put to the
/// program and to the server: both refuse the same ones. How many that are.
fn refused_by_both(tested: &mut Tested, limit: RateLimit, sources: u32, requests: u32) -> u32 {
    let limit = RateLimit { leak_log2: None, kod_headway_ns: 0, ..limit };
    tested.publish(&everybody_limited(limit));
    let mut server = Server::new(everybody_limited(limit));
    let mut random = fastrand::Rng::with_seed(20_261_126);
    let mut refused = 0;
    for number in 0..requests {
        if number % 1000 == 0 {
            tested.publish(&everybody_limited(limit));
        }
        let source = random.u32(..sources).min(random.u32(..sources));
        let client = match source % 3 {
            0 => format!("[2001:db8:9:{source:x}::{number:x}]:40000"),
            _ => format!("11.0.{}.{}:{}", source >> 8, source & 0xFF, 1 + number % 60_000),
        };
        let request = request_from(&client);
        let refuses = refuses(tested, &request);
        assert_eq!(refuses, server.refuses(&request), "request {number}, from {client}");
        refused += u32::from(refuses);
    }
    refused
}

#[test]
fn buckets_are_emptied_as_the_server_s_are() {
    let answers_only = RateLimit { headway_ns: HOUR_NS, burst: 7, ..RateLimit::default() };
    let minimum_only = RateLimit { headway_ns: 1, burst: 1000, minimum_ns: HOUR_NS, ..answers_only };
    let none = RateLimit { burst: 0, ..answers_only };
    for limit in [answers_only, minimum_only, none] {
        let Some(mut tested) = Tested::new() else { return };
        let refused = refused_by_both(&mut tested, limit, 1000, 20_000);
        assert!((10_000..=20_000).contains(&refused), "{refused}");
    }
}

#[test]
fn in_a_full_set_the_server_s_bucket_is_given_up() {
    // One set for all.
    let limit = RateLimit { headway_ns: HOUR_NS, burst: 3, sources: 8, ..RateLimit::default() };
    for sources in [8, 9, 12, 40] {
        let Some(mut tested) = Tested::new() else { return };
        tested.feed.set_hash = [0; 3];
        let refused = refused_by_both(&mut tested, limit, sources, 20_000);
        assert!((1000..20_000).contains(&refused), "{refused} of {sources} sources");
    }
}
