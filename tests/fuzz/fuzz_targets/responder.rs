//! Whatever arrives, from whom and when, the responder lives, answers no more than it was sent, and counts it
//! once.
//!
//! An input is 20 octets of circumstances, then the datagram: one octet of flags, the source address's last
//! octet, the source port, the receive stamp and the clock's reading.

#![no_main]

use std::cell::RefCell;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use libfuzzer_sys::fuzz_target;
use ntpring::auth;
use ntpring::server::{
    AccessEntry, AccessFlags, AccessList, Clock, Datagram, IpPrefix, Responder, ServingState, Verdict,
};
use ntpring::snapshot::{LocalClock, Published, Publisher, SystemVariables};
use ntpring::wire::{LeapIndicator, Mode, NtpTimestamp, Packet, Precision, ReferenceId};

/// A clock that shows what the input says.
struct Forged(NtpTimestamp);

impl Clock for Forged {
    fn now(&self) -> NtpTimestamp {
        self.0
    }
}

thread_local! {
    static SERVER: RefCell<(Responder, Published<ServingState>)> = RefCell::new(server());
}

fn server() -> (Responder, Published<ServingState>) {
    let now = NtpTimestamp::from_unix(1_800_000_000, 0);
    let restrict = [
        AccessFlags::NONE,
        AccessFlags::IGNORE,
        AccessFlags::NOSERVE,
        AccessFlags::NOQUERY,
        AccessFlags::NOTRUST,
        AccessFlags::VERSION,
        AccessFlags::LIMITED,
        AccessFlags::LIMITED | AccessFlags::KOD,
    ];
    let entries: Vec<_> = (0_u8..)
        .zip(restrict)
        .flat_map(|(last, flags)| {
            let hosts = [
                Ipv4Addr::new(192, 0, 2, last).into(),
                Ipv6Addr::new(0x2001, 0xDB8, 0, 0, 0, 0, 0, last.into()).into(),
            ];
            hosts.map(|host| AccessEntry { prefix: IpPrefix::host(host), flags, ntpport: last % 2 == 1 })
        })
        .collect();
    let system = SystemVariables::local_clock(LocalClock::default(), Precision::from_log2(-24), now);
    let access = AccessList::new(&entries).unwrap_or_default().into();
    // Some seeds are requests signed with them.
    let keys = include_bytes!("../../data/vectors/ntp.keys");
    let keys = auth::read(keys, |_| true, &mut |_| ()).into();
    let state = ServingState { system, access, keys, ..ServingState::default() };
    (Responder::new(1), Publisher::new(state).subscribe())
}

fuzz_target!(|input: &[u8]| {
    let Some((circumstances, datagram)) = input.split_first_chunk::<20>() else { return };
    let [flags, last, port_high, port_low, stamps @ ..] = *circumstances;
    let stamp = |at: usize| {
        NtpTimestamp::from_bits(
            stamps[at..at + 8].iter().fold(0, |bits, octet| bits << 8 | u64::from(*octet)),
        )
    };
    let address = |last: u8| match flags & 1 {
        0 => Ipv4Addr::new(192, 0, 2, last).into(),
        _ => Ipv6Addr::new(0x2001, 0xDB8, 0, 0, 0, 0, 0, last.into()).into(),
    };
    let peer = SocketAddr::new(address(last), u16::from_be_bytes([port_high, port_low]));
    let local = SocketAddr::new(address(200), 123);
    let (received, clock) = (stamp(0), Forged(stamp(8)));
    let mut buf = datagram.to_vec();

    SERVER.with_borrow_mut(|(responder, published)| {
        responder.begin_batch(published, flags & 2 != 0);
        let before = responder.tally().received;
        match responder.respond(Datagram { peer, local, received, buf: &mut buf }, &clock) {
            Verdict::Reply(length) => {
                assert!(matches!(length, 48 | 68 | 72) && length <= datagram.len());
                let (Ok(request), Ok(reply)) =
                    (Packet::new_checked(datagram), Packet::new_checked(&buf[..length]))
                else {
                    unreachable!("both have headers");
                };
                assert_eq!((reply.mode(), reply.version()), (Mode::Server, request.version()));
                if reply.reference_id() == ReferenceId::RATE {
                    assert_eq!((reply.leap(), reply.stratum()), (LeapIndicator::Unsynchronised, 0));
                    assert_eq!([reply.origin(), reply.receive()], [request.transmit(); 2]);
                    assert!(reply.poll() >= request.poll() && request.mode() == Mode::Client);
                } else {
                    assert_eq!((reply.origin(), reply.poll()), (request.transmit(), request.poll()));
                    assert!(!reply.receive().is_unknown() && reply.receive() != reply.origin());
                    assert!(reply.transmit().signed_since(reply.receive()) > 0);
                    assert!(reply.receive().signed_since(reply.reference_time()) >= 0);
                }
            }
            Verdict::Forward => assert_eq!(buf, datagram, "a control message is handed on as it came"),
            Verdict::Drop(_) => {}
        }
        let tally = responder.tally();
        let elsewhere: u64 = tally.answered.iter().chain(&tally.dropped).chain([&tally.kod]).sum();
        assert_eq!((tally.received, tally.received), (before + 1, elsewhere + tally.forwarded));
    });
});
