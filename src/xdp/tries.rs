//! The access list as the program looks it up: a trie of prefixes per family, with the sources that nobody
//! can have marked among them, so that one lookup tells both.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::net::IpAddr;

use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{ArrayOfMaps, Map, MapData, MapError};

use super::layout::{Access, GENERATIONS};
use crate::limits;
use crate::server::{AccessFlags, AccessList, IpPrefix};
use crate::sys::interfaces::InterfaceAddress;

/// BPF_F_NO_PREALLOC, which a trie must have: memory comes with its entries.
const NO_PREALLOC: u32 = 1;

/// The tries of both families and all generations.
pub(super) struct Tries {
    v4: Generations<4>,
    v6: Generations<16>,
}

impl Tries {
    /// Takes the program's arrays of tries, and puts empty ones into them.
    pub(super) fn new(v4: Map, v6: Map) -> Result<Self, MapError> {
        Ok(Self { v4: Generations::new(v4)?, v6: Generations::new(v6)? })
    }

    /// Makes generation `at`, which no state that is in force names, say what `list` says.
    pub(super) fn fill(
        &mut self,
        at: u32,
        list: &AccessList,
        own: &[InterfaceAddress],
    ) -> Result<(), MapError> {
        self.v4.fill(at, entries(list, &special_v4(own)))?;
        self.v6.fill(at, entries(list, &special_v6(own)))
    }
}

/// The first `length` bits of an address of N octets; the others are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Prefix<const N: usize> {
    octets: [u8; N],
    length: u8,
}

impl<const N: usize> Prefix<N> {
    const fn host(octets: [u8; N]) -> Self {
        Self { octets, length: 8 * N as u8 }
    }

    /// None for the other family.
    fn of(prefix: IpPrefix) -> Option<Self> {
        Some(Self { octets: octets(prefix.address())?, length: prefix.length() })
    }

    fn is_host(&self) -> bool {
        usize::from(self.length) == 8 * N
    }

    fn contains(&self, other: &Self) -> bool {
        let whole = usize::from(self.length / 8);
        let rest = 0xFF_u8.checked_shl(8 - u32::from(self.length % 8)).unwrap_or(0);
        let same_bits = |(own, its): (&u8, &u8)| (own ^ its) & rest == 0;
        self.length <= other.length
            && self.octets[..whole] == other.octets[..whole]
            && self.octets[whole..].iter().zip(&other.octets[whole..]).take(1).all(same_bits)
    }

    fn key(&self) -> Key<[u8; N]> {
        Key::new(self.length.into(), self.octets)
    }
}

/// The address's octets, none for the other family.
fn octets<const N: usize>(address: IpAddr) -> Option<[u8; N]> {
    match address {
        IpAddr::V4(v4) => v4.octets().as_slice().try_into().ok(),
        IpAddr::V6(v6) => v6.octets().as_slice().try_into().ok(),
    }
}

type Entry<const N: usize> = (Prefix<N>, Access);

/// Sources that are no clients: Access::MARTIAN or Access::LOCAL by prefix.
type Special<const N: usize> = BTreeMap<Prefix<N>, u16>;

/// "This network" and multicast (RFC 1122 §3.2.1.3), our own addresses, and what our links broadcast to. The
/// kernel refuses these as sources too.
fn special_v4(own: &[InterfaceAddress]) -> Special<4> {
    let fixed = [
        (Prefix { octets: [0; 4], length: 8 }, Access::MARTIAN),
        (Prefix { octets: [127, 0, 0, 0], length: 8 }, Access::LOCAL),
        (Prefix { octets: [224, 0, 0, 0], length: 4 }, Access::MARTIAN),
        (Prefix::host([255; 4]), Access::MARTIAN),
    ];
    let broadcast = own.iter().filter_map(|own| {
        let address = u32::from_be_bytes(octets(own.address.ip())?);
        // Links of two hosts or one have no broadcast address (RFC 3021).
        let hosts = u32::MAX.checked_shr(own.prefix_length).filter(|hosts| *hosts > 1)?;
        Some((Prefix::host((address | hosts).to_be_bytes()), Access::MARTIAN))
    });
    fixed.into_iter().chain(broadcast).chain(local(own)).collect()
}

/// The unspecified address, multicast, IPv4 addresses in disguise (RFC 4291 §2.5), and our own addresses.
fn special_v6(own: &[InterfaceAddress]) -> Special<16> {
    let mut multicast = [0; 16];
    multicast[0] = 0xFF;
    let mut mapped = [0; 16];
    mapped[10..12].fill(0xFF);
    let mut loopback = [0; 16];
    loopback[15] = 1;
    let fixed = [
        (Prefix::host([0; 16]), Access::MARTIAN),
        (Prefix::host(loopback), Access::LOCAL),
        (Prefix { octets: multicast, length: 8 }, Access::MARTIAN),
        (Prefix { octets: mapped, length: 96 }, Access::MARTIAN),
    ];
    fixed.into_iter().chain(local(own)).collect()
}

