//! Rate limits and kiss-o'-death packets (RFC 5905 §7.4).

use std::time::Duration;

use ntpring::server::{AccessFlags, RateLimit, Reason};

use crate::packets::{Reply, extension, followed_by, plain, request};
use crate::tier::{HERE, Tier, limited, restricted};

const SECOND_NS: u64 = 1_000_000_000;

/// Nobody waits for an answer to be earned here.
const HOUR_NS: u64 = 3600 * SECOND_NS;

/// One answer an hour, no leak: what ever is asked for at once after the first is denied.
pub(crate) fn strict() -> RateLimit {
    RateLimit { headway_ns: HOUR_NS, burst: 1, leak_log2: None, ..RateLimit::default() }
}

/// `discard average 3 minimum 2`, no leak.
pub(crate) fn ntpd() -> RateLimit {
    let (headway_ns, minimum_ns) = (8 * SECOND_NS, 2 * SECOND_NS / 16 * 15);
    RateLimit { headway_ns, burst: 8, minimum_ns, leak_log2: None, ..RateLimit::default() }
}

/// A server that has answered its limit to `HERE` and owes it a kiss.
fn exhausted<T: Tier>(limit: RateLimit) -> Option<T> {
    let mut tier = T::start(limited(AccessFlags::KOD, limit))?;
    for cookie in 0..limit.burst {
        assert_ne!(tier.reply(&plain(cookie.into())).stratum, 0);
    }
    Some(tier)
}

pub(crate) fn k1_a_kiss_says_rate_and_no_time<T: Tier>() {
    for version in 1..=4 {
        let Some(mut tier) = exhausted::<T>(strict()) else { return };
        let kiss = tier.reply(&request(version, 3, 0xC0FFEE));
        assert_eq!((kiss.leap, kiss.version, kiss.mode, kiss.stratum), (3, version, 4, 0), "{kiss:?}");
        assert_eq!(&kiss.reference_id, b"RATE");
        assert_eq!(kiss.origin, 0xC0FFEE);
        let totals = tier.totals(2);
        assert_eq!((totals.tally.kod, totals.answered(), totals.received()), (1, 2, 2), "{totals:?}");
    }
}

pub(crate) fn k2_a_kiss_has_no_stamp_of_ours<T: Tier>() {
    let Some(mut tier) = exhausted::<T>(strict()) else { return };
    let mut asked = plain(0xDEAD_BEEF_0000_0001);
    for (at, octet) in asked.iter_mut().enumerate().take(40).skip(3) {
        *octet = at as u8;
    }
    let kiss = tier.exchange(&asked).remove(0);
    let fields = Reply::parse(&kiss);
    assert_eq!([fields.origin, fields.receive, fields.transmit], [0xDEAD_BEEF_0000_0001; 3]);
    // What stands between is what the client said, so it tells nothing about this server's clock.
    assert_eq!((&kiss[3..12], &kiss[16..24]), (&asked[3..12], &asked[16..24]));
}

pub(crate) fn k3_a_kiss_asks_for_the_headway_or_more<T: Tier>() {
    let poll = |headway_s: u64, poll: i8| {
        let limit = RateLimit { headway_ns: headway_s * SECOND_NS, ..strict() };
        let mut asked = plain(1);
        asked[2] = poll.cast_unsigned();
        exhausted::<T>(limit).map(|mut tier| tier.reply(&asked).poll.cast_signed())
    };
    for (headway_s, asked, expected) in
        [(64, 0, 6), (64, 6, 6), (64, 10, 10), (64, -6, 6), (64, -128, 6), (64, 127, 127), (60, 3, 6)]
    {
        let Some(poll) = poll(headway_s, asked) else { return };
        assert_eq!(poll, expected, "headway {headway_s} s, asked with {asked}");
    }
}

pub(crate) fn k4_a_kiss_needs_limited_and_kod<T: Tier>() {
    let Some(mut tier) = T::start(limited(AccessFlags::NONE, strict())) else { return };
    assert_ne!(tier.reply(&plain(1)).stratum, 0);
    (0..50).for_each(|cookie| tier.silence(&plain(cookie)));
    let totals = tier.totals(51);
    assert_eq!((totals.tally.dropped[Reason::Limited as usize], totals.tally.kod), (50, 0));

    let Some(mut tier) = T::start(restricted(AccessFlags::KOD)) else { return };
    assert!((0..50).all(|cookie| tier.reply(&plain(cookie)).stratum == 4), "no limit, no kiss");
}

pub(crate) fn k5_a_kiss_comes_once_in_its_headway<T: Tier>() {
    let Some(mut tier) = exhausted::<T>(RateLimit { kod_headway_ns: HOUR_NS, ..strict() }) else { return };
    assert_eq!(&tier.reply(&plain(1)).reference_id, b"RATE");
    (0..200).for_each(|cookie| tier.silence(&plain(cookie)));
    let totals = tier.totals(202);
    assert_eq!((totals.tally.kod, totals.tally.dropped[Reason::Limited as usize]), (1, 200));

    // `limit kod 0`.
    let Some(mut tier) = exhausted::<T>(RateLimit { kod_headway_ns: 0, ..strict() }) else { return };
    (0..10).for_each(|cookie| tier.silence(&plain(cookie)));
}

