//! Who has asked lately: a table that its worker writes and that the daemon may read at any time.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

use crate::limits;
use crate::wire::NtpTimestamp;

/// Clients that share a set, so that its tags and ages fill a cache line.
const WAYS: usize = 8;

const _: () = assert!(size_of::<Entry>() == limits::MONITORED_CLIENT_BYTES);

/// A client, as of its last packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Observed {
    /// Whence its last packet came.
    pub peer: SocketAddr,
    /// When its first one came, since it is in the table.
    pub first: NtpTimestamp,
    /// When its last one came.
    pub last: NtpTimestamp,
    /// How many came.
    pub count: u64,
    /// Version (bits 3 to 5) and mode (bits 0 to 2) of the last.
    pub version_mode: u8,
    /// What the rate limit made of the last.
    pub limited: Limited,
}

/// Whether a packet was within the rate limit of its source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Limited {
    /// Within, or there is no limit.
    #[default]
    No = 0,
    /// Beyond, whether it was answered all the same or not.
    Beyond = 1,
    /// Beyond, and told so by a kiss-o'-death packet.
    Kissed = 2,
}

/// A table of clients. Only one thread calls `observe` and `clear`; any may read.
/// All memory is there from the start; in a full set the longest unseen client makes room.
#[derive(Debug)]
pub struct Monitor {
    sets: Box<[Set]>,
    /// Nobody outside may know which clients share a set.
    secret: u64,
}

#[derive(Debug, Default)]
#[repr(align(64))]
struct Set {
    /// 0: no client.
    tags: [AtomicU32; WAYS],
    /// Each client's last packet, in [`ticks`].
    seen: [AtomicU32; WAYS],
    entries: [Entry; WAYS],
}

/// Guarded by its sequence: odd while the worker writes, another one after it has.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Entry {
    sequence: AtomicU32,
    /// From the highest bit on: the port in 16 bits, what the rate limit said in 8, version and mode in 8.
    port: AtomicU32,
    /// The address as IPv6 has it.
    address: [AtomicU64; 2],
    first: AtomicU64,
    last: AtomicU64,
    count: AtomicU64,
}

impl Monitor {
    /// Room for so many clients, rounded up to whole sets.
    pub fn new(clients: usize, secret: u64) -> Self {
        Self { sets: (0..clients.div_ceil(WAYS)).map(|_| Set::default()).collect(), secret }
    }

    /// How many clients there is room for.
    pub fn room(&self) -> usize {
        self.sets.len() * WAYS
    }

