//! Requests signed with a symmetric key (RFC 5905 §7.3, RFC 8573). What the keys make is held against
//! captured packets in `vectors`.

use ntpring::auth::{self, Key, KeyTable};
use ntpring::server::{AccessFlags, Reason, ServingState};
use ntpring::wire::NtpTimestamp;

use crate::packets::{HEADER, Reply, extension, followed_by, plain, request};
use crate::rate_limit::strict;
use crate::tier::{Tier, limited, restricted, synchronised};

/// One key of each kind; 50 and above are not trusted.
const KEYS: &str = "\
1 MD5 one\n2 SHA1 two\n3 AES128CMAC 000102030405060708090a0b0c0d0e0f\n4 SHA256 four\n5 SHA512 five
6 AES-192 000102030405060708090a0b0c0d0e0f1011121314151617
7 AES-256 000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f
8 MD5 eight 127.0.0.66,2001:db8::/32
50 MD5 fifty\n";

fn all_keys() -> KeyTable {
    auth::read(KEYS.as_bytes(), |_| true, &mut |fault| panic!("{fault:?}"))
}

fn key(id: u32) -> Key {
    all_keys().get(id).unwrap().clone()
}

/// The trusted keys, and what else `state` says.
fn with_keys(state: impl FnOnce(NtpTimestamp) -> ServingState) -> impl FnOnce(NtpTimestamp) -> ServingState {
    let keys = auth::read(KEYS.as_bytes(), |id| id < 50, &mut |_| ());
    |now| ServingState { keys: keys.into(), ..state(now) }
}

fn signed(mut packet: Vec<u8>, key: &Key) -> Vec<u8> {
    let length = packet.len();
    packet.resize(length + auth::MAC_MAX, 0);
    let length = key.sign(&mut packet, length).unwrap();
    packet.truncate(length);
    packet
}

pub(crate) fn e5_a_known_key_signs_the_reply<T: Tier>() {
    let Some(mut tier) = T::start(with_keys(synchronised)) else { return };
    for (id, mac) in [(1, 20), (2, 24), (3, 20), (4, 24), (5, 24), (6, 20), (7, 20)] {
        for version in 1..=4 {
            let request = signed(request(version, 3, 0xABCD), &key(id));
            assert_eq!(request.len(), HEADER + mac);
            let reply = tier.exchange(&request).pop().unwrap_or_else(|| panic!("key {id}: silence"));
            assert_eq!(reply.len(), request.len());
            assert_eq!(reply[HEADER..HEADER + 4], id.to_be_bytes());
            assert!(key(id).verifies(&reply), "key {id}, version {version}");
            let fields = Reply::parse(&reply[..HEADER]);
            assert_eq!((fields.version, fields.stratum, fields.origin), (version, 4, 0xABCD));
        }
    }
    assert_eq!(tier.totals(28).tally.answered, [7; 4]);
}

pub(crate) fn e5_extension_fields_are_signed_too_and_not_echoed<T: Tier>() {
    let Some(mut tier) = T::start(with_keys(synchronised)) else { return };
    for fields in [extension(0xF323, 16), [extension(0x2000, 16), extension(0xF323, 700)].concat()] {
        let request = signed(followed_by(4, &fields), &key(2));
        let reply = tier.exchange(&request).pop().unwrap();
        assert_eq!(reply.len(), HEADER + 24);
        assert!(key(2).verifies(&reply));
        // The code is of all that stands before it.
        let mut other = request;
        other[HEADER + 10] ^= 1;
        tier.silence(&other);
    }
}

pub(crate) fn e5_a_kiss_is_signed<T: Tier>() {
    let state = with_keys(limited(AccessFlags::KOD, strict()));
    let Some(mut tier) = T::start(state) else { return };
    for stratum in [4, 0] {
        let reply = tier.exchange(&signed(plain(1), &key(3))).pop().unwrap();
        assert!(key(3).verifies(&reply));
        assert_eq!(Reply::parse(&reply[..HEADER]).stratum, stratum);
    }
    // What is not authentic is not counted against its source, and gets no kiss.
    let mut forged = signed(plain(1), &key(3));
    forged[HEADER + 4] ^= 1;
    tier.silence(&forged);
    assert_eq!(tier.totals(3).tally.dropped[Reason::BadMac as usize], 1);
}

pub(crate) fn e6_a_wrong_mac_gets_silence<T: Tier>() {
    let Some(mut tier) = T::start(with_keys(synchronised)) else { return };
    let mut sent = 0;
    for id in 1..=7 {
        let right = signed(plain(9), &key(id));
        // An octet of the header, and each of the code; not the version, nor the key's id.
        for at in [8, 47].into_iter().chain(HEADER + 4..right.len()) {
            let mut wrong = right.clone();
            wrong[at] ^= 0x40;
            tier.silence(&wrong);
            sent += 1;
        }
        // The right code by the wrong key.
        let mut wrong = right.clone();
        wrong[HEADER + 3] = if id == 1 { 3 } else { 1 };
        tier.silence(&wrong);
        sent += 1;
    }
    let totals = tier.totals(sent);
    assert_eq!(totals.tally.dropped[Reason::BadMac as usize], sent, "{totals:?}");
}

pub(crate) fn e6_a_mac_of_another_length_is_wrong<T: Tier>() {
    let Some(mut tier) = T::start(with_keys(synchronised)) else { return };
    let cut = signed(plain(9), &key(2))[..HEADER + 20].to_vec();
    let longer = [signed(plain(9), &key(1)), vec![0; 4]].concat();
    for wrong in [&cut, &longer] {
        tier.silence(wrong);
    }
    assert_eq!(tier.totals(2).tally.dropped[Reason::BadMac as usize], 2);
}

pub(crate) fn e7_an_unknown_key_gets_silence<T: Tier>() {
    let Some(mut tier) = T::start(with_keys(synchronised)) else { return };
    let right = signed(plain(9), &key(1));
    for id in [0_u32, 9, 49, 65_535, 65_537, u32::MAX] {
        let mut unknown = right.clone();
        unknown[HEADER..HEADER + 4].copy_from_slice(&id.to_be_bytes());
        tier.silence(&unknown);
    }
    assert_eq!(tier.totals(6).tally.dropped[Reason::UnknownKey as usize], 6);
}

pub(crate) fn e8_notrust_trusts_a_signed_request<T: Tier>() {
    let Some(mut tier) = T::start(with_keys(restricted(AccessFlags::NOTRUST))) else { return };
    tier.silence(&plain(1));
    assert_eq!(tier.exchange(&signed(plain(1), &key(1))).len(), 1);
    let totals = tier.totals(2);
    assert_eq!((totals.tally.dropped[Reason::NoTrust as usize], totals.answered()), (1, 1));
}

pub(crate) fn e9_a_key_that_is_not_trusted_is_unknown<T: Tier>() {
    let Some(mut tier) = T::start(with_keys(synchronised)) else { return };
    tier.silence(&signed(plain(1), &key(50)));
    assert_eq!(tier.totals(1).tally.dropped[Reason::UnknownKey as usize], 1);
}

pub(crate) fn a_key_for_some_hosts_is_unknown_from_others<T: Tier>() {
    let Some(mut tier) = T::start(with_keys(synchronised)) else { return };
    let (here, listed) = ([127, 0, 0, 1].into(), [127, 0, 0, 66].into());
    assert_eq!(tier.ask(listed, here, &signed(plain(1), &key(8))).len(), 1);
    tier.silence(&signed(plain(1), &key(8)));
    assert_eq!(tier.totals(2).tally.dropped[Reason::UnknownKey as usize], 1);
}
