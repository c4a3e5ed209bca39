//! The interfaces of this machine: their names and addresses.

use std::ffi::CStr;
use std::net::{IpAddr, SocketAddr};
use std::{io, ptr, slice};

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
    /// What the interface is.
    pub flags: InterfaceFlags,
}

/// What the kernel says of an interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InterfaceFlags {
    /// It is in use.
    pub up: bool,
    /// Others on the link can all be reached at once.
    pub broadcast: bool,
    /// It leads back to this host.
    pub loopback: bool,
    /// There is one other end.
    pub point_to_point: bool,
    /// It takes part in multicasts.
    pub multicast: bool,
}

impl InterfaceFlags {
    fn from_bits(bits: libc::c_uint) -> Self {
        let has = |flag: libc::c_int| bits & flag.cast_unsigned() != 0;
        Self {
            up: has(libc::IFF_UP),
            broadcast: has(libc::IFF_BROADCAST),
            loopback: has(libc::IFF_LOOPBACK),
            point_to_point: has(libc::IFF_POINTOPOINT),
            multicast: has(libc::IFF_MULTICAST),
        }
    }
}

/// An interface of this network namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its number, which no other one in this network namespace has.
    pub index: u32,
}

/// Every interface in this network namespace, up or not.
pub fn all() -> io::Result<Vec<Interface>> {
    // SAFETY: no arguments; the list is read below and freed once.
    let head = unsafe { libc::if_nameindex() };
    if head.is_null() {
        return Err(io::Error::last_os_error());
    }
    let mut found = Vec::new();
    let mut next = head;
    // SAFETY: the list is an array that ends with an entry without name; each name is a C string that lives
    // as long as the list.
    unsafe {
        while !(*next).if_name.is_null() {
            let name = CStr::from_ptr((*next).if_name).to_string_lossy().into_owned();
            found.push(Interface { name, index: (*next).if_index });
            next = next.add(1);
        }
        libc::if_freenameindex(head);
    }
    Ok(found)
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
    let flags = InterfaceFlags::from_bits(entry.ifa_flags);
    Some(InterfaceAddress { interface, address: parse_name(name)?, prefix_length, flags })
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
            flags: InterfaceFlags { up: true, loopback: true, ..InterfaceFlags::default() },
        }));
        assert!(listed.iter().all(|entry| entry.prefix_length <= 128), "{listed:?}");
    }

    #[test]
    fn the_loopback_interface_is_listed_with_its_number() {
        assert!(all().unwrap().contains(&Interface { name: "lo".to_owned(), index: 1 }));
    }
}