    /// Remembers one packet.
    #[inline]
    pub(super) fn observe(&self, peer: SocketAddr, received: NtpTimestamp, version_mode: u8) {
        let (address, tag, set) = self.place(peer.ip());
        let Some(set) = self.sets.get(set) else { return };
        let way = set.way(tag, received);
        set.seen[way].store(ticks(received), Ordering::Relaxed);
        let is_known = set.tags[way].load(Ordering::Relaxed) == tag && set.entries[way].is_of(address);
        set.entries[way].write(|entry| {
            if !is_known {
                entry.address[0].store(address[0], Ordering::Relaxed);
                entry.address[1].store(address[1], Ordering::Relaxed);
                entry.first.store(received.to_bits(), Ordering::Relaxed);
                entry.count.store(0, Ordering::Relaxed);
            }
            entry.port.store(u32::from(peer.port()) << 16 | u32::from(version_mode), Ordering::Relaxed);
            entry.last.store(received.to_bits(), Ordering::Relaxed);
            entry.count.store(entry.count.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        });
        set.tags[way].store(tag, Ordering::Relaxed);
    }

    /// Remembers that the packet observed last, which was this client's, was beyond its limit.
    pub(super) fn note_limit(&self, peer: SocketAddr, limited: Limited) {
        let (address, tag, set) = self.place(peer.ip());
        let Some(set) = self.sets.get(set) else { return };
        let is_its_own =
            |way: &usize| set.tags[*way].load(Ordering::Relaxed) == tag && set.entries[*way].is_of(address);
        if let Some(way) = (0..WAYS).find(is_its_own) {
            set.entries[way].write(|entry| {
                let port = entry.port.load(Ordering::Relaxed) & !0xFF00;
                entry.port.store(port | (limited as u32) << 8, Ordering::Relaxed);
            });
        }
    }

    /// Forgets everybody.
    pub(super) fn clear(&self) {
        self.sets.iter().flat_map(|set| &set.tags).for_each(|tag| tag.store(0, Ordering::Relaxed));
    }

    /// Everybody in the table, in no order. A client whose packets come faster than its entry can be read is
    /// left out.
    pub fn clients(&self) -> impl Iterator<Item = Observed> {
        self.sets.iter().flat_map(|set| {
            let used = |way: &usize| set.tags[*way].load(Ordering::Relaxed) != 0;
            (0..WAYS).filter(used).filter_map(|way| set.entries[way].read())
        })
    }

    /// An address, its tag, which is never 0, and the number of its set.
    fn place(&self, address: IpAddr) -> ([u64; 2], u32, usize) {
        let bits = match address {
            IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
            IpAddr::V6(v6) => v6.to_bits(),
        };
        let halves = [(bits >> 64) as u64, bits as u64];
        const FACTORS: [u64; 2] = [0x9E37_79B9_7F4A_7C15, 0xC2B2_AE3D_27D4_EB4F];
        let mixed = halves[0].wrapping_mul(FACTORS[0]) ^ halves[1] ^ self.secret;
        let product = u128::from(mixed) * u128::from(FACTORS[1]);
        let hash = (product >> 64) as u64 ^ product as u64;
        let set = ((u128::from(hash) * self.sets.len() as u128) >> 64) as usize;
        (halves, hash as u32 | 1, set)
    }
}

impl Set {
    /// The way of `tag`: its own, a free one, or that of the longest unseen.
    fn way(&self, tag: u32, now: NtpTimestamp) -> usize {
        let tags: [u32; WAYS] = std::array::from_fn(|way| self.tags[way].load(Ordering::Relaxed));
        if let Some(way) = tags.iter().position(|known| *known == tag) {
            return way;
        }
        let age = |way: &usize| match tags[*way] {
            0 => u32::MAX,
            _ => ticks(now).wrapping_sub(self.seen[*way].load(Ordering::Relaxed)),
        };
        (0..WAYS).max_by_key(age).unwrap_or_default()
    }
}

impl Entry {
    fn is_of(&self, address: [u64; 2]) -> bool {
        self.address.each_ref().map(|half| half.load(Ordering::Relaxed)) == address
    }

    /// Only the one writer calls this.
    fn write(&self, change: impl FnOnce(&Self)) {
        let sequence = self.sequence.load(Ordering::Relaxed);
        self.sequence.store(sequence.wrapping_add(1), Ordering::Relaxed);
        // Whoever reads a change sees the odd sequence that came before it.
        fence(Ordering::Release);
        change(self);
        self.sequence.store(sequence.wrapping_add(2), Ordering::Release);
    }

