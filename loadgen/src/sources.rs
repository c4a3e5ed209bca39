//! A prefix full of source addresses, and whether they are routed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;
use std::{fs, io};

use ipnet::IpNet;
use socket2::{Domain, Socket, Type};

use crate::failure::Failure;
use crate::population::Population;
use crate::{compose, target};

/// How many addresses of a prefix are used at most: enough for every client there is.
const MEMBERS_MAX: u64 = 1 << 40;
/// Fractions of 2^32 and 2^128 near the golden ratio, odd: multiplying by them modulo a power of two is a
/// permutation that spreads neighbours far apart, so that networks inside the prefix are used alike.
const SPREAD_V4: u32 = 0x9E37_79B1;
const SPREAD_V6: u128 = 0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835;

/// How many source addresses `prefix` gives.
pub(crate) fn members(prefix: IpNet) -> u64 {
    let bits = u32::from(prefix.max_prefix_len() - prefix.prefix_len());
    1_u64.checked_shl(bits).map_or(MEMBERS_MAX, |members| members.min(MEMBERS_MAX))
}

/// The source address of client `member`; different ones for different members below [`members`].
#[inline]
pub(crate) fn address(prefix: IpNet, member: u64) -> IpAddr {
    match prefix {
        IpNet::V4(v4) => {
            let host = (member as u32).wrapping_mul(SPREAD_V4) & v4.hostmask().to_bits();
            Ipv4Addr::from_bits(v4.network().to_bits() | host).into()
        }
        IpNet::V6(v6) => {
            let host = u128::from(member).wrapping_mul(SPREAD_V6) & v6.hostmask().to_bits();
            Ipv6Addr::from_bits(v6.network().to_bits() | host).into()
        }
    }
}

/// Who asks next, by source address.
#[derive(Clone, Debug)]
pub(crate) struct Crowd {
    prefix: IpNet,
    population: Population,
}

impl Crowd {
    /// The addresses of `prefix`, in turn or by Zipf's law; of those in turn, this thread has its share.
    pub(crate) fn new(prefix: IpNet, zipf: Option<f64>, threads: usize, thread: usize) -> Self {
        let population = Population::new(members(prefix), zipf, threads as u64, thread as u64);
        Self { prefix, population }
    }

    /// How many there are.
    pub(crate) fn members(&self) -> u64 {
        members(self.prefix)
    }

    /// Who makes the next request.
    #[inline]
    pub(crate) fn choose(&mut self, random: &mut fastrand::Rng) -> u64 {
        self.population.choose(random)
    }

    /// The source address of client `member`.
    #[inline]
    pub(crate) fn address(&self, member: u64) -> IpAddr {
        address(self.prefix, member)
    }
}

/// How long one answer is waited for, and how often.
const PATIENCE: Duration = Duration::from_millis(400);
const TRIES: usize = 3;

/// Finds out whether requests from the prefix reach the target, and answers the prefix.
///
/// # Errors
/// What is missing, with the command that mends it.
pub(crate) fn probe(prefix: IpNet, target: SocketAddr) -> Result<(), Failure> {
    let ip = target.ip();
    if ip.is_ipv4() != prefix.addr().is_ipv4() {
        let text = format!("--sources {prefix}: the target {ip} is of the other family");
        return Err(Failure::Usage(text));
    }
    let ours = target::local_address(target)
        .ok_or_else(|| Failure::RunTime(format!("there is no route to the target {ip}")))?;
    let here = format!("here: ip route add local {prefix} dev lo");
    // A server in the same network namespace finds the way back by the same route.
    let there =
        if ours == ip { String::new() } else { format!("; on the server: ip route add {prefix} via {ours}") };
    let source = address(prefix, members(prefix) - 1);
    match ask(source, target) {
        Ok(true) => Ok(()),
        Ok(false) if ours == ip || !ask(ours, target).unwrap_or(false) => {
            Err(Failure::RunTime(format!("{target} answers neither {source} nor {ours}")))
        }
        Ok(false) => Err(Failure::RunTime(format!(
            "{target} answers {ours} but not {source}: its way back to {prefix} is missing{there}"
        ))),
        Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => {
            Err(Failure::RunTime(format!("{prefix} is not routed to this machine: {here}{there}")))
        }
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            Err(Failure::RunTime(format!("nothing listens at {target}")))
        }
        Err(error) => Err(Failure::RunTime(format!("cannot reach {target} from {source}: {error}"))),
    }
}

