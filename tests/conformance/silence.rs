//! What gets no time, and that nothing breaks the server.

use ntpring::server::{AccessEntry, AccessFlags, AccessList, IpPrefix, Reason, ServingState, Totals};

use crate::packets::{extension, followed_by, plain, request};
use crate::tier::{HERE, Tier, restricted, synchronised};

/// Sends each request, expects silence, and expects all to be counted under this reason.
fn dropped_for<T: Tier>(tier: &mut T, reason: Reason, requests: impl IntoIterator<Item = Vec<u8>>) {
    let mut sent = 0;
    for request in requests {
        tier.silence(&request);
        sent += 1;
    }
    let totals = tier.totals(sent);
    assert_eq!(totals.tally.dropped[reason as usize], sent, "{reason:?}: {totals:?}");
}

pub(crate) fn s28_no_reply_is_longer_than_its_request<T: Tier>() {
    let Some(mut tier) = T::start(synchronised) else { return };
    let mut random = fastrand::Rng::with_seed(28);
    let mut answered = 0;
    for round in 0..3000 {
        let mut request = vec![0; random.usize(0..=1500)];
        random.fill(&mut request);
        // Half of them look like requests, a third of those are aligned, and some have extension fields.
        if round % 2 == 0 {
            request.truncate(request.len() / 4 * 4);
            request.splice(..request.len().min(1), [0x23]);
        }
        if round % 6 == 0 {
            request = followed_by(4, &extension(random.u16(..), random.u16(7..200) * 4));
        }
        for reply in tier.exchange(&request) {
            assert!(reply.len() <= request.len(), "{} octets for {request:02x?}", reply.len());
            answered += 1;
        }
    }
    assert!(answered >= 400, "only {answered} of 3000 were answered: the property was hardly tried");
}

pub(crate) fn x1_short_requests<T: Tier>() {
    let Some(mut tier) = T::start(synchronised) else { return };
    dropped_for(&mut tier, Reason::Short, (0..48).map(|length| plain(1)[..length].to_vec()));
}

pub(crate) fn x2_misaligned_requests<T: Tier>() {
    let Some(mut tier) = T::start(synchronised) else { return };
    let lengths = (49..200).filter(|length| length % 4 != 0);
    dropped_for(&mut tier, Reason::Misaligned, lengths.map(|length| followed_by(4, &vec![0; length - 48])));
}

pub(crate) fn x3_server_and_broadcast_modes<T: Tier>() {
    let Some(mut tier) = T::start(synchronised) else { return };
    // A reply sent back to its server must end there, or two servers could talk for ever.
    let reply = tier.exchange(&plain(1)).remove(0);
    let mut sent = 1;
    for version in 1..=4 {
        for mode in [2, 4, 5] {
            tier.silence(&request(version, mode, 1));
            sent += 1;
        }
    }
    tier.silence(&reply);
    let totals = tier.totals(sent + 1);
    assert_eq!(totals.tally.dropped[Reason::Mode as usize], sent, "{totals:?}");
}

pub(crate) fn x4_symmetric_modes<T: Tier>() {
    let Some(mut tier) = T::start(synchronised) else { return };
    dropped_for(&mut tier, Reason::Mode, (1..=4).map(|version| request(version, 1, 1)));
}

pub(crate) fn x5_private_mode<T: Tier>() {
    let Some(mut tier) = T::start(restricted(AccessFlags::NONE)) else { return };
    let monlist = [0x17, 0x00, 0x03, 0x2A, 0, 0, 0, 0].to_vec();
    let versions = (1..=4).map(|version| request(version, 7, 1));
    dropped_for(&mut tier, Reason::Private, versions.chain([monlist]));
}

pub(crate) fn x6_control_messages<T: Tier>() {
    let read_status = [0x16, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0].to_vec();

    let Some(mut tier) = T::start(synchronised) else { return };
    dropped_for(&mut tier, Reason::NoQuery, [read_status.clone()]);
    assert!(tier.forwarded().is_empty());

    let Some(mut tier) = T::start(restricted(AccessFlags::NONE)) else { return };
    tier.silence(&read_status);
    assert_eq!(tier.forwarded(), std::slice::from_ref(&read_status), "the daemon answers, not the worker");
    // Responses, errors, fragments and fragments' tails are no requests; nor is less than a header.
    let no_request = |at: usize, bits: u8| {
        let mut message = read_status.clone();
        message[at] |= bits;
        message
    };
    let malformed = [no_request(1, 0x80), no_request(1, 0x40), no_request(1, 0x20), no_request(9, 4)];
    let short = (1..12).map(|length| read_status[..length].to_vec());
    for message in malformed.into_iter().chain(short) {
        tier.silence(&message);
    }
    let totals = tier.totals(16);
    assert_eq!((totals.tally.forwarded, totals.tally.dropped[Reason::MalformedControl as usize]), (1, 15));
    assert!(tier.forwarded().is_empty());
}

