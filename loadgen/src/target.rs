//! Whom to load, from which addresses, and whether that is anybody else's business.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};

use ntpring::sys::interfaces;

use crate::failure::Failure;

const NTP_PORT: u16 = 123;

/// What the command line names: HOST, HOST:PORT, an IPv6 address with or without brackets, `[V6]:PORT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    host: String,
    port: u16,
}

/// Which addresses of a name are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    Any,
    V4,
    V6,
}

impl Target {
    /// Reads what the command line names.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("\"{text}\" is no HOST, HOST:PORT, [IPV6] or [IPV6]:PORT");
        let (host, port) =
            if text.split('%').next().is_some_and(|address| address.parse::<Ipv6Addr>().is_ok()) {
                (text, None)
            } else if let Some(rest) = text.strip_prefix('[') {
                let (host, rest) = rest.split_once(']').ok_or_else(wrong)?;
                let port =
                    if rest.is_empty() { None } else { Some(rest.strip_prefix(':').ok_or_else(wrong)?) };
                (host, port)
            } else {
                text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port)))
            };
        let port = port.map_or(Ok(NTP_PORT), str::parse).map_err(|_| wrong())?;
        if host.is_empty() || host.contains(char::is_whitespace) || port == 0 {
            return Err(wrong());
        }
        Ok(Self { host: host.to_owned(), port })
    }

    /// The first address of the wanted family.
    pub(crate) fn resolve(&self, family: Family) -> Result<SocketAddr, Failure> {
        let found = (self.host.as_str(), self.port)
            .to_socket_addrs()
            .map_err(|error| Failure::RunTime(format!("cannot resolve {}: {error}", self.host)))?;
        let wanted = |address: &SocketAddr| match family {
            Family::Any => true,
            Family::V4 => address.is_ipv4(),
            Family::V6 => address.is_ipv6(),
        };
        let address = found.into_iter().find(wanted).ok_or_else(|| {
            Failure::RunTime(format!("{} has no address of the family that was asked for", self.host))
        })?;
        let ip = address.ip().to_canonical();
        if ip.is_unspecified() || ip.is_multicast() || ip == IpAddr::V4(Ipv4Addr::BROADCAST) {
            return Err(Failure::Usage(format!("{ip} is no address of one server")));
        }
        if matches!(address, SocketAddr::V6(v6) if v6.ip().is_unicast_link_local() && v6.scope_id() == 0) {
            return Err(Failure::Usage(format!(
                "{ip} exists on every link: name the interface, as in {ip}%eth0"
            )));
        }
        Ok(address)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Load is a nuisance to anybody who did not ask for it: free are this machine's own addresses, and what
/// hangs on the other end of a veth, which is a namespace of the same machine.
pub(crate) fn check_manners(target: SocketAddr, operates: bool) -> Result<(), Failure> {
    if operates || is_here(target) {
        return Ok(());
    }
    Err(Failure::Usage(format!(
        "{} is not on this machine: if you operate this server, add --yes-i-operate-this-server",
        target.ip()
    )))
}

/// Whether the target is an address of this network namespace, or on the same link through a veth.
pub(crate) fn is_here(target: SocketAddr) -> bool {
    let ip = target.ip().to_canonical();
    let interfaces = interfaces::addresses().unwrap_or_default();
    if ip.is_loopback() || interfaces.iter().any(|own| own.address.ip() == ip) {
        return true;
    }
    let Some(from) = local_address(target) else { return false };
    interfaces.iter().any(|own| {
        own.address.ip() == from
            && shares_prefix(from, ip, own.prefix_length)
            && interfaces::driver(&own.interface).is_ok_and(|driver| driver == "veth")
    })
}

/// The address from which the routing table sends to the target; nothing is sent.
pub(crate) fn local_address(target: SocketAddr) -> Option<IpAddr> {
    let any: IpAddr = match target {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect(target).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

fn shares_prefix(a: IpAddr, b: IpAddr, length: u32) -> bool {
    match (a, b) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros() >= length.min(32),
        (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros() >= length.min(128),
        _ => false,
    }
}

/// Whether clients of this target have an address each, and not only a port.
pub(crate) fn has_own_addresses(target: SocketAddr) -> bool {
    target.is_ipv4() && target.ip().is_loopback()
}

/// The source address of each client. On the IPv4 loopback every client has an address of its own, 127.0.1.1
/// and up, so that a server which spreads its clients by address uses all its workers; elsewhere clients
/// differ by their port alone.
pub(crate) fn sources(target: SocketAddr, clients: usize) -> Vec<IpAddr> {
    const FIRST: u32 = Ipv4Addr::new(127, 0, 1, 1).to_bits();
    /// What is left of 127.0.0.0/8 from the first on, but for its broadcast address.
    const ADDRESSES: u32 = 0x7FFF_FFFF - FIRST;
    match target.ip() {
        IpAddr::V4(_) if has_own_addresses(target) => {
            (0..ADDRESSES).cycle().take(clients).map(|n| Ipv4Addr::from(FIRST + n).into()).collect()
        }
        IpAddr::V4(_) => vec![Ipv4Addr::UNSPECIFIED.into(); clients],
        IpAddr::V6(_) => vec![Ipv6Addr::UNSPECIFIED.into(); clients],
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn targets_have_hosts_addresses_and_ports() {
        for (text, expected) in [
            ("ntp.example", "ntp.example:123"),
            ("ntp.example:11123", "ntp.example:11123"),
            ("192.0.2.1:9", "192.0.2.1:9"),
            ("::1", "[::1]:123"),
            ("[::1]", "[::1]:123"),
            ("fe80::1%lo", "[fe80::1%lo]:123"),
            ("[fe80::1%lo]:99", "[fe80::1%lo]:99"),
        ] {
            assert_eq!(Target::parse(text).unwrap().to_string(), expected);
        }
        for text in ["", ":123", "host:", "host:0", "host:65536", "[::1", "[::1]x", "a b", "1:2:3"] {
            assert!(Target::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn servers_elsewhere_are_loaded_by_their_operators_only() {
        let check = |ip: &str, operates| check_manners(SocketAddr::new(ip.parse().unwrap(), 123), operates);
        for here in ["127.0.0.1", "127.9.8.7", "::1", "::ffff:127.0.0.1"] {
            assert!(check(here, false).is_ok(), "{here}");
        }
        for there in ["8.8.8.8", "198.51.100.1", "192.0.2.1", "2a00::1", "::ffff:8.8.8.8"] {
            assert!(check(there, false).is_err(), "{there}");
            assert!(check(there, true).is_ok(), "{there}");
        }
    }

    #[test]
    fn a_prefix_is_the_bits_on_the_left() {
        let shares = |a: &str, b: &str, length| shares_prefix(a.parse().unwrap(), b.parse().unwrap(), length);
        assert!(shares("10.0.1.1", "10.0.1.200", 24) && !shares("10.0.1.1", "10.0.2.1", 24));
        assert!(shares("fd00::1", "fd00::2", 64) && !shares("fd00::1", "fd00:0:0:1::1", 64));
        assert!(!shares("10.0.0.1", "::1", 0) && !shares("10.0.0.1", "10.0.0.2", u32::MAX));
    }

    #[test]
    fn no_name_stands_for_many_servers() {
        for text in ["0.0.0.0", "224.0.1.1", "255.255.255.255", "::", "ff02::101"] {
            let failure = Target::parse(text).unwrap().resolve(Family::Any);
            assert!(matches!(failure, Err(Failure::Usage(_))), "{text}");
        }
    }

    #[test]
    fn link_local_addresses_need_their_interface() {
        let resolve = |text| Target::parse(text).unwrap().resolve(Family::Any);
        assert!(matches!(resolve("fe80::1"), Err(Failure::Usage(_))));
        assert_eq!(resolve("[fe80::1%1]:99").unwrap().to_string(), "[fe80::1%1]:99");
    }

    #[test]
    fn loopback_clients_have_addresses_of_their_own() {
        let clients = sources("127.0.0.1:123".parse().unwrap(), 1000);
        assert_eq!(clients.iter().collect::<HashSet<_>>().len(), 1000);
        assert!(clients.iter().all(IpAddr::is_loopback));
        assert_eq!(sources("[::1]:123".parse().unwrap(), 2), [Ipv6Addr::UNSPECIFIED; 2]);
    }
}
