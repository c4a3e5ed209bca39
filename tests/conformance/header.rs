//! What a time reply says about the server.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};

use ntpring::server::ServingState;
use ntpring::snapshot::SystemVariables;
use ntpring::wire::{LeapIndicator, NtpShort, NtpTimestamp, Precision, ReferenceId};

use crate::packets::{Reply, plain, request};
use crate::tier::{HERE, HERE_V6, Tier, synchronised};

const SECOND: i64 = 1 << 32;

/// A state like `synchronised`, but for what `change` does to it.
fn with(change: impl FnOnce(&mut SystemVariables)) -> impl FnOnce(NtpTimestamp) -> ServingState {
    |now| {
        let mut state = synchronised(now);
        change(&mut state.system);
        state
    }
}

/// The reply of a server with such a state.
fn reply_of<T: Tier>(change: impl FnOnce(&mut SystemVariables)) -> Option<Reply> {
    Some(T::start(with(change))?.reply(&plain(1)))
}

fn assert_unsynchronised(reply: Reply) {
    assert_eq!((reply.leap, reply.stratum, &reply.reference_id), (3, 0, b"INIT"), "{reply:?}");
}

pub(crate) fn s1_a_request_gets_one_reply<T: Tier>() {
    let Some(mut tier) = T::start(synchronised) else { return };
    let reply = tier.reply(&plain(1));
    assert_eq!((reply.mode, reply.version), (4, 4));
}

pub(crate) fn s2_the_version_is_echoed<T: Tier>() {
    let Some(mut tier) = T::start(synchronised) else { return };
    for version in 1..=4 {
        assert_eq!(tier.reply(&request(version, 3, 1)).version, version);
    }
}

pub(crate) fn s3_other_versions_get_silence<T: Tier>() {
    let Some(mut tier) = T::start(synchronised) else { return };
    for version in [0, 5, 6, 7] {
        tier.silence(&request(version, 3, 1));
    }
}

pub(crate) fn s4_version_1_knows_no_modes<T: Tier>() {
    let Some(mut tier) = T::start(synchronised) else { return };
    let reply = tier.reply(&request(1, 0, 1));
    assert_eq!((reply.version, reply.mode), (1, 4));
    for version in [0, 2, 3, 4, 5, 6, 7] {
        tier.silence(&request(version, 0, 1));
    }
}

pub(crate) fn s5_the_leap_bits_of_a_request_do_not_matter<T: Tier>() {
    let Some(mut tier) = T::start(synchronised) else { return };
    for leap in 0..4 {
        let mut request = plain(1);
        request[0] |= leap << 6;
        assert_eq!(tier.reply(&request).leap, 0);
    }
}

pub(crate) fn s6_the_leap_bits_of_a_reply_are_the_systems<T: Tier>() {
    use LeapIndicator::{Delete, Insert, None, Unsynchronised};
    for (leap, on_the_wire) in [(None, 0), (Insert, 1), (Delete, 2), (Unsynchronised, 3)] {
        let Some(reply) = reply_of::<T>(|system| system.leap = leap) else { return };
        assert_eq!(reply.leap, on_the_wire);
    }
}

pub(crate) fn s7_an_invalid_stratum_is_0_on_the_wire<T: Tier>() {
    for stratum in [0, 16, 17, 255] {
        let Some(reply) = reply_of::<T>(|system| system.stratum = stratum) else { return };
        assert_unsynchronised(reply);
    }
    let Some(reply) = reply_of::<T>(|system| system.leap = LeapIndicator::Unsynchronised) else { return };
    assert_unsynchronised(reply);
}

pub(crate) fn s8_an_unsynchronised_server_answers_that_it_is<T: Tier>() {
    let system = SystemVariables::unsynchronised(Precision::from_log2(-20));
    let Some(mut tier) = T::start(|now| ServingState { system, ..synchronised(now) }) else { return };
    let reply = tier.reply(&plain(1));
    assert_unsynchronised(reply);
    assert_eq!(reply.reference, 0, "the clock was never set");
    assert!(reply.root_dispersion >= 16 << 16, "nothing is known about the error: {reply:?}");
}

pub(crate) fn s10_poll_comes_back<T: Tier>() {
    let Some(mut tier) = T::start(synchronised) else { return };
    for poll in 0..=255 {
        let mut request = plain(1);
        request[2] = poll;
        assert_eq!(tier.reply(&request).poll, poll);
    }
}

pub(crate) fn s11_precision_is_the_systems<T: Tier>() {
    for log2 in [-32, -24, -6] {
        let Some(reply) = reply_of::<T>(|system| system.precision = Precision::from_log2(log2)) else {
            return;
        };
        assert_eq!(reply.precision, log2);
    }
}

pub(crate) fn s12_root_delay_is_the_systems<T: Tier>() {
    for bits in [0, 1, 0x0001_8000] {
        let Some(reply) = reply_of::<T>(|system| system.root_delay = NtpShort::from_bits(bits)) else {
            return;
        };
        assert_eq!(reply.root_delay, bits);
    }
}

pub(crate) fn s13_root_dispersion_grows<T: Tier>() {
    let base = NtpShort::from_bits(100);
    let updated = |seconds: i64| {
        move |system: &mut SystemVariables| {
            system.root_dispersion = base;
            system.updated = system.updated.offset_by(-seconds * SECOND);
        }
    };
    for (seconds, growth) in [(100, 99), (86_400, 84_935)] {
        let Some(reply) = reply_of::<T>(updated(seconds)) else { return };
        // 15e-6 · seconds in units of 2^-16 s, rounded up; the suite itself takes less than ten seconds to
        // ask.
        let grown = reply.root_dispersion - base.to_bits();
        assert!((growth..growth + 10).contains(&grown), "{grown} units in {seconds} s");
        assert_eq!(reply.leap, 0);
    }
}

