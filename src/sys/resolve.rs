//! Names to addresses, by the system's resolver.

use std::ffi::{CStr, CString};
use std::net::{IpAddr, Ipv6Addr};
use std::{io, mem, ptr, slice};

use super::cmsg::{NAME_SPACE, parse_name};

/// Which addresses of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressFamily {
    /// Both.
    Any,
    /// IPv4 only.
    V4,
    /// IPv6 only.
    V6,
}

/// The addresses of a name, each once, in the resolver's order of preference. Takes as long as the resolver
/// takes: many seconds when a name server does not answer.
///
/// # Errors
/// What the resolver says, in words.
pub fn addresses(name: &str, family: AddressFamily) -> io::Result<Vec<IpAddr>> {
    let name = CString::new(name)?;
    // SAFETY: addrinfo is a C struct of integers and pointers; all zeroes asks for everything.
    let mut hints: libc::addrinfo = unsafe { mem::zeroed() };
    hints.ai_family = match family {
        AddressFamily::Any => libc::AF_UNSPEC,
        AddressFamily::V4 => libc::AF_INET,
        AddressFamily::V6 => libc::AF_INET6,
    };
    hints.ai_socktype = libc::SOCK_DGRAM;
    let mut head = ptr::null_mut();
    // SAFETY: the name is a C string, `hints` lives for the call, and `head` is valid for writing one
    // pointer.
    match unsafe { libc::getaddrinfo(name.as_ptr(), ptr::null(), &raw const hints, &raw mut head) } {
        0 => {}
        libc::EAI_SYSTEM => return Err(io::Error::last_os_error()),
        code => return Err(io::Error::other(explain(code))),
    }
    let mut found = Vec::new();
    let mut next = head;
    // SAFETY: the list is linked by valid pointers and ends with null; it is freed once, after its last use.
    unsafe {
        while let Some(entry) = next.as_ref() {
            if let Some(address) = read(entry).filter(|address| !found.contains(address)) {
                found.push(address);
            }
            next = entry.ai_next;
        }
        libc::freeaddrinfo(head);
    }
    Ok(found)
}

/// The address and interface index of "fe80::1%eth0"; `None` if it is anything else.
pub fn scoped_address(text: &str) -> Option<(Ipv6Addr, u32)> {
    let (address, interface) = text.split_once('%')?;
    let address = address.parse().ok()?;
    let name = CString::new(interface).ok()?;
    // SAFETY: the name is a C string that lives for the call.
    let index = match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => interface.parse().ok()?,
        index => index,
    };
    Some((address, index))
}

/// # Safety
/// `entry` must come from getaddrinfo and not be freed yet.
unsafe fn read(entry: &libc::addrinfo) -> Option<IpAddr> {
    // SAFETY: getaddrinfo gives a null pointer or a socket address, whose family says how long it is, and
    // which lives as long as the entry.
    let name = unsafe {
        let length = match libc::c_int::from(entry.ai_addr.as_ref()?.sa_family) {
            libc::AF_INET => size_of::<libc::sockaddr_in>(),
            libc::AF_INET6 => NAME_SPACE,
            _ => return None,
        };
        slice::from_raw_parts(entry.ai_addr.cast::<u8>(), length)
    };
    parse_name(name).map(|address| address.ip())
}

fn explain(code: libc::c_int) -> String {
    // SAFETY: gai_strerror returns a static C string for every code.
    unsafe { CStr::from_ptr(libc::gai_strerror(code)) }.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn localhost_has_the_addresses_of_its_family() {
        let v4 = addresses("localhost", AddressFamily::V4).unwrap();
        assert_eq!(v4, [IpAddr::V4(Ipv4Addr::LOCALHOST)]);
        assert!(addresses("localhost", AddressFamily::Any).unwrap().contains(&v4[0]));
    }

    #[test]
    fn what_does_not_exist_is_an_error_in_words() {
        let error = addresses("no-such-host.invalid", AddressFamily::Any).unwrap_err();
        assert!(!error.to_string().is_empty(), "{error:?}");
        assert!(addresses("zero\0", AddressFamily::Any).is_err());
    }

    #[test]
    fn a_scope_is_an_interface_by_name_or_number() {
        assert_eq!(scoped_address("fe80::1%lo"), Some(("fe80::1".parse().unwrap(), 1)));
        assert_eq!(scoped_address("fe80::1%7"), Some(("fe80::1".parse().unwrap(), 7)));
        for other in ["fe80::1", "host%lo", "fe80::1%nosuchif", "192.0.2.1%lo"] {
            assert_eq!(scoped_address(other), None, "{other}");
        }
    }
}
