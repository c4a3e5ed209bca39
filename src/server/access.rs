//! Who may ask what: ntp.conf's `restrict`, resolved once so that a request costs one lookup.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::ops::BitOr;

use self::range_table::RangeTable;
use super::NTP_PORT;
use crate::limits;

mod range_table;

/// The addresses that begin with the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IpPrefix {
    address: IpAddr,
    length: u8,
}

impl IpPrefix {
    /// The first `length` bits of `address`; none if it has fewer. IPv4 addresses mapped into IPv6
    /// (::ffff:0:0/96) become IPv4.
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

/// The flags of one address: without regard to its port, and from port 123.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Resolved {
    any: AccessFlags,
    ntp: AccessFlags,
}

/// All `restrict` lines.
#[derive(Clone, Debug)]
pub struct AccessList {
    v4: RangeTable<Resolved>,
    v6: RangeTable<Resolved>,
    prefixes: Vec<(IpPrefix, Resolved)>,
    /// How long prefixes are, the longest first.
    lengths: Vec<u8>,
    limits_somebody: bool,
}

/// There are more than [`limits::ACCESS_ENTRIES`] entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} restrict entries, at most {max} are possible", max = limits::ACCESS_ENTRIES)]
pub struct TooManyEntries(pub usize);

impl AccessList {
    /// What holds for addresses that no entry is about: time for everybody, but no control messages, which
    /// could be abused to flood a third party.
    pub const UNMATCHED: AccessFlags = AccessFlags::NOQUERY;

    /// From the lines in any order: the most specific entry wins entirely, and for requests from port 123 an
    /// `ntpport` entry is more specific than another one about the same addresses. Entries about the same are
    /// united.
    ///
    /// # Errors
    /// [`TooManyEntries`].
    pub fn new(entries: &[AccessEntry]) -> Result<Self, TooManyEntries> {
        if entries.len() > limits::ACCESS_ENTRIES {
            return Err(TooManyEntries(entries.len()));
        }
        let of_family = |v4: bool| entries.iter().filter(move |entry| entry.prefix.address.is_ipv4() == v4);
        let mut prefixes = Vec::new();
        let mut resolve = |v4| resolve(of_family(v4), &mut prefixes);
        Ok(Self {
            v4: resolve(true),
            v6: resolve(false),
            lengths: lengths(&prefixes),
            prefixes,
            limits_somebody: entries.iter().any(|entry| entry.flags.contains(AccessFlags::LIMITED)),
        })
    }

    /// Whether any entry is [`AccessFlags::LIMITED`].
    pub fn limits_somebody(&self) -> bool {
        self.limits_somebody
    }

    /// Every prefix that an entry is about, outer ones first, IPv4 before IPv6: the flags of the addresses
    /// that no inner prefix is about, from any port and from port 123.
    pub fn prefixes(
        &self,
    ) -> impl ExactSizeIterator<Item = (IpPrefix, AccessFlags, AccessFlags)> + DoubleEndedIterator {
        self.prefixes.iter().map(|(prefix, resolved)| (*prefix, resolved.any, resolved.ntp))
    }

    /// The innermost of these around an address, if any is. Not for every packet: [`Self::lookup`] is.
    pub fn innermost(&self, address: IpAddr) -> Option<(IpPrefix, AccessFlags, AccessFlags)> {
        let address = address.to_canonical();
        let around = |length: &u8| {
            let prefix = IpPrefix::new(address, *length)?;
            let at = self.prefixes.binary_search_by_key(&prefix, |(prefix, _)| *prefix).ok()?;
            self.prefixes.get(at)
        };
        self.lengths.iter().find_map(around).map(|(prefix, resolved)| (*prefix, resolved.any, resolved.ntp))
    }

    /// What `peer` may not do.
    pub fn lookup(&self, peer: SocketAddr) -> AccessFlags {
        let address = peer.ip().to_canonical();
        let resolved = match address {
            IpAddr::V4(_) => self.v4.get(key(address)),
            IpAddr::V6(_) => self.v6.get(key(address)),
        };
        if peer.port() == NTP_PORT { resolved.ntp } else { resolved.any }
    }
}

