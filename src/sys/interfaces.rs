//! The addresses of this machine's interfaces.

use std::ffi::CStr;
use std::net::SocketAddr;
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
    Some(InterfaceAddress { interface: interface.to_string_lossy().into_owned(), address: parse_name(name)? })
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
        }));
    }
}
