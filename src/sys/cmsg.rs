//! Control messages and socket addresses, read and written as bytes where they lie: no pointer is followed,
//! so a malformed buffer can only be misread, never cause harm.

use std::mem::{align_of, size_of};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use super::clock::Timespec;

/// Bytes that a socket address of either family needs.
pub const NAME_SPACE: usize = size_of::<libc::sockaddr_in6>();

/// Bytes that the control messages of one datagram need: receive stamp, packet info of either family,
/// overflow counter.
pub const CONTROL_SPACE: usize =
    space(size_of::<libc::timespec>()) + space(size_of::<libc::in6_pktinfo>()) + space(size_of::<u32>());

const HEADER: usize = align(size_of::<libc::cmsghdr>());
const LENGTH_BYTES: usize = size_of::<usize>();

const _: () = assert!(HEADER == LENGTH_BYTES + 8, "cmsghdr is a length, a level and a type");

/// What came beside a datagram's payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Control {
    /// SO_TIMESTAMPNS: when the kernel received it, CLOCK_REALTIME. On a socket's error queue,
    /// SO_TIMESTAMPING: when the datagram there was sent.
    pub stamp: Option<Timespec>,
    /// IP_PKTINFO or IPV6_PKTINFO.
    pub arrival: Option<Arrival>,
    /// SO_RXQ_OVFL: datagrams that the socket has lost so far, modulo 2^32.
    pub overflow: Option<u32>,
}

/// Where a datagram was sent to, and by which interface it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// The destination address in its IP header.
    pub destination: IpAddr,
    /// Index of the receiving interface.
    pub interface: u32,
    /// Whether the destination is a broadcast or IPv4 multicast address: one that the kernel would not answer
    /// from.
    pub shared: bool,
}

/// Reads the control messages of one received datagram; unknown ones are passed over, truncated ones end the
/// walk.
#[inline]
pub fn parse(mut control: &[u8]) -> Control {
    let mut found = Control::default();
    while let Some((length, level, kind)) = header(control) {
        let Some(data) = control.get(HEADER..length) else { break };
        match (level, kind) {
            (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) => found.stamp = timespec(data),
            // Three times: of the software, none any more, of the hardware.
            (libc::SOL_SOCKET, libc::SCM_TIMESTAMPING) => found.stamp = found.stamp.or(timespec(data)),
            (libc::SOL_SOCKET, libc::SO_RXQ_OVFL) => found.overflow = array(data, 0).map(u32::from_ne_bytes),
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => found.arrival = arrival_v4(data),
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => found.arrival = arrival_v6(data),
            _ => {}
        }
        control = control.get(align(length)..).unwrap_or_default();
    }
    found
}

/// Writes the one control message that makes a reply leave from the address its request was sent to; returns
/// its length, 0 if `control` is too small. The interface is left to the routing table, except where the
/// address means nothing without it.
#[inline]
pub fn write_reply_source(control: &mut [u8], arrival: Arrival) -> usize {
    match arrival.destination {
        IpAddr::V4(source) => {
            let mut info = [0; size_of::<libc::in_pktinfo>()];
            info[4..8].copy_from_slice(&source.octets());
            write(control, libc::IPPROTO_IP, libc::IP_PKTINFO, &info)
        }
        IpAddr::V6(source) => {
            let mut info = [0; size_of::<libc::in6_pktinfo>()];
            info[..16].copy_from_slice(&source.octets());
            if source.is_unicast_link_local() {
                info[16..20].copy_from_slice(&arrival.interface.to_ne_bytes());
            }
            write(control, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &info)
        }
    }
}

/// Bytes that [`write_send_stamp`] needs.
pub const SEND_STAMP_SPACE: usize = space(size_of::<u32>());

/// Writes the control message that makes the kernel stamp this one datagram when it hands it to the network
/// interface; returns its length, 0 if `control` is too small.
pub fn write_send_stamp(control: &mut [u8]) -> usize {
    write(control, libc::SOL_SOCKET, libc::SO_TIMESTAMPING, &libc::SOF_TIMESTAMPING_TX_SOFTWARE.to_ne_bytes())
}

/// The socket address in a received `msg_name`; `None` for a family that is neither IPv4 nor IPv6.
#[inline]
pub fn parse_name(name: &[u8]) -> Option<SocketAddr> {
    let port = u16::from_be_bytes(array(name, 2)?);
    match libc::c_int::from(u16::from_ne_bytes(array(name, 0)?)) {
        libc::AF_INET => {
            let address: [u8; 4] = array(name, 4)?;
            Some(SocketAddrV4::new(address.into(), port).into())
        }
        libc::AF_INET6 => {
            let flow = u32::from_be_bytes(array(name, 4)?);
            let address: [u8; 16] = array(name, 8)?;
            let scope = u32::from_ne_bytes(array(name, 24)?);
            Some(SocketAddrV6::new(address.into(), port, flow, scope).into())
        }
        _ => None,
    }
}

const fn align(length: usize) -> usize {
    length.next_multiple_of(align_of::<usize>())
}

