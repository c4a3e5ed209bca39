//! What ntpq makes of any datagrams that a server, or somebody in its place, may send.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use ntpring::auth::{self, KeyTable};
use ntpring::control::{
    Answer, Assembly, ClockStatus, DATA_MAX, FRAGMENTS_MAX, Opcode, PeerStatus, SystemStatus, is_error,
    is_signed, parse,
};

static KEY: LazyLock<KeyTable> =
    LazyLock::new(|| auth::read(b"1 SHA1 b\n", |_| true, &mut |fault| panic!("{fault:?}")));

fuzz_target!(|bytes: &[u8]| {
    let mut assembly = Assembly::new(Opcode::ReadVariables, 1, 0);
    let mut rest = bytes;
    // Datagrams, each behind its length.
    while let Some((&length, after)) = rest.split_first() {
        let datagram = &after[..after.len().min(usize::from(length))];
        rest = &after[datagram.len()..];
        // Most of them as if they were ours: a response to the first READVAR.
        let mut ours = datagram.to_vec();
        if let Some(header) = ours.first_chunk_mut::<8>() {
            header[0] = 0x16;
            header[1] = 0x82 | (header[1] & 0x60);
            header[2..4].copy_from_slice(&[0, 1]);
            header[6..8].copy_from_slice(&[0, 0]);
        }
        assembly.take(datagram);
        is_error(datagram);
        is_signed(&ours, KEY.get(1).expect("it is there"));
        if let Answer::Whole(response) = assembly.take(&ours) {
            assert!(response.data.len() <= FRAGMENTS_MAX * DATA_MAX.max(usize::from(u8::MAX)));
            SystemStatus(response.status).to_string();
            PeerStatus(response.status).to_string();
            ClockStatus(response.status).to_string();
            for variable in parse(&response.data) {
                let is_shown = |text: &str| text.bytes().all(|octet| (b' '..=b'~').contains(&octet));
                assert!(!variable.name.is_empty() && is_shown(&variable.name) && is_shown(&variable.value));
            }
        }
    }
});
