//! Codes at the end of control messages (RFC 9327 §2): key identifier and code stand behind the data, which
//! is filled up to a multiple of eight octets before.

use std::net::IpAddr;

use super::fragment::HEADER;
use crate::auth::{Key, KeyTable, MAC_MAX, NotAuthentic};
use crate::wire::ControlHeader;

/// Data is filled up to this before it is signed.
const ALIGNMENT: usize = 8;
/// Octets of a key identifier.
const ID_LEN: usize = 4;

/// What the end of a request proves.
#[derive(Clone, Copy, Debug)]
pub enum Signature<'k> {
    /// It has no code.
    Missing,
    /// It was made with this key.
    By(&'k Key),
    /// It claims a key that did not make it.
    Wrong,
    /// It claims a key that is not here, or not for its sender.
    UnknownKey,
}

impl<'k> Signature<'k> {
    /// Looks at a request of `client`. As with ntpd, what stands behind the data and is no longer than a code
    /// is one; ntpstat's padding is longer.
    pub fn of(payload: &[u8], client: IpAddr, keys: &'k KeyTable) -> Self {
        let mac = ControlHeader::parse(payload)
            .ok()
            .and_then(|header| payload.get(signed_length(usize::from(header.count))..))
            .filter(|mac| mac.len() <= MAC_MAX && payload.len().is_multiple_of(4));
        let Some((id, code)) = mac.and_then(<[u8]>::split_first_chunk::<ID_LEN>) else {
            return Self::Missing;
        };
        match keys.authenticate(client, payload, u32::from_be_bytes(*id), code) {
            Ok(key) => Self::By(key),
            Err(NotAuthentic::BadMac) => Self::Wrong,
            Err(NotAuthentic::UnknownKey) => Self::UnknownKey,
        }
    }

    /// Whether it was made with the key of this id.
    pub fn is_by(&self, id: Option<u16>) -> bool {
        matches!(self, Self::By(key) if Some(key.id()) == id)
    }

    /// Octets that one datagram of a response grows by, at most.
    pub(super) fn room(&self) -> usize {
        if matches!(self, Self::Missing) { 0 } else { ALIGNMENT + MAC_MAX }
    }

    /// Ends a datagram as ntpd does: who has signed gets a signed response, who has signed wrongly is told so
    /// by a key identifier of zero. An error is not filled up.
    pub(super) fn end(&self, datagram: &mut Vec<u8>) {
        if !is_error(datagram) && !matches!(self, Self::Missing) {
            datagram.resize(datagram.len().next_multiple_of(ALIGNMENT), 0);
        }
        match self {
            Self::By(key) => sign(key, datagram),
            Self::Wrong => datagram.extend_from_slice(&[0; ID_LEN]),
            Self::Missing | Self::UnknownKey => {}
        }
    }
}

/// Appends a key's identifier and code.
pub(super) fn sign(key: &Key, datagram: &mut Vec<u8>) {
    let length = datagram.len();
    datagram.resize(length + MAC_MAX, 0);
    let signed = key.sign(datagram, length).unwrap_or(length);
    datagram.truncate(signed);
}

/// A request of ours, filled up and signed.
pub fn signed(mut request: Vec<u8>, key: &Key) -> Vec<u8> {
    request.resize(request.len().next_multiple_of(ALIGNMENT), 0);
    sign(key, &mut request);
    request
}

/// Whether one datagram of a response is a refusal.
pub fn is_error(datagram: &[u8]) -> bool {
    ControlHeader::parse(datagram).is_ok_and(|header| header.error)
}

/// Whether one datagram of a response was made with `key`.
pub fn is_signed(datagram: &[u8], key: &Key) -> bool {
    let Ok(header) = ControlHeader::parse(datagram) else { return false };
    let end = match header.error {
        true => HEADER,
        false => signed_length(usize::from(header.count)),
    };
    key.is_code_at(datagram, end)
}

