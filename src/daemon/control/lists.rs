//! Lists that only those with the control key are told: what is served, and whom `restrict` is about.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::control::{Interface, Restriction};
use crate::server::{AccessFlags, AccessList, IpPrefix, Observed, SocketTally};
use crate::snapshot::{Association, AssociationKind};
use crate::sys::interfaces::{self, InterfaceFlags};

/// Entries of one list; a response has no room for more.
const ENTRIES: usize = 512;

/// ntpd's INT_… bits.
const UP: u16 = 0x001;
const POINT_TO_POINT: u16 = 0x002;
const LOOPBACK: u16 = 0x004;
const BROADCAST: u16 = 0x008;
const MULTICAST: u16 = 0x010;
const WILDCARD: u16 = 0x080;

/// The served address of a socket, and what went through all workers' sockets of this address.
pub(super) fn interface(
    address: SocketAddr,
    moved: SocketTally,
    associations: &[Association],
    uptime: u64,
) -> Interface {
    let (name, flags) = name_and_flags(address);
    Interface {
        name,
        address,
        flags,
        received: moved.received,
        sent: moved.answered.saturating_sub(moved.send_failed),
        send_failed: moved.send_failed,
        peers: associations.iter().filter(|source| is_asked_from(address.ip(), source)).count(),
        uptime,
    }
}

/// The wildcard addresses have the names and flags that ntpd gives them.
fn name_and_flags(address: SocketAddr) -> (String, u16) {
    match address.ip() {
        IpAddr::V4(v4) if v4.is_unspecified() => ("v4wildcard".to_owned(), UP | BROADCAST | WILDCARD),
        IpAddr::V6(v6) if v6.is_unspecified() => ("v6wildcard".to_owned(), UP | WILDCARD),
        ip => {
            let all = interfaces::addresses().unwrap_or_default();
            let found = all.into_iter().find(|known| known.address.ip() == ip);
            found.map_or(("?".to_owned(), 0), |known| (known.interface, bits(known.flags)))
        }
    }
}

fn bits(flags: InterfaceFlags) -> u16 {
    [
        (flags.up, UP),
        (flags.point_to_point, POINT_TO_POINT),
        (flags.loopback, LOOPBACK),
        (flags.broadcast, BROADCAST),
        (flags.multicast, MULTICAST),
    ]
    .into_iter()
    .filter_map(|(is_set, bit)| is_set.then_some(bit))
    .sum()
}

/// Whether our end of an association has this address. A local clock is spoken to from the loopback.
fn is_asked_from(served: IpAddr, source: &Association) -> bool {
    let local = match source.kind {
        AssociationKind::LocalClock => Ipv4Addr::LOCALHOST.into(),
        _ => source.local,
    };
    local == served
        || (served.is_unspecified() && !local.is_unspecified() && served.is_ipv4() == local.is_ipv4())
}

/// All entries of an access list, the most specific first, IPv4 before IPv6. Those who asked lately are
/// counted to the one that held for them.
pub(super) fn restrictions(access: &AccessList, clients: impl Iterator<Item = Observed>) -> Vec<Restriction> {
    let mut hits = Hits::default();
    for client in clients {
        let found = access.innermost(client.peer.ip());
        let is_split = found.is_some_and(|(_, any, ntp)| any != ntp);
        let by_port = is_split && client.peer.port() == super::super::listen::NTP_PORT;
        let prefix = found.map_or_else(|| everybody(client.peer.ip()), |(prefix, ..)| prefix);
        *hits.0.entry((prefix, by_port)).or_default() += client.count;
    }
    let mut list = family(access, Ipv4Addr::UNSPECIFIED.into(), &hits);
    list.extend(family(access, Ipv6Addr::UNSPECIFIED.into(), &hits));
    list
}

/// Datagrams by prefix, and by whether an entry for port 123 held.
#[derive(Default)]
struct Hits(HashMap<(IpPrefix, bool), u64>);

fn family(access: &AccessList, unspecified: IpAddr, hits: &Hits) -> Vec<Restriction> {
    let is_ours = |prefix: &IpPrefix| prefix.address().is_ipv4() == unspecified.is_ipv4();
    let mut list = Vec::new();
    let mut has_default = false;
    for (prefix, any, ntp) in access.prefixes().rev().filter(|(prefix, ..)| is_ours(prefix)).take(ENTRIES) {
        has_default |= prefix.length() == 0;
        if ntp != any {
            list.push(restriction(prefix, ntp, true, hits));
        }
        list.push(restriction(prefix, any, false, hits));
    }
    if !has_default {
        list.push(restriction(everybody(unspecified), AccessList::UNMATCHED, false, hits));
    }
    list
}

