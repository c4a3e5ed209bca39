use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::*;

fn prefix(text: &str) -> IpPrefix {
    let (address, length) = text.split_once('/').unwrap();
    IpPrefix::new(address.parse().unwrap(), length.parse().unwrap()).unwrap()
}

fn entry(text: &str, flags: AccessFlags) -> AccessEntry {
    AccessEntry { prefix: prefix(text), flags, ntpport: false }
}

fn flags_of(list: &AccessList, peer: &str) -> AccessFlags {
    list.lookup(peer.parse().unwrap())
}

/// The rule itself, entry by entry.
fn by_the_rule(entries: &[AccessEntry], peer: SocketAddr) -> AccessFlags {
    let address = peer.ip().to_canonical();
    let matches = entries.iter().filter(|entry| {
        let same_family = entry.prefix.address.is_ipv4() == address.is_ipv4();
        same_family
            && IpPrefix::new(address, entry.prefix.length) == Some(entry.prefix)
            && (!entry.ntpport || peer.port() == 123)
    });
    let rank = |entry: &AccessEntry| (entry.prefix.length, entry.ntpport);
    let Some(best) = matches.clone().map(rank).max() else { return AccessList::UNMATCHED };
    matches.filter(|entry| rank(entry) == best).fold(AccessFlags::NONE, |flags, entry| flags | entry.flags)
}

/// Addresses that share long prefixes with each other, of both families and mapped.
fn address() -> impl Strategy<Value = IpAddr> {
    let v4 = (any::<bool>(), any::<u32>(), 0_u32..32)
        .prop_map(|(near, bits, shift)| if near { 0x0A00_0000 | (bits >> shift) } else { bits })
        .prop_map(Ipv4Addr::from_bits);
    let v6 = (any::<bool>(), any::<u128>(), 0_u32..128)
        .prop_map(|(near, bits, shift)| if near { (0x2001_0DB8 << 96) | (bits >> shift) } else { bits })
        .prop_map(Ipv6Addr::from_bits);
    prop_oneof![
        v4.clone().prop_map(IpAddr::V4),
        v6.prop_map(IpAddr::V6),
        v4.prop_map(|v4| IpAddr::V6(v4.to_ipv6_mapped())),
    ]
}

fn entries() -> impl Strategy<Value = Vec<AccessEntry>> {
    let entry = (address(), 0_u8..=128, 0_u16..512, prop::bool::weighted(0.2)).prop_map(
        |(address, length, flags, ntpport)| {
            let length = if address.is_ipv4() { length / 4 } else { length };
            AccessEntry {
                prefix: IpPrefix::new(address, length).unwrap(),
                flags: AccessFlags(flags),
                ntpport,
            }
        },
    );
    prop::collection::vec(entry, 0..60)
}

proptest! {
    #[test]
    fn finds_what_the_rule_says(entries in entries(), addresses in prop::collection::vec(address(), 20)) {
        let list = AccessList::new(&entries).unwrap();
        let edges = entries.iter().flat_map(|entry| [0, 1].map(|before| match entry.prefix.address {
            IpAddr::V4(v4) => IpAddr::V4(v4.to_bits().wrapping_sub(before).into()),
            IpAddr::V6(v6) => IpAddr::V6(v6.to_bits().wrapping_sub(before.into()).into()),
        }));
        for address in addresses.into_iter().chain(edges) {
            for port in [123, 40_000] {
                let peer = SocketAddr::new(address, port);
                prop_assert_eq!(list.lookup(peer), by_the_rule(&entries, peer), "{}", peer);
            }
        }
    }
}

#[test]
fn most_specific_wins_entirely_whatever_the_order() {
    let mut entries = [
        entry("0.0.0.0/0", AccessFlags::NOQUERY),
        entry("10.0.0.0/8", AccessFlags::IGNORE),
        entry("10.1.0.0/16", AccessFlags::NONE),
        entry("10.1.2.3/32", AccessFlags::NOSERVE),
    ];
    for _ in 0..2 {
        let list = AccessList::new(&entries).unwrap();
        assert_eq!(flags_of(&list, "192.0.2.1:40000"), AccessFlags::NOQUERY);
        assert_eq!(flags_of(&list, "10.0.0.0:40000"), AccessFlags::IGNORE);
        assert_eq!(flags_of(&list, "10.255.255.255:40000"), AccessFlags::IGNORE);
        assert_eq!(flags_of(&list, "10.1.0.0:40000"), AccessFlags::NONE);
        assert_eq!(flags_of(&list, "10.1.2.3:40000"), AccessFlags::NOSERVE);
        assert_eq!(flags_of(&list, "10.1.2.4:40000"), AccessFlags::NONE);
        assert_eq!(flags_of(&list, "11.0.0.0:40000"), AccessFlags::NOQUERY);
        entries.reverse();
    }
}