impl Default for AccessList {
    fn default() -> Self {
        let outside = || RangeTable::new(Sweep::OUTSIDE, &[]);
        Self {
            v4: outside(),
            v6: outside(),
            prefixes: Vec::new(),
            lengths: Vec::new(),
            limits_somebody: false,
        }
    }
}

fn lengths(prefixes: &[(IpPrefix, Resolved)]) -> Vec<u8> {
    let mut is_there = [false; 129];
    for (prefix, _) in prefixes {
        is_there[usize::from(prefix.length)] = true;
    }
    (0..=128).rev().filter(|length| is_there[usize::from(*length)]).collect()
}

/// The address's bits, left-justified.
fn key(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(v4.to_bits()) << 96,
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

/// Flattens the nested prefixes of one family into ranges: each address gets the flags of the innermost
/// prefix around it. The prefixes' own flags are appended to `prefixes`.
fn resolve<'a>(
    entries: impl Iterator<Item = &'a AccessEntry>,
    prefixes: &mut Vec<(IpPrefix, Resolved)>,
) -> RangeTable<Resolved> {
    let mut entries: Vec<_> = entries.collect();
    // Outer prefixes before inner ones.
    entries.sort_unstable_by_key(|entry| (key(entry.prefix.address), entry.prefix.length));
    let mut sweep = Sweep::new(2 * entries.len());
    for same in entries.chunk_by(|a, b| a.prefix == b.prefix) {
        if let [entry, ..] = same {
            prefixes.push((entry.prefix, sweep.enter(entry.prefix, same)));
        }
    }
    sweep.finish()
}

/// A walk over the key space, from 0 upwards, through the prefixes as they begin and end.
struct Sweep {
    /// The prefixes around the place reached, innermost last: the first key after each, unless it ends the
    /// key space.
    around: Vec<(Option<u128>, Resolved)>,
    /// The ranges found, ascending by start.
    ranges: Vec<(u128, Resolved)>,
}

impl Sweep {
    const OUTSIDE: Resolved = Resolved { any: AccessList::UNMATCHED, ntp: AccessList::UNMATCHED };

    fn new(ranges: usize) -> Self {
        Self { around: Vec::new(), ranges: Vec::with_capacity(ranges) }
    }

    /// The flags of the innermost prefix around the place reached.
    fn inherited(&self) -> Resolved {
        self.around.last().map_or(Self::OUTSIDE, |(_, resolved)| *resolved)
    }

    /// A prefix begins, and with it the entries about it; its flags.
    fn enter(&mut self, prefix: IpPrefix, entries: &[&AccessEntry]) -> Resolved {
        let start = key(prefix.address);
        self.leave_before(start);
        let union = |ntpport: bool| {
            let flags = entries.iter().filter(|entry| entry.ntpport == ntpport).map(|entry| entry.flags);
            flags.reduce(BitOr::bitor)
        };
        let inherited = self.inherited();
        let any = union(false);
        let ntp = union(true).or(any).unwrap_or(inherited.ntp);
        let resolved = Resolved { any: any.unwrap_or(inherited.any), ntp };

        let bits = u128::BITS - u32::from(prefix.length);
        let end = 1_u128.checked_shl(bits).and_then(|size| start.checked_add(size));
        self.around.push((end, resolved));
        self.start(start, resolved);
        resolved
    }

    /// Ends every prefix that does not reach `place`.
    fn leave_before(&mut self, place: u128) {
        while let Some((Some(end), _)) = self.around.pop_if(|(end, _)| end.is_some_and(|end| end <= place)) {
            self.start(end, self.inherited());
        }
    }

    fn start(&mut self, at: u128, resolved: Resolved) {
        match self.ranges.last_mut() {
            Some(last) if last.0 == at => last.1 = resolved,
            Some(last) if last.1 == resolved => {}
            _ => self.ranges.push((at, resolved)),
        }
    }

    fn finish(mut self) -> RangeTable<Resolved> {
        self.leave_before(u128::MAX);
        match self.ranges.as_slice() {
            [(0, outside), others @ ..] => RangeTable::new(*outside, others),
            others => RangeTable::new(Self::OUTSIDE, others),
        }
    }
}

#[cfg(test)]
mod tests;
