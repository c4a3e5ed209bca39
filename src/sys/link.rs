//! One network interface: where it is, what it is set to, and what its driver counts.

use std::os::fd::AsRawFd;
use std::{io, mem};

use socket2::{Domain, Socket, Type};

use super::check;

/// An interface of this network namespace, as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkState {
    /// Its index, which no other interface ever gets.
    pub index: u32,
    /// Its hardware address; zeroes where the kind of interface has none.
    pub mac: [u8; 6],
    /// The longest packet, without the link's own header.
    pub mtu: u32,
    /// Whether it is the loopback interface.
    pub loopback: bool,
}

/// The state of the interface of this name.
///
/// # Errors
/// There is none, or what else the kernel says.
pub fn state(interface: &str) -> io::Result<LinkState> {
    let query = Query::new(interface)?;
    // SAFETY: for each of these the kernel writes the member that is read.
    unsafe {
        let index = query.run(libc::SIOCGIFINDEX)?.ifr_ifru.ifru_ifindex;
        let hardware = query.run(libc::SIOCGIFHWADDR)?.ifr_ifru.ifru_hwaddr;
        let mtu = query.run(libc::SIOCGIFMTU)?.ifr_ifru.ifru_mtu;
        let flags = query.run(libc::SIOCGIFFLAGS)?.ifr_ifru.ifru_flags;
        Ok(LinkState {
            index: index.cast_unsigned(),
            mac: std::array::from_fn(|at| hardware.sa_data[at] as u8),
            mtu: mtu.cast_unsigned(),
            loopback: i32::from(flags) & libc::IFF_LOOPBACK != 0,
        })
    }
}

/// A VLAN of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vlan {
    /// The name of the interface that stands for the VLAN.
    pub interface: String,
    /// Its tag.
    pub tag: u16,
}

/// The VLANs of an interface, if `candidates`, the names of interfaces, has them.
pub fn vlans_of<'a>(interface: &str, candidates: impl IntoIterator<Item = &'a str>) -> Vec<Vlan> {
    let vlan = |name: &'a str| {
        let real = VlanQuery::run(name, VlanQuery::GET_REAL_DEVICE).ok()?;
        let real: Vec<u8> = real.answer.iter().copied().take_while(|octet| *octet != 0).collect();
        if real != interface.as_bytes() {
            return None;
        }
        let tag = VlanQuery::run(name, VlanQuery::GET_TAG).ok()?.tag();
        Some(Vlan { interface: name.to_owned(), tag })
    };
    candidates.into_iter().filter_map(vlan).collect()
}

/// Whether the interface takes VLAN tags off frames before anything else sees them.
pub fn strips_vlan_tags(interface: &str) -> bool {
    const ETHTOOL_GFLAGS: u32 = 0x25;
    const ETH_FLAG_RXVLAN: u32 = 1 << 8;
    let mut value = [ETHTOOL_GFLAGS, 0];
    ethtool(interface, &mut value).is_ok_and(|()| value[1] & ETH_FLAG_RXVLAN != 0)
}

/// What the driver counts about frames that a program in it sent back: the kernel's name of each count, from
/// "xdp_tx" on, summed over all queues.
pub fn program_counts(interface: &str) -> io::Result<Vec<(String, u64)>> {
    let names = statistics_names(interface)?;
    let mut counts: Vec<(String, u64)> = Vec::new();
    for (name, count) in names.iter().zip(statistics(interface, names.len())?) {
        let Some(at) = name.find("xdp_tx") else { continue };
        match counts.iter_mut().find(|(known, _)| *known == name[at..]) {
            Some((_, sum)) => *sum += count,
            None => counts.push((name[at..].to_owned(), count)),
        }
    }
    Ok(counts)
}

const ETH_SS_STATS: u32 = 1;
const ETH_GSTRING_LEN: usize = 32;
/// More statistics than any driver has.
const STATISTICS_MAX: usize = 1 << 16;

fn statistics_names(interface: &str) -> io::Result<Vec<String>> {
    const ETHTOOL_GSSET_INFO: u32 = 0x37;
    const ETHTOOL_GSTRINGS: u32 = 0x1B;
    // struct ethtool_sset_info: command, reserved, a 64-bit mask of sets, and the size of the one set.
    let mut sizes = [ETHTOOL_GSSET_INFO, 0, 1 << ETH_SS_STATS, 0, 0];
    ethtool(interface, &mut sizes)?;
    let count = (sizes[4] as usize).min(STATISTICS_MAX);
    // struct ethtool_gstrings: command, set, count, and the names.
    let mut strings = vec![0_u32; 3 + count * ETH_GSTRING_LEN / 4];
    strings[..3].copy_from_slice(&[ETHTOOL_GSTRINGS, ETH_SS_STATS, count as u32]);
    ethtool(interface, &mut strings)?;
    let octets: Vec<u8> = strings[3..].iter().flat_map(|word| word.to_ne_bytes()).collect();
    let name = |octets: &[u8]| {
        let end = octets.iter().position(|octet| *octet == 0).unwrap_or(octets.len());
        String::from_utf8_lossy(&octets[..end]).into_owned()
    };
    Ok(octets.chunks_exact(ETH_GSTRING_LEN).map(name).collect())
}

