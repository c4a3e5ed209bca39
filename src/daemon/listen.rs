//! Opens the sockets that serve, or says what is in the way and how to mend it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tracing::warn;

use super::owner::owner_of;
use crate::sys::socket::{ServeSocket, SocketOptions};

/// The NTP port (RFC 5905 §7.2).
pub(super) const NTP_PORT: u16 = 123;

/// Where the embedded default serves when the NTP port is not to be had.
pub(super) const UNPRIVILEGED_PORT: u16 = 11_123;

/// An address could not be served; the text names the cause and the command that mends it.
#[derive(Debug, thiserror::Error)]
#[error("cannot bind {address}: {cause}")]
pub struct ListenError {
    address: SocketAddr,
    cause: String,
    kind: io::ErrorKind,
}

impl ListenError {
    /// Whether another port might work: this one is taken, or needs a privilege.
    pub(super) fn is_about_the_port(&self) -> bool {
        matches!(self.kind, io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied)
    }

    fn new(address: SocketAddr, error: &io::Error) -> Self {
        Self { address, cause: cause(address, error), kind: error.kind() }
    }
}

/// The sockets of every worker: `sockets[worker][address]`.
pub(super) type WorkerSockets = Vec<Arc<[ServeSocket]>>;

/// Both wildcard addresses; a machine without IPv6 serves IPv4 alone and says so.
pub(super) fn wildcards(port: u16) -> Vec<SocketAddr> {
    let v4 = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port);
    let v6 = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port);
    match ServeSocket::probe(SocketAddr::new(v6.ip(), 0)) {
        Ok(()) => vec![v4, v6],
        Err(error) => {
            warn!(
                "no IPv6 here ({error}): serving IPv4 only; to have it: sysctl -w net.ipv6.conf.all.disable_ipv6=0, or boot without ipv6.disable=1"
            );
            vec![v4]
        }
    }
}

/// Opens one socket per address and worker. Each address is first claimed by one of them alone, so that any
/// other owner, another ntpring too, is an error instead of a silent thief of datagrams.
pub(super) fn open(
    addresses: &[SocketAddr],
    workers: usize,
    options: SocketOptions,
) -> Result<WorkerSockets, ListenError> {
    let mut groups = Vec::with_capacity(addresses.len());
    for &address in addresses {
        let group =
            open_group(address, workers, options).map_err(|error| ListenError::new(address, &error))?;
        groups.push(group.into_iter());
    }
    Ok((0..workers).map(|_| groups.iter_mut().filter_map(Iterator::next).collect()).collect())
}

/// Members of a group are numbered in the order they are bound, so worker 0 gets the first.
fn open_group(address: SocketAddr, workers: usize, options: SocketOptions) -> io::Result<Vec<ServeSocket>> {
    let first = claim(address, options)?;
    // Port 0 means any: the first member chooses for all.
    let address = first.local();
    let others = (1..workers).map(|_| ServeSocket::open(address, options));
    let group: Vec<ServeSocket> = [Ok(first)].into_iter().chain(others).collect::<io::Result<_>>()?;
    group[0].steer_group(workers)?;
    Ok(group)
}

/// A server that was just killed may leave its port taken for some milliseconds, without a process that owns
/// it.
fn claim(address: SocketAddr, options: SocketOptions) -> io::Result<ServeSocket> {
    const TRIES: u32 = 20;
    const PAUSE: Duration = Duration::from_millis(50);
    for _ in 0..TRIES {
        match ServeSocket::claim(address, options) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && owner_of(address).is_none() => {
                thread::sleep(PAUSE);
            }
            result => return result,
        }
    }
    ServeSocket::claim(address, options)
}

fn cause(address: SocketAddr, error: &io::Error) -> String {
    // Not the port that is in the way.
    let port = UNPRIVILEGED_PORT + u16::from(address.port() == UNPRIVILEGED_PORT);
    let elsewhere = SocketAddr::new(address.ip(), port);
    match error.kind() {
        io::ErrorKind::AddrInUse => match owner_of(address) {
            Some(owner) => format!("address in use ({owner}): stop it, or use --listen {elsewhere}"),
            None => format!(
                "address in use (by a process this user cannot see: sudo ss -nlup 'sport = {}'): stop it, or use --listen {elsewhere}",
                address.port()
            ),
        },
        _ if error.raw_os_error() == Some(libc::EMFILE) => {
            format!("{error}: one file is needed per address and worker: ulimit -n 4096")
        }
        _ if needs_scope(address) => {
            format!(
                "{error}: a link-local address needs its interface: --listen [{}%IFACE]:{}",
                address.ip(),
                address.port()
            )
        }
        io::ErrorKind::PermissionDenied => format!(
            "permission denied: run as root, or sudo setcap cap_net_bind_service=+ep $(command -v ntpring), or use --listen {elsewhere}"
        ),
        io::ErrorKind::AddrNotAvailable => {
            format!(
                "no interface has this address: ip address add {}/{} dev IFACE",
                address.ip(),
                width(address.ip())
            )
        }
        _ => error.to_string(),
    }
}

fn needs_scope(address: SocketAddr) -> bool {
    matches!(address, SocketAddr::V6(v6) if v6.ip().is_unicast_link_local() && v6.scope_id() == 0)
}

fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}
