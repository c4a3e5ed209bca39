//! Access lists of any size, and clients to look up in them.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use fastrand::Rng;
use ntpring::server::{AccessEntry, AccessFlags, IpPrefix};

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// The name in the names of benches.
    pub const fn name(self) -> &'static str {
        match self {
            Self::V4 => "v4",
            Self::V6 => "v6",
        }
    }

    /// Any address; of IPv6 any that is routed.
    fn address(self, random: &mut Rng) -> IpAddr {
        match self {
            Self::V4 => IpAddr::V4(random.u32(..).into()),
            Self::V6 => IpAddr::V6(Ipv6Addr::from_bits(random.u128(..) >> 3 | 1 << 125)),
        }
    }

    /// Prefix lengths as block lists have them: networks of all sizes and single hosts.
    fn prefix_length(self, random: &mut Rng) -> u8 {
        match self {
            Self::V4 => random.u8(16..=32),
            Self::V6 => random.choice([32, 40, 48, 56, 64, 128]).unwrap_or(128),
        }
    }
}

/// `count` restrict lines about random networks of one family.
pub fn entries(family: Family, count: usize, random: &mut Rng) -> Vec<AccessEntry> {
    let entry = |random: &mut Rng| {
        let prefix = IpPrefix::new(family.address(random), family.prefix_length(random))?;
        Some(AccessEntry { prefix, flags: AccessFlags::IGNORE, ntpport: false })
    };
    (0..count).filter_map(|_| entry(random)).collect()
}

/// `count` random clients, every second one inside one of the `entries`, the others anywhere.
pub fn clients(family: Family, entries: &[AccessEntry], count: usize, random: &mut Rng) -> Vec<SocketAddr> {
    let client = |index: usize, random: &mut Rng| {
        let address = match random.choice(entries) {
            Some(entry) if index.is_multiple_of(2) => host(entry.prefix, random),
            _ => family.address(random),
        };
        SocketAddr::new(address, random.u16(1024..))
    };
    (0..count).map(|index| client(index, random)).collect()
}

/// Any address that begins as `prefix` does.
fn host(prefix: IpPrefix, random: &mut Rng) -> IpAddr {
    let length = u32::from(prefix.length());
    match prefix.address() {
        IpAddr::V4(v4) => {
            let below = u32::MAX.checked_shr(length).unwrap_or(0);
            IpAddr::V4((v4.to_bits() | random.u32(..) & below).into())
        }
        IpAddr::V6(v6) => {
            let below = u128::MAX.checked_shr(length).unwrap_or(0);
            IpAddr::V6((v6.to_bits() | random.u128(..) & below).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use ntpring::server::AccessList;

    use super::*;

    #[test]
    fn every_second_client_is_inside_an_entry() {
        for family in [Family::V4, Family::V6] {
            let random = &mut Rng::with_seed(1);
            let entries = entries(family, 100, random);
            let list = AccessList::new(&entries).unwrap();
            let inside = |client: &&SocketAddr| list.lookup(**client).contains(AccessFlags::IGNORE);
            let clients = clients(family, &entries, 2000, random);
            assert!(clients.iter().step_by(2).all(|client| inside(&client)));
            assert!(
                clients.iter().skip(1).step_by(2).filter(inside).count() < 500,
                "the others are anywhere"
            );
        }
    }
}
