//! The mode 6 responder on any bytes: it lives, answers only requests, in datagrams that are no longer than
//! allowed, and what it says can be read back.

#![no_main]

use std::net::{Ipv4Addr, SocketAddr};

use libfuzzer_sys::fuzz_target;
use ntpring::control::{
    Answer, Assembly, DATA_MAX, FRAGMENTS_MAX, Identity, Monitor, MonitoredClient, Opcode, Outcome, Request,
    Responder, Statistics, View, parse,
};
use ntpring::snapshot::{Discipline, SystemVariables};
use ntpring::wire::{ControlHeader, NtpTimestamp, Precision};

const NOW: NtpTimestamp = NtpTimestamp::from_unix(1_800_000_000, 0);
const CLIENT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 5000);
const HEADER: usize = 12;

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
    };
    let mut responder = Responder::new([1; 16]);
    let mut ask = |payload: &[u8]| {
        let mut replies: Vec<Vec<u8>> = Vec::new();
        let request = Request { client: CLIENT, payload, may_list_clients: true };
        let outcome = responder.respond(request, &view, |reply| replies.push(reply.to_vec()));
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
    for payload in [bytes, &proven] {
        let (outcome, replies) = ask(payload);
        assert!(replies.len() <= FRAGMENTS_MAX);
        assert!(replies.iter().all(|reply| reply.len() <= HEADER + DATA_MAX && reply.len() % 4 == 0));
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
