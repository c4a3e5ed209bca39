//! What a datagram that comes back is worth: which request it claims to answer, and whether it does.

use ntpring::wire::{ControlHeader, HEADER_LEN, LeapIndicator, Mac, Mode, NtpTimestamp, Packet, Trailer};

use crate::accounting::{Invalid, Kod};
use crate::keys::Key;
use crate::mix::Kind;

/// The strata of a synchronised server (RFC 5905 figure 11).
const STRATA: std::ops::RangeInclusive<u8> = 1..=15;

/// How a datagram says which request it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// By its origin timestamp.
    Origin(u64),
    /// By the sequence number of a control message; the offset is that of its fragment.
    Sequence(u16),
    /// Not at all: a private response, of which this is or is not the first datagram.
    Private {
        /// Whether it is.
        first: bool,
    },
}

/// A well-formed reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    /// What it says.
    pub(crate) says: Says,
    /// When the request arrived, T2; unknown if it says no time.
    pub(crate) received: NtpTimestamp,
    /// T2 and T3, if both are about the request that it answers.
    pub(crate) stamps: Option<(NtpTimestamp, NtpTimestamp)>,
}

/// What a reply is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Says {
    /// Time that a client may use.
    Time,
    /// That the server's own clock is not synchronised (leap 3, or a stratum that is none).
    Unsynchronised,
    /// Go away (RFC 5905 §7.4).
    Kod(Kod),
    /// Something else than time, which is what was asked for.
    Control,
}

impl Reply {
    fn timeless(says: Says) -> Self {
        Self { says, received: NtpTimestamp::UNKNOWN, stamps: None }
    }
}

/// Looks at a datagram; `None` is one that is longer than any reply.
pub(crate) fn claim(payload: Option<&[u8]>) -> Result<Claim, Invalid> {
    let payload = payload.filter(|payload| !payload.is_empty()).ok_or(Invalid::Length)?;
    match Mode::from_first_octet(payload[0]) {
        Mode::Control => ControlHeader::parse(payload)
            .map(|header| Claim::Sequence(header.sequence))
            .map_err(|_| Invalid::Length),
        // The second octet of a private response numbers its datagrams.
        Mode::Private => Ok(Claim::Private { first: payload.get(1).is_none_or(|number| number & 0x7F == 0) }),
        mode => {
            let packet = Packet::new_checked(payload).map_err(|_| Invalid::Length)?;
            match mode {
                Mode::Server | Mode::SymmetricPassive => Ok(Claim::Origin(packet.origin().to_bits())),
                _ => Err(Invalid::Mode),
            }
        }
    }
}

/// Whether a datagram answers a request of this kind.
pub(crate) fn check(payload: &[u8], kind: Kind, cookie: u64, key: Option<&Key>) -> Result<Reply, Invalid> {
    if kind == Kind::Mode6 {
        let header = ControlHeader::parse(payload).map_err(|_| Invalid::Length)?;
        return if header.response { Ok(Reply::timeless(Says::Control)) } else { Err(Invalid::Mode) };
    }
    let packet = Packet::new_checked(payload).map_err(|_| Invalid::Length)?;
    check_trailer(payload, &packet, kind, key)?;
    if packet.mode() != (if kind == Kind::Mode1 { Mode::SymmetricPassive } else { Mode::Server }) {
        return Err(Invalid::Mode);
    }
    if kind.version().is_some_and(|version| version != packet.version()) {
        return Err(Invalid::Version);
    }
    let code = packet.reference_id().octets();
    // RFC 5905 §7.4: a kiss-o'-death packet has stratum 0 and its code as reference identifier. Other codes
    // are about the server.
    if let (0, Some(kod)) = (packet.stratum(), Kod::from_code(code)) {
        return Ok(Reply::timeless(Says::Kod(kod)));
    }
    let (received, transmitted) = (packet.receive(), packet.transmit());
    // RFC 9769 §2: in interleaved mode the transmit timestamp is that of the reply before.
    let interleaved = packet.origin().to_bits() != cookie;
    let reversed = !interleaved && transmitted.signed_since(received) < 0;
    if received.is_unknown() || transmitted.is_unknown() || reversed {
        return Err(Invalid::Stamps);
    }
    let synchronised = packet.leap() != LeapIndicator::Unsynchronised && STRATA.contains(&packet.stratum());
    Ok(Reply {
        says: if synchronised { Says::Time } else { Says::Unsynchronised },
        received,
        stamps: (!interleaved).then_some((received, transmitted)),
    })
}

