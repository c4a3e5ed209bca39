//! Frames with one thing about them that is unusual, all else in order: each goes to the sockets as it came.

use std::net::SocketAddr;

use crate::frames::{Checksum, Frame, SERVER_MAC, sum};
use crate::program::{Tested, Verdict, link, serving};
use crate::rules::{CLIENTS, request_from};

const ETHERNET: usize = 14;
const IPV4: usize = 20;
const IPV6: usize = 40;

fn synchronised() -> Option<Tested> {
    let mut tested = Tested::new()?;
    tested.publish(&serving(&[]));
    Some(tested)
}

fn is_answered(tested: &Tested, frame: &[u8]) -> bool {
    match tested.run(frame) {
        Verdict::Answered(_) => true,
        Verdict::Passed(same) => {
            assert_eq!(same, frame, "what is passed is not changed");
            false
        }
    }
}

/// The request over IPv4 with other octets from `at` on in the IP header, whose checksum is right.
fn with_ipv4(at: usize, octets: &[u8]) -> Vec<u8> {
    let mut frame = request_from(CLIENTS[0]).bytes();
    let at = ETHERNET + at;
    frame[at..at + octets.len()].copy_from_slice(octets);
    mend_ipv4(&mut frame, IPV4);
    frame
}

fn mend_ipv4(frame: &mut [u8], length: usize) {
    let header = &mut frame[ETHERNET..ETHERNET + length];
    header[10..12].fill(0);
    let checksum = !sum(header);
    header[10..12].copy_from_slice(&checksum.to_be_bytes());
}

/// The request over IPv6 with this header before UDP's.
fn with_ipv6_extension(kind: u8, header: &[u8]) -> Vec<u8> {
    let mut frame = request_from(CLIENTS[1]).bytes();
    let length = u16::from_be_bytes([frame[ETHERNET + 4], frame[ETHERNET + 5]]) + header.len() as u16;
    frame[ETHERNET + 4..ETHERNET + 6].copy_from_slice(&length.to_be_bytes());
    frame[ETHERNET + 6] = kind;
    let at = ETHERNET + IPV6;
    frame.splice(at..at, header.iter().copied());
    frame
}

#[test]
fn ipv4_options_and_fragments_are_passed() {
    let Some(tested) = synchronised() else { return };
    for (what, at, octets, answered) in [
        ("as it comes", 1, &[0][..], true),
        ("a class of service", 1, &[0xB8], true),
        ("any identification, and fragments allowed", 4, &[0xFF, 0xFF, 0, 0], true),
        ("a last hop", 8, &[1], true),
        ("a first fragment", 6, &[0x20, 0], false),
        ("a last fragment", 6, &[0, 1], false),
        ("a fragment far away", 6, &[0x1F, 0xFF], false),
        ("the reserved flag (RFC 791)", 6, &[0x80, 0], false),
        ("TCP", 9, &[6], false),
        ("UDP-Lite", 9, &[136], false),
        ("too short for its length", 2, &[0, 77], false),
        ("longer than its length", 2, &[0, 75], false),
        ("version 6", 0, &[0x65], false),
        ("half a header", 0, &[0x44], false),
    ] {
        assert_eq!(is_answered(&tested, &with_ipv4(at, octets)), answered, "{what}");
    }
    for options in [&[1, 1, 1, 0][..], &[0x94, 4, 0, 0], &[0x83, 7, 4, 192, 0, 2, 9, 0], &[1; 40]] {
        let mut frame = request_from(CLIENTS[0]).bytes();
        frame.splice(ETHERNET + IPV4..ETHERNET + IPV4, options.iter().copied());
        let length = IPV4 + options.len();
        frame[ETHERNET] = 0x40 | (length / 4) as u8;
        frame[ETHERNET + 2..ETHERNET + 4].copy_from_slice(&(length as u16 + 56).to_be_bytes());
        mend_ipv4(&mut frame, length);
        assert!(!is_answered(&tested, &frame), "options {options:?}");
    }
}

#[test]
fn ipv6_extension_headers_are_passed() {
    const UDP: u8 = 17;
    let Some(tested) = synchronised() else { return };
    let nothing = [UDP, 0, 1, 4, 0, 0, 0, 0];
    for (what, kind, header) in [
        ("hop by hop", 0, &nothing[..]),
        ("destination options", 60, &nothing),
        ("routing", 43, &[UDP, 0, 4, 0, 0, 0, 0, 0]),
        ("an atomic fragment (RFC 6946)", 44, &[UDP, 0, 0, 0, 0, 0, 0, 1]),
        ("a first fragment", 44, &[UDP, 0, 0, 1, 0, 0, 0, 1]),
        ("authentication", 51, &[UDP, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1]),
        ("hop by hop, and destination options", 0, &[&[60, 0, 1, 4, 0, 0, 0, 0], &nothing[..]].concat()),
        ("no next header", 59, &[]),
        ("TCP", 6, &[]),
    ] {
        assert!(!is_answered(&tested, &with_ipv6_extension(kind, header)), "{what}");
    }
    assert!(is_answered(&tested, &with_ipv6_extension(UDP, &[])), "the frame is right without them");
}

