//! What may follow the header: RFC 7822's extension fields, and MACs.

use ntpring::server::{AccessFlags, Reason};

use crate::packets::{HEADER, extension, followed_by, plain};
use crate::tier::{Tier, restricted, synchronised};

/// A MAC by key 7 with a digest of this length.
fn mac(digest: usize) -> Vec<u8> {
    [7_u32.to_be_bytes().to_vec(), vec![0xDD; digest]].concat()
}

/// A server expects silence on each of these requests, counted under this reason.
fn refused<T: Tier>(reason: Reason, requests: &[Vec<u8>]) {
    let Some(mut tier) = T::start(synchronised) else { return };
    for request in requests {
        tier.silence(request);
    }
    let totals = tier.totals(requests.len() as u64);
    assert_eq!(totals.tally.dropped[reason as usize], requests.len() as u64, "{reason:?}: {totals:?}");
}

pub(crate) fn e1_extension_fields_are_ignored<T: Tier>() {
    let Some(mut tier) = T::start(synchronised) else { return };
    let trailers = [
        extension(0xF323, 28),
        extension(0xF323, 32),
        [extension(0x2000, 16), extension(0xF323, 28)].concat(),
        // NTS fields: a server without NTS takes them for what it does not know.
        [extension(0x0104, 36), extension(0x0204, 104), extension(0x0404, 40)].concat(),
        extension(0xFFFF, 1024 - HEADER as u16),
    ];
    for trailer in trailers {
        let reply = tier.reply(&followed_by(4, &trailer));
        assert_eq!((reply.version, reply.origin), (4, 0x0123_4567_89AB_CDEF), "a plain reply of 48 octets");
    }
}

pub(crate) fn e2_malformed_extension_fields<T: Tier>() {
    let with_length = |length: u16, size: u16| {
        let mut field = extension(0xF323, size);
        field[2..4].copy_from_slice(&length.to_be_bytes());
        followed_by(4, &field)
    };
    let lengths =
        [(0, 32), (4, 32), (12, 32), (15, 32), (29, 32), (36, 32), (65_532, 32), (65_535, 32), (16, 32 + 16)];
    let mut requests: Vec<_> = lengths.map(|(length, size)| with_length(length, size)).into();
    requests.push(followed_by(4, &extension(0xF323, 16)));
    requests.push(followed_by(4, &[extension(0xF323, 28), extension(0xF323, 16)].concat()));
    // Misaligned lengths that end aligned.
    requests.push(followed_by(4, &[extension(0xF323, 17), extension(0xF323, 31)].concat()));
    requests.extend([4, 8, 12].map(|length| followed_by(4, &vec![1; length])));
    refused::<T>(Reason::Extension, &requests);
}

pub(crate) fn e3_twenty_or_twenty_four_octets_are_a_mac<T: Tier>() {
    let looks_like_a_field = [extension(0xF323, 20), extension(0xF323, 24)];
    let trailers = [mac(16), mac(20)].into_iter().chain(looks_like_a_field);
    let after_a_field = [16, 20].map(|digest| [extension(0xF323, 16), mac(digest)].concat());
    let requests: Vec<_> = trailers.chain(after_a_field).map(|trailer| followed_by(4, &trailer)).collect();
    refused::<T>(Reason::UnknownKey, &requests);
    refused::<T>(
        Reason::CryptoNak,
        &[
            followed_by(4, &[0; 4]),
            followed_by(3, &[0; 4]),
            followed_by(4, &[extension(0xF323, 28), vec![0; 4]].concat()),
        ],
    );
}

pub(crate) fn e4_before_version_4_there_are_no_extension_fields<T: Tier>() {
    let macs: Vec<_> =
        (1..=3).flat_map(|version| [16, 20].map(|digest| followed_by(version, &mac(digest)))).collect();
    refused::<T>(Reason::UnknownKey, &macs);
    let fields: Vec<_> = (1..=3)
        .flat_map(|version| [28, 32, 52].map(|size| followed_by(version, &extension(0xF323, size))))
        .collect();
    refused::<T>(Reason::Extension, &fields);
}

pub(crate) fn e6_a_wrong_mac_gets_no_time<T: Tier>() {
    // No keys are configured, so no MAC is right; silence, not a crypto-NAK.
    let Some(mut tier) = T::start(synchronised) else { return };
    for length in [16, 20] {
        for octet in [0x00, 0x5A, 0xFF] {
            let mac = [vec![0, 0, 0, 1], vec![octet; length]].concat();
            tier.silence(&followed_by(4, &mac));
        }
    }
    assert_eq!(tier.totals(6).tally.dropped[Reason::UnknownKey as usize], 6);
}

pub(crate) fn e7_an_unknown_key_is_never_answered_without_a_mac<T: Tier>() {
    let Some(mut tier) = T::start(synchronised) else { return };
    for key in [0_u32, 1, 99, u32::MAX] {
        for version in [3, 4] {
            tier.silence(&followed_by(version, &[key.to_be_bytes().to_vec(), vec![0; 16]].concat()));
        }
    }
    assert_eq!(tier.totals(8).tally.dropped[Reason::UnknownKey as usize], 8);
}

pub(crate) fn e8_notrust_wants_authentication<T: Tier>() {
    let Some(mut tier) = T::start(restricted(AccessFlags::NOTRUST)) else { return };
    tier.silence(&plain(1));
    tier.silence(&followed_by(4, &extension(0xF323, 28)));
    assert_eq!(tier.totals(2).tally.dropped[Reason::NoTrust as usize], 2);
}
