//! NTP packets as RFC 5905 §7.3 draws them, read and written without the code under test.

use std::io::{self, ErrorKind};
use std::iter;
use std::net::{SocketAddr, ToSocketAddrs, UdpSocket};
use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds from the NTP era's start to the Unix epoch.
const UNIX_EPOCH_IN_NTP: u64 = 2_208_988_800;

/// A 48-octet client request; `transmit` is what the reply must carry as its origin.
pub(crate) fn request(version: u8, transmit: u64) -> [u8; 48] {
    let mut packet = [0; 48];
    packet[0] = version << 3 | 3;
    packet[40..].copy_from_slice(&transmit.to_be_bytes());
    packet
}

/// A server's reply, and where it came from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reply {
    /// The source of the datagram.
    pub(crate) from: SocketAddr,
    /// Leap indicator, 3 = not synchronised.
    pub(crate) leap: u8,
    /// Version number.
    pub(crate) version: u8,
    /// Mode, 4 = server.
    pub(crate) mode: u8,
    /// Stratum, 0 = unspecified.
    pub(crate) stratum: u8,
    /// Reference identifier.
    pub(crate) refid: [u8; 4],
    /// Origin timestamp (T1), 32.32 fixed point.
    pub(crate) origin: u64,
    /// Receive timestamp (T2).
    pub(crate) receive: u64,
    /// Transmit timestamp (T3).
    pub(crate) transmit: u64,
}

impl Reply {
    /// Reads 48 octets; anything else is not a reply.
    pub(crate) fn parse(packet: &[u8], from: SocketAddr) -> Option<Self> {
        let packet: &[u8; 48] = packet.try_into().ok()?;
        let timestamp = |at: usize| u64::from_be_bytes(packet[at..at + 8].try_into().expect("eight octets"));
        Some(Self {
            from,
            leap: packet[0] >> 6,
            version: packet[0] >> 3 & 7,
            mode: packet[0] & 7,
            stratum: packet[1],
            refid: packet[12..16].try_into().expect("four octets"),
            origin: timestamp(24),
            receive: timestamp(32),
            transmit: timestamp(40),
        })
    }
}

/// Waits for one datagram, up to the socket's read timeout.
pub(crate) fn reply(socket: &UdpSocket) -> Option<Reply> {
    let mut buffer = [0; 2048];
    // A wait with a timeout is not taken up again by the kernel when a signal interrupts it.
    let receive = || socket.recv_from(&mut buffer);
    let is_interrupted =
        |received: &io::Result<_>| matches!(received, Err(e) if e.kind() == ErrorKind::Interrupted);
    let (length, from) = iter::repeat_with(receive).find(|received| !is_interrupted(received))?.ok()?;
    Some(
        Reply::parse(&buffer[..length], from)
            .unwrap_or_else(|| panic!("{length} octets from {from}, not a reply")),
    )
}

/// Sends a version 4 request and waits for its reply.
pub(crate) fn ask(socket: &UdpSocket, server: impl ToSocketAddrs) -> Option<Reply> {
    let transmit = to_ntp(SystemTime::now());
    socket.send_to(&request(4, transmit), server).expect("the request leaves");
    let reply = reply(socket)?;
    assert_eq!(reply.origin, transmit, "the origin is the request's transmit timestamp: {reply:?}");
    Some(reply)
}

/// A system time as a 32.32 timestamp of the current era.
pub(crate) fn to_ntp(time: SystemTime) -> u64 {
    let unix = time.duration_since(UNIX_EPOCH).expect("a time after 1970");
    let fraction = (u64::from(unix.subsec_nanos()) << 32) / 1_000_000_000;
    (unix.as_secs() + UNIX_EPOCH_IN_NTP) << 32 | fraction
}

/// Seconds from `earlier` to `later`, negative when the order is the other one.
pub(crate) fn seconds_between(earlier: u64, later: u64) -> f64 {
    later.wrapping_sub(earlier).cast_signed() as f64 / 2f64.powi(32)
}