fn local<const N: usize>(own: &[InterfaceAddress]) -> impl Iterator<Item = (Prefix<N>, u16)> {
    own.iter().filter_map(|own| Some((Prefix::host(octets(own.address.ip())?), Access::LOCAL)))
}

/// One family's entries, in order: those of the list, marked where they lie in a special prefix, and those
/// of special prefixes that the list has no entry of its own about.
fn entries<const N: usize>(list: &AccessList, special: &Special<N>) -> Vec<Entry<N>> {
    let networks: Vec<_> = special.iter().filter(|(prefix, _)| !prefix.is_host()).collect();
    let marks = |prefix: &Prefix<N>| {
        let around = networks.iter().filter(|(network, _)| network.contains(prefix));
        let own = special.get(prefix).copied().unwrap_or(0);
        around.fold(own, |marks, (_, mark)| marks | *mark)
    };
    let entry = |prefix: Prefix<N>, any: AccessFlags, ntp: AccessFlags| {
        let marks = marks(&prefix);
        (prefix, Access { any: any.bits() | marks, ntp: ntp.bits() | marks })
    };

    let unmatched = (Prefix { octets: [0; N], length: 0 }, AccessList::UNMATCHED, AccessList::UNMATCHED);
    let of_family = list.prefixes().filter_map(|(prefix, any, ntp)| Some((Prefix::of(prefix)?, any, ntp)));
    let listed: Vec<(Prefix<N>, AccessFlags, AccessFlags)> = of_family.collect();
    let mut entries: Vec<Entry<N>> =
        listed.iter().map(|&(prefix, any, ntp)| entry(prefix, any, ntp)).collect();
    for prefix in special.keys() {
        // What encloses a prefix comes before it; the last one that does is the innermost.
        let before = listed.partition_point(|(other, ..)| other < prefix);
        let around = listed[..before].iter().rev().find(|(other, ..)| other.contains(prefix));
        let (_, any, ntp) = *around.unwrap_or(&unmatched);
        entries.push(entry(*prefix, any, ntp));
    }
    entries.push(entry(unmatched.0, unmatched.1, unmatched.2));
    // The list's own entries stand before the others about the same prefix.
    entries.sort_by_key(|(prefix, _)| *prefix);
    entries.dedup_by_key(|(prefix, _)| *prefix);
    entries
}

type Trie<const N: usize> = LpmTrie<MapData, [u8; N], Access>;

/// One family's tries, and what each of them holds.
struct Generations<const N: usize> {
    outer: ArrayOfMaps<MapData, Trie<N>>,
    tries: Vec<Filled<N>>,
}

impl<const N: usize> Generations<N> {
    fn new(outer: Map) -> Result<Self, MapError> {
        let mut outer = ArrayOfMaps::try_from(outer)?;
        let mut tries = Vec::new();
        for at in 0..GENERATIONS {
            let trie = Trie::create(limits::XDP_ACCESS_ENTRIES, NO_PREALLOC)?;
            outer.set(at, &trie, 0)?;
            tries.push(Filled { trie, entries: Vec::new() });
        }
        Ok(Self { outer, tries })
    }

    fn fill(&mut self, at: u32, entries: Vec<Entry<N>>) -> Result<(), MapError> {
        let filled = &mut self.tries[at as usize];
        if filled.entries == entries {
            return Ok(());
        }
        // Putting the trie where it is makes the kernel wait for every run of the program that may have
        // found it there when it was last in force.
        self.outer.set(at, &filled.trie, 0)?;
        filled.change(entries)
    }
}

struct Filled<const N: usize> {
    trie: Trie<N>,
    entries: Vec<Entry<N>>,
}

impl<const N: usize> Filled<N> {
    fn change(&mut self, new: Vec<Entry<N>>) -> Result<(), MapError> {
        let changed = self.change_to(&new);
        self.entries = match changed {
            Ok(()) => new,
            // Out of memory, most likely. The next time begins with what is there.
            Err(_) => self.contents()?,
        };
        changed
    }

