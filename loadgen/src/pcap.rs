//! Requests out of a capture file: the UDP payloads that were sent to port 123.

use std::fs;
use std::path::Path;

use crate::failure::Failure;

/// What a capture file holds.
#[derive(Debug, Default)]
pub(crate) struct Capture {
    /// Payloads of the requests, in the order of the file.
    pub(crate) payloads: Vec<Box<[u8]>>,
    /// Requests that were not captured whole: fragments, or cut by the capture.
    pub(crate) incomplete: u64,
}

const NTP_PORT: u16 = 123;
/// Most requests that are taken from a file.
const REQUESTS_MAX: usize = 1 << 20;
/// What fits an Ethernet frame.
pub(crate) const PAYLOAD_MAX: usize = 1472;

const FILE_HEADER: usize = 24;
const RECORD_HEADER: usize = 16;
const PCAPNG: [u8; 4] = [0x0A, 0x0D, 0x0D, 0x0A];

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86DD;
const ETHERTYPES_VLAN: [u16; 2] = [0x8100, 0x88A8];
const PROTOCOL_UDP: u8 = 17;
const IPV6_FRAGMENT: u8 = 44;

/// Reads a file as tcpdump writes it.
pub(crate) fn read(path: &Path) -> Result<Capture, Failure> {
    let name = path.display();
    let file = fs::read(path).map_err(|error| Failure::Usage(format!("cannot read {name}: {error}")))?;
    let capture = parse(&file).map_err(|reason| Failure::Usage(format!("{name}: {reason}")))?;
    if capture.payloads.is_empty() {
        let text = format!("{name}: no whole UDP datagram to port {NTP_PORT} in it, nothing to replay");
        return Err(Failure::Usage(text));
    }
    Ok(capture)
}

/// The numbers of a file are in the byte order of the machine that wrote it.
#[derive(Clone, Copy)]
struct Order {
    big: bool,
}