/// Whether the target answers this address.
fn ask(source: IpAddr, target: SocketAddr) -> io::Result<bool> {
    let socket = bind(source)?;
    socket.connect(target)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let request = compose::probe(fastrand::u64(1..));
    for _ in 0..TRIES {
        socket.send(&request)?;
        // The end of a ring's own work interrupts a wait that has a time limit.
        let mut answer = socket.recv(&mut [0; 64]);
        while answer.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::Interrupted) {
            answer = socket.recv(&mut [0; 64]);
        }
        match answer {
            Ok(_) => return Ok(true),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}

/// A socket with this source address, which is routed to this machine, or `AddrNotAvailable`.
fn bind(source: IpAddr) -> io::Result<UdpSocket> {
    let IpAddr::V6(v6) = source else { return UdpSocket::bind((source, 0)) };
    // IPv4 finds out itself. IPv6 knows the addresses of its interfaces only, unless it is told not to look.
    let routes = fs::read_to_string(IPV6_ROUTES)?;
    if !routes.lines().any(|line| is_local_route_to(line, v6)) {
        return Err(io::ErrorKind::AddrNotAvailable.into());
    }
    let socket = Socket::new(Domain::IPV6, Type::DGRAM, None)?;
    socket.set_freebind_v6(true)?;
    socket.bind(&SocketAddr::new(source, 0).into())?;
    Ok(socket.into())
}

/// One route per line: destination, its length, source, its length, next hop, metric, two counters, flags,
/// interface; all numbers are hexadecimal.
const IPV6_ROUTES: &str = "/proc/net/ipv6_route";
/// RTF_LOCAL of linux/ipv6_route.h.
const LOCAL: u32 = 0x8000_0000;

fn is_local_route_to(line: &str, address: Ipv6Addr) -> bool {
    let mut fields = line.split_ascii_whitespace();
    let destination = fields.next().and_then(|text| u128::from_str_radix(text, 16).ok());
    let length = fields.next().and_then(|text| u32::from_str_radix(text, 16).ok());
    let flags = fields.nth(6).and_then(|text| u32::from_str_radix(text, 16).ok());
    let (Some(destination), Some(length), Some(flags)) = (destination, length, flags) else { return false };
    flags & LOCAL != 0 && (destination ^ address.to_bits()).leading_zeros() >= length
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn members_of_a_prefix_are_distinct_and_inside() {
        for (prefix, count) in
            [("10.9.0.0/16", 65_536), ("192.0.2.7/32", 1), ("fd00:9::/64", 70_000), ("fd00::/16", 70_000)]
        {
            let prefix: IpNet = prefix.parse().unwrap();
            let addresses: HashSet<IpAddr> =
                (0..members(prefix).min(count)).map(|member| address(prefix, member)).collect();
            assert_eq!(addresses.len() as u64, count);
            assert!(addresses.iter().all(|address| prefix.contains(address)), "{prefix}");
        }
        // A server may take a /64 for one client.
        let networks: HashSet<u64> = (0..1000)
            .map(|member| match address("fd00:9::/48".parse().unwrap(), member) {
                IpAddr::V6(v6) => (v6.to_bits() >> 64) as u64,
                IpAddr::V4(_) => 0,
            })
            .collect();
        assert!(networks.len() > 900, "{}", networks.len());
        assert_eq!(members("0.0.0.0/0".parse().unwrap()), 1 << 32);
    }

    #[test]
    fn local_routes_of_ipv6_are_read_as_the_kernel_prints_them() {
        let line = |destination: &str, flags: &str| {
            let zeros = "0".repeat(32);
            format!("{destination} {zeros} 00 {zeros} 00000400 00000001 00000000 {flags}       lo")
        };
        let local = line("fd090000000000000000000000000000 30", "80200001");
        let address = |text: &str| text.parse::<Ipv6Addr>().unwrap();
        assert!(is_local_route_to(&local, address("fd09::7")));
        assert!(!is_local_route_to(&local, address("fd09:0:1::7")));
        let other = line("fd090000000000000000000000000000 30", "00000001");
        assert!(!is_local_route_to(&other, address("fd09::7")) && !is_local_route_to("", address("::")));
    }

    #[test]
    fn what_is_missing_is_said_with_the_command_that_mends_it() {
        let server = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let target = server.local_addr().unwrap();
        let said = |prefix: &str| match probe(prefix.parse().unwrap(), target) {
            Err(Failure::RunTime(text) | Failure::Usage(text)) => text,
            Ok(()) => String::new(),
        };
        assert!(said("fd00::/64").contains("the other family"));
        let missing = said("198.18.0.0/16");
        assert!(missing.ends_with("here: ip route add local 198.18.0.0/16 dev lo"), "{missing}");
        assert!(said("127.9.0.0/16").contains("answers neither"));
        drop(server);
        assert!(said("127.9.0.0/16").contains("nothing listens"));
    }
}
