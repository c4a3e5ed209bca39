//! Requests as clients send them.

use ntpring::snapshot::{LocalClock, SystemVariables};
use ntpring::wire::{HEADER_LEN, LeapIndicator, Mode, NtpTimestamp, Packet, Precision};

/// A type of extension field that no server knows, so it is walked over and ignored.
const UNKNOWN_FIELD: u16 = 0x7FFF;

/// What most clients send: 48 octets, everything zero but version, mode and the transmit stamp, which is a
/// cookie.
pub fn time(version: u8, cookie: u64) -> [u8; HEADER_LEN] {
    let mut request = [0; HEADER_LEN];
    if let Ok(mut packet) = Packet::new_checked(&mut request) {
        packet.set_first(LeapIndicator::None, version, Mode::Client);
        packet.set_transmit(NtpTimestamp::from_bits(cookie));
    }
    request
}

/// A version 4 request with `fields` unknown extension fields of 28 octets each.
pub fn with_extension_fields(fields: usize) -> Vec<u8> {
    let mut request = time(4, 1).to_vec();
    for _ in 0..fields {
        request.extend(UNKNOWN_FIELD.to_be_bytes());
        request.extend(28_u16.to_be_bytes());
        request.extend([0xA5; 24]);
    }
    request
}

/// A version 4 request with a MAC: a key identifier and 16 octets that no key made.
pub fn with_mac() -> Vec<u8> {
    let mut request = time(4, 1).to_vec();
    request.extend(42_u32.to_be_bytes());
    request.extend([0x5A; 16]);
    request
}

/// System variables of a server that serves its own clock, found right at `now`.
pub fn synchronised(now: NtpTimestamp) -> SystemVariables {
    SystemVariables::local_clock(LocalClock::default(), Precision::from_nanoseconds(30), now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trailers_are_what_they_are_called() {
        let request = with_extension_fields(3);
        let packet = Packet::new_checked(request.as_slice()).unwrap();
        let trailer = packet.trailer().unwrap();
        assert_eq!((trailer.extensions.count(), trailer.mac), (3, None));

        let request = with_mac();
        let packet = Packet::new_checked(request.as_slice()).unwrap();
        assert!(packet.trailer().unwrap().mac.is_some());
    }
}
