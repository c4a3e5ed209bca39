use proptest::prelude::*;

use super::*;
use crate::wire::Mac;

/// An ntpd 4.2.8p15 reply, as captured; ntpdig printed its fields.
const REPLY: &str = "240403e800000000000002f17f7f0100eeadd0898fb9ee52\
                     eeadd0b088642000eeadd0b0886aab18eeadd0b08870283b";

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

#[test]
fn captured_reply() {
    let packet = Packet::new_checked(bytes(REPLY)).unwrap();
    assert_eq!((packet.leap(), packet.version(), packet.mode()), (LeapIndicator::None, 4, Mode::Server));
    assert_eq!((packet.stratum(), packet.poll(), packet.precision()), (4, 3, -24));
    assert_eq!(packet.root_delay(), NtpShort::ZERO);
    assert_eq!(packet.root_dispersion().to_nanoseconds() / 1000, 11_489, "0.011490 s");
    assert_eq!(packet.reference_id().octets(), [127, 127, 1, 0]);
    // Nov 22, 2026 20:36:00 UTC, and the nanoseconds of each stamp
    let seconds = 1_795_379_760;
    let at = |stamp: NtpTimestamp| stamp.to_unix(NtpTimestamp::PIVOT);
    assert_eq!(at(packet.reference_time()), (seconds - 39, 561_430_831));
    assert_eq!(at(packet.origin()), (seconds, 532_777_787));
    assert_eq!(at(packet.receive()), (seconds, 532_877_630));
    assert_eq!(at(packet.transmit()), (seconds, 532_961_383));
    assert_eq!(packet.trailer().unwrap().mac, None);
}

#[test]
fn setters_write_what_accessors_read() {
    let captured = Packet::new_checked(bytes(REPLY)).unwrap();
    let mut packet = Packet::new_checked([0xAA; 48]).unwrap();
    packet.set_first(captured.leap(), captured.version(), captured.mode());
    packet.set_stratum(captured.stratum());
    packet.set_poll(captured.poll());
    packet.set_precision(Precision::from_log2(captured.precision()));
    packet.set_root_delay(captured.root_delay());
    packet.set_root_dispersion(captured.root_dispersion());
    packet.set_reference_id(captured.reference_id());
    packet.set_reference_time(captured.reference_time());
    packet.set_origin(captured.origin());
    packet.set_receive(captured.receive());
    packet.set_transmit(captured.transmit());
    assert_eq!(packet.buffer.as_slice(), bytes(REPLY));
}

#[test]
fn the_gate_refuses_what_is_short_or_misaligned() {
    for length in 0..200 {
        let expected = match length {
            ..48 => Some(Malformed::Short),
            _ if length % 4 != 0 => Some(Malformed::Misaligned),
            _ => None,
        };
        assert_eq!(Packet::new_checked(vec![0; length]).err(), expected, "{length} octets");
    }
}

/// A buffer that lies about its length.
struct Shrinking(std::cell::Cell<bool>);

impl AsRef<[u8]> for Shrinking {
    fn as_ref(&self) -> &[u8] {
        if self.0.replace(true) { &[] } else { &[0x23; 48] }
    }
}

#[test]
fn a_buffer_that_shrinks_is_read_as_zeros() {
    let packet = Packet::new_checked(Shrinking(false.into())).unwrap();
    assert_eq!((packet.version(), packet.transmit()), (0, NtpTimestamp::UNKNOWN));
    assert!(packet.trailer().is_ok());
}

proptest! {
    #[test]
    fn no_accessor_panics_on_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..1500)) {
        let Ok(packet) = Packet::new_checked(&bytes) else {
            prop_assert!(bytes.len() < 48 || bytes.len() % 4 != 0);
            return Ok(());
        };
        let first = first_octet(packet.leap(), packet.version(), packet.mode());
        prop_assert_eq!(first, bytes[0]);
        let octets = [packet.stratum(), packet.poll().cast_unsigned(), packet.precision().cast_unsigned()];
        prop_assert_eq!(&octets, &bytes[1..4]);
        prop_assert_eq!(packet.root_delay().to_bits().to_be_bytes(), &bytes[field::ROOT_DELAY]);
        prop_assert_eq!(packet.root_dispersion().to_bits().to_be_bytes(), &bytes[field::ROOT_DISPERSION]);
        prop_assert_eq!(&packet.reference_id().octets(), &bytes[field::REFERENCE_ID]);
        for (stamp, range) in [
            (packet.reference_time(), field::REFERENCE),
            (packet.origin(), field::ORIGIN),
            (packet.receive(), field::RECEIVE),
            (packet.transmit(), field::TRANSMIT),
        ] {
            prop_assert_eq!(stamp.to_bits().to_be_bytes(), &bytes[range]);
        }
        if let Ok(trailer) = packet.trailer() {
            let fields: usize = trailer.extensions.map(|field| field.value.len() + 4).sum();
            let mac = match trailer.mac {
                None => 0,
                Some(Mac::CryptoNak) => 4,
                Some(Mac::Digest { digest, .. }) => 4 + digest.len(),
            };
            prop_assert_eq!(48 + fields + mac, bytes.len(), "every octet belongs to a field or the MAC");
        }
    }
}