pub(crate) fn x7_garbage<T: Tier>() {
    let Some(mut tier) = T::start(restricted(AccessFlags::NONE)) else { return };
    let mut random = fastrand::Rng::with_seed(7);
    for first in 0..=255 {
        for length in [47, 48, 49, 52, 60, 68, 72, 1500] {
            let mut request = vec![0; length];
            random.fill(&mut request);
            request[0] = first;
            tier.exchange(&request);
        }
    }
    // The longest datagram that UDP over IPv4 can carry, in 45 fragments on a wire.
    tier.silence(&vec![0x23; 65_507]);
    assert_eq!(tier.reply(&plain(2)).origin, 2, "still serving");
    let totals = tier.totals(256 * 8 + 2);
    assert_eq!(totals.path.truncated, 256 + 1);
}

pub(crate) fn x9_ignore_and_noserve<T: Tier>() {
    let control = || request(2, 6, 0)[..12].to_vec();

    let Some(mut tier) = T::start(restricted(AccessFlags::IGNORE)) else { return };
    let every_mode = (0..8).map(|mode| request(4, mode, 1));
    dropped_for(&mut tier, Reason::Ignored, every_mode.chain([control(), Vec::new()]));
    assert!(tier.forwarded().is_empty());

    let Some(mut tier) = T::start(restricted(AccessFlags::NOSERVE)) else { return };
    dropped_for(&mut tier, Reason::NoServe, (1..=4).map(|version| request(version, 3, 1)));
    tier.silence(&control());
    assert_eq!(tier.forwarded().len(), 1, "control messages are another matter");
}

pub(crate) fn notrust_and_version_restrictions<T: Tier>() {
    let Some(mut tier) = T::start(restricted(AccessFlags::VERSION)) else { return };
    dropped_for(&mut tier, Reason::OldVersion, (1..4).map(|version| request(version, 3, 1)));
    assert_eq!(tier.reply(&plain(1)).version, 4);
    // ntpq speaks version 2, and ntpd exempts it for that.
    tier.silence(&request(2, 6, 0)[..12]);
    assert_eq!(tier.forwarded().len(), 1);

    let Some(mut tier) = T::start(restricted(AccessFlags::NOTRUST)) else { return };
    dropped_for(&mut tier, Reason::NoTrust, [plain(1)]);
}

/// RFC 5905 figure 20, as far as it concerns a server of strangers, and RFC 1059 for version 1.
pub(crate) fn every_mode_of_every_version<T: Tier>() {
    let Some(mut tier) = T::start(restricted(AccessFlags::NONE)) else { return };
    for version in 0..8 {
        for mode in 0..8 {
            let request = request(version, mode, 1);
            let replies = tier.exchange(&request);
            let forwarded = tier.forwarded().len();
            let expected = match (version, mode) {
                (1..=4, 3) | (1, 0) => (1, 0),
                (1..=4, 6) => (0, 1),
                _ => (0, 0),
            };
            assert_eq!((replies.len(), forwarded), expected, "version {version}, mode {mode}");
            for reply in replies {
                assert_eq!(reply[0], (version << 3) | 4);
            }
        }
    }
}

/// The accounting is closed: every datagram is in exactly one place.
fn assert_closed(totals: &Totals) {
    let dropped: u64 = totals.dropped().map(|(_, count)| count).sum();
    assert_eq!(totals.received(), totals.answered() + totals.tally.forwarded + dropped, "{totals:?}");
}

pub(crate) fn o7_every_request_is_counted_once<T: Tier>() {
    let elsewhere = [127, 0, 0, 66].into();
    let state = |now| {
        let entry = |address, flags| AccessEntry { prefix: IpPrefix::host(address), flags, ntpport: false };
        let entries = [entry(HERE, AccessFlags::NONE), entry(elsewhere, AccessFlags::IGNORE)];
        ServingState { access: AccessList::new(&entries).unwrap().into(), ..synchronised(now) }
    };
    let Some(mut tier) = T::start(state) else { return };
    let mut sent = 0;
    for version in 0..8 {
        for mode in 0..8 {
            for length in [0, 4, 11, 12, 47, 48, 50, 52, 68, 72, 80, 1024, 1028] {
                let mut bytes = request(version, mode, 1);
                bytes.resize(length, 0);
                for from in [HERE, elsewhere] {
                    tier.ask(from, HERE, &bytes);
                    sent += 1;
                }
                tier.forwarded();
            }
        }
    }
    let totals = tier.totals(sent);
    assert_eq!(totals.received(), sent);
    assert_closed(&totals);
    assert_eq!(totals.tally.answered, [2, 1, 1, 1], "48 octets of modes 3, and of mode 0 in version 1");
    assert!(totals.tally.forwarded > 0 && totals.path.truncated > 0);
    assert_eq!((totals.path.forward_full, totals.path.send_failed, totals.path.rxq_ovfl), (0, 0, 0));
}
