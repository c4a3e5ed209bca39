//! The small fields of the header (RFC 5905 §7.3).

use std::net::{Ipv4Addr, Ipv6Addr};

use md5::{Digest, Md5};

/// Warning of a leap second at the end of the current month (RFC 5905 figure 9).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum LeapIndicator {
    /// No warning.
    None = 0,
    /// The last minute has 61 seconds.
    Insert = 1,
    /// The last minute has 59 seconds.
    Delete = 2,
    /// The clock is not synchronised: whoever asks must not use the time.
    #[default]
    Unsynchronised = 3,
}

impl LeapIndicator {
    /// From the two bits on top of the header's first octet.
    pub const fn from_first_octet(octet: u8) -> Self {
        match octet >> 6 {
            0 => Self::None,
            1 => Self::Insert,
            2 => Self::Delete,
            _ => Self::Unsynchronised,
        }
    }
}

/// What a packet is for (RFC 5905 figure 10).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Mode {
    /// Reserved; the client's mode in NTP version 1 (RFC 1059).
    Reserved = 0,
    /// Symmetric active: a peer that wants to be answered.
    SymmetricActive = 1,
    /// Symmetric passive: a peer's answer.
    SymmetricPassive = 2,
    /// A client's request.
    Client = 3,
    /// A server's reply.
    Server = 4,
    /// Unsolicited time.
    Broadcast = 5,
    /// An NTP control message (RFC 9327), what ntpq speaks.
    Control = 6,
    /// Reserved for private use, what ntpdc spoke.
    Private = 7,
}

impl Mode {
    /// From the three bits at the end of the header's first octet.
    pub const fn from_first_octet(octet: u8) -> Self {
        match octet & 7 {
            0 => Self::Reserved,
            1 => Self::SymmetricActive,
            2 => Self::SymmetricPassive,
            3 => Self::Client,
            4 => Self::Server,
            5 => Self::Broadcast,
            6 => Self::Control,
            _ => Self::Private,
        }
    }
}

/// The header's first octet.
pub(super) const fn first_octet(leap: LeapIndicator, version: u8, mode: Mode) -> u8 {
    ((leap as u8) << 6) | ((version & 7) << 3) | mode as u8
}

/// The version bits of the header's first octet.
pub(super) const fn version(octet: u8) -> u8 {
    (octet >> 3) & 7
}

/// The precision of a clock: the logarithm, to base two, of what it can tell apart, in seconds; -20 is about
/// a microsecond.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Precision(i8);

impl Precision {
    /// The coarsest that is believed: 2^-6 s, the tick of an old kernel.
    pub const COARSEST: Self = Self(-6);
    /// The finest that a timestamp can show: 2^-32 s.
    pub const FINEST: Self = Self(-32);
    /// The power of two just below a nanosecond, 2^-30 s: the kernel's packet stamps.
    pub const NANOSECOND: Self = Self(-30);

    /// From the logarithm, kept between [`Precision::FINEST`] and [`Precision::COARSEST`].
    pub const fn from_log2(log2: i8) -> Self {
        match log2 {
            ..=-32 => Self::FINEST,
            -31..=-7 => Self(log2),
            _ => Self::COARSEST,
        }
    }

    /// From the time it takes to read the clock: the least power of two that is not below it (RFC 5905 §7.3).
    pub const fn from_nanoseconds(nanoseconds: u64) -> Self {
        let mut log2 = -32;
        // 2^log2 s < nanoseconds, multiplied by 2^32 on both sides
        while log2 < -6 && (1_000_000_000 << (log2 + 32)) < (nanoseconds as u128) << 32 {
            log2 += 1;
        }
        Self(log2)
    }

    /// The logarithm, as it stands in the header.
    pub const fn log2(self) -> i8 {
        self.0
    }

    /// The bits of a timestamp's fraction that lie below the precision.
    pub const fn insignificant_bits(self) -> u64 {
        (1 << (32 + self.0)) - 1
    }
}

/// Who or what a server takes its time from (RFC 5905 §7.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReferenceId([u8; 4]);

impl ReferenceId {
    /// RFC 5905 figure 13: "The association has not yet synchronized for the first time".
    pub const INIT: Self = Self(*b"INIT");
    /// RFC 5905 figure 13: "Rate exceeded", a kiss code.
    pub const RATE: Self = Self(*b"RATE");
    /// An undisciplined local clock that claims to be a primary reference.
    pub const LOCAL: Self = Self(*b"LOCL");

    /// The four octets as they stand in the header.
    pub const fn from_octets(octets: [u8; 4]) -> Self {
        Self(octets)
    }

    /// The four octets.
    pub const fn octets(self) -> [u8; 4] {
        self.0
    }

    /// A clock's or a kiss code's name: "left justified and zero padded"; up to four printable ASCII
    /// characters, or none.
    pub const fn from_code(code: &str) -> Option<Self> {
        let code = code.as_bytes();
        if code.is_empty() || code.len() > 4 {
            return None;
        }
        let mut octets = [0; 4];
        let mut at = 0;
        while at < code.len() {
            if !code[at].is_ascii_graphic() {
                return None;
            }
            octets[at] = code[at];
            at += 1;
        }
        Some(Self(octets))
    }

    /// A source over IPv4: its address.
    pub const fn from_ipv4(address: Ipv4Addr) -> Self {
        Self(address.octets())
    }

    /// A source over IPv6: "the first four octets of the MD5 hash of the IPv6 address".
    pub fn from_ipv6(address: Ipv6Addr) -> Self {
        let [a, b, c, d, ..] = <[u8; 16]>::from(Md5::digest(address.octets()));
        Self([a, b, c, d])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_octet_round_trips() {
        for octet in 0..=255 {
            let (leap, mode) = (LeapIndicator::from_first_octet(octet), Mode::from_first_octet(octet));
            assert_eq!(first_octet(leap, version(octet), mode), octet);
        }
    }

    #[test]
    fn precision_is_the_power_of_two_not_below_the_reading_time() {
        for (nanoseconds, log2) in
            [(0, -32), (1, -29), (30, -24), (60, -23), (953, -20), (954, -19), (1_000_000, -9)]
        {
            assert_eq!(Precision::from_nanoseconds(nanoseconds).log2(), log2, "{nanoseconds} ns");
        }
        assert_eq!(Precision::from_nanoseconds(u64::MAX), Precision::COARSEST);
        assert_eq!(Precision::from_log2(0), Precision::COARSEST);
        assert_eq!(Precision::from_log2(-128), Precision::FINEST);
        assert_eq!(Precision::from_log2(-20).log2(), -20);
    }

    #[test]
    fn codes_are_printable_and_fit() {
        assert_eq!(ReferenceId::from_code("GPS").map(ReferenceId::octets), Some(*b"GPS\0"));
        assert_eq!(ReferenceId::from_code("LOCL"), Some(ReferenceId::LOCAL));
        for refused in ["", "TOOLONG", "A B", "é"] {
            assert_eq!(ReferenceId::from_code(refused), None, "{refused:?}");
        }
    }
}