fn restriction(prefix: IpPrefix, flags: AccessFlags, ntpport: bool, hits: &Hits) -> Restriction {
    Restriction {
        address: prefix.address(),
        length: prefix.length(),
        hits: hits.0.get(&(prefix, ntpport)).copied().unwrap_or_default(),
        flags: format!("{}{}", if ntpport { "ntpport " } else { "" }, words(flags)),
    }
}

/// The prefix of all addresses of a family.
fn everybody(address: IpAddr) -> IpPrefix {
    let unspecified: IpAddr = match address.to_canonical() {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    IpPrefix::new(unspecified, 0).unwrap_or_else(|| IpPrefix::host(unspecified))
}

/// ntpd's words for what holds, in its order. Nobody may be a peer of ours, or be sent traps.
fn words(flags: AccessFlags) -> String {
    const WORDS: [(Option<AccessFlags>, &str, &str); 12] = [
        (Some(AccessFlags::IGNORE), "ignore", ""),
        (Some(AccessFlags::NOSERVE), "noserve", "serve"),
        (Some(AccessFlags::NOTRUST), "notrust", "trust"),
        (Some(AccessFlags::VERSION), "version", ""),
        (None, "nopeer", ""),
        (None, "noepeer", ""),
        (Some(AccessFlags::LIMITED), "limited", ""),
        (Some(AccessFlags::NOQUERY), "noquery", "query"),
        (Some(AccessFlags::NOMODIFY), "nomodify", ""),
        (None, "notrap", ""),
        (Some(AccessFlags::KOD), "kod", ""),
        (Some(AccessFlags::NOMRULIST), "nomrulist", ""),
    ];
    let word = |(flag, set, clear): (Option<AccessFlags>, &'static str, &'static str)| {
        if flag.is_none_or(|flag| flags.contains(flag)) { set } else { clear }
    };
    let words: Vec<&str> = WORDS.into_iter().map(word).filter(|word| !word.is_empty()).collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::{AccessEntry, Limited};
    use crate::wire::NtpTimestamp;

    fn entry(address: &str, length: u8, flags: AccessFlags, ntpport: bool) -> AccessEntry {
        let address = address.parse().expect("an address");
        AccessEntry { prefix: IpPrefix::new(address, length).expect("a prefix"), flags, ntpport }
    }

    fn client(peer: &str, count: u64) -> Observed {
        let (first, last) = (NtpTimestamp::UNKNOWN, NtpTimestamp::UNKNOWN);
        let peer = peer.parse().expect("an address");
        Observed { peer, first, last, count, version_mode: 0x23, limited: Limited::No }
    }

    #[test]
    fn the_entry_that_held_has_the_hits() {
        let limited = AccessFlags::LIMITED | AccessFlags::KOD | AccessFlags::NOQUERY;
        let access = AccessList::new(&[
            entry("0.0.0.0", 0, limited, false),
            entry("192.0.2.0", 24, AccessFlags::NONE, false),
            entry("192.0.2.7", 32, AccessFlags::IGNORE, true),
        ])
        .expect("few entries");
        let clients = [
            client("192.0.2.7:123", 1),
            client("192.0.2.7:5000", 2),
            client("192.0.2.9:123", 4),
            client("198.51.100.1:1", 8),
            client("[2001:db8::1]:1", 16),
        ];
        let list = restrictions(&access, clients.into_iter());
        let shown: Vec<String> = list
            .iter()
            .map(|entry| format!("{}/{} {} {}", entry.address, entry.length, entry.hits, entry.flags))
            .collect();
        assert_eq!(
            shown,
            [
                "192.0.2.7/32 1 ntpport ignore serve trust nopeer noepeer query notrap",
                "192.0.2.7/32 2 serve trust nopeer noepeer query notrap",
                "192.0.2.0/24 4 serve trust nopeer noepeer query notrap",
                "0.0.0.0/0 8 serve trust nopeer noepeer limited noquery notrap kod",
                "::/0 16 serve trust nopeer noepeer noquery notrap",
            ]
        );
    }

    #[test]
    fn the_loopback_and_the_wildcards_are_named_as_ntpd_names_them() {
        let of = |address: &str| name_and_flags(address.parse().expect("an address"));
        assert_eq!(of("0.0.0.0:123"), ("v4wildcard".to_owned(), 0x89));
        assert_eq!(of("[::]:123"), ("v6wildcard".to_owned(), 0x81));
        assert_eq!(of("127.0.0.1:123"), ("lo".to_owned(), 0x5));
        assert_eq!(of("192.0.2.77:123").0, "?");
    }
}