fn statistics(interface: &str, count: usize) -> io::Result<impl Iterator<Item = u64>> {
    const ETHTOOL_GSTATS: u32 = 0x1D;
    // struct ethtool_stats: command, count, and the counts.
    let mut stats = vec![0_u32; 2 + 2 * count];
    stats[..2].copy_from_slice(&[ETHTOOL_GSTATS, count as u32]);
    ethtool(interface, &mut stats)?;
    let halves = move |at: usize| [stats[2 + 2 * at], stats[3 + 2 * at]];
    let whole = |[low, high]: [u32; 2]| {
        let [a, b] = [low.to_ne_bytes(), high.to_ne_bytes()];
        u64::from_ne_bytes([a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3]])
    };
    Ok((0..count).map(halves).map(whole))
}

/// One of ethtool's commands: the kernel reads the command from the first word and writes its answer behind
/// it, no further than the sizes that the words say.
fn ethtool(interface: &str, words: &mut [u32]) -> io::Result<()> {
    const SIOCETHTOOL: libc::c_ulong = 0x8946;
    let mut query = Query::new(interface)?;
    query.request.ifr_ifru.ifru_data = words.as_mut_ptr().cast();
    // SAFETY: each caller gives as many words as its command writes, and they live for the call.
    unsafe { query.run(SIOCETHTOOL) }.map(drop)
}

/// An ioctl about one interface.
struct Query {
    socket: Socket,
    request: libc::ifreq,
}

impl Query {
    fn new(interface: &str) -> io::Result<Self> {
        // SAFETY: a C struct of integers and pointers, for which all zeroes is a valid value.
        let mut request: libc::ifreq = unsafe { mem::zeroed() };
        if interface.is_empty() || interface.len() >= request.ifr_name.len() {
            return Err(io::Error::from_raw_os_error(libc::ENODEV));
        }
        for (place, octet) in request.ifr_name.iter_mut().zip(interface.bytes()) {
            *place = octet as libc::c_char;
        }
        Ok(Self { socket: Socket::new(Domain::IPV4, Type::DGRAM, None)?, request })
    }

    /// The request as the kernel has changed it.
    ///
    /// # Safety
    /// What the command writes through a pointer in the request must be there.
    unsafe fn run(&self, command: libc::c_ulong) -> io::Result<libc::ifreq> {
        let mut request = self.request;
        // SAFETY: the kernel reads and writes one ifreq, which is ours; for the rest the caller promises.
        check(unsafe { libc::ioctl(self.socket.as_raw_fd(), command as _, &raw mut request) })?;
        Ok(request)
    }
}

/// `struct vlan_ioctl_args` of linux/if_vlan.h.
#[repr(C)]
struct VlanQuery {
    command: libc::c_int,
    interface: [u8; 24],
    /// A name, or a tag in the first two octets.
    answer: [u8; 24],
    qos: libc::c_short,
}

impl VlanQuery {
    const GET_REAL_DEVICE: libc::c_int = 8;
    const GET_TAG: libc::c_int = 9;

    fn run(interface: &str, command: libc::c_int) -> io::Result<Self> {
        const SIOCGIFVLAN: libc::c_ulong = 0x8982;
        let mut query = Self { command, interface: [0; 24], answer: [0; 24], qos: 0 };
        for (place, octet) in query.interface[..23].iter_mut().zip(interface.bytes()) {
            *place = octet;
        }
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
        // SAFETY: the kernel reads and writes one vlan_ioctl_args, which is ours.
        check(unsafe { libc::ioctl(socket.as_raw_fd(), SIOCGIFVLAN as _, &raw mut query) })?;
        Ok(query)
    }

    fn tag(&self) -> u16 {
        u16::from_ne_bytes([self.answer[0], self.answer[1]])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_interface_is_what_it_is() {
        let lo = state("lo").unwrap();
        assert_eq!((lo.index, lo.mac, lo.loopback), (1, [0; 6], true));
        assert!(lo.mtu >= 1500, "{lo:?}");
        assert_eq!(vlans_of("lo", ["lo"]), []);
        assert!(!strips_vlan_tags("lo"));
    }

    #[test]
    fn an_interface_that_is_not_there_is_an_error() {
        for name in ["", "no-such-one", "a name that is too long for any"] {
            assert!(state(name).is_err(), "{name:?}");
            assert!(program_counts(name).is_err(), "{name:?}");
        }
    }
}
