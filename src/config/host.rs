//! Addresses, prefixes and host names.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::error::Hint;
use super::line::show;

/// The address families that a line is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// Both.
    #[default]
    Any,
    /// IPv4 only (`-4`).
    V4,
    /// IPv6 only (`-6`).
    V6,
}

impl Family {
    /// Whether `address` is of this family.
    pub fn contains(self, address: IpAddr) -> bool {
        match self {
            Self::Any => true,
            Self::V4 => address.is_ipv4(),
            Self::V6 => address.is_ipv6(),
        }
    }

    /// The option that asks for this family.
    pub(super) fn option(self) -> &'static str {
        match self {
            Self::Any => "",
            Self::V4 => "-4",
            Self::V6 => "-6",
        }
    }
}

/// A host as a line names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// By address.
    Address(IpAddr),
    /// By a DNS name, or by an IPv6 address with a scope (`fe80::1%eth0`), for getaddrinfo(3) to resolve.
    Name(String),
}

/// The addresses that begin with the same bits. Ordered by address, then length: outer prefixes before inner
/// ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Prefix {
    address: IpAddr,
    length: u8,
}

impl Prefix {
    /// Every IPv4 address.
    pub const ALL_V4: Self = Self { address: IpAddr::V4(Ipv4Addr::UNSPECIFIED), length: 0 };
    /// Every IPv6 address.
    pub const ALL_V6: Self = Self { address: IpAddr::V6(Ipv6Addr::UNSPECIFIED), length: 0 };

    /// The first `length` bits of `address`; none if it has fewer.
    pub fn new(address: IpAddr, length: u8) -> Option<Self> {
        let address = match address {
            IpAddr::V4(v4) if length <= 32 => {
                let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
                IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & mask))
            }
            IpAddr::V6(v6) if length <= 128 => {
                let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
                IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & mask))
            }
            _ => return None,
        };
        Some(Self { address, length })
    }

    /// One address.
    pub fn host(address: IpAddr) -> Self {
        Self { address, length: if address.is_ipv4() { 32 } else { 128 } }
    }

    /// The first address; its bits after [`Prefix::length`] are 0.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// How many bits are given: 0–32 or 0–128.
    pub fn length(&self) -> u8 {
        self.length
    }

    /// Whether `address` begins with these bits.
    pub fn contains(&self, address: IpAddr) -> bool {
        Self::new(address, self.length) == Some(*self)
    }
}

/// How many bits a mask keeps, if it keeps the first ones and no others.
pub(super) fn mask_length(mask: IpAddr) -> Option<u8> {
    let (ones, length) = match mask {
        IpAddr::V4(v4) => (v4.to_bits().leading_ones(), v4.to_bits().count_ones()),
        IpAddr::V6(v6) => (v6.to_bits().leading_ones(), v6.to_bits().count_ones()),
    };
    // At most 128.
    (ones == length).then_some(length as u8)
}

/// What is wrong with an address or name.
pub(super) type HostFault = (String, Option<Hint>);

/// An address (IPv6 with or without brackets) or a host name of `family`.
pub(super) fn host(text: &str, family: Family) -> Result<Host, HostFault> {
    let inside = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    if let Ok(address) = inside.unwrap_or(text).parse::<IpAddr>() {
        if inside.is_some() && address.is_ipv4() {
            return Err((
                format!("{} is no IPv6 address", show(text)),
                Some("only those take brackets".into()),
            ));
        }
        return if family.contains(address) {
            Ok(Host::Address(address))
        } else {
            Err((format!("{} is no address of family \"{}\"", show(text), family.option()), None))
        };
    }
    if text.contains([':', '[']) {
        return scoped_or_wrong(inside.unwrap_or(text));
    }
    name(text)
}

/// `fe80::1%eth0`: which interface that is, only the kernel knows.
fn scoped_or_wrong(text: &str) -> Result<Host, HostFault> {
    match text.split_once('%') {
        Some((address, scope)) if address.parse::<Ipv6Addr>().is_ok() && !scope.is_empty() => {
            Ok(Host::Name(text.to_owned()))
        }
        _ => {
            let hint = "a port cannot be given: NTP servers answer on port 123";
            let is_port = text.matches(':').count() == 1;
            Err((format!("{} is no address", show(text)), is_port.then(|| hint.into())))
        }
    }
}

/// A DNS name (RFC 1123 §2.1, with the underscores that are seen in the wild).
fn name(text: &str) -> Result<Host, HostFault> {
    let labels = || text.strip_suffix('.').unwrap_or(text).split('.');
    let is_label = |label: &str| {
        let ends = label.starts_with('-') || label.ends_with('-');
        let inside = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        (1..=63).contains(&label.len()) && !ends && inside
    };
    // A name whose last label is a number is taken for an address by every resolver.
    if labels()
        .next_back()
        .is_some_and(|label| !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_digit()))
    {
        let hint = "four numbers from 0 to 255, without leading zeros";
        return Err((format!("{} is no IPv4 address", show(text)), Some(hint.into())));
    }
    if text.len() > 253 || !labels().all(is_label) {
        let hint =
            (!text.is_ascii()).then(|| "names with other letters are written in Punycode (xn--…)".into());
        return Err((format!("{} is neither an address nor a host name", show(text)), hint));
    }
    Ok(Host::Name(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_have_a_length_if_their_ones_come_first() {
        let length = |mask: &str| mask_length(mask.parse().expect("an address"));
        assert_eq!(length("0.0.0.0"), Some(0));
        assert_eq!(length("255.255.240.0"), Some(20));
        assert_eq!(length("255.255.255.255"), Some(32));
        assert_eq!(length("0.0.0.255"), None);
        assert_eq!(length("255.0.255.0"), None);
        assert_eq!(length("ffff:ffff::"), Some(32));
        assert_eq!(length("::"), Some(0));
        assert_eq!(length("ffff::1"), None);
    }

    #[test]
    fn prefixes_hold_what_begins_with_them() {
        let address = |text: &str| text.parse::<IpAddr>().expect("an address");
        let network = Prefix::new(address("192.0.2.77"), 24).expect("a prefix");
        assert_eq!((network.address(), network.length()), (address("192.0.2.0"), 24));
        assert!(network.contains(address("192.0.2.255")) && !network.contains(address("192.0.3.0")));
        assert!(Prefix::ALL_V6.contains(address("::1")) && !Prefix::ALL_V6.contains(address("127.0.0.1")));
        assert!(!Prefix::ALL_V4.contains(address("::1")));
        assert_eq!(Prefix::new(address("192.0.2.77"), 33), None);
        assert_eq!(Prefix::new(address("::"), 129), None);
        assert_eq!(Prefix::new(address("::1"), 128), Some(Prefix::host(address("::1"))));
    }

    #[test]
    fn names_are_told_from_broken_addresses() {
        for name in
            ["a", "time.example.org", "time.example.org.", "under_score.example", "1.a", "fe80::1%eth0"]
        {
            assert_eq!(host(name, Family::Any), Ok(Host::Name(name.to_owned())));
        }
        for wrong in
            ["", ".", "a..b", "-a", "a b", "1.2.3", "1.2.3.04", "1.2.3.4.5", "[::1", "fe80::1%", "::1]"]
        {
            assert!(host(wrong, Family::Any).is_err(), "{wrong}");
        }
        let label = "x".repeat(64);
        assert!(host(&label, Family::Any).is_err());
    }
}
