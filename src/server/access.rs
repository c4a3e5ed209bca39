//! Who may ask what: ntp.conf's `restrict`, resolved once so that a request costs one lookup.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::ops::BitOr;

/// The addresses that begin with the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IpPrefix {
    address: IpAddr,
    length: u8,
}

impl IpPrefix {
    /// The first `length` bits of `address`; none if it has fewer. IPv4 addresses mapped into IPv6 (::ffff:0:0/96) become IPv4.
    pub fn new(address: IpAddr, length: u8) -> Option<Self> {
        match address {
            IpAddr::V4(v4) if length <= 32 => {
                let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
                Some(Self { address: IpAddr::V4((v4.to_bits() & mask).into()), length })
            }
            IpAddr::V6(v6) if length <= 128 => match (v6.to_ipv4_mapped(), length.checked_sub(96)) {
                (Some(v4), Some(length)) => Self::new(IpAddr::V4(v4), length),
                _ => {
                    let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
                    Some(Self { address: IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & mask)), length })
                }
            },
            _ => None,
        }
    }

    /// One address.
    pub fn host(address: IpAddr) -> Self {
        let address = address.to_canonical();
        Self { address, length: if address.is_ipv4() { 32 } else { 128 } }
    }

    /// The first address.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// How many bits are given.
    pub fn length(&self) -> u8 {
        self.length
    }
}

/// What a `restrict` line takes away. No flags: everything is allowed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct AccessFlags(u16);

impl AccessFlags {
    /// Everything is allowed.
    pub const NONE: Self = Self(0);
    /// No answer to anything.
    pub const IGNORE: Self = Self(1);
    /// No time.
    pub const NOSERVE: Self = Self(1 << 1);
    /// No control messages.
    pub const NOQUERY: Self = Self(1 << 2);
    /// No time without authentication.
    pub const NOTRUST: Self = Self(1 << 3);
    /// No time for versions before the current one.
    pub const VERSION: Self = Self(1 << 4);
    /// Requests are rate limited.
    pub const LIMITED: Self = Self(1 << 5);
    /// Who exceeds the rate is told so by a kiss-o'-death packet.
    pub const KOD: Self = Self(1 << 6);
    /// No control messages that change anything.
    pub const NOMODIFY: Self = Self(1 << 7);
    /// No list of recent clients.
    pub const NOMRULIST: Self = Self(1 << 8);

    /// Whether every flag of `other` is set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The flags' bits.
    pub const fn bits(self) -> u16 {
        self.0
    }
}

impl BitOr for AccessFlags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// One `restrict` line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccessEntry {
    /// Whom it is about.
    pub prefix: IpPrefix,
    /// What they may not do.
    pub flags: AccessFlags,
    /// Whether it is only about source port 123.
    pub ntpport: bool,
}

/// All `restrict` lines.
#[derive(Clone, Debug, Default)]
pub struct AccessList {
    entries: Vec<AccessEntry>,
}

impl AccessList {
    /// From the lines in any order: the most specific entry wins entirely, entries about the same addresses are united.
    pub fn new(entries: &[AccessEntry]) -> Self {
        Self { entries: entries.to_vec() }
    }

    /// What `peer` may not do.
    pub fn lookup(&self, peer: SocketAddr) -> AccessFlags {
        let address = peer.ip().to_canonical();
        let matches = self.entries.iter().filter(|entry| {
            IpPrefix::new(address, entry.prefix.length) == Some(entry.prefix)
                && (!entry.ntpport || peer.port() == 123)
        });
        let rank = |entry: &AccessEntry| (entry.prefix.length, entry.ntpport);
        let Some(best) = matches.clone().map(rank).max() else { return AccessFlags::NOQUERY };
        matches
            .filter(|entry| rank(entry) == best)
            .fold(AccessFlags::NONE, |flags, entry| flags | entry.flags)
    }
}