/// What the pool's monitor, ntpd's iburst (6), chrony's (4) and classic ntpdate (4) send, at a fortieth of
/// the time; who comes late has earned more.
pub(crate) fn k6_a_burst_two_seconds_apart_is_answered<T: Tier>() {
    let default = RateLimit { leak_log2: None, ..RateLimit::default() };
    for limit in [default, ntpd()] {
        let RateLimit { headway_ns, minimum_ns, .. } = limit;
        let hurried = RateLimit { headway_ns: headway_ns / 40, minimum_ns: minimum_ns / 40, ..limit };
        let Some(mut tier) = T::start(limited(AccessFlags::KOD, hurried)) else { return };
        for cookie in 0..8 {
            assert_eq!(tier.reply(&plain(cookie)).stratum, 4, "request {cookie}");
            tier.pass(Duration::from_secs(2) / 40);
        }
    }
}

pub(crate) fn k7_a_second_request_at_once_is_denied<T: Tier>() {
    let Some(mut tier) = T::start(limited(AccessFlags::NONE, ntpd())) else { return };
    assert_eq!(tier.reply(&plain(1)).stratum, 4);
    tier.silence(&plain(2));
    assert_eq!(tier.totals(2).tally.dropped[Reason::Limited as usize], 1);
}

pub(crate) fn k7_the_average_holds_after_a_burst<T: Tier>() {
    let limit = RateLimit { minimum_ns: 0, headway_ns: HOUR_NS, ..ntpd() };
    let Some(mut tier) = T::start(limited(AccessFlags::NONE, limit)) else { return };
    let answered = (0..100).filter(|cookie| !tier.exchange(&plain(*cookie)).is_empty()).count();
    assert_eq!(answered, 8);
}

/// Whoever forges a client's address can take its answers, but not all of them.
pub(crate) fn k8_a_quarter_of_the_excess_is_answered<T: Tier>() {
    let default = RateLimit::default().leak_log2;
    for (leak_log2, expected) in [(default, 400..600), (Some(0), 2000..2001), (Some(4), 70..190)] {
        let limit = RateLimit { leak_log2, ..strict() };
        let Some(mut tier) = T::start(limited(AccessFlags::NONE, limit)) else { return };
        let mut answered = -1;
        let mut silent = 0;
        for cookie in 0..2001 {
            match tier.exchange(&plain(cookie)).as_slice() {
                [] => silent += 1,
                [reply] => answered += i32::from(Reply::parse(reply).stratum == 4),
                more => panic!("{more:02x?}"),
            }
        }
        assert!(expected.contains(&answered), "{answered} of 2000, leak {leak_log2:?}");
        assert_eq!(answered + silent, 2000);
    }
}

pub(crate) fn k9_another_port_is_no_other_bucket<T: Tier>() {
    let Some(mut tier) = exhausted::<T>(strict()) else { return };
    assert_eq!(&tier.reply(&plain(1)).reference_id, b"RATE");
    for cookie in 0..20 {
        tier.change_port(HERE);
        tier.silence(&plain(cookie));
    }
    // Another address is another client, or nobody could be served beside an abuser.
    let elsewhere = [127, 0, 0, 66].into();
    assert_eq!(tier.ask(elsewhere, HERE, &plain(1)).len(), 1);
}

pub(crate) fn k12_whom_nothing_limits_is_never_limited<T: Tier>() {
    let state = |now| ntpring::server::ServingState { limit: strict(), ..restricted(AccessFlags::NONE)(now) };
    let Some(mut tier) = T::start(state) else { return };
    assert!((0..500).all(|cookie| tier.reply(&plain(cookie)).stratum == 4));
}

pub(crate) fn k13_no_kiss_to_what_is_no_good_request<T: Tier>() {
    let Some(mut tier) = exhausted::<T>(strict()) else { return };
    let malformed = [
        plain(1)[..47].to_vec(),
        followed_by(4, &[0; 2]),
        followed_by(4, &extension(0xF323, 16)),
        followed_by(4, &[7; 20]),
        followed_by(4, &[0; 4]),
    ];
    let other_modes = [1, 2, 4, 5, 7].map(|mode| request(4, mode, 1));
    let other_versions = [0, 5, 6, 7].map(|version| request(version, 3, 1));
    // It may have time, but no kiss.
    let no_mode = request(1, 0, 1);
    let bad: Vec<_> = malformed.into_iter().chain(other_modes).chain(other_versions).collect();
    bad.iter().chain([&no_mode]).for_each(|request| tier.silence(request));
    let totals = tier.totals(2 + bad.len() as u64);
    assert_eq!((totals.tally.kod, totals.tally.dropped[Reason::Limited as usize]), (0, 1), "{totals:?}");
}

/// `restrict` has `noquery` and `nomodify` for them.
pub(crate) fn control_messages_are_not_limited<T: Tier>() {
    let Some(mut tier) = exhausted::<T>(strict()) else { return };
    let read_status = request(2, 6, 0)[..12].to_vec();
    (0..20).for_each(|_| tier.silence(&read_status));
    assert_eq!(tier.forwarded().len(), 20);
}
