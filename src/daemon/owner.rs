//! Who owns a UDP port: the process behind an "address in use".

use std::fmt;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;

/// A process that holds a UDP socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pid: u32,
    program: String,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pid {}, {}", self.pid, self.program)
    }
}

/// Finds a process with a UDP socket on `address`'s port in its own or the wildcard address; `None` when the
/// kernel does not show it to us (another user's process needs root).
pub(super) fn owner_of(address: SocketAddr) -> Option<Owner> {
    let inodes = inodes_on_port(address);
    let mut processes = fs::read_dir("/proc").ok()?.flatten();
    processes.find_map(|process| {
        let pid = process.file_name().to_str()?.parse().ok()?;
        holds_any(&process.path().join("fd"), &inodes)
            .then(|| Owner { pid, program: program_name(&process.path()) })
    })
}

/// Socket inodes bound to the port, from the table of the address's family in this network namespace.
fn inodes_on_port(address: SocketAddr) -> Vec<String> {
    let table = if address.is_ipv4() { "/proc/self/net/udp" } else { "/proc/self/net/udp6" };
    let text = fs::read_to_string(table).unwrap_or_default();
    text.lines().skip(1).filter_map(|line| inode_if_port(line, address.port())).collect()
}

/// Columns of the table: slot, local address:port in hexadecimal, remote, …, and the inode as the tenth.
fn inode_if_port(line: &str, port: u16) -> Option<String> {
    let columns: Vec<&str> = line.split_whitespace().collect();
    let (_, local_port) = columns.get(1)?.rsplit_once(':')?;
    let matches = u16::from_str_radix(local_port, 16) == Ok(port);
    matches.then(|| columns.get(9).map(|inode| format!("socket:[{inode}]")))?
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
    fn a_free_port_has_no_owner() {
        let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert_eq!(owner_of(port), None);
    }
}