    fn read(&self) -> Option<Observed> {
        const TRIES: usize = 8;
        (0..TRIES).find_map(|_| {
            let before = self.sequence.load(Ordering::Acquire);
            let port = self.port.load(Ordering::Relaxed);
            let [high, low] = self.address.each_ref().map(|half| half.load(Ordering::Relaxed));
            let address = Ipv6Addr::from_bits(u128::from(high) << 64 | u128::from(low));
            let stamp = |bits: &AtomicU64| NtpTimestamp::from_bits(bits.load(Ordering::Relaxed));
            let observed = Observed {
                peer: SocketAddr::new(address.to_canonical(), (port >> 16) as u16),
                first: stamp(&self.first),
                last: stamp(&self.last),
                count: self.count.load(Ordering::Relaxed),
                version_mode: port as u8,
                limited: match (port >> 8) as u8 {
                    0 => Limited::No,
                    1 => Limited::Beyond,
                    _ => Limited::Kissed,
                },
            };
            // What was read above was read before the sequence is looked at again.
            fence(Ordering::Acquire);
            let is_whole = before.is_multiple_of(2) && self.sequence.load(Ordering::Relaxed) == before;
            is_whole.then_some(observed)
        })
    }
}

/// When that was, in 2^-10 s: fine enough to tell who came first in a flood, and coarse enough that only a
/// client unseen for 48 days looks new again.
fn ticks(stamp: NtpTimestamp) -> u32 {
    (stamp.to_bits() >> 22) as u32
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::thread;

    use super::*;

    const T0: NtpTimestamp = NtpTimestamp::from_unix(1_800_000_000, 0);
    const V4_CLIENT: u8 = 0x23;

    fn after(seconds: i64) -> NtpTimestamp {
        T0.offset_by(seconds << 32)
    }

    fn peer(number: u32, port: u16) -> SocketAddr {
        SocketAddr::new(IpAddr::V4(number.into()), port)
    }

    #[test]
    fn a_client_is_its_address_whatever_its_port() {
        let monitor = Monitor::new(64, 7);
        let v6: SocketAddr = "[2001:db8::5]:123".parse().unwrap();
        monitor.observe(peer(1, 1000), T0, V4_CLIENT);
        monitor.observe(v6, after(1), 0x1B);
        monitor.observe(peer(1, 2000), after(64), V4_CLIENT);
        let mut clients: Vec<Observed> = monitor.clients().collect();
        clients.sort_by_key(|client| client.last.to_bits());
        let limited = Limited::No;
        let first =
            Observed { peer: v6, first: after(1), last: after(1), count: 1, version_mode: 0x1B, limited };
        let second = Observed {
            peer: peer(1, 2000),
            first: T0,
            last: after(64),
            count: 2,
            version_mode: V4_CLIENT,
            limited,
        };
        assert_eq!(clients, [first, second]);
        monitor.clear();
        assert_eq!(monitor.clients().count(), 0);
        monitor.observe(peer(1, 1), after(65), V4_CLIENT);
        assert_eq!(monitor.clients().map(|client| client.count).collect::<Vec<_>>(), [1]);
    }

    #[test]
    fn who_is_beyond_the_limit_is_so_until_the_next_packet() {
        let monitor = Monitor::new(64, 7);
        let of = |number: u32| {
            let found = monitor.clients().find(|client| client.peer.ip() == peer(number, 0).ip());
            found.map(|client| (client.peer.port(), client.version_mode, client.limited))
        };
        for number in [1, 2] {
            monitor.observe(peer(number, 0xFFFF), T0, V4_CLIENT);
        }
        for limited in [Limited::Kissed, Limited::Beyond] {
            monitor.note_limit(peer(1, 1000), limited);
            assert_eq!(of(1), Some((0xFFFF, V4_CLIENT, limited)));
        }
        assert_eq!(of(2), Some((0xFFFF, V4_CLIENT, Limited::No)));
        monitor.observe(peer(1, 1000), after(64), V4_CLIENT);
        assert_eq!(of(1), Some((1000, V4_CLIENT, Limited::No)));
        // Whoever is not in the table does not come into it.
        monitor.note_limit(peer(3, 1000), Limited::Kissed);
        assert_eq!(of(3), None);
    }

    #[test]
    fn the_longest_unseen_make_room_and_there_is_never_more_than_room() {
        let monitor = Monitor::new(1000, 7);
        for number in 0..100_000 {
            monitor.observe(peer(number, 1), after(i64::from(number)), V4_CLIENT);
        }
        let clients: Vec<Observed> = monitor.clients().collect();
        assert_eq!(clients.len(), monitor.room());
        let oldest = clients.iter().map(|client| T0.signed_since(client.last)).max().unwrap() >> 32;
        assert!(oldest <= -95_000, "{oldest}");
        // In a flood, too: all of these came within a second.
        let flooded = after(100_000);
        for number in 0..10_000 {
            let received = flooded.offset_by(i64::from(number) * (1 << 32) / 10_000);
            monitor.observe(peer(number + 1_000_000, 1), received, V4_CLIENT);
        }
        let youngest_hundred_ms = |client: &Observed| client.last.signed_since(flooded) > 9 * (1 << 32) / 10;
        let young = monitor.clients().filter(youngest_hundred_ms).count();
        assert!(young > 600, "{young} of {}", monitor.room());
        assert!(Monitor::new(0, 7).clients().next().is_none());
        Monitor::new(0, 7).observe(peer(1, 1), T0, V4_CLIENT);
    }

    #[test]
    fn what_is_read_was_written_whole() {
        let monitor = Monitor::new(8, 7);
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                for count in 0.. {
                    // The two clients' ports, seconds and versions go together.
                    let number = count % 2;
                    monitor.observe(peer(number, number as u16), after(i64::from(number)), number as u8);
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                }
            });
            let mut seen = 0;
            while seen < 20_000 {
                for client in monitor.clients() {
                    let number = u32::from(client.peer.port());
                    assert_eq!(client.peer, peer(number, number as u16));
                    assert_eq!(
                        (client.last, u32::from(client.version_mode)),
                        (after(i64::from(number)), number)
                    );
                    seen += 1;
                }
            }
            stop.store(true, Ordering::Relaxed);
        });
    }
}
