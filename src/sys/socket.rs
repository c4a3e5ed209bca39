//! UDP sockets that serve: one per address and worker, steered by source address.

use std::io::{self, IoSlice};
use std::mem::size_of_val;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, RawFd};

use libc::sock_filter;
use socket2::{Domain, MsgHdr, Protocol, Socket, Type};

use super::check;
use super::cmsg::{self, Arrival};

/// A bound UDP socket that delivers receive stamps, destination addresses and its own loss counter.
#[derive(Debug)]
pub struct ServeSocket {
    socket: Socket,
    local: SocketAddr,
}

/// How the sockets of a server are opened.
#[derive(Clone, Copy, Debug, Default)]
pub struct SocketOptions {
    /// Receive buffer asked for, in bytes.
    pub receive_buffer: usize,
    /// Differentiated services code point of replies, 0–63.
    pub dscp: u8,
    /// Whether an IPv6 address may be bound that is not usable yet, as during duplicate address detection.
    pub before_usable: bool,
}

impl ServeSocket {
    /// Opens the first of the sockets that share `address`, and lets others join.
    ///
    /// # Errors
    /// `AddrInUse` when anybody else owns the address or a part of it, another server that shares
    /// its own too: SO_REUSEPORT is set after the kernel has given the address to this socket alone. Had it
    /// been set before, a second server of the same user could start at the same moment and steal datagrams.
    pub fn claim(address: SocketAddr, options: SocketOptions) -> io::Result<Self> {
        let socket = new_udp(address)?;
        let claimed = Self::bind(socket, address, options)?;
        claimed.socket.set_reuse_port(true)?;
        Ok(claimed)
    }

    /// Opens one more of the sockets that share `address`.
    pub fn open(address: SocketAddr, options: SocketOptions) -> io::Result<Self> {
        let socket = new_udp(address)?;
        socket.set_reuse_port(true)?;
        Self::bind(socket, address, options)
    }

    fn bind(socket: Socket, address: SocketAddr, options: SocketOptions) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        set_int(&socket, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 1)?;
        set_int(&socket, libc::SOL_SOCKET, libc::SO_RXQ_OVFL, 1)?;
        let traffic_class = libc::c_int::from(options.dscp) << 2;
        if address.is_ipv4() {
            set_int(&socket, libc::IPPROTO_IP, libc::IP_PKTINFO, 1)?;
            set_int(&socket, libc::IPPROTO_IP, libc::IP_TOS, traffic_class)?;
        } else {
            set_int(&socket, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1)?;
            set_int(&socket, libc::IPPROTO_IPV6, libc::IPV6_TCLASS, traffic_class)?;
        }
        set_receive_buffer(&socket, options.receive_buffer)?;
        if address.is_ipv6() && options.before_usable {
            set_int(&socket, libc::IPPROTO_IPV6, libc::IPV6_FREEBIND, 1)?;
        }
        socket.bind(&address.into())?;
        if address.is_ipv6() {
            // Replies leave from the address asked, which may be one of a prefix routed to this host as a
            // whole (`ip -6 route add local PREFIX dev lo`): on no interface, so that IPV6_PKTINFO would be
            // refused. IPv4 asks for no such leave. Set after bind, which is to fail for an address that is
            // not here.
            set_int(&socket, libc::IPPROTO_IPV6, libc::IPV6_FREEBIND, 1)?;
        }
        let local = local_address(&socket)?;
        Ok(Self { socket, local })
    }

    /// Whether an address of this kind can be bound at all; the socket is closed again.
    pub fn probe(address: SocketAddr) -> io::Result<()> {
        new_udp(address)?.bind(&address.into())
    }

    /// The address it is bound to, with the real port.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// The receive buffer that the kernel granted, in bytes of its own accounting (payload and overhead).
    pub fn receive_buffer(&self) -> io::Result<usize> {
        self.socket.recv_buffer_size()
    }

    /// Sends one datagram from the address that `local` names, which may be any that this socket serves.
    pub fn send_from(&self, local: SocketAddr, to: SocketAddr, payload: &[u8]) -> io::Result<()> {
        let interface = match local {
            SocketAddr::V6(v6) => v6.scope_id(),
            SocketAddr::V4(_) => 0,
        };
        let mut control = [0; cmsg::CONTROL_SPACE];
        let source = Arrival { destination: local.ip(), interface, shared: false };
        let length = cmsg::write_reply_source(&mut control, source);
        let (name, parts) = (to.into(), [IoSlice::new(payload)]);
        let message = MsgHdr::new().with_addr(&name).with_buffers(&parts).with_control(&control[..length]);
        self.socket.sendmsg(&message, 0).map(drop)
    }

    /// Makes the group of sockets that this one belongs to choose by source address alone: the same client
    /// always reaches the same worker, whatever its port. IPv6 clients count as their /64. Sockets are
    /// numbered in the order they were opened. A single socket has nobody to choose from, and no group.
    pub fn steer_group(&self, sockets: usize) -> io::Result<()> {
        if sockets < 2 {
            return Ok(());
        }
        let program = if self.local.is_ipv4() { steer_v4(sockets) } else { steer_v6(sockets) };
        attach_reuseport_filter(&self.socket, &program)
    }
}