#[test]
fn equal_entries_unite_their_flags() {
    let entries = [entry("0.0.0.0/0", AccessFlags::NOQUERY), entry("0.0.0.0/0", AccessFlags::NOMODIFY)];
    let list = AccessList::new(&entries).unwrap();
    assert_eq!(flags_of(&list, "192.0.2.1:40000"), AccessFlags::NOQUERY | AccessFlags::NOMODIFY);
}

#[test]
fn ntpport_is_more_specific_for_port_123_only() {
    let for_servers = |text, flags| AccessEntry { ntpport: true, ..entry(text, flags) };
    let entries = [
        for_servers("10.0.0.0/8", AccessFlags::NOTRUST),
        entry("10.0.0.0/8", AccessFlags::IGNORE),
        entry("10.1.0.0/16", AccessFlags::NOSERVE),
        for_servers("10.2.0.0/16", AccessFlags::NONE),
    ];
    let list = AccessList::new(&entries).unwrap();
    assert_eq!(flags_of(&list, "10.0.0.1:123"), AccessFlags::NOTRUST);
    assert_eq!(flags_of(&list, "10.0.0.1:40000"), AccessFlags::IGNORE);
    assert_eq!(flags_of(&list, "10.1.0.1:123"), AccessFlags::NOSERVE, "the longer prefix wins over ntpport");
    assert_eq!(flags_of(&list, "10.2.0.1:123"), AccessFlags::NONE);
    assert_eq!(flags_of(&list, "10.2.0.1:40000"), AccessFlags::IGNORE, "from the prefix around it");
}

#[test]
fn mapped_addresses_are_ipv4() {
    let entries = [entry("::/0", AccessFlags::IGNORE), entry("::ffff:192.0.2.0/120", AccessFlags::NOSERVE)];
    let list = AccessList::new(&entries).unwrap();
    assert_eq!(prefix("::ffff:192.0.2.0/120"), prefix("192.0.2.0/24"));
    assert_eq!(flags_of(&list, "[::ffff:192.0.2.1]:40000"), AccessFlags::NOSERVE);
    assert_eq!(flags_of(&list, "192.0.2.1:40000"), AccessFlags::NOSERVE);
    assert_eq!(flags_of(&list, "[::ffff:10.0.0.1]:40000"), AccessList::UNMATCHED, "::/0 is about IPv6 only");
    assert_eq!(flags_of(&list, "[2001:db8::1]:40000"), AccessFlags::IGNORE);
}

#[test]
fn without_entries_control_messages_are_refused() {
    assert_eq!(flags_of(&AccessList::default(), "127.0.0.1:40000"), AccessFlags::NOQUERY);
    assert_eq!(flags_of(&AccessList::default(), "[::1]:123"), AccessFlags::NOQUERY);
}

#[test]
fn the_number_of_entries_is_bounded() {
    let entries = vec![entry("10.0.0.0/8", AccessFlags::NONE); limits::ACCESS_ENTRIES + 1];
    assert_eq!(AccessList::new(&entries).unwrap_err(), TooManyEntries(limits::ACCESS_ENTRIES + 1));
}

#[test]
fn prefixes_have_no_bits_beyond_their_length() {
    assert_eq!(prefix("10.1.2.3/8"), prefix("10.0.0.0/8"));
    assert_eq!(prefix("2001:db8::1/32"), prefix("2001:db8::/32"));
    assert_eq!(prefix("10.1.2.3/0").address(), IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    assert_eq!(IpPrefix::host("10.1.2.3".parse().unwrap()), prefix("10.1.2.3/32"));
    assert_eq!(IpPrefix::new("10.0.0.0".parse().unwrap(), 33), None);
    assert_eq!(IpPrefix::new("::".parse().unwrap(), 129), None);
}
