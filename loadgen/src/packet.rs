//! The request that is sent, and what a datagram that comes back is worth.

use ntpring::wire::{HEADER_LEN, LeapIndicator, Mode, NtpTimestamp, Packet};

use crate::accounting::{Invalid, Kod};

/// The version that is spoken.
const VERSION: u8 = 4;
/// The strata of a synchronised server (RFC 5905 figure 11).
const STRATA: std::ops::RangeInclusive<u8> = 1..=15;

/// A client's request that tells nothing: mode 3, all fields zero but for the transmit timestamp, which is a
/// random number by which its reply is known.
pub(crate) fn request(cookie: u64) -> [u8; HEADER_LEN] {
    let mut bytes = [0; HEADER_LEN];
    if let Ok(mut packet) = Packet::new_checked(&mut bytes) {
        packet.set_first(LeapIndicator::None, VERSION, Mode::Client);
        packet.set_transmit(NtpTimestamp::from_bits(cookie));
    }
    bytes
}

/// A well-formed reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    /// Which request it answers.
    pub(crate) cookie: u64,
    /// What it says.
    pub(crate) says: Says,
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
}

/// Looks at a datagram; `None` is one that is longer than any reply.
pub(crate) fn read(payload: Option<&[u8]>) -> Result<Reply, Invalid> {
    let payload = payload.filter(|payload| payload.len() == HEADER_LEN).ok_or(Invalid::Length)?;
    let packet = Packet::new_checked(payload).map_err(|_| Invalid::Length)?;
    if packet.mode() != Mode::Server {
        return Err(Invalid::Mode);
    }
    if packet.version() != VERSION {
        return Err(Invalid::Version);
    }
    let cookie = packet.origin().to_bits();
    let code = packet.reference_id().octets();
    // RFC 5905 §7.4: a kiss-o'-death packet has stratum 0 and its code as reference identifier. Other codes
    // are about the server.
    if let (0, Some(kod)) = (packet.stratum(), Kod::from_code(code)) {
        return Ok(Reply { cookie, says: Says::Kod(kod), stamps: None });
    }
    let (received, transmitted) = (packet.receive(), packet.transmit());
    if received.is_unknown() || transmitted.is_unknown() || transmitted.signed_since(received) < 0 {
        return Err(Invalid::Stamps);
    }
    let synchronised = packet.leap() != LeapIndicator::Unsynchronised && STRATA.contains(&packet.stratum());
    Ok(Reply {
        cookie,
        says: if synchronised { Says::Time } else { Says::Unsynchronised },
        stamps: Some((received, transmitted)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ntpring::wire::ReferenceId;

    const COOKIE: u64 = 0x0123_4567_89AB_CDEF;

    fn reply(change: impl FnOnce(&mut Packet<&mut [u8]>)) -> Result<Reply, Invalid> {
        let mut bytes = [0; HEADER_LEN];
        let mut packet = Packet::new_checked(&mut bytes[..]).unwrap();
        packet.set_first(LeapIndicator::None, VERSION, Mode::Server);
        packet.set_stratum(2);
        packet.set_origin(NtpTimestamp::from_bits(COOKIE));
        packet.set_receive(NtpTimestamp::from_unix(1_700_000_000, 5));
        packet.set_transmit(NtpTimestamp::from_unix(1_700_000_000, 5));
        change(&mut packet);
        read(Some(&bytes))
    }

    fn says(says: Says) -> Result<Reply, Invalid> {
        let stamp = NtpTimestamp::from_unix(1_700_000_000, 5);
        let stamps = (!matches!(says, Says::Kod(_))).then_some((stamp, stamp));
        Ok(Reply { cookie: COOKIE, says, stamps })
    }

    #[test]
    fn a_request_tells_nothing_but_its_cookie() {
        let bytes = request(COOKIE);
        assert_eq!(bytes[0], 0b00_100_011);
        assert!(bytes[1..40].iter().all(|&octet| octet == 0));
        assert_eq!(bytes[40..], COOKIE.to_be_bytes());
    }

    #[test]
    fn each_defect_has_its_reason() {
        assert_eq!(reply(|_| {}), says(Says::Time));
        let none = LeapIndicator::None;
        assert_eq!(reply(|p| p.set_first(none, VERSION, Mode::Client)), Err(Invalid::Mode));
        assert_eq!(reply(|p| p.set_first(none, 3, Mode::Server)), Err(Invalid::Version));
        assert_eq!(reply(|p| p.set_receive(NtpTimestamp::UNKNOWN)), Err(Invalid::Stamps));
        assert_eq!(reply(|p| p.set_transmit(NtpTimestamp::UNKNOWN)), Err(Invalid::Stamps));
        let earlier = NtpTimestamp::from_unix(1_700_000_000, 4);
        assert_eq!(reply(|p| p.set_transmit(earlier)), Err(Invalid::Stamps));
        for wrong in [None, Some(&[0; 47][..]), Some(&[0; 52][..]), Some(&[])] {
            assert_eq!(read(wrong), Err(Invalid::Length));
        }
    }

    #[test]
    fn time_that_must_not_be_used_is_told_apart() {
        let alarm = LeapIndicator::Unsynchronised;
        assert_eq!(reply(|p| p.set_first(alarm, VERSION, Mode::Server)), says(Says::Unsynchronised));
        assert_eq!(reply(|p| p.set_stratum(0)), says(Says::Unsynchronised));
        assert_eq!(reply(|p| p.set_stratum(16)), says(Says::Unsynchronised));
        let kiss = |p: &mut Packet<&mut [u8]>| {
            p.set_stratum(0);
            p.set_reference_id(ReferenceId::from_octets(*b"RATE"));
            p.set_transmit(NtpTimestamp::UNKNOWN);
        };
        assert_eq!(reply(kiss), says(Says::Kod(Kod::Rate)));
    }
}
