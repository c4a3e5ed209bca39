//! The header of control messages, mode 6 (RFC 9327 §2).

use super::fields::version;
use super::{Malformed, Mode};

/// Octets of the header.
const HEADER_LEN: usize = 12;

/// The header of a control message, taken out of its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ControlHeader {
    /// Version of the NTP that carries it, 0 to 7.
    pub version: u8,
    /// R: this is a response.
    pub response: bool,
    /// E: this is an error response.
    pub error: bool,
    /// M: more fragments follow.
    pub more: bool,
    /// What is asked, 0 to 31.
    pub opcode: u8,
    /// Pairs responses with requests.
    pub sequence: u16,
    /// Status of the system, the peer or the clock; an error code in an error response.
    pub status: u16,
    /// The association that is meant, or 0 for the system.
    pub association: u16,
    /// Where in the whole response this fragment's data begins, in octets.
    pub offset: u16,
    /// Octets of data after the header, not counting padding.
    pub count: u16,
}

impl ControlHeader {
    /// From a datagram of mode 6.
    ///
    /// # Errors
    /// [`Malformed::Short`] for fewer than 12 octets.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let header = bytes.first_chunk::<HEADER_LEN>().ok_or(Malformed::Short)?;
        let [first, second, s0, s1, t0, t1, a0, a1, o0, o1, c0, c1] = *header;
        Ok(Self {
            version: version(first),
            response: second & 0x80 != 0,
            error: second & 0x40 != 0,
            more: second & 0x20 != 0,
            opcode: second & 0x1F,
            sequence: u16::from_be_bytes([s0, s1]),
            status: u16::from_be_bytes([t0, t1]),
            association: u16::from_be_bytes([a0, a1]),
            offset: u16::from_be_bytes([o0, o1]),
            count: u16::from_be_bytes([c0, c1]),
        })
    }

    /// The 12 octets, the leap bits being `leap` (a response tells the system's own).
    pub fn to_bytes(&self, leap: super::LeapIndicator) -> [u8; HEADER_LEN] {
        let flags = (u8::from(self.response) << 7) | (u8::from(self.error) << 6) | (u8::from(self.more) << 5);
        let [s0, s1] = self.sequence.to_be_bytes();
        let [t0, t1] = self.status.to_be_bytes();
        let [a0, a1] = self.association.to_be_bytes();
        let [o0, o1] = self.offset.to_be_bytes();
        let [c0, c1] = self.count.to_be_bytes();
        let first = super::fields::first_octet(leap, self.version, Mode::Control);
        [first, flags | (self.opcode & 0x1F), s0, s1, t0, t1, a0, a1, o0, o1, c0, c1]
    }

    /// Whether this can be a request: no response, error or more bit, and no offset. Anything else is ignored
    /// silently, or two servers could be made to answer each other.
    pub fn is_request(&self) -> bool {
        !self.response && !self.error && !self.more && self.offset == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::LeapIndicator;

    /// ntpq's first question (classic 4.2.8: version 2, READSTAT, sequence 1).
    const READSTAT: [u8; 12] = [0x16, 0x01, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];

    #[test]
    fn ntpq_request() {
        let header = ControlHeader::parse(&READSTAT).unwrap();
        assert_eq!((header.version, header.opcode, header.sequence), (2, 1, 1));
        assert!(header.is_request());
        assert_eq!(header.to_bytes(LeapIndicator::None), READSTAT);
        assert_eq!(ControlHeader::parse(&READSTAT[..11]), Err(Malformed::Short));
    }

    #[test]
    fn responses_and_fragments_are_no_requests() {
        for (at, bits) in [(1, 0x80), (1, 0x40), (1, 0x20), (8, 1), (9, 1)] {
            let mut bytes = READSTAT;
            bytes[at] |= bits;
            assert!(!ControlHeader::parse(&bytes).unwrap().is_request(), "octet {at} |= {bits:#x}");
        }
    }
}
