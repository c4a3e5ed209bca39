//! Whether this machine has what so many clients take: each is a socket, with a port of its own.

use std::fs;

use ntpring::sys::files::allow_open_files;

use crate::failure::Failure;

/// Open files beside the client sockets.
const OTHER_FILES: u64 = 64;
/// The first and last port that the kernel gives to sockets, of IPv6 too.
const PORT_RANGE: &str = "/proc/sys/net/ipv4/ip_local_port_range";

/// Refuses more clients than there can be, and raises the limit of open files as far as they need it. Ports
/// are scarce unless each client has an address of its own.
///
/// # Errors
/// What limits them, with the command that mends it.
pub(crate) fn check(clients: u64, own_addresses: bool) -> Result<(), Failure> {
    let files = clients + OTHER_FILES;
    let allowed = allow_open_files(files)
        .map_err(|error| Failure::RunTime(format!("cannot ask for {files} open files: {error}")))?;
    if allowed < files {
        return Err(Failure::RunTime(format!(
            "{clients} clients take {files} open files, and this process may have {allowed}: use fewer --clients, or raise the \
             limit (as root: ulimit -n {files})"
        )));
    }
    let ports = fs::read_to_string(PORT_RANGE).ok().and_then(|range| ports_in(&range));
    match ports {
        Some(ports) if !own_addresses && clients > ports => Err(Failure::RunTime(format!(
            "{clients} clients take a port each, and this machine has {ports} for them: use fewer --clients, \
                 --sources PREFIX for more of them, or more ports (sysctl -w net.ipv4.ip_local_port_range=\"1024 65535\")"
        ))),
        _ => Ok(()),
    }
}

fn ports_in(range: &str) -> Option<u64> {
    let mut ports = range.split_whitespace().map(|port| port.parse::<u64>().ok());
    let (first, last) = (ports.next()??, ports.next()??);
    (last + 1).checked_sub(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_of_ports_is_read_as_the_kernel_prints_it() {
        assert_eq!(ports_in("32768\t60999\n"), Some(28_232));
        assert_eq!(ports_in("1024 65535"), Some(64_512));
        for text in ["", "1", "x y", "9 7"] {
            assert_eq!(ports_in(text), None, "{text}");
        }
    }

    #[test]
    fn what_limits_clients_is_said_with_the_command_that_mends_it() {
        let said = |clients, own_addresses| match check(clients, own_addresses) {
            Err(Failure::RunTime(text)) => text,
            other => format!("{other:?}"),
        };
        assert!(check(64, true).is_ok() && check(64, false).is_ok());
        // No process may have as many files, whoever runs it.
        let files = said(1 << 40, true);
        assert!(files.contains("--clients") && files.contains("ulimit -n 1099511627840"), "{files}");
        // 16 bits are never enough for these; where there are fewer files than ports, that is said first.
        let ports = said(65_537, false);
        assert!(ports.contains("ip_local_port_range") || ports.contains("ulimit -n 65601"), "{ports}");
    }
}