pub(crate) fn s14_a_root_distance_of_16_seconds_is_unsynchronised<T: Tier>() {
    let distance = |delay: u32, dispersion: u32, hour: i64| {
        move |system: &mut SystemVariables| {
            system.root_delay = NtpShort::from_bits(delay);
            system.root_dispersion = NtpShort::from_bits(dispersion);
            // Updated an hour from now, so that it does not grow, or that long ago.
            system.updated = system.updated.offset_by(hour * 3600 * SECOND);
        }
    };
    let Some(reply) = reply_of::<T>(distance(0, (16 << 16) - 1, 1)) else { return };
    assert_eq!((reply.leap, reply.stratum), (0, 4), "just below 16 s");
    let Some(reply) = reply_of::<T>(distance(2 << 16, (15 << 16) - 1, 1)) else { return };
    assert_eq!((reply.leap, reply.stratum), (0, 4), "just below 16 s, with delay");
    for (delay, dispersion, hour) in
        [(0, 16 << 16, 1), (2 << 16, 15 << 16, 1), (32 << 16, 0, 1), (0, (16 << 16) - 1, -1)]
    {
        let Some(reply) = reply_of::<T>(distance(delay, dispersion, hour)) else { return };
        assert_unsynchronised(reply);
    }
    let Some(reply) = reply_of::<T>(distance(u32::MAX, u32::MAX - 1, -1)) else { return };
    assert_unsynchronised(reply);
    assert_eq!((reply.root_delay, reply.root_dispersion), (u32::MAX, u32::MAX), "saturated, not wrapped");
}

/// What is served by a server of this stratum whose source has this identifier.
fn reference_id<T: Tier>(stratum: u8, id: ReferenceId) -> Option<[u8; 4]> {
    let reply = reply_of::<T>(|system| {
        system.stratum = stratum;
        system.reference_id = id;
    })?;
    assert_eq!((reply.leap, reply.stratum), (0, stratum));
    Some(reply.reference_id)
}

pub(crate) fn s15_a_primary_server_names_its_clock<T: Tier>() {
    for (code, octets) in [("GPS", b"GPS\0"), ("PPS", b"PPS\0"), ("LOCL", b"LOCL"), ("X", b"X\0\0\0")] {
        let Some(served) = reference_id::<T>(1, ReferenceId::from_code(code).unwrap()) else { return };
        assert_eq!(&served, octets, "left justified, zero padded");
    }
}

pub(crate) fn s16_a_secondary_server_names_its_ipv4_source<T: Tier>() {
    let Some(served) = reference_id::<T>(2, ReferenceId::from_ipv4(Ipv4Addr::new(192, 0, 2, 33))) else {
        return;
    };
    assert_eq!(served, [192, 0, 2, 33]);
}

pub(crate) fn s17_an_ipv6_source_is_hashed<T: Tier>() {
    let sources = [("::", 0x4AE7_1336_u32), ("::1", 0xCF40_4DC8), ("2001:db8::1", 0x39AB_9B37)];
    for (source, hash) in sources {
        let Some(served) = reference_id::<T>(3, ReferenceId::from_ipv6(source.parse().unwrap())) else {
            return;
        };
        assert_eq!(u32::from_be_bytes(served), hash, "{source}");
    }
}

pub(crate) fn s25_replies_come_from_the_address_that_was_asked<T: Tier>() {
    let Some(mut tier) = T::start(synchronised) else { return };
    let addresses = [HERE, IpAddr::from([127, 0, 0, 2]), IpAddr::from([127, 255, 255, 254])];
    for to in addresses {
        let replies = tier.ask(HERE, to, &plain(1));
        assert_eq!(
            replies.iter().map(|(source, _)| *source).collect::<Vec<_>>(),
            [SocketAddr::new(to, tier.port())]
        );
    }
    match UdpSocket::bind((HERE_V6, 0)) {
        Ok(_) => {
            let replies = tier.ask(HERE_V6, HERE_V6, &plain(1));
            assert_eq!(
                replies.first().map(|(source, _)| *source),
                Some(SocketAddr::new(HERE_V6, tier.port()))
            );
        }
        Err(error) => eprintln!("SKIPPED the IPv6 part: no IPv6 loopback: {error}"),
    }
}

pub(crate) fn s26_replies_go_to_the_port_that_asked<T: Tier>() {
    let Some(mut tier) = T::start(synchronised) else { return };
    // Each client has a socket and a port of its own; a reply that went elsewhere would be missing here.
    for last in 1..=20 {
        assert_eq!(tier.ask(IpAddr::from([127, 0, 1, last]), HERE, &plain(u64::from(last))).len(), 1);
    }
}

pub(crate) fn s29_no_state_is_needed<T: Tier>() {
    let Some(mut first) = T::start(frozen) else { return };
    let before = first.exchange(&plain(1));
    drop(first);
    let Some(mut second) = T::start(frozen) else { return };
    let after = second.exchange(&plain(1));
    assert_eq!(before[0][..32], after[0][..32], "a restart changes nothing but the stamps");
}

/// A state whose replies have the same first 32 octets at all times.
pub(crate) fn frozen(_: NtpTimestamp) -> ServingState {
    let mut state = synchronised(NtpTimestamp::from_unix(1_700_000_000, 0));
    // Ahead of every clock of this suite, so that the dispersion does not grow yet.
    state.system.updated = NtpTimestamp::from_unix(3_000_000_000, 0);
    state
}
