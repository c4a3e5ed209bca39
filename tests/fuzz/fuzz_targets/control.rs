//! The mode 6 responder on any bytes, signed and not: it lives, answers only requests, in datagrams that are
//! no longer than allowed, signs what answers a signed request, and what it says can be read back.

#![no_main]

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use ntpring::auth::{self, KeyTable, MAC_MAX};
use ntpring::control::{
    Answer, Assembly, DATA_MAX, FRAGMENTS_MAX, Identity, Interface, Lists, Monitor, MonitoredClient, Opcode,
    Outcome, Request, Responder, Restriction, Signature, Statistics, View, is_signed, parse, signed,
};
use ntpring::snapshot::{Discipline, SystemVariables};
use ntpring::wire::{ControlHeader, NtpTimestamp, Precision};

const NOW: NtpTimestamp = NtpTimestamp::from_unix(1_800_000_000, 0);
const CLIENT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 5000);
const HEADER: usize = 12;

/// The first is the control key.
static KEYS: LazyLock<KeyTable> = LazyLock::new(|| {
    let text = b"1 MD5 a\n2 SHA1 b\n3 AES128CMAC 000102030405060708090a0b0c0d0e0f\n";
    auth::read(text, |_| true, &mut |fault| panic!("{fault:?}"))
});

/// More than a response has room for.
static LISTS: LazyLock<Lists> = LazyLock::new(|| Lists {
    interfaces: vec![
        Interface {
            name: "a name that is rather long".to_owned(),
            address: CLIENT,
            flags: 0xFFFF,
            received: u64::MAX,
            sent: u64::MAX,
            send_failed: u64::MAX,
            peers: 1000,
            uptime: u64::MAX,
        };
        200
    ],
    restrictions: vec![
        Restriction {
            address: std::net::Ipv6Addr::LOCALHOST.into(),
            length: 128,
            hits: u64::MAX,
            flags: "ntpport ignore noserve notrust version nopeer noepeer limited noquery".to_owned(),
        };
        300
    ],
});

/// The responder's secret is known here, so that some requests have nonces that are good.
const NONCE_REQUEST: [u8; HEADER] = [0x16, 12, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0];

fuzz_target!(|bytes: &[u8]| {
    let system = SystemVariables::unsynchronised(Precision::FINEST);
    let clients: Vec<MonitoredClient> = (0..600)
        .map(|number: u16| MonitoredClient {
            address: SocketAddr::new(Ipv4Addr::from_bits(u32::from(number)).into(), number),
            first: NOW,
            last: NOW.offset_by(i64::from(number)),
            count: number.into(),
            version_mode: 35,
            restrict: number,
        })
        .collect();
    let view = View {
        now: NOW,
        system: &system,
        discipline: &Discipline::default(),
        associations: &[],
        identity: &Identity::default(),
        statistics: &Statistics::default(),
        kernel: None,
        monitor: Monitor {
            enabled: true,
            clients: &clients,
            deepest: 600,
            maximum_depth: 600,
            entry_bytes: 64,
        },
        lists: &LISTS,
    };
    let mut responder = Responder::new([1; 16]);
    let mut ask = |payload: &[u8]| {
        let mut replies: Vec<Vec<u8>> = Vec::new();
        let signature = Signature::of(payload, CLIENT.ip(), &KEYS);
        let request =
            Request { client: CLIENT, payload, may_list_clients: true, signature, control_key: Some(1) };
        let outcome = responder.respond(request, &view, |reply| replies.push(reply.to_vec()));
        if let Signature::By(key) = signature {
            assert!(replies.iter().all(|reply| is_signed(reply, key)));
        }
        (outcome, replies)
    };
    let (_, nonce) = ask(&NONCE_REQUEST);
    let nonce = &nonce[0][HEADER..HEADER + "nonce=".len() + 24];
    // Whatever stands in the request, and the same behind a nonce that is good.
    let mut proven = bytes.get(..HEADER).unwrap_or_default().to_vec();
    if let Some(data) = bytes.get(HEADER..) {
        let data = [nonce, b", ", data].concat();
        proven[10..HEADER].copy_from_slice(&(data.len() as u16).to_be_bytes());
        proven.extend_from_slice(&data);
        proven.resize(proven.len().next_multiple_of(4), 0);
    }
    // Both, rightly signed, if their data is as long as they say.
    let with_code = |payload: &[u8]| {
        let count = ControlHeader::parse(payload).map_or(0, |header| usize::from(header.count));
        let whole = payload.get(..(HEADER + count).next_multiple_of(4)).unwrap_or(payload);
        let key = KEYS.get(1 + u32::from(bytes.len() % 3 == 2)).expect("it is there");
        signed(whole.to_vec(), key)
    };
    let (signed_bytes, signed_proof) = (with_code(bytes), with_code(&proven));
    for payload in [bytes, &proven, &signed_bytes, &signed_proof] {
        let (outcome, replies) = ask(payload);
        assert!(replies.len() <= FRAGMENTS_MAX);
        let longest = HEADER + DATA_MAX + MAC_MAX;
        assert!(replies.iter().all(|reply| reply.len() <= longest && reply.len() % 4 == 0));
        let Ok(asked) = ControlHeader::parse(payload) else {
            assert_eq!(outcome, Outcome::Silence);
            continue;
        };
        assert_eq!(replies.is_empty(), matches!(outcome, Outcome::Silence | Outcome::OverBudget));
        assert!(replies.is_empty() || asked.is_request());
        if let (Outcome::Answered(_), Some(opcode)) = (outcome, Opcode::from_bits(asked.opcode)) {
            let mut assembly = Assembly::new(opcode, asked.sequence, asked.association);
            let answer = replies.iter().map(|reply| assembly.take(reply)).last();
            let Some(Answer::Whole(response)) = answer else { panic!("{answer:?}") };
            parse(&response.data);
        }
    }
});
