//! Limited sources: the bucket is the server's, and the sockets are told who is over the limit.

use std::thread;
use std::time::Duration;

use ntpring::server::{AccessEntry, AccessFlags, IpPrefix, RateLimit, ServingState};

use crate::frames::{Checksum, Frame, plain};
use crate::program::{Tested, Verdict, serving};
use crate::rules::{CLIENTS, request_from};

const HOUR_NS: u64 = 3_600_000_000_000;

/// Everybody is limited.
fn limited(limit: RateLimit) -> Option<Tested> {
    let mut tested = Tested::new()?;
    let all = |address: &str| AccessEntry {
        prefix: IpPrefix::new(address.parse().unwrap(), 0).unwrap(),
        flags: AccessFlags::LIMITED | AccessFlags::KOD,
        ntpport: false,
    };
    let everybody = serving(&[all("0.0.0.0"), all("::")]);
    tested.publish(&ServingState { limit, ..everybody });
    Some(tested)
}

fn is_answered(tested: &Tested, client: &str) -> bool {
    matches!(tested.run(&request_from(client).bytes()), Verdict::Answered(_))
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
            let Verdict::Passed(passed) = tested.run(&request.bytes()) else { panic!("over the limit") };
            // The checksum is right again, or as wrong as it was meant to be.
            let seen = plain(&passed).expect("it can still be read");
            request.payload[24..32].copy_from_slice(&tested.feed.spent_mark());
            assert_eq!(seen.payload, request.payload);
            assert_eq!(passed, request.bytes(), "nothing else is changed");
        }
    }
}

#[test]
fn more_sources_than_there_are_buckets_are_no_trouble() {
    const SOURCES: u32 = 200_000;
    let limit = RateLimit { headway_ns: HOUR_NS, burst: 1, ..RateLimit::default() };
    let Some(mut tested) = limited(limit) else { return };
    let all = IpPrefix::new("0.0.0.0".parse().unwrap(), 0).unwrap();
    let entry = AccessEntry { prefix: all, flags: AccessFlags::LIMITED, ntpport: false };
    let state = ServingState { limit, ..serving(&[entry]) };
    let mut answered = 0;
    for number in 0..SOURCES {
        if number % 10_000 == 0 {
            tested.publish(&state);
        }
        let source = std::net::Ipv4Addr::from_bits(0x0B00_0000 + number);
        answered += u32::from(is_answered(&tested, &format!("{source}:40000")));
    }
    let (new, late) = (SOURCES - answered, tested.passed_for("clock") as u32);
    assert!(new <= late, "each is new, and has an answer: {new} had none, {late} were late");
}
