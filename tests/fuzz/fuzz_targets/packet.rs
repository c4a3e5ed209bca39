//! No accessor of the wire floor panics on any bytes, and what is read is what stands there.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ntpring::wire::{ControlHeader, HEADER_LEN, Mac, NtpTimestamp, Packet};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(header) = ControlHeader::parse(bytes) {
        assert_eq!(
            header.to_bytes(ntpring::wire::LeapIndicator::from_first_octet(bytes[0]))[1..],
            bytes[1..12]
        );
    }
    let Ok(packet) = Packet::new_checked(bytes) else {
        assert!(bytes.len() < HEADER_LEN || !bytes.len().is_multiple_of(4));
        return;
    };
    for stamp in [packet.reference_time(), packet.origin(), packet.receive(), packet.transmit()] {
        let (seconds, nanoseconds) = stamp.to_unix(NtpTimestamp::PIVOT);
        let again = NtpTimestamp::from_unix(seconds, nanoseconds);
        // A nanosecond is a little more than four units of 2^-32 s.
        assert!((-5..=5).contains(&stamp.signed_since(again)));
    }
    if let Ok(trailer) = packet.trailer() {
        let fields: usize = trailer.extensions.map(|field| field.value.len() + 4).sum();
        let mac = match trailer.mac {
            None => 0,
            Some(Mac::CryptoNak) => 4,
            Some(Mac::Digest { digest, .. }) => 4 + digest.len(),
        };
        assert_eq!(HEADER_LEN + fields + mac, bytes.len());
    }

    let mut copy = [0; HEADER_LEN];
    let Ok(mut written) = Packet::new_checked(&mut copy) else { unreachable!("it has a header's length") };
    written.set_first(packet.leap(), packet.version(), packet.mode());
    written.set_stratum(packet.stratum());
    written.set_poll(packet.poll());
    written.set_root_delay(packet.root_delay());
    written.set_root_dispersion(packet.root_dispersion());
    written.set_reference_id(packet.reference_id());
    written.set_reference_time(packet.reference_time());
    written.set_origin(packet.origin());
    written.set_receive(packet.receive());
    written.set_transmit(packet.transmit());
    // The precision is written only as a clock can have it.
    copy[3] = bytes[3];
    assert_eq!(copy, bytes[..HEADER_LEN]);
});