    /// Touches only what differs, so that a long list costs little when one line of it changes.
    fn change_to(&mut self, new: &[Entry<N>]) -> Result<(), MapError> {
        let Self { trie, entries: old } = self;
        let (mut olds, mut news) = (old.iter().peekable(), new.iter().peekable());
        loop {
            let order = match (olds.peek(), news.peek()) {
                (None, None) => break,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some((old, _)), Some((new, _))) => old.cmp(new),
            };
            let gone = olds.next_if(|_| order.is_le());
            let come = news.next_if(|_| order.is_ge());
            match (gone, come) {
                (Some((prefix, _)), None) => trie.remove(&prefix.key())?,
                (old, Some((prefix, access))) if old.is_none_or(|(_, was)| was != access) => {
                    trie.insert(&prefix.key(), access, 0)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn contents(&self) -> Result<Vec<Entry<N>>, MapError> {
        let entry = |(key, access): (Key<[u8; N]>, Access)| {
            (Prefix { octets: key.data(), length: key.prefix_len() as u8 }, access)
        };
        let mut entries = self.trie.iter().map(|found| found.map(entry)).collect::<Result<Vec<_>, _>>()?;
        entries.sort_by_key(|(prefix, _)| *prefix);
        Ok(entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::AccessEntry;

    fn list(lines: &[(&str, u8, AccessFlags)]) -> AccessList {
        let entry = |&(address, length, flags): &(&str, u8, AccessFlags)| AccessEntry {
            prefix: IpPrefix::new(address.parse().unwrap(), length).unwrap(),
            flags,
            ntpport: false,
        };
        AccessList::new(&lines.iter().map(entry).collect::<Vec<_>>()).unwrap()
    }

    /// What the longest prefix around an address says of requests from any port.
    fn found<const N: usize>(entries: &[Entry<N>], address: &str) -> u16 {
        let host = Prefix::host(octets(address.parse().unwrap()).unwrap());
        let around = entries.iter().filter(|(prefix, _)| prefix.contains(&host));
        around.max_by_key(|(prefix, _)| prefix.length).expect("the unmatched prefix is there").1.any
    }

    fn own(address: &str, prefix_length: u32) -> InterfaceAddress {
        let address = std::net::SocketAddr::new(address.parse().unwrap(), 0);
        InterfaceAddress { interface: "lan".to_owned(), address, prefix_length, flags: Default::default() }
    }

    #[test]
    fn prefixes_contain_what_begins_with_their_bits() {
        let prefix = |octets, length| Prefix::<4> { octets, length };
        for (outer, inner, contains) in [
            (prefix([0; 4], 0), prefix([9, 8, 7, 6], 32), true),
            (prefix([10, 0, 0, 0], 8), prefix([10, 200, 0, 0], 16), true),
            (prefix([224, 0, 0, 0], 4), prefix([239, 255, 255, 255], 32), true),
            (prefix([224, 0, 0, 0], 4), prefix([240, 0, 0, 0], 32), false),
            (prefix([10, 0, 0, 0], 8), prefix([0; 4], 0), false),
            (prefix([1, 2, 3, 4], 32), prefix([1, 2, 3, 4], 32), true),
            (prefix([1, 2, 3, 4], 32), prefix([1, 2, 3, 5], 32), false),
        ] {
            assert_eq!(outer.contains(&inner), contains, "{outer:?} {inner:?}");
        }
    }

    #[test]
    fn forged_sources_are_marked_with_the_flags_they_would_have() {
        let limited = AccessFlags::LIMITED;
        let list = list(&[
            ("0.0.0.0", 0, limited),
            ("127.0.0.1", 32, AccessFlags::NONE),
            ("10.0.0.0", 8, AccessFlags::IGNORE),
            ("10.1.2.3", 32, AccessFlags::NOTRUST),
        ]);
        let entries = entries(&list, &special_v4(&[own("10.1.2.3", 24), own("192.0.2.1", 31)]));
        for (address, any) in [
            ("192.0.2.9", limited.bits()),
            ("192.0.2.1", limited.bits() | Access::LOCAL),
            ("192.0.2.0", limited.bits()),
            ("10.1.2.4", AccessFlags::IGNORE.bits()),
            ("10.1.2.3", AccessFlags::NOTRUST.bits() | Access::LOCAL),
            ("10.1.2.255", AccessFlags::IGNORE.bits() | Access::MARTIAN),
            ("127.0.0.1", Access::LOCAL),
            ("127.0.0.2", limited.bits() | Access::LOCAL),
            ("0.1.2.3", limited.bits() | Access::MARTIAN),
            ("239.1.1.1", limited.bits() | Access::MARTIAN),
            ("255.255.255.255", limited.bits() | Access::MARTIAN),
        ] {
            assert_eq!(found(&entries, address), any, "{address}");
        }
        assert!(entries.is_sorted_by_key(|(prefix, _)| *prefix));
    }

    #[test]
    fn without_entries_everybody_is_unmatched_but_forged_sources() {
        let entries = entries(&AccessList::default(), &special_v6(&[own("2001:db8::1", 64)]));
        let unmatched = AccessList::UNMATCHED.bits();
        for (address, any) in [
            ("2001:db8::2", unmatched),
            ("2001:db8::1", unmatched | Access::LOCAL),
            ("::1", unmatched | Access::LOCAL),
            ("::", unmatched | Access::MARTIAN),
            ("ff02::1", unmatched | Access::MARTIAN),
            ("::ffff:192.0.2.1", unmatched | Access::MARTIAN),
        ] {
            assert_eq!(found(&entries, address), any, "{address}");
        }
    }
}
