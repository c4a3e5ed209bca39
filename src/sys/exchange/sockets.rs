//! Client sockets, whatever moves their datagrams.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, RawFd};
use std::{io, mem};

use socket2::Socket;

use super::RequestBatch;
use crate::sys::check;
use crate::sys::socket::{new_udp, set_int, set_receive_buffer};

/// UDP sockets, one per client that is played. Connected ones hear from their target alone, and hear when the
/// target's host refuses.
pub struct ClientSockets {
    sockets: Vec<Socket>,
    /// Whose replies they are, where the sockets are not connected.
    target: Option<SocketAddr>,
    stamping: bool,
}

impl ClientSockets {
    /// Opens one socket per source address, connected to `target`; the unspecified address leaves the choice
    /// to the routing table.
    ///
    /// # Errors
    /// The source's number and what the kernel said about it.
    pub fn connect(
        sources: &[IpAddr],
        target: SocketAddr,
        receive_buffer: usize,
    ) -> Result<Self, (usize, io::Error)> {
        Self::open_each(sources.len(), None, |client| {
            let socket = open(sources[client], target, receive_buffer)?;
            socket.connect(&target.into())?;
            Ok(socket)
        })
    }

    /// Opens `count` sockets whose requests name their source addresses ([`RequestBatch::push_from`]), which
    /// need not be addresses of an interface: that they are routed to this machine is enough. Such sockets do
    /// not hear when the target's host refuses.
    ///
    /// # Errors
    /// The socket's number and what the kernel said about it.
    pub fn with_any_source(
        count: usize,
        target: SocketAddr,
        receive_buffer: usize,
    ) -> Result<Self, (usize, io::Error)> {
        let any: IpAddr = match target {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        Self::open_each(count, Some(target), |_| {
            let socket = open(any, target, receive_buffer)?;
            match target {
                SocketAddr::V4(_) => socket.set_freebind_v4(true),
                SocketAddr::V6(_) => socket.set_freebind_v6(true),
            }?;
            Ok(socket)
        })
    }

    fn open_each(
        count: usize,
        target: Option<SocketAddr>,
        open: impl Fn(usize) -> io::Result<Socket>,
    ) -> Result<Self, (usize, io::Error)> {
        let sockets = (0..count)
            .map(|client| open(client).map_err(|error| (client, error)))
            .collect::<Result<_, _>>()?;
        Ok(Self { sockets, target, stamping: false })
    }

    /// Makes the requests that [`RequestBatch::stamp_last`] marks come back with the time they left.
    ///
    /// # Errors
    /// What the kernel says about the option.
    pub fn stamp_sends(&mut self) -> io::Result<()> {
        // Which datagrams are stamped is said with each; here, that the stamps are wanted.
        let flags = libc::SOF_TIMESTAMPING_SOFTWARE as libc::c_int;
        self.sockets
            .iter()
            .try_for_each(|socket| set_int(socket, libc::SOL_SOCKET, libc::SO_TIMESTAMPING, flags))?;
        self.stamping = true;
        Ok(())
    }

    /// Whether requests may come back stamped.
    pub(super) fn is_stamping(&self) -> bool {
        self.stamping
    }

    /// How many sockets there are.
    pub fn len(&self) -> usize {
        self.sockets.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.sockets.is_empty()
    }

    /// The socket of one client.
    pub(super) fn of(&self, client: usize) -> &Socket {
        &self.sockets[client]
    }

    /// All of them, in the clients' order.
    pub(super) fn descriptors(&self) -> impl Iterator<Item = RawFd> {
        self.sockets.iter().map(AsRawFd::as_raw_fd)
    }

    /// Whose replies they are, where the sockets are not connected.
    pub(super) fn target(&self) -> Option<SocketAddr> {
        self.target
    }

    /// Datagrams that these sockets have lost because their queues were full: the counter behind SO_RXQ_OVFL,
    /// which is attached to a later datagram only, read where it stands.
    ///
    /// # Errors
    /// What the kernel says about a socket.
    pub fn drops(&self) -> io::Result<u64> {
        self.sockets.iter().map(|socket| Ok(u64::from(drops_of(socket)?))).sum()
    }

    /// [`Exchange::send`](super::Exchange::send) by one sendmmsg.
    pub(super) fn send(&self, client: usize, requests: &mut RequestBatch) -> io::Result<usize> {
        let waiting = requests.waiting();
        if waiting.is_empty() {
            return Ok(0);
        }
        let socket = self.sockets[client].as_raw_fd();
        let count = waiting.len() as libc::c_uint;
        // SAFETY: the batch has led each of these headers to a vector, a slot, a name and control messages
        // that it owns; it is borrowed exclusively here, and the kernel copies all of it before it returns.
        let sent = check(unsafe { libc::sendmmsg(socket, waiting.as_mut_ptr(), count, libc::MSG_DONTWAIT) })?;
        requests.note_sent(sent as usize);
        Ok(sent as usize)
    }
}

/// Blocking: every call that must not wait says so itself, and io_uring would not wait for a socket that does
/// not block.
fn open(source: IpAddr, target: SocketAddr, receive_buffer: usize) -> io::Result<Socket> {
    let socket = new_udp(target)?;
    set_int(&socket, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 1)?;
    set_receive_buffer(&socket, receive_buffer)?;
    socket.bind(&SocketAddr::new(source, 0).into())?;
    Ok(socket)
}

/// SO_MEMINFO's array of counters, and where in it the drops stand (SK_MEMINFO_DROPS of linux/sock_diag.h).
const MEMINFO_WORDS: usize = 9;
const MEMINFO_DROPS: usize = 8;

fn drops_of(socket: &Socket) -> io::Result<u32> {
    let mut words = [0_u32; MEMINFO_WORDS];
    let mut length = mem::size_of_val(&words) as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes, the size of `words`.
    check(unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            words.as_mut_ptr().cast(),
            &raw mut length,
        )
    })?;
    Ok(words[MEMINFO_DROPS])
}
