//! The client's sockets: one per request, so that every request leaves from a port nobody can foresee (RFC
//! 9109) and whatever arrives there can only be about it.
//!
//! Everything here is plain libc: socket, connect, send, recvmsg, poll. A client runs the same under anything
//! that stands between it and the kernel, be it a seccomp profile or a simulator.

use std::net::SocketAddr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;
use std::{io, mem, ptr};

use socket2::SockAddr;

use super::clock::{self, Timespec};
use super::{check, cmsg};

/// Room for what comes beside a datagram: three times, and on the error queue the reason and a sender.
const CONTROL_SPACE: usize = 256;

/// Stamps of the kernel's own, for what leaves and what arrives. Only the stamp of a request comes back, not
/// the request: one socket has one request.
const STAMPING: libc::c_int = (libc::SOF_TIMESTAMPING_TX_SOFTWARE
    | libc::SOF_TIMESTAMPING_RX_SOFTWARE
    | libc::SOF_TIMESTAMPING_SOFTWARE
    | libc::SOF_TIMESTAMPING_OPT_TSONLY) as libc::c_int;

/// A time and who read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// CLOCK_REALTIME.
    pub time: Timespec,
    /// Whether the kernel stamped the packet itself; else the clock was read beside the system call.
    pub by_kernel: bool,
}

/// A UDP socket, connected to one server.
#[derive(Debug)]
pub struct ClientSocket(OwnedFd);

/// A datagram of the server's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// How much of the buffer it fills; `None` if it is longer than that.
    pub length: Option<usize>,
    /// When it arrived.
    pub stamp: Stamp,
}

impl ClientSocket {
    /// Opens a socket to `server`. The kernel chooses its port, at random.
    pub fn open(server: SocketAddr, dscp: u8) -> io::Result<Self> {
        let socket = open_udp(server)?;
        set_traffic_class(&socket, server, dscp);
        // Without stamps of the kernel's, the clock is read instead.
        let _ = stamp(&socket);
        let address = SockAddr::from(server);
        // SAFETY: the descriptor is open, and the address is as long as it says and lives for the call.
        check(unsafe { libc::connect(socket.as_raw_fd(), address.as_ptr().cast(), address.len()) })?;
        Ok(Self(socket))
    }

    /// Sends the request; the time read just before is right until [`sent`](Self::sent) knows better.
    pub fn send(&self, request: &[u8]) -> io::Result<Stamp> {
        let time = clock::realtime();
        // SAFETY: the kernel reads `request`, which is borrowed for the call.
        let sent = unsafe {
            libc::send(self.0.as_raw_fd(), request.as_ptr().cast(), request.len(), libc::MSG_DONTWAIT)
        };
        check(sent as libc::c_int)?;
        Ok(Stamp { time, by_kernel: false })
    }

    /// Takes one entry of the error queue: the stamp of the request when it left. To be called once for each
    /// time that poll reports an error.
    ///
    /// # Errors
    /// What an ICMP message said, such as `ConnectionRefused`; `WouldBlock` if there is neither.
    pub fn sent(&self) -> io::Result<Stamp> {
        let queued = self.receive_message(&mut [0; 1], libc::MSG_ERRQUEUE);
        match queued.map(|message| message.stamp) {
            Ok(Some(time)) => Ok(Stamp { time, by_kernel: true }),
            _ => Err(self.take_error()),
        }
    }