const fn space(data: usize) -> usize {
    HEADER + align(data)
}

/// Length (with the header), level and type of the first control message.
fn header(control: &[u8]) -> Option<(usize, i32, i32)> {
    let length = usize::from_ne_bytes(array(control, 0)?);
    let level = i32::from_ne_bytes(array(control, LENGTH_BYTES)?);
    let kind = i32::from_ne_bytes(array(control, LENGTH_BYTES + 4)?);
    (HEADER..=control.len()).contains(&length).then_some((length, level, kind))
}

fn timespec(data: &[u8]) -> Option<Timespec> {
    let seconds = i64::from_ne_bytes(array(data, 0)?);
    let nanoseconds = i64::from_ne_bytes(array(data, 8)?);
    u32::try_from(nanoseconds).ok().map(|nanoseconds| Timespec { seconds, nanoseconds })
}

/// `struct in_pktinfo`: interface, the local address that was chosen, the destination in the header.
fn arrival_v4(data: &[u8]) -> Option<Arrival> {
    let interface = u32::from_ne_bytes(array(data, 0)?);
    let answer_from: [u8; 4] = array(data, 4)?;
    let destination: [u8; 4] = array(data, 8)?;
    let shared = answer_from != destination;
    Some(Arrival { destination: Ipv4Addr::from(destination).into(), interface, shared })
}

/// `struct in6_pktinfo`: the destination, then the interface.
fn arrival_v6(data: &[u8]) -> Option<Arrival> {
    let destination: [u8; 16] = array(data, 0)?;
    let interface = u32::from_ne_bytes(array(data, 16)?);
    Some(Arrival { destination: Ipv6Addr::from(destination).into(), interface, shared: false })
}

fn write(control: &mut [u8], level: i32, kind: i32, data: &[u8]) -> usize {
    let Some(target) = control.get_mut(..space(data.len())) else { return 0 };
    target[..LENGTH_BYTES].copy_from_slice(&(HEADER + data.len()).to_ne_bytes());
    target[LENGTH_BYTES..LENGTH_BYTES + 4].copy_from_slice(&level.to_ne_bytes());
    target[LENGTH_BYTES + 4..HEADER].copy_from_slice(&kind.to_ne_bytes());
    target[HEADER..HEADER + data.len()].copy_from_slice(data);
    target[HEADER + data.len()..].fill(0);
    target.len()
}

#[inline]
fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_written_for_a_reply_is_read_back() {
        for destination in ["192.0.2.7", "2001:db8::7", "fe80::7"] {
            let arrival = Arrival { destination: destination.parse().unwrap(), interface: 3, shared: false };
            let mut control = [0xAA; CONTROL_SPACE];
            let length = write_reply_source(&mut control, arrival);
            let read = parse(&control[..length]);
            match arrival.destination {
                // For replies the source is in ipi_spec_dst, which is not what arrivals are read from.
                IpAddr::V4(source) => assert_eq!(control[HEADER + 4..HEADER + 8], source.octets()),
                IpAddr::V6(source) => assert_eq!(
                    read.arrival,
                    Some(Arrival {
                        interface: if source.is_unicast_link_local() { 3 } else { 0 },
                        ..arrival
                    })
                ),
            }
            assert_eq!(read.stamp, None, "a reply must not carry a stamp: the kernel refuses it");
        }
    }

    #[test]
    fn a_control_buffer_that_is_too_small_is_left_alone() {
        let arrival = Arrival { destination: Ipv4Addr::LOCALHOST.into(), interface: 1, shared: false };
        assert_eq!(write_reply_source(&mut [0; 16], arrival), 0);
    }

    #[test]
    fn all_messages_of_one_datagram_are_found() {
        let mut control = [0; CONTROL_SPACE];
        let mut stamp = [0; 16];
        stamp[..8].copy_from_slice(&1_700_000_000_i64.to_ne_bytes());
        stamp[8..].copy_from_slice(&999_999_999_i64.to_ne_bytes());
        let mut end = write(&mut control, libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS, &stamp);
        let mut info = [0; 12];
        info[..4].copy_from_slice(&2_u32.to_ne_bytes());
        info[4..8].copy_from_slice(&[192, 0, 2, 1]);
        info[8..].copy_from_slice(&[192, 0, 2, 1]);
        end += write(&mut control[end..], libc::IPPROTO_IP, libc::IP_PKTINFO, &info);
        end += write(&mut control[end..], libc::SOL_SOCKET, libc::SO_RXQ_OVFL, &7_u32.to_ne_bytes());
        let found = parse(&control[..end]);
        assert_eq!(found.stamp, Some(Timespec { seconds: 1_700_000_000, nanoseconds: 999_999_999 }));
        let destination = Ipv4Addr::new(192, 0, 2, 1).into();
        assert_eq!(found.arrival, Some(Arrival { destination, interface: 2, shared: false }));
        assert_eq!(found.overflow, Some(7));
    }

    proptest! {
        #[test]
        fn any_bytes_are_walked_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            parse(&bytes);
            parse_name(&bytes);
        }
    }
}
