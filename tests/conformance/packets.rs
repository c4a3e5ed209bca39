//! Requests and replies as RFC 5905 draws them, made and read without the code under test.

/// Octets of the header.
pub(crate) const HEADER: usize = 48;

/// A request of this version and mode; its transmit stamp is a cookie.
pub(crate) fn request(version: u8, mode: u8, cookie: u64) -> Vec<u8> {
    let mut packet = vec![0; HEADER];
    packet[0] = (version << 3) | mode;
    packet[40..].copy_from_slice(&cookie.to_be_bytes());
    packet
}

/// A plain request of version 4.
pub(crate) fn plain(cookie: u64) -> Vec<u8> {
    request(4, 3, cookie)
}

/// A plain request of `version`, and these octets after it.
pub(crate) fn followed_by(version: u8, trailer: &[u8]) -> Vec<u8> {
    let mut packet = request(version, 3, 0x0123_4567_89AB_CDEF);
    packet.extend(trailer);
    packet
}

/// An extension field of `length` octets.
pub(crate) fn extension(kind: u16, length: u16) -> Vec<u8> {
    let mut field = vec![0x5A; length.into()];
    field[..2].copy_from_slice(&kind.to_be_bytes());
    field[2..4].copy_from_slice(&length.to_be_bytes());
    field
}

/// A time reply's fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) leap: u8,
    pub(crate) version: u8,
    pub(crate) mode: u8,
    pub(crate) stratum: u8,
    pub(crate) poll: u8,
    pub(crate) precision: i8,
    pub(crate) root_delay: u32,
    pub(crate) root_dispersion: u32,
    pub(crate) reference_id: [u8; 4],
    pub(crate) reference: u64,
    pub(crate) origin: u64,
    pub(crate) receive: u64,
    pub(crate) transmit: u64,
}

impl Reply {
    /// Every time reply has 48 octets and mode 4.
    pub(crate) fn parse(bytes: &[u8]) -> Self {
        assert_eq!(bytes.len(), HEADER, "a reply has 48 octets: {bytes:02x?}");
        let word = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
        let stamp = |at: usize| u64::from_be_bytes(bytes[at..at + 8].try_into().unwrap());
        let reply = Self {
            leap: bytes[0] >> 6,
            version: (bytes[0] >> 3) & 7,
            mode: bytes[0] & 7,
            stratum: bytes[1],
            poll: bytes[2],
            precision: bytes[3].cast_signed(),
            root_delay: word(4),
            root_dispersion: word(8),
            reference_id: bytes[12..16].try_into().unwrap(),
            reference: stamp(16),
            origin: stamp(24),
            receive: stamp(32),
            transmit: stamp(40),
        };
        assert_eq!(reply.mode, 4, "{reply:?}");
        reply
    }
}

/// How much later `later` is, in units of 2^-32 s.
pub(crate) fn between(earlier: u64, later: u64) -> i64 {
    later.wrapping_sub(earlier).cast_signed()
}
