//! The client's side: many connected UDP sockets, requests out by sendmmsg, replies in by recvmmsg.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;
use std::{io, mem, ptr};

use socket2::{SockAddr, Socket};

use super::clock::{self, Timespec};
use super::cmsg::Arrival;
use super::mmsg::ReceiveBatch;
use super::socket::{new_udp, set_int, set_receive_buffer};
use super::{check, cmsg};

/// Connected sockets, one per client that is played, and the memory for one batch of replies. A connected
/// socket hears from its target alone, and hears when the target's host refuses.
pub struct ClientSockets {
    sockets: Vec<Socket>,
    epoll: OwnedFd,
    ready: Box<[libc::epoll_event]>,
    replies: ReceiveBatch,
    /// Whose replies they are, where the sockets are not connected.
    target: Option<SocketAddr>,
    /// Requests that come back stamped, behind the headers they left with.
    errors: ReceiveBatch,
    /// Clients whose error queues had something in them at the last look.
    stamped: Vec<usize>,
    unreachable: u64,
}

/// Sizes of the buffers for replies.
#[derive(Clone, Copy, Debug)]
pub struct ExchangeSizes {
    /// Replies per recvmmsg.
    pub batch: usize,
    /// Largest payload that is not truncated, in bytes.
    pub payload: usize,
    /// Receive buffer asked for, per socket, in bytes.
    pub receive_buffer: usize,
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

impl ClientSockets {
    /// Opens one socket per source address, connected to `target`; the unspecified address leaves the choice
    /// to the routing table.
    ///
    /// # Errors
    /// The source's number and what the kernel said about it.
    pub fn connect(
        sources: &[IpAddr],
        target: SocketAddr,
        sizes: ExchangeSizes,
    ) -> Result<Self, (usize, io::Error)> {
        Self::open_each(sources.len(), None, sizes, |client| {
            let socket = open(sources[client], target, sizes.receive_buffer)?;
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
        sizes: ExchangeSizes,
    ) -> Result<Self, (usize, io::Error)> {
        let any: IpAddr = match target {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        Self::open_each(count, Some(target), sizes, |_| {
            let socket = open(any, target, sizes.receive_buffer)?;
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
        sizes: ExchangeSizes,
        open: impl Fn(usize) -> io::Result<Socket>,
    ) -> Result<Self, (usize, io::Error)> {
        let mut sockets = Vec::with_capacity(count);
        let epoll = new_epoll().map_err(|error| (0, error))?;
        for client in 0..count {
            let socket = open(client).map_err(|error| (client, error))?;
            watch(&epoll, &socket, client).map_err(|error| (client, error))?;
            sockets.push(socket);
        }
        Ok(Self {
            ready: vec![libc::epoll_event { events: 0, u64: 0 }; sizes.batch].into_boxed_slice(),
            replies: ReceiveBatch::new(sizes.batch, sizes.payload),
            errors: ReceiveBatch::new(sizes.batch, sizes.payload + HEADERS_SPACE),
            stamped: Vec::with_capacity(sizes.batch),
            sockets,
            target,
            epoll,
            unreachable: 0,
        })
    }

    /// Makes the requests that [`RequestBatch::stamp_last`] marks come back with the time they left.
    pub fn stamp_sends(&self) -> io::Result<()> {
        // Which datagrams are stamped is said with each; here, that the stamps are wanted.
        let flags = libc::SOF_TIMESTAMPING_SOFTWARE as libc::c_int;
        self.sockets
            .iter()
            .try_for_each(|socket| set_int(socket, libc::SOL_SOCKET, libc::SO_TIMESTAMPING, flags))
    }

    /// How many sockets there are.
    pub fn clients(&self) -> usize {
        self.sockets.len()
    }

    /// Sleeps until something arrives, or `timeout` is over; to the nanosecond, as far as the kernel's timers
    /// go.
    pub fn wait(&self, timeout: Duration) -> io::Result<()> {
        let mut entry = libc::pollfd { fd: self.epoll.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        let timeout = libc::timespec {
            tv_sec: timeout.as_secs().try_into().unwrap_or(libc::time_t::MAX),
            tv_nsec: timeout.subsec_nanos().into(),
        };
        // SAFETY: one pollfd and one timespec, both live for the call; a null signal mask changes nothing.
        match check(unsafe { libc::ppoll(&raw mut entry, 1, &raw const timeout, ptr::null()) }) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(error),
            _ => Ok(()),
        }
    }

    /// Sends what waits in `requests` from one socket, as far as the kernel takes it without blocking;
    /// returns how many left.
    ///
    /// # Errors
    /// What the kernel says about the first request that waits. Errors of earlier requests appear here too:
    /// an ICMP message that came meanwhile fails the next send, and that only.
    pub fn send(&self, client: usize, requests: &mut RequestBatch) -> io::Result<usize> {
        let waiting = &mut requests.headers[requests.sent..requests.filled];
        if waiting.is_empty() {
            return Ok(0);
        }
        let socket = self.sockets[client].as_raw_fd();
        let count = waiting.len() as libc::c_uint;
        // SAFETY: `push` has led each of these headers to a vector and a slot that `requests` owns, and
        // `stamp_last` or `push_from` to control messages and a name that it owns too; it is borrowed
        // exclusively here, and the kernel copies all of it before it returns.
        let sent = check(unsafe { libc::sendmmsg(socket, waiting.as_mut_ptr(), count, libc::MSG_DONTWAIT) })?;
        requests.sent += sent as usize;
        Ok(sent as usize)
    }

    /// Hands over what has arrived without waiting, at most one batch of every readable socket; returns how
    /// many datagrams it was.
    pub fn receive(&mut self, mut visit: impl FnMut(Reply<'_>)) -> io::Result<usize> {
        let mut total = 0;
        let room = self.ready.len() as libc::c_int;
        // SAFETY: `ready` is valid for writing `room` events and borrowed exclusively.
        let ready = unsafe { libc::epoll_wait(self.epoll.as_raw_fd(), self.ready.as_mut_ptr(), room, 0) };
        let ready = match check(ready) {
            Ok(ready) => ready as usize,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            Err(error) => return Err(error),
        };
        self.stamped.clear();
        for event in &self.ready[..ready] {
            let client = event.u64 as usize;
            if event.events & libc::EPOLLERR as u32 != 0 {
                self.stamped.push(client);
            }
            match self.replies.receive(&self.sockets[client]) {
                Ok(received) => {
                    total += received;
                    visit_batch(&mut self.replies, (client, self.target), received, &mut visit);
                }
                Err(error) if is_unreachable(&error) => self.unreachable += 1,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(total)
    }

    /// Takes at most one batch of what has come to one socket and looks at none of it; returns how many
    /// datagrams it was. It is one recvmmsg and nothing else: what every other way to receive is measured by.
    pub fn discard(&mut self, client: usize) -> io::Result<usize> {
        match self.replies.receive(&self.sockets[client]) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            result => result,
        }
    }

    /// Hands over the send stamps (CLOCK_REALTIME) of one client's marked requests, each with its payload, as
    /// far as they are there: usually at once after sending.
    pub fn send_stamps(&mut self, client: usize, visit: &mut impl FnMut(&[u8], Timespec)) {
        // Whatever else the error queue may say, the next call on the socket says too.
        while let Ok(read @ 1..) = self.errors.receive_with(&self.sockets[client], libc::MSG_ERRQUEUE) {
            for slot in 0..read {
                let Some((_, parts)) = self.errors.parts(slot) else { continue };
                if let (Some(payload), Some(stamp)) =
                    (udp_payload(parts.payload), cmsg::parse(parts.control).stamp)
                {
                    visit(payload, stamp);
                }
            }
        }
    }

    /// The same for every client that [`receive`](Self::receive) has found to have some.
    pub fn late_send_stamps(&mut self, visit: &mut impl FnMut(&[u8], Timespec)) {
        while let Some(client) = self.stamped.pop() {
            self.send_stamps(client, visit);
        }
    }

    /// ICMP "unreachable" errors that receiving has met; [`is_unreachable`] tells those that sending has met.
    pub fn unreachable(&self) -> u64 {
        self.unreachable
    }

    /// Datagrams that these sockets have lost because their queues were full: the counter behind SO_RXQ_OVFL,
    /// which is attached to a later datagram only, read where it stands.
    pub fn drops(&self) -> io::Result<u64> {
        self.sockets.iter().map(|socket| Ok(u64::from(drops_of(socket)?))).sum()
    }
}

/// Room for the headers of a request that comes back.
const HEADERS_SPACE: usize = 128;
/// Lengths of link layer headers: none, Ethernet, with one and two VLAN tags.
const LINK_HEADERS: [usize; 4] = [14, 0, 18, 22];
const UDP_HEADER: usize = 8;

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

/// Bytes of the control messages of one request: its source, and the wish for a stamp.
const CONTROL: usize = cmsg::CONTROL_SPACE;

/// Requests that leave with one sendmmsg call; filled from the front, sent from the front.
pub struct RequestBatch {
    // Up to `filled`, headers[i] points at vectors[i] and that into slot i of the area. None of the three
    // ever moves or grows.
    headers: Vec<libc::mmsghdr>,
    vectors: Vec<libc::iovec>,
    area: Vec<u8>,
    // What the kernel is told about requests that it is to stamp: the same for all, and only ever read.
    stamp: Vec<u8>,
    // Where requests with a source of their own go (at most one address), and their control messages,
    // `CONTROL` bytes each.
    target: Vec<SockAddr>,
    controls: Vec<u8>,
    /// How long the message is that names a source.
    source_length: usize,
    stamped: bool,
    slot: usize,
    filled: usize,
    sent: usize,
}

impl RequestBatch {
    /// Room for `capacity` requests of up to `longest` bytes each.
    pub fn new(capacity: usize, longest: usize) -> Self {
        // SAFETY: mmsghdr is a C struct of integers and pointers; all zeroes is the empty message.
        let empty: libc::mmsghdr = unsafe { mem::zeroed() };
        let nowhere = libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 };
        Self {
            headers: vec![empty; capacity],
            vectors: vec![nowhere; capacity],
            area: vec![0; capacity * longest],
            stamp: send_stamp(),
            target: Vec::new(),
            controls: Vec::new(),
            source_length: 0,
            stamped: false,
            slot: longest,
            filled: 0,
            sent: 0,
        }
    }

    /// The same for requests that name their source, all to `target`.
    pub fn with_sources(capacity: usize, longest: usize, target: SocketAddr) -> Self {
        Self {
            target: vec![target.into()],
            controls: vec![0; capacity * CONTROL],
            ..Self::new(capacity, longest)
        }
    }

    /// Appends a request that leaves from `source`; false if there is no room for it, or sources are not
    /// named.
    pub fn push_from(&mut self, request: &[u8], source: IpAddr) -> bool {
        if self.target.is_empty() || !self.push(request) {
            return false;
        }
        let at = self.filled - 1;
        let (header, control) =
            (&mut self.headers[at].msg_hdr, &mut self.controls[at * CONTROL..][..CONTROL]);
        let arrival = Arrival { destination: source, interface: 0, shared: false };
        self.source_length = cmsg::write_reply_source(control, arrival);
        header.msg_controllen = self.source_length as _;
        header.msg_control = control.as_mut_ptr().cast();
        if let Some(target) = self.target.first() {
            header.msg_name = target.as_ptr().cast_mut().cast();
            header.msg_namelen = target.len();
        }
        true
    }

    /// Appends a request; false if there is no room for it.
    pub fn push(&mut self, request: &[u8]) -> bool {
        let at = self.filled;
        let slot = self.area.get_mut(at * self.slot..(at + 1) * self.slot);
        let Some(place) = slot.and_then(|slot| slot.get_mut(..request.len())) else { return false };
        place.copy_from_slice(request);
        self.vectors[at] = libc::iovec { iov_base: place.as_mut_ptr().cast(), iov_len: place.len() };
        self.headers[at].msg_hdr.msg_iov = &raw mut self.vectors[at];
        self.headers[at].msg_hdr.msg_iovlen = 1;
        self.headers[at].msg_hdr.msg_control = ptr::null_mut();
        self.headers[at].msg_hdr.msg_controllen = 0;
        self.filled += 1;
        true
    }

    /// Asks the kernel to stamp the request that was appended last when it leaves.
    pub fn stamp_last(&mut self) {
        let Some(last) = self.filled.checked_sub(1) else { return };
        let header = &mut self.headers[last].msg_hdr;
        if !self.target.is_empty() {
            let behind = &mut self.controls[last * CONTROL..][self.source_length..CONTROL];
            header.msg_controllen = (self.source_length + cmsg::write_send_stamp(behind)) as _;
        } else {
            header.msg_control = self.stamp.as_mut_ptr().cast();
            header.msg_controllen = self.stamp.len() as _;
        }
        self.stamped = true;
    }

    /// Whether a request of the batch is to be stamped.
    pub fn is_stamped(&self) -> bool {
        self.stamped
    }

    /// Requests in the batch, sent and waiting.
    pub fn len(&self) -> usize {
        self.filled
    }

    /// Whether nothing was appended.
    pub fn is_empty(&self) -> bool {
        self.filled == 0
    }

    /// Requests that are done with: sent or passed over.
    pub fn done(&self) -> usize {
        self.sent
    }

    /// Passes over the first request that waits.
    pub fn skip(&mut self) {
        self.sent = self.filled.min(self.sent + 1);
    }

    /// Empties it.
    pub fn clear(&mut self) {
        self.stamped = false;
        self.filled = 0;
        self.sent = 0;
    }
}

fn send_stamp() -> Vec<u8> {
    let mut control = vec![0; cmsg::SEND_STAMP_SPACE];
    let length = cmsg::write_send_stamp(&mut control);
    control.truncate(length);
    control
}

fn open(source: IpAddr, target: SocketAddr, receive_buffer: usize) -> io::Result<Socket> {
    let socket = new_udp(target)?;
    socket.set_nonblocking(true)?;
    set_int(&socket, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 1)?;
    set_receive_buffer(&socket, receive_buffer)?;
    socket.bind(&SocketAddr::new(source, 0).into())?;
    Ok(socket)
}

fn new_epoll() -> io::Result<OwnedFd> {
    // SAFETY: no pointers; the descriptor that comes back is new and owned by nobody else.
    unsafe { Ok(OwnedFd::from_raw_fd(check(libc::epoll_create1(libc::EPOLL_CLOEXEC))?)) }
}

fn watch(epoll: &OwnedFd, socket: &Socket, client: usize) -> io::Result<()> {
    let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: client as u64 };
    // SAFETY: `event` lives for the call, which copies it; both descriptors are open.
    check(unsafe {
        libc::epoll_ctl(epoll.as_raw_fd(), libc::EPOLL_CTL_ADD, socket.as_raw_fd(), &raw mut event)
    })
    .map(drop)
}

fn visit_batch(
    replies: &mut ReceiveBatch,
    (client, target): (usize, Option<SocketAddr>),
    received: usize,
    visit: &mut impl FnMut(Reply<'_>),
) {
    let seen = Seen::now();
    for slot in 0..received {
        match replies.parts(slot) {
            Some((_, parts)) => {
                let stamp = cmsg::parse(parts.control).stamp;
                let from_target = target.is_none_or(|target| is_from(parts.name, target));
                visit(Reply { client, stamp, seen, from_target, payload: Some(parts.payload) });
            }
            // Too long for a reply, whoever sent it.
            None => visit(Reply { client, stamp: None, seen, from_target: target.is_none(), payload: None }),
        }
    }
}

/// Flow labels and scopes are no part of who it is.
fn is_from(name: &[u8], target: SocketAddr) -> bool {
    cmsg::parse_name(name).is_some_and(|peer| peer.ip() == target.ip() && peer.port() == target.port())
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

#[cfg(test)]
mod tests;
