//! Who owns a UDP port: the process behind an "address in use".

use std::fmt;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

/// A process that holds a UDP socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Its number.
    pub pid: u32,
    /// The name of its program.
    pub program: String,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pid {}, {}", self.pid, self.program)
    }
}

/// Finds a process with a UDP socket that keeps others from `address`; `None` when the kernel does not show
/// it to us (another user's process needs root).
pub fn owner_of(address: SocketAddr) -> Option<Owner> {
    let inodes = inodes_in_the_way(address);
    let mut processes = fs::read_dir("/proc").ok()?.flatten();
    processes.find_map(|process| {
        let pid = process.file_name().to_str()?.parse().ok()?;
        holds_any(&process.path().join("fd"), &inodes)
            .then(|| Owner { pid, program: program_name(&process.path()) })
    })
}

/// Whether any socket of this network namespace keeps others from `address`, even if its process does not
/// show.
pub fn is_taken(address: SocketAddr) -> bool {
    !inodes_in_the_way(address).is_empty()
}

/// Inodes of the sockets in the way, from the tables of this network namespace. A socket in the IPv6 table
/// may hold an IPv4 address too: most programs that bind [::] mean both families.
fn inodes_in_the_way(wanted: SocketAddr) -> Vec<String> {
    let tables: &[&str] = match wanted {
        SocketAddr::V4(_) => &["/proc/self/net/udp", "/proc/self/net/udp6"],
        SocketAddr::V6(_) => &["/proc/self/net/udp6"],
    };
    let texts = tables.iter().map(|table| fs::read_to_string(table).unwrap_or_default());
    let inodes = |text: String| -> Vec<String> {
        text.lines().skip(1).filter_map(|line| inode_if_in_the_way(line, wanted)).collect()
    };
    texts.flat_map(inodes).collect()
}

/// Columns of the table: slot, local address:port in hexadecimal, remote, …, and the inode as the tenth.
fn inode_if_in_the_way(line: &str, wanted: SocketAddr) -> Option<String> {
    let columns: Vec<&str> = line.split_whitespace().collect();
    let (address, port) = columns.get(1)?.rsplit_once(':')?;
    let (address, port) = (table_address(address)?, u16::from_str_radix(port, 16).ok()?);
    let overlap = address == wanted.ip() || address.is_unspecified() || wanted.ip().is_unspecified();
    (overlap && port == wanted.port()).then(|| columns.get(9).map(|inode| format!("socket:[{inode}]")))?
}

/// An address as the table has it: words of 32 bits in hexadecimal, each as this machine stores it.
fn table_address(digits: &str) -> Option<IpAddr> {
    let word =
        |at: usize| u32::from_str_radix(digits.get(8 * at..8 * at + 8)?, 16).ok().map(u32::to_ne_bytes);
    match digits.len() {
        8 => word(0).map(IpAddr::from),
        32 => {
            let words = [word(0)?, word(1)?, word(2)?, word(3)?];
            let octets: [u8; 16] = words.as_flattened().try_into().ok()?;
            Some(IpAddr::from(octets).to_canonical())
        }
        _ => None,
    }
}

fn holds_any(descriptors: &Path, inodes: &[String]) -> bool {
    fs::read_dir(descriptors).is_ok_and(|mut entries| {
        entries.any(|entry| {
            let target = entry.and_then(|entry| fs::read_link(entry.path())).unwrap_or_default();
            target.to_str().is_some_and(|target| inodes.iter().any(|inode| inode == target))
        })
    })
}

fn program_name(process: &Path) -> String {
    fs::read_to_string(process.join("comm"))
        .map_or_else(|_| "unknown".to_owned(), |name| name.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn our_own_socket_is_found_under_our_own_pid() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(socket) = UdpSocket::bind(address) else { continue };
            let owner = owner_of(socket.local_addr().unwrap()).expect("a socket of this process");
            assert_eq!(owner.pid, std::process::id());
        }
    }

    #[test]
    fn table_lines_are_in_the_way_of_the_addresses_that_they_overlap() {
        let line = |address: &str| {
            format!(" 1: {address}:007B 00000000:0000 07 00000000:00000000 00:00000000 00000000 0 0 4711 2")
        };
        let word = |octets: [u8; 4]| format!("{:08X}", u32::from_ne_bytes(octets));
        let any_v6 = "0".repeat(32);
        let mapped = format!("{}{}{}", "0".repeat(16), word([0, 0, 255, 255]), word([127, 0, 0, 2]));
        for (address, wanted, in_the_way) in [
            (word([127, 0, 0, 2]), "127.0.0.2:123", true),
            (word([127, 0, 0, 2]), "127.0.0.1:123", false),
            (word([127, 0, 0, 2]), "127.0.0.2:124", false),
            (word([127, 0, 0, 2]), "0.0.0.0:123", true),
            (word([0; 4]), "127.0.0.1:123", true),
            (any_v6.clone(), "127.0.0.1:123", true),
            (any_v6, "[::1]:123", true),
            (mapped, "127.0.0.2:123", true),
        ] {
            let inode = inode_if_in_the_way(&line(&address), wanted.parse().unwrap());
            assert_eq!(inode.is_some(), in_the_way, "{address} and {wanted}");
            assert!(inode.is_none_or(|inode| inode == "socket:[4711]"));
        }
    }

    #[test]
    fn a_free_port_has_no_owner() {
        let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert_eq!(owner_of(port), None);
    }
}
