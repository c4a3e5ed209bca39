//! Controls: servers that are as little as can be, each a process of its own like every other row.
//!
//! An echo answers on one of the server's datapaths without having looked at the request: what the server
//! costs more is its own. The plain thread answers with time, one blocking system call per request and one
//! per reply: what most servers do.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::AsRawFd;
use std::thread;

use bench::requests;
use bench::xdp::Attachable;
use clap::ValueEnum;
use nix::sys::socket::{self, ControlMessage, ControlMessageOwned, MsgFlags, SockaddrIn, sockopt};
use nix::sys::time::TimeSpec;
use ntpring::datapath::{Datapath, Mmsg, SystemClock, Uring};
use ntpring::limits;
use ntpring::server::{Clock, Datagram, Responder, ServingState, Verdict};
use ntpring::snapshot::Publisher;
use ntpring::sys::interfaces;
use ntpring::sys::socket::{ServeSocket, SocketOptions};
use ntpring::wire::{HEADER_LEN, LeapIndicator, Mode, NtpTimestamp, Packet};

use super::rig::SERVER;

/// Which control this process is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Control {
    EchoIoUring,
    EchoMmsg,
    EchoXdp,
    Plain,
}

impl Control {
    /// The name on the command line.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::EchoIoUring => "echo-io-uring",
            Self::EchoMmsg => "echo-mmsg",
            Self::EchoXdp => "echo-xdp",
            Self::Plain => "plain",
        }
    }

    /// Serves until the process is ended.
    pub(super) fn run(self) -> io::Result<()> {
        let address = SocketAddrV4::new(SERVER, 123);
        match self {
            Self::EchoIoUring => echo(Uring::new([serving(address.into())?].into())?),
            Self::EchoMmsg => echo(Mmsg::new([serving(address.into())?].into())),
            Self::EchoXdp => echo_in_driver(),
            Self::Plain => plain(address),
        }
    }
}

/// The server's own socket, with the server's own options.
fn serving(address: SocketAddr) -> io::Result<ServeSocket> {
    let receive_buffer = limits::SOCKET_RECEIVE_BUFFER;
    ServeSocket::open(address, SocketOptions { receive_buffer, ..SocketOptions::default() })
}

fn echo(mut path: impl Datapath) -> io::Result<()> {
    loop {
        path.wait(limits::TICK)?;
        path.drain(|datagram| answer(datagram.buf))?;
    }
}

/// The program does it all.
fn echo_in_driver() -> io::Result<()> {
    let own = interfaces::addresses()?.into_iter().find(|own| own.address.ip() == SERVER);
    let own = own.ok_or_else(|| io::Error::other(format!("no interface has {SERVER}")))?;
    let _echo = Attachable::Echo.attach(&own.interface)?;
    loop {
        thread::park();
    }
}

/// As little as makes the generator count it: the request comes back in server mode, with its transmit
/// timestamp as origin and some time in the other fields. No clock is read.
fn answer(request: &mut [u8]) -> Verdict {
    /// Any that is not unknown.
    const SOME_TIME: NtpTimestamp = NtpTimestamp::from_bits(1 << 63);
    if request.len() != HEADER_LEN {
        return Verdict::Reply(0);
    }
    if let Ok(mut packet) = Packet::new_checked(request) {
        let cookie = packet.transmit();
        packet.set_first(LeapIndicator::None, 4, Mode::Server);
        packet.set_stratum(1);
        packet.set_origin(cookie);
        packet.set_receive(SOME_TIME);
        packet.set_transmit(SOME_TIME);
    }
    Verdict::Reply(HEADER_LEN)
}

/// recvmsg, respond, sendmsg; with the kernel's receive stamp, and from the address that was asked.
fn plain(address: SocketAddrV4) -> io::Result<()> {
    use socket::{AddressFamily, SockFlag, SockType};
    let datagrams = (AddressFamily::Inet, SockType::Datagram);
    let socket = socket::socket(datagrams.0, datagrams.1, SockFlag::SOCK_CLOEXEC, None)?;
    socket::setsockopt(&socket, sockopt::ReusePort, &true)?;
    socket::setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
    socket::setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
    socket::setsockopt(&socket, sockopt::RcvBufForce, &limits::SOCKET_RECEIVE_BUFFER)?;
    socket::bind(socket.as_raw_fd(), &SockaddrIn::from(address))?;

    let system = requests::synchronised(SystemClock.now());
    let mut published = Publisher::new(ServingState { system, ..ServingState::default() }).subscribe();
    let mut responder = Responder::new(fastrand::u64(..));
    let mut payload = [0; limits::REQUEST_MAX];
    let mut control = nix::cmsg_space!(TimeSpec, nix::libc::in_pktinfo);
    loop {
        let mut parts = [IoSliceMut::new(&mut payload)];
        let received = socket::recvmsg::<SockaddrIn>(
            socket.as_raw_fd(),
            &mut parts,
            Some(&mut control),
            MsgFlags::empty(),
        )?;
        let (length, peer) = (received.bytes, received.address);
        let Some(peer) = peer else { continue };
        let (mut stamp, mut info) = (None, None);
        for message in received.cmsgs()? {
            match message {
                ControlMessageOwned::ScmTimestampns(time) => stamp = Some(time),
                ControlMessageOwned::Ipv4PacketInfo(packet) => info = Some(packet),
                _ => {}
            }
        }
        let (Some(stamp), Some(mut info)) = (stamp, info) else { continue };
        let local = Ipv4Addr::from(u32::from_be(info.ipi_addr.s_addr));
        responder.begin_batch(&mut published, false);
        let datagram = Datagram {
            peer: SocketAddrV4::from(peer).into(),
            local: SocketAddrV4::new(local, address.port()).into(),
            received: NtpTimestamp::from_unix(stamp.tv_sec(), stamp.tv_nsec() as u32),
            ahead: 0,
            buf: &mut payload[..length],
        };
        let Verdict::Reply(length) = responder.respond(datagram, &SystemClock) else { continue };
        info.ipi_ifindex = 0;
        info.ipi_spec_dst = info.ipi_addr;
        let from = [ControlMessage::Ipv4PacketInfo(&info)];
        let reply = [IoSlice::new(&payload[..length])];
        // A full queue further down loses the reply, as it does for everybody.
        let _ = socket::sendmsg(socket.as_raw_fd(), &reply, &from, MsgFlags::MSG_DONTWAIT, Some(&peer));
    }
}