    /// Takes one datagram; `None` if there is none. To be called once for each time that poll reports one.
    ///
    /// # Errors
    /// What an ICMP message said, such as `ConnectionRefused`.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<Arrival>> {
        match self.receive_message(buffer, 0) {
            Ok(message) => {
                let read = Stamp { time: clock::realtime(), by_kernel: false };
                let stamp = message.stamp.map_or(read, |time| Stamp { time, by_kernel: true });
                Ok(Some(Arrival { length: message.length, stamp }))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// This end's address.
    pub fn local(&self) -> io::Result<SocketAddr> {
        let mut name = [0_u8; cmsg::NAME_SPACE];
        let mut length = name.len() as libc::socklen_t;
        // SAFETY: the kernel writes at most `length` bytes, the size of `name`.
        check(unsafe { libc::getsockname(self.0.as_raw_fd(), name.as_mut_ptr().cast(), &raw mut length) })?;
        cmsg::parse_name(&name).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    fn receive_message(&self, buffer: &mut [u8], flags: libc::c_int) -> io::Result<Message> {
        let mut vector = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
        let mut control = ControlBuffer([0; CONTROL_SPACE]);
        // SAFETY: msghdr is a C struct of integers and pointers; all zeroes is the empty message.
        let mut header: libc::msghdr = unsafe { mem::zeroed() };
        header.msg_iov = &raw mut vector;
        header.msg_iovlen = 1;
        header.msg_control = control.0.as_mut_ptr().cast();
        header.msg_controllen = CONTROL_SPACE as _;
        // SAFETY: the header leads to `buffer` and `control` with their true sizes; both are borrowed
        // exclusively for the call.
        let length =
            unsafe { libc::recvmsg(self.0.as_raw_fd(), &raw mut header, libc::MSG_DONTWAIT | flags) };
        let length = check(length as libc::c_int)? as usize;
        let fits = header.msg_flags & libc::MSG_TRUNC == 0 && length <= buffer.len();
        let control = control.0.get(..header.msg_controllen as usize).unwrap_or_default();
        let stamp = cmsg::parse(control).stamp.filter(|stamp| stamp.seconds != 0);
        Ok(Message { length: fits.then_some(length), stamp })
    }

    /// An error that is not on the queue is in the socket; asking for it takes it out, or poll would report
    /// it forever.
    fn take_error(&self) -> io::Error {
        let mut error: libc::c_int = 0;
        let mut length = size_of::<libc::c_int>() as libc::socklen_t;
        let fd = self.0.as_raw_fd();
        // SAFETY: the kernel writes at most `length` bytes, the size of `error`.
        let asked = check(unsafe {
            libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_ERROR, (&raw mut error).cast(), &raw mut length)
        });
        match asked {
            Ok(_) if error == 0 => io::ErrorKind::WouldBlock.into(),
            Ok(_) => io::Error::from_raw_os_error(error),
            Err(unknown) => unknown,
        }
    }
}

impl AsRawFd for ClientSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

struct Message {
    length: Option<usize>,
    stamp: Option<Timespec>,
}

/// Aligned as the kernel writes control messages.
#[repr(C, align(8))]
struct ControlBuffer([u8; CONTROL_SPACE]);

/// A socket that keeps the kernel stamping. Stamping begins some time after the first socket asks for it and
/// ends with the last one; the reply of a near server is faster.
#[derive(Debug)]
pub struct StampingAnchor {
    _socket: Option<OwnedFd>,
}

impl StampingAnchor {
    /// Asks for stamps of whatever comes, as long as this lives. Where that is refused, there are none.
    pub fn new() -> Self {
        let any = SocketAddr::from(([0, 0, 0, 0], 0));
        let v6 = SocketAddr::from(([0; 16], 0));
        let socket = open_udp(any).or_else(|_| open_udp(v6)).ok();
        Self { _socket: socket.filter(|socket| stamp(socket).is_ok()) }
    }
}

impl Default for StampingAnchor {
    fn default() -> Self {
        Self::new()
    }
}

/// What poll(2) waits for; filled anew for every wait.
#[derive(Debug, Default)]
pub struct PollSet(Vec<libc::pollfd>);

/// What there is to do with a descriptor of a [`PollSet`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Readiness {
    /// A read does not wait: there is something, or the end.
    pub readable: bool,
    /// Something is on the error queue, or an error in the socket.
    pub error: bool,
}

impl PollSet {
    /// Forgets all descriptors.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Adds a descriptor, for reading and for its error queue.
    pub fn push(&mut self, descriptor: &impl AsRawFd) {
        let events = libc::POLLIN | libc::POLLPRI;
        self.0.push(libc::pollfd { fd: descriptor.as_raw_fd(), events, revents: 0 });
    }

    /// Sleeps until something is ready, a signal comes, or `timeout` is over; to the millisecond, never
    /// shorter.
    pub fn wait(&mut self, timeout: Duration) -> io::Result<()> {
        let milliseconds = timeout.as_nanos().div_ceil(1_000_000).try_into().unwrap_or(libc::c_int::MAX);
        let count = self.0.len() as libc::nfds_t;
        // SAFETY: the pointer leads to `count` entries, borrowed exclusively for the call.
        match check(unsafe { libc::poll(self.0.as_mut_ptr(), count, milliseconds) }) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                self.0.iter_mut().for_each(|entry| entry.revents = 0);
                Ok(())
            }
            result => result.map(drop),
        }
    }

    /// What there is to do with the descriptor that was added as number `index`.
    pub fn readiness(&self, index: usize) -> Readiness {
        let events = self.0.get(index).map_or(0, |entry| entry.revents);
        Readiness {
            readable: events & (libc::POLLIN | libc::POLLHUP) != 0,
            error: events & (libc::POLLPRI | libc::POLLERR) != 0,
        }
    }
}

/// A UDP socket that does not block. The flags at creation save two calls, and not everything that stands in
/// for a kernel knows them.
fn open_udp(server: SocketAddr) -> io::Result<OwnedFd> {
    let family = if server.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let open = |flags| {
        // SAFETY: integers only; the descriptor that comes back is new and owned by nobody else.
        unsafe { check(libc::socket(family, libc::SOCK_DGRAM | flags, 0)).map(|fd| OwnedFd::from_raw_fd(fd)) }
    };
    match open(libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            let socket = open(0)?;
            let fd = socket.as_raw_fd();
            // SAFETY: integers only; the descriptor is open.
            unsafe {
                check(libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC))?;
                check(libc::fcntl(fd, libc::F_SETFL, libc::O_NONBLOCK))?;
            }
            Ok(socket)
        }
        result => result,
    }
}

