//! Every kind is what it says.

use super::*;
use crate::mix::Expect;
use ntpring::wire::Malformed;

const TICKET: Ticket = Ticket { cookie: 0x0123_4567_89AB_CDEF, sequence: 0xBEEF, met: 0x11 };

fn composer(supply: Supply) -> Composer {
    Composer::new(supply, None, fastrand::Rng::with_seed(5))
}

/// A thousand requests of one kind.
fn requests(kind: Kind) -> Vec<Vec<u8>> {
    let mut composer = composer(Supply::Mix(Mix::only(kind)));
    let longest = composer.supply.longest();
    (0..1000)
        .map(|_| {
            let (made, request) = composer.compose(TICKET);
            assert_eq!(made, kind);
            assert!(request.len() <= longest, "{kind:?}: {} octets", request.len());
            request.to_vec()
        })
        .collect()
}

#[test]
fn a_simple_request_tells_nothing_but_its_cookie() {
    for (kind, first) in [(Kind::V1, 0x0B), (Kind::V2, 0x13), (Kind::V3, 0x1B), (Kind::V4, 0x23)] {
        for request in requests(kind) {
            assert_eq!((request.len(), request[0]), (HEADER_LEN, first));
            assert!(request[1..40].iter().all(|&octet| octet == 0));
            assert_eq!(request[40..], TICKET.cookie.to_be_bytes());
        }
    }
    let minimised = &requests(Kind::Minimised)[0];
    assert_eq!(minimised[..4], [0x23, 0, 6, 32]);
    assert!(minimised[4..40].iter().all(|&octet| octet == 0));
}

#[test]
fn ntpd_fills_every_field() {
    for (kind, first) in [(Kind::Ntpd, 0x23), (Kind::Mode1, 0x21)] {
        for request in requests(kind) {
            assert_eq!((request[0], request[1], request[3]), (first, 3, 0xE8));
            assert!((6..=10).contains(&request[2]));
            let packet = Packet::new_checked(&request[..]).unwrap();
            assert!(packet.receive().signed_since(packet.origin()) > 0);
            assert!(packet.origin().signed_since(packet.reference_time()) > 0);
            assert_eq!(packet.transmit().to_bits(), TICKET.cookie);
        }
    }
}

#[test]
fn an_interleaved_request_names_the_reply_before() {
    let request = &requests(Kind::Interleaved)[0];
    let packet = Packet::new_checked(&request[..]).unwrap();
    let bits = [packet.origin(), packet.receive(), packet.transmit()].map(NtpTimestamp::to_bits);
    assert_eq!(bits, [TICKET.met, !TICKET.cookie, TICKET.cookie]);
}

#[test]
fn probes_are_what_scanners_send() {
    assert_eq!(requests(Kind::Mode6)[0], [0x16, 2, 0xBE, 0xEF, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(requests(Kind::Mode7)[0], [0x17, 0, 3, 42, 0, 0, 0, 0]);
}

#[test]
fn what_is_malformed_is_so_every_time() {
    let lengths: Vec<usize> = requests(Kind::Truncated).iter().map(Vec::len).collect();
    assert!((0..HEADER_LEN).all(|length| lengths.contains(&length)));
    for request in requests(Kind::Oversized) {
        let trailer = Packet::new_checked(&request[..]).map(|packet| packet.trailer().map(drop));
        assert!(matches!(trailer, Ok(Err(Malformed::Extension)) | Err(Malformed::Misaligned)));
    }
    for request in requests(Kind::Garbage) {
        let (version, mode) = (request[0] >> 3 & 7, request[0] & 7);
        assert!([2, 4, 5].contains(&mode) || [0, 6, 7].contains(&version), "{:#x}", request[0]);
    }
}

#[test]
fn extension_fields_are_well_formed_and_unknown() {
    for request in requests(Kind::Ef) {
        let packet = Packet::new_checked(&request[..]).unwrap();
        let trailer = packet.trailer().unwrap();
        assert!(trailer.mac.is_none());
        assert!((1..=2).contains(&trailer.extensions.count()));
        assert!(trailer.extensions.into_iter().all(|field| field.kind >= 0xF000));
    }
}

#[test]
fn captured_requests_are_replayed_in_their_order_with_new_cookies() {
    let captured = |payload: &[u8]| Captured::new(payload.into());
    let client = [&[0x1B][..], &[9; 47]].concat();
    let supply = Supply::Replay(Arc::new([
        captured(&client),
        captured(&[0x16, 1, 7, 7, 0, 0, 0, 0, 0, 0, 0, 0]),
        captured(&[]),
    ]));
    assert!(supply.has(|kind| kind.expects() == Expect::Answer) && !supply.has(|kind| kind == Kind::V4));
    let mut composer = composer(supply);
    let expected = [client[..40].to_vec(), TICKET.cookie.to_be_bytes().to_vec()].concat();
    for _ in 0..2 {
        assert_eq!(composer.compose(TICKET), (Kind::V3, &expected[..]));
        let control = [0x16, 1, 0xBE, 0xEF, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(composer.compose(TICKET), (Kind::Mode6, &control[..]));
        assert_eq!(composer.compose(TICKET), (Kind::Truncated, &[][..]));
    }
}

#[test]
fn a_captured_request_is_judged_by_what_it_is() {
    for (first, length, kind) in [
        (0x23, 48, Kind::V4),
        (0xDB, 48, Kind::V3),
        (0x0B, 48, Kind::V1),
        (0x08, 48, Kind::Other),
        (0x21, 48, Kind::Other),
        (0x23, 68, Kind::Other),
        (0x23, 47, Kind::Truncated),
        (0x16, 12, Kind::Mode6),
        (0x16, 11, Kind::Truncated),
        (0x17, 8, Kind::Mode7),
    ] {
        assert_eq!(kind_of(&[&[first][..], &vec![0; length - 1]].concat()), kind, "{first:#x}, {length}");
    }
}