impl Order {
    fn number(self, bytes: &[u8], at: usize) -> Option<u32> {
        let bytes = *bytes.get(at..)?.first_chunk()?;
        Some(if self.big { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
    }
}

fn parse(file: &[u8]) -> Result<Capture, String> {
    let order = match file.first_chunk() {
        Some(&PCAPNG) => {
            return Err("this is pcapng; `tcpdump -r FILE -w NEW.pcap` turns it into pcap".to_owned());
        }
        // With stamps in microseconds or in nanoseconds.
        Some([0xA1, 0xB2, 0xC3, 0xD4] | [0xA1, 0xB2, 0x3C, 0x4D]) => Order { big: true },
        Some([0xD4, 0xC3, 0xB2, 0xA1] | [0x4D, 0x3C, 0xB2, 0xA1]) => Order { big: false },
        _ => return Err("this is no pcap file".to_owned()),
    };
    let link = order.number(file, FILE_HEADER - 4).ok_or("the file ends within its header")?;
    let link = Link::from_number(link & 0x0FFF_FFFF)?;
    let mut capture = Capture::default();
    let mut rest = &file[FILE_HEADER..];
    while !rest.is_empty() && capture.payloads.len() < REQUESTS_MAX {
        let record = capture.payloads.len();
        let cut = || format!("the file ends within a packet, after {record} requests");
        let length = order.number(rest, 8).ok_or_else(cut)? as usize;
        let frame = rest.get(RECORD_HEADER..).and_then(|rest| rest.get(..length)).ok_or_else(cut)?;
        match link.packet(frame).and_then(request) {
            Some(Request::Whole(payload)) => capture.payloads.push(payload.into()),
            Some(Request::Incomplete) => capture.incomplete += 1,
            None => {}
        }
        rest = &rest[RECORD_HEADER + length..];
    }
    Ok(capture)
}

/// How frames begin.
#[derive(Clone, Copy)]
enum Link {
    Ethernet,
    /// Nothing before the IP header.
    Raw,
    /// `tcpdump -i any`, old and new.
    Cooked,
    Cooked2,
}

impl Link {
    /// The numbers of <https://www.tcpdump.org/linktypes.html>.
    fn from_number(number: u32) -> Result<Self, String> {
        match number {
            1 => Ok(Self::Ethernet),
            12 | 14 | 101 | 228 | 229 => Ok(Self::Raw),
            113 => Ok(Self::Cooked),
            276 => Ok(Self::Cooked2),
            _ => Err(format!("link type {number} is not known (Ethernet, raw IP and Linux cooked are)")),
        }
    }

    /// The IP packet in a frame.
    fn packet(self, frame: &[u8]) -> Option<&[u8]> {
        let (mut kind, mut rest) = match self {
            Self::Raw => return Some(frame),
            Self::Ethernet => (be16(frame, 12)?, frame.get(14..)?),
            Self::Cooked => (be16(frame, 14)?, frame.get(16..)?),
            Self::Cooked2 => (be16(frame, 0)?, frame.get(20..)?),
        };
        while ETHERTYPES_VLAN.contains(&kind) {
            (kind, rest) = (be16(rest, 2)?, rest.get(4..)?);
        }
        [ETHERTYPE_IPV4, ETHERTYPE_IPV6].contains(&kind).then_some(rest)
    }
}

enum Request<'a> {
    Whole(&'a [u8]),
    Incomplete,
}

/// The request in an IP packet, if there is one.
fn request(packet: &[u8]) -> Option<Request<'_>> {
    let (protocol, fragmented, udp) = match packet.first()? >> 4 {
        4 => {
            let header = usize::from(packet[0] & 0x0F) * 4;
            // More fragments follow, or some came before.
            (*packet.get(9)?, be16(packet, 6)? & 0x3FFF != 0, packet.get(header..)?)
        }
        6 => match *packet.get(6)? {
            IPV6_FRAGMENT => (*packet.get(40)?, true, packet.get(48..)?),
            protocol => (protocol, false, packet.get(40..)?),
        },
        _ => return None,
    };
    if protocol != PROTOCOL_UDP || be16(udp, 2)? != NTP_PORT {
        return None;
    }
    let length = usize::from(be16(udp, 4)?);
    let payload = udp.get(8..length).filter(|payload| !fragmented && payload.len() <= PAYLOAD_MAX);
    Some(payload.map_or(Request::Incomplete, Request::Whole))
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|bytes| u16::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file in the byte order and of the link type given, with these frames.
    fn file(big: bool, magic: u32, link: u32, frames: &[Vec<u8>]) -> Vec<u8> {
        let number = |n: u32| if big { n.to_be_bytes() } else { n.to_le_bytes() };
        let mut file = Vec::new();
        for word in [magic, 0x0002_0004, 0, 0, 65_535, link] {
            file.extend(number(word));
        }
        for frame in frames {
            let length = frame.len() as u32;
            for word in [1, 2, length, length] {
                file.extend(number(word));
            }
            file.extend(frame);
        }
        file
    }

    fn udp(port: u16, payload: &[u8]) -> Vec<u8> {
        let length = (8 + payload.len()) as u16;
        [&[0x30, 0x39], &port.to_be_bytes()[..], &length.to_be_bytes(), &[0, 0], payload].concat()
    }

    fn v4(fragment: u16, protocol: u8, body: &[u8]) -> Vec<u8> {
        // With four octets of options.
        let mut header = vec![0; 24];
        header[0] = 0x46;
        header[6..8].copy_from_slice(&fragment.to_be_bytes());
        header[9] = protocol;
        [header, body.to_vec()].concat()
    }

    fn v6(body: &[u8]) -> Vec<u8> {
        let mut header = vec![0; 40];
        (header[0], header[6]) = (0x60, PROTOCOL_UDP);
        [header, body.to_vec()].concat()
    }

    #[test]
    fn all_byte_orders_resolutions_and_links_are_read() {
        let (one, two) = (v4(0, PROTOCOL_UDP, &udp(123, b"one")), v6(&udp(123, b"two2")));
        let framed = |before: usize, at: usize, kind: u16, packet: &[u8]| {
            let mut header = vec![0; before];
            header[at..at + 2].copy_from_slice(&kind.to_be_bytes());
            [header, packet.to_vec()].concat()
        };
        let vlan = |packet: &[u8]| [&[0; 12], &[0x81, 0, 0, 7, 0x86, 0xDD][..], packet].concat();
        for (big, magic, link, frames) in [
            (false, 0xA1B2_C3D4, 101, vec![one.clone(), two.clone()]),
            (true, 0xA1B2_3C4D, 1, vec![framed(14, 12, ETHERTYPE_IPV4, &one), vlan(&two)]),
            (false, 0xA1B2_3C4D, 113, vec![framed(16, 14, 0x800, &one), framed(16, 14, 0x86DD, &two)]),
            (true, 0xA1B2_C3D4, 276, vec![framed(20, 0, 0x800, &one), framed(20, 0, 0x86DD, &two)]),
        ] {
            let capture = parse(&file(big, magic, link, &frames)).unwrap();
            assert_eq!(capture.payloads, [b"one".to_vec().into(), b"two2".to_vec().into_boxed_slice()]);
        }
    }

    #[test]
    fn only_whole_requests_are_taken() {
        let whole = udp(123, &[7; 48]);
        let frames = [
            v4(0, PROTOCOL_UDP, &udp(124, &[7; 48])),
            v4(0, 6, &whole),
            v4(0x2000, PROTOCOL_UDP, &whole),
            v4(0, PROTOCOL_UDP, &whole[..40]),
            v4(0, PROTOCOL_UDP, &whole),
            vec![],
            vec![0x45],
        ];
        let capture = parse(&file(false, 0xA1B2_C3D4, 101, &frames)).unwrap();
        assert_eq!((capture.payloads.len(), capture.incomplete), (1, 2));
        assert_eq!(capture.payloads[0][..], [7; 48]);
    }

    #[test]
    fn what_is_no_capture_is_said() {
        let good = file(false, 0xA1B2_C3D4, 1, &[vec![0; 60]]);
        for (bytes, said) in [
            (&b"hello, world"[..], "no pcap file"),
            (&[], "no pcap file"),
            (&PCAPNG, "pcapng"),
            (&good[..20], "within its header"),
            (&good[..30], "within a packet"),
            (&good[..good.len() - 1], "within a packet"),
            (&file(false, 0xA1B2_C3D4, 105, &[]), "link type 105"),
        ] {
            let error = parse(bytes).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
        assert!(matches!(read(Path::new("/none/such.pcap")), Err(Failure::Usage(_))));
    }
}