impl AsRawFd for ServeSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

pub(super) fn new_udp(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}

fn local_address(socket: &Socket) -> io::Result<SocketAddr> {
    socket.local_addr()?.as_socket().ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// SO_RCVBUFFORCE passes net.core.rmem_max but needs CAP_NET_ADMIN; without it the kernel caps the request.
pub(super) fn set_receive_buffer(socket: &Socket, bytes: usize) -> io::Result<()> {
    let bytes = i32::try_from(bytes).unwrap_or(i32::MAX);
    set_int(socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, bytes)
        .or_else(|_| set_int(socket, libc::SOL_SOCKET, libc::SO_RCVBUF, bytes))
}

pub(super) fn set_int(
    socket: &Socket,
    level: libc::c_int,
    name: libc::c_int,
    value: libc::c_int,
) -> io::Result<()> {
    set_option(socket, level, name, &value)
}

fn set_option<T>(socket: &Socket, level: libc::c_int, name: libc::c_int, value: &T) -> io::Result<()> {
    let length = size_of_val(value) as libc::socklen_t;
    // SAFETY: `value` is a live reference and `length` is its size; the kernel only reads it.
    check(unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const *value).cast(), length) })
        .map(drop)
}

// Offsets of the source address in the network header, and the parts of an IPv6 address that make up its /64.
const IPV4_SOURCE: u32 = 12;
const IPV6_SOURCE: u32 = 8;
/// 2^32 / golden ratio: neighbouring addresses spread evenly (Fibonacci hashing); its high half is the good
/// one.
const SPREAD: u32 = 0x9E37_79B1;

fn steer_v4(sockets: usize) -> Vec<sock_filter> {
    let mut program = vec![load_network(IPV4_SOURCE)];
    program.extend(spread_and_choose(sockets));
    program
}

fn steer_v6(sockets: usize) -> Vec<sock_filter> {
    let mut program = vec![
        load_network(IPV6_SOURCE),
        instruction(libc::BPF_ALU | libc::BPF_MUL | libc::BPF_K, SPREAD),
        instruction(libc::BPF_MISC | libc::BPF_TAX, 0),
        load_network(IPV6_SOURCE + 4),
        instruction(libc::BPF_ALU | libc::BPF_XOR | libc::BPF_X, 0),
    ];
    program.extend(spread_and_choose(sockets));
    program
}

fn spread_and_choose(sockets: usize) -> [sock_filter; 4] {
    [
        instruction(libc::BPF_ALU | libc::BPF_MUL | libc::BPF_K, SPREAD),
        instruction(libc::BPF_ALU | libc::BPF_RSH | libc::BPF_K, 16),
        instruction(
            libc::BPF_ALU | libc::BPF_MOD | libc::BPF_K,
            u32::try_from(sockets).unwrap_or(u32::MAX).max(1),
        ),
        instruction(libc::BPF_RET | libc::BPF_A, 0),
    ]
}

fn load_network(offset: u32) -> sock_filter {
    instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, (libc::SKF_NET_OFF as u32).wrapping_add(offset))
}

fn instruction(code: u32, operand: u32) -> sock_filter {
    sock_filter { code: code as u16, jt: 0, jf: 0, k: operand }
}

fn attach_reuseport_filter(socket: &Socket, program: &[sock_filter]) -> io::Result<()> {
    let program = libc::sock_fprog { len: program.len() as u16, filter: program.as_ptr().cast_mut() };
    set_option(socket, libc::SOL_SOCKET, libc::SO_ATTACH_REUSEPORT_CBPF, &program)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn an_address_is_claimed_once_and_shared_only_with_its_claimant() {
        let options = SocketOptions { receive_buffer: 1 << 16, ..SocketOptions::default() };
        let first = ServeSocket::claim((Ipv4Addr::LOCALHOST, 0).into(), options).unwrap();
        let second = ServeSocket::open(first.local(), options).unwrap();
        first.steer_group(2).unwrap();
        for left in [Some(first), None] {
            let error = ServeSocket::claim(second.local(), options).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AddrInUse, "claimed beside {left:?} and {second:?}");
        }
    }
}