fn stamp(socket: &OwnedFd) -> io::Result<()> {
    set_int(socket, libc::SOL_SOCKET, libc::SO_TIMESTAMPING, STAMPING)
        .or_else(|_| set_int(socket, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 1))
}

/// Requests that are not marked are no worse than unmarked.
fn set_traffic_class(socket: &OwnedFd, server: SocketAddr, dscp: u8) {
    let class = libc::c_int::from(dscp) << 2;
    let _ = match (dscp, server) {
        (0, _) => Ok(()),
        (_, SocketAddr::V4(_)) => set_int(socket, libc::IPPROTO_IP, libc::IP_TOS, class),
        (_, SocketAddr::V6(_)) => set_int(socket, libc::IPPROTO_IPV6, libc::IPV6_TCLASS, class),
    };
}

fn set_int(socket: &OwnedFd, level: libc::c_int, name: libc::c_int, value: libc::c_int) -> io::Result<()> {
    let length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the kernel reads `length` bytes of `value`, which lives for the call.
    let result =
        unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, ptr::from_ref(&value).cast(), length) };
    check(result).map(drop)
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    /// Waits until poll reports something for the socket.
    fn await_ready(socket: &ClientSocket) -> Readiness {
        let mut poll = PollSet::default();
        poll.push(socket);
        poll.wait(Duration::from_secs(2)).unwrap();
        poll.readiness(0)
    }

    fn exchange(any: &str) {
        let server = UdpSocket::bind(any).unwrap();
        let _anchor = StampingAnchor::new();
        // Stamping begins a moment after the first socket asks for it.
        std::thread::sleep(Duration::from_millis(50));
        let client = ClientSocket::open(server.local_addr().unwrap(), 0).unwrap();
        let before = clock::realtime();
        let read = client.send(b"request").unwrap();
        assert!(!read.by_kernel && read.time >= before);
        assert!(await_ready(&client).error, "the kernel reports the request's stamp");
        let sent = client.sent().expect("a stamp");
        assert!(sent.by_kernel && sent.time >= read.time && sent.time <= clock::realtime(), "{sent:?}");

        let mut buffer = [0; 16];
        let (length, peer) = server.recv_from(&mut buffer).unwrap();
        assert_eq!((&buffer[..length], peer), (&b"request"[..], client.local().unwrap()));
        assert_eq!(client.receive(&mut buffer).unwrap(), None, "nothing was sent yet");
        for reply in [&b"reply"[..], &[7; 17]] {
            let earliest = clock::realtime();
            server.send_to(reply, peer).unwrap();
            let ready = await_ready(&client);
            assert!(ready.readable && !ready.error, "{ready:?}");
            let arrival = client.receive(&mut buffer).unwrap().expect("the reply");
            assert_eq!(arrival.length, (reply.len() <= 16).then_some(reply.len()));
            assert!(arrival.stamp.by_kernel && arrival.stamp.time >= earliest, "{arrival:?}");
        }
    }

    #[test]
    fn request_and_reply_are_stamped_by_the_kernel() {
        exchange("127.0.0.1:0");
        exchange("[::1]:0");
    }

    #[test]
    fn every_request_has_a_port_of_its_own() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let ports: std::collections::HashSet<u16> =
            (0..20).map(|_| ClientSocket::open(server, 0).unwrap().local().unwrap().port()).collect();
        assert!(ports.len() > 15, "{ports:?} are hard to foresee");
    }

    fn is_refusal(error: &io::Error) -> bool {
        error.kind() == io::ErrorKind::ConnectionRefused
    }

    #[test]
    fn a_server_that_is_not_there_is_reported_once() {
        let nobody = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let client = ClientSocket::open(nobody, 46).unwrap();
        client.send(b"request").unwrap();
        let (mut polls, mut refusals) = (0, 0);
        let mut poll = PollSet::default();
        loop {
            poll.clear();
            poll.push(&client);
            poll.wait(Duration::from_millis(100)).unwrap();
            let ready = poll.readiness(0);
            if ready.error {
                refusals += usize::from(client.sent().is_err_and(|error| is_refusal(&error)));
            } else if ready.readable {
                refusals += usize::from(client.receive(&mut [0; 8]).is_err_and(|error| is_refusal(&error)));
            } else {
                break;
            }
            polls += 1;
            assert!(polls < 10, "the error is taken out, so that poll can sleep");
        }
        assert_eq!(refusals, 1);
    }
}