/// A reply is as long as what was asked for.
fn check_trailer(
    payload: &[u8],
    packet: &Packet<&[u8]>,
    kind: Kind,
    key: Option<&Key>,
) -> Result<(), Invalid> {
    let trailer = packet.trailer();
    if let (Kind::Mac | Kind::Other, Ok(Trailer { mac: Some(Mac::CryptoNak), .. })) = (kind, &trailer) {
        return Err(Invalid::CryptoNak);
    }
    match kind {
        Kind::Mac if key.is_some_and(|key| key.verifies(payload)) => Ok(()),
        Kind::Mac => Err(Invalid::Mac),
        Kind::Ef | Kind::Oversized | Kind::Other if trailer.is_ok() => Ok(()),
        _ if payload.len() == HEADER_LEN => Ok(()),
        _ => Err(Invalid::Length),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ntpring::wire::ReferenceId;

    const COOKIE: u64 = 0x0123_4567_89AB_CDEF;

    fn packet(change: impl FnOnce(&mut Packet<&mut [u8]>)) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        let mut packet = Packet::new_checked(&mut bytes[..]).unwrap();
        packet.set_first(LeapIndicator::None, 4, Mode::Server);
        packet.set_stratum(2);
        packet.set_origin(NtpTimestamp::from_bits(COOKIE));
        packet.set_receive(NtpTimestamp::from_unix(1_700_000_000, 5));
        packet.set_transmit(NtpTimestamp::from_unix(1_700_000_000, 5));
        change(&mut packet);
        bytes
    }

    fn reply(kind: Kind, change: impl FnOnce(&mut Packet<&mut [u8]>)) -> Result<Says, Invalid> {
        check(&packet(change), kind, COOKIE, None).map(|reply| reply.says)
    }

    #[test]
    fn each_defect_has_its_reason() {
        assert_eq!(reply(Kind::V4, |_| {}), Ok(Says::Time));
        let none = LeapIndicator::None;
        assert_eq!(reply(Kind::V4, |p| p.set_first(none, 4, Mode::SymmetricPassive)), Err(Invalid::Mode));
        assert_eq!(reply(Kind::V4, |p| p.set_first(none, 3, Mode::Server)), Err(Invalid::Version));
        assert_eq!(reply(Kind::V4, |p| p.set_receive(NtpTimestamp::UNKNOWN)), Err(Invalid::Stamps));
        assert_eq!(reply(Kind::V4, |p| p.set_transmit(NtpTimestamp::UNKNOWN)), Err(Invalid::Stamps));
        let earlier = NtpTimestamp::from_unix(1_700_000_000, 4);
        assert_eq!(reply(Kind::V4, |p| p.set_transmit(earlier)), Err(Invalid::Stamps));
        for wrong in [&[0x24; 47][..], &[0x24; 52], &[0x24; 68]] {
            assert_eq!(check(wrong, Kind::V4, COOKIE, None), Err(Invalid::Length));
        }
    }

    #[test]
    fn replies_suit_their_requests() {
        let first =
            |version, mode| move |p: &mut Packet<&mut [u8]>| p.set_first(LeapIndicator::None, version, mode);
        for (kind, version) in [(Kind::V1, 1), (Kind::V2, 2), (Kind::V3, 3), (Kind::Ntpd, 4), (Kind::Ef, 4)] {
            assert_eq!(reply(kind, first(version, Mode::Server)), Ok(Says::Time), "{kind:?}");
            assert_eq!(reply(kind, first(version + 1, Mode::Server)), Err(Invalid::Version), "{kind:?}");
        }
        assert_eq!(reply(Kind::Mode1, first(4, Mode::SymmetricPassive)), Ok(Says::Time));
        assert_eq!(reply(Kind::Mode1, |_| {}), Err(Invalid::Mode));
        // What is interleaved has the transmit stamp of an earlier reply.
        let interleaved = packet(|p| {
            p.set_origin(NtpTimestamp::from_bits(!COOKIE));
            p.set_transmit(NtpTimestamp::from_unix(1_600_000_000, 0));
        });
        let reply = check(&interleaved, Kind::Interleaved, COOKIE, None);
        let received = NtpTimestamp::from_unix(1_700_000_000, 5);
        assert_eq!(reply, Ok(Reply { says: Says::Time, received, stamps: None }));
    }

    #[test]
    fn codes_are_demanded_where_the_request_had_one() {
        let bare = packet(|_| {});
        assert_eq!(check(&bare, Kind::Mac, COOKIE, None), Err(Invalid::Mac));
        let nak = [&bare[..], &[0; 4]].concat();
        assert_eq!(check(&nak, Kind::Mac, COOKIE, None), Err(Invalid::CryptoNak));
        assert_eq!(check(&nak, Kind::V4, COOKIE, None), Err(Invalid::Length));
    }

    #[test]
    fn control_responses_are_told_from_requests() {
        let mut response = [0x16, 0x82, 0x12, 0x34, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(claim(Some(&response)), Ok(Claim::Sequence(0x1234)));
        assert_eq!(check(&response, Kind::Mode6, COOKIE, None).map(|reply| reply.says), Ok(Says::Control));
        response[1] = 2;
        assert_eq!(check(&response, Kind::Mode6, COOKIE, None), Err(Invalid::Mode));
        assert_eq!(claim(Some(&response[..11])), Err(Invalid::Length));
        assert_eq!(claim(Some(&[0x97, 0, 3, 42, 0, 0, 0, 0])), Ok(Claim::Private { first: true }));
        assert_eq!(claim(Some(&[0xD7, 1, 3, 42, 0, 0, 0, 0])), Ok(Claim::Private { first: false }));
    }

    #[test]
    fn a_datagram_claims_its_request_or_says_nothing() {
        assert_eq!(claim(Some(&packet(|_| {}))), Ok(Claim::Origin(COOKIE)));
        let none = LeapIndicator::None;
        assert_eq!(claim(Some(&packet(|p| p.set_first(none, 4, Mode::Client)))), Err(Invalid::Mode));
        for wrong in [None, Some(&[0x24; 47][..]), Some(&[0x24; 50][..]), Some(&[])] {
            assert_eq!(claim(wrong), Err(Invalid::Length));
        }
    }

    #[test]
    fn time_that_must_not_be_used_is_told_apart() {
        let alarm = LeapIndicator::Unsynchronised;
        assert_eq!(reply(Kind::V4, |p| p.set_first(alarm, 4, Mode::Server)), Ok(Says::Unsynchronised));
        assert_eq!(reply(Kind::V4, |p| p.set_stratum(0)), Ok(Says::Unsynchronised));
        assert_eq!(reply(Kind::V4, |p| p.set_stratum(16)), Ok(Says::Unsynchronised));
        let kiss = |p: &mut Packet<&mut [u8]>| {
            p.set_stratum(0);
            p.set_reference_id(ReferenceId::from_octets(*b"RATE"));
            p.set_transmit(NtpTimestamp::UNKNOWN);
        };
        assert_eq!(reply(Kind::V4, kiss), Ok(Says::Kod(Kod::Rate)));
    }
}
