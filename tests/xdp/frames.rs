//! Ethernet frames as the RFCs draw them, made and read without the code under test.

use std::net::{IpAddr, SocketAddr};

/// Where the server's frames go to.
pub(crate) const SERVER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// Where its client's come from.
pub(crate) const CLIENT_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];

/// What stands in a frame's UDP checksum field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Checksum {
    /// The right one.
    Right,
    /// The sum of the pseudo header alone, as senders on the same machine leave it.
    Partial,
    /// This.
    Is(u16),
}

/// A UDP datagram in a frame; what a test wants wrong it writes over afterwards.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) source: SocketAddr,
    pub(crate) destination: SocketAddr,
    pub(crate) vlan: Option<u16>,
    pub(crate) checksum: Checksum,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    pub(crate) fn new(source: SocketAddr, destination: SocketAddr, payload: &[u8]) -> Self {
        Self { source, destination, vlan: None, checksum: Checksum::Right, payload: payload.to_vec() }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut frame = [SERVER_MAC, CLIENT_MAC].concat();
        if let Some(tag) = self.vlan {
            frame.extend([0x81, 0x00]);
            frame.extend(tag.to_be_bytes());
        }
        let udp = self.udp();
        match (self.source.ip(), self.destination.ip()) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                frame.extend([0x08, 0x00]);
                let mut ip = vec![0x45, 0];
                ip.extend((20 + udp.len() as u16).to_be_bytes());
                // Identification, don't fragment, a TTL, UDP, and no checksum yet.
                ip.extend([0x12, 0x34, 0x40, 0, 63, 17, 0, 0]);
                ip.extend(source.octets());
                ip.extend(destination.octets());
                let checksum = !sum(&ip);
                ip[10..12].copy_from_slice(&checksum.to_be_bytes());
                frame.extend(ip);
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                // Traffic class 0x0A and a flow label, which a reply need not have.
                frame.extend([0x86, 0xDD, 0x60, 0xA1, 0x23, 0x45]);
                frame.extend((udp.len() as u16).to_be_bytes());
                frame.extend([17, 55]);
                frame.extend(source.octets());
                frame.extend(destination.octets());
            }
            _ => panic!("one family"),
        }
        frame.extend(udp);
        frame
    }

    fn udp(&self) -> Vec<u8> {
        let length = 8 + self.payload.len() as u16;
        let mut udp = Vec::new();
        udp.extend(self.source.port().to_be_bytes());
        udp.extend(self.destination.port().to_be_bytes());
        udp.extend(length.to_be_bytes());
        udp.extend([0, 0]);
        udp.extend(&self.payload);
        let mut pseudo = [octets(self.source.ip()), octets(self.destination.ip())].concat();
        pseudo.extend([0, 17]);
        pseudo.extend(length.to_be_bytes());
        let checksum = match self.checksum {
            Checksum::Right => match !sum(&[pseudo, udp.clone()].concat()) {
                0 => 0xFFFF,
                checksum => checksum,
            },
            Checksum::Partial => sum(&pseudo),
            Checksum::Is(checksum) => checksum,
        };
        udp[6..8].copy_from_slice(&checksum.to_be_bytes());
        udp
    }

    /// Reads a frame whose headers have the usual lengths, and asserts that its checksums are right.
    pub(crate) fn parse(bytes: &[u8]) -> Self {
        let (tag, rest) = match bytes[12..14] {
            [0x81, 0x00] => (Some(u16::from_be_bytes([bytes[14], bytes[15]])), &bytes[16..]),
            _ => (None, &bytes[12..]),
        };
        let (source, destination, udp): (IpAddr, IpAddr, &[u8]) = match (rest[..2].as_ref(), rest[2] >> 4) {
            ([0x08, 0x00], 4) => {
                let ip = &rest[2..22];
                assert_eq!(sum(ip), 0xFFFF, "the IP header's checksum: {ip:02x?}");
                assert_eq!(ip[8], 64, "a fresh TTL");
                let address = |at: usize| <[u8; 4]>::try_from(&ip[at..at + 4]).unwrap().into();
                (address(12), address(16), &rest[22..])
            }
            ([0x86, 0xDD], 6) => {
                let ip = &rest[2..42];
                assert_eq!(ip[7], 64, "a fresh hop limit");
                let address = |at: usize| <[u8; 16]>::try_from(&ip[at..at + 16]).unwrap().into();
                (address(8), address(24), &rest[42..])
            }
            other => panic!("{other:?}"),
        };
        let word = |at: usize| u16::from_be_bytes([udp[at], udp[at + 1]]);
        let mut covered = [octets(source), octets(destination)].concat();
        covered.extend([0, 17, udp[4], udp[5]]);
        covered.extend(udp);
        assert_eq!(usize::from(word(4)), udp.len());
        assert_eq!(sum(&covered), 0xFFFF, "the UDP checksum: {udp:02x?}");
        assert_ne!(word(6), 0, "a reply has a checksum");
        Self {
            source: SocketAddr::new(source, word(0)),
            destination: SocketAddr::new(destination, word(2)),
            vlan: tag,
            checksum: Checksum::Right,
            payload: udp[8..].to_vec(),
        }
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

/// The ones'-complement sum of 16-bit words in network order (RFC 1071).
pub(crate) fn sum(bytes: &[u8]) -> u16 {
    let word = |pair: &[u8]| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
    let mut sum: u32 = bytes.chunks(2).map(word).sum();
    while sum > 0xFFFF {
        sum = (sum & 0xFFFF) + (sum >> 16);
    }
    sum as u16
}

/// The datagram in a frame to the server, if nothing about it is unusual; else what is. It is this, not the
/// program, that says what a plain datagram is.
pub(crate) fn plain(frame: &[u8]) -> Result<Frame, &'static str> {
    let demand = |condition: bool, otherwise| condition.then_some(()).ok_or(otherwise);
    demand(frame[..6] == SERVER_MAC, "a frame to somebody else")?;
    demand(frame[6] & 1 == 0, "a frame from a group")?;
    let (addresses, udp): (&[u8], &[u8]) = match frame[12..14] {
        [0x08, 0x00] => {
            demand(frame.len() >= 34, "half an IP header")?;
            let (ip, udp) = frame[14..].split_at(20);
            demand(ip[0] == 0x45, "IP options")?;
            demand(ip[9] == 17, "another protocol")?;
            demand(ip[6] & !0x40 == 0 && ip[7] == 0, "a fragment")?;
            demand(sum(ip) == 0xFFFF, "a wrong IP checksum")?;
            demand(usize::from(ip[2]) << 8 | usize::from(ip[3]) == 20 + udp.len(), "a wrong IP length")?;
            (&ip[12..20], udp)
        }
        [0x86, 0xDD] => {
            demand(frame.len() >= 54, "half an IP header")?;
            let (ip, udp) = frame[14..].split_at(40);
            demand(ip[0] >> 4 == 6, "another IP version")?;
            demand(ip[6] == 17, "extension headers or another protocol")?;
            demand(usize::from(ip[4]) << 8 | usize::from(ip[5]) == udp.len(), "a wrong IP length")?;
            (&ip[8..40], udp)
        }
        _ => return Err("another ethertype, or a VLAN that is not ours"),
    };
    demand(udp.len() >= 8, "half a UDP header")?;
    demand(usize::from(udp[4]) << 8 | usize::from(udp[5]) == udp.len(), "a wrong UDP length")?;
    let pseudo = [addresses, &[0, 17], &udp[4..6]].concat();
    let absent = udp[6..8] == [0, 0];
    let right = match absent {
        true => addresses.len() == 8,
        false => {
            let partial = sum(&pseudo).to_be_bytes() == udp[6..8];
            partial || sum(&[&pseudo, udp].concat()) == 0xFFFF
        }
    };
    demand(right, "a wrong UDP checksum")?;
    let half = addresses.len() / 2;
    let address = |octets: &[u8]| match octets.len() {
        4 => IpAddr::from(<[u8; 4]>::try_from(octets).unwrap()),
        _ => IpAddr::from(<[u8; 16]>::try_from(octets).unwrap()),
    };
    let port = |at: usize| u16::from_be_bytes([udp[at], udp[at + 1]]);
    Ok(Frame {
        source: SocketAddr::new(address(&addresses[..half]), port(0)),
        destination: SocketAddr::new(address(&addresses[half..]), port(2)),
        vlan: None,
        checksum: Checksum::Right,
        payload: udp[8..].to_vec(),
    })
}
