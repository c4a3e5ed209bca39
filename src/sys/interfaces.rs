//! The interfaces of this machine: their addresses, and what drives them.

use std::ffi::CStr;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;
use std::{io, mem, ptr, slice};

use socket2::{Domain, Socket, Type};

use super::check;
use super::cmsg::{NAME_SPACE, parse_name};

/// One address of one interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceAddress {
    /// The interface's name.
    pub interface: String,
    /// The address with its scope, if it is link-local; port 0.
    pub address: SocketAddr,
    /// Leading bits of the address that all hosts on the link share.
    pub prefix_length: u32,
}

/// Every IPv4 and IPv6 address in this network namespace.
pub fn addresses() -> io::Result<Vec<InterfaceAddress>> {
    let mut head = ptr::null_mut();
    // SAFETY: `head` is valid for writing one pointer.
    check(unsafe { libc::getifaddrs(&raw mut head) })?;
    let mut found = Vec::new();
    let mut next = head;
    // SAFETY: the list is linked by valid pointers and ends with null; it is freed once, after its last use.
    unsafe {
        while let Some(entry) = next.as_ref() {
            found.extend(read(entry));
            next = entry.ifa_next;
        }
        libc::freeifaddrs(head);
    }
    Ok(found)
}

/// `None` for addresses of other families, which are not 28 bytes long either.
///
/// # Safety
/// `entry` must come from getifaddrs and not be freed yet.
unsafe fn read(entry: &libc::ifaddrs) -> Option<InterfaceAddress> {
    // SAFETY: getifaddrs gives a null pointer or a socket address whose family says how long it is.
    let name = unsafe {
        let length = match libc::c_int::from(entry.ifa_addr.as_ref()?.sa_family) {
            libc::AF_INET => size_of::<libc::sockaddr_in>(),
            libc::AF_INET6 => NAME_SPACE,
            _ => return None,
        };
        slice::from_raw_parts(entry.ifa_addr.cast::<u8>(), length)
    };
    // SAFETY: ifa_name is a C string that lives as long as the entry.
    let interface = unsafe { CStr::from_ptr(entry.ifa_name) };
    // SAFETY: as above; the kernel gives the mask of an address in the address's own family, or none.
    let mask = unsafe {
        entry.ifa_netmask.cast::<u8>().as_ref().map(|mask| slice::from_raw_parts(mask, name.len()))
    };
    let prefix_length = match mask.and_then(parse_name).map(|mask| mask.ip()) {
        Some(IpAddr::V4(mask)) => mask.to_bits().leading_ones(),
        Some(IpAddr::V6(mask)) => mask.to_bits().leading_ones(),
        None => u32::MAX,
    };
    let interface = interface.to_string_lossy().into_owned();
    Some(InterfaceAddress { interface, address: parse_name(name)?, prefix_length })
}

/// `struct ethtool_drvinfo` of linux/ethtool.h.
#[repr(C)]
struct DriverInfo {
    command: u32,
    driver: [u8; 32],
    version: [u8; 32],
    firmware_version: [u8; 32],
    bus_info: [u8; 32],
    expansion_rom_version: [u8; 32],
    reserved: [u8; 12],
    counts: [u32; 5],
}

const ETHTOOL_GDRVINFO: u32 = 3;
const SIOCETHTOOL: libc::c_ulong = 0x8946;

/// The name of an interface's driver, such as `veth` or `mlx5_core`.
///
/// # Errors
/// What the kernel says; interfaces without a driver, such as `lo`, have no answer.
pub fn driver(interface: &str) -> io::Result<String> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
    // SAFETY: both are C structs of integers and pointers; all zeroes is a valid value.
    let (mut info, mut request): (DriverInfo, libc::ifreq) = unsafe { mem::zeroed() };
    info.command = ETHTOOL_GDRVINFO;
    // The last octet stays zero, so that the name ends.
    for (place, octet) in request.ifr_name[..libc::IFNAMSIZ - 1].iter_mut().zip(interface.bytes()) {
        *place = octet as libc::c_char;
    }
    request.ifr_ifru.ifru_data = (&raw mut info).cast();
    // SAFETY: the kernel reads `request` and, through its pointer, writes at most one DriverInfo; both live
    // for the call.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL as _, &raw mut request) })?;
    let name = info.driver.split(|&octet| octet == 0).next().unwrap_or_default();
    Ok(String::from_utf8_lossy(name).into_owned())
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn the_loopback_address_is_listed_with_its_interface() {
        let listed = addresses().unwrap();
        assert!(listed.contains(&InterfaceAddress {
            interface: "lo".to_owned(),
            address: SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0),
            prefix_length: 8,
        }));
        assert!(listed.iter().all(|entry| entry.prefix_length <= 128), "{listed:?}");
    }

    #[test]
    fn what_has_no_driver_is_an_error() {
        assert!(driver("lo").is_err());
        assert!(driver("no such interface, and the name is too long").is_err());
    }
}