/// Octets before the code of a message with so many octets of data.
fn signed_length(count: usize) -> usize {
    (HEADER + count).next_multiple_of(ALIGNMENT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::{Opcode, request};
    use crate::wire::LeapIndicator;

    const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn keys() -> KeyTable {
        let text = b"1 MD5 seedmd5key\n2 SHA1 6bb1ee6b0e3cc0a1b3a1c1a1b1c1d1e1f1a1b1c1\n\
            3 AES128CMAC 000102030405060708090a0b0c0d0e0f\n4 MD5 x 192.0.2.1\n";
        crate::auth::read(text, |_| true, &mut |fault| panic!("{fault:?}"))
    }

    #[test]
    fn a_request_is_signed_as_ntpq_signs_it() {
        // m6-auth-cl-reslist.
        let asked = request(Opcode::ReadOrderedList, 1, 0, b"addr_restrictions");
        let keys = keys();
        let signed = signed(asked, keys.get(1).expect("it is there"));
        let expected = b"\x16\x0b\0\x01\0\0\0\0\0\0\0\x11addr_restrictions\0\0\0\0\0\0\x01\
            \xb9\x12F\x08K\xfc\x89\xb8\x92\xea\xae\x1fAm\x08\\";
        assert_eq!(signed, expected);
        assert!(Signature::of(&signed, CLIENT, &keys).is_by(Some(1)));
    }

    #[test]
    fn every_algorithm_proves_its_own_key_and_no_other() {
        let keys = keys();
        for (id, data) in [(1, &b""[..]), (2, b"ifstats"), (3, b"abc=5")] {
            let whole =
                signed(request(Opcode::ReadOrderedList, 7, 0, data), keys.get(id).expect("it is there"));
            let signature = Signature::of(&whole, CLIENT, &keys);
            assert!(signature.is_by(Some(id as u16)) && !signature.is_by(Some(9)) && !signature.is_by(None));
            for octet in 0..whole.len() {
                let mut wrong = whole.clone();
                wrong[octet] ^= 1;
                assert!(!Signature::of(&wrong, CLIENT, &keys).is_by(Some(id as u16)), "octet {octet}");
            }
        }
    }

    #[test]
    fn wrong_codes_and_keys_are_told_apart() {
        let keys = keys();
        let mut asked = request(Opcode::ReadVariables, 7, 0, b"leap");
        assert!(matches!(Signature::of(&asked, CLIENT, &keys), Signature::Missing));
        asked.extend_from_slice(&[0, 0, 0, 1]);
        asked.extend_from_slice(&[7; 16]);
        assert!(matches!(Signature::of(&asked, CLIENT, &keys), Signature::Wrong));
        asked[19] = 9;
        assert!(matches!(Signature::of(&asked, CLIENT, &keys), Signature::UnknownKey));
        // Padding longer than a code is none.
        asked.resize(576, 0);
        assert!(matches!(Signature::of(&asked, CLIENT, &keys), Signature::Missing));
        // A key that others may use.
        let theirs = signed(request(Opcode::ReadVariables, 7, 0, b""), keys.get(4).expect("it is there"));
        assert!(matches!(Signature::of(&theirs, CLIENT, &keys), Signature::UnknownKey));
        assert!(Signature::of(&theirs, "192.0.2.1".parse().expect("an address"), &keys).is_by(Some(4)));
    }

    #[test]
    fn responses_are_ended_and_known_again() {
        let keys = keys();
        let key = keys.get(2).expect("it is there");
        let header = |error, count| {
            ControlHeader {
                version: 2,
                response: true,
                error,
                more: false,
                opcode: 2,
                sequence: 7,
                status: 0,
                association: 0,
                offset: 0,
                count,
            }
            .to_bytes(LeapIndicator::None)
            .to_vec()
        };
        let data = [header(false, 6), b"leap=0\0\0".to_vec()].concat();
        for plain in [data, header(false, 0), header(true, 0)] {
            let mut ended = plain.clone();
            Signature::By(key).end(&mut ended);
            assert!(is_signed(&ended, key) && !is_signed(&ended, keys.get(1).expect("it is there")));
            assert!(!is_signed(&plain, key));
            assert!(ended.len() <= plain.len() + Signature::By(key).room());
            let (mut wrong, mut unknown) = (plain.clone(), plain.clone());
            Signature::Wrong.end(&mut wrong);
            assert_eq!(wrong[wrong.len() - 4..], [0; 4]);
            Signature::UnknownKey.end(&mut unknown);
            assert!(unknown.len() - plain.len() < ALIGNMENT);
        }
    }
}
