//! The frame that all requests share, and the sums of its parts (RFC 1071), which the program completes.

use std::net::{IpAddr, SocketAddr};

use super::layout::FRAME_WORDS;

/// A hardware address.
pub(super) type Mac = [u8; 6];

/// What is the same in every request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template {
    /// The whole frame. Source address, source port, checksums and cookie are zero.
    pub(super) octets: Vec<u8>,
    /// Of an IPv4 header.
    pub(super) ip_sum: u64,
    /// Of datagram and pseudo header.
    pub(super) udp_sum: u64,
}

/// Of Ethernet's header.
const ETHERNET: usize = 14;
const UDP: usize = 8;

impl Template {
    /// Requests from one hardware address to another, with this payload.
    pub(super) fn new(from: Mac, to: Mac, target: SocketAddr, payload: &[u8]) -> Self {
        let length = ((UDP + payload.len()) as u16).to_be_bytes();
        let mut octets = [to, from].concat();
        let address = match target.ip() {
            IpAddr::V4(ip) => {
                octets.extend([0x08, 0x00, 0x45, 0]);
                octets.extend((20 + (UDP + payload.len()) as u16).to_be_bytes());
                // No identification, don't fragment, a TTL, UDP, no checksum, no source.
                octets.extend([0, 0, 0x40, 0, 64, 17, 0, 0, 0, 0, 0, 0]);
                octets.extend(ip.octets());
                ip.octets().to_vec()
            }
            IpAddr::V6(ip) => {
                octets.extend([0x86, 0xDD, 0x60, 0, 0, 0]);
                octets.extend(length);
                octets.extend([17, 64]);
                octets.extend([0; 16]);
                octets.extend(ip.octets());
                ip.octets().to_vec()
            }
        };
        let udp = octets.len();
        octets.extend([0, 0]);
        octets.extend(target.port().to_be_bytes());
        octets.extend(length);
        octets.extend([0, 0]);
        octets.extend(payload);
        let pseudo = [&address[..], &[0, 17], &length].concat();
        Self { ip_sum: sum(&octets[ETHERNET..udp]), udp_sum: sum(&pseudo) + sum(&octets[udp..]), octets }
    }

    /// The frame as the program copies it. What is left over of the last word is of the cookie.
    pub(super) fn words(&self) -> [u64; FRAME_WORDS] {
        let mut words = [0; FRAME_WORDS];
        let (whole, _) = self.octets.as_chunks::<8>();
        words.iter_mut().zip(whole).for_each(|(word, octets)| *word = u64::from_ne_bytes(*octets));
        words
    }
}

/// The sum of 16-bit words as they lie in memory.
fn sum(octets: &[u8]) -> u64 {
    let (words, _) = octets.as_chunks::<2>();
    words.iter().map(|word| u64::from(u16::from_ne_bytes(*word))).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_have_their_length_and_right_sums() {
        for (target, length) in [("192.0.2.1:123", 90), ("[2001:db8::1]:123", 110)] {
            let template = Template::new([2; 6], [4; 6], target.parse().unwrap(), &[0x23; 48]);
            assert_eq!(template.octets.len(), length);
            assert!(template.octets.len() <= 8 * FRAME_WORDS);
            assert_eq!(template.words()[0].to_ne_bytes(), [4, 4, 4, 4, 4, 4, 2, 2]);
        }
        assert_eq!(sum(&[1, 0, 0xFF, 0xFF]), 1 + 0xFFFF);
    }
}
