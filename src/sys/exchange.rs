//! The client's side: requests out, replies and send stamps in, over many UDP sockets.
//!
//! There are two engines: [`MmsgExchange`] works everywhere, [`UringExchange`] where io_uring is allowed.
//! Both hand over the same things; what they cost is all that differs.

mod batch;
mod mmsg;
mod sockets;
mod uring;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

pub use self::batch::RequestBatch;
pub use self::mmsg::MmsgExchange;
pub use self::sockets::ClientSockets;
pub use self::uring::UringExchange;
use super::clock::{self, Timespec};
use super::cmsg;
use super::message::Parts;

/// Sizes of the buffers for replies.
#[derive(Clone, Copy, Debug)]
pub struct ExchangeSizes {
    /// Replies per recvmmsg.
    pub batch: usize,
    /// Largest payload that is not truncated, in bytes.
    pub payload: usize,
}

/// One way to send from client sockets and to hear of what comes to them. Never blocks but in
/// [`wait`](Self::wait).
pub trait Exchange {
    /// The sockets.
    fn sockets(&self) -> &ClientSockets;

    /// Sleeps until something arrives, or `timeout` is over; to the nanosecond, as far as the kernel's timers
    /// go.
    ///
    /// # Errors
    /// What the kernel says when it cannot wait.
    fn wait(&mut self, timeout: Duration) -> io::Result<()>;

    /// Sends what waits in `requests` from one socket, as far as the kernel takes it without blocking;
    /// returns how many left.
    ///
    /// # Errors
    /// What the kernel says about the first request that waits. Errors of earlier requests appear here too:
    /// an ICMP message that came meanwhile fails the next send, and that only.
    fn send(&mut self, client: usize, requests: &mut RequestBatch) -> io::Result<usize>;

    /// Hands over what has arrived, or a bounded part of it; returns how many datagrams it was. Send stamps
    /// come before the replies that came with them.
    ///
    /// # Errors
    /// What the kernel says about a socket, but for ICMP errors, which are counted.
    fn receive(&mut self, visitor: &mut impl Visitor) -> io::Result<usize>;

    /// ICMP "unreachable" errors that receiving has met; [`is_unreachable`] tells those that sending has met.
    fn unreachable(&self) -> u64;
}

/// Whom [`Exchange::receive`] tells.
pub trait Visitor {
    /// A datagram has come.
    fn replied(&mut self, reply: &Reply<'_>);

    /// A marked request ([`RequestBatch::stamp_last`]) left at this time (CLOCK_REALTIME).
    fn stamped(&mut self, request: &[u8], stamp: Timespec);
}

/// One who marks no requests.
impl<F: FnMut(&Reply<'_>)> Visitor for F {
    fn replied(&mut self, reply: &Reply<'_>) {
        self(reply);
    }

    fn stamped(&mut self, _: &[u8], _: Timespec) {}
}

/// A datagram that came to one of the sockets.
#[derive(Debug)]
pub struct Reply<'a> {
    /// Which socket, in the order they were opened.
    pub client: usize,
    /// The kernel's receive stamp, CLOCK_REALTIME; `None` if it gave none.
    pub stamp: Option<Timespec>,
    /// When the call that brought it had returned.
    pub seen: Seen,
    /// Whether the target sent it: always, if the socket is connected.
    pub from_target: bool,
    /// The payload; `None` if it did not fit the buffer.
    pub payload: Option<&'a [u8]>,
}

impl<'a> Reply<'a> {
    /// What the parts of a datagram say; `None` is one that did not fit its buffer, and `target` whom the
    /// socket listens to if it is not connected.
    fn new(client: usize, seen: Seen, target: Option<SocketAddr>, parts: Option<Parts<'a>>) -> Self {
        let Some(parts) = parts else {
            // Too long for a reply, whoever sent it.
            return Self { client, stamp: None, seen, from_target: target.is_none(), payload: None };
        };
        let stamp = cmsg::parse(parts.control).stamp;
        let from_target = target.is_none_or(|target| is_from(parts.name, target));
        Self { client, stamp, seen, from_target, payload: Some(parts.payload) }
    }
}

/// Flow labels and scopes are no part of who it is.
fn is_from(name: &[u8], target: SocketAddr) -> bool {
    cmsg::parse_name(name).is_some_and(|peer| peer.ip() == target.ip() && peer.port() == target.port())
}

/// One moment on two clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// CLOCK_REALTIME.
    pub realtime: Timespec,
    /// CLOCK_MONOTONIC.
    pub monotonic: Timespec,
}

impl Seen {
    /// Reads both clocks, again if something came between.
    pub fn now() -> Self {
        const UNDISTURBED_NS: i128 = 2_000;
        const TRIES: usize = 4;
        let mut best = (i128::MAX, Self { realtime: clock::realtime(), monotonic: clock::monotonic() });
        for _ in 0..TRIES {
            let before = clock::monotonic().as_nanos();
            let seen = Self { realtime: clock::realtime(), monotonic: clock::monotonic() };
            let taken = seen.monotonic.as_nanos() - before;
            if taken < best.0 {
                best = (taken, seen);
            }
            if taken < UNDISTURBED_NS {
                break;
            }
        }
        best.1
    }
}

/// Room for the headers of a request that comes back.
const HEADERS_SPACE: usize = 128;
/// Lengths of link layer headers: none, Ethernet, with one and two VLAN tags.
const LINK_HEADERS: [usize; 4] = [14, 0, 18, 22];
const UDP_HEADER: usize = 8;

/// Tells of a request that came back on its socket's error queue, behind the headers it left with.
fn tell_stamp(parts: &Parts<'_>, visitor: &mut impl Visitor) {
    if let (Some(request), Some(stamp)) = (udp_payload(parts.payload), cmsg::parse(parts.control).stamp) {
        visitor.stamped(request, stamp);
    }
}

/// The UDP payload of a packet as it left. What stands before the IP header depends on the interface; an IP
/// header is known by its length field.
fn udp_payload(packet: &[u8]) -> Option<&[u8]> {
    LINK_HEADERS.into_iter().find_map(|link| {
        let ip = packet.get(link..)?;
        let word = |at: usize| Some(usize::from(u16::from_be_bytes([*ip.get(at)?, *ip.get(at + 1)?])));
        let header = match ip.first()? >> 4 {
            4 if word(2)? == ip.len() => 4 * usize::from(ip[0] & 0x0F),
            6 if word(4)? + 40 == ip.len() => 40,
            _ => return None,
        };
        ip.get(header + UDP_HEADER..)
    })
}

/// Whether an error of a connected socket is an ICMP message about something sent before.
pub fn is_unreachable(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ECONNREFUSED | libc::EHOSTUNREACH | libc::ENETUNREACH))
}

#[cfg(test)]
mod tests;