#[test]
fn frames_to_others_and_from_groups_are_passed() {
    let Some(tested) = synchronised() else { return };
    let [broadcast, multicast, neighbour] = [[0xFF; 6], [1, 0, 0x5E, 0, 1, 1], [2, 0, 0, 0, 0, 9]];
    let with = |at: usize, mac: [u8; 6]| {
        CLIENTS.map(|client| {
            let mut frame = request_from(client).bytes();
            frame[at..at + 6].copy_from_slice(&mac);
            is_answered(&tested, &frame)
        })
    };
    assert_eq!((with(0, SERVER_MAC), with(6, neighbour)), ([true; 2], [true; 2]));
    for (at, mac) in [(0, broadcast), (0, multicast), (0, neighbour), (6, broadcast), (6, multicast)] {
        assert_eq!(with(at, mac), [false; 2], "{mac:02x?} at {at}");
    }
    for at in 0..6 {
        for bit in 0..8 {
            let mut mac = SERVER_MAC;
            mac[at] ^= 1 << bit;
            assert_eq!(with(0, mac), [false; 2], "{mac:02x?}");
        }
    }
}

#[test]
fn destinations_that_are_groups_are_passed() {
    let Some(tested) = synchronised() else { return };
    for (client, destination) in [
        (CLIENTS[0], "192.0.2.255:123"),
        (CLIENTS[0], "255.255.255.255:123"),
        (CLIENTS[0], "224.0.1.1:123"),
        (CLIENTS[0], "0.0.0.0:123"),
        (CLIENTS[0], "127.0.0.1:123"),
        (CLIENTS[1], "[ff02::101]:123"),
        (CLIENTS[1], "[ff02::1]:123"),
        (CLIENTS[1], "[::]:123"),
        (CLIENTS[1], "[::1]:123"),
        (CLIENTS[1], "[::ffff:192.0.2.1]:123"),
    ] {
        let destination: SocketAddr = destination.parse().unwrap();
        let frame = Frame { destination, ..request_from(client) };
        assert!(!is_answered(&tested, &frame.bytes()), "{destination}");
    }
}

#[test]
fn of_all_checksums_the_right_ones_are_answered() {
    let Some(mut tested) = synchronised() else { return };
    for client in CLIENTS {
        let mut right = Vec::new();
        let udp = |checksum| Frame { checksum, ..request_from(client) }.bytes();
        for checksum in 0..=u16::MAX {
            if checksum.is_multiple_of(10_000) {
                tested.publish(&serving(&[]));
            }
            if is_answered(&tested, &udp(Checksum::Is(checksum))) {
                right.push(udp(Checksum::Is(checksum)));
            }
        }
        let mut expected = vec![udp(Checksum::Right), udp(Checksum::Partial)];
        // None at all, which IPv6 forbids (RFC 8200 section 8.1).
        expected.extend((client == CLIENTS[0]).then(|| udp(Checksum::Is(0))));
        expected.sort();
        right.sort();
        assert_eq!(right, expected, "{client}");
    }
    let mut frame = request_from(CLIENTS[0]).bytes();
    let at = ETHERNET + 10;
    let right = [frame[at], frame[at + 1]];
    for checksum in 0..=u16::MAX {
        if checksum.is_multiple_of(10_000) {
            tested.publish(&serving(&[]));
        }
        frame[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
        assert_eq!(is_answered(&tested, &frame), checksum.to_be_bytes() == right, "IP: {checksum:04x}");
    }
}

#[test]
fn a_payload_is_48_octets_of_mode_3_and_version_1_to_4() {
    let Some(tested) = synchronised() else { return };
    for client in CLIENTS {
        for first in 0..=u8::MAX {
            let mut request = request_from(client);
            request.payload[0] = first;
            let plain = first & 7 == 3 && (1..=4).contains(&(first >> 3 & 7));
            assert_eq!(is_answered(&tested, &request.bytes()), plain, "{client}: {first:02x}");
        }
        for length in 0..=200 {
            let mut request = request_from(client);
            request.payload.resize(length, 0);
            assert_eq!(is_answered(&tested, &request.bytes()), length == 48, "{client}: {length}");
        }
    }
}

#[test]
fn of_a_served_vlan_half_frames_are_passed() {
    let Some(mut tested) = synchronised() else { return };
    tested.serve(&ntpring::xdp::Link { vlan: 7, ..link() });
    for client in CLIENTS {
        let whole = Frame { vlan: Some(7), ..request_from(client) }.bytes();
        for length in ETHERNET..=whole.len() {
            assert_eq!(is_answered(&tested, &whole[..length]), length == whole.len(), "{client}: {length}");
        }
        for length in whole.len() + 1..whole.len() + 20 {
            let mut padded = whole.clone();
            padded.resize(length, 0);
            assert!(!is_answered(&tested, &padded), "{client}: {length}");
        }
    }
}
