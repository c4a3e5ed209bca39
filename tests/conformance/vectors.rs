//! Requests of real clients, as captured: see tests/data/vectors/README.md.

use ntpring::auth::{self, KeyTable};
use ntpring::server::{AccessFlags, Reason, ServingState};

use crate::packets::Reply;
use crate::tier::{Tier, restricted, synchronised};

/// One captured datagram.
pub(crate) struct Captured {
    pub(crate) name: String,
    pub(crate) to_server: bool,
    pub(crate) bytes: Vec<u8>,
}

pub(crate) fn captures(file: &str) -> Vec<Captured> {
    let path = format!("{}/tests/data/vectors/{file}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let captured = |line: &str| {
        let [capture, frame, _source, destination, payload] =
            line.split('\t').collect::<Vec<_>>().try_into().expect("five columns");
        let octet = |at: usize| u8::from_str_radix(&payload[at..at + 2], 16).expect("hexadecimal");
        Captured {
            name: format!("{capture} {frame}"),
            to_server: destination.ends_with(":123"),
            bytes: (0..payload.len()).step_by(2).map(octet).collect(),
        }
    };
    text.lines().filter(|line| !line.starts_with('#')).map(captured).collect()
}

pub(crate) fn real_clients_are_answered<T: Tier>() {
    let Some(mut tier) = T::start(synchronised) else { return };
    let clients = captures("clients.tsv");
    let mut answered = 0;
    for pair in clients.chunk_by(|request, reply| request.to_server && !reply.to_server) {
        let [request, peers_reply] = pair else { panic!("{} has no reply", pair[0].name) };
        let (ours, theirs) = (tier.reply(&request.bytes), Reply::parse(&peers_reply.bytes));
        // What the protocol leaves no choice in is what the captured server said.
        assert_eq!(
            (ours.version, ours.mode, ours.origin),
            (theirs.version, theirs.mode, theirs.origin),
            "{}",
            request.name
        );
        assert_eq!(ours.leap, 0);
        answered += 1;
    }
    assert_eq!(answered, 32);
}

pub(crate) fn authenticated_requests_get_silence<T: Tier>() {
    let Some(mut tier) = T::start(synchronised) else { return };
    let requests = captures("authenticated.tsv");
    for request in &requests {
        tier.silence(&request.bytes);
    }
    let totals = tier.totals(requests.len() as u64);
    assert_eq!(totals.tally.dropped[Reason::UnknownKey as usize], requests.len() as u64, "{totals:?}");
}

/// All captured MACs are what our keys make, in the spelling of ntpd's key file and in chrony's.
#[test]
fn captured_macs_verify() {
    for file in ["ntp.keys", "chrony.keys"] {
        let keys = captured_keys(file);
        let mut verified = 0;
        for packet in captures("authenticated.tsv").iter().chain(&captures("authenticated-replies.tsv")) {
            let id = u32::from_be_bytes(packet.bytes[48..52].try_into().unwrap());
            for other in 1..=3 {
                let verifies = keys.get(other).unwrap().verifies(&packet.bytes);
                assert_eq!(verifies, other == id, "{} with key {other} of {file}", packet.name);
            }
            verified += 1;
        }
        assert_eq!(verified, 46);
    }
}

pub(crate) fn captured_keys(file: &str) -> KeyTable {
    let path = format!("{}/tests/data/vectors/{file}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    auth::read(&text, |_| true, &mut |fault| panic!("{file}: {fault:?}"))
}

pub(crate) fn authenticated_requests_of_real_clients_get_signed_replies<T: Tier>() {
    let state = |now| ServingState { keys: captured_keys("ntp.keys").into(), ..synchronised(now) };
    let Some(mut tier) = T::start(state) else { return };
    let keys = captured_keys("chrony.keys");
    let pairs = captures("authenticated.tsv").into_iter().zip(captures("authenticated-replies.tsv"));
    for (request, theirs) in pairs {
        let ours = tier.exchange(&request.bytes).pop().unwrap_or_else(|| panic!("{}: silence", request.name));
        assert_eq!(ours.len(), theirs.bytes.len(), "{}", request.name);
        assert_eq!(ours[48..52], theirs.bytes[48..52], "the key's id, {}", request.name);
        let id = u32::from_be_bytes(ours[48..52].try_into().unwrap());
        assert!(keys.get(id).unwrap().verifies(&ours), "{}", request.name);
        assert_eq!(ours[24..32], theirs.bytes[24..32], "the origin, {}", request.name);
    }
}

/// Where daemons differ, chrony's judgement is followed, but for two kinds of request.
pub(crate) fn shapes_are_judged_as_chrony_judges_them<T: Tier>() {
    let Some(mut tier) = T::start(synchronised) else { return };
    let frames = captures("chrony.tsv");
    let (mut answered, mut silent, mut otherwise) = (0, 0, Vec::new());
    for (at, request) in frames.iter().enumerate().filter(|(_, frame)| frame.to_server) {
        let by_chrony = frames.get(at + 1).is_some_and(|next| !next.to_server);
        let by_us = match tier.exchange(&request.bytes).as_slice() {
            [] => false,
            [reply] => Reply::parse(reply).version == (request.bytes[0] >> 3) & 7,
            more => panic!("{} replies to {}", more.len(), request.name),
        };
        match (by_chrony, by_us) {
            (true, true) => answered += 1,
            (false, false) => silent += 1,
            _ => otherwise.push((request.bytes[0] & 7, request.bytes.get(48..50).map(<[u8]>::to_vec))),
        }
    }
    // Symmetric active requests, which chrony answers in symmetric passive mode; and a unique identifier
    // (0x0104) without the rest of NTS, which chrony, having NTS, refuses.
    otherwise.sort();
    otherwise.dedup();
    assert_eq!(otherwise, [(1, None), (3, Some(vec![1, 4]))]);
    assert_eq!((answered, silent), (11, 20));
}

pub(crate) fn control_messages_of_real_clients_are_forwarded<T: Tier>() {
    let Some(mut tier) = T::start(restricted(AccessFlags::NONE)) else { return };
    for request in captures("control.tsv") {
        tier.silence(&request.bytes);
        // The worker that answered after it has forwarded before it.
        assert_eq!(tier.forwarded(), [request.bytes], "{}", request.name);
    }
}
